//! What a check does to a server that others use: nothing. And what it finds among its files.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::trip::{Ran, Trip, finish};
use support::{Cluster, Running, as_server_user, cluster, tree};

/// The events of this kind.
fn told(ran: &Ran, kind: &str) -> Vec<Value> {
    let lines = ran.stdout.lines();
    let events = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["event"] == kind).collect()
}

/// What a server writes of its own accord, whoever connects.
fn is_of_the_server(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    let within = |dir: &str| path.components().any(|part| part.as_os_str() == dir);
    ["pg_control", "pg_internal.init"].contains(&name)
        || ["pg_wal", "pg_stat", "pg_stat_tmp"].into_iter().any(within)
}

/// Every file of old, after all that was written is on disk; and its next transaction.
fn state(cluster: &Cluster, server: &Running<'_>) -> (BTreeMap<PathBuf, String>, i64) {
    server.sql("postgres", "CHECKPOINT");
    let mut files = tree::contents(&cluster.data);
    files.retain(|path, _| !is_of_the_server(path));
    let next = "SELECT txid_snapshot_xmax(txid_current_snapshot())";
    let next = server.connect("postgres").query_one(next, &[]).unwrap();
    (files, next.get(0))
}

fn names_in(dir: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The first words of the statements our sessions have sent.
fn kinds_of_statements(log: &str) -> BTreeSet<String> {
    let ours = log
        .lines()
        .filter_map(|line| line.strip_prefix("pg_migrator|"));
    let said = ours.filter_map(|line| {
        let said = line.split_once("LOG:  ")?.1;
        let executed = said.strip_prefix("execute ");
        let executed = executed.and_then(|rest| Some(rest.split_once(": ")?.1));
        executed.or(said.strip_prefix("statement: "))
    });
    let words = said.filter_map(|sql| sql.split_whitespace().next());
    words.map(str::to_ascii_uppercase).collect()
}

#[test]
fn a_check_leaves_no_trace_in_a_running_server() {
    as_server_user("a_check_leaves_no_trace_in_a_running_server", || {
        let old = cluster("old-13", &[]);
        let settings = ["autovacuum=off", "log_statement=all", "log_line_prefix=%a|"];
        let server = old.start_with(&settings);
        server.sql("postgres", "CREATE DATABASE shop");
        server.sql(
            "shop",
            "CREATE EXTENSION citext; CREATE TABLE item (id int PRIMARY KEY, name citext); \
             INSERT INTO item SELECT n, 'item ' || n FROM generate_series(1, 1000) n; \
             CREATE UNLOGGED TABLE cache (id int); SELECT lo_create(4711)",
        );
        // Who reads a row first notes with it that its transaction has ended.
        for database in ["template1", "postgres", "shop"] {
            server.sql(database, "VACUUM FREEZE");
        }
        let temporary = old.scratch().join("temporary");
        fs::create_dir(&temporary).unwrap();
        let trip = Trip::new(&old, "new-18", "link");
        let (before, around) = (state(&old, &server), names_in(old.scratch()));
        let mut command = trip.first_command(&["check", "--json"]);
        command.env("TMPDIR", &temporary);
        let ran = finish(command);
        ran.demand(0);
        server.demand_left_by("pg_migrator");
        let after = state(&old, &server);
        assert_eq!(after.1, before.1, "a transaction has written");
        let changed = |path: &&PathBuf| before.0.get(*path) != after.0.get(*path);
        let all: BTreeSet<&PathBuf> = before.0.keys().chain(after.0.keys()).collect();
        let changed: Vec<_> = all.into_iter().filter(changed).collect();
        assert!(changed.is_empty(), "{changed:?}");
        assert_eq!(names_in(old.scratch()), around);
        assert_eq!(names_in(&temporary), BTreeSet::new());
        let kinds = kinds_of_statements(&old.server_log());
        let harmless = [
            "BEGIN", "COMMIT", "COPY", "ROLLBACK", "SELECT", "SET", "SHOW", "WITH",
        ];
        assert!(kinds.contains("SELECT"), "{kinds:?}");
        assert!(
            kinds.iter().all(|kind| harmless.contains(&kind.as_str())),
            "{kinds:?}"
        );
        downtime_is_estimated(&ran);
        nobody_at_work_is_accused(&server, &trip);
        server.stop();
    });
}

/// By each mode, with parts that make the whole, from what was measured here.
fn downtime_is_estimated(ran: &Ran) {
    let estimates = told(ran, "downtime_estimated");
    let modes: Vec<&str> = estimates
        .iter()
        .map(|one| one["mode"].as_str().unwrap())
        .collect();
    assert_eq!(modes, ["link", "copy"]);
    for estimate in &estimates {
        let parts = estimate["parts"].as_array().unwrap();
        let sum: f64 = parts.iter().map(|p| p["seconds"].as_f64().unwrap()).sum();
        let whole = estimate["seconds"].as_f64().unwrap();
        assert!((0.01..600.0).contains(&whole), "{estimate}");
        assert!((sum - whole).abs() < 1e-6, "{estimate}");
        assert_eq!(parts[0]["what"], "stop-old-server");
        assert_eq!(parts.last().unwrap()["what"], "start-new-server");
        assert_eq!(estimate["assumed"], serde_json::json!([]));
    }
}

const ORPHANS: [&str; 3] = [
    "check",
    "--json",
    "--only=orphaned-files,orphaned-databases",
];

/// Files come and go while they are listed.
fn nobody_at_work_is_accused(server: &Running<'_>, trip: &Trip) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                for work in [
                    "CREATE TABLE passing AS SELECT generate_series(1, 5000) AS id; \
                     CREATE INDEX ON passing (id); CREATE TEMP TABLE mine AS TABLE passing",
                    "VACUUM FULL passing",
                    "TRUNCATE item; REINDEX TABLE passing; DROP TABLE passing",
                ] {
                    server.sql("shop", work);
                }
            }
        });
        for _ in 0..2 {
            let ran = trip.run_first(&ORPHANS);
            over.store(ran.code != 0, Ordering::SeqCst);
            ran.demand(0);
            assert_eq!(told(&ran, "finding"), [Value::Null; 0]);
        }
        over.store(true, Ordering::SeqCst);
    });
}

#[test]
fn what_a_crash_left_behind_is_named_with_its_size() {
    as_server_user("what_a_crash_left_behind_is_named_with_its_size", || {
        let old = cluster("old-15", &[]);
        let server = old.start();
        let mut session = server.connect("postgres");
        let fill = "BEGIN; CREATE TABLE never AS SELECT generate_series(1, 100000) AS id";
        session.batch_execute(fill).unwrap();
        let made = "SELECT pg_relation_filepath('never'), pg_backend_pid()";
        let made = session.query_one(made, &[]).unwrap();
        let (path, backend): (String, i32) = (made.get(0), made.get(1));
        server.sql("postgres", "CHECKPOINT");
        // A session that ended by itself would take its files with it.
        kill(Pid::from_raw(backend), Signal::SIGKILL).unwrap();
        let ready = || {
            old.server_log()
                .matches("ready to accept connections")
                .count()
        };
        let killed = Instant::now();
        while ready() < 2 {
            assert!(killed.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(10));
        }
        let file = fs::File::options().write(true).open(old.data.join(&path));
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        file.unwrap().set_modified(long_ago).unwrap();
        let ran = Trip::new(&old, "new-17", "link").run_first(&ORPHANS);
        ran.demand(0);
        let found = told(&ran, "finding");
        assert_eq!(found.len(), 1, "{}", ran.stdout);
        assert_eq!(found[0]["check"], "orphaned-files");
        assert_eq!(found[0]["severity"], "notice");
        assert_eq!(found[0]["columns"]["file"], path);
        assert_eq!(found[0]["columns"]["size"], "3544 kB");
        server.stop();
    });
}
