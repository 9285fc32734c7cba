//! What is in the directories of both clusters, and what it should become.

use std::collections::{BTreeMap, HashMap};

use super::{Work, in_folder};
use crate::disk::{Area, AreaDir, FileId, OldDir};
use crate::error::{Code, Error, Result};
use crate::pg::{Fork, RelFile, RelFileNumber};
use crate::plan::{FileMap, Folder};
use crate::work::each;

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
    /// Names in old by names in new: what must be there at the end.
    pub wanted: BTreeMap<String, String>,
    /// Names in new that belong to the relations moved, as they are now.
    pub present: Vec<String>,
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
    let by_old: HashMap<RelFileNumber, RelFileNumber> = folder
        .pairs
        .iter()
        .map(|pair| (pair.old, pair.new))
        .collect();
    let mut missing: HashMap<RelFileNumber, ()> =
        folder.pairs.iter().map(|pair| (pair.old, ())).collect();
    let mut wanted = BTreeMap::new();
    for (name, file) in relation_files(old.names()?) {
        if let Some(number) = by_old.get(&file.number) {
            if file.fork == Fork::Main && file.segment == 0 {
                missing.remove(&file.number);
            }
            wanted.insert(file.renumbered(*number).file_name(), name);
        }
    }
    if use_of_old == Old::AtRest
        && let Some(number) = missing.keys().min()
    {
        return Err(Error::new(
            Code::FileVanished,
            "a relation of the old cluster has no file",
        )
        .fact("directory", folder.old_dir.display())
        .fact("file", number)
        .fact("relations without a file", missing.len()));
    }
    let present = names_of(&new, folder)?;
    Ok(Pending {
        old,
        new,
        wanted,
        present,
    })
}

/// The files new has of the relations moved.
fn names_of(new: &AreaDir, folder: &Folder) -> Result<Vec<String>> {
    let by_new: HashMap<RelFileNumber, ()> =
        folder.pairs.iter().map(|pair| (pair.new, ())).collect();
    let names = relation_files(new.names()?);
    Ok(names
        .filter(|(_, file)| by_new.contains_key(&file.number))
        .map(|(name, _)| name)
        .collect())
}

fn relation_files(names: Vec<std::ffi::OsString>) -> impl Iterator<Item = (String, RelFile)> {
    names.into_iter().filter_map(|name| {
        let name = name.into_string().ok()?;
        let file = RelFile::parse(&name)?;
        Some((name, file))
    })
}

impl Pending {
    /// Identity of a file of old that must be there.
    pub(super) fn old_identity(&self, name: &str) -> Result<FileId> {
        self.old.identity(name)?.ok_or_else(|| {
            Error::new(Code::FileVanished, "a file of the old cluster is gone")
                .fact("file", self.old.path().join(name).display())
        })
    }
}

/// Removes every file of the relations moved from new, by unlinking.
///
/// Nothing is fsynced but the directories: the files go, whatever they held. A directory that
/// is not there holds none.
pub fn remove(map: &FileMap, work: &Work<'_>) -> Result<u64> {
    let removed = std::sync::atomic::AtomicU64::new(0);
    each(work.jobs, &map.folders, work.cancel, |folder| {
        let in_this = || -> Result<u64> {
            if !folder.new_root.join(&folder.new_dir).exists() {
                return Ok(0);
            }
            let new = Area::new(&folder.new_root)?.open_dir(&folder.new_dir)?;
            let names = names_of(&new, folder)?;
            for name in &names {
                new.unlink(name)?;
            }
            new.sync()?;
            Ok(names.len() as u64)
        };
        let count = in_this().map_err(|error| in_folder(error, folder))?;
        removed.fetch_add(count, std::sync::atomic::Ordering::SeqCst);
        Ok(())
    })?;
    Ok(removed.into_inner())
}
