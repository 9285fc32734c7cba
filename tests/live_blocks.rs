//! First copies, and what the WAL names of the pages that were changed after the last look.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use support::trip::{LIMIT, Trip, finish};
use support::{Cluster, Running, as_server_user, cluster, say};

const MAKE: &[&str] = &[
    "CREATE TABLE wide (id serial PRIMARY KEY, note text, tags int[], place point)",
    "INSERT INTO wide (note, tags, place) \
     SELECT md5(n::text) || repeat('x', 500), ARRAY[n % 7, n], point(n, n % 911) \
     FROM generate_series(1, 100000) n",
    "CREATE INDEX ON wide USING gin (tags)",
    "CREATE INDEX ON wide USING gist (place)",
    "CREATE INDEX ON wide USING spgist (place)",
    "CREATE INDEX ON wide USING hash (note)",
    "CREATE INDEX ON wide USING brin (id)",
    "CREATE TABLE shrinking AS SELECT n AS id, repeat('s', 300) AS note \
     FROM generate_series(1, 10000) n",
    "CREATE TABLE rewritten AS SELECT n AS id FROM generate_series(1, 9000) n",
    "CREATE UNLOGGED TABLE passing (id int PRIMARY KEY, note text)",
    "INSERT INTO passing SELECT n, repeat('u', 200) FROM generate_series(1, 9000) n",
    "CREATE SEQUENCE counted",
    "VACUUM (FREEZE, ANALYZE)",
    // Nobody has looked at these rows: a reader will set hints, and change nothing else.
    "CREATE TABLE unseen TABLESPACE beyond AS SELECT n AS id, repeat('h', 400) AS note \
     FROM generate_series(1, 10000) n",
];

/// Between prepare and the cutover.
const BETWEEN: &[&str] = &[
    "VACUUM FULL rewritten",
    "TRUNCATE passing; INSERT INTO passing SELECT n, 'new' FROM generate_series(1, 5000) n",
    "CREATE TABLE gone AS SELECT * FROM wide LIMIT 5000; CREATE INDEX ON gone (id); DROP TABLE gone",
    "UPDATE wide SET note = note || 'b' WHERE id % 301 = 0",
];

/// After the cutover has looked at all files for the last time.
const LATE: &[&str] = &[
    "UPDATE wide SET note = reverse(note), place = point(id, id) WHERE id % 997 = 0",
    "INSERT INTO wide (note, tags, place) SELECT repeat('late', 400), ARRAY[n], point(n, -n) \
     FROM generate_series(1, 1000) n",
    "DELETE FROM shrinking WHERE id > 3000",
    "VACUUM shrinking",
    "INSERT INTO shrinking SELECT n, 'again' FROM generate_series(1, 4000) n",
    "SELECT count(*) FROM unseen",
    "UPDATE passing SET note = 'unlogged' WHERE id % 3 = 0",
    "BEGIN; INSERT INTO wide (note) SELECT repeat('never', 99) FROM generate_series(1, 500); ROLLBACK",
    "SELECT nextval('counted') FROM generate_series(1, 40)",
    "SELECT id FROM wide WHERE id % 1009 = 0 FOR UPDATE",
];

/// Writes a little, all the time, wherever files are being copied.
fn churn(server: &Running<'_>, over: &AtomicBool) {
    let mut session = server.connect("app");
    for round in 0.. {
        let work = format!(
            "UPDATE wide SET note = md5({round}::text) || note WHERE id = {} ; \
             INSERT INTO rewritten VALUES ({round})",
            (round * 7919) % 100_000 + 1
        );
        if over.load(Ordering::SeqCst) || session.batch_execute(&work).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ends the churning, also where the test has failed.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Cuts over; `late` is done when nothing but the stop is left.
fn cutover_with(trip: &Trip, place: &std::path::Path, late: impl FnOnce()) {
    let file = |name: &str| -> PathBuf { place.join(name) };
    let script = format!(
        "touch {}; while [ ! -e {} ]; do sleep 0.05; done",
        file("paused").display(),
        file("go").display()
    );
    let command = trip.command(&["cutover", "--pause-command", &script]);
    std::thread::scope(|scope| {
        let cutting = scope.spawn(|| finish(command));
        let begun = std::time::Instant::now();
        while !file("paused").exists() && !cutting.is_finished() {
            assert!(
                begun.elapsed() < LIMIT,
                "the cutover does not come to the stop"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        if file("paused").exists() {
            late();
        }
        fs::write(file("go"), "").unwrap();
        cutting.join().unwrap().demand(0);
    });
}

/// Makes, prepares and cuts over, and has every block compared; gives what was said of the files.
fn carried(old: &Cluster, settings: &[&str], new: &str, late: &[&str]) -> (String, Vec<String>) {
    let usual = [
        "autovacuum=off",
        "max_wal_size=4GB",
        "checkpoint_timeout=1h",
    ];
    let server = old.start_with(&[&usual[..], settings].concat());
    let beyond = old.scratch().join("beyond");
    fs::create_dir(&beyond).unwrap();
    server.sql("postgres", "CREATE DATABASE app");
    let space = format!("CREATE TABLESPACE beyond LOCATION '{}'", beyond.display());
    server.sql("postgres", &space);
    for work in MAKE {
        server.sql("app", work);
    }
    let trip = Trip::new(old, new, "copy");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| churn(&server, &over));
        let _over = Over(&over);
        trip.prepare();
        for work in BETWEEN {
            server.sql("app", work);
        }
        cutover_with(&trip, old.scratch(), || {
            // However long the rest takes, there is not more to be read.
            over.store(true, Ordering::SeqCst);
            for work in late {
                server.sql("app", work);
            }
        });
    });
    drop(server);
    // Byte by byte, and it asks no digest.
    trip.run(&["verify"]).demand(0);
    let events = trip.events();
    let finished = |event: &&serde_json::Value| {
        event["event"] == "step_finished" && event["step"] == "transfer-files"
    };
    let said = events.iter().rfind(finished).unwrap()["detail"].to_string();
    let messages = events.iter().filter(|event| event["event"] == "message");
    let messages = messages.map(|event| event["text"].to_string()).collect();
    (said, messages)
}

/// Rows, each found by every index, and the sequence goes on where it was.
fn demand_served(trip: &Cluster) {
    let served = trip.start();
    let mut session = served.connect("app");
    let mut number = |query: &str| -> i64 { session.query_one(query, &[]).unwrap().get(0) };
    let all = number("SELECT count(*) FROM wide");
    assert_eq!(
        number("SELECT count(*) FROM wide WHERE note LIKE 'latelate%'"),
        1000
    );
    assert!(all >= 101_000, "{all}");
    assert_eq!(number("SELECT count(*) FROM shrinking"), 7000);
    assert_eq!(number("SELECT count(*) FROM unseen"), 10_000);
    assert_eq!(
        number("SELECT count(*) FROM passing WHERE note = 'unlogged'"),
        1666
    );
    assert_eq!(number("SELECT nextval('counted')"), 41);
    served.sql(
        "app",
        "SET enable_seqscan = off; SELECT id FROM wide WHERE place ~= point(997, 997)",
    );
    served.sql("app", "VACUUM (FREEZE, ANALYZE)");
    served.stop();
}

fn named(old: &Cluster, settings: &[&str], new: &str) {
    let (said, messages) = carried(old, settings, new, LATE);
    say(&format!("TOOK {said}"));
    assert!(said.contains("of WAL name them"), "{said}\n{messages:#?}");
    let arrived = Trip::new(old, new, "copy").new_cluster();
    demand_served(&arrived);
}

#[test]
fn the_wal_of_10_names_what_was_changed() {
    as_server_user("the_wal_of_10_names_what_was_changed", || {
        named(&cluster("old-10", &["-k"]), &[], "new-17");
    });
}

#[test]
fn the_wal_of_12_names_what_was_changed() {
    as_server_user("the_wal_of_12_names_what_was_changed", || {
        named(&cluster("old-12", &[]), &["wal_log_hints=on"], "new-18");
    });
}

#[test]
fn the_wal_of_16_names_what_was_changed() {
    as_server_user("the_wal_of_16_names_what_was_changed", || {
        let compressed = ["wal_compression=pglz", "wal_level=logical"];
        named(&cluster("old-16", &["-k"]), &compressed, "new-18");
    });
}

/// Hints are in no WAL then, so all is read, and every block is the same all the same.
#[test]
fn without_checksums_the_wal_is_not_asked() {
    as_server_user("without_checksums_the_wal_is_not_asked", || {
        let (said, messages) = carried(&cluster("old-15", &[]), &[], "new-17", LATE);
        assert!(!said.contains("of WAL"), "{said}");
        let told = |text: &String| text.contains("does not name pages with new hints");
        assert!(messages.iter().any(told), "{messages:#?}");
    });
}

/// A table that gets another file makes the cutover start old once more, which ends what the WAL
/// can tell.
#[test]
fn after_one_more_start_of_old_the_wal_is_not_believed() {
    as_server_user(
        "after_one_more_start_of_old_the_wal_is_not_believed",
        || {
            let late = [LATE, &["VACUUM FULL rewritten"]].concat();
            let (said, messages) = carried(&cluster("old-16", &["-k"]), &[], "new-17", &late);
            assert!(!said.contains("of WAL"), "{said}");
            let told = |text: &String| text.contains("whose effects are not known");
            assert!(messages.iter().any(told), "{messages:#?}");
        },
    );
}
