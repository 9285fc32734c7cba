//! In a database in which only tables and indexes came or went, only those are done again.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use support::case::{Case, demand_same_text};
use support::stock::dump_by;
use support::trip::Trip;
use support::{Cluster, as_server_user};

/// Old and new versions, and how files move.
type Way = (&'static str, &'static str, &'static str);
const FROM_10: Way = ("old-10", "new-15", "copy");
const FROM_13: Way = ("old-13", "new-17", "link");
const FROM_17: Way = ("old-17", "new-18", "link");

/// Tables with partitions by the hour, as far as this version has them.
fn partitioned(old: &str) -> String {
    let mut sql = "
        CREATE TABLE log (at timestamptz NOT NULL, id bigint NOT NULL, story text, place int DEFAULT 7)
        PARTITION BY RANGE (at);
        CREATE TABLE log_1 PARTITION OF log
        FOR VALUES FROM ('2026-01-01 01:00+00') TO ('2026-01-01 02:00+00');
        CREATE TABLE log_2 PARTITION OF log
        FOR VALUES FROM ('2026-01-01 02:00+00') TO ('2026-01-01 03:00+00');
        GRANT INSERT ON log TO reader;
        INSERT INTO log SELECT '2026-01-01 01:00+00'::timestamptz + n * interval '1 minute', n, repeat('x', n * 50)
        FROM generate_series(0, 119) n;"
        .to_owned();
    if old != "old-10" {
        sql.push_str(
            "
            CREATE TABLE log_other PARTITION OF log DEFAULT;
            INSERT INTO log VALUES ('2027-01-01', 1, 'late');
            CREATE INDEX log_id ON log (id);
            ALTER TABLE log ADD PRIMARY KEY (at, id);
            ALTER TABLE log ADD FOREIGN KEY (place) REFERENCES elsewhere;
            CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RETURN NULL; END';
            CREATE TRIGGER seen AFTER INSERT ON log FOR EACH ROW EXECUTE PROCEDURE seen();",
        );
    }
    sql
}

/// What a partition manager does every hour.
fn an_hour_later(old: &str, hour: u32) -> String {
    let (index, gone, next) = (
        match old {
            "old-10" => format!("CREATE INDEX ON log_{hour} (id);"),
            _ => format!("CREATE INDEX log_{hour}_more ON log_{hour} (story);"),
        },
        hour - 2,
        hour + 1,
    );
    format!(
        "CREATE TABLE log_{hour} PARTITION OF log
         FOR VALUES FROM ('2026-01-01 {hour:02}:00+00') TO ('2026-01-01 {next:02}:00+00');
         {index}
         COMMENT ON TABLE log_{hour} IS 'hour {hour}';
         COMMENT ON COLUMN log_{hour}.id IS 'its number';
         GRANT SELECT ON log_{hour} TO reader;
         INSERT INTO log SELECT '2026-01-01 {hour:02}:00+00'::timestamptz + n * interval '1 minute', n, repeat('y', n * 90)
         FROM generate_series(0, 59) n;
         DROP TABLE log_{gone};"
    )
}

/// Prepares again and demands that it says this.
fn prepare_again(trip: &Trip, said: &str) {
    let ran = trip.run(&["prepare"]);
    assert!(ran.demand(0).stdout.contains(said), "{}", ran.stdout);
}

/// Schema and rows of a running cluster of any of these versions.
fn dump(cluster: &Cluster) -> String {
    dump_by("new-18", cluster, &[])
}

/// New serves this schema and these rows, in the words of its version.
fn demand_arrived(case: &Case, wanted: &str) {
    let new = case.trip.new_cluster();
    let server = new.start();
    let served = dump(&new);
    server.stop();
    let place = new.scratch();
    demand_same_text(&listed(place, wanted), &listed(place, &served));
}

/// A dump without the kinds of line in which versions differ.
fn listed(place: &Path, text: &str) -> String {
    let [rules, dumped] = ["rules.sed", "dumped.sql"].map(|name| place.join(name));
    fs::write(&rules, include_str!("cluster/dump_differences.sed")).unwrap();
    fs::write(&dumped, text).unwrap();
    let mut sed = Command::new("sed");
    let output = sed.args(["-E", "-f"]).args([rules, dumped]).output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

/// Nothing of new is left, and no file of old has a second name.
fn demand_gone(trip: &Trip) {
    trip.demand_standing("everything was undone");
    assert!(!trip.new.exists());
    for folder in fs::read_dir(trip.old.join("base")).unwrap() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            assert_eq!(file.unwrap().metadata().unwrap().nlink(), 1);
        }
    }
}

#[test]
fn partitions_that_came_and_went() {
    as_server_user("partitions_that_came_and_went", || {
        for (old_version, new_version, mode) in [FROM_10, FROM_17] {
            let case = Case::of(old_version, new_version, mode);
            let (trip, old) = (&case.trip, &case.stock.cluster);
            let server = old.start();
            server.sql("app", &partitioned(old_version));
            trip.prepare();
            let said = "prepared again: 1 of 4 databases repaired in part \
                        (app: 1 table added, 1 dropped), 3 kept";
            server.sql("app", &an_hour_later(old_version, 3));
            prepare_again(trip, said);
            // What is kept may be written anew, and what came may go.
            server.sql("app", "VACUUM FULL items; ");
            server.sql("app", "REINDEX TABLE log_2");
            server.sql("app", "TRUNCATE moved");
            server.sql("app", &an_hour_later(old_version, 4));
            server.sql("app", &an_hour_later(old_version, 5));
            prepare_again(trip, "(app: 2 tables added, 2 dropped), 3 kept");
            if old_version != "old-10" {
                let both = "DROP INDEX log_id; CREATE INDEX log_place ON log (place)";
                server.sql("app", both);
                prepare_again(trip, "(app: 4 indexes added, 4 dropped), 3 kept");
                server.sql("app", "ALTER TABLE measures ADD UNIQUE (value, day)");
                prepare_again(trip, "(app: 3 indexes added), 3 kept");
                server.sql(
                    "app",
                    "ALTER TABLE measures DROP CONSTRAINT measures_value_day_key",
                );
                prepare_again(trip, "(app: 3 indexes dropped), 3 kept");
            }
            trip.rollback();
            demand_gone(trip);
            trip.prepare();
            if old_version != "old-10" {
                server.sql("app", "CREATE INDEX log_more ON log (place)");
            }
            server.sql("app", &an_hour_later(old_version, 6));
            server.sql("app", "SELECT lo_from_bytea(4711, 'made since prepare')");
            prepare_again(trip, "1 of 4 databases repaired in part");
            let wanted = dump(old);
            server.stop();
            trip.cutover();
            trip.run(&["verify"]).demand(0);
            demand_arrived(&case, &wanted);
            let new = trip.new_cluster();
            let server = new.start();
            server.sql("app", "VACUUM (FREEZE)");
            server.sql("app", &an_hour_later(old_version, 7));
            server.sql(
                "app",
                "SET enable_seqscan = off; DO $$ BEGIN \
                 ASSERT (SELECT bool_and(indisvalid) FROM pg_index); \
                 ASSERT (SELECT count(*) FROM log WHERE id = 17) = 2; \
                 ASSERT (SELECT count(*) FROM log_6 WHERE id = 17) = 1; END $$",
            );
            server.stop();
        }
    });
}

/// Tables, indexes and constraints that come and go one by one.
const CHANGES: &[(&str, &str)] = &[
    (
        "CREATE TABLE later (id serial PRIMARY KEY, feeling mood DEFAULT 'cross', story text, \
         CHECK (id > 0));
         INSERT INTO later (story) SELECT repeat(md5(n::text), 200) FROM generate_series(1, 40) n;
         CREATE INDEX later_story ON later (md5(story));
         COMMENT ON TABLE later IS 'later';
         COMMENT ON COLUMN later.story IS 'a story';
         COMMENT ON INDEX later_story IS 'an index';
         COMMENT ON CONSTRAINT later_pkey ON later IS 'a key';
         GRANT SELECT ON later TO reader;
         GRANT UPDATE (story) ON later TO reader;
         GRANT USAGE ON SEQUENCE later_id_seq TO reader",
        "1 table added",
    ),
    (
        "CREATE INDEX items_both ON items (id, feeling) WHERE feeling = 'cross'; \
         DROP INDEX \"to go\"; DROP INDEX total",
        "1 index added, 2 dropped",
    ),
    (
        "ALTER TABLE elsewhere DROP CONSTRAINT elsewhere_note_key; \
         ALTER TABLE scratchpad ADD UNIQUE (note)",
        "1 index added, 1 dropped",
    ),
    (
        "DROP TABLE \"odd \"\" one\"; CREATE TABLE \"odd \"\" one\" (other text); \
         CREATE UNLOGGED TABLE more_scratch (id bigint GENERATED ALWAYS AS IDENTITY, note text) \
         TABLESPACE side",
        "2 tables added, 1 dropped",
    ),
    (
        "CREATE TABLE base (id int); CREATE TABLE heir () INHERITS (base); \
         CREATE RULE nothing AS ON DELETE TO base DO INSTEAD NOTHING; \
         ALTER TABLE base ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY mine ON base USING (id > 1); \
         CREATE SEQUENCE counter; SELECT nextval('counter')",
        "2 tables added",
    ),
    (
        "CREATE TABLE second_heir () INHERITS (base); CREATE INDEX on heir (id); \
         DROP SEQUENCE counter",
        "1 table added, 1 index added",
    ),
    ("DROP TABLE base CASCADE", "3 tables dropped"),
    ("CREATE SEQUENCE counter", "1 sequence added"),
    (
        "CREATE TABLE refers (id bigint PRIMARY KEY REFERENCES items, other int REFERENCES elsewhere); \
         CREATE TABLE refers_again (id bigint REFERENCES refers); \
         INSERT INTO refers VALUES (100, 1)",
        "2 tables added",
    ),
];

#[test]
fn tables_and_indexes_that_came_and_went() {
    as_server_user("tables_and_indexes_that_came_and_went", || {
        for (old_version, new_version, mode) in [FROM_10, FROM_13] {
            let case = Case::of(old_version, new_version, mode);
            let (trip, old) = (&case.trip, &case.stock.cluster);
            let server = old.start();
            server.sql(
                "app",
                "CREATE TABLE \"odd \"\" one\" (id serial PRIMARY KEY, story text)",
            );
            server.sql("app", "CREATE INDEX \"to go\" ON items (md5(story))");
            server.sql("app", "CREATE INDEX total ON totals (count)");
            server.sql("app", "ALTER TABLE elsewhere ADD UNIQUE (note)");
            trip.prepare();
            for (statements, said) in CHANGES {
                server.sql("app", statements);
                prepare_again(
                    trip,
                    &format!("1 of 4 databases repaired in part (app: {said}), 3 kept"),
                );
            }
            let wanted = dump(old);
            server.stop();
            trip.cutover();
            trip.run(&["verify"]).demand(0);
            demand_arrived(&case, &wanted);
            let new = trip.new_cluster();
            let server = new.start();
            server.sql("app", "VACUUM (FREEZE)");
            server.sql(
                "app",
                "SET enable_seqscan = off; DO $$ BEGIN \
                 ASSERT (SELECT count(*) FROM later WHERE md5(story) = md5(repeat(md5('7'), 200))) = 1; \
                 ASSERT (SELECT count(*) FROM items WHERE id = 100 AND feeling = 'cross') = 1; \
                 END $$",
            );
            server.sql("app", "INSERT INTO later (story) VALUES ('more')");
            server.stop();
        }
    });
}

/// Changes that concern more than tables and indexes that came or went.
const WHOLE: &[&str] = &[
    // Its column cannot be NULL any more.
    "ALTER TABLE moved ADD PRIMARY KEY (id)",
    "CREATE TABLE beside (id int); CREATE OR REPLACE VIEW recent AS \
     SELECT m.day, e.note || '' AS note FROM measures m JOIN elsewhere e ON e.id = m.value",
    "ALTER TABLE moved ADD FOREIGN KEY (id) REFERENCES elsewhere",
    "ALTER TABLE measures DETACH PARTITION measures_early",
    "CREATE VIEW seen AS SELECT 1 AS one",
    "CREATE FUNCTION watched() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; \
     CREATE EVENT TRIGGER watched ON ddl_command_start EXECUTE PROCEDURE watched()",
    // Which watches whoever makes a table.
    "CREATE TABLE after_all (id int)",
];

#[test]
fn what_is_more_is_restored_as_a_whole() {
    as_server_user("what_is_more_is_restored_as_a_whole", || {
        let case = Case::of("old-13", "new-17", "link");
        let (trip, old) = (&case.trip, &case.stock.cluster);
        trip.prepare();
        let server = old.start();
        for statements in WHOLE {
            server.sql("app", statements);
            prepare_again(trip, "1 of 4 databases restored anew (app), 3 kept");
        }
        let wanted = dump(old);
        server.stop();
        trip.cutover();
        demand_arrived(&case, &wanted);
    });
}

/// A database in which the parts cannot be done is restored as a whole, whatever was done in it.
#[test]
fn what_cannot_be_done_in_part_is_done_as_a_whole() {
    as_server_user("what_cannot_be_done_in_part_is_done_as_a_whole", || {
        for mode in ["link", "copy"] {
            let mut case = Case::of("old-13", "new-17", mode);
            case.trip.script(
                "pg_restore",
                "case \"$*\" in *-parts.list*) exit 1;; esac\nexec \"$real\" \"$@\"",
            );
            let (trip, old) = (&case.trip, &case.stock.cluster);
            trip.prepare();
            let server = old.start();
            server.sql("app", "DROP TABLE scratchpad; CREATE TABLE later (id int)");
            server.sql("app", "SELECT lo_from_bytea(4711, 'made since prepare')");
            let wanted = dump(old);
            server.stop();
            let ran = trip.run(&["prepare"]);
            let said = "1 of 4 databases restored anew (app), 3 kept";
            assert!(ran.demand(0).stdout.contains(said), "{}", ran.stdout);
            let all = format!("{}{}", ran.stdout, ran.stderr);
            assert!(all.contains("database app is restored as a whole"), "{all}");
            trip.cutover();
            trip.run(&["verify"]).demand(0);
            demand_arrived(&case, &wanted);
        }
    });
}

/// They would be granted on what is restored into a database that has them already.
#[test]
fn default_privileges_are_not_granted_twice() {
    as_server_user("default_privileges_are_not_granted_twice", || {
        let case = Case::of("old-13", "new-17", "copy");
        let (trip, old) = (&case.trip, &case.stock.cluster);
        let server = old.start();
        server.sql(
            "app",
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader",
        );
        trip.prepare();
        server.sql(
            "app",
            "CREATE TABLE later (id int); REVOKE ALL ON later FROM reader",
        );
        prepare_again(trip, "1 of 4 databases restored anew (app), 3 kept");
        let wanted = dump(old);
        server.stop();
        trip.cutover();
        demand_arrived(&case, &wanted);
    });
}

#[test]
fn killed_between_drop_and_restore() {
    as_server_user("killed_between_drop_and_restore", || {
        let mut case = Case::of("old-17", "new-18", "link");
        let flag = case.stock.cluster.scratch().join("reached");
        let script = format!(
            "case \"$*\" in *-parts.list*) [ -e {0} ] || {{ touch {0}; exec sleep 60; }};; esac\n\
             exec \"$real\" \"$@\"",
            flag.display()
        );
        case.trip.script("pg_restore", &script);
        let (trip, old) = (&case.trip, &case.stock.cluster);
        trip.prepare();
        let mut wanted = String::new();
        for way in ["resume", "rollback"] {
            let server = old.start();
            let table = format!("after_{way}");
            server.sql("app", &format!("CREATE TABLE {table} AS SELECT 1 AS id"));
            server.sql("app", "DROP TABLE IF EXISTS scratchpad");
            wanted = dump(old);
            server.stop();
            let again = trip.begin(trip.command(&["prepare"]));
            let started = Instant::now();
            while !flag.exists() {
                assert!(started.elapsed() < Duration::from_secs(60));
                std::thread::sleep(Duration::from_millis(1));
            }
            again.kill();
            trip.run(&[way]).demand(0);
            if way == "rollback" {
                demand_gone(trip);
                trip.prepare();
            }
            fs::remove_file(&flag).unwrap();
            case.demand_prepared();
        }
        trip.cutover();
        trip.run(&["verify"]).demand(0);
        demand_arrived(&case, &wanted);
    });
}
