//! What must be there at the end of each way.

use std::collections::BTreeMap;
use std::path::Path;

use crate::act::{Act, Ran};
use crate::cell::Scenario;
use crate::place::Place;
use crate::support::tree::{Tree, whole};

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
        let mut clusters = Tree::new();
        for part in ["data", "space", "new"] {
            clusters.extend(whole(&place.path(part)));
        }
        clusters.retain(|path, entry| {
            // Every copy of the image has its own.
            entry.inode = 0;
            // These have the time in them.
            let new = path.starts_with(place.path("new"));
            if new && (path.ends_with("global/pg_control") || in_wal(path)) {
                "there".clone_into(&mut entry.what);
            }
            true
        });
        let state = place.path("new.migration");
        let mut kept: Vec<String> = walkdir::WalkDir::new(&state)
            .into_iter()
            .filter_map(Result::ok)
            .map(|entry| {
                entry
                    .path()
                    .strip_prefix(&state)
                    .unwrap()
                    .display()
                    .to_string()
            })
            // What was said, and what was compared, is kept for people.
            .filter(|name| !name.starts_with("logs/") && !name.contains("old-manifest"))
            .collect();
        kept.sort();
        Self { clusters, kept }
    }
}

fn in_wal(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "pg_wal") && path.is_file()
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
