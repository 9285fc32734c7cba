//! `verify --checksums` finds the pages that `pg_checksums --check` finds, and no others.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::trip::{Ran, bare, finish};
use support::{Cluster, as_server_user, cluster};

const PAGE: u64 = 8192;

/// File, block, what it bears, what it should bear: as both programs say it.
type Wrong = BTreeSet<(String, String, String, String)>;

fn verify(words: &[&str], data: &Path) -> Ran {
    let data = data.to_str().unwrap();
    finish(bare(&[&["verify", "--checksums"], words, &[data]].concat()))
}

/// What ours finds; `-d` or `-D` says which cluster it is.
fn found(side: &str, cluster: &Cluster) -> Wrong {
    let ran = verify(&["--json", "-j2", side], &cluster.data);
    let events: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let findings = events.iter().filter(|event| event["event"] == "finding");
    let wrong: Wrong = findings
        .map(|event| {
            assert_eq!(event["check"], "PGM-6005");
            let column = |name: &str| event["columns"][name].as_str().unwrap().to_owned();
            let stored = column("stored");
            (column("file"), column("block"), stored, column("computed"))
        })
        .collect();
    ran.demand(if wrong.is_empty() { 0 } else { 3 });
    wrong
}

/// What theirs finds.
fn found_by_peer(cluster: &Cluster) -> Wrong {
    let output = Command::new(cluster.bindir.join("pg_checksums"))
        .args(["--check", "-D"])
        .arg(&cluster.data)
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let wrong = said.lines().filter_map(|line| {
        let (_, rest) = line.split_once("checksum verification failed in file \"")?;
        let (file, rest) = rest.split_once("\", block ")?;
        let (block, rest) = rest.split_once(": calculated checksum ")?;
        let (computed, stored) = rest.split_once(" but block contains ")?;
        Some([file, block, stored, computed].map(str::to_owned))
    });
    let wrong: Wrong = wrong.map(|[a, b, c, d]| (a, b, c, d)).collect();
    assert_eq!(output.status.success(), wrong.is_empty(), "{said}");
    wrong
}

/// A table of some pages with an index and a map, in a tablespace; gives back the main file.
fn fill(cluster: &Cluster) -> PathBuf {
    let space = cluster.scratch().join("space");
    fs::create_dir(&space).unwrap();
    let server = cluster.start();
    let location = space.display();
    server.sql(
        "postgres",
        &format!("CREATE TABLESPACE space LOCATION '{location}'"),
    );
    server.sql(
        "postgres",
        "CREATE TABLE t (id int PRIMARY KEY, body text) TABLESPACE space;
         INSERT INTO t SELECT n, repeat('x', 200) FROM generate_series(1, 5000) n;
         CREATE UNLOGGED TABLE u (id int)",
    );
    server.sql("postgres", "VACUUM t");
    let row = server
        .connect("postgres")
        .query_one("SELECT pg_relation_filepath('t')", &[])
        .unwrap();
    let path: String = row.get(0);
    server.stop();
    cluster.data.join(path)
}

fn write_at(file: &Path, at: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(file).unwrap();
    file.write_all_at(bytes, at).unwrap();
}

fn agree(side: &str, cluster: &Cluster, wrong: usize) -> Wrong {
    let ours = found(side, cluster);
    assert_eq!(ours, found_by_peer(cluster));
    assert_eq!(ours.len(), wrong, "{ours:?}");
    ours
}

fn every_page_is_checked(side: &str, cluster: &Cluster) {
    let table = fill(cluster);
    agree(side, cluster, 0);

    // Rows that changed, a page in the place of another, a map, a catalog.
    write_at(&table, 3 * PAGE + 5000, b"what nobody wrote");
    let pages = fs::read(&table).unwrap();
    let sixth = &pages[6 * PAGE as usize..7 * PAGE as usize];
    write_at(&table, 7 * PAGE, sixth);
    let map = PathBuf::from(format!("{}_fsm", table.display()));
    write_at(&map, PAGE - 1, &[0x77]);
    let catalog = cluster.data.join("global/1262");
    write_at(&catalog, PAGE - 1, &[0x77]);
    let named = agree(side, cluster, 4);
    let blocks = |file: &Path| -> Vec<String> {
        let of = named.iter().filter(|one| Path::new(&one.0).ends_with(file));
        of.map(|one| one.1.clone()).collect()
    };
    assert_eq!(blocks(Path::new(table.file_name().unwrap())), ["3", "7"]);
    let text = verify(&[side], &cluster.data);
    text.refused(3, "PGM-6005", &["4 pages are not as written", "block 3: "]);

    // Pages that were never used have no checksum, wherever they are.
    write_at(&table, 3 * PAGE, &[0; PAGE as usize]);
    write_at(&table, 7 * PAGE, &[0; PAGE as usize]);
    let length = fs::metadata(&table).unwrap().len();
    write_at(&table, length, &[0; 2 * PAGE as usize]);
    // Temporary files and the caches of catalogs have no pages.
    for name in ["base/pgsql_tmp", "base/5/pg_internal.init.77"] {
        fs::write(cluster.data.join(name), "no page").unwrap();
    }
    agree(side, cluster, 2);

    write_at(&table, length + 2 * PAGE, b"the beginning of a page");
    let torn = verify(&[side], &cluster.data);
    torn.refused(
        3,
        "PGM-6005",
        &["3 pages", "ends within it, after 23 bytes"],
    );
}

#[test]
fn pages_of_old_are_checked_as_by_its_own_program() {
    as_server_user("pages_of_old_are_checked_as_by_its_own_program", || {
        every_page_is_checked("-d", &cluster("full-15.18", &["--data-checksums"]));
    });
}

#[test]
fn pages_of_new_are_checked_as_by_its_own_program() {
    as_server_user("pages_of_new_are_checked_as_by_its_own_program", || {
        every_page_is_checked("-D", &cluster("new-18", &["--data-checksums"]));
    });
}

#[test]
fn a_cluster_without_checksums_or_in_use_is_told() {
    as_server_user("a_cluster_without_checksums_or_in_use_is_told", || {
        let plain = cluster("old-15", &[]);
        let said = ["no data checksums", plain.data.to_str().unwrap()];
        verify(&["-d"], &plain.data).refused(4, "PGM-1304", &said);
        let used = cluster("new-18", &["--data-checksums"]);
        let server = used.start();
        verify(&["-D"], &used.data).refused(4, "PGM-1204", &[&server.pid().to_string()]);
        verify(&["-d"], &used.data).refused(4, "PGM-1203", &["writes pages"]);
        server.crash();
        verify(&["-D"], &used.data).refused(4, "PGM-1303", &["not shut down cleanly"]);
        finish(bare(&["verify", "--checksums"])).refused(2, "PGM-1001", &["whose pages"]);
        assert_eq!(finish(bare(&["verify", "-d", "/nowhere"])).code, 2);
        for name in ["PGDATAOLD", "PGDATANEW"] {
            let mut command = bare(&["verify", "--checksums"]);
            command.env(name, &plain.data);
            finish(command).refused(4, "PGM-1304", &said);
        }
        // Without --checksums it names nothing that would be looked at.
        let mut command = bare(&["verify", "-D", "/nowhere"]);
        command.env("PGDATAOLD", &plain.data);
        finish(command).refused(4, "PGM-2001", &["/nowhere.migration"]);
    });
}
