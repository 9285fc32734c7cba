//! `global/pg_control`: what a cluster knows about itself.

mod layout;

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::page::PageLayout;
use super::quote::shell_path;
use super::{FullXid, Lsn, MultiXid, Oid, SystemIdentifier, Timeline, Xid};
use crate::error::{Code, Error, Remedy, Result};

/// How often a file that makes no sense is read once more.
const READ_AGAIN: u32 = 5;
/// `PG_DATA_CHECKSUM_VERSION`.
const WITH_CHECKSUMS: u32 = 1;

/// What a cluster was doing when its control file was last written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterState {
    /// Starting up.
    StartingUp,
    /// Shut down with a shutdown checkpoint.
    ShutDown,
    /// A standby, shut down.
    ShutDownInRecovery,
    /// In the middle of a shutdown.
    ShuttingDown,
    /// Replaying WAL after a crash.
    InCrashRecovery,
    /// Replaying WAL as a standby or from an archive.
    InArchiveRecovery,
    /// Serving, or crashed while serving.
    InProduction,
}

impl fmt::Display for ClusterState {
    /// The words of `pg_controldata`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StartingUp => "starting up",
            Self::ShutDown => "shut down",
            Self::ShutDownInRecovery => "shut down in recovery",
            Self::ShuttingDown => "shutting down",
            Self::InCrashRecovery => "in crash recovery",
            Self::InArchiveRecovery => "in archive recovery",
            Self::InProduction => "in production",
        })
    }
}

/// The contents of `global/pg_control` of PostgreSQL 10 to 18.
///
/// The nonce of failed authentications is not kept. Mirrors
/// `src/include/catalog/pg_control.h`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ControlFile {
    /// The number initdb gave to the cluster.
    pub system_identifier: SystemIdentifier,
    /// The format of the file: 1002 for PostgreSQL 10, 1800 for 18.
    pub control_version: u32,
    /// The version of the system catalogs.
    pub catalog_version: u32,
    /// What the cluster was doing.
    pub state: ClusterState,
    /// When the file was last written, in seconds since 1970.
    pub modified: i64,
    /// Where the last checkpoint's record begins.
    pub checkpoint_lsn: Lsn,
    /// Where replay from the last checkpoint begins.
    pub redo: Lsn,
    /// The timeline of the last checkpoint.
    pub timeline: Timeline,
    /// The timeline before it.
    pub previous_timeline: Timeline,
    /// Whether whole pages were written into the WAL at the last checkpoint.
    pub full_page_writes: bool,
    /// The next transaction ID.
    pub next_xid: FullXid,
    /// The next OID.
    pub next_oid: Oid,
    /// The next multixact ID.
    pub next_multi: MultiXid,
    /// The next offset into the multixact members; 32 bits on disk.
    pub next_multi_offset: u64,
    /// The smallest `datfrozenxid`.
    pub oldest_xid: Xid,
    /// The database that has it.
    pub oldest_xid_db: Oid,
    /// The smallest `datminmxid`.
    pub oldest_multi: MultiXid,
    /// The database that has it.
    pub oldest_multi_db: Oid,
    /// When the last checkpoint was made, in seconds since 1970.
    pub checkpoint_time: i64,
    /// The oldest transaction with a commit timestamp; 0 for none.
    pub oldest_commit_ts_xid: Xid,
    /// The newest transaction with a commit timestamp; 0 for none.
    pub newest_commit_ts_xid: Xid,
    /// The oldest transaction running at an online checkpoint; 0 for none.
    pub oldest_active_xid: Xid,
    /// The next invented LSN for pages of unlogged relations.
    pub unlogged_lsn: Lsn,
    /// How far replay must go before the cluster is consistent; 0 outside recovery.
    pub min_recovery_point: Lsn,
    /// The timeline of that position.
    pub min_recovery_timeline: Timeline,
    /// Where the base backup being recovered began; 0 for none.
    pub backup_start: Lsn,
    /// Where the base backup of a standby being recovered ended; 0 for none.
    pub backup_end: Lsn,
    /// Whether the end of a base backup must still be replayed.
    pub backup_end_required: bool,
    /// `wal_level`: 0 minimal, 1 replica, 2 logical.
    pub wal_level: u32,
    /// `wal_log_hints`.
    pub wal_log_hints: bool,
    /// `max_connections`.
    pub max_connections: u32,
    /// `max_worker_processes`.
    pub max_worker_processes: u32,
    /// `max_wal_senders`, from 12 on.
    pub max_wal_senders: Option<u32>,
    /// `max_prepared_transactions`.
    pub max_prepared_xacts: u32,
    /// `max_locks_per_transaction`.
    pub max_locks_per_xact: u32,
    /// `track_commit_timestamp`.
    pub track_commit_timestamp: bool,
    /// The alignment tuples need.
    pub max_align: u32,
    /// Whether floating-point numbers have the format of this machine.
    pub float_format_ok: bool,
    /// Bytes in a page.
    pub block_size: u32,
    /// Pages in a segment of a relation.
    pub relseg_size: u32,
    /// Bytes in a page of the WAL.
    pub wal_block_size: u32,
    /// Bytes in a WAL segment.
    pub wal_segment_size: u32,
    /// Bytes in a name, with the zero at its end.
    pub name_data_len: u32,
    /// Columns an index may have.
    pub index_max_keys: u32,
    /// Bytes in a piece of a toasted value.
    pub toast_max_chunk_size: u32,
    /// Bytes in a piece of a large object.
    pub lo_block_size: u32,
    /// Whether 8-byte values are passed by value.
    pub float8_by_value: bool,
    /// The version of the data checksums; 0 without checksums.
    pub data_checksum_version: u32,
    /// Whether `char` is signed where the cluster was made, from 18 on.
    pub char_signed: Option<bool>,
}

impl ControlFile {
    /// Decodes the bytes of the file and checks their CRC.
    ///
    /// # Errors
    ///
    /// `ControlFile`: too short, of an unknown version, damaged.
    pub fn parse(bytes: &[u8]) -> Result<ControlFile> {
        layout::parse(bytes)
    }

    /// Reads the control file of a data directory.
    ///
    /// # Errors
    ///
    /// `ControlFile`, also where the file is missing.
    pub fn read(datadir: &Path) -> Result<ControlFile> {
        Self::read_file(&in_datadir(datadir))
    }

    /// Reads a control file wherever it lies.
    ///
    /// # Errors
    ///
    /// `ControlFile`, also where the file is missing.
    pub fn read_file(path: &Path) -> Result<ControlFile> {
        let mut found = Self::parse(&read_bytes(path)?);
        // A server may be writing it at this moment.
        for _ in 0..READ_AGAIN {
            if found.is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
            found = Self::parse(&read_bytes(path)?);
        }
        found.map_err(|e| e.fact("control file", path.display()))
    }

    /// Whether the cluster ended as a primary with a shutdown checkpoint.
    pub fn cleanly_shut_down(&self) -> bool {
        self.state == ClusterState::ShutDown
    }

    /// Whether it has data checksums.
    pub fn data_checksums(&self) -> bool {
        self.data_checksum_version != 0
    }

    /// What pages and segments of its relations are like.
    pub fn page_layout(&self) -> PageLayout {
        PageLayout {
            block_size: self.block_size,
            segment_blocks: self.relseg_size,
        }
    }

    /// The same with checksums, as `pg_checksums --enable` would leave it.
    #[must_use]
    pub fn with_checksums(&self) -> ControlFile {
        ControlFile {
            data_checksum_version: WITH_CHECKSUMS,
            ..self.clone()
        }
    }

    /// What of the format, fixed by the build or by initdb, is different in the other cluster.
    ///
    /// Each as the name `pg_controldata` prints, the value here and the value there. The
    /// signedness of `char` is left out: it can be set with `pg_resetwal`, and no cluster
    /// before 18 records it. Mirrors `check_control_data` of `src/bin/pg_upgrade/controldata.c`.
    pub fn format_differences(&self, new: &ControlFile) -> Vec<(&'static str, String, String)> {
        let numbers = self.format().into_iter().zip(new.format());
        numbers
            .filter(|((_, old), (_, new))| old != new)
            .map(|((name, old), (_, new))| (name, old, new))
            .collect()
    }

    /// What shows that this is not a later state of the same cluster, but an earlier one or one
    /// of another history.
    ///
    /// Each as the name `pg_controldata` prints, the value here and the value then. A cluster
    /// that is used moves its counters and its WAL forward and never back, and only a recovery
    /// from a backup or a promotion begins a timeline. Multixacts go round in a circle, so a
    /// smaller number may be the later one. The next OID says nothing: a checkpoint of a running
    /// server counts those it has set aside, and the one of its shutdown does not.
    pub fn not_after(&self, then: &ControlFile) -> Vec<(&'static str, String, String)> {
        let xid = |xid: FullXid| format!("{}:{}", xid.epoch(), xid.xid());
        let found = [
            (
                self.timeline != then.timeline,
                "Latest checkpoint's TimeLineID",
                [self, then].map(|control| control.timeline.0.to_string()),
            ),
            (
                self.checkpoint_lsn < then.checkpoint_lsn,
                "Latest checkpoint location",
                [self, then].map(|control| control.checkpoint_lsn.to_string()),
            ),
            (
                self.next_xid < then.next_xid,
                "Latest checkpoint's NextXID",
                [self, then].map(|control| xid(control.next_xid)),
            ),
            (
                self.next_multi.precedes(then.next_multi),
                "Latest checkpoint's NextMultiXactId",
                [self, then].map(|control| control.next_multi.to_string()),
            ),
        ];
        found
            .into_iter()
            .filter(|(wrong, ..)| *wrong)
            .map(|(_, name, [now, then])| (name, now, then))
            .collect()
    }

    fn format(&self) -> [(&'static str, String); 12] {
        let float_format = if self.float_format_ok {
            "IEEE 754"
        } else {
            "another"
        };
        let passing = if self.float8_by_value {
            "by value"
        } else {
            "by reference"
        };
        [
            ("Maximum data alignment", self.max_align.to_string()),
            ("Floating-point format", float_format.to_owned()),
            ("Database block size", self.block_size.to_string()),
            (
                "Blocks per segment of large relation",
                self.relseg_size.to_string(),
            ),
            ("WAL block size", self.wal_block_size.to_string()),
            ("Bytes per WAL segment", self.wal_segment_size.to_string()),
            (
                "Maximum length of identifiers",
                self.name_data_len.to_string(),
            ),
            (
                "Maximum columns in an index",
                self.index_max_keys.to_string(),
            ),
            (
                "Maximum size of a TOAST chunk",
                self.toast_max_chunk_size.to_string(),
            ),
            (
                "Size of a large-object chunk",
                self.lo_block_size.to_string(),
            ),
            ("Float8 argument passing", passing.to_owned()),
            (
                "Data page checksum version",
                self.data_checksum_version.to_string(),
            ),
        ]
    }

    /// The name of the WAL file a new cluster has to begin with, on timeline 1.
    ///
    /// One segment behind that of the last checkpoint: in the same segment the new WAL would
    /// begin before positions that stand on pages of user relations.
    pub fn first_segment_after_checkpoint(&self) -> String {
        wal_file_name(
            Timeline(1),
            self.checkpoint_segment() + 1,
            self.wal_segment_size,
        )
    }

    /// The name of the WAL file the last checkpoint stands in.
    pub fn checkpoint_wal_file(&self) -> String {
        wal_file_name(
            self.timeline,
            self.checkpoint_segment(),
            self.wal_segment_size,
        )
    }

    fn checkpoint_segment(&self) -> u64 {
        self.checkpoint_lsn.0 / u64::from(self.wal_segment_size.max(1))
    }
}

/// A WAL file's name; mirrors `XLogFileName` of `src/include/access/xlog_internal.h`.
pub(super) fn wal_file_name(timeline: Timeline, segment: u64, segment_size: u32) -> String {
    let per_id = 0x1_0000_0000 / u64::from(segment_size.max(1));
    format!(
        "{:08X}{:08X}{:08X}",
        timeline.0,
        segment / per_id,
        segment % per_id
    )
}

/// Whether a name in `pg_wal` is that of a segment or of something made from one.
pub fn is_wal_file(name: &str) -> bool {
    name.get(..24)
        .is_some_and(|start| start.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// A digest of the raw control file, to see whether anybody started the cluster.
///
/// # Errors
///
/// `ControlFile` where the file cannot be read.
pub fn fingerprint(datadir: &Path) -> Result<String> {
    fingerprint_file(&in_datadir(datadir))
}

/// The same for a control file wherever it lies.
///
/// # Errors
///
/// `ControlFile` where the file cannot be read.
pub fn fingerprint_file(path: &Path) -> Result<String> {
    Ok(format!("{:x}", Sha256::digest(read_bytes(path)?)))
}

/// Where it lies in a data directory; without it no server starts there.
pub fn in_datadir(datadir: &Path) -> PathBuf {
    datadir.join("global/pg_control")
}

fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| {
        if e.kind() != ErrorKind::NotFound {
            return Error::io(Code::ControlFile, "read", path, &e).remedy(Remedy::manual(
                "Give the file back to the owner of the data directory.",
            ));
        }
        let error = Error::new(Code::ControlFile, format!("{} is missing", path.display()));
        let renamed = path.with_extension("old");
        if renamed.exists() {
            return error.fact("found instead", renamed.display()).remedy(Remedy::manual(format!(
                "An upgrade by link or by swap renamed it. Where its state directory is left, run pg_migrator rollback with it. By swap the files of this cluster were moved to the new one, and without them it must not be started. Only after an upgrade by link, and only where the new cluster was never started and never will be, may it be put back: mv {} {}",
                shell_path(&renamed),
                shell_path(path)
            )));
        }
        error.remedy(Remedy::manual("Bring the whole data directory back from a backup."))
    })
}

#[cfg(test)]
mod tests;
