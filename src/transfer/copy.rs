//! Copy mode: each cluster has its own files.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::listing::{Moved, Pending, Wanted, pending};
use super::{Work, in_folder};
use crate::disk;
use crate::error::Result;
use crate::plan::{FileMap, Folder};
use crate::work::each;

/// Copies old's files of the relations moved to new, and waits until they are on disk.
///
/// What new had of them is unlinked first, so that a copy that was interrupted is begun anew.
/// Large files are begun first. All are on their way to the disk before the first is waited for:
/// a sync for each as it was written would commit the journal of the file system as often. Many
/// small ones are waited for together: even where nothing is left to be written, a sync for each
/// has the disk empty its cache as often.
pub fn copy(map: &FileMap, work: &Work<'_>) -> Result<Moved> {
    make_all(map, work, Durable::EachFile, |pending, old, new| {
        pending.new.copy_from(&pending.old, old, new)
    })
}

/// How one waits until what was made is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durable {
    /// For each file and each directory, unless there are so many small ones that it is
    /// quicker to wait for the file system.
    EachFile,
    /// For the file system as a whole, once, whoever else writes to it.
    FileSystem,
}

/// A file whose sync takes longer than asking for it.
const LARGE: u64 = 1 << 20;

/// As many syncs as take longer than to write out what others may have left to be written.
const MANY: usize = 1000;

/// So much others may have left.
const LITTLE: u64 = 256 << 20;

impl Durable {
    /// Others' writes are waited for only where they are few, and all is left as it is where the
    /// kernel does not tell what it could not write.
    fn for_files(self, files: &[File<'_>]) -> Self {
        let small = files.iter().filter(|file| file.len < LARGE).count();
        let little = || disk::unwritten().is_some_and(|bytes| bytes < LITTLE);
        if small >= MANY && disk::filesystem_sync_tells() && little() {
            Self::FileSystem
        } else {
            self
        }
    }
}

/// Has every file made by `make`, given the names in old and in new, which says its length.
pub(super) fn make_all(
    map: &FileMap,
    work: &Work<'_>,
    durable: Durable,
    make: impl Fn(&Pending, String, String) -> Result<u64> + Sync,
) -> Result<Moved> {
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
    let durable = durable.for_files(&files);
    let total: u64 = files.iter().map(|file| file.len).sum();
    let done = AtomicU64::new(0);
    each(work.jobs, &files, work.cancel, |file| {
        let (of_old, of_new) = (file.wanted.old.file_name(), file.wanted.new.file_name());
        make(file.pending, of_old, of_new).map_err(|error| in_folder(error, file.folder))?;
        let now = done.fetch_add(file.len, Ordering::SeqCst) + file.len;
        work.progress("bytes", now, total);
        Ok(())
    })?;
    match durable {
        Durable::EachFile => sync_each(&folders, &files, work)?,
        Durable::FileSystem => sync_whole(&folders)?,
    }
    Ok(Moved {
        files: files.len() as u64,
        kept: 0,
        bytes: done.into_inner(),
    })
}

struct File<'a> {
    folder: &'a Folder,
    pending: &'a Pending,
    wanted: Wanted,
    len: u64,
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

fn sync_each(folders: &[(&Folder, Pending)], files: &[File<'_>], work: &Work<'_>) -> Result<()> {
    each(work.jobs, files, work.cancel, |file| {
        let synced = file.pending.new.sync_file(file.wanted.new.file_name());
        synced.map_err(|error| in_folder(error, file.folder))
    })?;
    for (folder, pending) in folders {
        pending
            .new
            .sync()
            .map_err(|error| in_folder(error, folder))?;
    }
    Ok(())
}

fn sync_whole(folders: &[(&Folder, Pending)]) -> Result<()> {
    let mut places = BTreeMap::new();
    for (_, pending) in folders {
        let place = pending.new.path();
        places.insert(disk::space(place)?.device, place);
    }
    places
        .values()
        .try_for_each(|place| disk::sync_filesystem(place))
}
