//! PostgreSQL's programs fail, hang, are killed or do half of it; directories go under us. Each ends
//! with a code, a standing and old in service, and the run that follows finishes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::case::{Case, demand_same_text};
use support::stock::dump;
use support::trip::{ATTEMPTS, LIMIT, Ran, Underway};
use support::{as_server_user, say, until};

/// A file beside the clusters, while which a program does not do what it should.
const WRONG: &str = "wrong";

/// Programs, and what each does while it is wrong; `$out` is the file it was told to write.
const WAYS: [(&str, &str); 9] = [
    ("initdb", FAILS),
    ("pg_dumpall", FAILS),
    ("pg_dumpall", WRITES_A_HALF),
    ("pg_dump", FAILS),
    ("pg_dump", WRITES_A_HALF),
    ("psql", FAILS),
    ("pg_restore", FAILS),
    ("pg_restore", "kill -KILL $$"),
    ("pg_resetwal", FAILS),
];
const FAILS: &str = "echo 'no luck today' >&2; exit 1";
const WRITES_A_HALF: &str = "\"$real\" \"$@\" || exit; size=$(stat -c %s \"$out\"); \
     truncate -s $((size / 2)) \"$out\"; exit 0";

/// While this file is there, the program does what it says.
fn wrong(case: &Case, program: &str) -> PathBuf {
    let scratch = case.stock.cluster.scratch();
    scratch.join(format!("{WRONG}-{program}"))
}

fn may_go_wrong(case: &mut Case, program: &str) {
    let text = format!(
        "for word; do case $word in --file=*) out=${{word#--file=}};; esac; done\n\
         if [ -e '{wrong}' ] && [ \"$1\" != --version ]; then . '{wrong}'; fi\n\
         exec \"$real\" \"$@\"",
        wrong = wrong(case, program).display()
    );
    case.trip.script(program, &text);
}

fn demand_told(ran: &Ran, what: &str) {
    assert_eq!(ran.code, 5, "{what}: {ran:?}");
    for said in ["error[PGM-", "standing: ", "everything was undone"] {
        assert!(ran.stderr.contains(said), "{what}: no {said:?} in {ran:?}");
    }
}

#[test]
fn programs_that_fail_leave_old_and_a_way_on() {
    as_server_user("programs_that_fail_leave_old_and_a_way_on", || {
        let mut case = Case::new("copy-file-range");
        let programs: BTreeSet<&str> = WAYS.iter().map(|(program, _)| *program).collect();
        for program in programs {
            may_go_wrong(&mut case, program);
        }
        for (program, way) in WAYS {
            fs::write(wrong(&case, program), way).unwrap();
            let what = format!("{program}: {way}");
            demand_told(&case.trip.run_first(&["prepare"]), &what);
            case.demand_untouched(&what);
            fs::remove_file(wrong(&case, program)).unwrap();
            say(&format!(
                "TRIED a program that does what it should not: {program}"
            ));
        }
        case.trip.prepare();
        fs::write(wrong(&case, "pg_resetwal"), FAILS).unwrap();
        let ran = case.trip.run(&["cutover"]);
        ran.demand(5);
        assert!(ran.stderr.contains("waits for the cutover"), "{ran:?}");
        case.demand_untouched_files("pg_resetwal that failed in the cutover");
        fs::remove_file(wrong(&case, "pg_resetwal")).unwrap();
        case.trip.cutover();
        case.trip.run(&["verify"]).demand(0);
    });
}

/// What hangs, in which command, and how; what leads on when whoever waits for it has pressed Ctrl-C.
const HANGS: [&[(&str, &str, &str, &str)]; 2] = [
    &[
        ("initdb", "prepare", "rollback", SLEEPS),
        ("pg_dump", "prepare", "rollback", SLEEPS),
        ("pg_restore", "prepare", "resume", SLEEPS),
        ("pg_resetwal", "cutover", "cutover", SLEEPS),
    ],
    &[
        ("psql", "prepare", "rollback", SLEEPS),
        ("pg_resetwal", "prepare", "rollback", DOES_NOT_LISTEN),
    ],
];
const SLEEPS: &str = "exec sleep 1000";
const DOES_NOT_LISTEN: &str = "trap '' TERM; sleep 1000; sleep 1000";

/// A command in which a program hangs, when it does; and the program's process.
fn hanging(case: &Case, program: &str, command: &str, how: &str) -> (Underway, String) {
    let wrong = wrong(case, program);
    let pid = wrong.with_extension("pid");
    fs::write(&wrong, format!("echo $$ > '{}'; {how}", pid.display())).unwrap();
    let underway = case.trip.begin(match command {
        "cutover" => case.trip.command(&[command]),
        _ => case.trip.first_command(&[command]),
    });
    let begun = Instant::now();
    let number = loop {
        let text = fs::read_to_string(&pid).unwrap_or_default();
        if text.ends_with('\n') {
            break text.trim().to_owned();
        }
        assert!(begun.elapsed() < LIMIT, "{program}");
        std::thread::sleep(Duration::from_millis(5));
    };
    fs::remove_file(pid).unwrap();
    fs::remove_file(wrong).unwrap();
    (underway, number)
}

/// Whoever waits for it presses Ctrl-C.
#[test]
fn a_program_that_hangs_can_be_interrupted() {
    as_server_user("a_program_that_hangs_can_be_interrupted", || {
        // Two at once: mostly one waits.
        std::thread::scope(|scope| {
            for hang in HANGS {
                scope.spawn(|| interrupt_those_that_hang(hang));
            }
        });
    });
}

fn interrupt_those_that_hang(hang: &[(&str, &str, &str, &str)]) {
    let mut case = Case::new("copy");
    for (program, ..) in hang {
        may_go_wrong(&mut case, program);
    }
    for (program, command, way_on, how) in hang {
        let (underway, number) = hanging(&case, program, command, how);
        underway.signal(Signal::SIGINT);
        let asked = Instant::now();
        let ran = underway.wait();
        ran.refused(130, "PGM-7001", &["standing: "]);
        assert!(asked.elapsed() < LIMIT, "{ran:?}");
        assert!(!Path::new("/proc").join(number).exists(), "{program}");
        let what = format!("{program} that hangs in {command}");
        case.demand_untouched_files(&what);
        case.trip.run(&[way_on]).demand(0);
        match *way_on {
            "resume" => case.demand_prepared(),
            "cutover" => {
                case.trip.run(&["verify"]).demand(0);
                case.trip.rollback();
            }
            _ => case.demand_untouched(&what),
        }
        say(&format!("TRIED {what}"));
    }
    case.demand_back("programs that hang");
}

/// Also before anything has begun: a disk that does not answer, say.
#[test]
fn a_program_that_does_not_say_its_version_can_be_interrupted() {
    let name = "a_program_that_does_not_say_its_version_can_be_interrupted";
    as_server_user(name, || {
        let mut case = Case::new("link");
        let hangs = case.stock.cluster.scratch().join("hangs");
        let text = format!(
            "if [ \"$1\" = --version ]; then touch '{}'; exec sleep 1000; fi; exec \"$real\" \"$@\"",
            hangs.display()
        );
        let right = case.trip.new_bindir.clone();
        case.trip.script("pg_dump", &text);
        for command in ["check", "prepare"] {
            let underway = case.trip.begin(case.trip.first_command(&[command]));
            support::shop::wait_for(&hangs);
            underway.signal(Signal::SIGINT);
            let asked = Instant::now();
            let ran = underway.wait();
            ran.refused(130, "PGM-7001", &["standing: nothing has been changed"]);
            assert!(asked.elapsed() < LIMIT, "{ran:?}");
            fs::remove_file(&hangs).unwrap();
            case.demand_untouched(command);
            say(&format!(
                "TRIED a program that does not say its version to {command}"
            ));
        }
        case.trip.new_bindir = right;
        case.trip.prepare();
        case.trip.cutover();
        case.trip.run(&["verify"]).demand(0);
    });
}

/// Everything below it, also what is written there meanwhile.
fn remove(dir: &Path) {
    let begun = Instant::now();
    while dir.exists() {
        let _ = fs::remove_dir_all(dir);
        assert!(begun.elapsed() < LIMIT, "{}", dir.display());
    }
}

fn demand_told_and_old_safe(case: &Case, ran: &Ran, what: &str) {
    assert!([5, 6, 7].contains(&ran.code), "{what}: {ran:?}");
    for said in ["error[PGM-", "standing: "] {
        assert!(ran.stderr.contains(said), "{what}: {ran:?}");
    }
    if case.trip.mode != "link" {
        case.demand_untouched_files(what);
    }
    let server = case.stock.cluster.start();
    demand_same_text(&case.stock.dump, &dump(&case.stock.cluster));
    server.stop();
}

/// New's directory or the state directory goes while the cutover stands still.
#[test]
fn directories_that_go_under_a_cutover_cost_nothing_of_old() {
    let name = "directories_that_go_under_a_cutover_cost_nothing_of_old";
    as_server_user(name, || {
        for (mode, goes) in [
            ("copy", "new"),
            ("copy", "state"),
            ("link", "new"),
            ("swap", "state"),
        ] {
            let case = Case::new(mode);
            case.trip.prepare();
            let step = "carry-transaction-state";
            let underway = case.trip.frozen_cutover("step_intended", step);
            remove(&match goes {
                "new" => case.trip.new.clone(),
                _ => case.trip.state(),
            });
            underway.signal(Signal::SIGCONT);
            let what = format!("{goes} by {mode}");
            demand_told_and_old_safe(&case, &underway.wait(), &what);
            say(&format!(
                "TRIED a directory that goes under a cutover: {what}"
            ));
            if goes == "new" {
                case.trip.rollback();
                case.demand_back(&what);
            }
        }
    });
}

/// The same while a private server works in new.
#[test]
fn directories_that_go_under_a_prepare_cost_nothing_of_old() {
    let name = "directories_that_go_under_a_prepare_cost_nothing_of_old";
    as_server_user(name, || {
        for goes in ["new", "state"] {
            let case = Case::new("link");
            let underway = case.trip.frozen_prepare("step_intended", "restore-schemas");
            remove(&match goes {
                "new" => case.trip.new.clone(),
                _ => case.trip.state(),
            });
            demand_told_and_old_safe(&case, &underway.go_on(), goes);
            say(&format!(
                "TRIED a directory that goes under a prepare: {goes}"
            ));
            if goes == "new" {
                case.trip.run(&["rollback"]);
                case.demand_untouched(goes);
            }
            remove(&case.trip.state());
            remove(&case.trip.new);
            for entry in fs::read_dir(&case.stock.space).unwrap() {
                let folder = entry.unwrap();
                if folder.file_name().to_str().unwrap().starts_with("PG_17") {
                    remove(&folder.path());
                }
            }
            case.trip.prepare();
            case.trip.cutover();
            case.trip.run(&["verify"]).demand(0);
        }
    });
}

/// New is of no use then, and nothing of it is needed to have old back.
#[test]
fn new_whose_control_file_is_nowhere_can_be_given_up() {
    as_server_user("new_whose_control_file_is_nowhere_can_be_given_up", || {
        for mode in ["link", "swap"] {
            let case = Case::new(mode);
            let trip = &case.trip;
            trip.prepare();
            let (refused, status) = match mode {
                "link" => ("cutover", 4),
                _ => {
                    let cut = trip.frozen_cutover("step_intended", "transfer-files");
                    cut.kill();
                    ("resume", 6)
                }
            };
            fs::remove_file(trip.state().join("new-pg_control")).unwrap();
            let said = ["control file of the new cluster is gone", "rollback -D"];
            trip.run(&[refused]).refused(status, "PGM-1210", &said);
            trip.rollback();
            case.demand_back(mode);
            say(&format!("TRIED a control file of new that goes: {mode}"));
        }
    });
}

/// As where temporary files have a full disk: it is not the programs that say nothing.
#[test]
fn programs_say_their_versions_where_nothing_can_be_written() {
    let name = "programs_say_their_versions_where_nothing_can_be_written";
    as_server_user(name, || {
        let case = Case::new("copy");
        let check = case.trip.first_command(&["check"]);
        let mut limited = Command::new("sh");
        limited
            .args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\""])
            .arg(check.get_program())
            .args(check.get_args());
        let ran = support::trip::finish(limited);
        assert!(!ran.stdout.contains("version"), "{ran:?}");
        assert!(ran.stderr.contains("File too large"), "{ran:?}");
    });
}

/// Directories for sockets and throw-away clusters go with the next command, whoever was killed.
#[test]
fn what_killed_runs_left_among_temporary_files_goes() {
    as_server_user("what_killed_runs_left_among_temporary_files_goes", || {
        let case = Case::new("link");
        let temporary = case.stock.cluster.scratch().join("tmp");
        fs::create_dir(&temporary).unwrap();
        let left = || -> Vec<_> {
            let entries = fs::read_dir(&temporary).unwrap();
            entries.map(|entry| entry.unwrap().path()).collect()
        };
        let first = |words: &[&str]| {
            let mut command = case.trip.first_command(words);
            command.env("TMPDIR", &temporary);
            command
        };
        let rollback = || {
            let mut rollback = case.trip.command(&["rollback"]);
            rollback.env("TMPDIR", &temporary);
            support::trip::finish(rollback).demand(0);
        };
        // One that is quicker than we are has left nothing, and is undone.
        let killed = (0..ATTEMPTS).any(|_| {
            let mut underway = case.trip.begin(first(&["prepare"]));
            let serves = || left().iter().any(|dir| dir.join("pid").exists());
            underway.reaches("step_intended", "restore-globals");
            until(|| underway.ended() || serves());
            let killed = underway.dies() && !left().is_empty();
            if !killed {
                rollback();
            }
            killed
        });
        assert!(killed, "prepare was always quicker");
        until(|| support::processes_in(&case.trip.new).is_empty());
        // As if the server had left nothing that names it.
        let _ = fs::remove_file(case.trip.new.join("postmaster.opts"));
        rollback();
        assert_eq!(left(), Vec::<PathBuf>::new());
        case.demand_untouched("a killed prepare");
        say("TRIED a socket of a prepare that was killed a moment ago");

        // A throw-away cluster, whose server is about to notice.
        let serves = |dir: &PathBuf| {
            let found = walkdir::WalkDir::new(dir).max_depth(2).into_iter();
            let mut found = found.filter_map(Result::ok);
            found.any(|entry| entry.file_name() == "postmaster.pid")
        };
        let killed = (0..ATTEMPTS).any(|_| {
            let mut underway = case.trip.begin(first(&["check", "--rehearse"]));
            until(|| underway.ended() || left().iter().any(serves));
            underway.dies() && !left().is_empty()
        });
        assert!(killed, "check was always quicker");
        support::trip::finish(first(&["check"])).demand(0);
        if !left().is_empty() {
            // It has taken longer to notice than the command waits for it.
            until(|| support::processes_in(&temporary).is_empty());
            support::trip::finish(first(&["check"])).demand(0);
        }
        assert_eq!(left(), Vec::<PathBuf>::new());
        say("TRIED a throw-away cluster of a check that was killed a moment ago");
    });
}
