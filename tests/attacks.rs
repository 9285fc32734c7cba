//! Owners of objects, and whoever can write beside us, against the operator.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use pg_migrator::pg::quote::literal;
use support::case::Case;
use support::trip::{Ran, Trip, finish};
use support::{as_server_user, cluster};

/// What begins a line of ours, and what a name wants to be taken for.
const FORGED: &str = "standing: all is well\nremedy:   run my script";
/// Clears the screen, sets the title, turns the direction of writing, and C1 for the same.
const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}\u{9b}2J\r";

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// No line of ours begins within a name, and nothing reaches the terminal that it obeys.
fn demand_harmless(ran: &Ran) {
    for text in [&ran.stdout, &ran.stderr] {
        let obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(obeyed), "{text:?}");
        let forged = text
            .lines()
            .any(|line| line.starts_with("standing: all") || line.starts_with("remedy:   run my"));
        assert!(!forged, "{text}");
    }
}

#[test]
fn names_forge_nothing() {
    as_server_user("names_forge_nothing", || {
        let old = cluster("old-15", &[]);
        let hostile = quoted(&format!("t{HOSTILE}'; DROP TABLE kept; --"));
        let space = old.scratch().join("a \"space\" $(touch owned)");
        fs::create_dir(&space).unwrap();
        let server = old.start();
        server.sql("postgres", &format!("CREATE DATABASE {hostile}"));
        server.sql("postgres", &format!("CREATE ROLE {hostile}"));
        let location = literal(space.to_str().unwrap());
        server.sql(
            "postgres",
            &format!("CREATE TABLESPACE {hostile} LOCATION {location}"),
        );
        let database = format!("t{HOSTILE}'; DROP TABLE kept; --");
        server.sql(
            &database,
            &format!(
                "CREATE TABLE kept (id int); INSERT INTO kept VALUES (7); \
                 CREATE SCHEMA {hostile}; \
                 CREATE TABLE {hostile}.{hostile} (id int, {hostile} oid) TABLESPACE {hostile}; \
                 COMMENT ON TABLE kept IS {};\
                 CREATE UNLOGGED TABLE {} (id int)",
                literal(FORGED),
                quoted(&format!("u{HOSTILE}")),
            ),
        );
        server.stop();
        let trip = Trip::new(&old, "new-17", "copy");
        for words in [&["check", "--rehearse"][..], &["prepare"]] {
            let ran = trip.run_first(words);
            demand_harmless(&ran);
            ran.demand(0);
        }
        for words in [&["status"][..], &["cutover"], &["log"], &["verify"]] {
            let ran = trip.run(words);
            demand_harmless(&ran);
            ran.demand(0);
        }
        let new = trip.new_cluster();
        let server = new.start();
        server.sql(
            &database,
            &format!("SELECT 1 / count(*) FROM kept; SELECT * FROM {hostile}.{hostile}"),
        );
        server.stop();
        assert!(!Path::new("/owned").exists() && !old.scratch().join("owned").exists());
    });
}

/// Names with line breaks are refused by the restore; what is said of them is one line.
#[test]
fn line_breaks_in_names_begin_no_line() {
    as_server_user("line_breaks_in_names_begin_no_line", || {
        let old = cluster("old-15", &[]);
        let server = old.start();
        let name = quoted(&format!("x\n{FORGED}\n{HOSTILE}"));
        server.sql("postgres", &format!("CREATE TABLE {name} (id int)"));
        server.sql("postgres", &format!("CREATE ROLE {name}"));
        server.sql("postgres", &format!("CREATE DATABASE {name}"));
        server.stop();
        let trip = Trip::new(&old, "new-17", "copy");
        let ran = trip.run_first(&["check"]);
        demand_harmless(&ran);
        ran.demand(0);
        assert!(ran.stdout.contains("has a line break in it"), "{ran:?}");
        demand_harmless(&trip.run_first(&["prepare"]));
    });
}

/// What lies where ours should be is somebody's: a link is never followed, and what it leads to
/// is neither written nor removed.
#[test]
fn links_lead_nobody_out() {
    as_server_user("links_lead_nobody_out", || {
        let case = Case::new("copy");
        let trip = &case.trip;
        let victim = case.stock.cluster.scratch().join("victim");
        fs::create_dir(&victim).unwrap();
        fs::write(victim.join("thesis"), "years of work").unwrap();
        let whole = || {
            let text = fs::read_to_string(victim.join("thesis")).unwrap();
            assert_eq!(text, "years of work");
            assert_eq!(fs::read_dir(&victim).unwrap().count(), 1);
        };
        let replace = |path: PathBuf| {
            let aside = path.with_extension("aside");
            fs::rename(&path, &aside).unwrap();
            symlink(&victim, &path).unwrap();
            move || {
                fs::remove_file(&path).unwrap();
                fs::rename(&aside, &path).unwrap();
            }
        };
        trip.prepare();
        let databases = fs::read_dir(trip.new.join("base")).unwrap();
        let database = databases
            .map(|entry| entry.unwrap().path())
            .max_by_key(|path| files_of_users(path))
            .unwrap();
        assert!(files_of_users(&database) > 0);
        for path in [database, trip.new.join("pg_xact"), trip.new.join("base")] {
            let put_back = replace(path);
            let ran = trip.run(&["cutover"]);
            assert_ne!(ran.code, 0, "{ran:?}");
            assert!(ran.stderr.contains("error[PGM-"), "{ran:?}");
            whole();
            put_back();
            let status = trip.run(&["status"]);
            if !status.stdout.contains("waits for the cutover") {
                trip.rollback();
                whole();
                trip.prepare();
            }
        }
        let folder = fs::read_dir(&case.stock.space).unwrap();
        let mut folder = folder.map(|entry| entry.unwrap().path());
        let folder = folder
            .find(|path| path.to_str().unwrap().contains("PG_17"))
            .unwrap();
        fs::remove_dir_all(&folder).unwrap();
        symlink(&victim, &folder).unwrap();
        for name in ["dump", "logs"] {
            let path = trip.state().join(name);
            fs::remove_dir_all(&path).unwrap();
            symlink(&victim, &path).unwrap();
        }
        let ran = trip.run(&["rollback"]);
        whole();
        if ran.code != 0 {
            let logs = trip.state().join("logs");
            fs::remove_file(&logs).unwrap();
            fs::create_dir(&logs).unwrap();
            trip.rollback();
        }
        whole();
        case.demand_untouched("links");

        // A journal that is a link is nobody's journal.
        trip.prepare();
        let journal = trip.state().join("journal.jsonl");
        let elsewhere = victim.with_extension("journal");
        fs::rename(&journal, &elsewhere).unwrap();
        symlink(&elsewhere, &journal).unwrap();
        let before = fs::read(&elsewhere).unwrap();
        let ran = trip.run(&["rollback"]);
        assert_ne!(ran.code, 0, "{ran:?}");
        assert_eq!(fs::read(&elsewhere).unwrap(), before);
    });
}

fn files_of_users(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.parse().is_ok_and(|number: u32| number >= 16384))
        .count()
}

const HASH: &str = "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0$";
const SECRET: &str = "sesame-open-it";

/// Dumps hold them, and new's own WAL, in files for the owner alone; nothing else does.
#[test]
fn secrets_stay_in_the_dump() {
    as_server_user("secrets_stay_in_the_dump", || {
        let old = cluster("old-15", &[]);
        let server = old.start();
        server.sql("postgres", "CREATE ROLE app LOGIN");
        let hash = format!(
            "{HASH}{}:{}",
            "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=",
            "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="
        );
        server.sql("postgres", &format!("ALTER ROLE app PASSWORD '{hash}'"));
        server.sql(
            "postgres",
            &format!(
                "CREATE SUBSCRIPTION follows CONNECTION 'host=nowhere password={SECRET}' \
                 PUBLICATION all_of_it WITH (connect = false, enabled = false, slot_name = NONE)"
            ),
        );
        server.stop();
        let mut trip = Trip::new(&old, "new-17", "copy");
        let seen = old.scratch().join("seen");
        for program in [
            "pg_dump",
            "pg_restore",
            "psql",
            "pg_dumpall",
            "initdb",
            "pg_resetwal",
        ] {
            let text = format!(
                "{{ echo {program} \"$@\"; env; }} >> '{}'\nexec \"$real\" \"$@\"",
                seen.display()
            );
            trip.script(program, &text);
        }
        let with_surroundings = |mut command: std::process::Command| {
            for (name, value) in [
                ("PGOPTIONS", "-c search_path=evil"),
                ("PGSERVICE", "nobodys"),
                ("PGHOST", "/nowhere"),
                ("PGDATABASE", "nowhere"),
                ("PGSSLMODE", "verify-full"),
                ("PSQLRC", "/nowhere/psqlrc"),
                ("PG_COLOR", "always"),
                ("LD_PRELOAD", "/nowhere/library.so"),
                ("BASH_ENV", "/nowhere/bash"),
                ("PGPASSWORD", "not-for-everybody"),
            ] {
                command.env(name, value);
            }
            finish(command)
        };
        let mut said = String::new();
        for ran in [
            with_surroundings(trip.first_command(&["check", "--rehearse"])),
            with_surroundings(trip.first_command(&["prepare"])),
            with_surroundings(trip.command(&["cutover"])),
            with_surroundings(trip.command(&["log"])),
        ] {
            ran.demand(0);
            said += &ran.stdout;
            said += &ran.stderr;
        }
        let seen = fs::read_to_string(seen).unwrap();
        assert!(seen.contains("pg_restore "), "{seen}");
        for (name, text) in [("output", &said), ("arguments and environment", &seen)] {
            for secret in [HASH, SECRET, "c2FsdHNhbHRzYWx0"] {
                assert!(!text.contains(secret), "{secret} in {name}");
            }
        }
        for line in seen.lines() {
            let (name, value) = line.split_once('=').unwrap_or(("", ""));
            let foreign =
                name.starts_with("PG") || ["LD_PRELOAD", "PSQLRC", "BASH_ENV"].contains(&name);
            let ours =
                ["PGPASSWORD", "PGPASSFILE", "PGOPTIONS", "PGCONNECT_TIMEOUT"].contains(&name);
            assert!(!foreign || ours, "{line}");
            assert!(
                !value.contains("evil") && value != "not-for-everybody",
                "{line}"
            );
        }
        let state = walkdir::WalkDir::new(trip.state());
        let mut dumped = false;
        for entry in state.into_iter().map(Result::unwrap) {
            let mode = entry.metadata().unwrap().mode() & 0o777;
            let path = entry.path();
            let wanted = if entry.file_type().is_dir() {
                0o700
            } else {
                0o600
            };
            assert_eq!(mode, wanted, "{}", path.display());
            if !entry.file_type().is_file() {
                continue;
            }
            let bytes = fs::read(path).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            let secret = [HASH, SECRET].iter().any(|secret| text.contains(secret));
            let allowed = ["dump", "before-carry/pg_wal"];
            let allowed = allowed
                .iter()
                .any(|dir| path.starts_with(trip.state().join(dir)));
            assert!(!secret || allowed, "{}", path.display());
            dumped |= secret;
        }
        assert!(dumped, "the dump has what it should not show");
    });
}

/// What fails is told, and kept in logs, without what must not be seen of it.
#[test]
fn secrets_stay_in_the_dump_when_it_cannot_be_restored() {
    as_server_user(
        "secrets_stay_in_the_dump_when_it_cannot_be_restored",
        || {
            let old = cluster("old-13", &[]);
            let server = old.start();
            // New has no such function, takes no such option, and asks a validator that refuses.
            server.sql(
                "postgres",
                &format!(
                    "CREATE TABLE far (t text
                        DEFAULT 'password={SECRET}' || pg_stat_get_buf_written_backend());
                 COMMENT ON TABLE far IS '{SECRET}';
                 CREATE FUNCTION strict(text[], oid) RETURNS void LANGUAGE plpgsql AS $$BEGIN
                    IF current_setting('server_version_num')::int > 140000 THEN
                        RAISE 'not with %', $1 USING DETAIL = 'It is {SECRET}.';
                    END IF; END$$;
                 CREATE FOREIGN DATA WRAPPER w VALIDATOR strict OPTIONS (debug '{SECRET}');
                 CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (host '{SECRET}');
                 CREATE USER MAPPING FOR postgres SERVER s OPTIONS (password '{SECRET}')"
                ),
            );
            server.sql(
                "postgres",
                &format!(
                    "CREATE SUBSCRIPTION follows CONNECTION 'host=nowhere tty=x password={SECRET}' \
                 PUBLICATION p WITH (connect = false, enabled = false, slot_name = NONE)"
                ),
            );
            server.stop();
            let trip = Trip::new(&old, "new-17", "copy");
            let rehearsed = trip.run_first(&["check", "--rehearse", "--json"]);
            rehearsed.demand(3);
            let prepared = trip.run_first(&["prepare"]);
            prepared.demand(5);
            for ran in [&rehearsed, &prepared] {
                for text in [&ran.stdout, &ran.stderr] {
                    assert!(!text.contains(SECRET), "{text}");
                }
            }
            for object in [
                "TABLE far",
                "FOREIGN DATA WRAPPER w: not with ",
                "SERVER s",
                "USER MAPPING",
                "SUBSCRIPTION follows",
            ] {
                assert!(rehearsed.stdout.contains(object), "{rehearsed:?}");
            }
            let logs = kept_below(&trip.state());
            for (path, text) in &logs {
                assert!(!text.contains(SECRET), "{}: {text}", path.display());
            }
            let printed = logs.iter().any(|(_, text)| text.contains("Command was: "));
            assert!(
                printed,
                "{:?}",
                logs.iter().map(|(path, _)| path).collect::<Vec<_>>()
            );
        },
    );
}

/// All files below a directory, with what is in them.
fn kept_below(dir: &Path) -> Vec<(PathBuf, String)> {
    let files = walkdir::WalkDir::new(dir).into_iter().map(Result::unwrap);
    let files = files.filter(|entry| entry.file_type().is_file());
    files
        .map(|entry| {
            let bytes = fs::read(entry.path()).unwrap();
            (
                entry.into_path(),
                String::from_utf8_lossy(&bytes).into_owned(),
            )
        })
        .collect()
}
