//! Link mode: the files of old get a second name in new.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::listing::{Moved, Pending, pending};
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
    let total = map.relations();
    let done = AtomicU64::new(0);
    let sum = Mutex::new(Moved::default());
    each(work.jobs, &map.folders, work.cancel, |folder| {
        let moved = link_folder(folder, work).map_err(|error| in_folder(error, folder))?;
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

fn link_folder(folder: &Folder, work: &Work<'_>) -> Result<Moved> {
    let pending = pending(folder)?;
    let mut moved = Moved::default();
    let kept = unlink_others(&pending)?;
    for (number, (new_name, old_name)) in pending.wanted.iter().enumerate() {
        if kept.contains(new_name.as_str()) {
            moved.kept += 1;
            continue;
        }
        if number % 1024 == 0 {
            work.cancel.check()?;
        }
        pending.new.link_from(&pending.old, old_name, new_name)?;
        moved.files += 1;
    }
    if moved.files > 0 || kept.len() < pending.present.len() {
        pending.new.sync()?;
    }
    Ok(moved)
}

/// Unlinks every name in new that is not the file it should be; returns those that are.
fn unlink_others(pending: &Pending) -> Result<std::collections::HashSet<&str>> {
    let mut kept = std::collections::HashSet::new();
    for name in &pending.present {
        let right = match (pending.wanted.get(name), pending.new.identity(name)?) {
            (Some(old_name), Some(there)) => there.same_file(&pending.old_identity(old_name)?),
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
