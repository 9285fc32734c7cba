//! How long service will be down, as far as that can be known before.

use serde::{Deserialize, Serialize};

use super::Mode;

/// What the downtime of a cutover depends on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load<'a> {
    /// How files get to the new cluster.
    pub mode: Mode,
    /// Whether old has to be stopped first.
    pub serving: bool,
    /// Where everything is copied before: how many bytes are read again, because they may have
    /// changed since.
    pub read_again: Option<u64>,
    /// Databases of old.
    pub databases: u64,
    /// Relations whose files are moved.
    pub relations: u64,
    /// Where relation files lie, the default tablespace first.
    pub places: &'a [Place],
    /// What servers take here.
    pub server: ServerSpeed,
}

/// A place with relation files.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// How many, those of the catalogs among them.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What its file system takes.
    pub disk: DiskSpeed,
    /// How they get to new; never [`Mode::Auto`].
    pub mode: Mode,
}

/// What acts cost on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DiskSpeed {
    /// Seconds to give a file one more name.
    pub link: f64,
    /// Seconds a name costs when its directory is listed.
    pub entry: f64,
    /// Seconds to copy a small file, among many.
    pub small: f64,
    /// Seconds to clone a file, among many.
    #[serde(default = "usual_clone")]
    pub clone: f64,
    /// Bytes of large files that are copied in a second.
    pub bytes: f64,
    /// Seconds until something small is on the disk.
    pub sync: f64,
}

/// What servers cost that hold next to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ServerSpeed {
    /// Seconds from the request to the first session.
    pub start: f64,
    /// Seconds from the request to the end.
    pub stop: f64,
}

/// An estimate of the downtime.
#[derive(Debug, Clone, PartialEq)]
pub struct Downtime {
    /// The steps it goes into, with seconds.
    pub parts: Vec<(&'static str, f64)>,
    /// What is added where the catalogs of old change after they were read.
    pub again: f64,
}

/// What is taken where nothing could be measured: a disk that is neither slow nor fast.
impl Default for DiskSpeed {
    fn default() -> Self {
        Self {
            link: 10e-6,
            entry: 0.3e-6,
            small: 0.2e-3,
            clone: usual_clone(),
            bytes: 400e6,
            sync: 2e-3,
        }
    }
}

fn usual_clone() -> f64 {
    30e-6
}

/// The same for servers: medians of those with 10 tables, by `ci/bench --modes downtime`.
impl Default for ServerSpeed {
    fn default() -> Self {
        Self {
            start: 0.035,
            stop: 0.03,
        }
    }
}

// What cannot be measured beforehand is what `ci/bench -n 1 --modes downtime,downtime-copy --cases
// 20000` has shown, as `docs/performance.md` names the machine: the parts of the downtime there, as
// a fixed sum and as one that grows with the number of files. The latter is work of a processor,
// mostly in the kernel, and so is listing a name: it is told in names, since those are measured.

/// What old's shutdown checkpoint waits for, a moment after another checkpoint.
const STOP_SYNCS: f64 = 5.0;
/// Of a server that holds many files, each takes its share of the last checkpoint.
const STOP_NAMES: f64 = 2.0;
/// The WAL since the reading is opened, and some files of old.
const LOOK: f64 = 0.004;
/// Rows of catalogs are looked at page by page.
const CONFIRM_NAMES: f64 = 0.6;
/// Programs that set the counters, and what they wait for.
const CARRY: f64 = 0.036;
const CARRY_SYNCS: f64 = 15.0;
/// Names in both listings are parsed, sorted and compared.
const PAIR_NAMES: f64 = 0.5;
/// Of so many files by link one has come or gone since they were linked.
const MENDED_OF: f64 = 1000.0;
/// A file and its first copy, or both its names before it is moved, are looked at.
const LOOK_AT_NAMES: f64 = 12.0;
/// Of so many bytes one is taken to be read again after the stop, where nothing is known: files that
/// are written to all the time.
const READ_AGAIN_OF: u64 = 20;
/// Names and sizes of copies are looked at.
const VERIFY_NAMES: f64 = 12.0;
/// What the small steps wait for: lines of the journal, and control files that change places.
const REST_SYNCS: f64 = 6.0;
/// The new server comes to know its files.
const START_NAMES: f64 = 1.5;
/// Reading all catalogs through a server.
const READ_NAMES: f64 = 30.0;
/// What a small file that was measured holds.
const SMALL_BYTES: u64 = 8192;
/// What a database has without relations of users, which is not moved.
const DATABASE_FILES: u64 = 295;
const DATABASE_BYTES: u64 = 7_400_000;

/// Estimates how long service will be down.
#[expect(
    clippy::cast_precision_loss,
    reason = "an estimate needs no more than 15 digits"
)]
pub fn downtime(load: &Load<'_>) -> Downtime {
    let relations = load.relations as f64;
    let files: f64 = load.places.iter().map(|place| place.files as f64).sum();
    let first = load.places.first().map(|place| place.disk);
    let DiskSpeed { sync, entry, .. } = first.unwrap_or_default();
    let mut parts = vec![
        ("confirm-catalog", LOOK + relations * CONFIRM_NAMES * entry),
        ("carry-transaction-state", CARRY + CARRY_SYNCS * sync),
        ("transfer-files", transfer(load)),
        ("release-new-cluster", REST_SYNCS * sync),
        (
            "start-new-server",
            load.server.start + files * START_NAMES * entry,
        ),
    ];
    if load.mode != Mode::Link {
        parts.insert(3, ("verify-new-cluster", relations * VERIFY_NAMES * entry));
    }
    let stop = load.server.stop + STOP_SYNCS * sync + files * STOP_NAMES * entry;
    let mut again = 0.0;
    if load.serving {
        parts.insert(0, ("stop-old-server", stop));
        again = load.server.start + stop + relations * READ_NAMES * entry;
    }
    Downtime { parts, again }
}

/// How many bytes are read again after the stop of a server of which nothing is known.
pub fn usually_read_again(places: &[Place]) -> u64 {
    places.iter().map(|place| place.bytes).sum::<u64>() / READ_AGAIN_OF
}

/// Both directories are listed in every mode.
#[expect(
    clippy::cast_precision_loss,
    reason = "an estimate needs no more than 15 digits"
)]
fn transfer(load: &Load<'_>) -> f64 {
    let mut seconds = 0.0;
    let (mut own_files, mut own_bytes) = (
        load.databases * DATABASE_FILES,
        load.databases * DATABASE_BYTES,
    );
    for place in load.places {
        let disk = &place.disk;
        let files = place.files as f64;
        seconds += files * (2.0 + PAIR_NAMES) * disk.entry;
        let moved = place.files.saturating_sub(own_files);
        seconds += match place.mode {
            Mode::Link => files / MENDED_OF * disk.link,
            Mode::Copy if load.read_again.is_some() => moved as f64 * LOOK_AT_NAMES * disk.entry,
            Mode::Clone => moved as f64 * disk.clone + disk.sync,
            Mode::Swap => moved as f64 * (disk.link + LOOK_AT_NAMES * disk.entry) + disk.sync,
            Mode::Copy | Mode::CopyFileRange | Mode::Auto => {
                let bytes = place.bytes.saturating_sub(own_bytes);
                let beyond = bytes.saturating_sub(moved * SMALL_BYTES);
                moved as f64 * disk.small + beyond as f64 / disk.bytes
            }
        };
        // Few databases have their catalogs in another tablespace.
        (own_files, own_bytes) = (0, 0);
    }
    let first = load
        .places
        .first()
        .map_or(DiskSpeed::default(), |place| place.disk);
    seconds + load.read_again.unwrap_or(0) as f64 / first.bytes
}

impl Downtime {
    /// All parts together.
    pub fn seconds(&self) -> f64 {
        self.parts.iter().map(|(_, seconds)| seconds).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIGABYTE: u64 = 1_000_000_000;

    fn place(mode: Mode, files: u64, gigabytes: u64) -> Place {
        Place {
            files: files + 3 * DATABASE_FILES,
            bytes: gigabytes * GIGABYTE + 3 * DATABASE_BYTES,
            disk: DiskSpeed::default(),
            mode,
        }
    }

    fn load(mode: Mode, places: &[Place]) -> Load<'_> {
        Load {
            mode,
            serving: true,
            read_again: None,
            databases: 3,
            relations: places[0].files - 3 * DATABASE_FILES,
            places,
            server: ServerSpeed::default(),
        }
    }

    fn seconds(mode: Mode, relations: u64, gigabytes: u64) -> f64 {
        downtime(&load(mode, &[place(mode, relations, gigabytes)])).seconds()
    }

    #[test]
    fn by_link_it_grows_with_relations_and_not_with_data() {
        let few = seconds(Mode::Link, 0, 0);
        assert_eq!(seconds(Mode::Link, 0, 1000), few);
        let each = (seconds(Mode::Link, 100_000, 0) - few) / 100_000.0;
        assert!((1e-6..5.1e-6).contains(&each), "{each}");
    }

    #[test]
    fn what_is_copied_takes_its_time_on_its_own_disk() {
        let none = seconds(Mode::Copy, 0, 0);
        let copied = seconds(Mode::Copy, 0, 400) - none;
        assert!((copied - 1000.0).abs() < 1.0, "{copied}");
        let mut slow = place(Mode::Copy, 0, 0);
        slow.bytes = 4 * GIGABYTE;
        slow.disk.bytes = 100e6;
        let both = [place(Mode::Copy, 0, 0), slow];
        let copied = downtime(&load(Mode::Copy, &both)).seconds() - none;
        assert!((copied - 40.0).abs() < 1.0, "{copied}");
    }

    #[test]
    fn a_page_of_a_small_file_is_copied_once() {
        let mut many = place(Mode::Copy, 100_000, 0);
        let none = downtime(&load(Mode::Copy, &[many])).seconds();
        many.bytes += 100_000 * SMALL_BYTES;
        let more = downtime(&load(Mode::Copy, &[many])).seconds() - none;
        assert!(more.abs() < 1e-6, "{more}");
    }

    #[test]
    fn clones_take_their_number_and_not_their_size() {
        let few = seconds(Mode::Clone, 0, 0);
        assert_eq!(seconds(Mode::Clone, 0, 1000), few);
        let each = (seconds(Mode::Clone, 100_000, 0) - few) / 100_000.0;
        assert!((30e-6..40e-6).contains(&each), "{each}");
        let mixed = [place(Mode::Clone, 0, 400), place(Mode::Copy, 0, 4)];
        let copied = downtime(&load(Mode::Auto, &mixed)).seconds() - few;
        assert!((copied - 10.0).abs() < 0.5, "{copied}");
    }

    /// What is copied before is only looked at, and what changed of it is read again.
    #[test]
    fn first_copies_cost_what_changes_after_them() {
        let places = [place(Mode::Copy, 1000, 400)];
        let mut before = load(Mode::Copy, &places);
        before.read_again = Some(0);
        let least = downtime(&before).seconds();
        assert!(least < seconds(Mode::Copy, 1000, 0), "{least}");
        before.read_again = Some(usually_read_again(&places));
        let more = downtime(&before).seconds() - least;
        assert!((more - 50.0).abs() < 0.1, "{more}");
    }

    #[test]
    fn what_was_measured_counts() {
        let places = [place(Mode::Link, 1000, 0)];
        let usual = load(Mode::Link, &places);
        let mut slow = usual;
        slow.server.start += 2.0;
        let more = downtime(&slow).seconds() - downtime(&usual).seconds();
        assert!((more - 2.0).abs() < 1e-6, "{more}");
        let mut waits = places;
        waits[0].disk.sync = 20e-3;
        assert!(downtime(&load(Mode::Link, &waits)).seconds() > 0.4);
    }

    #[test]
    fn a_stopped_cluster_has_nothing_to_stop() {
        let places = [place(Mode::Link, 10, 0)];
        let estimate = downtime(&Load {
            serving: false,
            ..load(Mode::Link, &places)
        });
        assert!(
            estimate
                .parts
                .iter()
                .all(|(step, _)| *step != "stop-old-server")
        );
        assert_eq!(estimate.again, 0.0);
    }
}
