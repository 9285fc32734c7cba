//! What will be done, decided once and frozen: pure functions of the facts and the options.
//!
//! A [`Plan`] is made before anything changes and stored in the state directory; every later
//! command of the same migration reads it back instead of deciding again.

mod downtime;
mod filemap;
mod horizons;
mod mode;
mod passage;
mod remaining;
mod space;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use downtime::{DiskSpeed, Downtime, Load, Place, ServerSpeed, downtime, usually_read_again};
pub use filemap::{FileMap, Folder, Pair, Places};
pub use horizons::Horizons;
pub use mode::Mode;
pub use passage::{Passage, decide};
pub use remaining::{Task, remaining, start_command};
pub use space::{Demand, Inventory, demands};

use crate::catalog::TemplateSettings;
use crate::pg::page::PageLayout;
use crate::pg::quote::shell_path;
use crate::pg::{PostmasterOpts, SystemIdentifier, Version};

/// The format of `plan.json` this release writes.
pub const FORMAT: u32 = 2;

/// How the new data directory was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// It does not exist yet.
    Absent,
    /// It exists and is empty: a mount point, for instance.
    Empty,
    /// It holds a fresh cluster that the user made.
    Adopted,
}

/// A tablespace of the old cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablespacePlace {
    /// Its OID, the same in both clusters.
    pub oid: crate::pg::Oid,
    /// Where its files lie in old: where its link leads, with a folder of each cluster's version
    /// in it, or old's folder in `pg_tblspc`.
    pub location: PathBuf,
    /// Whether each cluster has a folder of its own in `pg_tblspc` (`allow_in_place_tablespaces`).
    #[serde(default)]
    pub in_place: bool,
}

impl TablespacePlace {
    /// Where its files lie in the cluster of this data directory, old's or new's.
    pub fn location_in(&self, data_dir: &Path) -> PathBuf {
        match self.in_place {
            true => data_dir.join("pg_tblspc").join(self.oid.to_string()),
            false => self.location.clone(),
        }
    }
}

/// A server of the operator that was serving old when the plan was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WasRunning {
    /// The program and its arguments, which a later start repeats.
    pub opts: PostmasterOpts,
    /// The directory of its socket, or the address it listened on.
    pub host: PathBuf,
    /// Its port.
    pub port: u16,
}

/// The old cluster as the plan found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Old {
    /// Data directory, canonical.
    pub data_dir: PathBuf,
    /// Where postgresql.conf is; the data directory itself, or a directory like Debian's.
    pub config_dir: PathBuf,
    /// Programs of the installation.
    pub bindir: PathBuf,
    /// Version of the installation.
    pub version: Version,
    /// Catalog version of the cluster.
    pub catalog_version: u32,
    /// Number initdb gave it.
    pub system_identifier: SystemIdentifier,
    /// Port of the private server; names its socket.
    pub port: u16,
    /// Server options the user added with `-o`.
    pub options: Vec<String>,
    /// Its tablespaces.
    pub tablespaces: Vec<TablespacePlace>,
    /// Where pg_wal leads, if it is a symbolic link.
    pub wal_dir: Option<PathBuf>,
    /// Whether its own lock table is too small for the dump.
    pub raise_locks: bool,
    /// The server that was running in it, if one was.
    pub running: Option<WasRunning>,
}

/// The new cluster as it is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct New {
    /// Data directory, absolute.
    pub data_dir: PathBuf,
    /// Programs of the installation.
    pub bindir: PathBuf,
    /// Version of the installation.
    pub version: Version,
    /// Port of the private server; names its socket.
    pub port: u16,
    /// Server options the user added with `-O`.
    pub options: Vec<String>,
    /// How its directory was found.
    pub origin: Origin,
}

/// The frozen decisions of one migration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Format of this file.
    pub format: u32,
    /// Version of the program that made it.
    pub program: String,
    /// How files get to the new cluster.
    pub mode: Mode,
    /// The same by folders of old; what was written by an earlier release has none.
    #[serde(default)]
    pub passages: Vec<Passage>,
    /// How many things are done at once.
    pub jobs: usize,
    /// Whether what prepare starts has the least priority.
    pub nice: bool,
    /// How many bytes of a running old cluster are read in a second at most, for first copies.
    #[serde(default)]
    pub max_rate: Option<u64>,
    /// What old's pages are like, where they have no checksums and get them while they are copied.
    #[serde(default)]
    pub checksums: Option<PageLayout>,
    /// Where private sockets are made; the temporary directory if not given.
    pub socket_dir: Option<PathBuf>,
    /// The state directory.
    pub state_dir: PathBuf,
    /// The superuser with OID 10 of old, and so of new.
    pub install_user: String,
    /// Value of `max_locks_per_transaction` that the private servers are given.
    pub locks_per_transaction: u32,
    /// The old cluster.
    pub old: Old,
    /// The new cluster.
    pub new: New,
    /// What initdb must be told so that new is like old.
    pub template: TemplateSettings,
}

impl Plan {
    /// From so many relation files on, the lock table of a private old server is raised.
    ///
    /// The value goes into old's WAL, where a hot standby with a smaller one would stop at it
    /// after a rollback, so it is left alone while the default is large enough.
    pub const MANY_RELATIONS: u64 = 3000;

    /// The option by which later commands find this migration.
    pub fn named(&self) -> String {
        if default_state_dir(&self.new.data_dir) == self.state_dir {
            format!("-D {}", shell_path(&self.new.data_dir))
        } else {
            format!("--state-dir {}", shell_path(&self.state_dir))
        }
    }

    /// A command of this program on this migration, as it is typed.
    pub fn command(&self, words: &str) -> String {
        format!("pg_migrator {words} {}", self.named())
    }
}

/// `NEWDATADIR.migration`.
pub fn default_state_dir(new_data_dir: &Path) -> PathBuf {
    let mut path = new_data_dir.as_os_str().to_owned();
    path.push(".migration");
    PathBuf::from(path)
}

/// Default of `max_connections` plus the prepared transactions and auxiliary processes that
/// share the lock table; a private server has no more sessions than that.
const LOCK_SHARERS: u64 = 100;

/// `max_locks_per_transaction` that lets one transaction lock this many relations twice over.
///
/// The shared lock table holds this setting times the number of sessions allowed; pg_dump and
/// a restore in few transactions lock every relation of a database.
pub fn locks_per_transaction(relations: u64) -> u32 {
    const DEFAULT: u64 = 64;
    let wanted = relations.saturating_mul(2) / LOCK_SHARERS + DEFAULT;
    u32::try_from(wanted).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_table_holds_every_relation_twice() {
        assert_eq!(locks_per_transaction(0), 64);
        assert!(u64::from(locks_per_transaction(100_000)) * LOCK_SHARERS >= 200_000);
    }
}
