//! Whether the file systems have the room that a mode needs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::disk::{self, Space};
use crate::error::{Code, Error, Remedy, Result};
use crate::pg::DataDir;
use crate::plan::{Demand, Inventory, Mode, TablespacePlace, demands};

use super::Surveyed;
use super::passages::{Passage, mode_below};

/// Where the files are and where they go.
pub(super) struct Sites<'a> {
    pub(super) old: &'a DataDir,
    pub(super) tablespaces: &'a [TablespacePlace],
    pub(super) inventory: &'a [Inventory],
    pub(super) passages: &'a [Passage],
    pub(super) new_dir: &'a Path,
    pub(super) state_dir: &'a Path,
}

/// What is missing for this mode, given what the catalogs hold.
///
/// Nothing where no new data directory is known, as in a `check` without one.
///
/// # Errors
///
/// `DiskOperation` where a file system cannot be asked.
pub fn space_problems(
    surveyed: &Surveyed,
    mode: Mode,
    databases: u64,
    relations: u64,
) -> Result<Vec<Error>> {
    let (Some(new_dir), Some(state_dir)) = (&surveyed.new_dir, &surveyed.state_dir) else {
        return Ok(Vec::new());
    };
    let sites = Sites {
        old: &surveyed.old,
        tablespaces: &surveyed.tablespaces,
        inventory: &surveyed.inventory,
        passages: &surveyed.passages,
        new_dir,
        state_dir,
    };
    problems(&sites, mode, databases, relations)
}

pub(super) fn problems(
    sites: &Sites<'_>,
    mode: Mode,
    databases: u64,
    relations: u64,
) -> Result<Vec<Error>> {
    let modes = modes(sites, mode);
    let all = demands(
        &modes,
        sites.inventory,
        sites.new_dir,
        sites.state_dir,
        databases,
        relations,
    );
    let mut groups: BTreeMap<u64, Group> = BTreeMap::new();
    for demand in all {
        let space = disk::space(&demand.place)?;
        groups
            .entry(space.device)
            .or_insert_with(|| Group::on(space))
            .add(demand);
    }
    let linkable = sites
        .passages
        .iter()
        .all(|passage| passage.refuses(Mode::Link).is_none());
    let problems = groups.values();
    Ok(problems
        .flat_map(|group| group.problems(mode, linkable))
        .collect())
}

/// The mode of each place: where some of its folders are copied, that of those.
fn modes(sites: &Sites<'_>, mode: Mode) -> Vec<Mode> {
    let base = sites.old.path.join("base");
    let spaces = sites.tablespaces.iter().map(|place| place.location.clone());
    let places = [base].into_iter().chain(spaces).take(sites.inventory.len());
    places
        .map(|place| mode_below(sites.passages, &place, mode))
        .collect()
}

/// All that one file system must hold.
struct Group {
    space: Space,
    places: Vec<PathBuf>,
    bytes: u64,
    inodes: u64,
}

impl Group {
    fn on(space: Space) -> Self {
        Self {
            space,
            places: Vec::new(),
            bytes: 0,
            inodes: 0,
        }
    }

    fn add(&mut self, demand: Demand) {
        self.bytes = self.bytes.saturating_add(demand.bytes);
        self.inodes = self.inodes.saturating_add(demand.inodes);
        if !self.places.contains(&demand.place) {
            self.places.push(demand.place);
        }
    }

    fn problems(&self, mode: Mode, linkable: bool) -> Vec<Error> {
        let mut found = Vec::new();
        if self.bytes > self.space.free_bytes {
            let missing = size(self.bytes - self.space.free_bytes);
            let other_mode = match mode {
                Mode::Copy | Mode::CopyFileRange | Mode::Auto if linkable => {
                    ", or use --link, which needs no room for the data"
                }
                _ => "",
            };
            found.push(
                self.problem("the file system has too little space")
                    .fact("needed", size(self.bytes))
                    .fact("free", size(self.space.free_bytes))
                    .remedy(Remedy::manual(format!(
                        "free {missing} there, or choose another place{other_mode}"
                    ))),
            );
        }
        if let Some(free) = self.space.free_inodes.filter(|free| self.inodes > *free) {
            found.push(
                self.problem("the file system has too few free inodes")
                    .fact("needed", self.inodes)
                    .fact("free", free)
                    .remedy(Remedy::manual(
                        "remove files there, or choose a place on a file system with more inodes",
                    )),
            );
        }
        found
    }

    fn problem(&self, message: &str) -> Error {
        let error = Error::new(Code::NoSpace, message);
        self.places
            .iter()
            .fold(error, |e, place| e.fact("file system of", place.display()))
    }
}

/// Rounded up to a unit an operator can compare with `df -h`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 3] = ["MB", "GB", "TB"];
    let mut unit = 0;
    let mut tenths = (u128::from(bytes) * 10).div_ceil(1 << 20);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths = tenths.div_ceil(1024);
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(free_bytes: u64, free_inodes: Option<u64>) -> Group {
        let space = Space {
            device: 1,
            free_bytes,
            free_inodes,
            block: 4096,
        };
        let mut group = Group::on(space);
        for place in ["/srv/pg17", "/srv/pg17", "/srv/pg17.migration"] {
            group.add(Demand {
                place: place.into(),
                bytes: 5 << 30,
                inodes: 100,
            });
        }
        group
    }

    #[test]
    fn demands_on_one_file_system_add_up() {
        assert!(
            group(15 << 30, Some(300))
                .problems(Mode::Copy, true)
                .is_empty()
        );
        assert!(group(15 << 30, None).problems(Mode::Copy, true).is_empty());
        let found = group((15 << 30) - 1, Some(299)).problems(Mode::Copy, true);
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|error| error.code() == Code::NoSpace));
        let facts: Vec<_> = found[0]
            .facts()
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        assert_eq!(
            facts,
            [
                "file system of: /srv/pg17",
                "file system of: /srv/pg17.migration",
                "needed: 15.0 GB",
                "free: 15.0 GB",
            ]
        );
        assert!(found[1].message().contains("inodes"));
    }

    #[test]
    fn only_copying_is_told_of_links_and_where_there_can_be_any() {
        let says = |mode, linkable| {
            let found = group(0, None).problems(mode, linkable);
            let Some(Remedy::Manual(text)) = found[0].remedy_text() else {
                panic!("no sentence");
            };
            text.clone()
        };
        let copy = says(Mode::Copy, true);
        assert!(copy.contains("free 15.0 GB there") && copy.contains("--link"));
        assert!(!says(Mode::Copy, false).contains("--link"));
        assert!(!says(Mode::Link, true).contains("--link"));
    }

    #[test]
    fn sizes_are_rounded_up() {
        assert_eq!(size(1), "0.1 MB");
        assert_eq!(size(1 << 20), "1.0 MB");
        assert_eq!(size(1 << 30), "1.0 GB");
        assert_eq!(size(3 << 40), "3.0 TB");
        assert_eq!(size(u64::MAX), "16777216.0 TB");
    }
}
