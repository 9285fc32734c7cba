//! Pages and transaction status as this crate reads them from files, compared with what the
//! server and its extension pageinspect said.

// A test says what went wrong by failing there.
#![allow(clippy::unwrap_used)]

mod real_cluster;

use std::path::{Path, PathBuf};

use pg_migrator::pg::page::{self, PageHeader, heap_tuples};
use pg_migrator::pg::slru::{
    Position, XactStatus, member_position, offset_position, xact_position,
};
use pg_migrator::pg::{DataDir, Fork, MultiXid, RelFile, Xid};
use postgres::Client;
use real_cluster::Cluster;

const PAGE: usize = 8192;

const SETTINGS: &[&str] = &[
    "listen_addresses=",
    "autovacuum=off",
    "fsync=off",
    "jit=off",
];

/// What the server said before it was stopped.
struct Said {
    table: PathBuf,
    header: Vec<String>,
    tuples: Vec<[String; 5]>,
    committed: Xid,
    aborted: Xid,
    multi: MultiXid,
    members: Vec<String>,
}

fn text(client: &mut Client, query: &str) -> String {
    client.query_one(query, &[]).unwrap().get(0)
}

fn texts(client: &mut Client, query: &str) -> Vec<String> {
    let rows = client.query(query, &[]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Makes a table with rows 1 to 10 frozen, 11 not, 12 rolled back, 9 deleted and 10 locked.
fn work(client: &mut Client) -> (Xid, Xid) {
    for sql in [
        "CREATE EXTENSION pageinspect",
        "CREATE TABLE t WITH (fillfactor = 50) AS SELECT a FROM generate_series(1, 10) a",
        "VACUUM FREEZE t",
        "INSERT INTO t VALUES (11)",
        "BEGIN; INSERT INTO t VALUES (12); ROLLBACK",
        "DELETE FROM t WHERE a = 9",
        "BEGIN; SELECT FROM t WHERE a = 10 FOR KEY SHARE; SAVEPOINT s; UPDATE t SET a = a WHERE a = 10; COMMIT",
    ] {
        client.batch_execute(sql).unwrap();
    }
    let mut spend = |end: &str| {
        client.batch_execute("BEGIN").unwrap();
        let xid = text(client, "SELECT txid_current()::text").parse().unwrap();
        client.batch_execute(end).unwrap();
        Xid(xid)
    };
    (spend("COMMIT"), spend("ROLLBACK"))
}

fn ask(client: &mut Client, (committed, aborted): (Xid, Xid)) -> Said {
    let page = "get_raw_page('t', 0)";
    let header = texts(
        client,
        &format!(
            "SELECT value FROM page_header({page}) h, jsonb_each_text(to_jsonb(h)) WHERE key <> 'checksum' ORDER BY key COLLATE \"C\""
        ),
    );
    let query = format!(
        "SELECT lp::text, t_xmin::text, t_xmax::text, t_infomask::text, t_infomask2::text FROM heap_page_items({page}) i WHERE lp_flags = 1 ORDER BY i.lp"
    );
    let rows = client.query(&query, &[]).unwrap();
    let tuples = rows
        .iter()
        .map(|row| std::array::from_fn(|column| row.get(column)));
    let locked = "SELECT t_xmax::text FROM heap_page_items(get_raw_page('t', 0)) WHERE t_infomask & 6144 = 4096";
    let multi = text(client, locked);
    let members = format!("SELECT xid::text FROM pg_get_multixact_members('{multi}'::xid)");
    Said {
        table: PathBuf::from(text(client, "SELECT pg_relation_filepath('t')")),
        header,
        tuples: tuples.collect(),
        committed,
        aborted,
        multi: MultiXid(multi.parse().unwrap()),
        members: texts(client, &members),
    }
}

fn header_as_pageinspect(header: &PageHeader) -> Vec<String> {
    // In the alphabetical order of the names pageinspect gives them.
    vec![
        header.flags.to_string(),
        header.lower.to_string(),
        header.lsn.to_string(),
        header.page_size.to_string(),
        header.prune_xid.to_string(),
        header.special.to_string(),
        header.upper.to_string(),
        header.layout_version.to_string(),
    ]
}

fn rows_are_read(data: &Path, said: &Said) {
    let file = std::fs::read(data.join(&said.table)).unwrap();
    let page = &file[..PAGE];
    assert_eq!(
        header_as_pageinspect(&PageHeader::parse(page).unwrap()),
        said.header
    );
    let tuples: Vec<_> = heap_tuples(page)
        .map(|tuple| (tuple.number, tuple.header.unwrap()))
        .collect();
    let read: Vec<_> = tuples
        .iter()
        .map(|(number, header)| {
            [
                number.to_string(),
                header.xmin.to_string(),
                header.xmax.to_string(),
                header.infomask.to_string(),
                header.infomask2.to_string(),
            ]
        })
        .collect();
    assert_eq!(read, said.tuples);
    let frozen = tuples.iter().filter(|(_, header)| header.is_frozen());
    let frozen: Vec<_> = frozen.map(|(number, _)| *number).collect();
    assert_eq!(frozen, [1, 2, 3, 4, 5, 6, 7, 8]);
    let multis = tuples.iter().filter(|(_, header)| header.xmax_is_multi());
    assert_eq!(multis.map(|(number, _)| *number).collect::<Vec<_>>(), [10]);
}

fn byte(directory: PathBuf, position: Position) -> u8 {
    std::fs::read(directory.join(position.segment_name())).unwrap()[position.byte_in_segment()]
}

fn number(directory: PathBuf, position: Position) -> u32 {
    let bytes = std::fs::read(directory.join(position.segment_name())).unwrap();
    u32::from_ne_bytes(*bytes[position.byte_in_segment()..].first_chunk().unwrap())
}

fn transactions_are_read(dir: &DataDir, said: &Said) {
    let status = |xid| XactStatus::of(xid, byte(dir.path.join(dir.xact_dir()), xact_position(xid)));
    assert_eq!(status(said.committed), XactStatus::Committed);
    assert_eq!(status(said.aborted), XactStatus::Aborted);
    assert_eq!(status(Xid(said.aborted.0 + 100)), XactStatus::InProgress);

    let offsets = dir.path.join(dir.multixact_offsets_dir());
    let first = number(offsets, offset_position(said.multi));
    let members: Vec<_> = (first..)
        .take(said.members.len())
        .map(|offset| {
            number(
                dir.path.join(dir.multixact_members_dir()),
                member_position(offset),
            )
        })
        .map(|xid| xid.to_string())
        .collect();
    assert_eq!(members.len(), 2);
    assert_eq!(members, said.members);
}

/// Every page of every relation file, catalogs and indexes included.
fn no_page_has_a_fault(data: &Path) -> usize {
    let mut pages = 0;
    let files = walkdir::WalkDir::new(data.join("base")).into_iter();
    for entry in files.chain(walkdir::WalkDir::new(data.join("global"))) {
        let entry = entry.unwrap();
        let Some(file) = entry.file_name().to_str().and_then(RelFile::parse) else {
            continue;
        };
        if !entry.file_type().is_file() {
            continue;
        }
        assert!(Fork::ALL.contains(&file.fork) && file.segment == 0);
        let bytes = std::fs::read(entry.path()).unwrap();
        for (block, bytes) in (0u32..).zip(bytes.chunks(PAGE)) {
            let fault = page::fault(bytes, block, true);
            assert_eq!(fault, None, "block {block} of {}", entry.path().display());
            let moved = page::fault(bytes, block + 1, true);
            assert!(moved.is_some() || bytes.iter().all(|byte| *byte == 0));
            pages += 1;
        }
    }
    pages
}

fn compare(installation: &str) {
    let cluster = Cluster::create(installation, &["-k"]);
    let server = cluster.start(SETTINGS);
    let mut client = cluster.connect();
    let spent = work(&mut client);
    let said = ask(&mut client, spent);
    drop(client);
    drop(server);

    let dir = DataDir::resolve(&cluster.data()).unwrap();
    rows_are_read(&dir.path, &said);
    transactions_are_read(&dir, &said);
    assert!(no_page_has_a_fault(&dir.path) > 1000);
}

macro_rules! installations {
    ($($name:ident $installation:literal)*) => {
        $(
            #[test]
            fn $name() {
                compare($installation);
            }
        )*
    };
}

installations! {
    version_11 "old-11"
    version_14 "old-14"
    version_15 "old-15"
    version_17 "old-17"
    version_18 "old-18"
}
