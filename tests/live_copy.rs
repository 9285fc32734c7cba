//! Copies that are made while old is written to, and what the cutover makes of them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use support::application::{Application, Pgbench};
use support::stock::stock;
use support::trip::Trip;
use support::{Running, as_server_user};

/// What moves files: none of it is drift once it is over.
const STIR: [&str; 7] = [
    "INSERT INTO bulk SELECT n, repeat('x', n % 900) FROM generate_series(1, 20000) n",
    "VACUUM FULL bulk",
    "UPDATE bulk SET note = note || 'y' WHERE id % 7 = 0",
    "TRUNCATE bulk",
    "REINDEX TABLE bulk",
    "VACUUM bulk",
    "CREATE TABLE passing AS SELECT * FROM bulk; DROP TABLE passing; ALTER TABLE bulk SET LOGGED",
];

/// Stirs until it is told to stop, or the server goes.
fn stir(server: &Running<'_>, over: &AtomicBool) {
    let mut session = server.connect("app");
    for work in STIR.iter().cycle() {
        if over.load(Ordering::SeqCst) {
            return;
        }
        if let Err(error) = session.batch_execute(work) {
            assert!(error.is_closed(), "{work}: {error}");
            return;
        }
    }
}

fn copied_under_load(old: &str, new: &str, words: &[&str]) {
    let stock = stock(old);
    let cluster = &stock.cluster;
    let settings = ["checkpoint_timeout=30s", "shared_buffers=16MB"];
    let server = cluster.start_with(&settings);
    server.sql("app", "CREATE TABLE bulk (id int PRIMARY KEY, note text)");
    Application::make(&server, "app");
    Pgbench::make(cluster.scratch(), "app", 10);
    let application = Application::begin(cluster.scratch(), "app", 1);
    let bench = Pgbench::begin(cluster.scratch(), "app", 2);
    let trip = Trip::new(cluster, new, "copy");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut preparing = trip.begin(trip.first_command(&[&["prepare"], words].concat()));
        assert!(preparing.reaches("step_intended", "place-files"));
        let stirring = scope.spawn(|| stir(&server, &over));
        preparing.wait().demand(0);
        application.goes_on(20);
        over.store(true, Ordering::SeqCst);
        stirring.join().unwrap();
    });
    // A table that came and went has left traces in no catalog that counts.
    trip.cutover();
    drop(bench);
    let book = application.end();
    assert!(book.committed.len() > 40);
    drop(server);
    trip.run(&["verify"]).demand(0);
    demand_patched(&trip);
    if !words.is_empty() {
        trip.demand_checksums();
    }

    let server = cluster.start();
    let kept = rows(&server);
    server.stop();
    let arrived = trip.new_cluster();
    let served = arrived.start();
    assert_eq!(rows(&served), kept);
    book.demand_kept(&served, "app");
    let balances = "SELECT (SELECT sum(abalance) FROM pgbench_accounts)::bigint, \
                    (SELECT sum(delta) FROM pgbench_history)::bigint";
    let row = served.connect("app").query_one(balances, &[]).unwrap();
    assert_eq!(row.get::<_, i64>(0), row.get::<_, i64>(1));
    served.sql("app", "VACUUM (FREEZE, ANALYZE)");
    served.stop();
}

/// How many rows each table has, and a sum over all of them.
fn rows(server: &Running<'_>) -> Vec<(String, i64, i64)> {
    let mut session = server.connect("app");
    let tables = "SELECT quote_ident(nspname) || '.' || quote_ident(relname) \
                  FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace \
                  WHERE relkind IN ('r', 'm') AND nspname !~ '^(pg_|information_schema)' ORDER BY 1";
    let tables = session.query(tables, &[]).unwrap();
    let tables = tables.iter().map(|row| row.get::<_, String>(0));
    tables
        .map(|table| {
            let sum = format!(
                "SELECT count(*), coalesce(sum(hashtext(t::text)), 0)::bigint FROM {table} t"
            );
            let row = session.query_one(&sum, &[]).unwrap();
            (table, row.get(0), row.get(1))
        })
        .collect()
}

/// Most files were left alone after the stop, and some were not.
fn demand_patched(trip: &Trip) {
    let events = trip.events();
    let said = events
        .iter()
        .rfind(|event| event["event"] == "step_finished" && event["step"] == "transfer-files");
    let said = said.unwrap()["detail"].as_str().unwrap();
    assert!(said.contains("copied before and unchanged"), "{said}");
    assert!(said.contains("read again"), "{said}");
}

#[test]
fn every_block_arrives_that_was_written_during_the_first_copies() {
    as_server_user(
        "every_block_arrives_that_was_written_during_the_first_copies",
        || copied_under_load("old-15", "new-17", &[]),
    );
}

#[test]
fn every_block_arrives_and_gets_its_checksum() {
    as_server_user("every_block_arrives_and_gets_its_checksum", || {
        copied_under_load("old-15", "new-18", &["--enable-checksums"]);
    });
}
