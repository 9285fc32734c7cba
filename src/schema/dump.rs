//! The dump of the old cluster, made by the new installation's programs.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::catalog::{Database, Snapshot};
use crate::error::Result;
use crate::pg::Oid;
use crate::server::{Cancel, Endpoint, Installation, PgDump, PgDumpall};
use crate::work::each;

/// Where the parts of a dump lie.
#[derive(Debug, Clone)]
pub struct DumpFiles {
    dir: PathBuf,
}

impl DumpFiles {
    /// A dump in this directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Roles and tablespaces, as SQL.
    pub fn globals(&self) -> PathBuf {
        self.dir.join("globals.sql")
    }

    /// One database, in pg_dump's custom format.
    pub fn database(&self, oid: Oid) -> PathBuf {
        self.dir.join(format!("database-{oid}.dump"))
    }

    /// Where the lists and messages of a restore lie.
    pub(super) fn directory(&self) -> &Path {
        &self.dir
    }
}

/// What a dump works with.
pub struct Dump<'a> {
    /// The server that is dumped.
    pub old: &'a Endpoint,
    /// Whose programs dump it.
    pub new: &'a Installation,
    /// Where the parts go.
    pub files: &'a DumpFiles,
    /// Whether tablespaces are dumped, to be made where they are in old.
    pub tablespaces: bool,
    /// Where the messages of the programs go.
    pub logs: &'a Path,
    /// How many databases are dumped at once.
    pub jobs: usize,
    /// The request to stop.
    pub cancel: &'a Cancel,
}

/// Dumps roles, tablespaces if they are wanted, and the schema of every database that can be
/// connected to, of a server nobody else uses.
///
/// `progress` is told how many databases are done. Nothing here waits for the disk: the dump
/// is needed only until the restore, and a crash in between begins anew.
pub fn dump(
    work: &Dump<'_>,
    snapshot: &Snapshot,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<()> {
    let databases: Vec<_> = snapshot
        .databases
        .iter()
        .filter(|database| database.connectable())
        .collect();
    dump_globals(work, None)?;
    let done = AtomicU64::new(0);
    each(work.jobs, &databases, work.cancel, |database| {
        dump_database(work, database, None, work.cancel)?;
        progress(
            done.fetch_add(1, Ordering::SeqCst) + 1,
            databases.len() as u64,
        );
        Ok(())
    })
}

/// Dumps roles and, where they are wanted, tablespaces.
pub(super) fn dump_globals(work: &Dump<'_>, lock_wait_timeout: Option<Duration>) -> Result<()> {
    PgDumpall {
        conninfo: &work.old.conninfo("template1"),
        file: &work.files.globals(),
        tablespaces: work.tablespaces,
        lock_wait_timeout,
        password: !work.old.private,
        sync: false,
    }
    .run(work.new, &work.logs.join("pg_dumpall.log"), work.cancel)
}

/// Dumps the schema of one database, in an exported snapshot where one is given, and waiting
/// for no lock longer than is said with it.
pub(super) fn dump_database(
    work: &Dump<'_>,
    database: &Database,
    live: Option<(&str, Duration)>,
    cancel: &Cancel,
) -> Result<()> {
    PgDump {
        conninfo: &work.old.conninfo_of_dump(&database.name),
        database: &database.name,
        file: &work.files.database(database.oid),
        snapshot: live.map(|(snapshot, _)| snapshot),
        lock_wait_timeout: live.map(|(_, wait)| wait),
        statistics: false,
        // Where others are at work one may come between the reading and the dump.
        labels: database.labelled || !work.old.private,
        password: !work.old.private,
        sync: false,
    }
    .run(
        work.new,
        &work.logs.join(format!("pg_dump-{}.log", database.oid)),
        cancel,
    )
}
