//! How long service will be down, as far as that can be known before.

use super::Mode;

/// What the downtime of a cutover depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// How files get to the new cluster.
    pub mode: Mode,
    /// Whether old has to be stopped first.
    pub serving: bool,
    /// Relations that users made.
    pub relations: u64,
    /// Bytes of relation files.
    pub bytes: u64,
}

/// An estimate of the downtime.
#[derive(Debug, Clone, PartialEq)]
pub struct Downtime {
    /// The steps it goes into, with seconds.
    pub parts: Vec<(&'static str, f64)>,
    /// What is added where the catalogs of old change after they were read.
    pub again: f64,
}

/// A stop with its shutdown checkpoint, where one was made a moment before.
const STOP: f64 = 0.2;
/// A start, from the request to the first session.
const START: f64 = 0.2;
/// New's counters are set and written to disk.
const CARRY: f64 = 0.1;
/// Opening what has to be looked at, however little that is.
const LOOK: f64 = 0.02;
/// Rows of catalogs are looked at page by page.
const CONFIRM_EACH: f64 = 2e-6;
/// Both directories are listed.
const FILES_EACH: f64 = 2e-6;
/// Reading all catalogs through a server.
const READ_EACH: f64 = 10e-6;
/// Bytes copied in a second, and written to disk: a disk that is neither slow nor fast.
const COPIED: f64 = 400e6;

/// Estimates how long service will be down.
///
/// Stop and start depend on the settings and the work of a server, and copying on its disks:
/// what is not known of them is taken to be usual.
#[expect(
    clippy::cast_precision_loss,
    reason = "an estimate needs no more than 15 digits"
)]
pub fn downtime(load: &Load) -> Downtime {
    let relations = load.relations as f64;
    let copying = match load.mode {
        Mode::Link => 0.0,
        Mode::Copy => load.bytes as f64 / COPIED,
    };
    let mut parts = vec![
        ("confirm-catalog", LOOK + relations * CONFIRM_EACH),
        ("carry-transaction-state", CARRY),
        ("transfer-files", LOOK + relations * FILES_EACH + copying),
        ("start-new-server", START),
    ];
    let mut again = 0.0;
    if load.serving {
        parts.insert(0, ("stop-old-server", STOP));
        again = START + STOP + relations * READ_EACH;
    }
    Downtime { parts, again }
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

    fn seconds(mode: Mode, relations: u64, gigabytes: u64) -> f64 {
        let bytes = gigabytes * GIGABYTE;
        downtime(&Load {
            mode,
            serving: true,
            relations,
            bytes,
        })
        .seconds()
    }

    #[test]
    fn by_link_it_grows_with_relations_and_not_with_data() {
        let few = seconds(Mode::Link, 0, 0);
        assert_eq!(seconds(Mode::Link, 0, 1000), few);
        let each = (seconds(Mode::Link, 100_000, 0) - few) / 100_000.0;
        assert!((1e-6..5.1e-6).contains(&each), "{each}");
        assert!(seconds(Mode::Copy, 0, 400) > 900.0);
    }

    #[test]
    fn a_stopped_cluster_has_nothing_to_stop() {
        let estimate = downtime(&Load {
            mode: Mode::Link,
            serving: false,
            relations: 10,
            bytes: 0,
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
