//! Relation files of old that another directory holds as well.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::probe::Row;
use super::run::Subject;
use crate::catalog::Snapshot;
use crate::error::{Code, Error, Result};
use crate::pg::{DataDir, Oid, RelFile};
use crate::work::{each, lock, usual_jobs};

/// How many files of a database are looked at: who links, links all of them.
const LOOKED_AT: usize = 500;

/// A file of each database whose relations are shared with somebody.
///
/// Catalogs are shared by nobody, neither by pg_upgrade nor by this program, so they are passed
/// over.
pub(super) fn second_names(subject: &Subject<'_>) -> Result<Vec<Row>> {
    let (Some(snapshot), false) = (subject.snapshot, subject.linked_before) else {
        return Ok(Vec::new());
    };
    let places = places(&subject.old.data_dir, snapshot)?;
    let folders: Vec<(PathBuf, &str)> = (places.iter())
        .flat_map(|place| {
            let databases = snapshot.databases.iter();
            databases.map(|one| (place.join(one.oid.to_string()), one.name.as_str()))
        })
        .collect();
    let found = Mutex::new(BTreeMap::new());
    each(
        usual_jobs(),
        &folders,
        subject.cancel,
        |(folder, database)| {
            if let Some(file) = shared(folder)? {
                lock(&found).insert(file, (*database).to_owned());
            }
            Ok(())
        },
    )?;
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let row = |(file, database): (PathBuf, String)| {
        vec![Some(file.to_string_lossy().into_owned()), Some(database)]
    };
    Ok(found.into_iter().map(row).collect())
}

/// The directories in which databases have their folders.
fn places(data_dir: &Path, snapshot: &Snapshot) -> Result<Vec<PathBuf>> {
    let mut places = vec![data_dir.join("base")];
    for tablespace in &snapshot.tablespaces {
        let location = data_dir.join("pg_tblspc").join(tablespace.oid.to_string());
        let folders = DataDir::version_folders(&location, snapshot.major());
        places.extend(present(folders, &location)?);
    }
    Ok(places)
}

fn shared(folder: &Path) -> Result<Option<PathBuf>> {
    let of_a_user = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        let file = name.and_then(RelFile::parse);
        file.is_some_and(|file| file.number.0 >= Oid::FIRST_NORMAL.0)
    };
    let files = entries(folder)?.into_iter().filter(of_a_user);
    for file in files.take(LOOKED_AT) {
        // What a running server removes meanwhile is nobody's any more.
        let names = file.symlink_metadata().map_or(0, |found| found.nlink());
        if names > 1 {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// What is in a directory; nothing where it is not there.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(dir)?;
        entries.map(|entry| Ok(entry?.path())).collect()
    };
    present(read(), dir)
}

fn present(read: std::io::Result<Vec<PathBuf>>, dir: &Path) -> Result<Vec<PathBuf>> {
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(|error| Error::io(Code::NotReadable, "read", dir, &error)),
    }
}
