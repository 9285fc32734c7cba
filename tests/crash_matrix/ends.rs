//! What must be there at the end of each way.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

use crate::act::{Act, Ran};
use crate::place::{Place, real};
use crate::scenario::Scenario;

/// Entries by path.
type Tree = BTreeMap<PathBuf, Entry>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    what: String,
    mode: u32,
    links: u64,
}

/// What is left at the end of a way, by standing.
pub struct Ends(BTreeMap<String, End>);

#[derive(Clone)]
struct End {
    clusters: Tree,
    kept: Vec<String>,
}

impl Ends {
    /// What each end looks like where nothing is killed.
    pub fn of(place: &Place) -> Self {
        let mut ends = BTreeMap::new();
        for (image, command) in [
            ("prepared", "cutover"),
            ("prepared", "rollback"),
            ("upgraded", "finalize"),
        ] {
            place.restore(image);
            let ran = Act::new(command).perform(place);
            ends.insert(ran.standing, End::look(place));
        }
        let failing = Scenario::failing_cutover();
        failing.begin(place);
        let ran = failing.command().perform(place);
        ran.demand_standing("Prepared");
        let undone = End::look(place);
        place.restore("prepared");
        let prepared = End::look(place);
        assert_eq!(difference(&prepared.clusters, &undone.clusters), None);
        ends.insert(ran.standing, prepared);
        assert_eq!(ends.len(), 4, "{:?}", ends.keys());
        Self(ends)
    }

    /// Where a cluster is adopted and prepare fails, everything is what it was.
    pub fn of_adopting(place: &Place) -> Self {
        place.restore("adopting");
        let before = End::look(place);
        let ran = Act::new("prepare").perform(place);
        ran.demand_standing("RolledBack");
        let after = End::look(place);
        assert_eq!(difference(&before.clusters, &after.clusters), None);
        Self([(ran.standing, after)].into())
    }

    pub fn demand(&self, place: &Place, ran: &Ran) -> Result<(), String> {
        let Some(wanted) = self.0.get(&ran.standing) else {
            return Err(format!("it does not end: {ran:?}"));
        };
        let (mut wanted, mut found) = (wanted.clone(), End::look(place));
        if place.mode == "copy" && ran.standing == "Prepared" {
            // First copies are mended by the next cutover.
            let dirs = [place.path("new/base"), place.path("space")];
            let copy = |path: &Path| dirs.iter().any(|dir| path.starts_with(dir));
            wanted.clusters.retain(|path, _| !copy(path));
            found.clusters.retain(|path, _| !copy(path));
        }
        if let Some(difference) = difference(&wanted.clusters, &found.clusters) {
            return Err(format!("{difference} ({ran:?})"));
        }
        let more = found.kept.iter().find(|name| !wanted.kept.contains(name));
        match more {
            Some(name) => Err(format!("{name} is left in the state directory ({ran:?})")),
            None => Ok(()),
        }
    }
}

impl End {
    fn look(place: &Place) -> Self {
        let (mut clusters, mut kept) = (Tree::new(), Vec::new());
        for part in ["data", "space", "new"] {
            let root = place.path(part);
            walk(&root, &mut |path, meta| {
                let entry = Entry::of(path, meta, part == "new" && has_the_time(&root, path));
                clusters.insert(path.to_owned(), entry);
            });
        }
        let state = real(&place.path("new.migration"));
        walk(&state, &mut |path, _| {
            let name = path.strip_prefix(&state).unwrap().to_str().unwrap();
            // What was said, and what was compared, is kept for people.
            if !name.starts_with("logs/") && !name.contains("old-manifest") {
                kept.push(name.to_owned());
            }
        });
        Self { clusters, kept }
    }
}

impl Entry {
    fn of(path: &Path, meta: &fs::Metadata, has_the_time: bool) -> Self {
        let what = if meta.is_symlink() {
            format!("link to {}", fs::read_link(path).unwrap().display())
        } else if meta.is_dir() {
            "directory".to_owned()
        } else if has_the_time {
            "there".to_owned()
        } else {
            format!("{:032x}", xxh3_128(&fs::read(path).unwrap()))
        };
        Self {
            what,
            mode: meta.permissions().mode(),
            links: if meta.is_file() { meta.nlink() } else { 0 },
        }
    }
}

/// What pg_resetwal makes has the time in it.
fn has_the_time(new: &Path, path: &Path) -> bool {
    path.starts_with(new.join("pg_wal")) || path.ends_with("global/pg_control")
}

fn walk(path: &Path, visit: &mut impl FnMut(&Path, &fs::Metadata)) {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return;
    };
    visit(path, &meta);
    if meta.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            walk(&entry.unwrap().path(), visit);
        }
    }
}

fn difference(wanted: &Tree, found: &Tree) -> Option<String> {
    for (path, entry) in wanted {
        match found.get(path) {
            None => return Some(format!("{} is gone", path.display())),
            Some(now) if now != entry => {
                return Some(format!("{}: {entry:?} became {now:?}", path.display()));
            }
            Some(_) => {}
        }
    }
    let more = found.keys().find(|path| !wanted.contains_key(*path))?;
    Some(format!("{} is left over", more.display()))
}
