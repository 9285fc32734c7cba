//! How many relation files the old cluster has, and how much room they take.

use std::fs::DirEntry;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::disk::STAT_BLOCK;
use crate::error::{Code, Error, Remedy, Result};
use crate::pg::quote::shell_path;
use crate::pg::{DataDir, RelFile};
use crate::plan::{Inventory, Old, TablespacePlace};
use crate::work::{Cancel, each, lock};

/// Whether files are asked for their sizes.
///
/// That takes many times as long as reading their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sizes {
    Now,
    /// One file of each folder is looked at all the same: whether that is allowed is known then.
    Later,
}

/// What was counted.
#[derive(Debug)]
pub(super) struct Counted {
    /// The default tablespace first, then the others.
    pub(super) places: Vec<Inventory>,
    /// Number of databases with a folder in the default tablespace.
    pub(super) databases: u64,
}

/// Counts the relation files below `base` and in each tablespace, with the problems of the places
/// that cannot be counted, which then hold nothing.
///
/// Those of the catalogs are among them, which makes the numbers a little too large: the files
/// cannot be told apart without asking the catalogs.
///
/// The problems are `NotReadable` for a folder that cannot be read, and `DataDirectoryLayout` for
/// a tablespace without a folder of this cluster.
pub(super) fn count(
    old: &DataDir,
    catalog_version: u32,
    tablespaces: &[TablespacePlace],
    new_data: &Path,
    sizes: Sizes,
) -> (Counted, Vec<Error>) {
    let mut problems = Vec::new();
    let mut place = |folders: Result<Vec<PathBuf>>, old_place: &Path, new_place: PathBuf| {
        let none = Inventory {
            old_place: old_place.to_owned(),
            new_place,
            bytes: 0,
            files: 0,
        };
        let counted = folders.and_then(|folders| {
            let total = total(&folders, none.clone(), sizes)?;
            Ok((total, folders.len() as u64))
        });
        counted.unwrap_or_else(|error| {
            problems.push(error);
            (none, 0)
        })
    };
    let old_base = old.path.join("base");
    let base = database_folders(&old_base);
    let (base, databases) = place(base, &old_base, new_data.join("base"));
    let mut places = vec![base];
    for tablespace in tablespaces {
        let folder = version_folder(old, catalog_version, tablespace);
        let folders = folder.and_then(|folder| database_folders(&folder));
        let new_place = tablespace.location_in(new_data);
        places.push(place(folders, &tablespace.location, new_place).0);
    }
    let counted = Counted { places, databases };
    (counted, problems)
}

/// The sizes of relation files, which are looked at while other things are done.
#[derive(Debug)]
pub struct Sizing(JoinHandle<(Counted, Vec<Error>)>);

impl Sizing {
    pub(super) fn begin(
        old: DataDir,
        catalog_version: u32,
        tablespaces: Vec<TablespacePlace>,
        new_data: PathBuf,
    ) -> Self {
        Self(std::thread::spawn(move || {
            count(&old, catalog_version, &tablespaces, &new_data, Sizes::Now)
        }))
    }

    /// The places with their sizes, how many folders of databases are in the first of them, and
    /// the problems of those that could not be counted, which then hold nothing.
    ///
    /// # Errors
    ///
    /// Only where this program has a defect.
    pub fn wait(self) -> Result<(Vec<Inventory>, u64, Vec<Error>)> {
        let (counted, problems) = self.0.join().map_err(|_| {
            let what = "the sizes of the relation files were not looked at to the end";
            Error::new(Code::Internal, what)
        })?;
        Ok((counted.places, counted.databases, problems))
    }
}

/// The relation files of an old cluster that has a plan, by the places where they lie.
///
/// # Errors
///
/// `NotReadable` for a folder that cannot be read, `DataDirectoryLayout` for a tablespace
/// without a folder of this cluster.
pub fn relation_files(dir: &DataDir, old: &Old) -> Result<Vec<Inventory>> {
    let (counted, problems) = count(
        dir,
        old.catalog_version,
        &old.tablespaces,
        &old.data_dir,
        Sizes::Now,
    );
    problems.into_iter().next().map_or(Ok(counted.places), Err)
}

/// The folder of the old cluster in a tablespace's location.
fn version_folder(old: &DataDir, catalog_version: u32, place: &TablespacePlace) -> Result<PathBuf> {
    let name = DataDir::tablespace_version_dir(old.major, catalog_version);
    let folder = place.location.join(&name);
    if folder.is_dir() {
        return Ok(folder);
    }
    Err(Error::new(
        Code::DataDirectoryLayout,
        format!(
            "the location of tablespace {} has no folder of the old cluster",
            place.oid
        ),
    )
    .fact("location", place.location.display())
    .fact("missing", name)
    .remedy(Remedy::manual(
        "mount the file system that holds the tablespace, or mend its link in pg_tblspc",
    )))
}

/// The folders that are named like a database; others (`pgsql_tmp`) hold no relations, and neither
/// does a file that somebody has left there.
pub(super) fn database_folders(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| unreadable(dir, &e))? {
        let entry = entry.map_err(|e| unreadable(dir, &e))?;
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_number(&entry) && !is_file {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn is_number(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    let name = name.as_encoded_bytes();
    !name.is_empty() && name.iter().all(u8::is_ascii_digit)
}

/// How many folders are looked at a time: what one waits for is mostly the disk.
pub(super) const AT_A_TIME: usize = 8;

fn total(folders: &[PathBuf], none: Inventory, sizes: Sizes) -> Result<Inventory> {
    let total = Mutex::new(none);
    each(AT_A_TIME, folders, &Cancel::default(), |folder| {
        let (bytes, files) = sum(folder, sizes)?;
        let mut total = lock(&total);
        total.bytes += bytes;
        total.files += files;
        Ok(())
    })?;
    Ok(total.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The bytes and the number of the relation files in a folder.
fn sum(folder: &Path, sizes: Sizes) -> Result<(u64, u64)> {
    let (mut bytes, mut files, mut looked) = (0, 0, false);
    for entry in std::fs::read_dir(folder).map_err(|e| unreadable(folder, &e))? {
        let entry = entry.map_err(|e| unreadable(folder, &e))?;
        if entry
            .file_name()
            .to_str()
            .and_then(RelFile::parse)
            .is_none()
        {
            continue;
        }
        if looked && sizes == Sizes::Later {
            files += 1;
            continue;
        }
        match entry.metadata() {
            Ok(found) => {
                looked = true;
                bytes += found.blocks() * STAT_BLOCK;
                files += 1;
            }
            // A private server that has not been stopped yet may still remove files.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(&entry.path(), &error)),
        }
    }
    match sizes {
        Sizes::Now => Ok((bytes, files)),
        Sizes::Later => Ok((0, files)),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    let remedy = match error.kind() {
        ErrorKind::PermissionDenied => Remedy::command(format!("chmod u+rwX {}", shell_path(path))),
        _ => Remedy::manual("look at the file system: a part of the old cluster cannot be read"),
    };
    Error::io(Code::NotReadable, "read", path, error)
        .fact("path", path.display())
        .remedy(remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_named_like_a_database_is_none() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["1", "16384", "pgsql_tmp"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("16385"), "left over").unwrap();
        let found = database_folders(dir.path()).unwrap();
        assert_eq!(found, ["1", "16384"].map(|name| dir.path().join(name)));
    }
}
