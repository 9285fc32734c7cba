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

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use support::case::Case;
use support::mount::{elsewhere, in_memory, on_file_system_in_memory};
use support::say;
use support::stock::copy;
use support::trip::{Ran, finish};

/// What the names of boundaries begin with.
const BOUNDARY: &str = "engine.step";
/// How many points less a run may have than the one that was counted: old is looked at, and
/// workers wait for each other, as it comes.
const FEWER: usize = 5;

/// What SIGKILL leaves as a status.
const KILLED: i32 = -9;

/// Where a command is killed, and how it is left.
#[derive(Debug)]
struct Kill {
    /// The point, as the environment names it.
    fault: String,
    /// Whether a run may end before it.
    near_the_end: bool,
    way: &'static str,
    /// The point at which the way out is killed as well.
    again: Option<String>,
}

/// Which points of a command are tried, one of so many unless the environment says otherwise.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    Any(usize),
    OfCopies(usize),
}

/// Boundaries of steps, one of so many as a run of all tests has time for.
const SOME: Wanted = Wanted::Any(17);
/// Points at which copies are made.
const SOME_COPIES: Wanted = Wanted::OfCopies(101);

#[test]
fn a_prepare_killed_anywhere_has_two_ways_out() {
    in_memory("a_prepare_killed_anywhere_has_two_ways_out", || {
        let case = Case::new("link");
        for kill in kills(&case, "prepare", SOME) {
            let ran = finish(at(&kill, case.trip.first_command(&["prepare"])));
            leave(&case, &ran, &kill);
            case.demand_untouched(&format!("a prepare: {kill:?}"));
        }
        case.demand_back("killed prepares");
    });
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
        let case = Case::new("copy");
        for kill in kills(&case, "prepare", SOME_COPIES) {
            let ran = finish(at(&kill, case.trip.first_command(&["prepare"])));
            leave(&case, &ran, &kill);
            case.demand_untouched(&format!("first copies: {kill:?}"));
        }
        case.demand_back("killed first copies");
    });
}

/// Old was used after the first copies were made, so that the cutover mends them.
#[test]
fn mending_copies_killed_anywhere_has_two_ways_out() {
    in_memory("mending_copies_killed_anywhere_has_two_ways_out", || {
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
        let tried = chosen(&case, &log, "a cutover that mends", SOME_COPIES);
        case.trip.rollback();
        for kill in tried {
            case.trip.prepare();
            use_old(USED);
            let ran = finish(at(&kill, case.trip.command(&["cutover"])));
            leave(&case, &ran, &kill);
            assert!(!case.trip.new.exists(), "{kill:?}");
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
    in_memory(test, || killed_cutovers("swap"));
}

fn killed_cutovers(mode: &str) {
    killed(&Case::new(mode));
}

fn killed(case: &Case) {
    let mode = &case.trip.mode;
    for kill in kills(case, "cutover", SOME) {
        case.trip.prepare();
        let ran = finish(at(&kill, case.trip.command(&["cutover"])));
        demand_one_cluster(case, &kill);
        leave(case, &ran, &kill);
        case.demand_untouched(&format!("a cutover by {mode}: {kill:?}"));
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
        let ran = finish(at(&kill, case.trip.command(&["rollback"])));
        kill.demand_killed(&ran);
        demand_one_cluster(&case, &kill);
        case.trip.run(&["status"]).demand(0);
        kill.gets_out_in_spite_of_the_second(&case);
        case.trip.run(&[back_again(&case, &kill)]).demand(0);
        case.demand_untouched(&format!("a rollback by {mode}: {kill:?}"));
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
            let ran = finish(at(&kill, trip.command(&["resume", "--keep-new"])));
            kill.demand_killed(&ran);
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

/// Clusters that share files are never both startable.
fn demand_one_cluster(case: &Case, kill: &Kill) {
    let there = |data: &Path| data.join("global/pg_control").exists();
    let sharing = ["link", "swap"].contains(&case.trip.mode.as_str());
    let both = there(&case.trip.old) && there(&case.trip.new);
    assert!(!(sharing && both), "both could be started: {kill:?}");
}

/// How a killed way back goes on: by the same word as ever, once it has begun and not ended.
fn back_again(case: &Case, kill: &Kill) -> &'static str {
    let status = case.trip.run(&["status"]);
    match status.stdout.contains("resume") {
        true => kill.way,
        false => "rollback",
    }
}

/// Out of what a killed command left: on or back, some killed once more on the way; and from
/// where `resume` leads, back.
fn leave(case: &Case, ran: &Ran, kill: &Kill) {
    kill.demand_killed(ran);
    let status = case.trip.run(&["status"]);
    if status.code != 0 || status.stdout.contains("everything was undone") {
        // Killed before it had begun, there is nothing to go on with and nothing to undo.
        case.demand_untouched(&format!("{kill:?}, before it had begun"));
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
    if !kill.gets_out_in_spite_of_the_second(case) {
        case.trip.run(&[kill.way]).demand(0);
    }
    if kill.way == "resume" {
        // Of copies there is nothing to be said before old has stopped.
        if case.trip.mode == "copy" && case.is_prepared() {
            case.trip.cutover();
        }
        case.trip.run(&["verify"]).demand(0);
        case.trip.rollback();
    }
}

impl Kill {
    fn demand_killed(&self, ran: &Ran) {
        if !(self.near_the_end && ran.code == 0) {
            ran.demand(KILLED);
        }
    }

    /// Kills the way out too, where that is wanted; whether it ended before.
    fn gets_out_in_spite_of_the_second(&self, case: &Case) -> bool {
        self.again.as_ref().is_some_and(|again| {
            let mut command = case.trip.command(&[self.way]);
            command.env("PGM_FAULT", again);
            finish(command).code == 0
        })
    }
}

fn at(kill: &Kill, mut command: Command) -> Command {
    command.env("PGM_FAULT", &kill.fault);
    command
}

/// The points of a command that are tried, after it has been run once to count them.
fn kills(case: &Case, command: &str, wanted: Wanted) -> Vec<Kill> {
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

fn chosen(case: &Case, log: &Path, command: &str, wanted: Wanted) -> Vec<Kill> {
    let text = fs::read_to_string(log).unwrap();
    fs::remove_file(log).unwrap();
    let names: Vec<&str> = text
        .lines()
        .map(|line| line.split(' ').nth(1).unwrap())
        .collect();
    let (all, steps) = (given("PGM_CRASH_EVERY"), given("PGM_CRASH_STEPS"));
    let (by_steps, every) = match wanted {
        Wanted::Any(every) => (all.is_none(), all.or(steps).unwrap_or(every)),
        Wanted::OfCopies(every) => (false, all.unwrap_or(every)),
    };
    let of_kind = |name: &str| match wanted {
        Wanted::Any(_) => !by_steps || name.starts_with(BOUNDARY),
        Wanted::OfCopies(_) => is_of_copies(name),
    };
    let from = given("PGM_CRASH_FROM").unwrap_or(1);
    let (mut found, mut tried, mut kills) = (0, 0, Vec::new());
    for (at, _) in names.iter().enumerate().filter(|(_, name)| of_kind(name)) {
        found += 1;
        if at + 1 < from || (found - 1) % every != 0 {
            continue;
        }
        let fault = match by_steps {
            true => format!("{BOUNDARY}:{found}"),
            false => (at + 1).to_string(),
        };
        let near_the_end = at + FEWER >= names.len();
        let ways = ways_of(tried, by_steps && steps.is_some());
        tried += 1;
        kills.extend(ways.into_iter().map(|(way, again)| Kill {
            fault: fault.clone(),
            near_the_end,
            way,
            again,
        }));
    }
    let (some, mode) = (kills.len(), &case.trip.mode);
    let what = if by_steps { "boundaries" } else { "points" };
    say(&format!(
        "TRIED {tried} of {found} {what} of {command} by {mode}, in {some} kills"
    ));
    assert!(some > 0, "no point was tried");
    kills
}

/// The ways out of a kill: both, or one after the other; every third is killed once more.
fn ways_of(turn: usize, both: bool) -> Vec<(&'static str, Option<String>)> {
    const WAYS: [&str; 2] = ["rollback", "resume"];
    let way = WAYS[turn % 2];
    let again = turn
        .is_multiple_of(3)
        .then(|| format!("{BOUNDARY}:{}", turn * 7 % 19 + 1));
    match both {
        false => vec![(way, again)],
        true => {
            let twice = again.map(|again| (way, Some(again)));
            WAYS.map(|way| (way, None))
                .into_iter()
                .chain(twice)
                .collect()
        }
    }
}

fn given(name: &str) -> Option<usize> {
    let number = std::env::var(name).ok()?;
    Some(number.parse().unwrap())
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
