//! The estimate of the downtime: what is measured for it, and telling it.
//!
//! File systems are measured in a directory that is made for it and removed at once, never in a
//! data directory: beside new's, the state directory's or old's, or among temporary files,
//! wherever the same file system is. Only of one that holds nothing but a tablespace it is made
//! in the location of that.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::run::Run;
use crate::catalog::Snapshot;
use crate::disk;
use crate::engine::Engine;
use crate::error::{Error, Family, Result};
use crate::event::{DowntimePart, EventKind, Level, Sink};
use crate::pg::DataDir;
use crate::pg::amount::size;
use crate::plan::{
    DiskSpeed, Inventory, Load, Mode, Place, Plan, ServerSpeed, TablespacePlace, downtime,
    usually_read_again,
};
use crate::survey::{self, Surveyed};

/// What was measured, in the state directory.
const MACHINE: &str = "machine.json";

/// What takes less than a moment to read changes no decision.
const WORTH_SAYING: u64 = 64 << 20;

/// How much is done for an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Everything is measured, since somebody decides by it.
    Measured,
    /// What is known is taken: nobody waits for it.
    Known,
}

/// How quick everything is here.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Machine {
    server: ServerSpeed,
    /// The file systems of the places with relation files, in their order.
    disks: Vec<DiskSpeed>,
    /// What is taken to be usual, with the reasons.
    assumed: Vec<String>,
}

/// Where files go, and where they are.
struct Site<'a> {
    new: &'a Path,
    old: &'a Path,
    /// Where something may be made at the worst.
    within: Option<&'a Path>,
}

/// Says at the end of a check how long a cutover would take service down, by each mode there is.
///
/// # Errors
///
/// Only where somebody asked to stop: what cannot be measured is said, and taken to be usual.
pub fn of_check(
    run: &Run,
    surveyed: &Surveyed,
    snapshot: &Snapshot,
    (asked, jobs): (Option<Mode>, usize),
    server: Result<(f64, f64)>,
) -> Result<()> {
    run.cancel.check()?;
    let mut machine = Machine::default();
    match server {
        Ok((start, stop)) => machine.server = ServerSpeed { start, stop },
        Err(error) if error.code().family() == Family::Signal => return Err(error),
        Err(error) => machine.assumes("the start and the stop of a server", &error),
    }
    let base = surveyed.old.path.join("base");
    let near = [
        surveyed.new_dir.as_deref().and_then(Path::parent),
        surveyed.state_dir.as_deref().and_then(Path::parent),
        surveyed.old.path.parent(),
    ];
    let sites = sites(&surveyed.inventory, &surveyed.tablespaces, &base, None);
    machine.measure(&sites, &near, jobs);
    machine.tell_assumed(run);
    for mode in modes_to_tell(surveyed, asked) {
        let places = machine.places(&surveyed.inventory, &modes_of_places(surveyed, mode));
        let first_copies = mode == Mode::Copy && surveyed.serving.is_some();
        let read_again = first_copies.then(|| usually_read_again(&places));
        tell(
            run,
            &Load {
                mode,
                serving: surveyed.serving.is_some(),
                read_again,
                databases: snapshot.databases.len() as u64,
                relations: relations(snapshot),
                places: &places,
                server: machine.server,
            },
            &machine.assumed,
        );
    }
    Ok(())
}

/// Says how long the cutover of what is prepared is going to take service down.
///
/// What cannot be found out for it stops nobody.
pub fn of_prepared(engine: &mut Engine<'_>, plan: &Plan, run: &Run, basis: Basis) {
    let context = engine.context();
    let (Ok(snapshot), Ok(serving), Ok(files)) = (
        context.old_snapshot(),
        context.old_is_serving(),
        survey::relation_files(&context.old_dir(), &plan.old),
    ) else {
        return;
    };
    let mut machine = match basis {
        Basis::Known => context.load(MACHINE).unwrap_or_default(),
        Basis::Measured => {
            let mut machine = Machine::default();
            let base = plan.old.data_dir.join("base");
            let near = [
                Some(plan.state_dir.as_path()),
                plan.new.data_dir.parent(),
                plan.old.data_dir.parent(),
            ];
            let sites = sites(
                &files,
                &plan.old.tablespaces,
                &base,
                Some(&plan.new.data_dir),
            );
            machine.measure(&sites, &near, plan.jobs);
            machine.tell_assumed(run);
            machine
        }
    };
    // What came between its last looks comes again between the last one and the stop.
    let read_again = context
        .read_for_copies()
        .map(|read| if serving.is_some() { read } else { 0 });
    if let Some(start) = context.new_started_in {
        machine.server.start = start;
    }
    if basis == Basis::Measured {
        // The cutover says the same with it, and estimates as well without it.
        let _ = context.save(MACHINE, &machine);
    }
    let places = machine.places(&files, &planned_modes(plan));
    tell(
        run,
        &Load {
            mode: plan.mode,
            serving: serving.is_some(),
            read_again,
            databases: snapshot.databases.len() as u64,
            relations: relations(&snapshot),
            places: &places,
            server: machine.server,
        },
        &machine.assumed,
    );
}

fn relations(snapshot: &Snapshot) -> u64 {
    let relations = snapshot.databases.iter().map(|one| one.relations.len());
    relations.sum::<usize>() as u64
}

/// The default tablespace goes from `base` to `new`, and what was made in place goes along; the
/// others stay where they are.
fn sites<'a>(
    inventory: &'a [Inventory],
    tablespaces: &[TablespacePlace],
    base: &'a Path,
    new: Option<&'a Path>,
) -> Vec<Site<'a>> {
    let new_place = |place: &'a Inventory| new.unwrap_or(&place.new_place);
    let default = inventory.first().map(|place| Site {
        new: new_place(place),
        old: base,
        within: None,
    });
    let others = inventory.iter().skip(1).zip(tablespaces);
    let others = others.map(|(place, tablespace)| match tablespace.in_place {
        true => Site {
            new: new_place(place),
            old: &place.old_place,
            within: None,
        },
        false => Site {
            new: &place.new_place,
            old: &place.old_place,
            within: Some(&place.new_place),
        },
    });
    default.into_iter().chain(others).collect()
}

/// Those that are possible everywhere, and the one that was asked for.
fn modes_to_tell(surveyed: &Surveyed, asked: Option<Mode>) -> Vec<Mode> {
    let possible = |mode: &Mode| {
        let refused = surveyed
            .passages
            .iter()
            .any(|one| one.refuses(*mode).is_some());
        !refused && (!surveyed.passages.is_empty() || *mode == Mode::Copy)
    };
    let all = [Mode::Link, Mode::Clone, Mode::Copy].into_iter();
    let mut modes: Vec<Mode> = all.filter(possible).collect();
    let asked = asked.map(|mode| survey::decided(surveyed, mode).0);
    modes.extend(asked.filter(|mode| !modes.contains(mode)));
    modes
}

fn modes_of_places(surveyed: &Surveyed, mode: Mode) -> Vec<Mode> {
    let places = 0..surveyed.inventory.len();
    places
        .map(|at| survey::mode_of_place(surveyed, mode, at))
        .collect()
}

/// The same where all is decided.
fn planned_modes(plan: &Plan) -> Vec<Mode> {
    let old = &plan.old;
    let folder = DataDir::tablespace_version_dir(old.version.major, old.catalog_version);
    let spaces = old
        .tablespaces
        .iter()
        .map(|place| place.location.join(&folder));
    let places = [old.data_dir.join("base")].into_iter().chain(spaces);
    places.map(|place| plan.mode_of(&place)).collect()
}

fn tell(run: &Run, load: &Load<'_>, assumed: &[String]) {
    let estimate = downtime(load);
    run.stream.emit(EventKind::DowntimeEstimated {
        mode: Some(load.mode.to_string()),
        seconds: estimate.seconds(),
        again_seconds: estimate.again,
        parts: estimate
            .parts
            .into_iter()
            .map(|(what, seconds)| DowntimePart {
                what: what.to_owned(),
                seconds,
            })
            .collect(),
        assumed: assumed.to_vec(),
    });
    if let Some(bytes) = load.read_again.filter(|bytes| *bytes >= WORTH_SAYING) {
        run.stream.emit(EventKind::Message {
            level: Level::Note,
            text: format!(
                "by copy, {} are taken to be read again after the stop: files that are written to \
                 at the last moment; the rest is copied while old serves",
                size(bytes)
            ),
        });
    }
}

impl Machine {
    fn assumes(&mut self, what: &str, error: &Error) {
        let causes = error.causes().join(": ");
        let why = match causes.is_empty() {
            true => error.message().to_owned(),
            false => format!("{}: {causes}", error.message()),
        };
        self.assumed.push(format!("{what} ({why})"));
    }

    fn tell_assumed(&self, run: &Run) {
        for assumed in &self.assumed {
            run.stream.emit(EventKind::Message {
                level: Level::Note,
                text: format!("not measured, and taken to be usual: {assumed}"),
            });
        }
    }

    /// Measures each file system once.
    fn measure(&mut self, sites: &[Site<'_>], near: &[Option<&Path>], jobs: usize) {
        let mut known: BTreeMap<(u64, bool), Option<DiskSpeed>> = BTreeMap::new();
        let temporary = std::env::temp_dir();
        for site in sites {
            let device = |path: &Path| disk::space(path).map(|space| space.device);
            let (there, here) = match (device(site.new), device(site.old)) {
                (Ok(there), Ok(here)) => (there, here),
                (Err(error), _) | (_, Err(error)) => {
                    self.assumes(&costs(site.new), &error);
                    self.disks.push(DiskSpeed::default());
                    continue;
                }
            };
            let beside_old = there == here;
            let speed = known.entry((there, beside_old)).or_insert_with(|| {
                let near = near.iter().flatten().copied();
                let possible: Vec<PathBuf> = near
                    .chain([&*temporary])
                    .chain(site.within)
                    .filter(|dir| dir.is_dir() && device(dir).is_ok_and(|found| found == there))
                    .map(Path::to_owned)
                    .collect();
                let mut failed = None;
                for dir in possible {
                    match disk::speed(&dir, beside_old, jobs) {
                        Ok(speed) => return Some(of_disk(&speed)),
                        Err(error) => failed = failed.or(Some(error)),
                    }
                }
                match failed {
                    Some(error) => self.assumes(&costs(site.new), &error),
                    None => self.assumed.push(format!(
                        "{} (there is no place for a test)",
                        costs(site.new)
                    )),
                }
                None
            });
            self.disks.push(speed.unwrap_or_default());
        }
    }

    fn places(&self, inventory: &[Inventory], modes: &[Mode]) -> Vec<Place> {
        let places = inventory.iter().zip(modes).enumerate();
        places
            .map(|(at, (place, mode))| Place {
                files: place.files,
                bytes: place.bytes,
                disk: self.disks.get(at).copied().unwrap_or_default(),
                mode: *mode,
            })
            .collect()
    }
}

fn costs(place: &Path) -> String {
    format!("links and copies on the file system of {}", place.display())
}

fn of_disk(speed: &disk::Speed) -> DiskSpeed {
    let usual = DiskSpeed::default();
    DiskSpeed {
        link: speed.link,
        entry: speed.entry,
        small: speed.small,
        clone: speed.clone.unwrap_or(usual.clone),
        bytes: speed.bytes,
        sync: speed.sync,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::Oid;

    /// One that somebody has put into old's data directory stays there; one that was made in place
    /// goes along, wherever that is.
    #[test]
    fn what_was_made_in_place_goes_along() {
        let place = |old: &str, new: &str| Inventory {
            old_place: old.into(),
            new_place: new.into(),
            bytes: 1,
            files: 1,
        };
        let files = [
            place("/old/base", "/new/base"),
            place("/old/inside", "/old/inside"),
            place("/real/pg_tblspc/7", "/new/pg_tblspc/7"),
        ];
        let tablespaces = [(5, "/old/inside", false), (7, "/real/pg_tblspc/7", true)];
        let tablespaces = tablespaces.map(|(oid, location, in_place)| TablespacePlace {
            oid: Oid(oid),
            location: location.into(),
            in_place,
        });
        let new = Path::new("/new");
        let sites = sites(&files, &tablespaces, Path::new("/old/base"), Some(new));
        let seen = |site: &Site<'_>| (site.new.to_owned(), site.within.is_some());
        let wanted = [("/new", false), ("/old/inside", true), ("/new", false)];
        let wanted = wanted.map(|(new, within)| (PathBuf::from(new), within));
        assert_eq!(sites.iter().map(seen).collect::<Vec<_>>(), wanted);
    }
}
