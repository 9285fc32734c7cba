//! What a fingerprint notices and what it does not.

use pg_migrator::catalog::{self, Fingerprint};
use pg_migrator::server::{Cancel, Client, Postmaster};

use crate::shop::{SHOP, TEMPORARY, opened, run, serve, session, value, version};
use crate::support::{as_server_user, cluster};

pub fn fingerprint(server: &Postmaster) -> Fingerprint {
    let databases = ["shop", "template1"].map(str::to_owned);
    catalog::fingerprint(server, &databases, 2, &Cancel::new()).unwrap()
}

/// What a fingerprint must survive, each line alone.
const MAINTENANCE: &str = "
    UPDATE item SET price = price + 1
    INSERT INTO item (note) VALUES ('new')
    SELECT pg_catalog.nextval('item_id_seq')
    SELECT pg_catalog.lo_put(4000, 0, 'xyz')
    SELECT pg_catalog.lo_create(4711)
    GRANT SELECT ON LARGE OBJECT 4711 TO PUBLIC
    COMMENT ON LARGE OBJECT 4711 IS 'large'
    SELECT pg_catalog.lo_unlink(4711)
    ANALYZE
    VACUUM
    VACUUM FREEZE
    REINDEX TABLE item
    CLUSTER
    VACUUM FULL item
    VACUUM FULL
    REINDEX DATABASE shop
    REINDEX SYSTEM shop
    TRUNCATE sale, cart, special RESTART IDENTITY
    TRUNCATE item RESTART IDENTITY CASCADE
    VACUUM ANALYZE
    CHECKPOINT
";

#[test]
fn a_fingerprint_survives_maintenance() {
    as_server_user("fingerprint::a_fingerprint_survives_maintenance", || {
        for installation in ["old-10", "old-11", "old-14", "old-17", "new-18"] {
            survives_maintenance(installation);
        }
    });
}

fn survives_maintenance(installation: &str) {
    let cluster = cluster(installation, &[]);
    let server = serve(&cluster, &[]);
    let mut client = opened(&server);
    run(&mut client, SHOP);
    half_finished(&server, &mut client);
    // What these leave behind in pg_class is taken away by the next VACUUM.
    run(
        &mut client,
        "DROP TRIGGER item_fired ON item
         CREATE INDEX cart_what ON cart (what)
         DROP INDEX cart_what
         CREATE TABLE parent ()
         CREATE TABLE child () INHERITS (parent)
         DROP TABLE child",
    );
    let before = fingerprint(&server);
    let same = |server: &Postmaster, after: &str| {
        let differences = before.differences(&fingerprint(server));
        assert!(
            differences.is_empty(),
            "{installation}, {after}: {differences:?}"
        );
    };
    same(&server, "nothing");
    for statement in MAINTENANCE.lines() {
        run(&mut client, statement);
        same(&server, statement);
    }
    assert_eq!(value(&mut client, CHECKED_XMIN), "0", "REINDEX clears it");
    let mut other = session(&server, "shop");
    run(&mut other, TEMPORARY);
    same(&server, "temporary objects in an open session");
    drop(other);
    drop(client);
    same(&server, "the end of that session");
    server.stop().unwrap();
    let server = serve(
        &cluster,
        &[("lc_messages", "C"), ("timezone", "Asia/Tokyo")],
    );
    same(&server, "restart");
    server.stop().unwrap();
}

const CHECKED_XMIN: &str = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_index WHERE indcheckxmin";

/// An index that older snapshots may not use, until it is made again.
fn half_finished(server: &Postmaster, client: &mut Client) {
    let mut reader = session(server, "shop");
    run(
        &mut reader,
        "BEGIN ISOLATION LEVEL REPEATABLE READ
         SELECT * FROM parts",
    );
    run(client, "UPDATE parts SET name = 'b'");
    run(client, "CREATE INDEX parts_name ON parts (name)");
    assert_eq!(value(client, CHECKED_XMIN), "1");
}

/// Changes, each with the catalog in which it must be seen.
const CHANGES: &str = "
    CREATE TABLE fresh (a int) -- pg_class
    DROP TABLE fresh -- pg_class
    ALTER TABLE item ADD COLUMN extra int -- pg_attribute
    ALTER TABLE item DROP COLUMN extra -- pg_attribute
    ALTER TABLE parts RENAME COLUMN name TO title -- pg_attribute
    ALTER TABLE item ALTER COLUMN note SET STATISTICS 50 -- pg_attribute
    ALTER TABLE item ALTER COLUMN note SET STORAGE EXTERNAL -- pg_attribute
    ALTER TABLE item ALTER COLUMN price SET DEFAULT 7 -- pg_attrdef
    ALTER TABLE item ADD CHECK (price > 0) NOT VALID -- pg_constraint
    ALTER TABLE item VALIDATE CONSTRAINT item_price_check -- pg_constraint
    ALTER TABLE item SET (fillfactor = 50) -- pg_class
    ALTER TABLE item REPLICA IDENTITY FULL -- pg_class
    ALTER TABLE item ENABLE ROW LEVEL SECURITY -- pg_class
    ALTER TABLE item OWNER TO clerk -- pg_class
    ALTER TABLE cart SET LOGGED -- pg_class
    ALTER TABLE special NO INHERIT item -- pg_inherits
    CREATE TABLE sale_2021 PARTITION OF sale FOR VALUES FROM ('2021-01-01') TO ('2022-01-01') -- pg_inherits
    CREATE INDEX fresh ON item (note, price) -- pg_index
    ALTER TABLE item CLUSTER ON fresh -- pg_index
    DROP INDEX fresh -- pg_index
    REFRESH MATERIALIZED VIEW dear -- pg_class
    CREATE OR REPLACE VIEW cheap AS SELECT * FROM item WHERE price < 11 -- pg_rewrite
    CREATE RULE r AS ON DELETE TO cheap DO INSTEAD NOTHING -- pg_rewrite
    CREATE SEQUENCE numbers -- pg_sequence
    ALTER SEQUENCE numbers INCREMENT 2 -- pg_sequence
    ALTER SEQUENCE numbers OWNED BY parts.id -- pg_depend
    CREATE OR REPLACE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 2' -- pg_proc
    ALTER FUNCTION one() SET work_mem = '1MB' -- pg_proc
    CREATE AGGREGATE total (int) (sfunc = int4pl, stype = int) -- pg_aggregate
    CREATE OPERATOR === (leftarg = int, rightarg = int, procedure = int4eq) -- pg_operator
    CREATE CAST (mood AS int) WITH INOUT -- pg_cast
    CREATE COLLATION mine FROM \"C\" -- pg_collation
    CREATE TEXT SEARCH CONFIGURATION words (COPY = simple) -- pg_ts_config
    ALTER TABLE item DISABLE TRIGGER item_fired -- pg_trigger
    ALTER TYPE mood ADD VALUE 'sad' -- pg_enum
    CREATE DOMAIN small AS int CHECK (VALUE < 10) -- pg_type
    ALTER DOMAIN small SET DEFAULT 3 -- pg_type
    CREATE TYPE span AS RANGE (subtype = int) -- pg_range
    CREATE SCHEMA attic -- pg_namespace
    GRANT USAGE ON SCHEMA attic TO clerk -- pg_namespace
    ALTER TABLE item SET SCHEMA attic -- pg_class
    ALTER TABLE attic.item SET SCHEMA public -- pg_class
    GRANT SELECT ON item TO PUBLIC -- pg_class
    GRANT SELECT (note) ON item TO PUBLIC -- pg_attribute
    GRANT SELECT (ctid) ON item TO PUBLIC -- pg_attribute
    GRANT EXECUTE ON FUNCTION one() TO clerk -- pg_proc
    GRANT EXECUTE ON FUNCTION pg_catalog.pg_reload_conf() TO clerk -- pg_proc
    GRANT SELECT ON pg_catalog.pg_authid TO clerk -- pg_class
    GRANT SELECT (rolpassword) ON pg_catalog.pg_authid TO clerk -- pg_attribute
    ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO clerk -- pg_default_acl
    COMMENT ON TABLE item IS 'things' -- pg_description
    COMMENT ON COLUMN item.note IS 'notes' -- pg_description
    COMMENT ON SCHEMA public IS 'ours' -- pg_description
    CREATE POLICY mine ON item USING (price > 1) -- pg_policy
    ALTER POLICY mine ON item USING (price > 2) -- pg_policy
    CREATE EVENT TRIGGER watch ON ddl_command_start EXECUTE PROCEDURE seen() -- pg_event_trigger
    CREATE PUBLICATION news FOR TABLE item -- pg_publication_rel
    ALTER PUBLICATION news SET (publish = 'insert') -- pg_publication
    CREATE SUBSCRIPTION feed CONNECTION 'host=/nowhere' PUBLICATION news WITH (connect = false) -- pg_subscription
    CREATE STATISTICS fresh ON note, price FROM item -- pg_statistic_ext
    CREATE EXTENSION citext -- pg_extension
    ALTER EXTENSION citext ADD FUNCTION one() -- pg_depend
    CREATE FOREIGN DATA WRAPPER far -- pg_foreign_data_wrapper
    CREATE SERVER away FOREIGN DATA WRAPPER far -- pg_foreign_server
    CREATE USER MAPPING FOR clerk SERVER away -- pg_user_mapping
    CREATE FOREIGN TABLE remote (a int) SERVER away -- pg_foreign_table
    CREATE ROLE manager -- pg_authid
    ALTER ROLE clerk PASSWORD 'secret' -- pg_authid
    ALTER ROLE clerk VALID UNTIL '2031-01-01' -- pg_authid
    ALTER ROLE clerk SET work_mem = '2MB' -- pg_db_role_setting
    GRANT manager TO clerk -- pg_auth_members
    COMMENT ON ROLE clerk IS 'sells' -- pg_shdescription
    ALTER DATABASE shop SET work_mem = '3MB' -- pg_db_role_setting
    ALTER DATABASE shop CONNECTION LIMIT 20 -- pg_database
    GRANT CONNECT ON DATABASE template0 TO clerk -- pg_database
    CREATE DATABASE store -- pg_database
";

/// The same for what came with a version.
const LATER_CHANGES: &[(u32, &str)] = &[
    (
        11,
        "CREATE PROCEDURE act() LANGUAGE sql AS 'SELECT 1' -- pg_proc",
    ),
    (12, "REINDEX INDEX CONCURRENTLY item_note -- pg_index"),
    (
        14,
        "ALTER TABLE item ALTER COLUMN note SET COMPRESSION pglz -- pg_attribute",
    ),
    (
        15,
        "GRANT SET ON PARAMETER log_statement TO clerk -- pg_parameter_acl",
    ),
    (
        15,
        "CREATE PUBLICATION all_of FOR TABLES IN SCHEMA public -- pg_publication_namespace",
    ),
    (
        17,
        "SELECT pg_catalog.pg_replication_origin_create('x') -- pg_replication_origin_status",
    ),
];

#[test]
fn a_fingerprint_notices_every_change() {
    as_server_user("fingerprint::a_fingerprint_notices_every_change", || {
        for installation in ["old-10", "old-14", "old-17", "new-18"] {
            notices_every_change(installation);
        }
    });
}

fn notices_every_change(installation: &str) {
    let cluster = cluster(installation, &[]);
    let server = serve(&cluster, &[]);
    let mut client = opened(&server);
    run(&mut client, SHOP);
    let version = version(&mut client);
    let later = LATER_CHANGES.iter().filter(|(since, _)| version >= *since);
    let changes = CHANGES.lines().chain(later.map(|(_, change)| *change));
    let mut before = fingerprint(&server);
    let mut missed = Vec::new();
    for line in changes {
        let Some((statement, catalog)) = line.split_once(" -- ") else {
            continue;
        };
        if statement.contains("replication_origin") {
            run(&mut client, statement);
            run(
                &mut client,
                "SELECT pg_catalog.pg_replication_origin_advance('x', '0/1234')",
            );
        } else {
            run(&mut client, statement);
        }
        let after = fingerprint(&server);
        let differences = before.differences(&after);
        let seen = before.databases["shop"].get(catalog) != after.databases["shop"].get(catalog)
            || before.cluster.get(catalog) != after.cluster.get(catalog);
        if !seen || differences.is_empty() {
            missed.push(format!("{statement}: {differences:?}"));
        }
        assert_eq!(
            before.databases["template1"], after.databases["template1"],
            "{statement}"
        );
        before = after;
    }
    assert!(missed.is_empty(), "{installation} missed {missed:#?}");
    drop(client);
    server.stop().unwrap();
}

/// What is left out of a portrait and drawn later, beside a dump, is what would have been there.
#[test]
fn a_large_database_is_read_later_and_is_the_same() {
    as_server_user(
        "fingerprint::a_large_database_is_read_later_and_is_the_same",
        || {
            let cluster = cluster("old-15", &[]);
            let server = serve(&cluster, &[]);
            run(&mut session(&server, "template1"), "CREATE DATABASE shop");
            run(
                &mut session(&server, "shop"),
                "DO $$ BEGIN FOR i IN 1..500 LOOP \
                 EXECUTE pg_catalog.format('CREATE TABLE public.t_%s (id int PRIMARY KEY, name text)', i); \
                 END LOOP; END $$",
            );
            let cancel = Cancel::new();
            let whole = catalog::portray(&server, 1, &cancel).unwrap();
            let split = catalog::portray(&server, 2, &cancel).unwrap();
            assert_eq!(split.snapshot, whole.snapshot);
            let snapshot = split.snapshot;
            let [whole, split] = [whole.sketch, split.sketch].map(Option::unwrap);
            let has_shop = |sketch: &catalog::Sketch| {
                sketch.likeness.fingerprint.databases.contains_key("shop")
            };
            assert!(has_shop(&whole) && !has_shop(&split));
            let completed = split.complete(&server, &snapshot, 2, &cancel).unwrap();
            assert_eq!(completed, whole.likeness);
        },
    );
}
