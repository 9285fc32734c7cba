//! The cutover from a server that is in use.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::as_server_user;
use support::shop::{COUNT, QUIET, Shop};

#[test]
fn in_the_ordinary_case_no_server_is_started_in_between() {
    as_server_user(
        "in_the_ordinary_case_no_server_is_started_in_between",
        || {
            for (old, new, mode) in [
                ("old-15", "new-17", "link"),
                ("old-13", "new-17", "copy"),
                ("old-10", "new-18", "link"),
            ] {
                let shop = Shop::new(old, new, mode);
                let server = shop.prepared();
                server.sql("shop", "INSERT INTO item (name) VALUES ('late')");
                shop.trip.cutover();
                assert!(!shop.started_privately(), "{old}");
                assert!(
                    shop.said("confirm-catalog")
                        .starts_with("nothing changed in")
                );
                demand_estimated(&shop.trip.events());
                let end = shop.end();
                let down = end["downtime_seconds"].as_f64().unwrap();
                let parts: f64 = end["downtime_parts"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|part| part["seconds"].as_f64().unwrap())
                    .sum();
                assert!(0.0 < parts && parts <= down + 0.001, "{end}");
                assert_eq!(shop.in_new(COUNT), "1001 1001", "{old}");
                assert_eq!(shop.in_new("SELECT nextval('item_id_seq')"), "1002");
                drop(server);
            }
        },
    );
}

/// By prepare and by the cutover, before they change who serves.
fn demand_estimated(events: &[Value]) {
    let at = |name: &str| events.iter().position(|event| event["event"] == name);
    let estimates: Vec<&Value> = events
        .iter()
        .filter(|event| event["event"] == "downtime_estimated")
        .collect();
    assert_eq!(estimates.len(), 2);
    for estimate in estimates {
        let seconds = estimate["seconds"].as_f64().unwrap();
        assert!((0.05..600.0).contains(&seconds), "{estimate}");
        assert_eq!(estimate["parts"][0]["what"], "stop-old-server");
        assert!(estimate["again_seconds"].as_f64().unwrap() > 0.0);
    }
    let stop = events
        .iter()
        .position(|event| event["step"] == "stop-old-server" && event["event"] == "step_started");
    assert!(at("downtime_estimated") < stop);
}

/// Every row whose commit was acknowledged is there, whatever the moment old was stopped.
#[test]
fn no_acknowledged_row_is_lost_with_writers_at_work() {
    as_server_user("no_acknowledged_row_is_lost_with_writers_at_work", || {
        for mode in ["link", "copy"] {
            let shop = Shop::new("old-15", "new-17", mode);
            let server = shop.prepared();
            let ledgers: Vec<Vec<i32>> = std::thread::scope(|scope| {
                let writers: Vec<_> = (0..4)
                    .map(|_| {
                        let mut session = server.connect("shop");
                        scope.spawn(move || write_until_refused(&mut session))
                    })
                    .collect();
                std::thread::sleep(Duration::from_millis(300));
                shop.trip.cutover();
                writers.into_iter().map(|w| w.join().unwrap()).collect()
            });
            drop(server);
            let ledger: Vec<i32> = ledgers.concat();
            assert!(ledger.len() > 10, "{} rows", ledger.len());
            let new = shop.trip.new_cluster();
            let server = new.start();
            let rows = server
                .connect("shop")
                .query("SELECT item FROM sold", &[])
                .unwrap();
            let there: std::collections::HashSet<i32> = rows.iter().map(|row| row.get(0)).collect();
            for id in ledger {
                assert!(there.contains(&id), "{mode}: row {id} was committed in old");
            }
            server.stop();
        }
    });
}

/// Gives the rows whose commit was acknowledged.
fn write_until_refused(session: &mut postgres::Client) -> Vec<i32> {
    let mut ledger = Vec::new();
    let sql = "WITH made AS (INSERT INTO item (name) VALUES ('more') RETURNING id) \
               INSERT INTO sold (item) SELECT id FROM made RETURNING item";
    while let Ok(row) = session.query_one(sql, &[]) {
        ledger.push(row.get(0));
    }
    ledger
}

#[test]
fn a_change_between_the_reading_and_the_stop_is_drift() {
    as_server_user("a_change_between_the_reading_and_the_stop_is_drift", || {
        let shop = Shop::new("old-15", "new-17", "link");
        let server = shop.prepared();
        let resumed = shop.flag("resumed");
        let resume = format!("touch {}", resumed.display());
        let ran = shop.cutover_around(&["--resume-command", &resume], || {
            server.sql(
                "shop",
                "CREATE TABLE late AS SELECT 1 AS one; INSERT INTO item (name) VALUES ('late')",
            );
        });
        ran.refused(3, "PGM-6001", &["shop"]);
        drop(server);
        assert!(shop.started_privately());
        assert!(resumed.exists());
        shop.trip.demand_standing("waits for the cutover");
        // Old serves as it did before, with what it was started with.
        assert_eq!(shop.in_old("SELECT one FROM late"), "1");
        assert_eq!(shop.in_old("SHOW autovacuum"), "off");
        assert_eq!(shop.in_old(COUNT), "1001 1001");
        assert!(shop.end()["downtime_seconds"].as_f64().unwrap() > 0.0);
        assert_eq!(shop.in_old("DROP TABLE late; SELECT 'gone'"), "gone");
        shop.trip.rollback();
        assert_eq!(shop.in_old(COUNT), "1001 1001");
    });
}

#[test]
fn a_file_that_moved_after_the_reading_arrives() {
    as_server_user("a_file_that_moved_after_the_reading_arrives", || {
        for mode in ["link", "copy"] {
            let shop = Shop::new("old-15", "new-17", mode);
            let server = shop.prepared();
            shop.cutover_around(&[], || {
                server.sql("shop", "TRUNCATE sold; INSERT INTO sold VALUES (1), (2)");
                server.sql("shop", "VACUUM FULL item");
                server.sql("shop", "DELETE FROM item WHERE id > 10");
            })
            .demand(0);
            drop(server);
            assert!(shop.started_privately());
            let said = shop.said("confirm-catalog");
            assert!(said.contains("pg_class of database shop changed"), "{said}");
            assert_eq!(shop.in_new(COUNT), "10 10");
            assert_eq!(shop.in_new("SELECT sum(item) FROM sold"), "3");
        }
    });
}

/// Its pages were stamped before the reading, its commit stamps nothing.
#[test]
fn a_transaction_open_at_the_reading_that_commits_is_not_lost() {
    let name = "a_transaction_open_at_the_reading_that_commits_is_not_lost";
    as_server_user(name, || {
        let shop = Shop::new("old-15", "new-17", "link");
        let server = shop.prepared();
        let mut session = server.connect("shop");
        session
            .batch_execute("BEGIN; TRUNCATE sold; INSERT INTO sold VALUES (7)")
            .unwrap();
        shop.cutover_around(&[], || session.batch_execute("COMMIT").unwrap())
            .demand(0);
        drop((session, server));
        let said = shop.said("confirm-catalog");
        assert!(said.contains("has committed"), "{said}");
        assert_eq!(shop.in_new("SELECT sum(item) FROM sold"), "7");
    });
}

#[test]
fn a_transaction_prepared_after_the_reading_ends_the_cutover() {
    let name = "a_transaction_prepared_after_the_reading_ends_the_cutover";
    as_server_user(name, || {
        let shop = Shop::new("old-15", "new-17", "copy");
        let server = shop.prepared();
        let ran = shop.cutover_around(&[], || {
            server.sql(
                "shop",
                "BEGIN; INSERT INTO sold VALUES (7); PREPARE TRANSACTION 'gift'",
            );
        });
        ran.refused(3, "PGM-6002", &["prepared transactions"]);
        drop(server);
        assert_eq!(shop.in_old("SELECT gid FROM pg_prepared_xacts"), "gift");
        shop.trip.demand_standing("waits for the cutover");
    });
}

/// A backup that was restored, or a rewind, has the schema that was prepared.
#[test]
fn an_old_cluster_that_went_back_in_time_is_refused() {
    as_server_user("an_old_cluster_that_went_back_in_time_is_refused", || {
        let shop = Shop::new("old-15", "new-17", "copy");
        let backup = shop.flag("backup");
        let server = shop.old.start_with(QUIET);
        server.sql("postgres", "CREATE TABLE here (id int)");
        server.stop();
        let copied = Command::new("cp")
            .arg("-a")
            .args([&shop.old.data, &backup])
            .status()
            .unwrap();
        assert!(copied.success());
        let server = shop.old.start_with(QUIET);
        server.sql("postgres", "INSERT INTO here VALUES (1); CHECKPOINT");
        shop.trip.prepare();
        server.stop();
        fs::remove_dir_all(&shop.old.data).unwrap();
        fs::rename(&backup, &shop.old.data).unwrap();
        let server = shop.old.start_with(QUIET);
        shop.trip.run(&["cutover"]).refused(
            3,
            "PGM-6001",
            &["NextXID", "an earlier state of the one that was prepared"],
        );
        server.stop();
    });
}

/// A checkpoint of a running server counts OIDs it has only set aside.
#[test]
fn a_restart_between_prepare_and_cutover_is_no_step_back() {
    as_server_user(
        "a_restart_between_prepare_and_cutover_is_no_step_back",
        || {
            let shop = Shop::new("old-14", "new-17", "link");
            let server = shop.serving_with(QUIET);
            server.sql("shop", "CREATE TABLE made_before (id int)");
            server.sql("shop", "CHECKPOINT");
            shop.trip.prepare();
            server.stop();
            let _server = shop.old.start_with(QUIET);
            shop.trip.cutover();
            assert_eq!(shop.in_new(COUNT), "1000 1000");
        },
    );
}

#[test]
fn a_slot_with_changes_nobody_has_read_is_named_before_the_stop() {
    let name = "a_slot_with_changes_nobody_has_read_is_named_before_the_stop";
    as_server_user(name, || {
        let shop = Shop::new("old-15", "new-17", "copy");
        let server = shop.prepared_with(&["wal_level=logical", "autovacuum=off"]);
        server.sql(
            "shop",
            "SELECT pg_create_logical_replication_slot('changes', 'test_decoding')",
        );
        server.sql(
            "shop",
            "INSERT INTO sold SELECT 7 FROM generate_series(1, 1000)",
        );
        shop.trip.cutover();
        drop(server);
        let events = shop.trip.events();
        let warnings: Vec<&str> = events
            .iter()
            .filter(|event| event["event"] == "message" && event["level"] == "warning")
            .filter_map(|event| event["text"].as_str())
            .filter(|text| text.contains(" replication slot "))
            .collect();
        let [told] = warnings[..] else {
            panic!("{warnings:?}")
        };
        assert!(
            told.starts_with("logical replication slot changes is "),
            "{told}"
        );
        assert_eq!(shop.in_new(COUNT), "1000 1000");
    });
}
