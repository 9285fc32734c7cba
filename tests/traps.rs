//! Functions, operators and event triggers of users, named to be called by whoever dumps, restores or
//! looks around: from old versions of each kind to each new one.
//!
//! In each run of the tests whole from 17 to 18 and in part to the other new versions; whole between
//! all, by hand: `PGM_EVERY_PAIR=1 ci/suite --test traps`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use pg_migrator::pg::quote::literal;
use support::trip::Trip;
use support::{Cluster, Running, as_server_user, cluster, say};

const EVERY_PAIR: &str = "PGM_EVERY_PAIR";

/// Functions and operators with the names of those that everybody calls, first in the path of
/// every session, and triggers: each leaves a file when it is called.
fn set_traps(server: &Running<'_>, major: u16, called: &Path) {
    // It reads what it is given, or whoever gives it something may find the pipe broken.
    let leave = literal(&format!("cat > {}", called.display()));
    let body = format!("BEGIN COPY (SELECT 1) TO PROGRAM {leave}; RETURN");
    let mut script = String::from("CREATE SCHEMA evil;\n");
    let text = "text";
    for (name, arguments, result, value) in [
        ("quote_ident", text, text, "$1"),
        ("format", text, text, "$1"),
        ("lower", text, text, "$1"),
        ("length", text, "int", "1"),
        ("current_setting", text, text, "$1"),
        ("pg_get_expr", "pg_node_tree, oid", text, "''"),
        ("array_to_string", "anyarray, text", text, "''"),
        ("same", "oid, oid", "bool", "true"),
        ("same", "name, name", "bool", "true"),
        ("same", "name, text", "bool", "true"),
        ("same", "char, char", "bool", "true"),
    ] {
        let arguments = arguments.replace("char", "\"char\"");
        script += &format!(
            "CREATE FUNCTION evil.{name}({arguments}) RETURNS {result} LANGUAGE plpgsql \
             AS $$ {body} {value}; END $$;\n"
        );
    }
    for (left, right) in [
        ("oid", "oid"),
        ("name", "name"),
        ("name", "text"),
        ("\"char\"", "\"char\""),
    ] {
        script += &format!(
            "CREATE OPERATOR evil.= (LEFTARG = {left}, RIGHTARG = {right}, PROCEDURE = evil.same);\n"
        );
    }
    for relation in ["pg_class", "pg_database", "pg_namespace", "pg_roles"] {
        script += &format!(
            "CREATE FUNCTION evil.of_{relation}() RETURNS SETOF name LANGUAGE plpgsql \
             AS $$ {body}; END $$;\n\
             CREATE VIEW evil.{relation} AS SELECT name FROM evil.of_{relation}() AS name;\n"
        );
    }
    let twice = match major {
        ..12 => "",
        12.. => ", twice int GENERATED ALWAYS AS (evil.steady(id)) STORED",
    };
    script += &format!(
        "CREATE FUNCTION evil.watch() RETURNS event_trigger LANGUAGE plpgsql \
         AS $$ {body}; END $$;\n\
         CREATE FUNCTION evil.steady(int) RETURNS int IMMUTABLE LANGUAGE plpgsql \
         AS $$ {body} $1; END $$;\n\
         CREATE TABLE evil.bait (id int, CHECK (id IS NOT NULL));\n\
         CREATE TABLE evil.many (id int DEFAULT evil.steady(1){twice});\n\
         CREATE INDEX ON evil.many (evil.steady(id)) WHERE evil.steady(id) > 0;\n\
         ALTER TABLE evil.many ADD CHECK (evil.steady(id) > 0);\n\
         CREATE EVENT TRIGGER watch_end ON ddl_command_end EXECUTE PROCEDURE evil.watch();\n\
         CREATE EVENT TRIGGER watch_start ON ddl_command_start EXECUTE PROCEDURE evil.watch();\n\
         CREATE EVENT TRIGGER watch_drop ON sql_drop EXECUTE PROCEDURE evil.watch();\n\
         ALTER EVENT TRIGGER watch_end ENABLE ALWAYS;\n"
    );
    server.sql("app", &script);
    if major >= 17 {
        server.sql(
            "app",
            "CREATE EVENT TRIGGER watch_login ON login EXECUTE PROCEDURE evil.watch()",
        );
        server.sql("app", "ALTER EVENT TRIGGER watch_login ENABLE ALWAYS");
    }
    for whose in ["ROLE postgres", "DATABASE app", "ROLE ALL"] {
        server.sql(
            "postgres",
            &format!("ALTER {whose} SET search_path = evil, pg_catalog"),
        );
    }
}

/// An old cluster with traps, and what is left when one of them is called.
struct Trapped {
    old: Cluster,
    major: u16,
    called: PathBuf,
}

impl Trapped {
    fn new(major: u16) -> Self {
        let old = cluster(&format!("old-{major}"), &[]);
        let called = old.scratch().join("called");
        Self { old, major, called }
    }

    /// Serves, and the traps work.
    fn serves(&self) -> Running<'_> {
        let server = self.old.start();
        server.sql("postgres", "CREATE DATABASE app");
        set_traps(&server, self.major, &self.called);
        let called = |by: &str, sql: &str| {
            server.sql("app", sql);
            self.demand_called(by);
        };
        called(
            "a session",
            "SET search_path = evil, pg_catalog; SELECT lower('X'::text)",
        );
        called("a change of the schema", "CREATE TABLE evil.seen (id int)");
        server
    }

    fn demand_called(&self, by: &str) {
        assert!(self.called.exists(), "not called by {by}");
        fs::remove_file(&self.called).unwrap();
    }

    fn demand_silence(&self, after: &str) {
        let major = self.major;
        assert!(!self.called.exists(), "called by {after} from {major}");
    }

    fn demand_arrived(&self, trip: &Trip) {
        let new = trip.new_cluster();
        let server = new.start();
        server.sql(
            "app",
            "SET search_path = evil, pg_catalog; SELECT lower('X'::text)",
        );
        self.demand_called("a session in new");
        server.stop();
    }
}

/// Rehearsed, prepared beside the server and of a stopped cluster, there and back.
fn in_whole(major: u16, new: u16) {
    let trapped = Trapped::new(major);
    let server = trapped.serves();
    let mut trip = Trip::new(&trapped.old, &format!("new-{new}"), "copy");
    trip.run_first(&["check", "--rehearse"]);
    trapped.demand_silence("a rehearsal beside the server");
    trip.prepare();
    trapped.demand_silence("a prepare beside the server");
    change(&trapped, &server);
    // What is restored again, or dropped, is in a database whose triggers are there.
    trip.prepare();
    trapped.demand_silence("a repeated prepare");
    // Somebody else's session may well call them.
    trip.cutover();
    trapped.demand_silence("the cutover");
    trip.rollback();
    trapped.demand_silence("the way back");
    drop(server);
    "link".clone_into(&mut trip.mode);
    trip.prepare();
    trip.cutover();
    trapped.demand_silence("an upgrade of the stopped cluster");
    trapped.demand_arrived(&trip);
    say(&format!("TRIED traps in whole from {major} to {new}"));
}

/// Its own operator is seen, as he should be.
fn change(trapped: &Trapped, server: &Running<'_>) {
    server.sql(
        "app",
        "CREATE TABLE evil.later (id int PRIMARY KEY); DROP TABLE evil.seen; \
         SELECT lo_from_bytea(4711, 'a picture'); COMMENT ON LARGE OBJECT 4711 IS 'of a cat'",
    );
    trapped.demand_called("whoever changes the schema");
}

/// Prepared beside the server, and cut over with a large object that came since.
fn in_part(major: u16, new: u16) {
    let trapped = Trapped::new(major);
    let server = trapped.serves();
    let trip = Trip::new(&trapped.old, &format!("new-{new}"), "link");
    trip.prepare();
    trapped.demand_silence("a prepare beside the server");
    server.sql("app", "SELECT lo_from_bytea(4711, 'a picture')");
    server.sql("app", "GRANT SELECT ON LARGE OBJECT 4711 TO PUBLIC");
    // Nobody is kept from watching that.
    let _ = fs::remove_file(&trapped.called);
    trip.cutover();
    trapped.demand_silence("the cutover");
    drop(server);
    trapped.demand_arrived(&trip);
    say(&format!("TRIED traps in part from {major} to {new}"));
}

#[test]
fn nobody_elses_code_is_called() {
    as_server_user("nobody_elses_code_is_called", || {
        if std::env::var_os(EVERY_PAIR).is_some() {
            for major in 10..=17 {
                for new in (15..=18).filter(|new| *new > major) {
                    in_whole(major, new);
                }
            }
            return;
        }
        std::thread::scope(|scope| {
            scope.spawn(|| in_whole(17, 18));
            scope.spawn(|| {
                for (major, new) in [(10, 15), (11, 16), (14, 17)] {
                    in_part(major, new);
                }
            });
        });
    });
}
