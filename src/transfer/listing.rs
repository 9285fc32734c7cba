//! What is in the directories of both clusters, and what it should become.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::io::ErrorKind;

use super::{Work, in_folder};
use crate::disk::{Area, AreaDir, FileId, OldDir, listings_tell_files};
use crate::error::{Code, Error, Result};
use crate::pg::wal::RelationFile;
use crate::pg::{Fork, RelFile, RelFileNumber};
use crate::plan::{FileMap, Folder, Pair};
use crate::work::each;

/// From so many relations on, both directories are listed at once.
const MANY: usize = 1000;

/// What a transfer did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Files that got their place in this run.
    pub files: u64,
    /// Files that already had it.
    pub kept: u64,
    /// Bytes of the files that were copied.
    pub bytes: u64,
}

impl Moved {
    pub(super) fn add(&mut self, other: Moved) {
        self.files += other.files;
        self.kept += other.kept;
        self.bytes += other.bytes;
    }
}

/// One directory pair, opened, with what is to be done in it.
pub struct Pending {
    /// The directory of old.
    pub old: OldDir,
    /// The directory of new.
    pub new: AreaDir,
    /// What must be in new at the end, in order.
    pub wanted: Vec<Wanted>,
    /// What new has of the relations moved, as it is now, in order.
    pub present: Vec<Listed>,
    /// Whether the listings tell which names are one file; see [`listings_tell_files`].
    pub telling: bool,
}

/// A file that must be in new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// What it is called there.
    pub new: RelFile,
    /// What it is called in old.
    pub old: RelFile,
    /// What the WAL of old calls its relation, where it tells what changes in it.
    pub wal: Option<RelationFile>,
    /// The inode the listing of old gives it.
    inode: u64,
}

/// A file as a listing has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// What it is called.
    pub file: RelFile,
    /// The inode the listing gives it.
    inode: u64,
}

/// One name of new, by what is there and what should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// Nothing should be there.
    TooMany(RelFile),
    /// Nothing is there.
    Missing(Wanted),
    /// Something is there, and perhaps the right thing.
    There(Wanted, Listed),
}

/// Whether a server is at work on old's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old {
    /// No server: every relation must have its main fork, and one without is one that vanished;
    /// nothing may be placed then.
    AtRest,
    /// A server that makes and removes files: what is not there is left out, and mended later.
    InUse,
}

/// Lists both directories of a folder of clusters at rest.
pub fn pending(folder: &Folder) -> Result<Pending> {
    pending_of(folder, Old::AtRest)
}

/// Lists both directories of a folder.
pub(super) fn pending_of(folder: &Folder, old: Old) -> Result<Pending> {
    open(folder, old).map_err(|error| in_folder(error, folder))
}

fn open(folder: &Folder, use_of_old: Old) -> Result<Pending> {
    let old = OldDir::open(&folder.old_dir)?;
    let new = Area::new(&folder.new_root)?.open_dir(&folder.new_dir)?;
    let (of_old, present) = both(
        folder,
        || listed(|visit| old.entries(visit)),
        || of_new(&new, folder),
    );
    let (wanted, without) = wanted(&of_old?, folder);
    if use_of_old == Old::AtRest
        && let Some(number) = without.iter().min()
    {
        return Err(Error::new(
            Code::FileVanished,
            "a relation of the old cluster has no file",
        )
        .fact("directory", folder.old_dir.display())
        .fact("file", number)
        .fact("relations without a file", without.len()));
    }
    Ok(Pending {
        telling: listings_tell_files(&old, &new),
        old,
        new,
        wanted,
        present: present?,
    })
}

fn both<A: Send, B: Send>(
    folder: &Folder,
    one: impl FnOnce() -> A + Send,
    other: impl FnOnce() -> B + Send,
) -> (A, B) {
    if folder.pairs.len() < MANY {
        return (one(), other());
    }
    std::thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        match one.join() {
            Ok(one) => (one, other),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// The relation files of a directory, in order.
fn listed(entries: impl FnOnce(&mut dyn FnMut(&OsStr, u64)) -> Result<()>) -> Result<Vec<Listed>> {
    let mut files = Vec::new();
    entries(&mut |name, inode| {
        if let Some(file) = name.to_str().and_then(RelFile::parse) {
            files.push(Listed { file, inode });
        }
    })?;
    files.sort_unstable();
    // A directory that changes while it is read may give a name twice.
    files.dedup_by_key(|listed| listed.file);
    Ok(files)
}

/// What must be in new, in order, and the relations of old that have no file.
fn wanted(of_old: &[Listed], folder: &Folder) -> (Vec<Wanted>, Vec<RelFileNumber>) {
    let mut pairs: Vec<Pair> = folder.pairs.clone();
    pairs.sort_unstable_by_key(|pair| pair.old);
    let mut wanted = Vec::with_capacity(of_old.len());
    let mut without = Vec::new();
    let mut files = of_old.iter().peekable();
    for pair in pairs {
        while files
            .next_if(|listed| listed.file.number < pair.old)
            .is_some()
        {}
        let mut has_main = false;
        while let Some(listed) = files.next_if(|listed| listed.file.number == pair.old) {
            has_main |= listed.file == RelFile::first(pair.old, Fork::Main);
            wanted.push(Wanted {
                new: listed.file.renumbered(pair.new),
                old: listed.file,
                wal: pair.wal,
                inode: listed.inode,
            });
        }
        if !has_main {
            without.push(pair.old);
        }
    }
    wanted.sort_unstable_by_key(|wanted| wanted.new);
    (wanted, without)
}

/// The files new has of the relations moved, in order.
fn of_new(new: &AreaDir, folder: &Folder) -> Result<Vec<Listed>> {
    let mut moved: Vec<RelFileNumber> = folder.pairs.iter().map(|pair| pair.new).collect();
    moved.sort_unstable();
    let mut moved = moved.into_iter().peekable();
    let mut files = listed(|visit| new.entries(visit))?;
    files.retain(|listed| {
        while moved
            .next_if(|number| *number < listed.file.number)
            .is_some()
        {}
        moved.peek() == Some(&listed.file.number)
    });
    Ok(files)
}

impl Pending {
    /// Every name of new, in order: those there are and those there should be.
    pub fn names(&self) -> impl Iterator<Item = Name> {
        let mut wanted = self.wanted.iter().copied().peekable();
        let mut present = self.present.iter().copied().peekable();
        std::iter::from_fn(move || {
            let order = match (wanted.peek(), present.peek()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(wanted), Some(present)) => wanted.new.cmp(&present.file),
            };
            match order {
                Ordering::Less => wanted.next().map(Name::Missing),
                Ordering::Greater => present.next().map(|listed| Name::TooMany(listed.file)),
                Ordering::Equal => wanted
                    .next()
                    .zip(present.next())
                    .map(|(wanted, listed)| Name::There(wanted, listed)),
            }
        })
    }

    /// Whether both names are one file: by the listings where they tell it, else by a look at
    /// both.
    pub fn is_linked(&self, wanted: &Wanted, listed: &Listed) -> Result<bool> {
        if self.telling {
            return Ok(wanted.inode == listed.inode);
        }
        let of_old = self.old.identity(wanted.old.file_name())?;
        let of_new = self.new.identity(listed.file.file_name())?;
        Ok(of_old
            .zip(of_new)
            .is_some_and(|(old, new)| old.same_file(&new)))
    }

    /// The inode of a file of old, by the listing where that tells it.
    pub(super) fn inode(&self, wanted: &Wanted) -> Result<u64> {
        match self.telling {
            true => Ok(wanted.inode),
            false => Ok(self.old_identity(wanted.old)?.inode),
        }
    }

    /// Identity of a file of old that must be there.
    pub(super) fn old_identity(&self, file: RelFile) -> Result<FileId> {
        let name = file.file_name();
        self.old.identity(&name)?.ok_or_else(|| {
            Error::new(Code::FileVanished, "a file of the old cluster is gone")
                .fact("file", self.old.path().join(name).display())
        })
    }
}

/// Whether new has a file of any of these relations.
pub fn has_any(map: &FileMap) -> Result<bool> {
    for folder in &map.folders {
        let listed = match in_new(folder)? {
            Some(new) => of_new(&new, folder),
            None => Ok(Vec::new()),
        };
        if !listed.map_err(|error| in_folder(error, folder))?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The directory in new, if it is there.
fn in_new(folder: &Folder) -> Result<Option<AreaDir>> {
    let place = folder.new_root.join(&folder.new_dir);
    // Any other reason not to see it is no reason to believe that it is empty.
    match std::fs::symlink_metadata(&place) {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(Code::DiskOperation, "look at", &place, &e)),
    }
    Area::new(&folder.new_root)?
        .open_dir(&folder.new_dir)
        .map(Some)
}

/// Removes every file of the relations moved from new, by unlinking.
///
/// Nothing is fsynced but the directories: the files go, whatever they held. A directory that
/// is not there holds none.
pub fn remove(map: &FileMap, work: &Work<'_>) -> Result<u64> {
    let removed = std::sync::atomic::AtomicU64::new(0);
    each(work.jobs, &map.folders, work.cancel, |folder| {
        let in_this = || -> Result<u64> {
            let Some(new) = in_new(folder)? else {
                return Ok(0);
            };
            let files = of_new(&new, folder)?;
            for listed in &files {
                new.unlink(listed.file.file_name())?;
            }
            new.sync()?;
            Ok(files.len() as u64)
        };
        let count = in_this().map_err(|error| in_folder(error, folder))?;
        removed.fetch_add(count, std::sync::atomic::Ordering::SeqCst);
        Ok(())
    })?;
    Ok(removed.into_inner())
}
