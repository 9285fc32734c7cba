//! Reading a cluster in use, and telling from its files whether the reading is still true.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;

use pg_migrator::catalog::{self, Mark, Reading};
use pg_migrator::error::Code;
use pg_migrator::server::Cancel;
use pg_migrator::verify;
use support::private::operators;
use support::{Cluster, Running, as_server_user, cluster};

const JOBS: usize = 2;
/// Long enough for whatever ends by itself.
const PATIENT: Duration = Duration::from_secs(30);

/// Nothing but what a test does writes to these.
const QUIET: &[&str] = &["autovacuum=off", "max_prepared_transactions=5"];

/// A cluster of 15 with a schema.
fn shop(options: &[&str]) -> Cluster {
    let cluster = cluster("old-15", options);
    let server = cluster.start_with(QUIET);
    server.sql("postgres", "CREATE DATABASE shop");
    server.sql(
        "shop",
        "CREATE TABLE item (id int PRIMARY KEY, name text); \
         INSERT INTO item SELECT n, 'item ' || n FROM generate_series(1, 100) n;",
    );
    server.stop();
    cluster
}

fn read(cluster: &Cluster, patience: Duration) -> Reading {
    catalog::read_in_use(&operators(cluster, 15), patience, JOBS, &Cancel::new()).unwrap()
}

fn doubts(cluster: &Cluster, mark: &Mark) -> Vec<String> {
    verify::since(&cluster.data, mark, JOBS, &Cancel::new())
        .unwrap()
        .doubts
}

/// Reads, does something, stops, and gives the doubts.
fn doubts_after(cluster: &Cluster, act: impl FnOnce(&Running<'_>)) -> Vec<String> {
    let server = cluster.start_with(QUIET);
    let reading = read(cluster, PATIENT);
    act(&server);
    server.stop();
    doubts(cluster, &reading.mark)
}

#[test]
fn every_version_is_read_in_use() {
    as_server_user("every_version_is_read_in_use", || {
        for major in 10..=17_u16 {
            let cluster = cluster(&format!("old-{major}"), &[]);
            let server = cluster.start_with(QUIET);
            server.sql("postgres", "CREATE TABLE here (id int)");
            let old = operators(&cluster, major);
            let reading = catalog::read_in_use(&old, PATIENT, JOBS, &Cancel::new()).unwrap();
            assert!(reading.mark.open.is_empty(), "{major}");
            server.sql(
                "postgres",
                "INSERT INTO here SELECT generate_series(1, 1000)",
            );
            server.stop();
            assert_eq!(doubts(&cluster, &reading.mark), [""; 0], "{major}");

            let server = cluster.start_with(QUIET);
            server.sql("postgres", "ALTER TABLE here ADD COLUMN there int");
            server.stop();
            let found = doubts(&cluster, &reading.mark);
            assert!(
                found.contains(&"pg_attribute of database postgres changed".to_owned()),
                "{major}: {found:?}"
            );
        }
    });
}

#[test]
fn ordinary_work_leaves_no_doubt() {
    as_server_user("ordinary_work_leaves_no_doubt", || {
        let cluster = shop(&[]);
        let found = doubts_after(&cluster, |server| {
            server.sql(
                "shop",
                "INSERT INTO item SELECT n, 'more' FROM generate_series(101, 5000) n; \
                 UPDATE item SET name = upper(name); DELETE FROM item WHERE id % 3 = 0;",
            );
            // A rolled back change never comes into force, but its pages were stamped.
            server.sql("shop", "BEGIN; SELECT txid_current(); ROLLBACK");
        });
        assert_eq!(found, [""; 0]);
    });
}

#[test]
fn statistics_leave_no_doubt_but_their_definitions_do() {
    as_server_user("statistics_leave_no_doubt_but_their_definitions_do", || {
        let cluster = shop(&[]);
        let server = cluster.start_with(QUIET);
        server.sql(
            "shop",
            "CREATE STATISTICS known ON id, name FROM item; ANALYZE item",
        );
        server.stop();
        // The same numbers of rows and pages once more: only statistics are written.
        assert_eq!(
            doubts_after(&cluster, |server| server.sql("shop", "ANALYZE item")),
            [""; 0]
        );
        let found = doubts_after(&cluster, |server| {
            server.sql("shop", "ALTER STATISTICS known SET STATISTICS 50");
        });
        assert_eq!(found, ["pg_statistic_ext of database shop changed"]);
    });
}

#[test]
fn every_kind_of_change_raises_a_doubt() {
    as_server_user("every_kind_of_change_raises_a_doubt", || {
        let cluster = shop(&[]);
        for statement in [
            "TRUNCATE item",
            "VACUUM FULL item",
            "COMMENT ON TABLE item IS 'things'",
            "GRANT SELECT ON item TO PUBLIC",
            "ALTER ROLE postgres SET work_mem = '8MB'",
            "ALTER DATABASE shop SET work_mem = '8MB'",
            "CREATE ROLE clerk",
            "CREATE DATABASE store",
            "DROP DATABASE store",
            "ALTER TABLE item SET (fillfactor = 50)",
            "SELECT lo_create(4711)",
            "CREATE TEMP TABLE passing (id int)",
        ] {
            let found = doubts_after(&cluster, |server| server.sql("shop", statement));
            assert!(!found.is_empty(), "{statement}");
        }
    });
}

/// A commit stamps no catalog page, so what was written before the position of the mark and
/// committed after the reading can be found in no page.
#[test]
fn what_was_open_at_the_reading_and_commits_is_found() {
    as_server_user("what_was_open_at_the_reading_and_commits_is_found", || {
        for work in [
            "CREATE TABLE late AS SELECT 1 AS one",
            "TRUNCATE item",
            "ALTER TABLE item ADD CHECK (id > 0)",
            "SELECT lo_create(4711)",
        ] {
            let cluster = shop(&[]);
            let server = cluster.start_with(QUIET);
            let mut session = server.connect("shop");
            session.batch_execute(&format!("BEGIN; {work}")).unwrap();
            let reading = read(&cluster, Duration::ZERO);
            assert_eq!(reading.mark.open.len(), 1, "{work}");
            session.batch_execute("COMMIT").unwrap();
            drop(session);
            server.stop();
            let found = doubts(&cluster, &reading.mark);
            assert!(
                found.len() == 1 && found[0].ends_with("has committed"),
                "{work}: {found:?}"
            );
        }
    });
}

#[test]
fn what_was_open_and_is_rolled_back_leaves_no_doubt() {
    as_server_user("what_was_open_and_is_rolled_back_leaves_no_doubt", || {
        let cluster = shop(&[]);
        let server = cluster.start_with(QUIET);
        let mut ended = server.connect("shop");
        ended
            .batch_execute("BEGIN; CREATE TABLE never (id int)")
            .unwrap();
        let mut left = server.connect("postgres");
        left.batch_execute("BEGIN; CREATE TABLE neither (id int)")
            .unwrap();
        let reading = read(&cluster, Duration::ZERO);
        assert_eq!(reading.mark.open.len(), 2);
        ended.batch_execute("ROLLBACK").unwrap();
        // A fast stop ends the other one.
        server.stop();
        assert_eq!(doubts(&cluster, &reading.mark), [""; 0]);
    });
}

/// One that commits while the reading waits for it is in the reading; a transaction above the
/// snapshots of the reading stamps pages behind the mark, wherever it began.
#[test]
fn what_commits_before_the_reading_is_in_it() {
    as_server_user("what_commits_before_the_reading_is_in_it", || {
        let cluster = shop(&[]);
        let server = cluster.start_with(QUIET);
        let mut session = server.connect("shop");
        let mut later = server.connect("shop");
        session
            .batch_execute("BEGIN; CREATE TABLE late (id int)")
            .unwrap();
        later.batch_execute("BEGIN; SELECT 1").unwrap();
        let reading = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(1500));
                session.batch_execute("COMMIT").unwrap();
            });
            read(&cluster, PATIENT)
        });
        assert!(reading.mark.open.is_empty());
        let shop = reading.snapshot.database("shop").unwrap();
        assert!(shop.relations.iter().any(|r| &*r.name == "late"));
        later
            .batch_execute("CREATE TABLE later (id int); COMMIT")
            .unwrap();
        drop(later);
        server.stop();
        assert!(!doubts(&cluster, &reading.mark).is_empty());
    });
}

#[test]
fn prepared_transactions_are_refused_and_found_when_they_come_later() {
    let name = "prepared_transactions_are_refused_and_found_when_they_come_later";
    as_server_user(name, || {
        let cluster = shop(&[]);
        let server = cluster.start_with(QUIET);
        let mut session = server.connect("shop");
        session
            .batch_execute("BEGIN; CREATE TABLE late (id int); PREPARE TRANSACTION 'gift'")
            .unwrap();
        let old = operators(&cluster, 15);
        let error = catalog::read_in_use(&old, Duration::ZERO, JOBS, &Cancel::new()).unwrap_err();
        assert_eq!(error.code(), Code::Blocked);
        assert!(error.facts().iter().any(|(_, text)| text.contains("gift")));

        session.batch_execute("ROLLBACK PREPARED 'gift'").unwrap();
        session
            .batch_execute("BEGIN; CREATE TABLE late (id int)")
            .unwrap();
        let reading = read(&cluster, Duration::ZERO);
        session.batch_execute("PREPARE TRANSACTION 'gift'").unwrap();
        session.batch_execute("COMMIT PREPARED 'gift'").unwrap();
        drop(session);
        server.stop();
        let found = doubts(&cluster, &reading.mark);
        assert!(
            found.len() == 1 && found[0].ends_with("has committed"),
            "{found:?}"
        );
    });
}

/// VACUUM FULL moves a catalog to another file; with `wal_level` minimal its pages are not even
/// stamped. Mapped ones are in `pg_filenode.map`, the others in `pg_class`.
#[test]
fn a_catalog_that_moved_is_found() {
    as_server_user("a_catalog_that_moved_is_found", || {
        let minimal = ["autovacuum=off", "wal_level=minimal", "max_wal_senders=0"];
        for (catalog, wanted) in [
            ("pg_class", "pg_filenode.map changed"),
            ("pg_database", "global/pg_filenode.map changed"),
            ("pg_description", "pg_description of database shop changed"),
        ] {
            let cluster = shop(&[]);
            let server = cluster.start_with(&minimal);
            let reading = read(&cluster, PATIENT);
            server.sql("shop", "COMMENT ON TABLE item IS 'things'");
            server.sql("shop", &format!("VACUUM FULL {catalog}"));
            server.stop();
            let found = doubts(&cluster, &reading.mark);
            assert!(
                found.iter().any(|doubt| doubt.ends_with(wanted)),
                "{catalog}: {found:?}"
            );
        }
    });
}

/// With checksums a hint stamps its page. The hints of rows that nobody has read since they were
/// committed are set by the first of the two readings, before the mark.
#[test]
fn hints_leave_no_doubt_where_they_stamp_pages() {
    as_server_user("hints_leave_no_doubt_where_they_stamp_pages", || {
        for (options, more) in [
            (&["--data-checksums"][..], "max_prepared_transactions=5"),
            (&[], "wal_log_hints=on"),
        ] {
            let cluster = shop(options);
            let settings = ["autovacuum=off", more];
            let server = cluster.start_with(&settings);
            server.sql(
                "shop",
                "DO $$ BEGIN FOR n IN 1..200 LOOP \
                   EXECUTE format('CREATE TABLE many_%s (id int)', n); \
                   EXECUTE format('COMMENT ON TABLE many_%s IS %L', n, n); \
                   EXECUTE format('DROP TABLE IF EXISTS many_%s', abs(n - 3)); \
                 END LOOP; END $$",
            );
            server.sql("shop", "CHECKPOINT");
            let reading = read(&cluster, PATIENT);
            server.sql("shop", "SELECT count(*) FROM pg_class, pg_attribute");
            server.stop();
            assert_eq!(doubts(&cluster, &reading.mark), [""; 0], "{options:?}");
        }
    });
}
