//! Where each field of `pg_control` lies, version by version.
//!
//! The file is a C structure as the compiler laid it out, so it is read field by field with
//! the alignment of each: a list of fields that differs by version says more than offsets.

use super::{ClusterState, ControlFile};
use crate::error::{Code, Error, Remedy, Result};
use crate::pg::{FullXid, Lsn, MultiXid, Oid, SystemIdentifier, Timeline, Xid};

/// `PG_CONTROL_VERSION` of the versions in which a field came or went.
const V10: u32 = 1002;
const V11: u32 = 1100;
const V12: u32 = 1201;
const V13: u32 = 1300;
const V17: u32 = 1700;
const V18: u32 = 1800;

/// `MOCK_AUTH_NONCE_LEN`.
const NONCE_LEN: usize = 32;

/// `FLOATFORMAT_VALUE`.
const FLOAT_FORMAT: f64 = 1_234_567.0;

pub(super) fn parse(bytes: &[u8]) -> Result<ControlFile> {
    let mut fields = Fields {
        bytes,
        at: 0,
        end: false,
    };
    let system_identifier = SystemIdentifier(fields.u64());
    let version = fields.u32();
    if fields.end {
        return Err(truncated(bytes));
    }
    if ![V10, V11, V12, V13, V17, V18].contains(&version) {
        return Err(unknown_version(version));
    }
    let parsed = rest(&mut fields, system_identifier, version);
    let crc = checksum(bytes, fields.at);
    let stored = fields.u32();
    if fields.end {
        return Err(truncated(bytes));
    }
    if crc != Some(stored) {
        return Err(damaged("its CRC does not match its contents"));
    }
    check(parsed)
}

/// Reads everything behind the version; past the end of the bytes it reads zeroes.
fn rest(fields: &mut Fields<'_>, id: SystemIdentifier, version: u32) -> (u32, ControlFile) {
    let catalog_version = fields.u32();
    let raw_state = fields.u32();
    let modified = fields.i64();
    let checkpoint_lsn = fields.lsn();
    if version < V11 {
        // The checkpoint before the last one.
        fields.lsn();
    }
    let redo = fields.lsn();
    let timeline = Timeline(fields.u32());
    let previous_timeline = Timeline(fields.u32());
    let full_page_writes = fields.bool();
    if version >= V17 {
        // wal_level at the checkpoint, in what was padding before.
        fields.u32();
    }
    let next_xid = if version < V12 {
        let epoch = fields.u32();
        FullXid::new(epoch, Xid(fields.u32()))
    } else {
        FullXid(fields.u64())
    };
    let control = ControlFile {
        system_identifier: id,
        control_version: version,
        catalog_version,
        state: ClusterState::StartingUp,
        modified,
        checkpoint_lsn,
        redo,
        timeline,
        previous_timeline,
        full_page_writes,
        next_xid,
        next_oid: Oid(fields.u32()),
        next_multi: MultiXid(fields.u32()),
        next_multi_offset: u64::from(fields.u32()),
        oldest_xid: Xid(fields.u32()),
        oldest_xid_db: Oid(fields.u32()),
        oldest_multi: MultiXid(fields.u32()),
        oldest_multi_db: Oid(fields.u32()),
        checkpoint_time: fields.i64(),
        oldest_commit_ts_xid: Xid(fields.u32()),
        newest_commit_ts_xid: Xid(fields.u32()),
        oldest_active_xid: Xid(fields.u32()),
        unlogged_lsn: {
            // The copy of the checkpoint ends at a multiple of its own alignment.
            fields.align(8);
            fields.lsn()
        },
        min_recovery_point: fields.lsn(),
        min_recovery_timeline: Timeline(fields.u32()),
        backup_start: fields.lsn(),
        backup_end: fields.lsn(),
        backup_end_required: fields.bool(),
        wal_level: fields.u32(),
        wal_log_hints: fields.bool(),
        max_connections: fields.u32(),
        max_worker_processes: fields.u32(),
        max_wal_senders: (version >= V12).then(|| fields.u32()),
        max_prepared_xacts: fields.u32(),
        max_locks_per_xact: fields.u32(),
        track_commit_timestamp: fields.bool(),
        max_align: fields.u32(),
        float_format_ok: fields.f64().to_bits() == FLOAT_FORMAT.to_bits(),
        block_size: fields.u32(),
        relseg_size: fields.u32(),
        wal_block_size: fields.u32(),
        wal_segment_size: fields.u32(),
        name_data_len: fields.u32(),
        index_max_keys: fields.u32(),
        toast_max_chunk_size: fields.u32(),
        lo_block_size: fields.u32(),
        float8_by_value: {
            if version < V13 {
                // How 4-byte floating-point numbers were passed, an option until 12.
                fields.bool();
            }
            fields.bool()
        },
        data_checksum_version: fields.u32(),
        char_signed: (version >= V18).then(|| fields.bool()),
    };
    fields.skip(NONCE_LEN);
    fields.align(4);
    (raw_state, control)
}

/// Refuses values that no server writes and that arithmetic elsewhere must not meet.
fn check((raw_state, mut control): (u32, ControlFile)) -> Result<ControlFile> {
    control.state = match raw_state {
        0 => ClusterState::StartingUp,
        1 => ClusterState::ShutDown,
        2 => ClusterState::ShutDownInRecovery,
        3 => ClusterState::ShuttingDown,
        4 => ClusterState::InCrashRecovery,
        5 => ClusterState::InArchiveRecovery,
        6 => ClusterState::InProduction,
        _ => return Err(damaged("it holds an unknown state")),
    };
    let size = control.wal_segment_size;
    if !size.is_power_of_two() || !(1 << 20..=1 << 30).contains(&size) {
        return Err(damaged("it holds an impossible WAL segment size"));
    }
    let block = control.block_size;
    if !block.is_power_of_two() || block > 32768 || control.relseg_size == 0 {
        return Err(damaged("it holds an impossible block or segment size"));
    }
    Ok(control)
}

fn checksum(bytes: &[u8], end: usize) -> Option<u32> {
    bytes.get(..end).map(crc32c::crc32c)
}

fn damaged(reason: &str) -> Error {
    Error::new(Code::ControlFile, format!("pg_control is damaged: {reason}")).remedy(
        Remedy::manual("Repair the cluster from a backup before any upgrade; pg_resetwal is a last resort that can lose data."),
    )
}

fn truncated(bytes: &[u8]) -> Error {
    damaged(&format!("it ends after {} bytes", bytes.len()))
}

fn unknown_version(version: u32) -> Error {
    let reason = if [V10, V11, V12, V13, V17, V18].contains(&version.swap_bytes()) {
        "pg_control was written by a machine with the other byte order"
    } else {
        "pg_control has a format this program does not know"
    };
    Error::new(Code::ControlFile, reason)
        .fact("pg_control version", version)
        .fact("known versions", "1002 to 1800 (PostgreSQL 10 to 18)")
        .remedy(Remedy::manual(
            "Make sure that the data directory belongs to a release of PostgreSQL 10 to 18, not to a beta, and to this kind of machine.",
        ))
}

/// Reads one field after the other, each at the next offset that fits its alignment.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Whether a field lay beyond the end.
    end: bool,
}

impl Fields<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn skip(&mut self, count: usize) {
        self.at += count;
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        self.align(N);
        let field = self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.first_chunk());
        self.end |= field.is_none();
        self.skip(N);
        field.copied().unwrap_or([0; N])
    }

    fn bool(&mut self) -> bool {
        self.take::<1>() != [0]
    }

    fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.take())
    }

    fn i64(&mut self) -> i64 {
        i64::from_ne_bytes(self.take())
    }

    fn f64(&mut self) -> f64 {
        f64::from_ne_bytes(self.take())
    }

    fn lsn(&mut self) -> Lsn {
        Lsn(self.u64())
    }
}
