//! The last reading of a cluster that is in use, and what will show whether it is still true.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::fingerprint::{Fingerprint, fingerprint};
use super::read::{connect, read};
use super::snapshot::Snapshot;
use crate::error::{Code, Error, Remedy, Result};
use crate::pg::{FullXid, Lsn, control};
use crate::server::{Cancel, Client, Endpoint, in_each_database};

/// How often it is asked whether older transactions have ended.
const LOOK: Duration = Duration::from_millis(20);

/// How far the WAL is on disk.
const FLUSHED: &str = "SELECT pg_catalog.pg_current_wal_flush_lsn()";

/// How long one waits for the WAL writer; a checkpoint does its work, too.
const WAL_WRITER: Duration = Duration::from_secs(1);

/// The files of a catalog that hold its rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heap {
    /// The database; empty for a catalog that all share.
    pub database: String,
    /// Its name, or that of its toast table.
    pub name: String,
    /// Its first file, relative to the data directory.
    pub path: PathBuf,
}

/// A file that says where the catalogs are that no catalog can say it of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelationMap {
    /// Its path, relative to the data directory.
    pub path: PathBuf,
    /// A digest of its contents.
    pub digest: String,
}

/// What was noted before a cluster in use was read.
///
/// Every change of a catalog stamps its page with a WAL position, at the moment of the change
/// and not at that of the commit. So nothing has changed since the reading if no page has a
/// position after `begin`, unless one of the transactions of before had not ended: those are in
/// `open`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The end of the WAL, before anything was read.
    pub begin: Lsn,
    /// A transaction that began after that. Every later one stamps pages behind `begin`.
    pub xid: FullXid,
    /// Those before it that had not ended when the catalogs were read.
    pub open: Vec<FullXid>,
    /// Where the rows of the catalogs are.
    pub heaps: Vec<Heap>,
    /// Where the catalogs are.
    pub maps: Vec<RelationMap>,
}

/// A logical replication slot whose consumer has not read everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// The slot.
    pub slot: String,
    /// How many bytes of WAL it is behind.
    pub bytes: u64,
}

/// What a cluster in use held, and the mark it was read behind.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Slots that have not got when the reading ended to where the WAL was when it began.
    pub unread: Vec<Unread>,
    /// What was noted before.
    pub mark: Mark,
    /// What it holds.
    pub snapshot: Snapshot,
    /// What its schema is.
    pub fingerprint: Fingerprint,
}

/// Reads a cluster that is in use, in the order that lets the reading be confirmed later.
///
/// Everything is read twice. The first time sets the hint bits, and prunes, so that on a cluster
/// with checksums or `wal_log_hints`, where that stamps pages, the reading that counts stamps
/// none; the checkpoint before makes it happen once for each page. Then the catalogs' files are
/// listed: one that is replaced later is missing from the list, and the one that took its place
/// in it. Then the WAL position is noted, then a transaction ID is taken, and then one waits
/// until every transaction before that has ended, `patience` at most. Only now the catalogs are
/// read: a commit stamps no page, so what was written before the noted position must be committed,
/// or undone, before one looks.
///
/// # Errors
///
/// `Blocked` where there are prepared transactions.
pub fn read_in_use(
    server: &Endpoint,
    patience: Duration,
    jobs: usize,
    cancel: &Cancel,
) -> Result<Reading> {
    let mut client = connect(server)?;
    no_prepared_transactions(&mut client)?;
    let written = lsn(&value(&mut client, FLUSHED)?)?;
    client.run_script("CHECKPOINT")?;
    let databases = connectable(&mut client)?;
    fingerprint(server, &databases, jobs, cancel)?;
    let mark = mark(server, &mut client, &databases, patience, jobs, cancel)?;
    let snapshot = read(server, jobs, cancel)?;
    let fingerprint = fingerprint(server, &snapshot.connectable(), jobs, cancel)?;
    let listed: BTreeSet<&String> = databases.iter().collect();
    match snapshot.connectable().iter().find(|n| !listed.contains(n)) {
        None => Ok(Reading {
            unread: unread(&mut client, written)?,
            mark,
            snapshot,
            fingerprint,
        }),
        Some(name) => Err(Error::new(
            Code::Drift,
            "a database was made while the catalogs were read",
        )
        .fact("database", name)
        .remedy(Remedy::manual("prepare again"))),
    }
}

/// Notes what [`Mark`] holds; the caller reads the catalogs afterwards, never before.
fn mark(
    server: &Endpoint,
    client: &mut Client,
    databases: &[String],
    patience: Duration,
    jobs: usize,
    cancel: &Cancel,
) -> Result<Mark> {
    let heaps = heaps(server, client, databases, jobs, cancel)?;
    let maps = maps(&server.data_dir, &heaps)?;
    let begin = lsn(&value(
        client,
        "SELECT pg_catalog.pg_current_wal_insert_lsn()",
    )?)?;
    let xid = FullXid(number(&value(client, "SELECT pg_catalog.txid_current()")?)?);
    let open = wait(client, xid, patience, cancel)?;
    wait_until_durable(client, begin, cancel)?;
    Ok(Mark {
        begin,
        xid,
        open,
        heaps,
        maps,
    })
}

/// Waits until every transaction before this one has ended; gives those that have not.
///
/// Each look is a statement, and so a snapshot, of its own. A snapshot lists the transactions of
/// all databases, and with this one ended none before it can be missing from the list.
fn wait(
    client: &mut Client,
    xid: FullXid,
    patience: Duration,
    cancel: &Cancel,
) -> Result<Vec<FullXid>> {
    let started = Instant::now();
    let sql = "SELECT pg_catalog.txid_snapshot_xip(pg_catalog.txid_current_snapshot())";
    loop {
        let mut open = Vec::new();
        for text in client.text_rows(sql)?.into_iter().flatten().flatten() {
            let other = FullXid(number(&text)?);
            if other < xid {
                open.push(other);
            }
        }
        if open.is_empty() || started.elapsed() >= patience {
            return Ok(open);
        }
        cancel.check()?;
        std::thread::sleep(LOOK);
    }
}

fn unread(client: &mut Client, position: Lsn) -> Result<Vec<Unread>> {
    let rows = client.text_rows(&format!(
        "SELECT slot_name, pg_catalog.pg_wal_lsn_diff('{position}', confirmed_flush_lsn) \
         FROM pg_catalog.pg_replication_slots \
         WHERE slot_type = 'logical' AND NOT temporary AND confirmed_flush_lsn < '{position}' \
         ORDER BY slot_name"
    ))?;
    let mut unread = Vec::new();
    for row in rows {
        if let [Some(slot), Some(bytes)] = row.as_slice() {
            unread.push(Unread {
                slot: slot.clone(),
                bytes: number(bytes)?,
            });
        }
    }
    Ok(unread)
}

/// Waits until the WAL is on disk up to a position.
///
/// A server that crashed before could begin anew from an earlier position, and stamp with one
/// before the mark what it does then.
fn wait_until_durable(client: &mut Client, position: Lsn, cancel: &Cancel) -> Result<()> {
    let started = Instant::now();
    while lsn(&value(client, FLUSHED)?)? < position {
        if started.elapsed() >= WAL_WRITER {
            return client.run_script("CHECKPOINT");
        }
        cancel.check()?;
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// After the stop the files of prepared transactions are looked for once more.
fn no_prepared_transactions(client: &mut Client) -> Result<()> {
    let sql = "SELECT gid, database, owner FROM pg_catalog.pg_prepared_xacts ORDER BY prepared";
    let rows = client.text_rows(sql)?;
    if rows.is_empty() {
        return Ok(());
    }
    let error = Error::new(Code::Blocked, "the old cluster holds prepared transactions")
        .fact("prepared transactions", rows.len());
    let named = rows.into_iter().take(5).fold(error, |error, row| {
        let words: Vec<String> = row.into_iter().flatten().collect();
        error.fact("gid, database, owner", words.join(", "))
    });
    Err(named.remedy(Remedy::manual(
        "commit or roll back what pg_prepared_xacts lists, and run the cutover again",
    )))
}

fn connectable(client: &mut Client) -> Result<Vec<String>> {
    let sql = "SELECT datname FROM pg_catalog.pg_database \
               WHERE datallowconn AND datconnlimit <> -2 ORDER BY oid";
    Ok(client
        .text_rows(sql)?
        .into_iter()
        .flatten()
        .flatten()
        .collect())
}

/// Catalogs that are no part of a schema: `pg_largeobject`, whose file is data, and the
/// statistics, which ANALYZE writes; not `pg_statistic_ext`, which holds what users made.
const NOT_SCHEMA: &str = "2613, 2619, 3429";

/// A database that lets nobody in has none: to change it, its row in `pg_database` must change.
fn heaps(
    server: &Endpoint,
    client: &mut Client,
    databases: &[String],
    jobs: usize,
    cancel: &Cancel,
) -> Result<Vec<Heap>> {
    let mut heaps = heaps_here(client, "", true)?;
    let own = in_each_database(server, databases, jobs, cancel, |client, name| {
        heaps_here(client, name, false)
    })?;
    heaps.extend(own.into_iter().flatten());
    Ok(heaps)
}

fn heaps_here(client: &mut Client, database: &str, shared: bool) -> Result<Vec<Heap>> {
    let rows = client.text_rows(&format!(
        "SELECT COALESCE(m.relname, c.relname), pg_catalog.pg_relation_filepath(c.oid) \
         FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_class m ON m.reltoastrelid = c.oid \
         WHERE c.oid < 16384 AND c.relkind IN ('r', 't') AND c.relisshared = {shared} \
           AND c.oid NOT IN ({NOT_SCHEMA}) AND COALESCE(m.oid, 0) NOT IN ({NOT_SCHEMA}) \
         ORDER BY c.oid"
    ))?;
    let mut heaps = Vec::with_capacity(rows.len());
    for row in rows {
        if let [Some(name), Some(path)] = row.as_slice() {
            heaps.push(Heap {
                database: database.to_owned(),
                name: name.clone(),
                path: PathBuf::from(path),
            });
        }
    }
    Ok(heaps)
}

fn maps(data_dir: &Path, heaps: &[Heap]) -> Result<Vec<RelationMap>> {
    let folders: BTreeSet<&Path> = heaps.iter().filter_map(|heap| heap.path.parent()).collect();
    let mut maps = Vec::with_capacity(folders.len());
    for folder in folders {
        let path = folder.join("pg_filenode.map");
        let digest = control::fingerprint_file(&data_dir.join(&path))?;
        maps.push(RelationMap { path, digest });
    }
    Ok(maps)
}

fn value(client: &mut Client, sql: &str) -> Result<String> {
    let rows = client.text_rows(sql)?;
    let value = rows.into_iter().flatten().flatten().next();
    value.ok_or_else(|| Error::new(Code::Query, "a query gave nothing").fact("statement", sql))
}

fn number(text: &str) -> Result<u64> {
    text.parse().map_err(|_| unreadable(text))
}

fn lsn(text: &str) -> Result<Lsn> {
    let parsed = text.split_once('/').and_then(|(high, low)| {
        let high = u32::from_str_radix(high, 16).ok()?;
        let low = u32::from_str_radix(low, 16).ok()?;
        Some(Lsn((u64::from(high) << 32) | u64::from(low)))
    });
    parsed.ok_or_else(|| unreadable(text))
}

fn unreadable(text: &str) -> Error {
    Error::new(
        Code::Query,
        "the server printed a number in a way nobody knows",
    )
    .fact("text", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_printed() {
        for position in [Lsn(0), Lsn(0x1_0000_0028), Lsn(u64::MAX)] {
            assert_eq!(lsn(&position.to_string()).unwrap(), position);
        }
        for text in ["", "1", "x/0", "1/100000000"] {
            assert!(lsn(text).is_err(), "{text}");
        }
    }
}
