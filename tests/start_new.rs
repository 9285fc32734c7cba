//! The end of a cutover that starts new, and what happens where that fails.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use support::case::{Case, demand_same_text};
use support::stock::dump;
use support::tree;
use support::trip::Trip;
use support::{as_server_user, say};

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

/// What a script for `postgres` does while this file is there, but for saying its version.
fn with_postgres(case: &mut Case, wrong: &Path) {
    let text = format!(
        "if [ -e '{}' ]; then case \"$1\" in -V|--version) ;; *) echo 'FATAL: no luck' >&2; exit 7 ;; \
         esac; fi\nexec \"$real\" \"$@\"",
        wrong.display()
    );
    case.trip.script("postgres", &text);
    // It looks for the server beside itself, wherever a link to it lies.
    let ours = case.trip.new_bindir.join("pg_ctl");
    let real = fs::canonicalize(&ours).unwrap();
    fs::remove_file(&ours).unwrap();
    support::copy_program(&real, &ours);
}

/// Gives new settings it does not start with, or, without any, a program that ends at once.
fn spoil(conf: &Path, right: &str, lines: &str, wrong: &Path) {
    fs::write(conf, format!("{right}\n{lines}\n")).unwrap();
    if lines.is_empty() {
        fs::write(wrong, "").unwrap();
    }
}

/// A setting nobody knows, a port somebody has, a library that is not there, a server program that
/// ends at once: new has not begun to serve, so old does again, and what is mended starts.
#[test]
fn whatever_keeps_new_from_starting_is_told_and_undone() {
    as_server_user(
        "whatever_keeps_new_from_starting_is_told_and_undone",
        || {
            let mut case = case("link");
            let wrong = case.stock.cluster.scratch().join("wrong");
            with_postgres(&mut case, &wrong);
            case.trip.prepare();
            let conf = case.trip.new.join("postgresql.conf");
            let right = fs::read_to_string(&conf).unwrap();
            let taken = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = taken.local_addr().unwrap().port();
            let port = format!("listen_addresses = '127.0.0.1'\nport = {port}");
            for (lines, reason) in [
                ("no_such_setting = 1", "no_such_setting"),
                (&*port, "Address already in use"),
                (
                    "shared_preload_libraries = 'no_such_library'",
                    "no_such_library",
                ),
                ("", "FATAL: no luck"),
            ] {
                spoil(&conf, &right, lines, &wrong);
                let ran = case.trip.run(&["cutover", "--start"]);
                ran.refused(5, "PGM-3001", &[reason, "waits for the cutover", "remedy:"]);
                case.demand_prepared();
                assert!(
                    !case.trip.new.join("global/pg_control").exists(),
                    "{reason}"
                );
                let started = case.trip.old_starts();
                assert!(started.status.success(), "{reason}: {started:?}");
                say(&format!(
                    "TRIED new that does not start at the end: {reason}"
                ));
            }
            fs::write(&conf, right).unwrap();
            fs::remove_file(&wrong).unwrap();
            let _end = stopped_at_the_end(&case.trip);
            case.trip.run(&["cutover", "--start"]).demand(0);
            demand_served(&case);
        },
    );
}

/// The same of the private servers that build new, and of the one a cutover may need.
#[test]
fn whatever_keeps_a_private_new_server_from_starting_is_told_and_undone() {
    let name = "whatever_keeps_a_private_new_server_from_starting_is_told_and_undone";
    as_server_user(name, || {
        let mut case = case("copy");
        let wrong = case.stock.cluster.scratch().join("wrong");
        with_postgres(&mut case, &wrong);
        let conf = case.trip.new.join("postgresql.conf");
        let right = fs::read_to_string(&conf).unwrap();
        for (lines, reason) in [
            ("no_such_setting = 1", "no_such_setting"),
            (
                "shared_preload_libraries = 'no_such_library'",
                "no_such_library",
            ),
            ("", "FATAL: no luck"),
        ] {
            spoil(&conf, &right, lines, &wrong);
            let ran = case.trip.run_first(&["prepare"]);
            ran.refused(5, "PGM-3001", &[reason, "everything was undone", "remedy:"]);
            case.demand_untouched_old(reason);
            say(&format!(
                "TRIED new that does not start in prepare: {reason}"
            ));
        }
        fs::write(&conf, right).unwrap();
        fs::remove_file(&wrong).unwrap();
        case.trip.prepare();

        let server = case.stock.cluster.start();
        server.sql("app", "SELECT lo_from_bytea(777001, 'made late')");
        server.stop();
        fs::write(&wrong, "").unwrap();
        let ran = case.trip.run(&["cutover"]);
        ran.refused(5, "PGM-3001", &["no luck", "waits for the cutover"]);
        let started = case.trip.old_starts();
        assert!(started.status.success(), "{started:?}");
        fs::remove_file(&wrong).unwrap();
        case.trip.cutover();
        case.trip.run(&["verify"]).demand(0);
        say("TRIED new that does not start in the middle of a cutover");
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
