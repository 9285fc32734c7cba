//! What is found to have changed, by name, and what is found to be the same.

use pg_migrator::catalog::{self, Fingerprint, Inventory};
use pg_migrator::server::{Cancel, Client, Postmaster};

use crate::shop::{SHOP, opened, run, serve, version};
use crate::support::{as_server_user, cluster};

/// A database as it was at one moment.
struct Moment {
    fingerprint: Fingerprint,
    inventory: Inventory,
}

fn moment(server: &Postmaster) -> Moment {
    // What came with the cluster is listed once for databases in which it is the same.
    let (databases, cancel) = (["shop", "template1"].map(str::to_owned), Cancel::new());
    Moment {
        fingerprint: catalog::fingerprint(server, &databases, 1, &cancel).unwrap(),
        inventory: catalog::inventory(server, &databases, 1, &cancel).unwrap(),
    }
}

impl Moment {
    fn found(&self, now: &Moment) -> Vec<String> {
        let changes = catalog::changes(&self.inventory, &now.inventory);
        // Nothing may change for the inventory that does not change for the fingerprint.
        assert!(changes.is_empty() || self.fingerprint != now.fingerprint);
        changes.iter().map(ToString::to_string).collect()
    }
}

const MORE: &str = "
    CREATE TABLE line (item int REFERENCES item, part int, note text, UNIQUE (part, item))
    CREATE INDEX line_note ON line (lower(note)) WITH (fillfactor = 70) WHERE part > 0
    COMMENT ON INDEX line_note IS 'notes of lines'
    CREATE UNIQUE INDEX line_whole ON line (item)
    ALTER TABLE line ALTER item SET NOT NULL
    ALTER TABLE line REPLICA IDENTITY USING INDEX line_whole
    CREATE TABLE held (span int4range, EXCLUDE USING gist (span WITH &&))
    CREATE INDEX sale_day ON sale_2020 (day)
    CREATE TABLE twice (a int)
    INSERT INTO twice VALUES (1), (1)
    GRANT SELECT ON item TO clerk
    CREATE MATERIALIZED VIEW narrow AS SELECT id FROM item
";

/// Statements, the version each came with, and what must be found after it.
const STATEMENTS: &[(u32, &str, &[&str])] = &[
    (
        10,
        "BEGIN; CREATE TABLE fresh (a int); DROP TABLE line; ROLLBACK",
        &[],
    ),
    (
        10,
        "BEGIN; SAVEPOINT a; DROP TABLE line; ROLLBACK TO a; INSERT INTO twice VALUES (2); COMMIT",
        &[],
    ),
    (10, "CREATE TABLE fresh (a int); DROP TABLE fresh", &[]),
    (
        10,
        "DROP INDEX line_note; CREATE INDEX line_note ON line (lower(note)) WITH (fillfactor = 70) WHERE part > 0; COMMENT ON INDEX line_note IS 'notes of lines'",
        &[],
    ),
    (
        10,
        "CREATE OR REPLACE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        &[],
    ),
    (10, "ALTER TABLE item ALTER note SET DEFAULT ''", &[]),
    (
        10,
        "ALTER ROLE clerk SET work_mem = '1MB'; ALTER ROLE clerk RESET work_mem",
        &[],
    ),
    (10, "REFRESH MATERIALIZED VIEW narrow", &[]),
    (
        10,
        "REFRESH MATERIALIZED VIEW dear",
        &[
            "database shop: materialized view public.dear: changed: toast table, which REFRESH \
             MATERIALIZED VIEW made anew and its rows name by OID",
        ],
    ),
    (10, "CLUSTER item USING item_price; VACUUM FULL line", &[]),
    (
        10,
        "!CREATE UNIQUE INDEX CONCURRENTLY twice_a ON twice (a)",
        &[],
    ),
    (10, "DROP INDEX twice_a", &[]),
    (
        10,
        "CREATE INDEX CONCURRENTLY twice_a ON twice (a)",
        &["database shop: index public.twice_a: created"],
    ),
    (
        10,
        "ALTER INDEX twice_a RENAME TO twice_b; CREATE INDEX twice_a ON twice (a)",
        &[
            "database shop: index public.twice_b: was named public.twice_a",
            "database shop: index public.twice_a: created",
        ],
    ),
    (12, "REINDEX INDEX CONCURRENTLY line_note", &[]),
    (12, "REINDEX TABLE CONCURRENTLY line", &[]),
    (12, "REINDEX TABLE CONCURRENTLY item", &[]),
    (12, "REINDEX TABLE CONCURRENTLY sale_2020", &[]),
    (12, "REINDEX SCHEMA CONCURRENTLY public", &[]),
    (
        12,
        "REINDEX INDEX CONCURRENTLY line_note; ALTER INDEX line_note SET (fillfactor = 60)",
        &["database shop: index public.line_note: changed: definition"],
    ),
    (
        12,
        "REINDEX INDEX CONCURRENTLY line_note; COMMENT ON INDEX line_note IS 'other'",
        &["database shop: index public.line_note: changed: comments"],
    ),
    (
        10,
        "CREATE TABLE fresh (id serial PRIMARY KEY, a text CHECK (a <> ''))",
        &[
            "database shop: sequence public.fresh_id_seq: created",
            "database shop: table public.fresh: created",
        ],
    ),
    (
        10,
        "DROP TABLE fresh",
        &[
            "database shop: sequence public.fresh_id_seq: dropped",
            "database shop: table public.fresh: dropped",
        ],
    ),
    (
        10,
        "DROP TABLE twice; CREATE TABLE twice (a int)",
        &["database shop: table public.twice: dropped and made anew"],
    ),
    (
        10,
        "CREATE TABLE sale_2021 PARTITION OF sale FOR VALUES FROM ('2021-01-01') TO ('2022-01-01')",
        &["database shop: table public.sale_2021: created"],
    ),
    (
        10,
        "ALTER TABLE sale DETACH PARTITION sale_2021",
        &[
            "database shop: table public.sale_2021: changed: columns, definition, inheritance or partitions",
        ],
    ),
    (
        10,
        "ALTER TABLE parts ADD COLUMN extra int",
        &["database shop: table public.parts: changed: columns"],
    ),
    (
        10,
        "ALTER TABLE parts ALTER extra SET DEFAULT 7",
        &["database shop: table public.parts: changed: column defaults, columns"],
    ),
    (
        10,
        "ALTER TABLE parts ADD CHECK (id > 0) NOT VALID",
        &["database shop: constraint parts_id_check of public.parts: created"],
    ),
    (
        10,
        "ALTER TABLE parts VALIDATE CONSTRAINT parts_id_check",
        &["database shop: constraint parts_id_check of public.parts: changed: definition"],
    ),
    (
        10,
        "ALTER TABLE parts ADD FOREIGN KEY (extra) REFERENCES item",
        &["database shop: constraint parts_extra_fkey of public.parts: created"],
    ),
    (
        10,
        "ALTER TABLE parts RENAME TO pieces",
        &["database shop: table public.pieces: was named public.parts"],
    ),
    (
        10,
        "ALTER TABLE pieces OWNER TO clerk",
        &["database shop: table public.pieces: changed: owner"],
    ),
    (
        10,
        "GRANT UPDATE (note) ON item TO clerk",
        &["database shop: table public.item: changed: privileges"],
    ),
    (
        10,
        "GRANT EXECUTE ON FUNCTION pg_catalog.pg_reload_conf() TO clerk",
        &["database shop: function pg_reload_conf(): changed: privileges"],
    ),
    (
        10,
        "ALTER TABLE item CLUSTER ON item_pkey",
        &[
            "database shop: index public.item_pkey: changed: definition",
            "database shop: index public.item_price: changed: definition",
        ],
    ),
    (
        10,
        "ALTER TABLE item SET (toast.autovacuum_enabled = off)",
        &["database shop: table public.item: changed: toast table"],
    ),
    (
        10,
        "CREATE OR REPLACE VIEW cheap AS SELECT * FROM item WHERE price < 11",
        &["database shop: view public.cheap: changed: query"],
    ),
    (
        10,
        "ALTER TYPE mood ADD VALUE 'sad'",
        &["database shop: type public.mood: changed: values of enumerations"],
    ),
    (
        10,
        "ALTER SEQUENCE item_id_seq INCREMENT 2",
        &["database shop: sequence public.item_id_seq: changed: definition"],
    ),
    (
        10,
        "COMMENT ON COLUMN item.note IS 'notes'",
        &["database shop: table public.item: changed: comments"],
    ),
    (
        10,
        "CREATE EXTENSION citext",
        &["database shop: extension citext: created"],
    ),
    (
        10,
        "ALTER SEQUENCE item_id_seq OWNED BY NONE",
        &["database shop: sequence public.item_id_seq: changed: dependencies"],
    ),
    (
        10,
        "DROP EXTENSION citext",
        &["database shop: extension citext: dropped"],
    ),
    (10, "CREATE ROLE manager", &["role manager: created"]),
    (
        10,
        "GRANT manager TO clerk",
        &["role manager: changed: role memberships"],
    ),
    (
        10,
        "ALTER ROLE clerk PASSWORD 'secret'",
        &["role clerk: changed: definition"],
    ),
    (
        10,
        "ALTER DATABASE shop SET work_mem = '3MB'",
        &["database shop: changed: settings"],
    ),
    (
        10,
        "ALTER ROLE clerk IN DATABASE shop SET work_mem = '3MB'",
        &["database shop: changed: settings"],
    ),
    (10, "CREATE DATABASE store", &["database store: created"]),
];

#[test]
fn every_change_is_named_and_nothing_else() {
    as_server_user("drift::every_change_is_named_and_nothing_else", || {
        for installation in ["old-10", "old-12", "old-15", "new-18"] {
            names_every_change(installation);
        }
    });
}

fn names_every_change(installation: &str) {
    let cluster = cluster(installation, &[]);
    let server = serve(&cluster, &[]);
    let mut client = opened(&server);
    run(&mut client, SHOP);
    run(&mut client, MORE);
    let version = version(&mut client);
    let mut before = moment(&server);
    let mut wrong = Vec::new();
    for (since, statements, expected) in STATEMENTS {
        if version < *since {
            continue;
        }
        execute(&mut client, statements);
        let after = moment(&server);
        let found = before.found(&after);
        if found
            .iter()
            .map(String::as_str)
            .ne(expected.iter().copied())
        {
            wrong.push(format!("{statements}: {found:#?}"));
        }
        before = after;
    }
    assert!(wrong.is_empty(), "{installation}: {}", wrong.join("\n"));
    drop(client);
    server.stop().unwrap();
}

/// One statement after the other; after `!` one that must fail.
fn execute(client: &mut Client, statements: &str) {
    if let Some(failing) = statements.strip_prefix('!') {
        client.run_script(failing).unwrap_err();
        return;
    }
    for statement in statements.split(';') {
        run(client, statement);
    }
}
