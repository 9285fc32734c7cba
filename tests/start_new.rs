//! The end of a cutover that starts new, and what happens where that fails.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;
use support::as_server_user;
use support::case::{Case, demand_same_text};
use support::stock::dump;
use support::tree;
use support::trip::Trip;

/// Lets `pg_ctl start` be a script; `$real` in it is the real one.
fn with_pg_ctl(trip: &mut Trip, script: &str) {
    let text = format!("case \"$1\" in\nstart)\n{script}\n;;\n*) exec \"$real\" \"$@\" ;;\nesac");
    trip.script("pg_ctl", &text);
}

/// A case whose new cluster serves beside it and nowhere else.
fn case(mode: &str) -> Case {
    let case = Case::new(mode);
    let adopted = support::unique_cluster("new-17", &[]);
    let sockets = case.stock.cluster.scratch().display();
    adopted.configure(&format!(
        "listen_addresses = ''\nunix_socket_directories = '{sockets}'\nport = 5432"
    ));
    fs::write(adopted.data.join("pg_hba.conf"), "local all all trust\n").unwrap();
    fs::rename(&adopted.data, &case.trip.new).unwrap();
    case
}

/// Stops new, however the test ends.
struct Stopped(PathBuf, PathBuf);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = Command::new(&self.0)
            .args(["stop", "-w", "-m", "fast", "-D"])
            .arg(&self.1)
            .output();
    }
}

fn stopped_at_the_end(trip: &Trip) -> Stopped {
    Stopped(trip.new_bindir.join("pg_ctl"), trip.new.clone())
}

/// New serves what old served.
fn demand_served(case: &Case) {
    demand_same_text(&case.stock.dump, &dump(&case.stock.cluster));
}

#[test]
fn new_is_started_where_that_was_asked_for() {
    as_server_user("new_is_started_where_that_was_asked_for", || {
        let case = case("link");
        let _end = stopped_at_the_end(&case.trip);
        let ran = case.trip.run_first(&["upgrade", "--yes", "--start"]);
        ran.demand(0);
        assert!(ran.stdout.contains("accepts connections"), "{}", ran.stdout);
        demand_served(&case);
        case.trip.demand_standing("has been started");
        case.trip
            .run(&["rollback"])
            .refused(4, "PGM-2008", &["go on with the new cluster"]);
    });
}

#[test]
fn a_start_that_never_began_is_undone() {
    as_server_user("a_start_that_never_began_is_undone", || {
        let mut case = case("link");
        with_pg_ctl(&mut case.trip, "echo 'no start today' >&2; exit 1");
        case.trip.prepare();
        let before = everything(&case.trip);
        case.trip.run(&["cutover", "--start"]).refused(
            5,
            "PGM-3001",
            &["pg_ctl failed", "no start today", "waits for the cutover"],
        );
        case.demand_prepared();
        assert_eq!(everything(&case.trip), before);
        assert!(!case.trip.new.join("global/pg_control").exists());
        let started = case.trip.old_starts();
        assert!(started.status.success(), "{started:?}");
        case.trip.cutover();
        case.trip.run(&["verify"]).demand(0);
    });
}

/// New byte for byte, with its control file, which waits beside it.
fn everything(trip: &Trip) -> BTreeMap<PathBuf, String> {
    let mut all = tree::contents(&trip.new);
    let aside = trip.state().join("new-pg_control");
    all.extend(tree::contents(&aside));
    all
}

/// New may have written to the files both share: there is no going back by oneself.
#[test]
fn a_start_that_failed_after_it_began_is_not_undone() {
    as_server_user("a_start_that_failed_after_it_began_is_not_undone", || {
        let mut case = case("link");
        with_pg_ctl(
            &mut case.trip,
            "\"$real\" \"$@\"; echo 'started, and gone wrong' >&2; exit 1",
        );
        case.trip.prepare();
        let _end = stopped_at_the_end(&case.trip);
        case.trip.run(&["cutover", "--start"]).refused(
            6,
            "PGM-3001",
            &["gone wrong", "has been started", "standing: "],
        );
        demand_old_retired(&case);
        case.trip
            .run(&["rollback"])
            .refused(4, "PGM-2008", &["go on with the new cluster"]);
        case.trip.run(&["resume", "--start"]).demand(0);
        case.trip.demand_standing("has been started");
        demand_served(&case);
    });
}

#[test]
fn an_interrupted_start_is_not_undone() {
    as_server_user("an_interrupted_start_is_not_undone", || {
        let mut case = case("link");
        let place = case.stock.cluster.scratch().to_owned();
        let mark = place.join("started");
        with_pg_ctl(
            &mut case.trip,
            &format!("\"$real\" \"$@\"; touch '{}'; sleep 60", mark.display()),
        );
        case.trip.prepare();
        let _end = stopped_at_the_end(&case.trip);
        let mut underway = case.trip.begin(case.trip.command(&["cutover", "--start"]));
        assert!(underway.reaches("step_intended", "start-new-server"));
        while !mark.exists() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        underway.signal(Signal::SIGINT);
        underway
            .wait()
            .refused(130, "PGM-7001", &["has been started", "standing: "]);
        demand_old_retired(&case);
        case.trip.run(&["resume", "--start"]).demand(0);
        demand_served(&case);
        // Old is retired and need not be held any more.
        assert!(!case.trip.old.join("postmaster.pid").exists());
    });
}

fn demand_old_retired(case: &Case) {
    assert!(!case.trip.old.join("global/pg_control").exists());
    let started = case.trip.old_starts();
    assert!(!started.status.success(), "{started:?}");
}
