//! Swap mode: files of old are moved to new, and back.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::listing::{Moved, Name, Old, pending, pending_of};
use super::{Work, in_folder};
use crate::disk::{Area, AreaDir};
use crate::error::{Code, Error, Remedy, Result};
use crate::plan::{FileMap, Folder};
use crate::work::each;

/// Every file that is moved: written down, as a whole, before the first one is.
///
/// What has been done of it is not written down. The inode of a file says where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moves {
    /// Format of this document.
    pub v: u32,
    /// The folders, as in the file map.
    pub folders: Vec<FolderMoves>,
}

impl Moves {
    /// The format that is written, and the only one that is read.
    pub const FORMAT: u32 = 1;
}

/// The files of one folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderMoves {
    /// Name of the database.
    pub database: String,
    /// Their directory in old.
    pub old_dir: PathBuf,
    /// The root the new directory lies under.
    pub new_root: PathBuf,
    /// Their directory in new, relative to it.
    pub new_dir: PathBuf,
    /// Of each its name in old, its name in new, and its inode.
    pub files: Vec<(String, String, u64)>,
}

/// Lists what is to be moved, with old at rest and whole; what new has in its place is unlinked.
pub fn moves(map: &FileMap, work: &Work<'_>) -> Result<Moves> {
    let mut folders = Vec::with_capacity(map.folders.len());
    for folder in &map.folders {
        work.cancel.check()?;
        let found = list(folder).map_err(|error| in_folder(error, folder))?;
        folders.push(found);
    }
    Ok(Moves {
        v: Moves::FORMAT,
        folders,
    })
}

fn list(folder: &Folder) -> Result<FolderMoves> {
    let pending = pending(folder)?;
    for listed in &pending.present {
        pending.new.unlink(listed.file.file_name())?;
    }
    // A name that came back after a power cut would be in the way of both ways.
    pending.new.sync()?;
    let mut files = Vec::with_capacity(pending.wanted.len());
    for wanted in &pending.wanted {
        let inode = pending.inode(wanted)?;
        files.push((wanted.old.file_name(), wanted.new.file_name(), inode));
    }
    Ok(FolderMoves {
        database: folder.database.clone(),
        old_dir: folder.old_dir.clone(),
        new_root: folder.new_root.clone(),
        new_dir: folder.new_dir.clone(),
        files,
    })
}

/// Moves every file of the list to new that is not there yet.
///
/// # Errors
///
/// `FileVanished` where a file is in neither place, `TransferFailed` where another one has its
/// name. Nothing is ever replaced.
pub fn swap(moves: &Moves, work: &Work<'_>) -> Result<Moved> {
    let (there, gone) = by_presence(moves);
    nothing_went_along(&gone)?;
    let all = [there, gone].concat();
    shift_all(&all, work, |old, new, (of_old, of_new, inode)| {
        shift((old, of_old), (new, of_new), *inode)
    })
}

/// Moves every file of the list back to old that is not there yet; the errors are those of
/// [`swap`]. Where it succeeds, old has all of them; what new has made under a name of one that
/// old has is new's. A folder of new that is gone is missed only if a file of old was in it, and
/// after the others have given theirs back.
pub fn swap_back(moves: &Moves, work: &Work<'_>) -> Result<Moved> {
    let (there, gone) = by_presence(moves);
    let moved = shift_all(&there, work, |old, new, (of_old, of_new, inode)| {
        if is_back((new, of_new), (old, of_old), *inode)? {
            return Ok(false);
        }
        shift((new, of_new), (old, of_old), *inode)
    })?;
    nothing_went_along(&gone)?;
    Ok(moved)
}

/// The folders that new has, and those that somebody has taken away.
fn by_presence(moves: &Moves) -> (Vec<&FolderMoves>, Vec<&FolderMoves>) {
    // What cannot be looked at is opened later, and says why.
    let there = |folder: &&FolderMoves| folder.in_new().try_exists().unwrap_or(true);
    moves.folders.iter().partition(there)
}

/// An error where files of old were in folders of new that are gone: they were the only ones.
fn nothing_went_along(gone: &[&FolderMoves]) -> Result<()> {
    let (mut first, mut files) = (None, 0);
    for folder in gone {
        let old = Area::new(&folder.old_dir)?.open_dir("")?;
        for (of_old, of_new, inode) in &folder.files {
            let home = old.identity(of_old)?;
            if home.is_none_or(|home| home.inode != *inode) {
                first.get_or_insert_with(|| folder.in_new().join(of_new));
                files += 1;
            }
        }
    }
    let Some(first) = first else {
        return Ok(());
    };
    Err(Error::new(
        Code::FileVanished,
        "new is gone, or folders of it, with files of old that had been moved there",
    )
    .fact("files", files)
    .fact("one of them", first.display())
    .remedy(Remedy::manual(
        "if it was moved away, move it back to where it was, and roll back; if it was removed, start \
         neither cluster, and restore the old one from a backup",
    )))
}

/// Whether old has the file and new another one under its name.
fn is_back(
    (new, of_new): (&AreaDir, &String),
    (old, of_old): (&AreaDir, &String),
    inode: u64,
) -> Result<bool> {
    let (made, back) = (new.identity(of_new)?, old.identity(of_old)?);
    Ok(match (made, back) {
        (Some(made), Some(back)) => back.inode == inode && !made.same_file(&back),
        _ => false,
    })
}

/// An error where new has a file that old lacks, though no list says that it was moved.
pub fn nothing_moved(map: &FileMap) -> Result<()> {
    for folder in &map.folders {
        let pending = pending_of(folder, Old::InUse)?;
        for name in pending.names() {
            if let Name::TooMany(file) = name {
                return Err(Error::new(
                    Code::FileVanished,
                    "new has a file that old lacks, and the list of what was moved is gone",
                )
                .fact("file", pending.new.path().join(file.file_name()).display())
                .fact("old", pending.old.path().display())
                .remedy(Remedy::manual(
                    "put swap.json back into the state directory; new must not be removed before \
                     old has its files again",
                )));
            }
        }
    }
    Ok(())
}

type File = (String, String, u64);

/// Every folder, and both directories durably, also where nothing is left to do in them: who did
/// it may have been killed before this.
fn shift_all(
    folders: &[&FolderMoves],
    work: &Work<'_>,
    shift: impl Fn(&AreaDir, &AreaDir, &File) -> Result<bool> + Sync,
) -> Result<Moved> {
    let total: usize = folders.iter().map(|folder| folder.files.len()).sum();
    let (done, moved) = (AtomicU64::new(0), AtomicU64::new(0));
    each(work.jobs, folders, work.cancel, |folder| {
        let in_this = || -> Result<()> {
            let (old, new) = folder.open()?;
            for (number, file) in folder.files.iter().enumerate() {
                if number % 1024 == 0 {
                    work.cancel.check()?;
                }
                if shift(&old, &new, file)? {
                    moved.fetch_add(1, Ordering::SeqCst);
                }
            }
            new.sync()?;
            old.sync()
        };
        in_this().map_err(|error| error.fact("database", &folder.database))?;
        let count = folder.files.len() as u64;
        let now = done.fetch_add(count, Ordering::SeqCst) + count;
        work.progress("files", now, total as u64);
        Ok(())
    })?;
    let files = moved.into_inner();
    Ok(Moved {
        files,
        kept: total as u64 - files,
        bytes: 0,
    })
}

impl FolderMoves {
    fn in_new(&self) -> PathBuf {
        self.new_root.join(&self.new_dir)
    }

    /// Both directories, to be written to.
    fn open(&self) -> Result<(AreaDir, AreaDir)> {
        let old = Area::new(&self.old_dir)?.open_dir("")?;
        let new = Area::new(&self.new_root)?.open_dir(&self.new_dir)?;
        Ok((old, new))
    }
}

/// Moves one file, if it is not there; says whether it did.
fn shift(
    (from, from_name): (&AreaDir, &String),
    (to, to_name): (&AreaDir, &String),
    inode: u64,
) -> Result<bool> {
    let (here, there) = (from.identity(from_name)?, to.identity(to_name)?);
    match (here, there) {
        (Some(here), None) if here.inode == inode => {
            to.take_from(from, from_name, to_name).map(|()| true)
        }
        (None, Some(there)) if there.inode == inode => Ok(false),
        // A file system without a journal may have kept both names through a power cut.
        (Some(here), Some(there)) if here.inode == inode && here.same_file(&there) => {
            from.unlink(from_name).map(|()| true)
        }
        (None, None) => Err(Error::new(
            Code::FileVanished,
            "a file that was to be moved is in neither cluster",
        )
        .fact("file", from.path().join(from_name).display())
        .fact("or", to.path().join(to_name).display())
        .fact("inode", inode)
        .remedy(Remedy::manual(
            "find the file with this inode, put it back under either name, and run the command again",
        ))),
        _ => Err(Error::new(
            Code::TransferFailed,
            "another file has the name of one that was to be moved",
        )
        .fact("file", from.path().join(from_name).display())
        .fact("or", to.path().join(to_name).display())
        .fact("inode", inode)
        .remedy(Remedy::manual(
            "move the file that has its name out of the way, and run the command again",
        ))),
    }
}
