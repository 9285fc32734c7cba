//! What happens in old between prepare and cutover either arrives in new or ends the cutover.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::as_server_user;
use support::case::demand_same_text;
use support::stock::{Stock, rows, stock};
use support::trip::Trip;

/// What is no drift in any version, one statement after the other.
const ORDINARY: &[&str] = &[
    "INSERT INTO items (story) SELECT repeat(md5(n::text), 200) FROM generate_series(1, 40) n",
    "DELETE FROM items WHERE id % 11 = 0",
    "UPDATE elsewhere SET note = note || '!' WHERE id % 2 = 0",
    "BEGIN; CREATE TABLE passing (a int); DROP TABLE elsewhere CASCADE; ROLLBACK",
    "BEGIN; SAVEPOINT a; ALTER TABLE items ADD COLUMN b int; ROLLBACK TO a; \
     INSERT INTO scratchpad VALUES (1000, 'after'); COMMIT",
    "CREATE TEMP TABLE passing (id serial PRIMARY KEY, note text); INSERT INTO passing (note) VALUES ('x')",
    "TRUNCATE measures_early",
    "INSERT INTO measures VALUES ('2020-02-02', 1000), ('2021-02-02', 1001)",
    "REINDEX TABLE items",
    "REINDEX INDEX measures_value",
    "VACUUM FULL elsewhere",
    "CLUSTER moved",
    "REFRESH MATERIALIZED VIEW totals",
    "SELECT nextval('items_id_seq') FROM generate_series(1, 100)",
    "VACUUM FREEZE",
    "ANALYZE",
    "VACUUM FULL pg_class",
    "REINDEX SYSTEM app",
];

/// What came later, and with which version.
const ORDINARY_SINCE: &[(u32, &str)] = &[
    (12, "REINDEX INDEX CONCURRENTLY items_story"),
    (12, "REINDEX TABLE CONCURRENTLY items"),
    (12, "REINDEX TABLE CONCURRENTLY elsewhere"),
    (12, "REINDEX TABLE CONCURRENTLY moved"),
    (12, "REINDEX TABLE CONCURRENTLY measures_late"),
];

/// More than the stock has, so that every way to use an index is there.
const MORE: &str = "
    CREATE INDEX items_story ON items (md5(story)) WITH (fillfactor = 80) WHERE id > 3;
    COMMENT ON INDEX items_story IS 'stories';
    ALTER TABLE elsewhere ADD UNIQUE (note, id);
    ALTER TABLE elsewhere REPLICA IDENTITY USING INDEX elsewhere_pkey;
    ALTER TABLE scratchpad ADD FOREIGN KEY (id) REFERENCES scratchpad;
    CREATE INDEX moved_id ON moved (id);
    ALTER TABLE moved CLUSTER ON moved_id;
    CREATE INDEX measures_value ON measures_late (value)";

fn stocked(installation: &str) -> Stock {
    let stock = stock(installation);
    let server = stock.cluster.start();
    server.sql("app", MORE);
    server.stop();
    stock
}

fn major(installation: &str) -> u32 {
    installation.rsplit('-').next().unwrap().parse().unwrap()
}

/// Works in old, and gives what must be in new afterwards.
fn work(stock: &Stock, new: &str, statements: impl Iterator<Item = &'static str>) -> String {
    let server = stock.cluster.start();
    let mut app = server.connect("app");
    for statement in statements {
        let done = app.batch_execute(statement);
        done.unwrap_or_else(|error| panic!("{statement}: {:?}", error.as_db_error()));
    }
    drop(app);
    let wanted = rows(&stock.cluster, new);
    server.stop();
    wanted
}

fn ordinary_work_arrives(installation: &str, new: &str, mode: &str) {
    let stock = stocked(installation);
    let trip = Trip::new(&stock.cluster, new, mode);
    trip.prepare();
    let version = major(installation);
    let since = ORDINARY_SINCE.iter().filter(|(since, _)| version >= *since);
    let later = since.map(|(_, statement)| *statement);
    let wanted = work(&stock, new, ORDINARY.iter().copied().chain(later));
    trip.cutover();
    trip.run(&["verify"]).demand(0);
    let cluster = trip.new_cluster();
    let server = cluster.start();
    demand_same_text(&wanted, &rows(&cluster, new));
    // Every index finds what the table holds.
    server.sql(
        "app",
        "SET enable_seqscan = off; DO $$ BEGIN \
         ASSERT (SELECT count(*) FROM elsewhere WHERE id > 0) = 300; \
         ASSERT (SELECT count(*) FROM moved WHERE id > 0) = 50; \
         ASSERT (SELECT count(*) FROM measures_late WHERE value = 1001) = 1; \
         ASSERT (SELECT count(*) FROM items WHERE id > 3 AND md5(story) = md5(repeat(md5('8'), 200))) = 1; \
         END $$",
    );
    server.stop();
}

#[test]
fn ordinary_work_arrives_from_every_version() {
    as_server_user("ordinary_work_arrives_from_every_version", || {
        for installation in ["old-10", "old-11", "old-12", "old-13"] {
            ordinary_work_arrives(installation, "new-17", "link");
        }
    });
}

#[test]
fn ordinary_work_arrives_from_every_later_version() {
    as_server_user("ordinary_work_arrives_from_every_later_version", || {
        for installation in ["old-14", "old-15", "old-16", "old-17"] {
            ordinary_work_arrives(installation, "new-18", "link");
        }
        ordinary_work_arrives("old-14", "new-17", "copy");
    });
}

#[test]
fn drift_ends_the_cutover_and_is_named() {
    as_server_user("drift_ends_the_cutover_and_is_named", || {
        for (installation, mode) in [("old-10", "copy"), ("old-14", "link"), ("old-17", "link")] {
            let stock = stocked(installation);
            let trip = Trip::new(&stock.cluster, "new-18", mode);
            trip.prepare();
            let changes = [
                "ALTER TABLE items ADD COLUMN more int",
                "CREATE INDEX items_more ON items (more)",
                "DROP INDEX moved_id",
                "ALTER ROLE reader LOGIN",
                "COMMENT ON VIEW recent IS 'of late'",
                "INSERT INTO items (more) VALUES (1)",
            ];
            work(&stock, "new-18", changes.into_iter());
            let named = [
                "role reader: changed: definition",
                "database app: table public.items: changed: columns",
                "database app: index public.items_more: created",
                "database app: index public.moved_id: dropped",
                "database app: view public.recent: changed: comments",
            ];
            let ran = trip.run(&["cutover"]);
            ran.refused(3, "PGM-6001", &named);
            assert_eq!(
                ran.stderr.matches("changed  ").count(),
                named.len(),
                "{}",
                ran.stderr
            );
            trip.rollback();
            assert!(trip.old_starts().status.success());
        }
    });
}

#[test]
fn status_tells_drift_while_old_runs() {
    as_server_user("status_tells_drift_while_old_runs", || {
        let stock = stocked("old-15");
        let trip = Trip::new(&stock.cluster, "new-17", "link");
        trip.prepare();
        trip.demand_standing("the old server is not running");
        let server = stock.cluster.start();
        server.sql("app", "INSERT INTO items (story) VALUES ('new')");
        trip.demand_standing("the schema of the old cluster is what it was when it was prepared");
        server.sql("app", "ALTER TABLE items ADD COLUMN more int");
        server.sql("postgres", "CREATE DATABASE another");
        trip.demand_standing("changed since prepare: database another: created");
        trip.demand_standing("database app: table public.items: changed: columns");
        server.sql("app", "INSERT INTO items (more) VALUES (1)");
        server.stop();
    });
}

/// Rows of a materialized view that are too large for a page lie in its toast table.
const LARGE_VIEW: &str = "
    CREATE MATERIALIZED VIEW large AS
        SELECT id, string_agg(md5(id::text || n), '') AS text
        FROM elsewhere, generate_series(1, 400) n GROUP BY id;
    CREATE UNIQUE INDEX large_id ON large (id)";

#[test]
fn a_refreshed_view_is_drift_unless_it_keeps_its_toast_table() {
    as_server_user(
        "a_refreshed_view_is_drift_unless_it_keeps_its_toast_table",
        || {
            let stock = stocked("old-13");
            let server = stock.cluster.start();
            server.sql("app", LARGE_VIEW);
            server.stop();
            let trip = Trip::new(&stock.cluster, "new-17", "link");
            trip.prepare();
            let changed = "UPDATE elsewhere SET id = id + 1000 WHERE id > 150";
            let refresh = "REFRESH MATERIALIZED VIEW CONCURRENTLY large";
            let wanted = work(&stock, "new-17", [changed, refresh].into_iter());
            trip.cutover();
            let cluster = trip.new_cluster();
            let server = cluster.start();
            demand_same_text(&wanted, &rows(&cluster, "new-17"));
            server.sql(
                "app",
                "DO $$ BEGIN ASSERT (SELECT count(*) FROM large l WHERE id > 1000 AND text = \
                 (SELECT string_agg(md5(l.id::text || n), '') FROM generate_series(1, 400) n)) \
                 = 150; END $$",
            );
            server.stop();

            let stock = stocked("old-13");
            let server = stock.cluster.start();
            server.sql("app", LARGE_VIEW);
            server.stop();
            let trip = Trip::new(&stock.cluster, "new-17", "link");
            trip.prepare();
            let refresh = "REFRESH MATERIALIZED VIEW large";
            work(&stock, "new-17", [refresh].into_iter());
            let named = "database app: materialized view public.large: changed: toast table, \
                         which REFRESH MATERIALIZED VIEW made anew";
            trip.run(&["cutover"]).refused(3, "PGM-6001", &[named]);
        },
    );
}

/// What an application does with large objects while the cutover is awaited.
const LARGE_OBJECTS: &str = "
    SELECT lo_from_bytea(900001, 'made later');
    COMMENT ON LARGE OBJECT 900001 IS E'a tab\\there, a \\\\ and ''quotes''';
    ALTER LARGE OBJECT 900001 OWNER TO reader;
    GRANT SELECT ON LARGE OBJECT 900001 TO PUBLIC;
    GRANT ALL ON LARGE OBJECT 900001 TO postgres;
    SELECT lo_put(800001, 0, 'changed later');
    REVOKE SELECT ON LARGE OBJECT 800001 FROM reader;
    GRANT UPDATE ON LARGE OBJECT 800001 TO reader;
    SELECT lo_unlink(800002);
    SELECT lo_from_bytea(800002, 'another of the same number');
    SELECT lo_from_bytea(900100 + n, convert_to('number ' || n, 'UTF8')) FROM generate_series(1, 6000) n;
    SELECT lo_unlink(900100 + n) FROM generate_series(1, 6000, 2) n";

/// Large objects with all that is said of them, and the roles that cannot be dropped because
/// of them.
const SAID: &str = "
    SELECT concat_ws(' ', m.oid, pg_get_userbyid(m.lomowner), m.lomacl,
                     obj_description(m.oid, 'pg_largeobject'), md5(lo_get(m.oid)), (
               SELECT string_agg(d.deptype::text || d.refobjid::regrole::text, ',' ORDER BY d.refobjid)
               FROM pg_shdepend d JOIN pg_database b ON b.oid = d.dbid
               WHERE b.datname = current_database() AND d.objid = m.oid
                 AND d.classid = 'pg_largeobject'::regclass))
    FROM pg_largeobject_metadata m ORDER BY m.oid";

fn said(server: &support::Running<'_>) -> Vec<String> {
    let rows = server.connect("app").query(SAID, &[]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

fn large_objects_are_carried(installation: &str, new: &str, mode: &str) {
    let stock = stocked(installation);
    let trip = Trip::new(&stock.cluster, new, mode);
    trip.prepare();
    let server = stock.cluster.start();
    server.sql("app", LARGE_OBJECTS);
    let wanted = said(&server);
    assert_eq!(wanted.len(), 3003, "{wanted:?}");
    server.stop();
    // One is another of the same number and owner: its contents came with the file.
    let ran = trip.run(&["cutover"]);
    let said_so = ran.demand(0).stdout.contains("3,002 large objects made");
    assert!(said_so, "{}", ran.stdout);
    trip.run(&["verify"]).demand(0);
    let cluster = trip.new_cluster();
    let server = cluster.start();
    assert_eq!(said(&server), wanted, "{installation} to {new} by {mode}");
    server.sql("app", "VACUUM (FREEZE)");
    server.sql(
        "app",
        "SELECT lo_unlink(oid) FROM pg_largeobject_metadata; \
         DO $$ BEGIN ASSERT (SELECT count(*) FROM pg_largeobject) = 0; END $$",
    );
    server.stop();
}

#[test]
fn large_objects_arrive_however_they_changed() {
    as_server_user("large_objects_arrive_however_they_changed", || {
        large_objects_are_carried("old-10", "new-15", "link");
        large_objects_are_carried("old-14", "new-17", "copy");
        large_objects_are_carried("old-17", "new-18", "link");
    });
}
