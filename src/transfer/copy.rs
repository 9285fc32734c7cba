//! Copy mode: each cluster has its own files.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::listing::{Moved, Pending, Wanted, pending};
use super::{Work, in_folder};
use crate::disk::{self, FileSystem};
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
    /// Others' writes are waited for only where they are few. Where the file systems do not tell
    /// what they could not write, each file is waited for in any case.
    fn for_files(self, small: usize, tell: bool, unwritten: Option<u64>) -> Self {
        let quicker = small >= MANY && unwritten.is_some_and(|bytes| bytes < LITTLE);
        match tell && (quicker || self == Self::FileSystem) {
            true => Self::FileSystem,
            false => Self::EachFile,
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
    let file_systems = file_systems(&folders)?;
    let small = files.iter().filter(|file| file.len < LARGE).count();
    let tell = file_systems.iter().all(FileSystem::tells);
    let durable = durable.for_files(small, tell, disk::unwritten());
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
        Durable::FileSystem => file_systems.iter().try_for_each(FileSystem::sync)?,
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

fn file_systems(folders: &[(&Folder, Pending)]) -> Result<Vec<FileSystem>> {
    let mut places = BTreeMap::new();
    for (_, pending) in folders {
        let place = pending.new.path();
        places.insert(disk::space(place)?.device, place);
    }
    places.values().map(|place| FileSystem::of(place)).collect()
}

#[cfg(test)]
mod tests {
    use super::Durable::{EachFile, FileSystem};
    use super::*;

    #[test]
    fn file_systems_are_waited_for_where_that_is_safe_and_quick() {
        let little = Some(LITTLE - 1);
        for (asked, small, tell, unwritten, found) in [
            (EachFile, MANY, true, little, FileSystem),
            (EachFile, MANY - 1, true, little, EachFile),
            (EachFile, MANY, true, Some(LITTLE), EachFile),
            (EachFile, MANY, true, None, EachFile),
            (EachFile, MANY, false, little, EachFile),
            (FileSystem, 1, true, None, FileSystem),
            (FileSystem, MANY, false, little, EachFile),
        ] {
            let durable = asked.for_files(small, tell, unwritten);
            assert_eq!(durable, found, "{asked:?} {small} {tell} {unwritten:?}");
        }
    }
}
