//! Parsers of what lies in a state directory, which may be damaged or somebody else's.

use std::fs;
use std::path::Path;

use pg_migrator::catalog::{Fingerprint, Inventory, Snapshot};
use pg_migrator::disk::Area;
use pg_migrator::engine::StateDir;
use pg_migrator::event::{Event, Listener};
use pg_migrator::journal::{JOURNAL_FILE, Journal};
use pg_migrator::render::{Filter, replay};
use pg_migrator::steps::new_state;
use pg_migrator::transfer::Moves;
use pg_migrator::transfer::first_copies::{LEDGER, Ledger};
use pg_migrator::verify::Manifest;

use crate::seal;
use crate::target::{Target, sealed, target};

pub const TARGETS: &[Target] = &[
    sealed("journal", seal::journal, |input| {
        in_state(JOURNAL_FILE, input, |area| {
            if let Ok(Some(state)) = Journal::read(area) {
                let _ = state.standing();
                // What was read can be gone on with.
                let _ = Journal::open(area);
            }
        });
    }),
    target("plan", |input| {
        in_state(
            JOURNAL_FILE,
            include_bytes!("../corpus/journal/prepared"),
            |area| {
                fs::write(area.root().join("plan.json"), input).unwrap();
                let _ = StateDir::look(area.root());
            },
        );
    }),
    sealed("first-copies", seal::ledger, |input| {
        in_state(LEDGER, input, |area| {
            if let Ok(ledger) = Ledger::open(area) {
                let _ = ledger.last();
            }
        });
    }),
    target("swap", |input| drop(serde_json::from_slice::<Moves>(input))),
    target("snapshot", |input| {
        drop(serde_json::from_slice::<Snapshot>(input))
    }),
    target("events", |input| {
        let _ = replay(input, &mut Shown, Filter::Everything);
    }),
    target("inventory", |input| {
        drop(serde_json::from_slice::<Inventory>(input))
    }),
    target("fingerprint", |input| {
        drop(serde_json::from_slice::<Fingerprint>(input))
    }),
    target("released-control", released_control),
    target("manifest", manifest),
];

struct Shown;

impl Listener for Shown {
    fn hear(&mut self, event: &Event) {
        let _ = serde_json::to_vec(event);
    }
}

/// With a state directory that has this file.
fn in_state(name: &str, input: &[u8], with: impl FnOnce(&Area)) {
    let memory = Path::new("/dev/shm");
    let dir = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    let dir = dir.unwrap();
    fs::write(dir.path().join(name), input).unwrap();
    with(&Area::new(dir.path()).unwrap());
}

/// What new's control file was when it was released.
fn released_control(input: &[u8]) {
    let journal = include_bytes!("../corpus/journal/prepared");
    in_state(JOURNAL_FILE, journal, |area| {
        fs::write(
            area.root().join("plan.json"),
            include_bytes!("../corpus/plan/link"),
        )
        .unwrap();
        fs::write(area.root().join("released-control.json"), input).unwrap();
        let (_, plan) = StateDir::look(area.root()).unwrap();
        let _ = new_state(&plan, area);
    });
}

/// What was read can be written, and is read as the same then.
fn manifest(input: &[u8]) {
    let dir = Path::new("/srv/old");
    if let Some(manifest) = Manifest::parse(input, dir) {
        let again = Manifest::parse(&manifest.text(dir, "of old"), dir);
        assert_eq!(again.as_ref(), Some(&manifest));
    }
}
