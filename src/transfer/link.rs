//! Link mode: the files of old get a second name in new.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::listing::{Moved, Name, Old, Pending, Wanted, pending_of};
use super::{Work, in_folder};
use crate::error::Result;
use crate::pg::RelFile;
use crate::plan::{FileMap, Folder};
use crate::work::each;

/// What was found right in a folder, and what was changed in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mended {
    /// Files that had their place already.
    pub kept: u64,
    /// Names that are gone.
    pub removed: Vec<RelFile>,
    /// Names that were made, each with the file of old it stands for.
    pub made: Vec<(RelFile, RelFile)>,
}

/// Makes new's directories hold exactly old's files of the relations moved; says what was done
/// in each folder of the map.
///
/// A name that already is the right file is left alone, so that mending a few changes costs
/// two listings and no more. Directories that changed are synced, files need not be:
/// their contents are old's, and old was shut down.
pub fn link(map: &FileMap, work: &Work<'_>) -> Result<Vec<Mended>> {
    link_all(map, work, Old::AtRest)
}

/// Makes first links beside a running old server, as many as can be made; [`link`] mends them
/// when it has stopped.
///
/// Both names lead to one file, so what the server writes or cuts off later is seen in both.
/// What it makes or removes later is not: new files of TRUNCATE, further segments, further
/// forks.
pub fn link_beside(map: &FileMap, work: &Work<'_>) -> Result<Vec<Mended>> {
    link_all(map, work, Old::InUse)
}

/// How many files were kept and made in all folders.
pub fn sum(folders: &[Mended]) -> Moved {
    let mut sum = Moved::default();
    for mended in folders {
        sum.add(Moved {
            files: mended.made.len() as u64,
            kept: mended.kept,
            bytes: 0,
        });
    }
    sum
}

fn link_all(map: &FileMap, work: &Work<'_>, old: Old) -> Result<Vec<Mended>> {
    let total = map.relations();
    let done = AtomicU64::new(0);
    let places: Vec<(&Folder, Mutex<Mended>)> = map
        .folders
        .iter()
        .map(|folder| (folder, Mutex::default()))
        .collect();
    each(work.jobs, &places, work.cancel, |(folder, mended)| {
        let did = link_folder(folder, work, old).map_err(|error| in_folder(error, folder))?;
        *mended
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = did;
        let count = folder.pairs.len() as u64;
        work.progress(
            "relations",
            done.fetch_add(count, Ordering::SeqCst) + count,
            total,
        );
        Ok(())
    })?;
    Ok(places
        .into_iter()
        .map(|(_, mended)| {
            mended
                .into_inner()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        })
        .collect())
}

fn link_folder(folder: &Folder, work: &Work<'_>, old: Old) -> Result<Mended> {
    let pending = pending_of(folder, old)?;
    let mut mended = Mended::default();
    for (number, wanted) in unlink_others(&pending, &mut mended)?.iter().enumerate() {
        if number % 1024 == 0 {
            work.cancel.check()?;
        }
        let (of_old, of_new) = (wanted.old.file_name(), wanted.new.file_name());
        let linked = match old {
            Old::AtRest => {
                pending.new.link_from(&pending.old, of_old, of_new)?;
                true
            }
            Old::InUse => pending.new.link_if_there(&pending.old, of_old, of_new)?,
        };
        if linked {
            mended.made.push((wanted.new, wanted.old));
        }
    }
    // Also where nothing is left to do: who made the names may have been killed before this.
    pending.new.sync()?;
    Ok(mended)
}

/// Unlinks every name in new that is not the file it should be; returns what is to be linked.
fn unlink_others(pending: &Pending, mended: &mut Mended) -> Result<Vec<Wanted>> {
    let mut left = Vec::new();
    for name in pending.names() {
        match name {
            Name::Missing(wanted) => left.push(wanted),
            Name::There(wanted, listed) if pending.is_linked(&wanted, &listed)? => {
                mended.kept += 1;
            }
            Name::There(wanted, listed) => {
                pending.new.unlink(listed.file.file_name())?;
                left.push(wanted);
            }
            Name::TooMany(file) => {
                pending.new.unlink(file.file_name())?;
                mended.removed.push(file);
            }
        }
    }
    Ok(left)
}
