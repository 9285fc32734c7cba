//! Counters and transaction status of old, given to a new cluster that is shut down.
//!
//! Two steps do this: before the restore, so that new's horizons and counters fit each other
//! while it is built, and again in the cutover with old's final values.

use std::os::unix::fs::PermissionsExt;

use super::{Context, NEW_CONTROL};
use crate::disk::unsynced;
use crate::error::{Code, Error, Result};
use crate::pg::{ControlFile, FullXid, MajorVersion, MultiXid, control};
use crate::server::PgResetwal;
use crate::transfer::{self, StatusDirs};

/// What is replaced in new, besides its control file.
const REPLACED: [&str; 3] = ["pg_xact", "pg_multixact", "pg_wal"];
/// Where that is kept in the state directory, so that it can be put back.
const KEPT: &str = "before-carry";
/// Written last: where it is, the rest is whole.
const KEPT_CONTROL: &str = "before-carry/pg_control";
/// A data directory with nothing in it but what pg_resetwal reads and writes.
///
/// It lies in the state directory, so that new's control file need not lie in new meanwhile.
const SKELETON: &str = "resetwal";

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

/// What the transaction status of new is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// Old's files, when no server changes them.
    OfOld,
    /// Zeroes at the next numbers, beside a running old server: its files may hold the outcome
    /// of transactions behind those numbers, which new is about to use for its own. New has
    /// no row that asks for an earlier one.
    Blank,
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

/// Keeps what [`carry`] replaces; what is kept already stays what it is.
pub(super) fn keep(cx: &Context<'_>) -> Result<()> {
    cx.put_control_aside()?;
    if is_kept(cx)? {
        return Ok(());
    }
    transfer::keep(&cx.new_area()?, &REPLACED, &cx.state, KEPT)?;
    copy_control(cx, NEW_CONTROL, KEPT_CONTROL)
}

/// Whether everything was replaced since [`keep`]: the control file is the last.
pub(super) fn is_carried(cx: &Context<'_>) -> Result<bool> {
    if !is_kept(cx)? {
        return Ok(false);
    }
    let digest = |name| control::fingerprint_file(&cx.state.path(name)?);
    Ok(digest(KEPT_CONTROL)? != digest(NEW_CONTROL)?)
}

/// Puts back what was kept.
pub(super) fn give_back(cx: &Context<'_>) -> Result<()> {
    if is_kept(cx)? {
        // What is on its way would be taken for the newer one.
        cx.put_control_aside()?;
        transfer::give_back(&cx.state, KEPT, &REPLACED, &cx.new_area()?)?;
        copy_control(cx, KEPT_CONTROL, NEW_CONTROL)?;
    }
    forget(cx)
}

/// Removes what was kept, and what an interrupted [`carry`] left in the state directory.
pub(super) fn forget(cx: &Context<'_>) -> Result<()> {
    cx.state.remove_file(KEPT_CONTROL)?;
    cx.state.remove_tree(KEPT)?;
    tidy_up(cx)
}

/// Removes what pg_resetwal worked in.
pub(super) fn tidy_up(cx: &Context<'_>) -> Result<()> {
    cx.state.remove_tree(SKELETON)
}

fn is_kept(cx: &Context<'_>) -> Result<bool> {
    Ok(cx.state.path(KEPT_CONTROL)?.exists())
}

fn copy_control(cx: &Context<'_>, from: &str, to: &str) -> Result<()> {
    let path = cx.state.path(from)?;
    let unreadable = |e: &std::io::Error| Error::io(Code::NotReadable, "read", &path, e);
    let bytes = std::fs::read(&path).map_err(|e| unreadable(&e))?;
    let meta = std::fs::metadata(&path).map_err(|e| unreadable(&e))?;
    cx.state
        .write(to, &bytes, meta.permissions().mode() & 0o7777)
}

/// Replaces new's transaction status by old's and sets all counters in one pg_resetwal.
///
/// The WAL position is the segment after old's last checkpoint: with that segment itself,
/// new's first LSNs would lie before LSNs on old's pages, and crash recovery would go wrong.
/// New's control file stays aside, and is replaced when everything else is done.
pub(super) fn carry(cx: &Context<'_>, used: Used, status: Status, log: &str) -> Result<()> {
    cx.put_control_aside()?;
    let old = cx.old_control()?;
    let new = cx.new_control()?;
    let next = next(&old, &new, used);
    let area = cx.new_area()?;
    transfer::carry(
        (status == Status::OfOld).then_some(&cx.plan.old.data_dir),
        &area,
        &StatusDirs {
            xid: (old.next_xid.xid(), next.xid.xid()),
            multi: (old.next_multi, next.multi),
            member: (old.next_multi_offset as u32, next.member as u32),
        },
    )?;
    make_skeleton(cx)?;
    let skeleton = cx.state.path(SKELETON)?;
    // It syncs its files, but not the directories.
    unsynced(&skeleton);
    PgResetwal {
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
        &skeleton,
        &cx.logs().join(log),
        cx.cancel,
    )?;
    confirm(&old, &ControlFile::read(&skeleton)?, &next)?;
    let made = |name: &str| format!("{SKELETON}/{name}");
    transfer::replace_wal(&cx.state, &made("pg_wal"), &area)?;
    cx.state
        .rename(made("global/pg_control"), &cx.state, NEW_CONTROL)?;
    tidy_up(cx)
}

/// pg_resetwal gives its files the permissions of the directory it works in.
fn make_skeleton(cx: &Context<'_>) -> Result<()> {
    let new = &cx.plan.new;
    let mode = std::fs::metadata(&new.data_dir)
        .map_err(|e| Error::io(Code::NotReadable, "look at", &new.data_dir, &e))?
        .permissions()
        .mode()
        & 0o7777;
    cx.state.remove_tree(SKELETON)?;
    let summaries = (new.version.major >= MajorVersion(17)).then_some("pg_wal/summaries");
    let dirs = ["", "global", "pg_wal", "pg_wal/archive_status"];
    for dir in dirs.into_iter().chain(summaries) {
        cx.state.create_dir(format!("{SKELETON}/{dir}"), mode)?;
    }
    cx.state.copy_file(
        &new.data_dir.join("PG_VERSION"),
        format!("{SKELETON}/PG_VERSION"),
    )?;
    cx.state.copy_file(
        &cx.state.path(NEW_CONTROL)?,
        format!("{SKELETON}/global/pg_control"),
    )?;
    Ok(())
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
