//! Link mode: the files of old get a second name in new.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::listing::{Moved, Old, Pending, pending_of};
use super::{Work, in_folder};
use crate::error::Result;
use crate::plan::{FileMap, Folder};
use crate::work::each;

/// Makes new's directories hold exactly old's files of the relations moved.
///
/// A name that already is the right file is left alone, so that mending a few changes costs
/// a look at each name and no more. Directories that changed are synced, files need not be:
/// their contents are old's, and old was shut down.
pub fn link(map: &FileMap, work: &Work<'_>) -> Result<Moved> {
    link_all(map, work, Old::AtRest)
}

/// Makes first links beside a running old server, as many as can be made; [`link`] mends them
/// when it has stopped.
///
/// Both names lead to one file, so what the server writes or cuts off later is seen in both.
/// What it makes or removes later is not: new files of TRUNCATE, further segments, further
/// forks.
pub fn link_beside(map: &FileMap, work: &Work<'_>) -> Result<Moved> {
    link_all(map, work, Old::InUse)
}

fn link_all(map: &FileMap, work: &Work<'_>, old: Old) -> Result<Moved> {
    let total = map.relations();
    let done = AtomicU64::new(0);
    let sum = Mutex::new(Moved::default());
    each(work.jobs, &map.folders, work.cancel, |folder| {
        let moved = link_folder(folder, work, old).map_err(|error| in_folder(error, folder))?;
        sum.lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .add(moved);
        let count = folder.pairs.len() as u64;
        work.progress(
            "relations",
            done.fetch_add(count, Ordering::SeqCst) + count,
            total,
        );
        Ok(())
    })?;
    Ok(sum
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner))
}

fn link_folder(folder: &Folder, work: &Work<'_>, old: Old) -> Result<Moved> {
    let pending = pending_of(folder, old)?;
    let mut moved = Moved::default();
    let kept = unlink_others(&pending, old)?;
    for (number, (new_name, old_name)) in pending.wanted.iter().enumerate() {
        if kept.contains(new_name.as_str()) {
            moved.kept += 1;
            continue;
        }
        if number % 1024 == 0 {
            work.cancel.check()?;
        }
        let linked = match old {
            Old::AtRest => {
                pending.new.link_from(&pending.old, old_name, new_name)?;
                true
            }
            Old::InUse => pending
                .new
                .link_if_there(&pending.old, old_name, new_name)?,
        };
        moved.files += u64::from(linked);
    }
    // Also where nothing is left to do: who made the names may have been killed before this.
    pending.new.sync()?;
    Ok(moved)
}

/// Unlinks every name in new that is not the file it should be; returns those that are.
fn unlink_others(pending: &Pending, old: Old) -> Result<std::collections::HashSet<&str>> {
    let mut kept = std::collections::HashSet::new();
    for name in &pending.present {
        let right = match (pending.wanted.get(name), pending.new.identity(name)?) {
            (Some(old_name), Some(there)) => match old {
                Old::AtRest => there.same_file(&pending.old_identity(old_name)?),
                Old::InUse => {
                    (pending.old.identity(old_name)?).is_some_and(|of_old| there.same_file(&of_old))
                }
            },
            _ => false,
        };
        if right {
            kept.insert(name.as_str());
        } else {
            pending.new.unlink(name)?;
        }
    }
    Ok(kept)
}
