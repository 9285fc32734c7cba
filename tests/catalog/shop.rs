//! A database with something of everything, on a server of ours that lets it be changed.

use pg_migrator::server::{Cancel, Client, Installation, Postmaster, PostmasterSpec, Side};

use crate::support::Cluster;

/// A private server in which anything may be made: in binary-upgrade mode nothing could.
pub fn serve(cluster: &Cluster, options: &[(&str, &str)]) -> Postmaster {
    let installation = Installation::find(Side::Old, &cluster.bindir, &Cancel::new()).unwrap();
    let log = cluster.scratch().join("private.log");
    let datadir = cluster.datadir();
    let mut spec = PostmasterSpec::for_old(&installation, &datadir, "postgres", &log, None);
    spec.binary_upgrade = false;
    spec.set("fsync", "off");
    spec.set("wal_level", "logical");
    for (name, value) in options {
        spec.set(name, value);
    }
    Postmaster::start(&spec, &Cancel::new()).unwrap()
}

pub fn session(server: &Postmaster, database: &str) -> Client {
    let mut client = server.connect(database).unwrap();
    client
        .run_script("SET default_transaction_read_only = off; SET search_path = public")
        .unwrap();
    client
}

/// A session in a new database `shop`.
pub fn opened(server: &Postmaster) -> Client {
    session(server, "template1")
        .run_script("CREATE DATABASE shop")
        .unwrap();
    session(server, "shop")
}

pub fn value(client: &mut Client, sql: &str) -> String {
    client.text_rows(sql).unwrap()[0][0].clone().unwrap()
}

pub fn version(client: &mut Client) -> u32 {
    let number = value(
        client,
        "SELECT pg_catalog.current_setting('server_version_num')",
    );
    number.parse::<u32>().unwrap() / 10_000
}

/// One statement a line: some of them cannot share a transaction.
pub fn run(client: &mut Client, statements: &str) {
    for statement in statements
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        client
            .run_script(statement)
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

pub const SHOP: &str = "
    CREATE ROLE clerk
    CREATE TABLE item (id serial PRIMARY KEY, note text NOT NULL DEFAULT '', price numeric)
    INSERT INTO item (note, price) SELECT repeat(md5(i::text), 100), i FROM generate_series(1, 50) i
    ALTER TABLE item ADD COLUMN later int DEFAULT 5
    CREATE INDEX item_price ON item (price)
    CREATE INDEX item_note ON item (md5(note))
    ALTER TABLE item CLUSTER ON item_price
    CREATE UNLOGGED TABLE cart (id int GENERATED ALWAYS AS IDENTITY, what jsonb)
    CREATE TABLE sale (day date, amount int) PARTITION BY RANGE (day)
    CREATE TABLE sale_2020 PARTITION OF sale FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')
    CREATE TABLE special (more int) INHERITS (item)
    CREATE MATERIALIZED VIEW dear AS SELECT * FROM item WHERE price > 40
    CREATE VIEW cheap AS SELECT * FROM item WHERE price < 10
    CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'
    CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'
    CREATE FUNCTION seen() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'
    CREATE TRIGGER item_fired BEFORE UPDATE ON item FOR EACH ROW EXECUTE PROCEDURE fired()
    CREATE TABLE parts (id int PRIMARY KEY, name text)
    INSERT INTO parts VALUES (1, 'a')
    CREATE TYPE mood AS ENUM ('glad')
    CREATE STATISTICS item_stat ON price, later FROM item
    SELECT pg_catalog.lo_from_bytea(4000, 'abc')
";

/// Everything temporary that a session can have.
pub const TEMPORARY: &str = "
    CREATE TEMP TABLE t (id serial PRIMARY KEY, a text DEFAULT 'x' CHECK (a <> ''), b text UNIQUE)
    CREATE TEMP TABLE u (more int) INHERITS (item)
    CREATE TEMP TABLE p (day date) PARTITION BY RANGE (day)
    CREATE TEMP TABLE p1 PARTITION OF p FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')
    CREATE TEMP SEQUENCE s
    CREATE TEMP VIEW v AS SELECT t.a, item.note FROM t, item
    CREATE RULE r AS ON DELETE TO t DO INSTEAD NOTHING
    CREATE TRIGGER g BEFORE UPDATE ON t FOR EACH ROW EXECUTE PROCEDURE fired()
    CREATE POLICY q ON t USING (true)
    CREATE STATISTICS pg_temp.st ON a, b FROM t
    CREATE TYPE pg_temp.e AS ENUM ('a', 'b')
    CREATE TYPE pg_temp.c AS (x int)
    CREATE DOMAIN pg_temp.d AS int CHECK (VALUE > 0)
    CREATE FUNCTION pg_temp.f(int) RETURNS int LANGUAGE sql AS 'SELECT $1'
    CREATE FUNCTION pg_temp.sf(int, int) RETURNS int LANGUAGE sql AS 'SELECT $1'
    CREATE AGGREGATE pg_temp.ag (int) (sfunc = pg_temp.sf, stype = int)
    COMMENT ON TABLE t IS 'gone soon'
    COMMENT ON COLUMN t.a IS 'gone soon'
    GRANT SELECT ON t TO clerk
    GRANT SELECT (more) ON u TO clerk
    ALTER TABLE t OWNER TO clerk
    INSERT INTO t (a, b) VALUES ('y', 'z')
    ANALYZE t
";
