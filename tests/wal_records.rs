//! Records of real WAL, of every version, and as pg_waldump sees them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

use pg_migrator::pg::wal::{Beyond, Block, Kind, Layout, Reader, RelationFile};
use pg_migrator::pg::{ControlFile, Lsn, Oid, RelFileNumber};
use support::{Cluster, as_server_user, bindir, cluster};

/// With these the WAL holds what it can hold: compressed images, commit timestamps, what logical
/// decoding needs.
const RICH: &[&str] = &[
    "autovacuum=off",
    "wal_level=logical",
    "wal_log_hints=on",
    "wal_compression=on",
    "track_commit_timestamp=on",
    "max_prepared_transactions=5",
    "max_wal_size=4GB",
];

/// A piece for each kind of record; CHECKPOINTs in between bring images of whole pages.
const WORK: &[&str] = &[
    "CREATE TABLE item (id serial PRIMARY KEY, name text, tags int[], place point)",
    "INSERT INTO item (name, tags, place) \
     SELECT 'item ' || n, ARRAY[n % 7, n % 11], point(n, n) FROM generate_series(1, 5000) n",
    "CREATE INDEX ON item USING hash (name)",
    "CREATE INDEX ON item USING gin (tags)",
    "CREATE INDEX ON item USING gist (place)",
    "CREATE INDEX ON item USING spgist (name)",
    "CREATE INDEX ON item USING brin (id)",
    "CREATE INDEX CONCURRENTLY ON item (name)",
    "CREATE TABLE long (id int, words text)",
    "ALTER TABLE long ALTER words SET STORAGE EXTERNAL",
    "INSERT INTO long SELECT n, repeat(md5(n::text), 3000) FROM generate_series(1, 20) n",
    "CREATE UNLOGGED TABLE passing AS SELECT 1 AS one",
    "CREATE MATERIALIZED VIEW seen AS SELECT * FROM item",
    "CHECKPOINT",
    "UPDATE item SET name = upper(name), place = point(0, id) WHERE id % 3 = 0",
    "DELETE FROM item WHERE id % 5 = 0",
    "VACUUM (FREEZE, ANALYZE) item",
    "VACUUM FREEZE",
    "CHECKPOINT",
    "INSERT INTO item (name, tags) SELECT 'more', ARRAY[n] FROM generate_series(1, 3000) n",
    "DELETE FROM item",
    "CHECKPOINT",
    "SELECT count(*) FROM item",
    "VACUUM",
    "VACUUM FULL long",
    "BEGIN; SAVEPOINT one; INSERT INTO long VALUES (1); SAVEPOINT two; \
     INSERT INTO long VALUES (2); RELEASE two; ROLLBACK TO one; INSERT INTO long VALUES (3); COMMIT",
    "BEGIN; SELECT * FROM long FOR SHARE; UPDATE long SET id = id + 1; ROLLBACK",
    "BEGIN; INSERT INTO long VALUES (7); PREPARE TRANSACTION 'gift'",
    "COMMIT PREPARED 'gift'",
    "SELECT pg_logical_emit_message(true, 'prefix', repeat('contents', 4000))",
    "SELECT pg_replication_origin_create('elsewhere')",
    "SELECT pg_replication_origin_session_setup('elsewhere'); \
     INSERT INTO long SELECT n FROM generate_series(1, 10) n",
    "SELECT lo_from_bytea(0, 'picture'::bytea)",
    "TRUNCATE long",
    "REINDEX TABLE item",
    "CREATE DATABASE other",
    "DROP DATABASE other",
    "SELECT pg_switch_wal()",
    "INSERT INTO item (name) SELECT repeat('x', 2000) FROM generate_series(1, 200)",
    "BEGIN; INSERT INTO item (name) VALUES ('never'); ROLLBACK",
    "DROP TABLE item CASCADE",
];

#[derive(Debug, PartialEq)]
struct Seen {
    start: Lsn,
    length: usize,
    kind: Kind,
    blocks: Vec<Block>,
    beyond: Beyond,
}

/// Works, stops, and reads everything from the shutdown checkpoint before to that after.
fn worked(cluster: &Cluster, keep: &str) -> (Lsn, Vec<Seen>) {
    let before = ControlFile::read(&cluster.data).unwrap().checkpoint_lsn;
    let server = cluster.start_with(&[RICH, &[keep]].concat());
    for work in WORK {
        server.sql("postgres", work);
    }
    server.stop();
    (before, read(cluster, before))
}

fn read(cluster: &Cluster, from: Lsn) -> Vec<Seen> {
    let control = ControlFile::read(&cluster.data).unwrap();
    let layout = Layout::of(&control).unwrap();
    let mut reader = Reader::new(layout, from, control.checkpoint_lsn);
    let mut page = vec![0; layout.page_size as usize];
    let mut seen = Vec::new();
    while let Some(at) = reader.wanted() {
        let path = cluster.data.join("pg_wal").join(layout.file_name(at));
        let file = File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        file.read_exact_at(&mut page, layout.in_segment(at))
            .unwrap();
        let read = reader.read(&page, |record| {
            seen.push(Seen {
                start: record.start,
                length: record.length,
                kind: record.kind(),
                blocks: record.blocks.to_vec(),
                beyond: record.beyond(),
            });
        });
        read.unwrap_or_else(|fault| panic!("{fault}"));
    }
    seen
}

/// One line: `rmgr: Heap len (rec/tot): 54/ 54, tx: 734, lsn: 0/0149, prev 0/0149, desc: ...`.
fn parse(line: &str) -> Seen {
    let between = |from: &str, to: &str| {
        let rest = &line[line.find(from).unwrap() + from.len()..];
        rest[..rest.find(to).unwrap_or(rest.len())]
            .trim()
            .to_owned()
    };
    let (high, low) = {
        let lsn = between(" lsn: ", ",");
        let (high, low) = lsn.split_once('/').unwrap();
        let part = |text| u64::from_str_radix(text, 16).unwrap();
        (part(high), part(low))
    };
    let lengths = between("(rec/tot):", ",");
    let (_, length) = lengths.split_once('/').unwrap();
    let manager = between("rmgr: ", " len");
    let name = between("desc: ", " ");
    Seen {
        start: Lsn((high << 32) | low),
        length: length.trim().parse().unwrap(),
        kind: kind(&manager, name.trim_end_matches(':')),
        blocks: line.split("blkref #").skip(1).map(block).collect(),
        beyond: beyond(&manager, name.trim_end_matches(':'), line),
    }
}

/// What is made or cut has its path behind the name of the record: `CREATE base/5/16384_vm`.
fn beyond(manager: &str, name: &str, line: &str) -> Beyond {
    match (manager, name) {
        ("Storage", _) => {
            let desc = &line[line.find("desc: ").unwrap()..];
            let path = desc.split(' ').nth(2).unwrap();
            let file = path.split('_').next().unwrap();
            Beyond::Whole(RelationFile::at(file.as_ref()).unwrap())
        }
        ("Database" | "Tablespace", _)
        | (
            "XLOG",
            "CHECKPOINT_SHUTDOWN"
            | "PARAMETER_CHANGE"
            | "FPW_CHANGE"
            | "END_OF_RECOVERY"
            | "OVERWRITE_CONTRECORD",
        ) => Beyond::Unknown,
        _ => Beyond::Nothing,
    }
}

fn kind(manager: &str, name: &str) -> Kind {
    match (manager, name) {
        (
            "Heap2",
            "PRUNE"
            | "VACUUM"
            | "FREEZE_PAGE"
            | "PRUNE_ON_ACCESS"
            | "PRUNE_VACUUM_SCAN"
            | "PRUNE_VACUUM_CLEANUP",
        ) => Kind::Prune,
        ("Heap2", "VISIBLE") => Kind::Visible,
        ("Heap2", "LOCK_UPDATED") | ("Heap", "LOCK") => Kind::Lock,
        ("Heap", "INPLACE") => Kind::InPlace,
        ("XLOG", "FPI_FOR_HINT") => Kind::Hint,
        _ => Kind::Other,
    }
}

/// `0: rel 1663/5/1259 fork fsm blk 2 FPW`.
fn block(text: &str) -> Block {
    let words: Vec<&str> = text.split([' ', ',']).collect();
    let after = |word: &str| {
        let at = words.iter().position(|found| *found == word)?;
        words.get(at + 1).copied()
    };
    let parts: Vec<u32> = after("rel")
        .unwrap()
        .split('/')
        .map(|part| part.parse().unwrap())
        .collect();
    Block {
        relation: RelationFile {
            tablespace: Oid(parts[0]),
            database: Oid(parts[1]),
            number: RelFileNumber(parts[2]),
        },
        main: after("fork").is_none(),
        number: after("blk").unwrap().parse().unwrap(),
    }
}

fn dumped(cluster: &Cluster, waldump: &str, from: Lsn) -> Vec<Seen> {
    let end = ControlFile::read(&cluster.data).unwrap().checkpoint_lsn;
    let output = Command::new(bindir(waldump).join("pg_waldump"))
        .arg("-p")
        .arg(cluster.data.join("pg_wal"))
        .args(["-s", &from.to_string(), "-e", &end.to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let seen: Vec<Seen> = said
        .lines()
        .filter(|line| line.starts_with("rmgr: "))
        .map(parse)
        .filter(|seen| seen.start < end)
        .collect();
    assert!(
        !seen.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    seen
}

#[test]
fn every_version_is_read_from_checkpoint_to_checkpoint() {
    as_server_user(
        "every_version_is_read_from_checkpoint_to_checkpoint",
        || {
            for major in 10..=18 {
                let keep = match major {
                    ..=12 => "wal_keep_segments=100",
                    _ => "wal_keep_size=2GB",
                };
                let cluster = cluster(&format!("old-{major}"), &[]);
                let (from, seen) = worked(&cluster, keep);
                assert!(seen.len() > 10_000, "{major}: {} records", seen.len());
                for kind in [
                    Kind::Prune,
                    Kind::Visible,
                    Kind::Lock,
                    Kind::InPlace,
                    Kind::Hint,
                    Kind::Other,
                ] {
                    assert!(
                        seen.iter().any(|seen| seen.kind == kind),
                        "{major}: {kind:?}"
                    );
                }
                let made = |seen: &&Seen| matches!(seen.beyond, Beyond::Whole(_));
                assert!(seen.iter().filter(made).count() > 10, "{major}");
                assert!(seen.iter().any(|seen| seen.beyond == Beyond::Unknown));
                let waldump = match major {
                    15 => "full-15.18",
                    16 => "new-16",
                    17 => "new-17",
                    18 => "new-18",
                    _ => continue,
                };
                let dumped = dumped(&cluster, waldump, from);
                for (ours, theirs) in seen.iter().zip(&dumped) {
                    assert_eq!(ours, theirs, "{major}");
                }
                assert_eq!(seen.len(), dumped.len(), "{major}");
            }
        },
    );
}
