//! Runs that end with an error.

use std::io;

use super::{STEPS, Tape, finished, found, new, old, progress, run, started};
use crate::error::{Code, Error, Exit, Remedy};
use crate::event::{
    Advice, ClusterFacts, Event, EventKind, Found, Level, Remaining, Severity, SkipOption, Skipped,
    StepLabel, Tally,
};
use crate::journal::Phase;
use crate::pg::Version;

/// A precondition fails before anything is known.
pub fn precondition() -> Vec<Event> {
    let mut tape = Tape::new("2026-03-01T02:00:00Z");
    let error = Error::new(Code::OldServerRunning, "the old server is still running")
        .fact("data directory", "/var/lib/postgresql/15/main")
        .fact("pid", 4711)
        .remedy(Remedy::command(
            "/usr/lib/postgresql/15/bin/pg_ctl stop -D /var/lib/postgresql/15/main",
        ));
    let standing = "nothing has been changed; the old cluster is as it was";
    tape.after(0.0, run("prepare", &STEPS)).after(
        0.2,
        finished(Exit::Precondition, standing, Some(error), &[], 0.2),
    );
    tape.events
}

/// The checks find blockers, warnings and a notice.
pub fn findings() -> Vec<Event> {
    let mut tape = Tape::new("2026-03-01T02:00:00Z");
    let prepared = |database: &str, name: &str| Found {
        facts: vec![
            ("owner".into(), "bob".into()),
            ("prepared".into(), "2026-02-27".into()),
        ],
        remedy: Some(Advice {
            remedy: Remedy::Sql {
                database: database.into(),
                sql: format!("ROLLBACK PREPARED '{name}';"),
            },
            destructive: true,
        }),
        ..found(
            "prepared-transaction",
            Severity::Blocker,
            Some(database),
            &format!("the transaction {name} has been prepared and not ended"),
        )
    };
    let unchecked = Found {
        facts: vec![(
            "last lines".into(),
            "FATAL:  no memory\nHINT:  buy some".into(),
        )],
        remedy: Some(Remedy::manual("repair what the facts name and check again").into()),
        ..found(
            "PGM-6004",
            Severity::Blocker,
            None,
            "a check could not be made",
        )
    };
    let slot = found(
        "physical-slot",
        Severity::Notice,
        None,
        "the slot standby1 will not be carried",
    );
    let refused = |database: &str| Found {
        remedy: Some(
            Remedy::Sql {
                database: "postgres".into(),
                sql: "UPDATE pg_database SET datallowconn = true\nWHERE NOT datallowconn;".into(),
            }
            .into(),
        ),
        ..found(
            "closed-database",
            Severity::Warning,
            Some(database),
            "no connections are allowed",
        )
    };
    tape.after(0.0, run("check", &[]))
        .after(0.1, old())
        .after(0.0, new());
    let all = [
        refused("archive"),
        prepared("app", "x1"),
        slot,
        unchecked,
        prepared("shop", "x2"),
        refused("attic"),
    ];
    for one in all {
        tape.after(0.1, EventKind::Finding(one));
    }
    let counts = EventKind::ChecksFinished(Tally {
        made: 58,
        applicable: 58,
        skipped: 0,
        blockers: 3,
        warnings: 2,
        notices: 1,
        seconds: 2.1,
    });
    let error = Error::new(Code::Blocked, "3 findings block the upgrade");
    let again = "pg_migrator check -b /usr/lib/postgresql/15/bin -B /usr/lib/postgresql/17/bin";
    let standing = "nothing has been changed; the old cluster is as it was";
    tape.after(1.4, counts).after(
        0.0,
        finished(Exit::Findings, standing, Some(error), &[again], 2.2),
    );
    tape.events
}

/// Some checks are left out, and one of the others finds much.
pub fn chosen() -> Vec<Event> {
    let mut tape = Tape::new("2026-03-01T02:00:00Z");
    let oids = |number: usize| {
        let table = format!("public.t{number}");
        Found {
            columns: [("relation".to_owned(), table.clone())].into(),
            remedy: Some(Advice {
                remedy: Remedy::Sql {
                    database: "app".into(),
                    sql: format!("ALTER TABLE {table} SET WITHOUT OIDS;"),
                },
                destructive: true,
            }),
            ..found(
                "tables-with-oids",
                Severity::Blocker,
                Some("app"),
                &format!("table {table} has a hidden oid column"),
            )
        }
    };
    tape.after(0.0, run("check", &[])).after(0.1, old());
    let listed = EventKind::FindingsListed {
        check: "tables-with-oids".into(),
        findings: 12,
        file: "/srv/my lists/tables-with-oids.txt".into(),
    };
    tape.after(0.1, listed);
    for number in 1..=12 {
        tape.after(0.0, EventKind::Finding(oids(number)));
    }
    for (check, severity) in [
        ("prepared-transactions", Severity::Blocker),
        ("event-triggers", Severity::Notice),
    ] {
        let skipped = Skipped {
            check: check.into(),
            severity,
            option: SkipOption::Skip,
        };
        tape.after(0.0, EventKind::CheckSkipped(skipped));
    }
    let counts = EventKind::ChecksFinished(Tally {
        made: 56,
        applicable: 58,
        skipped: 2,
        blockers: 12,
        warnings: 0,
        notices: 0,
        seconds: 2.1,
    });
    let written = EventKind::RemediesWritten {
        file: "/srv/fix.sql".into(),
        statements: 0,
        destructive: 12,
        by_hand: 0,
        command: "/usr/lib/postgresql/17/bin/psql -X -U postgres -d app -f /srv/fix.sql".into(),
    };
    let error = Error::new(Code::Blocked, "something blocks the upgrade");
    let standing = "nothing has been changed; the old cluster is as it was";
    tape.after(1.0, counts).after(0.0, written).after(
        0.0,
        finished(Exit::Findings, standing, Some(error), &[], 2.2),
    );
    tape.events
}

/// A step fails in the middle, with causes and the end of a log.
pub fn restore_failed() -> Vec<Event> {
    let mut tape = Tape::new("2026-03-01T02:00:00Z");
    let cause = io::Error::other("relation \"pg_stat\" does not exist");
    let error = Error::new(
        Code::RestoreFailed,
        "the schema of database app could not be restored",
    )
    .fact("database", "app")
    .fact("log", "/srv/my pg17.migration/logs/restore-app.log")
    .fact(
        "last lines",
        "pg_restore: error: could not execute query\nCommand was: CREATE VIEW v",
    )
    .caused_by(&cause)
    .remedy(Remedy::Sql {
        database: "app".into(),
        sql: "DROP VIEW public.v;".into(),
    });
    let standing = "the new cluster is half built; the old cluster is as it was";
    tape.after(0.0, run("prepare", &STEPS))
        .after(0.1, old())
        .after(0.0, new())
        .step("create-new-cluster", "UTF8", 0.9)
        .step("dump-old-schema", "3 databases", 31.4)
        .after(0.0, started("restore-schemas"))
        .after(
            1.0,
            EventKind::StepFailed {
                step: "restore-schemas".into(),
            },
        )
        .after(
            0.0,
            finished(
                Exit::Stopped,
                standing,
                Some(error),
                &[
                    "pg_migrator resume -D '/srv/my pg17'",
                    "pg_migrator rollback -D '/srv/my pg17'",
                ],
                33.5,
            ),
        );
    tape.events
}

/// Every text that comes from outside tries to command the terminal and to fake our own lines.
pub fn attack() -> Vec<Event> {
    let evil =
        |name: &str| format!("{name}\u{1b}[2J\u{9b}31m\u{202e}\r\nstanding: all is lost\u{7}");
    let path = evil("/srv/pg");
    let mut tape = Tape::new("2026-03-01T02:00:00Z");
    let mut version = Version::parse("17.10").unwrap();
    version.text = evil("17");
    let finding = Found {
        facts: vec![(evil("fact"), evil("value"))],
        columns: [(evil("column"), evil("value"))].into(),
        remedy: Some(
            Remedy::Sql {
                database: evil("db"),
                sql: evil("DROP"),
            }
            .into(),
        ),
        ..found(
            &evil("check"),
            Severity::Blocker,
            Some(&evil("db")),
            &evil("sentence"),
        )
    };
    let error = Error::new(Code::Query, evil("message"))
        .fact(&evil("fact"), evil("value"))
        .caused_by(&io::Error::other(evil("cause")))
        .remedy(Remedy::command(evil("pg_ctl")));
    tape.after(
        0.0,
        EventKind::RunStarted {
            command: evil("prepare"),
            program: evil("0"),
            mode: Some(evil("link")),
            way_back: Some(evil("never")),
            steps: vec![StepLabel {
                step: evil("left"),
                phase: Phase::Prepare,
            }],
        },
    )
    .after(
        0.0,
        EventKind::Cluster(ClusterFacts {
            side: evil("new"),
            data_directory: path.into(),
            version,
            description: evil("stopped"),
        }),
    )
    .after(0.0, started(&evil("step")))
    .after(11.0, progress(&evil("step"), &evil("tables"), 1, Some(2)))
    .after(0.0, EventKind::Finding(finding))
    .after(
        0.0,
        EventKind::Message {
            level: Level::Warning,
            text: evil("text"),
        },
    )
    .step(&evil("step"), &evil("detail"), 0.1)
    .after(
        0.0,
        EventKind::StepUndone {
            step: evil("step"),
            seconds: 0.1,
        },
    )
    .after(0.0, EventKind::StepFailed { step: evil("step") })
    .after(
        0.0,
        EventKind::Remaining {
            items: vec![Remaining {
                what: evil("what"),
                commands: vec![evil("command")],
            }],
        },
    )
    .after(
        0.0,
        finished(
            Exit::Stopped,
            &evil("standing"),
            Some(error),
            &[&evil("next")],
            0.1,
        ),
    );
    tape.events
}
