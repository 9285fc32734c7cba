//! How service is handed over: who is waited for, what commands do, and what a crash leaves.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use support::as_server_user;
use support::shop::{COUNT, Shop, wait_for};
use support::trip::finish;

#[test]
fn new_is_started_and_the_pooler_let_go() {
    as_server_user("new_is_started_and_the_pooler_let_go", || {
        let shop = Shop::new("old-15", "new-17", "link");
        let server = shop.prepared();
        let sockets = shop.old.scratch().display().to_string();
        shop.let_everybody_in();
        fs::write(
            shop.trip.new.join("postgresql.auto.conf"),
            format!("listen_addresses = ''\nunix_socket_directories = '{sockets}'\n"),
        )
        .unwrap();
        let resumed = shop.flag("resumed");
        let resume = format!(
            "grep -q ready {}/postmaster.pid && touch {}",
            shop.trip.new.display(),
            resumed.display()
        );
        shop.cutover_around(&["--start", "--resume-command", &resume], || {
            server.sql("shop", "INSERT INTO item (name) VALUES ('late')");
        })
        .demand(0);
        drop(server);
        assert!(
            resumed.exists(),
            "the pooler was let go before new was ready"
        );
        let end = shop.end();
        let last = end["downtime_parts"].as_array().unwrap().last().unwrap();
        assert_eq!(last["what"], "start-new-server", "{end}");
        assert_eq!(shop.in_old(COUNT), "1001 1001");
    });
}

#[test]
fn sessions_at_work_are_named_and_waited_for() {
    as_server_user("sessions_at_work_are_named_and_waited_for", || {
        let shop = Shop::new("old-15", "new-17", "copy");
        let server = shop.prepared();
        let mut session = server.connect("shop");
        session
            .batch_execute("SET application_name = 'the cashier'; BEGIN; SELECT 1")
            .unwrap();
        let ran = shop.trip.run(&["cutover", "--wait-idle", "1"]);
        ran.refused(5, "PGM-1213", &["the cashier", "idle in transaction"]);
        assert_eq!(shop.in_old(COUNT), "1000 1000");
        assert!(shop.end()["downtime_seconds"].is_null());
        shop.trip.demand_standing("waits for the cutover");

        let ran = shop.trip.run(&["cutover"]);
        ran.demand(0);
        assert!(ran.stdout.contains("the cashier"), "{}", ran.stdout);
        drop((session, server));
    });
}

/// What a command did is looked at, not believed.
#[test]
fn commands_of_a_service_manager_stop_and_start_both() {
    as_server_user("commands_of_a_service_manager_stop_and_start_both", || {
        let shop = Shop::new("old-15", "new-17", "copy");
        let server = shop.prepared();
        let lazy = ["--stop-old-command", "true", "--stop-timeout", "5"];
        shop.cutover_around(&lazy, || {})
            .refused(5, "PGM-3002", &["did not stop"]);
        assert_eq!(shop.in_old(COUNT), "1000 1000");
        let failing = shop.cutover_around(&["--stop-old-command", "echo no rule; exit 3"], || {});
        failing.refused(5, "PGM-3006", &["--stop-old-command", "no rule"]);
        assert_eq!(shop.in_old(COUNT), "1000 1000");

        shop.let_everybody_in();
        let sockets = shop.old.scratch().display();
        let stop = format!(
            "{} stop -m fast -D {}",
            shop.trip.old_bindir.join("pg_ctl").display(),
            shop.trip.old.display()
        );
        let start = |bindir: &Path, data: &Path| {
            format!(
                "{} start -w -D {} -l {sockets}/hook.log -o \"-c listen_addresses= \
                 -c unix_socket_directories={sockets} -c work_mem=9MB\"",
                bindir.join("pg_ctl").display(),
                data.display()
            )
        };
        let start_old = start(&shop.trip.old_bindir, &shop.trip.old);
        let start_new = start(&shop.trip.new_bindir, &shop.trip.new);
        let commands = [
            "--stop-old-command",
            &stop,
            "--start-old-command",
            &start_old,
            "--start-new-command",
            &start_new,
        ];
        shop.cutover_around(&commands, || {
            server.sql("shop", "CREATE TABLE late (id int)")
        })
        .refused(3, "PGM-6001", &[]);
        drop(server);
        assert_eq!(shop.in_old("SHOW work_mem"), "9MB");
        assert_eq!(shop.in_old("DROP TABLE late; SELECT 'gone'"), "gone");

        shop.cutover_around(&commands, || {}).demand(0);
        // The same socket, another server.
        assert_eq!(shop.in_old("SHOW server_version_num")[..2], *"17");
        assert_eq!(shop.in_old(COUNT), "1000 1000");
    });
}

/// The command is ended with the cutover, what it asked for is not: old still serves for a moment,
/// and goes down behind the back of whoever believes it.
#[test]
fn a_stop_that_goes_on_after_the_interruption_is_followed_by_a_start() {
    let name = "a_stop_that_goes_on_after_the_interruption_is_followed_by_a_start";
    as_server_user(name, || {
        let shop = Shop::new("old-15", "new-17", "link");
        let server = shop.prepared();
        let before = shop.process();
        let asked = shop.flag("asked");
        let stop = format!(
            "setsid sh -c 'touch {2}; while [ -e {0} ]; do \
             if grep -q undo_begun {0}; then sleep 0.1; kill -INT {1}; exit; fi; sleep 0.02; \
             done' & sleep 600",
            shop.trip.state().join("journal.jsonl").display(),
            before,
            asked.display(),
        );
        let words = ["cutover", "--stop-old-command", &stop];
        let cut = shop.trip.begin(shop.trip.command(&words));
        wait_for(&asked);
        cut.signal(nix::sys::signal::Signal::SIGINT);
        cut.wait().demand(130);
        drop(server);
        assert_ne!(shop.process(), before);
        assert_eq!(shop.in_old(COUNT), "1000 1000");
        shop.trip.demand_standing("waits for the cutover");
    });
}

#[test]
fn after_a_kill_old_goes_back_into_service_or_new_takes_over() {
    let name = "after_a_kill_old_goes_back_into_service_or_new_takes_over";
    as_server_user(name, || {
        let shop = Shop::new("old-15", "new-17", "link");
        let server = shop.prepared();
        let stopped = ("step_done", "stop-old-server");
        shop.trip.frozen_cutover_with(&[], stopped).kill();
        drop(server);
        shop.trip.rollback();
        assert_eq!(shop.in_old(COUNT), "1000 1000");

        shop.trip.prepare();
        let hooked = ["--resume-command", "echo the pooler goes on"];
        shop.trip.frozen_cutover_with(&hooked, stopped).kill();
        std::thread::sleep(Duration::from_secs(1));
        let ran = finish(shop.trip.command(&["resume"]));
        ran.demand(0);
        // What was said when it began need not be said again.
        assert!(ran.stdout.contains("the pooler goes on"), "{}", ran.stdout);
        let down = shop.end()["downtime_seconds"].as_f64().unwrap();
        assert!(down > 1.0, "the time nobody was at work counts: {down}");
        assert_eq!(shop.in_new(COUNT), "1000 1000");
    });
}
