//! Counters and transaction status of old, given to a new cluster that is shut down.
//!
//! Two steps do this: before the restore, so that new's horizons and counters fit each other
//! while it is built, and again in the cutover with old's final values.

use super::Context;
use crate::error::{Code, Error, Result};
use crate::pg::{ControlFile, FullXid, MultiXid};
use crate::server::PgResetwal;
use crate::transfer::{self, StatusDirs};

/// The next numbers new must begin with.
struct Next {
    xid: FullXid,
    multi: MultiXid,
    member: u64,
}

/// What new has used of its own numbers by the time they are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Used {
    /// The transaction IDs of initdb, and no multixact.
    ByInitdb,
    /// Numbers that follow old's, for they were set to old's before.
    AfterOld,
}

/// New used transaction IDs of its own while it was built; on a quiet old cluster they are
/// ahead of old's. Whatever is in new's catalogs must not lie in the future.
///
/// Multixacts go round in a circle: the first one, which is a fresh cluster's next, is ahead of
/// every old cluster's that is more than half way round.
fn next(old: &ControlFile, new: &ControlFile, used: Used) -> Next {
    let later = used == Used::AfterOld && old.next_multi.precedes(new.next_multi);
    Next {
        xid: old.next_xid.max(new.next_xid),
        multi: if later {
            new.next_multi
        } else {
            old.next_multi
        },
        member: if later {
            new.next_multi_offset
        } else {
            old.next_multi_offset
        },
    }
}

/// Replaces new's transaction status by old's and sets all counters in one pg_resetwal.
///
/// The WAL position is the segment after old's last checkpoint: with that segment itself,
/// new's first LSNs would lie before LSNs on old's pages, and crash recovery would go wrong.
pub(super) fn carry(cx: &Context<'_>, used: Used, log: &str) -> Result<()> {
    let old = cx.old_control()?;
    let new = cx.new_control()?;
    let next = next(&old, &new, used);
    let area = cx.new_area()?;
    transfer::carry(
        &cx.plan.old.data_dir,
        &area,
        &StatusDirs {
            xid: (old.next_xid.xid(), next.xid.xid()),
            multi: (old.next_multi, next.multi),
            member: (old.next_multi_offset as u32, next.member as u32),
        },
    )?;
    cx.put_control_in_place()?;
    let ran = PgResetwal {
        next_xid: Some(next.xid),
        oldest_xid: Some(old.oldest_xid),
        commit_timestamps: Some((next.xid.xid(), next.xid.xid())),
        multixacts: Some((next.multi, old.oldest_multi)),
        next_multi_offset: Some(next.member),
        next_oid: Some(old.next_oid.max(new.next_oid)),
        next_wal_file: Some(old.first_segment_after_checkpoint()),
        char_signed: None,
    }
    .run(
        &cx.new_installation(),
        &cx.plan.new.data_dir,
        &cx.logs().join(log),
        cx.cancel,
    );
    cx.put_control_aside()?;
    ran?;
    confirm(&old, &cx.new_control()?, &next)
}

/// What pg_resetwal wrote must be what was asked for, and beyond everything old has written.
fn confirm(old: &ControlFile, new: &ControlFile, next: &Next) -> Result<()> {
    let right = new.next_xid == next.xid
        && new.next_multi == next.multi
        && new.next_multi_offset == next.member
        && new.oldest_xid == old.oldest_xid
        && new.oldest_multi == old.oldest_multi
        && new.next_oid >= old.next_oid
        && new.checkpoint_lsn > old.checkpoint_lsn;
    if right {
        return Ok(());
    }
    Err(Error::new(
        Code::HorizonWrong,
        "the counters of the new cluster are not what was set",
    )
    .fact(
        "next XID, wanted and found",
        format!("{}, {}", next.xid, new.next_xid),
    )
    .fact(
        "next multixact, wanted and found",
        format!("{}, {}", next.multi, new.next_multi),
    )
    .fact(
        "oldest XID, wanted and found",
        format!("{}, {}", old.oldest_xid, new.oldest_xid),
    )
    .fact(
        "checkpoint of old and new",
        format!("{}, {}", old.checkpoint_lsn, new.checkpoint_lsn),
    ))
}
