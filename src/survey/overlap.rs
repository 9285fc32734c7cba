//! Directories that must not lie in one another, because some of them are removed as a whole.

use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Remedy};
use crate::plan::TablespacePlace;
use crate::server::Side;

use super::path;

/// What a directory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Data(Side),
    State,
    Tablespace,
    Wal,
}

/// A directory, what it is for, and where it really is.
#[derive(Debug, Clone)]
pub(super) struct Place {
    role: Role,
    name: String,
    path: PathBuf,
}

impl Place {
    pub(super) fn data(side: Side, dir: &Path) -> Self {
        Self::new(Role::Data(side), format!("the {side} data directory"), dir)
    }

    pub(super) fn state(dir: &Path) -> Self {
        Self::new(Role::State, "the state directory".to_owned(), dir)
    }

    pub(super) fn tablespace(place: &TablespacePlace) -> Self {
        let name = format!("the location of tablespace {}", place.oid);
        Self::new(Role::Tablespace, name, &place.location)
    }

    /// The WAL directory of old, where it lies outside the data directory.
    pub(super) fn wal(dir: &Path) -> Self {
        Self::new(
            Role::Wal,
            "the WAL directory of the old cluster".to_owned(),
            dir,
        )
    }

    fn new(role: Role, name: String, dir: &Path) -> Self {
        Self {
            role,
            name,
            path: path::real(dir),
        }
    }
}

/// Every pair of directories of which one is, or lies in, the other.
pub(super) fn problems(places: &[Place]) -> Vec<Error> {
    let mut found = Vec::new();
    for (i, one) in places.iter().enumerate() {
        for other in &places[i + 1..] {
            found.extend(problem(one, other));
        }
    }
    found
}

/// Whether the new data directory is concerned in any of these problems.
pub(super) fn holds_new(places: &[Place]) -> bool {
    let (new, others): (Vec<_>, Vec<_>) = places
        .iter()
        .partition(|place| place.role == Role::Data(Side::New));
    new.iter()
        .any(|new| others.iter().any(|other| problem(new, other).is_some()))
}

fn problem(one: &Place, other: &Place) -> Option<Error> {
    let message = if one.path == other.path {
        format!("{} and {} are the same directory", one.name, other.name)
    } else if other.path.starts_with(&one.path) {
        format!("{} lies inside {}", other.name, one.name)
    } else if one.path.starts_with(&other.path) {
        format!("{} lies inside {}", one.name, other.name)
    } else {
        return None;
    };
    if harmless(one, other) {
        return None;
    }
    Some(
        Error::new(Code::SameDirectory, message)
            .fact(one.fact_name(), one.path.display())
            .fact(other.fact_name(), other.path.display())
            .remedy(remedy(one.role, other.role)),
    )
}

/// What both belongs to old is nobody's harm as long as its own server copes with it; but a
/// tablespace in the old data directory would be removed together with it, and new's with that.
fn harmless(one: &Place, other: &Place) -> bool {
    match (one.role, other.role) {
        (Role::Tablespace, Role::Tablespace) => one.path != other.path,
        (Role::Data(Side::Old) | Role::Tablespace, Role::Wal)
        | (Role::Wal, Role::Data(Side::Old) | Role::Tablespace) => true,
        _ => false,
    }
}

impl Place {
    fn fact_name(&self) -> &str {
        self.name.strip_prefix("the ").unwrap_or(&self.name)
    }
}

fn remedy(one: Role, other: Role) -> Remedy {
    let roles = [one, other];
    let has = |role| roles.contains(&role);
    Remedy::manual(if has(Role::Data(Side::New)) {
        "give another new data directory with -D/--new-datadir, beside the old one and outside of \
         all its tablespaces"
    } else if has(Role::State) {
        "give another state directory with --state-dir, outside of both data directories and of \
         all tablespaces"
    } else {
        "move that tablespace to a directory of its own, outside of the data directory: with the \
         old server, ALTER TABLE and ALTER DATABASE SET TABLESPACE, then DROP TABLESPACE"
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::Oid;

    fn tablespace(oid: u32, dir: &str) -> Place {
        Place::tablespace(&TablespacePlace {
            oid: Oid(oid),
            location: dir.into(),
            in_place: false,
        })
    }

    fn messages(places: &[Place]) -> Vec<String> {
        let found = problems(places);
        assert!(
            found
                .iter()
                .all(|error| error.code() == Code::SameDirectory)
        );
        found
            .iter()
            .map(|error| error.message().to_owned())
            .collect()
    }

    #[test]
    fn neighbours_are_no_overlap() {
        let old = Place::data(Side::Old, Path::new("/nowhere/pg1"));
        let new = Place::data(Side::New, Path::new("/nowhere/pg17"));
        let state = Place::state(Path::new("/nowhere/pg17.migration"));
        let wal = Place::wal(Path::new("/nowhere/pg1/wal"));
        let spaces = [
            tablespace(16384, "/nowhere/ts"),
            tablespace(16385, "/nowhere/ts/inner"),
        ];
        let [outer, inner] = spaces;
        assert_eq!(messages(&[old, new, state, outer, inner, wal]), [""; 0]);
    }

    #[test]
    fn each_direction_is_found() {
        let old = || Place::data(Side::Old, Path::new("/nowhere/old"));
        let new = |dir: &str| Place::data(Side::New, Path::new(dir));
        assert_eq!(
            messages(&[old(), new("/nowhere/x/../old/")]),
            ["the old data directory and the new data directory are the same directory"]
        );
        assert_eq!(
            messages(&[old(), new("/nowhere/old/new")]),
            ["the new data directory lies inside the old data directory"]
        );
        assert_eq!(
            messages(&[
                old(),
                new("/nowhere"),
                Place::state(Path::new("/nowhere/old/state"))
            ]),
            [
                "the old data directory lies inside the new data directory",
                "the state directory lies inside the old data directory",
                "the state directory lies inside the new data directory",
            ]
        );
        assert_eq!(
            messages(&[old(), tablespace(16384, "/nowhere/old/ts")]),
            ["the location of tablespace 16384 lies inside the old data directory"]
        );
        assert_eq!(
            messages(&[new("/mnt/ts/new"), tablespace(16384, "/mnt/ts")]),
            ["the new data directory lies inside the location of tablespace 16384"]
        );
        assert_eq!(
            messages(&[tablespace(1, "/mnt/ts"), tablespace(2, "/mnt/ts")]),
            [
                "the location of tablespace 1 and the location of tablespace 2 are the same directory"
            ]
        );
        assert_eq!(
            messages(&[
                Place::state(Path::new("/nowhere/wal")),
                Place::wal(Path::new("/nowhere/wal/x"))
            ]),
            ["the WAL directory of the old cluster lies inside the state directory"]
        );
    }
}
