//! A rehearsal names every object that new does not take, and leaves nothing behind.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::stock::{SECOND, Stock, stock};
use support::trip::{Ran, Trip, finish};
use support::{as_server_user, processes_in, tree};

/// A cluster, where it is to go, and a place for what is temporary.
struct Stage {
    trip: Trip,
    temporary: PathBuf,
    stock: Stock,
}

impl Stage {
    fn new(old: &str, new: &str) -> Self {
        let stock = stock(old);
        let temporary = stock.cluster.scratch().join("tmp");
        fs::create_dir(&temporary).unwrap();
        Self {
            trip: Trip::new(&stock.cluster, new, "link"),
            temporary,
            stock,
        }
    }

    /// Rehearses, and demands that it left nothing where it worked.
    fn rehearse(&self, words: &[&str]) -> Ran {
        let all = [&["check", "--rehearse"], words].concat();
        let mut command = self.trip.first_command(&all);
        command.env("TMPDIR", &self.temporary);
        let ran = finish(command);
        self.demand_nothing_left();
        ran
    }

    fn demand_nothing_left(&self) {
        let left: Vec<_> = fs::read_dir(&self.temporary).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        assert!(processes_in(&self.temporary).is_empty());
        assert!(!self.trip.new.exists() && !self.trip.state().exists());
    }

    fn kept(&self) -> tree::Tree {
        let mut kept = tree::kept(&self.stock.cluster.data);
        kept.extend(tree::kept(&self.stock.space));
        kept
    }
}

/// The findings of a rehearsal with this severity: database and sentence.
fn found(output: &str, severity: &str) -> Vec<(Option<String>, String)> {
    let events = output
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    events
        .filter(|event| event["check"] == "rehearsal" && event["severity"] == severity)
        .map(|event| {
            let text = |name: &str| event[name].as_str().map(str::to_owned);
            (text("database"), text("sentence").unwrap())
        })
        .collect()
}

/// Demands exactly these: in each the database, and how the sentence begins.
fn demand_found(found: &[(Option<String>, String)], wanted: &[(Option<&str>, &str)]) {
    for (database, sentence) in wanted {
        let there = found
            .iter()
            .any(|(place, told)| place.as_deref() == *database && told.starts_with(sentence));
        assert!(there, "no {database:?} {sentence} in {found:#?}");
    }
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
}

const APP: Option<&str> = Some("app");

#[test]
fn all_that_fails_is_named_and_old_is_what_it_was() {
    as_server_user("all_that_fails_is_named_and_old_is_what_it_was", || {
        let stage = Stage::new("old-15", "new-17");
        let cluster = &stage.stock.cluster;
        let server = cluster.start();
        server.sql(
            "app",
            "CREATE VIEW bg AS SELECT buffers_backend FROM pg_stat_bgwriter;
             CREATE VIEW bg_twice AS SELECT buffers_backend * 2 AS n FROM bg;
             COMMENT ON VIEW bg IS 'gone';
             CREATE FUNCTION fsyncs() RETURNS bigint LANGUAGE sql
                BEGIN ATOMIC SELECT buffers_backend_fsync FROM pg_stat_bgwriter; END;
             CREATE TABLE counted (id int PRIMARY KEY,
                                   n bigint DEFAULT pg_stat_get_buf_written_backend())",
        );
        server.sql(
            SECOND,
            "CREATE MATERIALIZED VIEW \"odd mv\" AS SELECT checkpoints_timed FROM pg_stat_bgwriter;
             CREATE TABLE \"counted too\" (n bigint DEFAULT pg_stat_get_buf_fsync_backend())",
        );
        server.stop();

        let before = stage.kept();
        let ran = stage.rehearse(&["--json"]);
        ran.demand(3);
        tree::demand_same("old after a rehearsal", &before, &stage.kept());
        let second = Some(SECOND);
        let blockers = found(&ran.stdout, "blocker");
        demand_found(
            &blockers,
            &[
                (
                    APP,
                    "VIEW bg in schema public: column pg_stat_bgwriter.buffers_backend does",
                ),
                (APP, "FUNCTION fsyncs() in schema public: column "),
                (
                    APP,
                    "TABLE counted in schema public: function pg_stat_get_buf_written_backend()",
                ),
                (second, "MATERIALIZED VIEW odd mv in schema public: column "),
                (second, "TABLE counted too in schema public: function "),
            ],
        );
        let notices = found(&ran.stdout, "notice");
        let because = "fails only because VIEW bg in schema public does";
        demand_found(
            &notices,
            &[
                (APP, &format!("VIEW bg_twice in schema public {because}")),
                (APP, "COMMENT VIEW "),
                (
                    APP,
                    "CONSTRAINT counted counted_pkey in schema public fails only because TABLE",
                ),
            ],
        );
        assert!(
            ran.stdout
                .contains("CREATE VIEW \\\"public\\\".\\\"bg\\\" AS")
        );

        let server = cluster.start();
        server.sql("app", "DROP VIEW bg CASCADE; DROP FUNCTION fsyncs()");
        server.sql(SECOND, "DROP MATERIALIZED VIEW \"odd mv\"");
        let ran = stage.rehearse(&[]);
        ran.refused(3, "PGM-6002", &["2 objects fail, and 1 for want of them"]);

        // prepare finds the same, all of it, before it undoes what it did.
        let ran = stage.trip.run_first(&["prepare", "--json"]);
        ran.demand(5);
        assert_eq!(found(&ran.stdout, "blocker").len(), 2, "{}", ran.stdout);
        assert_eq!(found(&ran.stdout, "notice").len(), 1, "{}", ran.stdout);
        assert!(ran.stdout.contains("PGM-4002"), "{}", ran.stdout);
        assert!(!stage.trip.new.exists());
        fs::remove_dir_all(stage.trip.state()).unwrap();

        server.sql("app", "DROP TABLE counted");
        server.sql(SECOND, "DROP TABLE \"counted too\"");
        let ran = stage.rehearse(&[]);
        ran.demand(0);
        assert!(ran.stdout.contains("rehearse-restore"), "{}", ran.stdout);
        assert!(ran.stdout.contains("nothing fails"), "{}", ran.stdout);
        server.stop();
        // Users' files are others now; the locations of tablespaces must be what they were.
        let folders = |dir: &Path| fs::read_dir(dir).unwrap().count();
        assert_eq!(folders(&stage.stock.space), 1);
    });
}

#[test]
fn settings_of_roles_and_operators_of_an_older_version_are_tried() {
    as_server_user(
        "settings_of_roles_and_operators_of_an_older_version_are_tried",
        || {
            let mut stage = Stage::new("old-11", "new-18");
            let server = stage.stock.cluster.start();
            server.sql(
                "postgres",
                "ALTER ROLE reader SET operator_precedence_warning = on;
                 CREATE ROLE later LOGIN PASSWORD 'not to be shown';
                 ALTER ROLE later SET vacuum_cleanup_index_scale_factor = 0.1;
                 CREATE FUNCTION less(int) RETURNS int LANGUAGE sql AS 'SELECT $1 - 1';
                 CREATE OPERATOR !- (LEFTARG = int, PROCEDURE = less)",
            );
            server.sql(
                "app",
                "CREATE VIEW with_oids AS SELECT relhasoids FROM pg_class",
            );
            let ran = stage.rehearse(&["--json"]);
            ran.demand(3);
            demand_found(
                &found(&ran.stdout, "blocker"),
                &[
                    (
                        None,
                        "ALTER ROLE \"reader\" SET \"operator_precedence_warning\"",
                    ),
                    (
                        None,
                        "ALTER ROLE \"later\" SET \"vacuum_cleanup_index_scale_factor\"",
                    ),
                    (
                        Some("postgres"),
                        "OPERATOR !- in schema public: operator right argument",
                    ),
                    (APP, "VIEW with_oids in schema public: column "),
                ],
            );
            assert!(found(&ran.stdout, "notice").is_empty(), "{}", ran.stdout);
            let mut behind = ran.stdout.split("md5").skip(1);
            let hash = behind.any(|rest| rest.starts_with(|c: char| c.is_ascii_hexdigit()));
            assert!(!hash, "{}", ran.stdout);

            // What no check can find, so that prepare comes to its restore.
            server.sql("app", "DROP VIEW with_oids");
            server.sql(
                "postgres",
                "DROP OPERATOR !- (int, NONE); ALTER ROLE reader RESET ALL; DROP ROLE later",
            );
            let spoil = "for word; do
                    script=${word#--file=}
                    if [ \"$word\" != \"$script\" ] && ! grep -q nobody \"$script\"; then
                        printf 'ALTER ROLE %s LOGIN;\\n' nobody neither >>\"$script\"
                    fi
                done
                exec \"$real\" \"$@\"";
            stage.trip.script("psql", spoil);
            let ran = stage.trip.run_first(&["prepare", "--json"]);
            ran.demand(5);
            let wanted = [
                (None, "ALTER ROLE nobody LOGIN: role \"nobody\" does not"),
                (None, "ALTER ROLE neither LOGIN: role \"neither\" does not"),
            ];
            demand_found(&found(&ran.stdout, "blocker"), &wanted);
            server.stop();
        },
    );
}

#[test]
fn interrupted_it_leaves_nothing() {
    as_server_user("interrupted_it_leaves_nothing", || {
        let mut stage = Stage::new("old-16", "new-17");
        let slow = "[ \"$1\" = --version ] || sleep 5\nexec \"$real\" \"$@\"";
        stage.trip.script("pg_restore", slow);
        let server = stage.stock.cluster.start();
        let mut command = stage.trip.first_command(&["check", "--rehearse", "--json"]);
        command
            .env("TMPDIR", &stage.temporary)
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let restoring = |line: &String| {
            let event: Value = serde_json::from_str(line).unwrap();
            event["step"] == "rehearse-restore" && event["unit"] == "objects"
        };
        assert!(
            lines
                .by_ref()
                .map(Result::unwrap)
                .any(|line| restoring(&line))
        );
        kill(
            Pid::from_raw(child.id().try_into().unwrap()),
            Signal::SIGINT,
        )
        .unwrap();
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
        stage.demand_nothing_left();
        server.demand_left_by("pg_migrator");
        server.stop();
    });
}
