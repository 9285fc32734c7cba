//! The command line of `check`: what is made, what is told of it, and where.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::trip::{Ran, Trip, bare, finish};
use support::{Running, as_server_user, cluster};

/// A name that means something to psql, to a shell, and to a comment.
const HOSTILE: &str = "a\"b'c\\d -- e\n\\! touch f";

/// More than are shown.
const MANY: usize = 12;

fn events(ran: &Ran) -> Vec<Value> {
    let lines = ran.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn of(events: &[Value], kind: &str) -> Vec<Value> {
    let wanted = events.iter().filter(|event| event["event"] == kind);
    wanted.cloned().collect()
}

fn findings(ran: &Ran, check: &str) -> Vec<Value> {
    let mut found = of(&events(ran), "finding");
    found.retain(|event| event["check"] == check);
    found
}

/// The files in `checks/`, by the names of the checks.
fn names() -> BTreeSet<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("checks");
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| stem(entry.unwrap().path())).collect()
}

#[test]
fn every_check_is_listed_without_clusters() {
    let ran = finish(bare(&["check", "--list"]));
    ran.demand(0);
    let words = |line: &str, at: usize| line.split_whitespace().nth(at).unwrap().to_owned();
    let listed: BTreeSet<String> = ran.stdout.lines().map(|line| words(line, 1)).collect();
    assert_eq!(listed, names());
    let severities: Vec<String> = ran.stdout.lines().map(|line| words(line, 0)).collect();
    let mut sorted = severities.clone();
    sorted.sort_by_key(|one| {
        ["blocker", "warning", "notice"]
            .iter()
            .position(|s| s == one)
    });
    assert_eq!(severities, sorted);
    let oids = "table {relation} has a hidden oid column (WITH OIDS) (old 11 and older)";
    assert!(ran.stdout.contains(oids), "{}", ran.stdout);

    let ran = finish(bare(&["check", "--list", "--json"]));
    ran.demand(0);
    let listed = of(&events(&ran), "check_listed");
    assert_eq!(listed.len(), names().len());
    let oids = listed.iter().find(|one| one["check"] == "tables-with-oids");
    let oids = oids.unwrap();
    assert_eq!(oids["severity"], "blocker");
    assert_eq!(oids["remedy"], "sql");
    assert_eq!(oids["destructive"], true);
    assert_eq!(oids["old"], "11 and older");

    for name in names() {
        let ran = finish(bare(&["explain", &name]));
        ran.demand(0);
        for part in ["\n\nasked:\n", "\n\nremedy", &name] {
            assert!(ran.stdout.contains(part), "{}", ran.stdout);
        }
    }
}

#[test]
fn words_that_are_none_of_a_check_are_refused() {
    let places = ["-b/old", "-B/new", "-d/data"];
    let usage = |words: &[&str], said: &[&str]| {
        finish(bare(&[words, &places[..]].concat())).refused(2, "PGM-1001", said);
    };
    usage(
        &["check", "--skip", "tables-with-oid,weather"],
        &["is tables-with-oids meant?", "weather", "check --list"],
    );
    usage(&["check", "--only", "PGM-1203"], &["always looked at"]);
    usage(
        &["prepare", "-D/n", "--skip", "aclitm"],
        &["is aclitem meant?"],
    );
    let both = ["--only", "aclitem", "--skip", "aclitem"];
    usage(&["upgrade", "-D/n", "--yes", "--skip", "x"], &["no check"]);
    for words in [&both[..0], &both, &["--list", "--sql", "x"]] {
        let ran = finish(bare(&[&["check"][..], words].concat()));
        assert_eq!(ran.code, 2, "{}", ran.stderr);
    }
    let ran = finish(bare(&["explain", "unlogged"]));
    ran.refused(2, "PGM-1002", &["pg_migrator explain unlogged-tables"]);
}

/// Many findings in one database: a remedy that destroys something, one in SQL, and one by hand.
fn spoil(server: &Running<'_>) {
    server.sql("postgres", "CREATE DATABASE shop");
    let tables = (1..=MANY).map(|n| format!("CREATE TABLE public.t{n} (a int) WITH OIDS;"));
    server.sql("shop", &tables.collect::<String>());
    server.sql("shop", "CREATE UNLOGGED TABLE public.cache (a int)");
}

#[test]
fn findings_are_told_as_they_are_needed() {
    as_server_user("findings_are_told_as_they_are_needed", || {
        let old = cluster("old-11", &[]);
        let server = old.start();
        spoil(&server);
        let trip = Trip::new(&old, "new-17", "copy");
        let check = |words: &[&str]| trip.run_first(&[&["check"][..], words].concat());

        columns_and_remedies_are_objects(&check(&["--json"]));
        long_lists_are_cut(&check(&[]), &check(&["--verbose"]));
        what_is_left_out_is_said(&trip, &check);
        what_cannot_be_asked_blocks(&server, &check);
        lists_and_remedies_are_in_files(&server, &trip, &check);
        a_skip_is_forgotten(&trip);
        server.stop();
    });
}

fn columns_and_remedies_are_objects(ran: &Ran) {
    ran.demand(3);
    let oids = findings(ran, "tables-with-oids");
    assert_eq!(oids.len(), MANY);
    assert_eq!(oids[0]["columns"]["relation"], "public.t1");
    assert_eq!(oids[0]["columns"]["database"], "shop");
    let remedy = serde_json::json!({
        "kind": "sql",
        "text": "ALTER TABLE public.t1 SET WITHOUT OIDS;",
        "database": "shop",
        "destructive": true,
    });
    assert_eq!(oids[0]["remedy"], remedy);
    let unlogged = findings(ran, "unlogged-tables");
    assert_eq!(unlogged[0]["remedy"]["kind"], "manual");
    assert_eq!(unlogged[0]["remedy"]["destructive"], false);
    assert_eq!(unlogged[0]["columns"]["tables"], "1 table");
}

fn long_lists_are_cut(short: &Ran, whole: &Ran) {
    for ran in [short, whole] {
        ran.demand(3);
        let remedy = "remedy (destructive): in database shop: ALTER TABLE public.t1 SET WITHOUT";
        assert!(ran.stdout.contains(remedy), "{}", ran.stdout);
        let groups = [
            "blocker[tables-with-oids]: 12 found",
            "notice[unlogged-tables]: 1 found",
        ];
        let places = groups.map(|group| ran.stdout.find(group).unwrap());
        assert!(places[0] < places[1], "{}", ran.stdout);
    }
    assert!(
        short.stdout.contains("table public.t10 has"),
        "{}",
        short.stdout
    );
    assert!(!short.stdout.contains("public.t11"), "{}", short.stdout);
    let rest = "and 2 more: --verbose shows all, check --output-dir DIR";
    assert!(short.stdout.contains(rest), "{}", short.stdout);
    assert!(whole.stdout.contains("public.t12"), "{}", whole.stdout);
    assert!(!whole.stdout.contains("2 more"), "{}", whole.stdout);
}

fn what_is_left_out_is_said(trip: &Trip, check: &impl Fn(&[&str]) -> Ran) {
    let without = check(&["--skip", "tables-with-oids,unlogged-tables"]);
    without.demand(0);
    let said = "blocker[tables-with-oids], notice[unlogged-tables]: what would be found";
    assert!(without.stdout.contains(said), "{}", without.stdout);
    assert!(!without.stdout.contains("public.t1"), "{}", without.stdout);

    let told = check(&["--json", "--skip=tables-with-oids", "--skip=aclitem"]);
    told.demand(0);
    let skipped = of(&events(&told), "check_skipped");
    let named: BTreeSet<_> = skipped.iter().map(|one| one["check"].to_string()).collect();
    assert_eq!(named.len(), 2, "{skipped:?}");
    assert!(skipped.iter().all(|one| one["option"] == "skip"));
    let tally = &of(&events(&told), "checks_finished")[0];
    let number = |name: &str| tally[name].as_u64().unwrap();
    assert_eq!(number("made") + 2, number("applicable"));
    assert_eq!(number("skipped"), 2);

    let alone = check(&["--only", "unlogged-tables"]);
    alone.demand(0);
    let whole = number("applicable");
    for said in [
        format!("1 of {whole} checks made, nothing blocks, 1 notice"),
        format!(
            "{} checks, because of --only: this was not a whole check",
            whole - 1
        ),
    ] {
        assert!(
            alone.stdout.contains(&said),
            "no {said} in {}",
            alone.stdout
        );
    }
    let beside = check(&["--only", "not-null-on-children"]);
    beside.demand(0);
    let said = "not-null-on-children is no check of an upgrade between these versions";
    assert!(beside.stdout.contains(said), "{}", beside.stdout);

    // The next command knows nothing of it.
    let prepared = trip.run_first(&["prepare"]);
    prepared.refused(3, "PGM-6002", &["blocker[tables-with-oids]"]);
}

fn what_cannot_be_asked_blocks(server: &Running<'_>, check: &impl Fn(&[&str]) -> Ran) {
    let rename = |from: &str, to: &str| {
        let function = format!("ALTER FUNCTION pg_catalog.{from}(numeric) RENAME TO {to}");
        server.sql("shop", &function);
    };
    rename("pg_size_pretty", "mislaid");
    let ran = check(&["--only", "unlogged-tables"]);
    rename("mislaid", "pg_size_pretty");
    ran.refused(3, "PGM-6002", &["0 of ", "1 finding blocks"]);
    for said in [
        "blocker[unlogged-tables]: 1 found",
        "the check could not be made",
        "shop",
        "pg_size_pretty(numeric) does not exist",
    ] {
        assert!(ran.stdout.contains(said), "no {said} in {}", ran.stdout);
    }
}

fn lists_and_remedies_are_in_files(
    server: &Running<'_>,
    trip: &Trip,
    check: &impl Fn(&[&str]) -> Ran,
) {
    let quoted = HOSTILE.replace('"', "\"\"");
    server.sql("postgres", &format!("CREATE DATABASE \"{quoted}\""));
    server.sql(
        HOSTILE,
        "CREATE TABLE public.t (a int); CREATE INDEX \"x\r\\! y\" ON public.t (a);
         UPDATE pg_catalog.pg_index SET indisvalid = false WHERE indrelid = 'public.t'::regclass",
    );
    let place = trip.old.parent().unwrap();
    let (lists, script) = (place.join("lists"), place.join("remedies.sql"));
    let (dir, file) = (lists.to_str().unwrap(), script.to_str().unwrap());
    let wanted = ["--output-dir", dir, "--sql", file];
    let ran = check(&wanted);
    ran.demand(3);
    let list = lists.join("tables-with-oids.txt");
    let rest = format!("and 2 more: all are in {}", list.display());
    assert!(ran.stdout.contains(&rest), "{}", ran.stdout);
    let text = fs::read_to_string(&list).unwrap();
    assert!(
        text.contains("public.t1 ") && text.contains("public.t12 "),
        "{text}"
    );
    let written = fs::read_dir(&lists).unwrap().count();
    assert_eq!(written, 1, "only what is long");
    for path in [&list, &script] {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    assert!(
        ran.stdout.contains("12 of them commented out"),
        "{}",
        ran.stdout
    );

    // As it is printed, by psql: what destroys something stays undone.
    let told = check(&[&wanted[..], &["--json"]].concat());
    let written = &of(&events(&told), "remedies_written")[0];
    let command = written["command"].as_str().unwrap();
    shell(command);
    let left = check(&["--json"]);
    assert_eq!(findings(&left, "invalid-indexes").len(), 0);
    assert_eq!(findings(&left, "tables-with-oids").len(), MANY);

    // What is left, with the dashes taken away, elsewhere, does the rest.
    check(&wanted).demand(3);
    let edited = place.join("edited.sql");
    let text = fs::read_to_string(&script).unwrap();
    assert!(
        text.contains("-- destructive:\n-- ALTER TABLE public.t1 SET"),
        "{text}"
    );
    fs::write(&edited, text.replace("-- ALTER TABLE", "ALTER TABLE")).unwrap();
    shell(&command.replace(file, edited.to_str().unwrap()));

    // Ours is taken away where nothing is left to be written; what was edited is not replaced.
    let ran = check(&wanted);
    ran.demand(0);
    assert!(ran.stdout.contains("no remedy is SQL"), "{}", ran.stdout);
    assert!(!script.exists() && !list.exists());
    let kept = edited.to_str().unwrap();
    check(&["--sql", kept]).refused(2, "PGM-1001", &[kept, "another name"]);
    assert!(edited.exists());
    let within = trip.old.join("fix.sql");
    let refused = check(&["--sql", within.to_str().unwrap()]);
    refused.refused(4, "PGM-1206", &["nothing into a data directory"]);
}

/// Folders, places and tablespaces that are wrong, and a table with OIDs: all are told at once.
#[test]
fn what_is_seen_from_outside_ends_no_check() {
    as_server_user("what_is_seen_from_outside_ends_no_check", || {
        let old = cluster("old-11", &[]);
        let trip = Trip::new(&old, "new-17", "copy");
        let place = trip.old.parent().unwrap();
        let (inner, lost) = (trip.old.join("inner"), place.join("lost"));
        for folder in [&inner, &lost] {
            fs::create_dir(folder).unwrap();
        }
        let server = old.start();
        for folder in [&inner, &lost] {
            let name = folder.file_name().unwrap().to_str().unwrap();
            let location = folder.display();
            server.sql(
                "postgres",
                &format!("CREATE TABLESPACE {name}_space LOCATION '{location}'"),
            );
        }
        server.sql("postgres", "CREATE TABLE public.t1 (a int) WITH OIDS");
        let within = "lies inside the old data directory";
        let all_found = |ran: &Ran, codes: &[&str]| {
            ran.refused(3, "PGM-6002", &[within, "table public.t1 has"]);
            let always = [
                "PGM-1206",
                "tablespaces-inside-data-directory",
                "tables-with-oids",
            ];
            let groups = [codes, &always].concat();
            for group in &groups {
                let head = format!("blocker[{group}]: 1 found");
                assert!(ran.stdout.contains(&head), "no {head} in {}", ran.stdout);
            }
            let blocks = format!("{} findings block", groups.len());
            assert!(
                ran.stdout.contains(&blocks),
                "no {blocks} in {}",
                ran.stdout
            );
        };
        let check = || trip.run_first(&["check"]);
        let estimated = |ran: &Ran| ran.stdout.contains("estimated downtime");

        let running = check();
        all_found(&running, &[]);
        assert!(estimated(&running), "{}", running.stdout);
        fs::write(trip.old.join("tablespace_map"), "").unwrap();
        fs::create_dir(&trip.new).unwrap();
        fs::write(trip.new.join("letter"), "dear").unwrap();
        all_found(&check(), &["PGM-1202", "PGM-1205"]);
        server.stop();

        // A server that is started now would begin a recovery.
        let at_rest = check();
        at_rest.refused(4, "PGM-1202", &["tablespace_map", within, "letter"]);
        assert!(!at_rest.stdout.contains("tables-with-oids"));
        fs::remove_file(trip.old.join("tablespace_map")).unwrap();
        fs::remove_dir_all(&trip.new).unwrap();

        // Of what is not there nothing is known, so nothing is said of how long it takes.
        fs::rename(&lost, place.join("found")).unwrap();
        let ran = check();
        all_found(&ran, &["PGM-1202"]);
        assert!(!estimated(&ran), "{}", ran.stdout);
        fs::rename(place.join("found"), &lost).unwrap();
        all_found(&check(), &[]);

        let refused = trip.run_first(&["prepare"]);
        refused.refused(4, "PGM-1206", &[within]);
    });
}

fn shell(command: &str) {
    let output = Command::new("sh").arg("-c").arg(command).output().unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
}

fn a_skip_is_forgotten(trip: &Trip) {
    let skipped = || of(&trip.events(), "check_skipped").len();
    let prepared = trip.run_first(&["prepare", "--skip", "unlogged-tables"]);
    prepared.demand(0);
    assert!(
        prepared
            .stdout
            .contains("notice[unlogged-tables]: what would")
    );
    assert_eq!(skipped(), 1);
    let report = fs::read_to_string(trip.state().join("report.txt")).unwrap();
    assert!(report.contains("skipped"), "{report}");
    let again = trip.run(&["prepare", "--skip", "unlogged-tables"]);
    again.demand(0);
    assert_eq!(skipped(), 2);
    trip.run(&["prepare"]).demand(0);
    assert_eq!(skipped(), 2);
    trip.rollback();
}
