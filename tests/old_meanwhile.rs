//! Old does what nobody has asked it for: it does not stop, crashes, or is started by somebody in
//! the middle of the cutover. Each ends with a code and old in service, and a later run finishes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::shop::{COUNT, QUIET, Shop, one};
use support::stock::stock;
use support::trip::{LIMIT, Trip};
use support::{as_server_user, bindir, processes_in, say, until_a_lock_is_waited_for};

fn tried(what: &str) {
    say(&format!("TRIED {what}"));
}

const ONE_MORE: &str = "INSERT INTO item (name) VALUES ('one more')";

/// A session that holds on to its server, as one that waits for a disk does: signals wait, too.
#[test]
fn a_session_that_holds_on_is_named_and_old_serves_again() {
    let name = "a_session_that_holds_on_is_named_and_old_serves_again";
    as_server_user(name, || {
        let shop = Shop::new("old-15", "new-17", "link");
        let server = shop.prepared();
        let mut session = server.connect("shop");
        let pid = one(&mut session, "SELECT pg_backend_pid()");
        let holds_on = Pid::from_raw(pid.parse().unwrap());
        kill(holds_on, Signal::SIGSTOP).unwrap();
        let words = ["cutover", "--stop-timeout", "1"];
        let mut cut = shop.trip.begin(shop.trip.command(&words));
        assert!(cut.reaches("undo_begun", "stop-old-server"));
        kill(holds_on, Signal::SIGCONT).unwrap();
        let ran = cut.wait();
        let session_is = format!("process {pid}, postgres: postgres shop");
        ran.refused(5, "PGM-3002", &[&session_is, "waits for the cutover"]);
        drop((session, server));
        assert_eq!(shop.in_old(COUNT), "1000 1000");
        shop.trip.cutover();
        assert_eq!(shop.in_new(COUNT), "1000 1000");
        tried("a session that holds on to old while it stops");
    });
}

/// pg_basebackup at a speed at which it never comes to an end.
///
/// Without WAL: a segment that pg_start_backup makes needless may go before it is asked for.
fn backup(shop: &Shop) -> Child {
    let mut pg_basebackup = Command::new(bindir("new-17").join("pg_basebackup"));
    pg_basebackup
        .args([
            "-U", "postgres", "-p", "5432", "-c", "fast", "-r", "32", "-X", "none", "-h",
        ])
        .arg(shop.old.scratch())
        .arg("-D")
        .arg(shop.flag("backup"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let child = pg_basebackup.spawn().unwrap();
    let begun = Instant::now();
    while shop.in_old("SELECT count(*) FROM pg_stat_replication WHERE state = 'backup'") != "1" {
        assert!(begun.elapsed() < LIMIT, "no backup begins");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

/// It is of no use once old has stopped, so it is named, and waited for where that is asked.
#[test]
fn a_backup_at_work_is_named_and_waited_for() {
    as_server_user("a_backup_at_work_is_named_and_waited_for", || {
        let shop = Shop::new("old-14", "new-17", "copy");
        let server = shop.prepared();
        let mut child = backup(&shop);
        let mut session = server.connect("shop");
        session
            .batch_execute("SELECT pg_start_backup('by hand', true)")
            .unwrap();
        assert!(shop.trip.old.join("backup_label").exists());
        let ran = shop.trip.run(&["cutover", "--wait-idle", "1"]);
        let backups = [
            "takes a base backup for pg_basebackup",
            "pg_start_backup at",
        ];
        ran.refused(5, "PGM-1213", &backups);
        assert_eq!(shop.in_old(COUNT), "1000 1000");

        let ran = shop.trip.run(&["cutover"]);
        ran.demand(0);
        for named in backups {
            assert!(ran.stdout.contains(named), "{}", ran.stdout);
        }
        assert!(!child.wait().unwrap().success());
        drop((session, server));
        shop.trip.run(&["verify"]).demand(0);
        shop.trip.rollback();
        assert_eq!(shop.in_old(COUNT), "1000 1000");
        assert!(!shop.trip.old.join("backup_label").exists());
        tried("a base backup and one by hand while old stops");
    });
}

/// Who receives WAL and stands still keeps old from stopping.
#[test]
fn a_receiver_that_stands_still_is_named() {
    as_server_user("a_receiver_that_stands_still_is_named", || {
        let shop = Shop::new("old-15", "new-17", "swap");
        let server = shop.prepared();
        let wal = shop.flag("wal");
        fs::create_dir(&wal).unwrap();
        let mut receiver = Command::new(bindir("new-17").join("pg_receivewal"))
            .args(["-U", "postgres", "-p", "5432", "-h"])
            .arg(shop.old.scratch())
            .arg("-D")
            .arg(&wal)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while shop.in_old("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")
            != "1"
        {
            assert!(begun.elapsed() < LIMIT, "nobody receives WAL");
            std::thread::sleep(Duration::from_millis(20));
        }
        let pid = Pid::from_raw(i32::try_from(receiver.id()).unwrap());
        kill(pid, Signal::SIGSTOP).unwrap();
        let words = ["cutover", "--stop-timeout", "1"];
        let mut cut = shop.trip.begin(shop.trip.command(&words));
        assert!(cut.reaches("undo_begun", "stop-old-server"));
        receiver.kill().unwrap();
        receiver.wait().unwrap();
        let ran = cut.wait();
        ran.refused(5, "PGM-3002", &["walsender", "waits for the cutover"]);
        drop(server);
        assert_eq!(shop.in_old(COUNT), "1000 1000");
        shop.trip.cutover();
        shop.trip.rollback();
        assert_eq!(shop.in_old(COUNT), "1000 1000");
        tried("a receiver of WAL that stands still while old stops");
    });
}

/// The machine ran out of memory, say. Old recovers by its own start, and nothing is lost.
#[test]
fn old_that_crashes_during_prepare_is_left_to_its_own_start() {
    let name = "old_that_crashes_during_prepare_is_left_to_its_own_start";
    as_server_user(name, || {
        let stock = stock("old-14");
        let server = stock.cluster.start();
        // A dump waits for this.
        let mut session = server.connect("app");
        session.batch_execute("BEGIN; LOCK TABLE items").unwrap();
        let trip = Trip::new(&stock.cluster, "new-17", "copy");
        let mut underway = trip.begin(trip.first_command(&["prepare"]));
        assert!(underway.reaches("step_intended", "dump-old-schema"));
        until_a_lock_is_waited_for(&mut session);
        server.crash();
        drop(session);
        let ran = underway.wait();
        ran.demand(5);
        for said in ["error[PGM-", "everything was undone"] {
            assert!(ran.stderr.contains(said), "no {said:?} in {ran:?}");
        }
        let ran = trip.run_first(&["prepare"]);
        ran.refused(4, "PGM-1303", &["pg_ctl start"]);
        stock.cluster.start().stop();
        trip.prepare();
        trip.cutover();
        trip.run(&["verify"]).demand(0);
        tried("a crash of old during prepare");
    });
}

/// A session that is busy outlives its server, and no other one starts meanwhile: until there is
/// such a file, and for a while at most.
fn busy_until(flag: &Path) -> String {
    format!(
        "DO $$ BEGIN WHILE pg_stat_file('{}', true) IS NULL \
             AND clock_timestamp() < now() + interval '40 s' LOOP END LOOP; END $$",
        flag.display()
    )
}

#[test]
fn old_that_crashes_during_the_cutover_serves_again() {
    as_server_user("old_that_crashes_during_the_cutover_serves_again", || {
        let shop = Shop::new("old-15", "new-17", "link");
        let server = shop.prepared();
        let idle = shop.flag("idle");
        let mut told = None;
        let ran = shop.cutover_around(&[], || {
            server.sql("shop", ONE_MORE);
            let mut session = server.connect("shop");
            let pid = one(&mut session, "SELECT pg_backend_pid()");
            let busy = busy_until(&idle);
            std::thread::spawn(move || session.batch_execute(&busy));
            let at_work = format!("SELECT state || query FROM pg_stat_activity WHERE pid = {pid}");
            let begun = Instant::now();
            while !shop.in_old(&at_work).starts_with("activeDO") {
                assert!(begun.elapsed() < LIMIT, "nobody is busy");
                std::thread::sleep(Duration::from_millis(5));
            }
            server.crash_alone();
            assert!(processes_in(&shop.trip.old).contains(&pid.parse().unwrap()));
            // It goes on until the program says that it waits for it.
            let wanted = format!("process {pid}, postgres: ");
            let events = shop.trip.state().join("events.jsonl");
            let flag = idle.clone();
            told = Some(std::thread::spawn(move || {
                let begun = Instant::now();
                let says = || fs::read_to_string(&events).is_ok_and(|said| said.contains(&wanted));
                while !says() && begun.elapsed() < LIMIT / 4 {
                    std::thread::sleep(Duration::from_millis(20));
                }
                fs::write(flag, "").unwrap();
                says()
            }));
        });
        assert!(told.unwrap().join().unwrap(), "{ran:?}");
        ran.refused(
            5,
            "PGM-1303",
            &["without a shutdown checkpoint", "waits for the cutover"],
        );
        assert_eq!(shop.in_old(COUNT), "1001 1001");
        shop.trip.cutover();
        assert_eq!(shop.in_new(COUNT), "1001 1001");
        tried("a crash of old during the cutover");
    });
}

/// The process that held old was killed, and somebody starts old before anybody goes on.
fn started_after_a_kill(mode: &str, kind: &str, step: &str) {
    let shop = Shop::new("old-15", "new-17", mode);
    let server = shop.prepared();
    let killed = || shop.trip.frozen_cutover(kind, step).kill();
    let rows = |count: u32| assert_eq!(shop.in_old(COUNT), format!("{count} {count}"), "{mode}");

    // It was stopped again: what was written to it would be missing in new.
    killed();
    drop(server);
    let server = shop.old.start_with(QUIET);
    server.sql("shop", ONE_MORE);
    server.stop();
    let noticed = "was started after its catalog had been read";
    shop.trip
        .run(&["resume"])
        .refused(5, "PGM-2010", &[noticed, "waits for the cutover"]);
    rows(1001);

    // It serves: nobody disturbs it, and the next cutover is one beside a server.
    killed();
    let server = shop.old.start_with(QUIET);
    server.sql("shop", ONE_MORE);
    let process = shop.process();
    let again = "the old server is running again";
    shop.trip
        .run(&["resume"])
        .refused(5, "PGM-2010", &[again, "waits for the cutover"]);
    assert_eq!(shop.process(), process);
    rows(1002);

    killed();
    drop(server);
    let server = shop.old.start_with(QUIET);
    server.sql("shop", ONE_MORE);
    let process = shop.process();
    shop.trip.rollback();
    assert_eq!(shop.process(), process);
    rows(1003);
    assert!(!shop.trip.new.exists());

    shop.trip.prepare();
    shop.trip.cutover();
    shop.trip.run(&["verify"]).demand(0);
    drop(server);
    assert_eq!(shop.in_new(COUNT), "1003 1003", "{mode}");
    for way in ["and stopped, then resume", "then resume", "then rollback"] {
        tried(&format!("old started after a kill by {mode}, {way}"));
    }
}

#[test]
fn old_is_started_after_a_kill_by_link() {
    as_server_user("old_is_started_after_a_kill_by_link", || {
        started_after_a_kill("link", "step_intended", "transfer-files");
    });
}

#[test]
fn old_is_started_after_a_kill_by_copy() {
    as_server_user("old_is_started_after_a_kill_by_copy", || {
        started_after_a_kill("copy", "step_done", "verify-new-cluster");
    });
}

/// From the first file that is moved on its own programs refuse to start it.
#[test]
fn old_is_started_after_a_kill_by_swap() {
    as_server_user("old_is_started_after_a_kill_by_swap", || {
        started_after_a_kill("swap", "step_intended", "carry-transaction-state");
    });
}

/// Somebody takes the file away that holds old, and starts it under a cutover that is at work.
fn started_under_a_cutover(mode: &str, step: &str) {
    let shop = Shop::new("old-15", "new-17", mode);
    let server = shop.prepared();
    let cut = shop.trip.frozen_cutover("step_intended", step);
    drop(server);
    fs::remove_file(shop.trip.old.join("postmaster.pid")).unwrap();
    let server = shop.old.start_with(QUIET);
    server.sql("shop", ONE_MORE);
    let process = shop.process();
    cut.go_on()
        .refused(5, "PGM-2010", &["waits for the cutover"]);
    assert_eq!(shop.process(), process);
    server.sql("shop", ONE_MORE);
    shop.trip.cutover();
    shop.trip.run(&["verify"]).demand(0);
    drop(server);
    assert_eq!(shop.in_new(COUNT), "1002 1002", "{mode}");
    tried(&format!("old started under a cutover by {mode}"));
}

#[test]
fn old_is_started_under_a_cutover() {
    as_server_user("old_is_started_under_a_cutover", || {
        started_under_a_cutover("link", "transfer-files");
        started_under_a_cutover("copy", "verify-new-cluster");
        started_under_a_cutover("swap", "carry-transaction-state");
    });
}
