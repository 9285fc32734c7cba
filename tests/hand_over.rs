//! When which cluster may be started, and what is left when old is given up.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use support::as_server_user;
use support::case::Case;
use support::tree;
use support::trip::{ATTEMPTS, LIMIT, Trip};

/// A server that must not have started, for a reason that is in its log.
fn demand_refused(case: &Case, started: &Output, reason: &str) {
    assert!(!started.status.success(), "{started:?}");
    let log = fs::read_to_string(case.stock.cluster.scratch().join("pg_ctl.log")).unwrap();
    assert!(log.contains(reason), "no {reason:?} in:\n{log}");
}

const DISCARD: &str = "rollback --discard-new-writes";

/// Going back loses what new has written, and must be asked for.
fn demand_way_back(case: &Case) {
    case.trip
        .run(&["rollback"])
        .refused(4, "PGM-2008", &[DISCARD]);
    let words: Vec<&str> = DISCARD.split(' ').collect();
    case.trip.run(&words).demand(0);
    case.demand_back("a new cluster that was started too early");
}

/// New, started as soon as the private server of a killed run is gone: it is told to end when the
/// run dies, and takes a moment to.
fn starts_when_alone(case: &Case) -> Output {
    let log = case.trip.new.with_file_name("pg_ctl.log");
    let asked = Instant::now();
    loop {
        let started = case.trip.new_starts();
        let said = fs::read_to_string(&log).unwrap();
        if started.status.success() || !said.contains("Is another postmaster") {
            return started;
        }
        assert!(asked.elapsed() < LIMIT, "{said}");
        fs::remove_file(&log).unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn demand_started(started: &Output) {
    assert!(started.status.success(), "{started:?}");
}

#[test]
fn neither_cluster_can_be_started_by_accident() {
    as_server_user("neither_cluster_can_be_started_by_accident", || {
        let case = Case::new("link");
        let trip = &case.trip;
        trip.prepare();
        demand_refused(&case, &trip.new_starts(), "global/pg_control");
        demand_started(&trip.old_starts());

        let frozen = trip.frozen_cutover("step_intended", "transfer-files");
        demand_refused(&case, &trip.new_starts(), "global/pg_control");
        demand_refused(&case, &trip.old_starts(), "postmaster.pid");
        demand_not_stopped(trip);
        frozen.go_on().demand(0);

        let last = trip.old.join("global/pg_control");
        demand_refused(&case, &trip.old_starts(), last.to_str().unwrap());
        assert!(last.with_extension("old").exists());
        demand_started(&trip.new_starts());
    });
}

/// pg_ctl takes the process that holds old for no server, and sends it no signal.
fn demand_not_stopped(trip: &Trip) {
    let stopped = Command::new(trip.old_bindir.join("pg_ctl"))
        .args(["stop", "-m", "immediate", "-D"])
        .arg(&trip.old)
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&stopped.stderr);
    assert!(
        !stopped.status.success() && said.contains("single-user"),
        "{said}"
    );
}

#[test]
fn by_link_the_way_back_ends_when_new_is_started() {
    as_server_user("by_link_the_way_back_ends_when_new_is_started", || {
        let case = Case::new("link");
        let trip = &case.trip;
        trip.prepare();
        trip.cutover();
        let status = trip.run(&["status"]).stdout;
        assert!(status.contains("pg_migrator rollback"), "{status}");
        let new = trip.new_cluster();
        let server = new.start();
        trip.run(&["rollback"])
            .refused(4, "PGM-2008", &["go on with the new cluster"]);
        server.stop();
        trip.demand_standing("has been started");
        for words in [&["rollback"][..], &["rollback", "--discard-new-writes"]] {
            trip.run(words).refused(
                4,
                "PGM-2008",
                &["has written to files that were old's", "mode", "link"],
            );
        }
        let status = trip.run(&["status"]).stdout;
        assert!(!status.contains("pg_migrator rollback"), "{status}");
        assert!(status.contains("pg_migrator finalize"), "{status}");
        let last = trip.old.join("global/pg_control");
        demand_refused(&case, &trip.old_starts(), last.to_str().unwrap());
        case.demand_arrived(&case.stock.dump);
    });
}

#[test]
fn by_copy_the_way_back_costs_what_was_written_to_new() {
    as_server_user("by_copy_the_way_back_costs_what_was_written_to_new", || {
        let case = Case::new("copy");
        let trip = &case.trip;
        trip.prepare();
        trip.cutover();
        let new = trip.new_cluster();
        let server = new.start();
        server.sql("app", "INSERT INTO elsewhere VALUES (9999, 'in new')");
        trip.run(&["rollback", "--discard-new-writes"]).refused(
            4,
            "PGM-1204",
            &[
                "a server is running in the new data directory",
                "pg_ctl stop",
            ],
        );
        trip.run(&["finalize"]).refused(4, "PGM-2007", &["--yes"]);
        server.stop();
        trip.run(&["rollback"]).refused(
            4,
            "PGM-2008",
            &[
                "rows written to it since then would be lost",
                "--discard-new-writes",
            ],
        );
        case.demand_arrived(&new_dump(&case));
        trip.run(&["rollback", "--discard-new-writes"]).demand(0);
        case.demand_back("rollback of a started new cluster");
    });
}

/// Lets a command fail because new's control file cannot be taken out of its directory.
fn with_control_stuck(trip: &Trip, words: &[&str]) {
    let global = trip.new.join("global");
    let allow = |mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(&global, mode).unwrap();
    };
    allow(0o500);
    trip.run(words).demand(6);
    allow(0o700);
    trip.demand_standing("the way back has begun");
}

const KEEP_NEW: &str = "resume --keep-new";

/// While a way back is interrupted before it has taken new's control file, new can be started.
/// By link and by swap there is one way on from there, in the other modes there are two.
#[test]
fn a_way_back_is_not_gone_on_over_what_was_written_to_new_meanwhile() {
    as_server_user(
        "a_way_back_is_not_gone_on_over_what_was_written_to_new_meanwhile",
        || {
            for mode in ["copy", "link", "swap"] {
                let case = Case::new(mode);
                let trip = &case.trip;
                trip.prepare();
                trip.cutover();
                with_control_stuck(trip, &["rollback"]);

                let new = trip.new_cluster();
                let server = new.start();
                server.sql("app", "INSERT INTO elsewhere VALUES (9999, 'in new')");
                let running = "a server is running in the new data directory";
                match mode {
                    "copy" => trip.run(&["resume"]).refused(6, "PGM-1204", &[running]),
                    _ => trip.run(&["resume"]).refused(6, "PGM-2008", &[KEEP_NEW]),
                };
                trip.demand_standing("had begun and not taken anything yet when the new cluster");
                server.stop();
                let ran = trip.run(&["resume"]);
                ran.refused(6, "PGM-2008", &["has been started", KEEP_NEW]);
                let discards = ran.stderr.contains(DISCARD);
                assert_eq!(discards, mode == "copy", "{}", ran.stderr);
                case.demand_arrived(&new_dump(&case));
                match mode {
                    "copy" => {
                        trip.run(&["rollback", "--discard-new-writes"]).demand(0);
                        case.demand_back("rollback of a new cluster started meanwhile");
                    }
                    _ => demand_kept_for_good(&case, &new_dump(&case)),
                }
            }
        },
    );
}

/// A way back that has taken nothing is given up, whether new serves meanwhile or not.
fn demand_kept_for_good(case: &Case, wanted: &str) {
    let trip = &case.trip;
    let status = trip.run(&["status"]).stdout;
    assert!(!status.contains("pg_migrator rollback"), "{status}");
    trip.run(&["resume", "--keep-new"]).demand(0);
    trip.demand_standing("is complete and has been started");
    trip.run(&["resume", "--keep-new"])
        .refused(4, "PGM-2006", &["no way back has begun"]);
    assert!(!trip.old_starts().status.success());
    case.demand_arrived(wanted);
    trip.run(&["finalize", "--yes"]).demand(0);
    case.demand_arrived(wanted);
}

#[test]
fn a_way_back_that_has_taken_nothing_is_given_up_while_new_serves() {
    as_server_user(
        "a_way_back_that_has_taken_nothing_is_given_up_while_new_serves",
        || {
            for mode in ["copy", "link", "swap"] {
                let case = Case::new(mode);
                let trip = &case.trip;
                trip.prepare();
                trip.cutover();
                with_control_stuck(trip, &["rollback"]);
                let new = trip.new_cluster();
                let server = new.start();
                trip.run(&["resume", "--keep-new"]).demand(0);
                trip.demand_standing("is complete and has been started");
                assert!(!trip.old.join("postmaster.pid").exists());
                server.stop();
                match mode {
                    "copy" => {
                        trip.run(&["rollback", "--discard-new-writes"]).demand(0);
                        case.demand_back("rollback after a way back that was given up");
                    }
                    _ => {
                        trip.run(&["rollback"]).refused(
                            4,
                            "PGM-2008",
                            &["go on with the new cluster"],
                        );
                        trip.run(&["finalize", "--yes"]).demand(0);
                        case.demand_arrived(&case.stock.dump);
                    }
                }
            }
        },
    );
}

/// Also before new was started nothing is lost; and what was taken is given back as before.
#[test]
fn only_a_way_back_that_has_taken_nothing_can_be_given_up() {
    as_server_user(
        "only_a_way_back_that_has_taken_nothing_can_be_given_up",
        || {
            let case = Case::new("swap");
            let trip = &case.trip;
            trip.prepare();
            trip.cutover();
            with_control_stuck(trip, &["rollback"]);
            trip.run(&["resume", "--keep-new"]).demand(0);
            trip.demand_standing("is complete and may be started");
            trip.run(&["verify"]).demand(0);

            // A file that is missing stops the way back after it has taken new's control file.
            let file = trip.a_file_that_was_swapped();
            let aside = case.stock.cluster.scratch().join("aside");
            fs::rename(&file, &aside).unwrap();
            trip.run(&["rollback"]).demand(6);
            trip.run(&["resume", "--keep-new"]).refused(
                6,
                "PGM-2006",
                &["is not complete, or not any more"],
            );
            fs::rename(&aside, &file).unwrap();
            trip.run(&["resume"]).demand(0);
            case.demand_back("a way back that was not given up");
        },
    );
}

/// What failed of `--start` is undone up to prepare; somebody starts new before that has begun.
#[test]
fn after_a_start_that_failed_new_may_be_started_before_it_is_taken_back() {
    as_server_user(
        "after_a_start_that_failed_new_may_be_started_before_it_is_taken_back",
        || {
            for mode in ["copy", "link", "swap"] {
                let case = Case::new(mode);
                let trip = &case.trip;
                trip.prepare();
                let global = trip.new.join("global");
                let fails = format!("chmod 500 '{}'; exit 1", global.display());
                let ran = trip.run(&["cutover", "--start", "--start-new-command", &fails]);
                ran.demand(6);
                fs::set_permissions(&global, fs::Permissions::from_mode(0o700)).unwrap();
                let new = trip.new_cluster();
                let server = new.start();
                server.sql("app", "INSERT INTO elsewhere VALUES (9999, 'in new')");
                server.stop();
                for words in [&["resume"][..], &["rollback"]] {
                    let ran = trip.run(words);
                    assert_eq!(ran.code, if words == ["resume"] { 6 } else { 4 });
                    assert!(ran.stderr.contains(KEEP_NEW), "{}", ran.stderr);
                }
                let server = new.start();
                trip.run(&["resume", "--keep-new"]).demand(0);
                trip.demand_standing("is complete and has been started");
                server.stop();
                case.demand_arrived(&new_dump(&case));
            }
        },
    );
}

/// A crash can leave new's control file in place, and then anybody can start it.
#[test]
fn by_link_a_new_cluster_without_files_of_old_is_started_too_early_and_rolled_back() {
    as_server_user(
        "by_link_a_new_cluster_without_files_of_old_is_started_too_early_and_rolled_back",
        || {
            let case = Case::new("link");
            case.trip
                .frozen_prepare("step_done", "restore-globals")
                .kill();
            demand_started(&starts_when_alone(&case));
            case.trip
                .demand_standing("is as it was: roll back and lose");
            case.trip
                .run(&["resume"])
                .refused(6, "PGM-1210", &[DISCARD]);
            demand_way_back(&case);
        },
    );
}

#[test]
fn a_new_cluster_started_too_early_needs_a_person_by_link_and_a_rollback_by_copy() {
    as_server_user(
        "a_new_cluster_started_too_early_needs_a_person_by_link_and_a_rollback_by_copy",
        || {
            let early = |mode| {
                let case = Case::new(mode);
                case.trip.prepare();
                let aside = case.trip.state().join("new-pg_control");
                fs::rename(aside, case.trip.new.join("global/pg_control")).unwrap();
                demand_started(&case.trip.new_starts());
                case
            };
            let case = early("link");
            for command in ["cutover", "resume", "rollback"] {
                let ran = case.trip.run(&[command]);
                ran.refused(7, "PGM-2011", &["start neither before a person"]);
                assert!(!ran.stdout.contains("next:"), "{}", ran.stdout);
            }
            case.trip.demand_standing("start neither before a person");

            // By swap it has no file of old before the cutover.
            for mode in ["copy", "swap"] {
                let case = early(mode);
                case.trip
                    .run(&["cutover"])
                    .refused(4, "PGM-1210", &[DISCARD]);
                demand_way_back(&case);
            }
        },
    );
}

fn new_dump(case: &Case) -> String {
    let added = "9999\tin new";
    let last = "300\tnote 300";
    case.stock.dump.replace(last, &format!("{last}\n{added}"))
}

#[test]
fn finalize_removes_old_and_nothing_else() {
    as_server_user("finalize_removes_old_and_nothing_else", || {
        for mode in ["link", "copy"] {
            let case = Case::new(mode);
            let trip = &case.trip;
            let scratch = case.stock.cluster.scratch();
            let wal = scratch.join("wal");
            fs::rename(trip.old.join("pg_wal"), &wal).unwrap();
            symlink(&wal, trip.old.join("pg_wal")).unwrap();
            fs::write(case.stock.space.join("not of a server"), "stays").unwrap();

            trip.prepare();
            trip.run(&["finalize", "--yes"])
                .refused(4, "PGM-2006", &["nothing to finalize"]);
            trip.cutover();
            let before = tree::whole(scratch);
            trip.run(&["finalize", "--yes"]).refused(
                4,
                "PGM-2009",
                &["the new cluster has never been started"],
            );
            // Apart from what says that it was refused.
            let after = tree::whole(scratch).into_iter();
            let state = trip.state();
            let outside: tree::Tree = after
                .filter(|(path, _)| !path.starts_with(&state))
                .collect();
            let before = before
                .into_iter()
                .filter(|(path, _)| !path.starts_with(&state))
                .collect();
            tree::demand_same("a refused finalize", &before, &outside);

            demand_started(&trip.new_starts());
            trip.run(&["finalize"]).refused(
                4,
                "PGM-2007",
                &["finalize was not confirmed", "--yes"],
            );
            let kept: BTreeMap<PathBuf, String> = bytes_outside_old(&case, &wal);
            trip.run(&["finalize", "--yes"]).demand(0);
            assert!(!trip.old.exists());
            assert!(wal.is_dir() && fs::read_dir(&wal).unwrap().next().is_none());
            assert_eq!(names(&trip.state()), ["events.jsonl", "report.txt"]);
            assert_eq!(bytes_outside_old(&case, &wal), kept);
            let folders = names(&case.stock.space);
            assert_eq!(folders.len(), 2, "{folders:?}");
            assert!(folders[0].starts_with("PG_17_"), "{folders:?}");
            trip.run(&["status"])
                .refused(4, "PGM-2001", &["the migration is over"]);
            trip.run(&["rollback"]).refused(4, "PGM-2001", &[]);
            assert_eq!(names(&trip.state()), ["events.jsonl", "report.txt"]);
            let log = trip.run(&["log"]);
            let report = fs::read_to_string(trip.state().join("report.txt")).unwrap();
            for told in [&log.demand(0).stdout, &report] {
                assert!(told.contains("finalize, begun"), "{told}");
                assert!(told.trim_end().contains("is removed"), "{told}");
            }
            case.demand_arrived(&case.stock.dump);
        }
    });
}

/// Everything beside old and the state directory.
fn bytes_outside_old(case: &Case, wal: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = tree::contents(case.stock.cluster.scratch());
    all.retain(|path, _| {
        !path.starts_with(&case.trip.old)
            && !path.starts_with(wal)
            && !path.starts_with(case.trip.state())
            && !path.to_str().unwrap().contains("/space/PG_14_")
    });
    all
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_killed_finalize_goes_on() {
    as_server_user("a_killed_finalize_goes_on", || {
        // There is no way back to try it again.
        let attempt = |_| {
            let case = Case::new("link");
            let trip = &case.trip;
            trip.prepare();
            trip.cutover();
            demand_started(&trip.new_starts());
            let finalize = trip.command(&["finalize", "--yes"]);
            trip.freezes(("reached", "finalizing"), finalize)?.kill();
            Some(case)
        };
        let case = (0..ATTEMPTS).find_map(attempt).unwrap();
        let trip = &case.trip;
        trip.demand_standing("cannot be undone");
        trip.run(&["rollback"])
            .refused(4, "PGM-2008", &["given up by finalize"]);
        trip.run(&["finalize", "--yes"]).demand(0);
        assert!(!trip.old.exists());
        assert_eq!(names(&case.stock.space).len(), 1);
        assert_eq!(names(&trip.state()), ["events.jsonl", "report.txt"]);
        case.demand_arrived(&case.stock.dump);
    });
}

#[test]
fn a_cluster_that_was_adopted_is_given_back() {
    as_server_user("a_cluster_that_was_adopted_is_given_back", || {
        let case = Case::new("link");
        let trip = &case.trip;
        let adopted = support::unique_cluster("new-17", &[]);
        adopted.configure("port = 6432\nlisten_addresses = ''");
        fs::rename(&adopted.data, &trip.new).unwrap();
        let before = as_made(&trip.new);
        trip.prepare();
        assert_ne!(as_made(&trip.new), before);
        trip.rollback();
        assert_eq!(as_made(&trip.new), before);

        for step in ["create-new-cluster", "set-horizons"] {
            trip.frozen_prepare("step_intended", step).kill();
            trip.rollback();
            assert_eq!(as_made(&trip.new), before);
        }

        // Also where somebody has thrown it away meanwhile.
        trip.prepare();
        fs::remove_dir_all(&trip.new).unwrap();
        trip.rollback();
        assert_eq!(as_made(&trip.new), before);

        trip.prepare();
        trip.cutover();
        let conf = fs::read_to_string(trip.new.join("postgresql.conf")).unwrap();
        assert!(conf.contains("port = 6432"));
        trip.rollback();
        assert_eq!(as_made(&trip.new), before);
        demand_started(&trip.new_starts());
        demand_started(&trip.old_starts());
    });
}

/// A fresh cluster may have been started and stopped before, as packages do.
#[test]
fn an_adopted_cluster_may_have_been_started_before() {
    as_server_user("an_adopted_cluster_may_have_been_started_before", || {
        let case = Case::new("link");
        let trip = &case.trip;
        let adopted = support::unique_cluster("new-17", &[]);
        fs::rename(&adopted.data, &trip.new).unwrap();
        demand_started(&trip.new_starts());
        let before = as_made(&trip.new);
        assert!(trip.new.join("postmaster.opts").exists());

        trip.frozen_prepare("step_intended", "create-new-cluster")
            .kill();
        trip.run(&["resume"]).demand(0);
        case.demand_prepared();
        trip.rollback();
        assert_eq!(as_made(&trip.new), before);
    });
}

/// What whoever made a cluster sees of it.
fn as_made(dir: &Path) -> BTreeMap<PathBuf, (String, u32)> {
    let entries = tree::whole(dir).into_iter();
    entries
        .map(|(path, entry)| (path, (entry.what, entry.mode)))
        .collect()
}

#[test]
fn an_empty_directory_is_given_back_empty() {
    as_server_user("an_empty_directory_is_given_back_empty", || {
        let case = Case::new("copy");
        fs::create_dir(&case.trip.new).unwrap();
        fs::set_permissions(&case.trip.new, fs::Permissions::from_mode(0o700)).unwrap();
        let before = as_made(&case.trip.new);
        case.trip.prepare();
        case.trip.cutover();
        case.trip.rollback();
        assert_eq!(as_made(&case.trip.new), before);
    });
}
