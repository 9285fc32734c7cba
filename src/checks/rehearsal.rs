//! The rehearsal: old's schema dumped as it will be, and restored where nothing depends on it.

use std::path::Path;

use super::trial::NewVersion;
use crate::catalog::Snapshot;
use crate::disk::{Area, Temporary, space, temporary};
use crate::error::{Code, Error, Remedy, Result};
use crate::event::{Found, Severity};
use crate::pg::DataDir;
use crate::pg::amount::{counted, size};
use crate::schema::{self, Dump, DumpFiles, Known, Restore, Unrestored};
use crate::server::{Cancel, Endpoint, Initdb, Postmaster, PostmasterSpec};

pub use crate::schema::REHEARSAL;

/// What `explain` prints.
pub const EXPLANATION: &str = "\
rehearsal (blocker)

check --rehearse dumps the schema of old with the programs of the new version, in binary-upgrade
mode as prepare does, and restores it into a throw-away cluster: what new does not take is found
before anything is built. A view over a column that new's catalogs no longer have, a default that
calls a function which is gone, an operator new cannot parse: no list of such things is complete,
so new itself is asked for everything there is.

Each object that new does not take is a finding with the server's message. Where an object only
fails because another one is missing, it is a notice that names the other one. Where prepare fails
over objects, it reports them in the same way before it undoes what it did.

Tablespaces are made within the throw-away cluster, so that old's locations are not touched: their
own owners, privileges and options are not tried, nor are settings of all roles together.

remedy:
change the object in old to one that new takes, or drop it, and check again
";

/// A cluster without databases of users, the WAL that is kept, and the dump of globals.
const CLUSTER_BYTES: u64 = 256 << 20;
/// A database without relations of users.
const DATABASE_BYTES: u64 = 10 << 20;
/// The rows and the empty file of a relation, the first page of an index, and their dump.
const RELATION_BYTES: u64 = 24 << 10;
/// Files of a cluster and of each database without relations of users.
const CLUSTER_FILES: u64 = 1500;
const DATABASE_FILES: u64 = 400;

/// What is rehearsed.
#[derive(Debug, Clone, Copy)]
pub struct Rehearsal<'a> {
    /// The old server, its operator's or a private one.
    pub old: &'a Endpoint,
    /// What it holds.
    pub snapshot: &'a Snapshot,
    /// The new version.
    pub new: &'a NewVersion,
    /// `max_locks_per_transaction` for the throw-away server.
    pub locks: u32,
    /// How many things are done at once.
    pub jobs: usize,
    /// The wish to stop.
    pub cancel: &'a Cancel,
}

/// How a rehearsal went.
#[derive(Debug, Clone, PartialEq)]
pub struct Rehearsed {
    /// What new does not take, and then what only follows from that.
    pub found: Vec<Found>,
    /// How many databases were restored.
    pub databases: u64,
    /// How many tables are in them.
    pub tables: u64,
}

/// Whoever wants to know how far a rehearsal is.
pub trait Watcher: Sync {
    /// So many of so many of these are done.
    fn progress(&self, unit: &'static str, done: u64, total: u64);
    /// Something is said.
    fn note(&self, text: &str);
}

impl Rehearsed {
    /// Whether new takes everything.
    pub fn passed(&self) -> bool {
        self.found.is_empty()
    }
}

impl std::fmt::Display for Rehearsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (databases, tables) = (
            counted(self.databases, "database"),
            counted(self.tables, "table"),
        );
        write!(f, "{databases}, {tables}, ")?;
        let own = self.found.iter();
        let own = own.filter(|one| one.severity == Severity::Blocker).count();
        match (own, self.found.len() - own) {
            (0, _) => f.write_str("nothing fails"),
            (1, 0) => f.write_str("1 object fails"),
            (1, more) => write!(f, "1 object fails, and {more} for want of it"),
            (own, 0) => write!(f, "{own} objects fail"),
            (own, more) => write!(f, "{own} objects fail, and {more} for want of them"),
        }
    }
}

impl Rehearsal<'_> {
    /// Dumps the schema, restores it in a temporary directory, and says what failed.
    ///
    /// Old is read as `prepare` reads it, and gives way to its users as `prepare` does.
    ///
    /// # Errors
    ///
    /// Where it could not be made: old could not be dumped, no new cluster could be made or
    /// served, there is too little space; a requested stop.
    pub fn run(&self, watcher: &dyn Watcher) -> Result<Rehearsed> {
        self.room()?;
        let place = temporary()?;
        let dumps = Area::new(&place.path().join("dump"))?;
        dumps.create_dir("", 0o700)?;
        let files = DumpFiles::new(dumps.root());
        let newer = self.dump(&files, watcher)?;
        let snapshot = newer.as_ref().unwrap_or(self.snapshot);
        let cluster = ThrowAway::make(place, self, snapshot)?;
        let mut failures = schema::stand_in_tablespaces(&cluster.server, &snapshot.tablespaces)?;
        let installation = &self.new.installation;
        let logs = &self.new.logs;
        let globals =
            schema::restore_globals(&cluster.server, installation, &files, logs, self.cancel);
        failures.extend(named(globals)?);
        let restored = Restore {
            new: &cluster.server,
            installation,
            files: &files,
            area: &dumps,
            logs,
            jobs: self.jobs,
            cancel: self.cancel,
            only: None,
        }
        .run(
            snapshot,
            &|done, total| watcher.progress("objects", done, total),
            &|text| watcher.note(text),
        );
        failures.extend(named(restored)?);
        cluster.server.stop()?;
        let failures = schema::arranged(failures);
        Ok(Rehearsed {
            found: failures.iter().map(schema::Failure::found).collect(),
            databases: snapshot.connectable().len() as u64,
            tables: snapshot.databases.iter().map(|one| one.tables).sum(),
        })
    }

    /// Without tablespaces: a statement that makes one names a directory of old. A server
    /// that others use is read once more meanwhile.
    fn dump(&self, files: &DumpFiles, watcher: &dyn Watcher) -> Result<Option<Snapshot>> {
        let work = Dump {
            old: self.old,
            new: &self.new.installation,
            files,
            tablespaces: false,
            logs: &self.new.logs,
            jobs: self.jobs,
            cancel: self.cancel,
        };
        let progress = |done, total| watcher.progress("databases", done, total);
        if self.old.private {
            schema::dump(&work, self.snapshot, &progress)?;
            return Ok(None);
        }
        let (dumped, _) = schema::dump_live(&work, &Known::default(), &progress)?;
        Ok(Some(dumped.snapshot))
    }

    /// There must be room for everything but the rows.
    fn room(&self) -> Result<()> {
        let place = std::env::temp_dir();
        let databases = self.snapshot.databases.len() as u64;
        let relations = self.snapshot.databases.iter();
        let relations: usize = relations.map(|database| database.relations.len()).sum();
        let relations = relations as u64;
        let bytes = CLUSTER_BYTES + databases * DATABASE_BYTES + relations * RELATION_BYTES;
        let files = CLUSTER_FILES + databases * DATABASE_FILES + relations;
        let free = space(&place)?;
        let too_small = |needed: String, free: String| {
            Error::new(
                Code::NoSpace,
                "there is too little space for a rehearsal",
            )
            .fact("file system of", place.display())
            .fact("needed", needed)
            .fact("free", free)
            .remedy(Remedy::manual(
                "set TMPDIR to a directory with more room: what is made there goes with the check",
            ))
        };
        if free.free_bytes < bytes {
            return Err(too_small(size(bytes), size(free.free_bytes)));
        }
        match free.free_inodes {
            Some(inodes) if inodes < files => {
                Err(too_small(counted(files, "inode"), counted(inodes, "inode")))
            }
            _ => Ok(()),
        }
    }
}

/// What new does not take; an error where that is not what failed.
fn named(tried: Result<(), Unrestored>) -> Result<Vec<schema::Failure>> {
    match tried {
        Ok(()) => Ok(Vec::new()),
        Err(unrestored) if unrestored.failures.is_empty() => Err(unrestored.error),
        Err(unrestored) => Ok(unrestored.failures),
    }
}

/// A cluster that is like the one `prepare` would make, and is private and thrown away.
struct ThrowAway {
    // In this order they end: server, files.
    server: Postmaster,
    _place: Temporary,
}

impl ThrowAway {
    fn make(place: Temporary, rehearsal: &Rehearsal<'_>, old: &Snapshot) -> Result<Self> {
        let NewVersion {
            installation,
            options,
            socket_parent,
            logs,
        } = rehearsal.new;
        let data_dir = place.path().join("data");
        initdb(old, &data_dir)?.run(
            installation,
            &logs.join("rehearsal-initdb.log"),
            rehearsal.cancel,
        )?;
        let data_dir = DataDir {
            config_dir: data_dir.clone(),
            path: data_dir,
            major: installation.version.major,
        };
        let mut spec = PostmasterSpec::for_new(
            installation,
            &data_dir,
            &old.install_user,
            &logs.join("rehearsal-server.log"),
            false,
            rehearsal.locks,
        );
        spec.set("max_wal_size", "64MB");
        spec.extra.clone_from(options);
        spec.socket_parent.clone_from(socket_parent);
        let server = Postmaster::start(&spec, rehearsal.cancel)?;
        Ok(Self {
            server,
            _place: place,
        })
    }
}

/// What takes space, and no part in the restore, is as small as it can be.
fn initdb<'a>(old: &'a Snapshot, data_dir: &'a Path) -> Result<Initdb<'a>> {
    Ok(Initdb {
        data_checksums: false,
        wal_segment_size: 1 << 20,
        group_access: false,
        ..schema::like_old(&old.settings, &old.install_user, data_dir)?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rehearsed(severities: &[Severity]) -> String {
        let found = severities.iter().map(|severity| Found {
            check: REHEARSAL.into(),
            severity: *severity,
            database: None,
            sentence: "s".into(),
            columns: Default::default(),
            facts: Vec::new(),
            remedy: None,
        });
        let rehearsed = Rehearsed {
            found: found.collect(),
            databases: 3,
            tables: 1,
        };
        assert_eq!(rehearsed.passed(), severities.is_empty());
        rehearsed.to_string()
    }

    #[test]
    fn what_fails_is_told_apart_from_what_follows() {
        let (own, more) = (Severity::Blocker, Severity::Notice);
        let head = "3 databases, 1 table, ";
        for (severities, clause) in [
            (&[][..], "nothing fails"),
            (&[own], "1 object fails"),
            (&[own, more], "1 object fails, and 1 for want of it"),
            (&[own, own], "2 objects fail"),
            (&[own, own, more], "2 objects fail, and 1 for want of them"),
        ] {
            assert_eq!(rehearsed(severities), format!("{head}{clause}"));
        }
    }
}
