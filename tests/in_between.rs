//! Somebody is quicker than the program: it stands still between two of its acts (`PGM_FAULT_STOP`),
//! or is killed there, and something is done to a cluster meanwhile.

#![cfg(feature = "fault")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::case::Case;
use support::shop::{COUNT, Shop, one};
use support::trip::{LIMIT, Underway, finish};
use support::{as_server_user, processes_in, say};

/// Begins a command and waits until it stands still at this point of this step.
fn standing_still(case: &Case, words: &[&str], point: &str) -> Underway {
    case.trip.stands_still(case.trip.command(words), point)
}

/// The way back has looked at new and moves its control file; in between somebody starts it, and
/// stops it again or leaves it running.
#[test]
fn new_started_between_the_look_and_the_taking_back_keeps_what_was_written() {
    let name = "new_started_between_the_look_and_the_taking_back_keeps_what_was_written";
    as_server_user(name, || {
        for (mode, stays) in [("link", true), ("swap", false), ("copy", false)] {
            let case = Case::new(mode);
            let trip = &case.trip;
            trip.prepare();
            trip.cutover();
            let moved = "disk.rename.begin undo release-new-cluster";
            let back = standing_still(&case, &["rollback"], moved);
            let new = trip.new_cluster();
            let server = new.start();
            server.sql("app", "INSERT INTO elsewhere VALUES (9999, 'in new')");
            let server = match stays {
                true => Some(server),
                false => {
                    server.stop();
                    None
                }
            };
            back.signal(Signal::SIGCONT);
            let ran = back.wait();
            match stays {
                true => ran.refused(6, "PGM-1204", &["standing: "]),
                false => ran.refused(6, "PGM-2008", &["resume --keep-new"]),
            };
            if mode != "copy" {
                case.demand_old_does_not_start();
            }
            if let Some(server) = &server {
                server.sql("app", "INSERT INTO elsewhere VALUES (9998, 'in new, too')");
            }
            drop(server);
            trip.run(&["resume"]).refused(6, "PGM-2008", &[]);
            trip.run(&["resume", "--keep-new"]).demand(0);
            trip.demand_standing("is complete and has been started");
            let server = new.start();
            let mut session = server.connect("app");
            let written = one(
                &mut session,
                "SELECT count(*) FROM elsewhere WHERE id > 9000",
            );
            assert_eq!(written, if stays { "2" } else { "1" }, "{mode}");
            drop(session);
            server.stop();
            say(&format!(
                "TRIED new started while it is taken back by {mode}"
            ));
        }
    });
}

/// To another file system the control file is copied, and nobody starts new meanwhile: either he
/// was quicker and keeps what he has written, or new does not start any more.
#[test]
fn new_taken_back_to_another_file_system_cannot_be_started_meanwhile() {
    let name = "new_taken_back_to_another_file_system_cannot_be_started_meanwhile";
    as_server_user(name, || {
        for (mode, point, starts) in [
            ("link", "disk.rename.begin undo release-new-cluster", true),
            (
                "copy",
                "disk.rename.copy_done undo release-new-cluster",
                false,
            ),
        ] {
            let case = Case::new(mode);
            let trip = &case.trip;
            let _apart = case.state_apart();
            trip.prepare();
            trip.cutover();
            let back = standing_still(&case, &["rollback"], point);
            let new = trip.new_cluster();
            let started = trip.new_starts();
            assert_eq!(started.status.success(), starts, "{point}: {started:?}");
            if starts {
                let server = new.start();
                server.sql("app", "INSERT INTO elsewhere VALUES (9999, 'in new')");
                server.stop();
            }
            back.signal(Signal::SIGCONT);
            let ran = back.wait();
            if starts {
                ran.refused(6, "PGM-2008", &["resume --keep-new"]);
                case.demand_old_does_not_start();
                trip.run(&["resume", "--keep-new"]).demand(0);
                let server = new.start();
                let written = "SELECT count(*) FROM elsewhere WHERE id > 9000";
                assert_eq!(one(&mut server.connect("app"), written), "1");
                server.stop();
            } else {
                ran.demand(0);
                case.demand_back(point);
            }
            say(&format!(
                "TRIED new started while it is taken back to another file system: {point}"
            ));
        }
    });
}

/// Killed while a private new server has the control file, a cutover that is resumed holds old
/// before it goes on, whoever might start it.
#[test]
fn after_a_kill_beside_a_private_server_old_is_held_again() {
    let name = "after_a_kill_beside_a_private_server_old_is_held_again";
    as_server_user(name, || {
        let case = Case::new("copy");
        let trip = &case.trip;
        trip.prepare();
        case.use_old("SELECT lo_from_bytea(777001, 'made late')");
        killed_beside_a_private_server(&case);

        // Somebody starts old: that is noticed before anything is gone on with.
        case.use_old("INSERT INTO elsewhere VALUES (9999, 'late')");
        let ran = trip.run(&["resume"]);
        ran.refused(
            5,
            "PGM-2010",
            &["was started after its catalog had been read"],
        );
        let done = |step: &str| {
            let lines = trip.journal();
            let last = lines.iter().rposition(|line| {
                line["record"]["kind"] == "step_intended"
                    && line["record"]["step"] == "read-final-catalog"
            });
            let mut since = lines[last.unwrap()..].iter();
            since.any(|line| line["record"]["step"] == step)
        };
        assert!(!done("transfer-files"));

        killed_beside_a_private_server(&case);
        let stale = held_by(&case);
        let at_work = standing_still(
            &case,
            &["resume"],
            "engine.step.before-apply apply transfer-files",
        );
        let held = held_by(&case);
        assert_ne!(held, stale);
        assert_eq!(held, format!("-{}", at_work.pid()));
        let started = trip.old_starts();
        assert!(!started.status.success(), "{started:?}");
        at_work.signal(Signal::SIGCONT);
        at_work.wait().demand(0);
        trip.run(&["verify"]).demand(0);
        say("TRIED old started after a kill beside a private server, and before files are copied");
    });
}

/// A cutover that dies while new's control file is lent to a private server, which runs.
fn killed_beside_a_private_server(case: &Case) {
    let new = &case.trip.new;
    let lent = "disk.rename.done apply carry-large-objects";
    let cut = standing_still(case, &["cutover"], lent);
    assert!(processes_in(new).is_empty());
    // The program waits for its session until it is killed.
    let settings = new.join("postgresql.conf");
    let before = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, format!("{before}\npost_auth_delay = 20\n")).unwrap();
    cut.signal(Signal::SIGCONT);
    let server = ready(new);
    assert!(processes_in(new).contains(&server), "{server}");
    assert!(new.join("global/pg_control").exists());
    assert!(!case.trip.state().join("new-pg_control").exists());
    cut.kill();
    fs::write(&settings, before).unwrap();
}

/// The process of the server here, when it accepts sessions.
fn ready(data: &Path) -> i32 {
    let begun = Instant::now();
    loop {
        let file = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        if file
            .lines()
            .nth(7)
            .is_some_and(|line| line.trim() == "ready")
        {
            return file.lines().next().unwrap().parse().unwrap();
        }
        assert!(begun.elapsed() < LIMIT, "no server: {file:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The process that old's postmaster.pid names.
fn held_by(case: &Case) -> String {
    let file = fs::read_to_string(case.trip.old.join("postmaster.pid")).unwrap();
    file.lines().next().unwrap().to_owned()
}

/// What is said when the state directory has gone and old has not.
const LOST: [&str; 2] = [
    "standing: the state directory is gone",
    "is as it was and may be started",
];

/// With it goes new's control file, unless that is in place: old can be had back, and is told to be.
#[test]
fn old_can_be_started_without_the_state_directory() {
    as_server_user("old_can_be_started_without_the_state_directory", || {
        for (mode, point) in [
            ("link", "engine.step.before-apply apply retire-old-control"),
            ("link", "engine.step.before-apply apply release-new-cluster"),
            ("link", "disk.rename.done apply carry-large-objects"),
            ("copy", "engine.step.before-apply apply release-new-cluster"),
        ] {
            let case = Case::new(mode);
            let trip = &case.trip;
            trip.prepare();
            if point.ends_with("carry-large-objects") {
                case.use_old("SELECT lo_from_bytea(777001, 'made late')");
            }
            let cut = standing_still(&case, &["cutover"], point);
            fs::remove_dir_all(trip.state()).unwrap();
            cut.signal(Signal::SIGCONT);
            cut.wait().refused(7, "PGM-2001", &LOST);
            let started = [trip.new_starts(), trip.old_starts()];
            let started = started.map(|started| started.status.success());
            assert_eq!(started, [false, true], "{point} by {mode}");
            // As it was told.
            fs::remove_dir_all(&trip.new).unwrap();
            for entry in fs::read_dir(&case.stock.space).unwrap() {
                let folder = entry.unwrap();
                if folder.file_name().to_str().unwrap().starts_with("PG_17_") {
                    fs::remove_dir_all(folder.path()).unwrap();
                }
            }
            if point.ends_with("carry-large-objects") {
                trip.prepare();
                trip.cutover();
                trip.run(&["verify"]).demand(0);
            } else {
                case.demand_untouched(point);
            }
            say(&format!(
                "TRIED a state directory that goes under a cutover by {mode}: {point}"
            ));
        }
    });
}

/// New has been handed over by then, and is what is left.
#[test]
fn new_is_complete_without_the_state_directory() {
    as_server_user("new_is_complete_without_the_state_directory", || {
        let case = Case::new("link");
        case.trip.prepare();
        let point = "engine.step.applied apply release-new-cluster";
        let cut = standing_still(&case, &["cutover"], point);
        fs::remove_dir_all(case.trip.state()).unwrap();
        cut.signal(Signal::SIGCONT);
        let ran = cut.wait();
        ran.demand(0);
        for said in [
            "state directory is gone",
            "is complete and may be started",
            "never be started",
        ] {
            assert!(ran.stdout.contains(said), "{ran:?}");
        }
        case.demand_old_does_not_start();
        case.demand_arrived(&case.stock.dump);
        say(&format!(
            "TRIED a state directory that goes under a cutover by link: {point}"
        ));
    });
}

/// By swap files of old are in new when the state directory goes, with the list of them.
#[test]
fn files_that_were_moved_come_home_without_the_state_directory() {
    let name = "files_that_were_moved_come_home_without_the_state_directory";
    as_server_user(name, || {
        for point in [
            "disk.take.done apply transfer-files",
            "engine.step.applied apply transfer-files",
            "engine.step.before-apply apply release-new-cluster",
        ] {
            let case = Case::new("swap");
            case.trip.prepare();
            let cut = standing_still(&case, &["cutover"], point);
            fs::remove_dir_all(case.trip.state()).unwrap();
            cut.signal(Signal::SIGCONT);
            let ran = cut.wait();
            ran.refused(7, "PGM-2001", &LOST);
            case.demand_untouched_files(point);
            let started = case.trip.old_starts();
            assert!(started.status.success(), "{point}: {started:?}");
            case.trip.run(&["status"]).refused(4, "PGM-2001", &[]);
            say(&format!(
                "TRIED a state directory that goes while files are moved: {point}"
            ));
        }
    });
}

/// By swap files of old are in new when that goes, and nowhere else: it is said, and they come home
/// when new is there again.
#[test]
fn new_that_goes_with_files_of_old_is_missed() {
    as_server_user("new_that_goes_with_files_of_old_is_missed", || {
        for (point, dies) in [
            ("disk.take.done apply transfer-files", true),
            ("engine.step.before-apply apply release-new-cluster", false),
        ] {
            let case = Case::new("swap");
            let trip = &case.trip;
            trip.prepare();
            let cut = standing_still(&case, &["cutover"], point);
            let away = trip.new.with_extension("away");
            fs::rename(&trip.new, &away).unwrap();
            let missed = ["restore the old one from a backup", "start neither"];
            if dies {
                cut.kill();
            } else {
                cut.signal(Signal::SIGCONT);
                cut.wait().refused(6, "PGM-5001", &missed);
            }
            trip.demand_standing("start neither");
            for way in ["resume", "rollback", "rollback"] {
                trip.run(&[way]).refused(6, "PGM-5004", &missed);
                case.demand_old_does_not_start();
            }
            fs::rename(&away, &trip.new).unwrap();
            trip.rollback();
            case.demand_back(point);
            say(&format!(
                "TRIED new that goes with files of old in it: {point}"
            ));
        }
    });
}

/// Nobody is there to press Ctrl-C: what has little to do and does not end ends the cutover, and old
/// may be started.
#[test]
fn a_program_that_hangs_does_not_keep_service_down() {
    as_server_user("a_program_that_hangs_does_not_keep_service_down", || {
        let mut case = Case::new("link");
        let hangs = case.stock.cluster.scratch().join("hangs");
        for program in ["pg_resetwal", "pg_ctl"] {
            let text = format!(
                "if [ -e '{0}' ] && [ \"$1\" != --version ]; then echo $$ > '{0}'; exec sleep 1000; fi\n\
                 exec \"$real\" \"$@\"",
                hangs.with_extension(program).display()
            );
            case.trip.script(program, &text);
        }
        for (program, limit, words) in [
            ("pg_resetwal", "2", &["prepare"][..]),
            ("pg_resetwal", "2", &["cutover"]),
            // It counts for pg_resetwal, too, which has something to do here.
            ("pg_ctl", "15", &["cutover", "--start"]),
        ] {
            let mark = hangs.with_extension(program);
            fs::write(&mark, "").unwrap();
            let mut command = match words {
                ["prepare"] => case.trip.first_command(words),
                _ => case.trip.command(words),
            };
            let ran = finish({
                command.env("PGM_LIMIT", limit);
                command
            });
            let said = [
                "standing: ",
                "was killed",
                "may be started",
                "find out what it waited for",
            ];
            ran.refused(5, "PGM-3007", &said);
            let number = fs::read_to_string(&mark).unwrap();
            assert!(!Path::new("/proc").join(number.trim()).exists());
            fs::remove_file(&mark).unwrap();
            match words {
                ["prepare"] => {
                    case.demand_untouched("a pg_resetwal that hangs");
                    case.trip.prepare();
                }
                _ => case.demand_prepared(),
            }
            let started = case.trip.old_starts();
            assert!(started.status.success(), "{started:?}");
            say(&format!("TRIED {program} that hangs for ever in {words:?}"));
        }
        case.trip.cutover();
        case.trip.run(&["verify"]).demand(0);
    });
}

/// Where `pg_ctl` has started a server and hangs then, it is ended alone: the server serves, whose
/// process group it is in before 12.
#[test]
fn a_pg_ctl_that_hangs_takes_no_server_with_it() {
    as_server_user("a_pg_ctl_that_hangs_takes_no_server_with_it", || {
        let mut shop = Shop::new("old-10", "new-17", "link");
        let hangs = shop.flag("hangs");
        let text = format!(
            "\"$real\" \"$@\" || exit; [ \"$1\" = start ] && [ -e '{}' ] && exec sleep 1000; exit 0",
            hangs.display()
        );
        shop.trip.script_of_old("pg_ctl", &text);
        shop.trip.script("pg_ctl", &text);
        let server = shop.prepared();
        fs::write(&hangs, "").unwrap();
        let cutover = |more: &[&str]| {
            let mut command = shop.trip.command(&["cutover"]);
            command.args(more).env("PGM_LIMIT", "15");
            finish(command)
        };
        let ran = cutover(&["--start", "--start-new-command", "echo no rule; exit 3"]);
        ran.refused(5, "PGM-3006", &["waits for the cutover"]);
        drop(server);
        assert_eq!(shop.in_old(COUNT), "1000 1000");
        say("TRIED pg_ctl of 10 that hangs when it has started old again");

        shop.let_everybody_in();
        let sockets = shop.old.scratch().display().to_string();
        fs::write(
            shop.trip.new.join("postgresql.auto.conf"),
            format!("listen_addresses = ''\nunix_socket_directories = '{sockets}'\n"),
        )
        .unwrap();
        cutover(&["--start"]).demand(0);
        assert_eq!(shop.in_old("SHOW server_version_num")[..2], *"17");
        say("TRIED pg_ctl that hangs when it has started new");
    });
}
