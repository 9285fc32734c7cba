//! Runs that never were, for the tests of this room.

mod failing;

pub use failing::{attack, chosen, findings, precondition, restore_failed};

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use crate::error::{Error, Exit, Remedy};
use crate::event::{
    ClusterFacts, DowntimePart, Event, EventKind, Found, Level, Listener, Remaining, Severity,
    StepLabel, StepState, Tally,
};
use crate::journal::{Phase, Standing};
use crate::pg::Version;

/// A place to write that a test can read.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A listener that keeps what it hears.
#[derive(Default)]
pub struct Kept(pub Vec<Event>);

impl Listener for Kept {
    fn hear(&mut self, event: &Event) {
        self.0.push(event.clone());
    }
}

/// Numbers and dates events.
struct Tape {
    events: Vec<Event>,
    clock: SystemTime,
}

impl Tape {
    fn new(begin: &str) -> Self {
        Self {
            events: Vec::new(),
            clock: humantime::parse_rfc3339(begin).unwrap(),
        }
    }

    fn after(&mut self, seconds: f64, kind: EventKind) -> &mut Self {
        self.clock += Duration::from_secs_f64(seconds);
        let seq = self.events.len() as u64 + 1;
        let time = humantime::format_rfc3339_millis(self.clock).to_string();
        self.events.push(Event { seq, time, kind });
        self
    }

    fn step(&mut self, step: &str, detail: &str, seconds: f64) -> &mut Self {
        self.after(0.0, started(step));
        let (step, detail) = (step.into(), detail.into());
        self.after(
            seconds,
            EventKind::StepFinished {
                step,
                detail,
                seconds,
            },
        )
    }
}

fn started(step: &str) -> EventKind {
    EventKind::StepStarted { step: step.into() }
}

fn stands(step: &str, state: StepState) -> EventKind {
    EventKind::StepStands {
        step: step.into(),
        state,
    }
}

fn progress(step: &str, unit: &str, done: u64, total: Option<u64>) -> EventKind {
    EventKind::Progress {
        step: step.into(),
        unit: unit.into(),
        done,
        total,
    }
}

fn cluster(side: &str, path: &str, version: &str, description: &str) -> EventKind {
    EventKind::Cluster(ClusterFacts {
        side: side.into(),
        data_directory: path.into(),
        version: Version::parse(version).unwrap(),
        description: description.into(),
    })
}

fn run(command: &str, steps: &[(&str, Phase)]) -> EventKind {
    EventKind::RunStarted {
        command: command.into(),
        program: "0.1.0".into(),
        mode: Some("link".into()),
        way_back: Some("the way back ends when new is first started".into()),
        steps: steps
            .iter()
            .map(|(step, phase)| StepLabel {
                step: (*step).into(),
                phase: *phase,
            })
            .collect(),
    }
}

fn finished(
    exit: Exit,
    standing: &str,
    error: Option<Error>,
    next: &[&str],
    seconds: f64,
) -> EventKind {
    EventKind::RunFinished {
        exit,
        status: exit.status(),
        standing: standing.into(),
        error,
        next: next.iter().map(|command| (*command).to_owned()).collect(),
        seconds,
        downtime_seconds: None,
        downtime_parts: Vec::new(),
    }
}

fn found(check: &str, severity: Severity, database: Option<&str>, sentence: &str) -> Found {
    Found {
        check: check.into(),
        severity,
        database: database.map(str::to_owned),
        sentence: sentence.into(),
        columns: BTreeMap::new(),
        facts: Vec::new(),
        remedy: None,
    }
}

const STEPS: [(&str, Phase); 6] = [
    ("create-new-cluster", Phase::Prepare),
    ("dump-old-schema", Phase::Prepare),
    ("restore-schemas", Phase::Prepare),
    ("stop-old-server", Phase::Cutover),
    ("transfer-files", Phase::Cutover),
    ("sync-new-cluster", Phase::Cutover),
];

fn old() -> EventKind {
    cluster(
        "old",
        "/srv/pg15",
        "postgres (PostgreSQL) 15.18",
        "stopped, 3 databases, 20,114 tables",
    )
}

fn new() -> EventKind {
    cluster(
        "new",
        "/srv/my pg17",
        "postgres (PostgreSQL) 17.10",
        "to be created",
    )
}

/// Everything goes well, with two warnings, progress, and things left to do.
pub fn upgrade() -> Vec<Event> {
    let mut tape = Tape::new("2026-03-01T02:00:00Z");
    let standing = |standing| EventKind::Standing { standing };
    let counts = EventKind::ChecksFinished(Tally {
        made: 58,
        applicable: 58,
        skipped: 0,
        blockers: 0,
        warnings: 2,
        notices: 0,
        seconds: 2.1,
    });
    let refresh = |name: &str| Found {
        remedy: Some(
            Remedy::Sql {
                database: "app".into(),
                sql: format!("ALTER TABLE {name} SET LOGGED;"),
            }
            .into(),
        ),
        ..found(
            "unlogged-table",
            Severity::Warning,
            Some("app"),
            &format!("the table {name} is unlogged"),
        )
    };
    tape.after(0.0, run("upgrade", &STEPS))
        .after(0.1, old())
        .after(0.0, new());
    tape.after(0.0, started("check"))
        .after(0.5, progress("check", "checks", 12, Some(58)))
        .after(0.2, EventKind::Finding(refresh("public.a")))
        .after(0.2, EventKind::Finding(refresh("public.b")))
        .after(1.2, counts);
    tape.after(0.0, standing(Standing::Preparing))
        .step(
            "create-new-cluster",
            "UTF8, C.UTF-8, checksums off, WAL segments 16 MB",
            0.9,
        )
        .step("dump-old-schema", "3 databases", 31.4)
        .after(0.0, started("restore-schemas"))
        .after(
            6.0,
            progress("restore-schemas", "tables", 3000, Some(20_114)),
        )
        .after(
            6.0,
            progress("restore-schemas", "tables", 6000, Some(20_114)),
        )
        .after(
            6.0,
            progress("restore-schemas", "tables", 9000, Some(20_114)),
        )
        .after(
            6.0,
            progress("restore-schemas", "tables", 12_410, Some(20_114)),
        )
        .after(
            1.0,
            EventKind::Message {
                level: Level::Warning,
                text: "the server log speaks of a deprecated setting".into(),
            },
        )
        .after(
            87.0,
            EventKind::StepFinished {
                step: "restore-schemas".into(),
                detail: "20,114 tables in 3 databases".into(),
                seconds: 112.0,
            },
        )
        .after(0.0, standing(Standing::Prepared))
        .after(0.0, standing(Standing::CuttingOver))
        .step("stop-old-server", "fast", 0.2)
        .after(0.0, started("transfer-files"))
        .after(
            11.0,
            progress("transfer-files", "bytes", 5 << 30, Some(812 << 30)),
        )
        .after(
            1.0,
            EventKind::StepFinished {
                step: "transfer-files".into(),
                detail: "60,342 files linked".into(),
                seconds: 12.0,
            },
        )
        .step("sync-new-cluster", "WAL and control file are on disk", 0.3)
        .after(0.0, standing(Standing::Upgraded))
        .after(
            0.0,
            EventKind::Remaining {
                items: vec![
                    Remaining {
                        what: "collect the statistics, without which the planner guesses".into(),
                        commands: vec!["vacuumdb --all --analyze-in-stages".into()],
                    },
                    Remaining {
                        what: "carry the settings over from postgresql.conf of old".into(),
                        commands: vec![
                            "diff /srv/pg15/postgresql.conf '/srv/my pg17/postgresql.conf'".into(),
                            "$EDITOR '/srv/my pg17/postgresql.conf'".into(),
                        ],
                    },
                ],
            },
        );
    let last = EventKind::RunFinished {
        exit: Exit::Done,
        status: 0,
        standing: "the new cluster in /srv/my pg17 is complete and may be started".into(),
        error: None,
        next: vec![
            "/usr/lib/postgresql/17/bin/pg_ctl start -D '/srv/my pg17'".into(),
            "pg_migrator rollback -D '/srv/my pg17'".into(),
        ],
        seconds: 162.0,
        downtime_seconds: Some(12.5),
        downtime_parts: [
            ("stop-old-server", 0.21),
            ("confirm-catalog", 0.04),
            ("transfer-files", 11.7),
            ("start-new-server", 0.35),
        ]
        .map(|(what, seconds)| DowntimePart {
            what: what.to_owned(),
            seconds,
        })
        .into(),
    };
    tape.after(0.0, last);
    tape.events
}

/// Everything is undone.
pub fn rollback() -> Vec<Event> {
    let mut tape = Tape::new("2026-03-02T09:30:00Z");
    let standing = |standing| EventKind::Standing { standing };
    tape.after(0.0, run("rollback", &STEPS))
        .after(0.1, old())
        .after(
            0.0,
            cluster(
                "new",
                "/srv/my pg17",
                "postgres (PostgreSQL) 17.10",
                "never started",
            ),
        )
        .after(0.0, standing(Standing::RollingBack));
    for (step, seconds) in [
        ("sync-new-cluster", 0.0),
        ("transfer-files", 1.5),
        ("stop-old-server", 0.0),
        ("restore-schemas", 0.0),
        ("dump-old-schema", 0.0),
        ("create-new-cluster", 0.4),
    ] {
        tape.after(
            seconds,
            EventKind::StepUndone {
                step: step.into(),
                seconds,
            },
        );
    }
    let text = "the old cluster in /srv/pg15 is as it was and may be started";
    let next = ["/usr/lib/postgresql/15/bin/pg_ctl start -D /srv/pg15"];
    tape.after(0.0, standing(Standing::RolledBack))
        .after(0.0, finished(Exit::Done, text, None, &next, 2.1));
    tape.events
}

/// Where a migration stands.
pub fn status() -> Vec<Event> {
    let mut tape = Tape::new("2026-03-01T03:00:00Z");
    let text = "the new cluster in /srv/my pg17 is built and waits for the cutover";
    let next = [
        "pg_migrator cutover -D '/srv/my pg17'",
        "pg_migrator rollback -D '/srv/my pg17'",
    ];
    tape.after(0.0, run("status", &STEPS))
        .after(0.0, old())
        .after(
            0.0,
            cluster(
                "new",
                "/srv/my pg17",
                "postgres (PostgreSQL) 17.10",
                "built",
            ),
        )
        .after(
            0.0,
            EventKind::Standing {
                standing: Standing::Prepared,
            },
        )
        .after(0.0, stands("create-new-cluster", StepState::Done))
        .after(0.0, stands("dump-old-schema", StepState::Done))
        .after(0.0, stands("restore-schemas", StepState::Intended))
        .after(
            0.0,
            EventKind::Message {
                level: Level::Note,
                text: "the new cluster has been started since its release".into(),
            },
        )
        .after(0.0, finished(Exit::Done, text, None, &next, 0.0));
    tape.events
}

/// Every run, with the name of its snapshot.
pub fn all() -> Vec<(&'static str, Vec<Event>)> {
    vec![
        ("upgrade", upgrade()),
        ("precondition", precondition()),
        ("findings", findings()),
        ("chosen", chosen()),
        ("rollback", rollback()),
        ("restore_failed", restore_failed()),
        ("status", status()),
        ("attack", attack()),
    ]
}
