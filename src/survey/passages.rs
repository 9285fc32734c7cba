//! What the file systems can do between the folders of old and those that new will have.

use std::path::{Path, PathBuf};

use super::Surveyed;
use super::inventory::database_folders;
use crate::disk::{self, Possible};
use crate::error::{Code, Error, Remedy, Result};
use crate::pg::{DataDir, RelFile};
use crate::plan::{self, Mode, TablespacePlace};

/// Files of old that are read for a trial have at most so many bytes, and are among the first so
/// many of a folder.
const SMALL: u64 = 1 << 20;
const LOOKED_AT: usize = 200;

/// A folder of old with relation files, where they go, and what was found possible in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// In old: a folder of databases, or one of a single database that is mounted on its own.
    pub old: PathBuf,
    /// Where new will have it, or the place it was tried in.
    pub new: PathBuf,
    /// What can be done with a file of the one in the other.
    pub possible: Possible,
}

impl Passage {
    /// Why this mode is not possible, if it is not.
    pub fn refuses(&self, mode: Mode) -> Option<&str> {
        let found = match mode {
            Mode::Link => &self.possible.link,
            Mode::Swap => &self.possible.swap,
            Mode::Clone => &self.possible.clone,
            Mode::CopyFileRange => &self.possible.copy_range,
            Mode::Copy | Mode::Auto => return None,
        };
        found.as_ref().err().map(String::as_str)
    }

    /// The modes that are possible.
    pub fn modes(&self) -> impl Iterator<Item = Mode> {
        let all = Mode::ALL.into_iter().filter(|mode| *mode != Mode::Auto);
        all.filter(|mode| self.refuses(*mode).is_none())
    }

    pub(super) fn problem(&self, mode: Mode) -> Option<Error> {
        let reason = self.refuses(mode)?;
        let (message, remedy) = match mode {
            Mode::Link => (
                "files of old cannot be linked where new will have them",
                "use --copy, or have both folders below the same mount",
            ),
            Mode::Swap if self.possible.link.is_ok() => (
                "files of old cannot be moved to where new will have them and back",
                "use --link or --copy",
            ),
            Mode::Swap => (
                "files of old cannot be moved to where new will have them and back",
                "use --copy, or have both folders below the same mount",
            ),
            Mode::Clone => (
                "files of old cannot be cloned where new will have them",
                "use --mode auto, which clones what can be cloned and copies the rest, or --copy; \
                 clones need one file system that can share blocks: btrfs, or XFS made with \
                 reflink",
            ),
            _ => (
                "files of old cannot be copied by copy_file_range where new will have them",
                "use --copy, which copies in another way where the file systems need it",
            ),
        };
        Some(
            Error::new(Code::FileSystems, message)
                .fact("old", self.old.display())
                .fact("new", self.new.display())
                .fact("reason", reason)
                .remedy(Remedy::manual(remedy)),
        )
    }
}

/// What a mode comes to in all folders of old below this one: where one has to be copied, that.
pub(super) fn mode_below(passages: &[Passage], root: &Path, mode: Mode) -> Mode {
    let mut here = passages
        .iter()
        .filter(|passage| passage.old.starts_with(root));
    match mode {
        Mode::Auto if here.all(|passage| passage.refuses(Mode::Clone).is_none()) => Mode::Clone,
        Mode::Auto => Mode::Copy,
        asked => asked,
    }
}

/// The mode that is left of the one that was asked for, and that of each folder.
pub fn decided(surveyed: &Surveyed, asked: Mode) -> (Mode, Vec<plan::Passage>) {
    let tried = surveyed.passages.iter();
    let folders: Vec<(PathBuf, bool)> = tried
        .map(|one| (one.old.clone(), one.refuses(Mode::Clone).is_none()))
        .collect();
    plan::decide(asked, &folders)
}

/// What a mode comes to in a place of the inventory.
pub fn mode_of_place(surveyed: &Surveyed, mode: Mode, at: usize) -> Mode {
    let base = surveyed.old.path.join("base");
    let space = at
        .checked_sub(1)
        .and_then(|at| surveyed.tablespaces.get(at));
    let root = space.map_or(base, |place| place.location.clone());
    mode_below(&surveyed.passages, &root, mode)
}

/// Tries every folder of databases, and every folder of one that is mounted on its own.
///
/// Without a new data directory it is taken to be beside old.
///
/// # Errors
///
/// `NotReadable`, and what [`disk::possible`] says of a place where new is to be.
pub(super) fn passages(
    old: &DataDir,
    tablespaces: &[TablespacePlace],
    new_dir: Option<&Path>,
) -> Result<Vec<Passage>> {
    let mut found = Vec::new();
    let base = old.path.join("base");
    let (new_base, near) = match new_dir {
        Some(new) => (new.join("base"), vec![new.join("base"), new.to_owned()]),
        None => (base.clone(), Vec::new()),
    };
    let beside = new_dir.unwrap_or(&old.path).parent().map(Path::to_owned);
    let places: Vec<PathBuf> = near.into_iter().chain(beside).collect();
    try_folders(&base, &new_base, &places, &mut found)?;
    for tablespace in tablespaces {
        let location = &tablespace.location;
        let new = tablespace.location_in(new_dir.unwrap_or(&old.path));
        let places = match tablespace.in_place {
            true => &places[..],
            false => std::slice::from_ref(location),
        };
        let folders = DataDir::version_folders(location, old.major)
            .map_err(|error| Error::io(Code::NotReadable, "read", location, &error))?;
        for folder in folders {
            try_folders(&folder, &new, places, &mut found)?;
        }
    }
    Ok(found)
}

/// Tries a folder of databases in the first of these places that lies where new will, and can be
/// written to.
fn try_folders(
    folder: &Path,
    new: &Path,
    places: &[PathBuf],
    found: &mut Vec<Passage>,
) -> Result<()> {
    let databases = database_folders(folder)?;
    let device = disk::space(new)?.device;
    let there = |place: &PathBuf| {
        let is_dir = place.is_dir();
        is_dir && disk::space(place).is_ok_and(|space| space.device == device)
    };
    let places: Vec<&PathBuf> = places.iter().filter(|place| there(place)).collect();
    let usual = disk::mount(folder)?;
    let of_all = databases.iter().find_map(|database| sample(database));
    let mut folders = vec![(folder, of_all)];
    for database in &databases {
        if disk::mount(database)? != usual {
            folders.push((database, sample(database)));
        }
    }
    for (old, sample) in folders {
        let mut tried = None;
        for place in &places {
            let one = disk::possible(old, sample.as_deref(), place);
            let over = one.is_ok();
            tried = Some(one);
            if over {
                break;
            }
        }
        if let Some(tried) = tried {
            found.push(Passage {
                old: old.to_owned(),
                new: new.to_owned(),
                possible: tried?,
            });
        }
    }
    Ok(())
}

/// A small relation file of a database, if it has one.
fn sample(database: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(database).ok()?.take(LOOKED_AT).flatten();
    let relations = entries.filter(|entry| {
        let name = entry.file_name();
        name.to_str().and_then(RelFile::parse).is_some()
    });
    let mut small = relations.filter(|entry| {
        let len = entry.metadata().map_or(0, |found| found.len());
        (1..=SMALL).contains(&len)
    });
    small.next().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passage() -> Passage {
        let apart = || Err("they lie on different file systems, subvolumes or mounts".to_owned());
        Passage {
            old: "/srv/old/base".into(),
            new: "/mnt/new/base".into(),
            possible: Possible {
                link: apart(),
                swap: apart(),
                clone: Err("the file system cannot share blocks".to_owned()),
                copy_range: Ok(()),
            },
        }
    }

    fn remedy(error: &Error) -> String {
        match error.remedy_text() {
            Some(Remedy::Manual(text)) => text.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_refused_is_told_with_its_reason() {
        let passage = passage();
        let modes: Vec<Mode> = passage.modes().collect();
        assert_eq!(modes, [Mode::Copy, Mode::CopyFileRange]);
        for mode in [Mode::Copy, Mode::CopyFileRange, Mode::Auto] {
            assert_eq!(passage.problem(mode), None);
        }
        for (mode, reason) in [
            (
                Mode::Link,
                "they lie on different file systems, subvolumes or mounts",
            ),
            (
                Mode::Swap,
                "they lie on different file systems, subvolumes or mounts",
            ),
            (Mode::Clone, "the file system cannot share blocks"),
        ] {
            let error = passage.problem(mode).unwrap();
            assert_eq!(error.code(), Code::FileSystems);
            let facts = error.facts();
            let named = |name: &str| facts.iter().find(|(found, _)| found == name).unwrap();
            assert_eq!(named("new").1, "/mnt/new/base");
            assert_eq!(named("reason").1, reason);
            assert!(remedy(&error).contains("--copy"));
        }
    }

    #[test]
    fn where_numbers_are_not_kept_files_can_be_linked_all_the_same() {
        let mut passage = passage();
        passage.possible.link = Ok(());
        passage.possible.swap = Err("numbers".to_owned());
        let modes: Vec<Mode> = passage.modes().collect();
        assert_eq!(modes, [Mode::Link, Mode::Copy, Mode::CopyFileRange]);
        let error = passage.problem(Mode::Swap).unwrap();
        assert!(remedy(&error).contains("--link"));
    }
}
