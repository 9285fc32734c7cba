//! Copy mode: each cluster has its own files.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicU64, Ordering};

use super::listing::{Moved, Pending, Wanted, pending};
use super::{Work, in_folder};
use crate::error::Result;
use crate::plan::{FileMap, Folder};
use crate::work::each;

struct File<'a> {
    folder: &'a Folder,
    pending: &'a Pending,
    wanted: Wanted,
    len: u64,
}

/// Copies old's files of the relations moved to new, and waits until they are on disk.
///
/// What new had of them is unlinked first, so that a copy that was interrupted is begun anew.
/// Large files are begun first. All are on their way to the disk before the first is waited for:
/// a sync for each as it was written would commit the journal of the file system as often.
pub fn copy(map: &FileMap, work: &Work<'_>) -> Result<Moved> {
    let folders: Vec<(&Folder, Pending)> = map
        .folders
        .iter()
        .map(|folder| Ok((folder, pending(folder)?)))
        .collect::<Result<_>>()?;
    for (folder, pending) in &folders {
        for listed in &pending.present {
            pending
                .new
                .unlink(listed.file.file_name())
                .map_err(|error| in_folder(error, folder))?;
        }
    }
    let files = files(&folders)?;
    let total: u64 = files.iter().map(|file| file.len).sum();
    let done = AtomicU64::new(0);
    each(work.jobs, &files, work.cancel, |file| {
        copy_one(file).map_err(|error| in_folder(error, file.folder))?;
        let now = done.fetch_add(file.len, Ordering::SeqCst) + file.len;
        work.progress("bytes", now, total);
        Ok(())
    })?;
    each(work.jobs, &files, work.cancel, |file| {
        let synced = file.pending.new.sync_file(file.wanted.new.file_name());
        synced.map_err(|error| in_folder(error, file.folder))
    })?;
    for (folder, pending) in &folders {
        pending
            .new
            .sync()
            .map_err(|error| in_folder(error, folder))?;
    }
    Ok(Moved {
        files: files.len() as u64,
        kept: 0,
        bytes: done.into_inner(),
    })
}

fn files<'a>(folders: &'a [(&'a Folder, Pending)]) -> Result<Vec<File<'a>>> {
    let mut files = Vec::new();
    for (folder, pending) in folders {
        for &wanted in &pending.wanted {
            files.push(File {
                folder,
                pending,
                wanted,
                len: pending.old_identity(wanted.old)?.len,
            });
        }
    }
    files.sort_by_key(|file| Reverse(file.len));
    Ok(files)
}

fn copy_one(file: &File<'_>) -> Result<u64> {
    let (pending, wanted) = (file.pending, file.wanted);
    let (of_old, of_new) = (wanted.old.file_name(), wanted.new.file_name());
    pending.new.copy_from(&pending.old, of_old, of_new)
}
