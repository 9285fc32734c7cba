//! The program is killed at every counted point of a command, and there is always a way out.
//!
//! `PGM_CRASH_EVERY=K` tries every Kth point, `PGM_CRASH_FROM=N` begins at the Nth; `ci/crash`
//! tries all of them.

#![cfg(feature = "fault")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use support::case::Case;
use support::mount::{elsewhere, on_file_system};
use support::stock::copy;
use support::trip::{Ran, finish};
use support::{as_server_user, say};

/// Of how many points one is tried, unless the environment says otherwise.
const EVERY: u64 = 101;

/// What SIGKILL leaves as a status.
const KILLED: i32 = -9;

#[test]
fn a_prepare_killed_anywhere_has_two_ways_out() {
    as_server_user("a_prepare_killed_anywhere_has_two_ways_out", || {
        let case = Case::new("link");
        for number in points(&case, "prepare") {
            let ran = finish(at(number, case.trip.first_command(&["prepare"])));
            leave(&case, &ran, number);
            case.demand_untouched(&format!("a prepare killed at point {number}"));
        }
        case.demand_back("killed prepares");
    });
}

#[test]
fn a_cutover_by_link_killed_anywhere_has_two_ways_out() {
    as_server_user("a_cutover_by_link_killed_anywhere_has_two_ways_out", || {
        killed_cutovers("link");
    });
}

#[test]
fn a_cutover_by_copy_killed_anywhere_has_two_ways_out() {
    as_server_user("a_cutover_by_copy_killed_anywhere_has_two_ways_out", || {
        killed_cutovers("copy");
    });
}

#[test]
fn a_cutover_by_copy_file_range_killed_anywhere_has_two_ways_out() {
    let test = "a_cutover_by_copy_file_range_killed_anywhere_has_two_ways_out";
    as_server_user(test, || killed_cutovers("copy-file-range"));
}

/// Where half of it is copied, both ways of making files are in one cutover.
#[test]
fn a_cutover_by_clone_killed_anywhere_has_two_ways_out() {
    let test = "a_cutover_by_clone_killed_anywhere_has_two_ways_out";
    on_file_system("btrfs", test, || {
        let mut case = Case::new("auto");
        case.move_space(&elsewhere().join("space"));
        killed(&case);
    });
}

/// While the first copies are made, and written down.
#[test]
fn first_copies_killed_anywhere_have_two_ways_out() {
    as_server_user("first_copies_killed_anywhere_have_two_ways_out", || {
        let case = Case::new("copy");
        for number in points_of(&case, "prepare", is_of_copies) {
            let ran = finish(at(number, case.trip.first_command(&["prepare"])));
            leave(&case, &ran, number);
            case.demand_untouched(&format!("first copies killed at point {number}"));
        }
        case.demand_back("killed first copies");
    });
}

/// Old was used after the first copies were made, so that the cutover mends them.
#[test]
fn mending_copies_killed_anywhere_has_two_ways_out() {
    as_server_user("mending_copies_killed_anywhere_has_two_ways_out", || {
        let case = Case::new("copy");
        let use_old = |how: &str| {
            let server = case.stock.cluster.start();
            server.sql("app", how);
            server.stop();
        };
        use_old("CREATE TABLE used (id int PRIMARY KEY, note text)");
        case.trip.prepare();
        use_old(USED);
        let log = case.trip.new.with_extension("points");
        let mut counted = case.trip.command(&["cutover"]);
        counted.env("PGM_FAULT_LOG", &log);
        finish(counted).demand(0);
        let tried = chosen(&case, &log, "a cutover that mends", is_of_copies);
        case.trip.rollback();
        for number in tried {
            case.trip.prepare();
            use_old(USED);
            let ran = finish(at(number, case.trip.command(&["cutover"])));
            leave(&case, &ran, number);
            assert!(!case.trip.new.exists(), "killed at point {number}");
        }
        case.trip.prepare();
        use_old(USED);
        case.trip.cutover();
        case.trip.run(&["verify"]).demand(0);
    });
}

/// Changes rows here and there, and files.
const USED: &str = "TRUNCATE used; INSERT INTO used SELECT n, repeat('x', 500) \
                    FROM generate_series(1, 5000) n; UPDATE used SET note = 'y' WHERE id % 90 = 0";

/// Points at which copies are made, mended and written down.
fn is_of_copies(point: &str) -> bool {
    point.starts_with("disk.replica.") || point == "disk.append.half"
}

#[test]
fn a_cutover_by_swap_killed_anywhere_has_two_ways_out() {
    let test = "a_cutover_by_swap_killed_anywhere_has_two_ways_out";
    as_server_user(test, || killed_cutovers("swap"));
}

fn killed_cutovers(mode: &str) {
    killed(&Case::new(mode));
}

fn killed(case: &Case) {
    let mode = &case.trip.mode;
    for number in points(case, "cutover") {
        case.trip.prepare();
        let ran = finish(at(number, case.trip.command(&["cutover"])));
        leave(case, &ran, number);
        case.demand_untouched(&format!("{mode}: a cutover killed at point {number}"));
    }
    case.trip.prepare();
    case.trip.cutover();
    case.demand_arrived(&case.stock.dump);
}

#[test]
fn a_rollback_killed_anywhere_is_repeated() {
    as_server_user("a_rollback_killed_anywhere_is_repeated", || {
        killed_rollbacks("link");
    });
}

#[test]
fn a_rollback_by_swap_killed_anywhere_is_repeated() {
    as_server_user("a_rollback_by_swap_killed_anywhere_is_repeated", || {
        killed_rollbacks("swap");
    });
}

fn killed_rollbacks(mode: &str) {
    let case = Case::new(mode);
    for number in points(&case, "rollback") {
        case.trip.prepare();
        case.trip.cutover();
        let ran = finish(at(number, case.trip.command(&["rollback"])));
        ran.demand(KILLED);
        case.trip.run(&["status"]).demand(0);
        case.trip.rollback();
        case.demand_untouched(&format!("{mode}: a rollback killed at point {number}"));
    }
    case.demand_back("killed rollbacks");
}

/// New was started before a way back had taken it, and the cutover is ended after all.
#[test]
fn a_way_back_that_is_given_up_killed_anywhere_is_given_up_again() {
    let test = "a_way_back_that_is_given_up_killed_anywhere_is_given_up_again";
    as_server_user(test, || {
        let case = Case::new("link");
        let trip = &case.trip;
        trip.prepare();
        trip.cutover();
        let stuck = |mode| {
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(trip.new.join("global"), mode).unwrap();
        };
        stuck(0o500);
        trip.run(&["rollback"]).demand(6);
        stuck(0o700);
        assert!(trip.new_starts().status.success());
        let scratch = case.stock.cluster.scratch();
        let kept = tempfile::tempdir().unwrap();
        let kept = kept.path().join("kept");
        copy(scratch, &kept);
        let log = trip.new.with_extension("points");
        let mut counted = trip.command(&["resume", "--keep-new"]);
        counted.env("PGM_FAULT_LOG", &log);
        finish(counted).demand(0);
        let points = fs::read_to_string(&log).unwrap().lines().count() as u64;
        let every = usize::try_from(given("PGM_CRASH_EVERY", 3)).unwrap();
        let tried: Vec<u64> = (1..=points).step_by(every).collect();
        let some = tried.len();
        say(&format!(
            "TRIED {some} of {points} points of resume --keep-new by link"
        ));
        for number in tried {
            for entry in fs::read_dir(scratch).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => fs::remove_dir_all(&path).unwrap(),
                    false => fs::remove_file(&path).unwrap(),
                }
            }
            copy(&kept.join("."), scratch);
            finish(at(number, trip.command(&["resume", "--keep-new"]))).demand(KILLED);
            let status = trip.run(&["status"]);
            let words: &[&str] = match status.demand(0).stdout.contains("--keep-new") {
                true => &["resume", "--keep-new"],
                false => &["resume"],
            };
            match status.stdout.contains("is complete and has been started") {
                // Killed when all was done.
                true => trip.run(words).demand(4),
                false => trip.run(words).demand(0),
            };
            trip.demand_standing("is complete and has been started");
            case.demand_old_does_not_start();
        }
        case.demand_arrived(&case.stock.dump);
    });
}

/// Out of what a killed command left: on or back in turn, in every third case killed once more
/// on the way; and from where `resume` leads, back.
fn leave(case: &Case, ran: &Ran, number: u64) {
    ran.demand(KILLED);
    let way = if number.is_multiple_of(2) {
        "resume"
    } else {
        "rollback"
    };
    let status = case.trip.run(&["status"]);
    if status.code != 0 || status.stdout.contains("everything was undone") {
        // Killed before it had begun, there is nothing to go on with and nothing to undo.
        case.demand_untouched(&format!("killed at point {number}, before it had begun"));
        case.trip.run(&["resume"]).demand(4);
        case.trip.prepare();
        return case.trip.rollback();
    }
    if status.stdout.contains("waits for the cutover") {
        // A cutover that had not begun is begun anew, not gone on with.
        case.trip.run(&["resume"]).demand(4);
        return case.trip.rollback();
    }
    if status.stdout.contains("is complete and may be started") {
        // Killed when all was done.
        case.trip.run(&["resume"]).demand(4);
        case.trip.run(&["verify"]).demand(0);
        return case.trip.rollback();
    }
    if number.is_multiple_of(3) {
        let again = number * 7 % 40 + 1;
        finish(at(again, case.trip.command(&[way])));
    }
    // The second time it may have nothing left to do.
    case.trip.run(&[way]).demand(0);
    if way == "resume" {
        // Of copies there is nothing to be said before old has stopped.
        if case.trip.mode == "copy" && case.is_prepared() {
            case.trip.cutover();
        }
        case.trip.run(&["verify"]).demand(0);
        case.trip.rollback();
    }
}

fn at(point: u64, mut command: Command) -> Command {
    command.env("PGM_FAULT", point.to_string());
    command
}

/// The points of a command that are tried, after it has been run once to count them.
fn points(case: &Case, command: &str) -> Vec<u64> {
    points_of(case, command, |_| true)
}

/// Those of them whose names are wanted.
fn points_of(case: &Case, command: &str, wanted: fn(&str) -> bool) -> Vec<u64> {
    if command != "prepare" {
        case.trip.prepare();
    }
    if command == "rollback" {
        case.trip.cutover();
    }
    let log = case.trip.new.with_extension("points");
    let mut counted = match command {
        "prepare" => case.trip.first_command(&[command]),
        _ => case.trip.command(&[command]),
    };
    counted.env("PGM_FAULT_LOG", &log);
    finish(counted).demand(0);
    let tried = chosen(case, &log, command, wanted);
    case.trip.rollback();
    tried
}

fn chosen(case: &Case, log: &Path, command: &str, wanted: fn(&str) -> bool) -> Vec<u64> {
    let text = fs::read_to_string(log).unwrap();
    fs::remove_file(log).unwrap();
    let all: Vec<u64> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(_, point)| wanted(point.split(' ').next().unwrap()))
        .map(|(number, _)| number.parse().unwrap())
        .collect();
    let from = given("PGM_CRASH_FROM", 1);
    let tried: Vec<u64> = all
        .iter()
        .copied()
        .filter(|number| *number >= from)
        .step_by(usize::try_from(given("PGM_CRASH_EVERY", EVERY)).unwrap())
        .collect();
    let (some, total, mode) = (tried.len(), all.len(), &case.trip.mode);
    say(&format!(
        "TRIED {some} of {total} points of {command} by {mode}"
    ));
    assert!(some > 0, "no point was tried");
    tried
}

fn given(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |number| number.parse().unwrap())
}

/// A disk that is full or broken in the middle: nothing is lost, and nobody is kept waiting.
#[test]
fn errors_of_the_disk_in_the_middle_of_copies() {
    as_server_user("errors_of_the_disk_in_the_middle_of_copies", || {
        const NO_SPACE: i32 = 28;
        const BROKEN: i32 = 5;
        let case = Case::new("copy");
        let failing = |mut command: Command, act: &str, number: u32, errno: i32| {
            command.env("PGM_FAULT_ERROR", format!("{act}:{number}:{errno}"));
            finish(command)
        };
        for (act, errno, code) in [
            ("disk.replica.write", NO_SPACE, "PGM-1401"),
            ("disk.replica.write", BROKEN, "PGM-5003"),
            ("disk.replica.read", BROKEN, "PGM-5003"),
            ("disk.replica.sync", BROKEN, "PGM-5003"),
        ] {
            let prepare = case.trip.first_command(&["prepare"]);
            let ran = failing(prepare, act, 9, errno);
            ran.refused(5, code, &["everything was undone"]);
            case.demand_untouched(act);
        }
        let use_old = |how: &str| {
            let server = case.stock.cluster.start();
            server.sql("app", how);
            server.stop();
        };
        use_old("CREATE TABLE used (id int PRIMARY KEY, note text)");
        case.trip.prepare();
        for (act, number, errno, code) in [
            ("disk.replica.write", 2, NO_SPACE, "PGM-1401"),
            ("disk.replica.read", 3, BROKEN, "PGM-5003"),
            ("disk.replica.write", 1, BROKEN, "PGM-5003"),
        ] {
            use_old(USED);
            let ran = failing(case.trip.command(&["cutover"]), act, number, errno);
            ran.refused(5, code, &["waits for the cutover"]);
            let started = case.trip.old_starts();
            assert!(started.status.success(), "{started:?}");
        }
        case.trip.cutover();
        case.trip.run(&["verify"]).demand(0);
    });
}
