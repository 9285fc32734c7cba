//! What tries to slip through between the last reading of a server in use and its stop.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::as_server_user;
use support::shop::{COUNT, QUIET, Shop};

const LARGE_OBJECT: &str = "SELECT convert_from(lo_get(4711), 'UTF8') || \
     ' ' || obj_description(4711, 'pg_largeobject') FROM pg_largeobject_metadata WHERE oid = 4711";

/// All of them have stamped their pages before the reading; a commit stamps none.
#[test]
fn changes_open_at_the_reading_that_commit_before_the_stop_are_drift() {
    let name = "changes_open_at_the_reading_that_commit_before_the_stop_are_drift";
    as_server_user(name, || {
        let shop = Shop::new("old-15", "new-17", "link");
        let server = shop.prepared();
        let mut sessions: Vec<_> = [
            "CREATE TABLE late AS SELECT n FROM generate_series(1, 100) n",
            "ALTER TABLE sold ADD CHECK (item > 0)",
            "SAVEPOINT inner_one; COMMENT ON TABLE item IS 'wares'; RELEASE inner_one",
        ]
        .into_iter()
        .map(|act| {
            let mut session = server.connect("shop");
            session.batch_execute("BEGIN").unwrap();
            session.batch_execute(act).unwrap();
            session
        })
        .collect();
        let ran = shop.cutover_around(&[], || {
            for session in &mut sessions {
                session.batch_execute("COMMIT").unwrap();
            }
        });
        ran.refused(3, "PGM-6001", &["late", "sold", "item"]);
        drop((sessions, server));
        assert_eq!(shop.in_old("SELECT count(*) FROM late"), "100");
        assert_eq!(shop.in_old(COUNT), "1000 1000");
        shop.trip.demand_standing("waits for the cutover");
    });
}

#[test]
fn changes_open_at_the_reading_that_are_undone_are_none() {
    let name = "changes_open_at_the_reading_that_are_undone_are_none";
    as_server_user(name, || {
        let shop = Shop::new("old-15", "new-17", "copy");
        let server = shop.prepared();
        let mut session = server.connect("shop");
        session
            .batch_execute("BEGIN; CREATE TABLE late (id int); INSERT INTO sold VALUES (7)")
            .unwrap();
        shop.cutover_around(&[], || session.batch_execute("ROLLBACK").unwrap())
            .demand(0);
        drop((session, server));
        assert_eq!(shop.in_new("SELECT count(*) FROM sold"), "0");
        assert_eq!(
            shop.in_new("SELECT count(*) FROM pg_class WHERE relname = 'late'"),
            "0"
        );
    });
}

/// Pages of catalogs show it, so old is read once more, and it arrives whole.
#[test]
fn a_large_object_open_at_the_reading_is_not_lost() {
    as_server_user("a_large_object_open_at_the_reading_is_not_lost", || {
        let shop = Shop::new("old-15", "new-17", "link");
        let server = shop.prepared();
        let mut session = server.connect("shop");
        session
            .batch_execute(
                "BEGIN; SELECT lo_from_bytea(4711, 'a picture'); \
                 COMMENT ON LARGE OBJECT 4711 IS 'of a cat'",
            )
            .unwrap();
        let ran = shop.cutover_around(&[], || session.batch_execute("COMMIT").unwrap());
        drop((session, server));
        ran.demand(0);
        let kept = shop.in_new(LARGE_OBJECT);
        assert_eq!(kept, "a picture of a cat");
    });
}

/// Of each, the cutover says so before anybody is disturbed.
#[test]
fn a_prepared_transaction_is_refused_before_the_stop() {
    as_server_user("a_prepared_transaction_is_refused_before_the_stop", || {
        let shop = Shop::new("old-15", "new-17", "link");
        let server = shop.prepared();
        let mut session = server.connect("shop");
        session
            .batch_execute(
                "BEGIN; CREATE TABLE late (id int); INSERT INTO late VALUES (1); \
                 PREPARE TRANSACTION 'gift'",
            )
            .unwrap();
        let ran = shop.trip.run(&["cutover"]);
        ran.refused(3, "PGM-6002", &["prepared transactions", "gift"]);
        assert!(shop.end()["downtime_seconds"].is_null());
        // The same session still works.
        session.batch_execute("COMMIT PREPARED 'gift'").unwrap();
        drop(session);
        let ran = shop.trip.run(&["cutover"]);
        ran.refused(3, "PGM-6001", &["late"]);
        assert!(
            shop.end()["downtime_seconds"].is_null(),
            "old was not stopped"
        );
        server.sql("shop", "DROP TABLE late");
        drop(server);
    });
}

/// Pages of catalogs are then stamped by whoever reads them first.
#[test]
fn pages_stamped_by_readers_cost_no_start() {
    as_server_user("pages_stamped_by_readers_cost_no_start", || {
        let hints = [QUIET, &["wal_log_hints=on"]].concat();
        for (options, settings) in [(&["--data-checksums"][..], QUIET), (&[], &hints)] {
            let shop = Shop::with("old-15", options, "new-17", "link");
            let server = shop.prepared_with(settings);
            // Rows of catalogs whose hints nobody has set since.
            server.sql(
                "shop",
                "DO $$ BEGIN FOR n IN 1..200 LOOP \
                   EXECUTE format('CREATE TABLE many_%s (id int)', n); \
                   EXECUTE format('DROP TABLE many_%s', n); \
                 END LOOP; END $$",
            );
            shop.cutover_around(&[], || {
                server.sql("shop", "INSERT INTO item (name) VALUES ('late')");
                server.sql("shop", "SELECT count(*) FROM pg_class, pg_attribute");
            })
            .demand(0);
            drop(server);
            let said = shop.said("confirm-catalog");
            assert!(
                said.starts_with("nothing changed in"),
                "{options:?}: {said}"
            );
            assert!(!shop.started_privately(), "{options:?}");
            assert_eq!(shop.in_new(COUNT), "1001 1001");
        }
    });
}

/// A catalog that was rewritten lies in another file than the one that was read.
#[test]
fn catalogs_that_move_after_the_reading_are_read_again() {
    as_server_user(
        "catalogs_that_move_after_the_reading_are_read_again",
        || {
            let shop = Shop::new("old-13", "new-17", "link");
            let server = shop.prepared();
            shop.cutover_around(&[], || {
                for catalog in [
                    "pg_class",
                    "pg_description",
                    "pg_database",
                    "pg_largeobject",
                ] {
                    server.sql("shop", &format!("VACUUM FULL {catalog}"));
                }
                server.sql("shop", "VACUUM FULL item");
            })
            .demand(0);
            drop(server);
            let said = shop.said("confirm-catalog");
            assert!(said.contains("pg_filenode.map changed"), "{said}");
            assert_eq!(shop.in_new(COUNT), "1000 1000");
        },
    );
}

/// With autovacuum and temporary tables at work, a private start is the usual path.
#[test]
fn temporary_tables_and_statistics_are_no_drift() {
    as_server_user("temporary_tables_and_statistics_are_no_drift", || {
        let shop = Shop::new("old-15", "new-17", "copy");
        let server = shop.prepared();
        let mut session = server.connect("shop");
        shop.cutover_around(&[], || {
            session
                .batch_execute(
                    "CREATE TEMPORARY TABLE basket (id serial PRIMARY KEY, note text); \
                     INSERT INTO basket (note) VALUES ('of this session')",
                )
                .unwrap();
            for act in [
                "VACUUM ANALYZE",
                "REINDEX TABLE item",
                "SELECT setval('item_id_seq', 5000)",
            ] {
                server.sql("shop", act);
            }
        })
        .demand(0);
        drop((session, server));
        assert_eq!(shop.in_new("SELECT nextval('item_id_seq')"), "5001");
        assert_eq!(shop.in_new(COUNT), "1000 1000");
    });
}
