//! The program is killed on real clusters, and there is always a way out.
//!
//! It is killed at the boundaries of steps: before a step is intended, when that is written, before
//! it acts, when it has acted, when that is written; and the same of undoing. Of these, and of the
//! points at which copies are made, a few are tried, each with one way out. `PGM_CRASH_STEPS=K`
//! tries every Kth boundary with both ways, and of every third a kill on the way out as well;
//! `PGM_CRASH_EVERY=K` tries every Kth point of all, `PGM_CRASH_FROM=N` begins at the Nth.
//! `ci/crash` does these. It is done in memory, where that is possible: a kill loses nothing that was
//! written, whether it was synced or not.

#![cfg(feature = "fault")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "crash/kills.rs"]
mod kills;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use kills::{Kill, SOME, SOME_COPIES, Wanted, chosen, kills};
use support::case::Case;
use support::lint;
use support::mount::{elsewhere, in_memory, on_file_system_in_memory};
use support::stock::{copy, dump};
use support::tree::have_one_file;
use support::trip::finish;

#[test]
fn a_prepare_killed_anywhere_has_two_ways_out() {
    in_memory("a_prepare_killed_anywhere_has_two_ways_out", || {
        killed_prepares("link", SOME);
    });
}

fn killed_prepares(mode: &str, wanted: Wanted) {
    let case = Case::new(mode);
    for kill in kills(&case, "prepare", wanted) {
        kill.strikes(&case, case.trip.first_command(&["prepare"]));
        demand_one_cluster(&case, &kill);
        let seen = leave(&case, &kill);
        demand_old(&case, seen, &format!("a prepare by {mode}: {kill:?}"));
    }
    case.demand_back("killed prepares");
}

#[test]
fn a_cutover_by_link_killed_anywhere_has_two_ways_out() {
    in_memory("a_cutover_by_link_killed_anywhere_has_two_ways_out", || {
        killed_cutovers("link");
    });
}

#[test]
fn a_cutover_by_copy_killed_anywhere_has_two_ways_out() {
    in_memory("a_cutover_by_copy_killed_anywhere_has_two_ways_out", || {
        killed_cutovers("copy");
    });
}

/// Where half of it is copied, both ways of making files are in one cutover.
#[test]
fn a_cutover_by_clone_killed_anywhere_has_two_ways_out() {
    let test = "a_cutover_by_clone_killed_anywhere_has_two_ways_out";
    on_file_system_in_memory("btrfs", test, || {
        let mut case = Case::new("auto");
        case.move_space(&elsewhere().join("space"));
        killed(&case);
    });
}

/// While the first copies are made, and written down.
#[test]
fn first_copies_killed_anywhere_have_two_ways_out() {
    in_memory("first_copies_killed_anywhere_have_two_ways_out", || {
        killed_prepares("copy", SOME_COPIES);
    });
}

/// Old was used after the first copies were made, so that the cutover mends them.
#[test]
fn mending_copies_killed_anywhere_has_two_ways_out() {
    in_memory("mending_copies_killed_anywhere_has_two_ways_out", || {
        let mut case = Case::new("copy");
        case.use_old("CREATE TABLE used (id int PRIMARY KEY, note text)");
        case.trip.begin_trace();
        case.trip.prepare();
        case.use_old(USED);
        case.stock.dump = served_by_old(&case);
        let log = case.trip.new.with_extension("points");
        let mut counted = case.trip.command(&["cutover"]);
        counted.env("PGM_FAULT_LOG", &log);
        finish(counted).demand(0);
        let tried = chosen(&case, &log, "a cutover that mends", SOME_COPIES);
        case.trip.rollback();
        demand_durable(&case, "a cutover that mends");
        for kill in tried {
            case.trip.prepare();
            case.use_old(USED);
            kill.strikes(&case, case.trip.command(&["cutover"]));
            let seen = leave(&case, &kill);
            assert!(!case.trip.new.exists(), "{kill:?}");
            demand_rows_of_old(&case, seen);
            demand_durable(&case, &format!("{kill:?}"));
        }
        case.trip.prepare();
        case.use_old(USED);
        case.trip.cutover();
        case.trip.run(&["verify"]).demand(0);
        case.demand_arrived(&case.stock.dump);
    });
}

/// What old serves now.
fn served_by_old(case: &Case) -> String {
    let server = case.stock.cluster.start();
    let served = dump(&case.stock.cluster);
    server.stop();
    served
}

/// Changes rows here and there, and files.
const USED: &str = "TRUNCATE used; INSERT INTO used SELECT n, repeat('x', 500) \
                    FROM generate_series(1, 5000) n; UPDATE used SET note = 'y' WHERE id % 90 = 0";

#[test]
fn a_cutover_by_swap_killed_anywhere_has_two_ways_out() {
    let test = "a_cutover_by_swap_killed_anywhere_has_two_ways_out";
    in_memory(test, || killed_cutovers("swap"));
}

/// On a file system that is not believed when it says that all of it is on disk.
#[test]
fn where_no_file_system_is_synced_as_a_whole_each_file_is() {
    let test = "where_no_file_system_is_synced_as_a_whole_each_file_is";
    on_file_system_in_memory("overlay", test, || {
        let case = Case::new("link");
        // As in the root of a file system; what others have there is nobody's business here.
        let others = case.stock.space.join("lost+found");
        fs::create_dir(&others).unwrap();
        fs::set_permissions(&others, fs::Permissions::from_mode(0o000)).unwrap();
        case.trip.begin_trace();
        case.trip.prepare();
        case.trip.cutover();
        case.trip.rollback();
        fs::set_permissions(&others, fs::Permissions::from_mode(0o700)).unwrap();
        fs::remove_dir(&others).unwrap();
        let acts = fs::read_to_string(case.trip.trace()).unwrap();
        assert!(!acts.contains("syncfs") && acts.contains("synctree"));
        demand_durable(&case, "without syncfs");
        case.demand_back("an upgrade on overlayfs");
    });
}

fn killed_cutovers(mode: &str) {
    killed(&Case::new(mode));
}

fn killed(case: &Case) {
    let mode = &case.trip.mode;
    for kill in kills(case, "cutover", SOME) {
        case.trip.prepare();
        kill.strikes(case, case.trip.command(&["cutover"]));
        demand_one_cluster(case, &kill);
        let seen = leave(case, &kill);
        demand_old(case, seen, &format!("a cutover by {mode}: {kill:?}"));
    }
    case.trip.prepare();
    case.trip.cutover();
    case.demand_arrived(&case.stock.dump);
}

#[test]
fn a_rollback_killed_anywhere_is_repeated() {
    in_memory("a_rollback_killed_anywhere_is_repeated", || {
        killed_rollbacks("link");
    });
}

#[test]
fn a_rollback_by_swap_killed_anywhere_is_repeated() {
    in_memory("a_rollback_by_swap_killed_anywhere_is_repeated", || {
        killed_rollbacks("swap");
    });
}

fn killed_rollbacks(mode: &str) {
    let case = Case::new(mode);
    for kill in kills(&case, "rollback", SOME) {
        case.trip.prepare();
        case.trip.cutover();
        kill.strikes(&case, case.trip.command(&["rollback"]));
        demand_one_cluster(&case, &kill);
        case.trip.run(&["status"]).demand(0);
        kill.gets_out_in_spite_of_the_second(&case);
        case.trip.run(&[back_again(&case, &kill)]).demand(0);
        demand_old(
            &case,
            Seen::Nothing,
            &format!("a rollback by {mode}: {kill:?}"),
        );
    }
    case.demand_back("killed rollbacks");
}

/// New was started before a way back had taken it, and the cutover is ended after all.
#[test]
fn a_way_back_that_is_given_up_killed_anywhere_is_given_up_again() {
    let test = "a_way_back_that_is_given_up_killed_anywhere_is_given_up_again";
    in_memory(test, || {
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
        for kill in chosen(&case, &log, "resume --keep-new", Wanted::Any(2)) {
            for entry in fs::read_dir(scratch).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => fs::remove_dir_all(&path).unwrap(),
                    false => fs::remove_file(&path).unwrap(),
                }
            }
            copy(&kept.join("."), scratch);
            trip.begin_trace();
            kill.strikes(&case, trip.command(&["resume", "--keep-new"]));
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
            demand_new(&case, &kill);
            demand_durable(&case, &format!("a way back that is given up: {kill:?}"));
        }
        case.demand_arrived(&case.stock.dump);
    });
}

/// Clusters that share files are never both startable; where files are not placed yet, none is
/// shared.
fn demand_one_cluster(case: &Case, kill: &Kill) {
    let (old, new) = (&case.trip.old, &case.trip.new);
    let there = |data: &Path| data.join("global/pg_control").exists();
    let sharing = match case.trip.mode.as_str() {
        "swap" => true,
        "link" if !kill.of_prepare => true,
        _ => have_one_file(&old.join("base"), &new.join("base")),
    };
    let both = there(old) && there(new);
    assert!(!(sharing && both), "both could be started: {kill:?}");
}

fn shares(case: &Case) -> bool {
    ["link", "swap"].contains(&case.trip.mode.as_str())
}

/// New is whole and serves what old held, and old is out of use where it has its files.
fn demand_new(case: &Case, kill: &Kill) {
    demand_one_cluster(case, kill);
    if shares(case) {
        case.demand_old_does_not_start();
    }
    case.demand_new_serves();
}

/// Nothing of new is left, old is what it was and serves what it held, and what led there was
/// durable in time.
fn demand_old(case: &Case, seen: Seen, after: &str) {
    case.demand_untouched(after);
    demand_rows_of_old(case, seen);
    demand_durable(case, after);
}

/// Where new was looked at after the same kill there is time for that only in a longer run.
fn demand_rows_of_old(case: &Case, seen: Seen) {
    if seen == Seen::Nothing || kills::many() {
        case.demand_old_serves();
    }
}

/// What was done since the last time was durable before anything depended on it; gives how much
/// that was.
fn demand_durable(case: &Case, what: &str) -> usize {
    let wrong = lint::of(&case.trip.trace());
    assert!(wrong.is_empty(), "{what}: {wrong:#?}");
    let lines = fs::read_to_string(case.trip.trace()).unwrap();
    case.trip.begin_trace();
    lines.lines().count()
}

/// How a killed way back goes on: by the same word as ever, once it has begun and not ended.
fn back_again(case: &Case, kill: &Kill) -> &'static str {
    let status = case.trip.run(&["status"]);
    match status.stdout.contains("resume") {
        true => kill.way,
        false => "rollback",
    }
}

/// Of which cluster the rows were compared, by the time all is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    New,
    Nothing,
}

/// Out of what a killed command left: on or back, some killed once more on the way; and from
/// where `resume` leads, on to new and back.
fn leave(case: &Case, kill: &Kill) -> Seen {
    let status = case.trip.run(&["status"]);
    if status.code != 0 || status.stdout.contains("everything was undone") {
        // Killed before it had begun, there is nothing to go on with and nothing to undo.
        case.demand_untouched(&format!("{kill:?}, before it had begun"));
        case.trip.run(&["resume"]).demand(4);
        case.trip.prepare();
        case.trip.rollback();
        return Seen::Nothing;
    }
    if status.stdout.contains("waits for the cutover") {
        // A cutover that had not begun is begun anew, not gone on with.
        case.trip.run(&["resume"]).demand(4);
        case.trip.rollback();
        return Seen::Nothing;
    }
    if status.stdout.contains("is complete and may be started") {
        // Killed when all was done.
        case.trip.run(&["resume"]).demand(4);
        case.trip.run(&["verify"]).demand(0);
        demand_new(case, kill);
        case.trip.rollback();
        return Seen::New;
    }
    if !kill.gets_out_in_spite_of_the_second(case) {
        case.trip.run(&[kill.way]).demand(0);
    }
    if kill.way == "rollback" {
        return Seen::Nothing;
    }
    if case.is_prepared() {
        demand_one_cluster(case, kill);
        // Of copies there is nothing to be said before old has stopped.
        if case.trip.mode == "link" {
            case.trip.run(&["verify"]).demand(0);
        }
        case.trip.cutover();
    }
    case.trip.run(&["verify"]).demand(0);
    demand_new(case, kill);
    case.trip.rollback();
    Seen::New
}

/// A disk that is full or broken in the middle: nothing is lost, and nobody is kept waiting.
#[test]
fn errors_of_the_disk_in_the_middle_of_copies() {
    in_memory("errors_of_the_disk_in_the_middle_of_copies", || {
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
        case.use_old("CREATE TABLE used (id int PRIMARY KEY, note text)");
        case.trip.prepare();
        for (act, number, errno, code) in [
            ("disk.replica.write", 2, NO_SPACE, "PGM-1401"),
            ("disk.replica.read", 3, BROKEN, "PGM-5003"),
            ("disk.replica.write", 1, BROKEN, "PGM-5003"),
        ] {
            case.use_old(USED);
            let ran = failing(case.trip.command(&["cutover"]), act, number, errno);
            ran.refused(5, code, &["waits for the cutover"]);
            let started = case.trip.old_starts();
            assert!(started.status.success(), "{started:?}");
        }
        case.trip.cutover();
        case.trip.run(&["verify"]).demand(0);
    });
}
