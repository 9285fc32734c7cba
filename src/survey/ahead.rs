//! Old's catalogs are brought into memory while other things are looked at.

use std::fs::DirEntry;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use super::inventory::database_folders;
use crate::disk::ReadAhead;
use crate::pg::{DataDir, Fork, RelFile};

/// The numbers of catalogs are below this one; those of the information schema are not.
const GIVEN_BY_HAND: u32 = 10_000;

/// Catalogs nobody reads here, which may be large: `pg_largeobject`, `pg_statistic` with its
/// toast table, and their indexes.
const UNREAD: [u32; 6] = [2613, 2683, 2619, 2696, 2840, 2841];

/// Begins to read the catalogs of a cluster that has not been served for long.
///
/// Sessions read page by page what they ask for, and of hundreds of databases each is asked
/// once: without this it is the disk that is waited for. Files are known by the numbers initdb
/// gives; a catalog that was rewritten is read when it is asked for.
pub fn read_ahead(old: &DataDir) -> ReadAhead {
    let base = old.path.join("base");
    let tablespaces = entries(&old.path.join("pg_tblspc")).into_iter();
    let major = old.major;
    let elsewhere = tablespaces
        .map(|entry| entry.path())
        .flat_map(move |location| DataDir::version_folders(&location, major).unwrap_or_default());
    let places = std::iter::once(base).chain(elsewhere);
    let databases = places.flat_map(|place| {
        let mut folders = database_folders(&place).unwrap_or_default();
        // The order in which databases are read.
        folders.sort_by_key(|folder| number(folder));
        folders
    });
    ReadAhead::begin(databases.flat_map(|folder| catalogs(&folder)))
}

fn entries(dir: &Path) -> Vec<DirEntry> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries.flatten().collect()
}

fn number(folder: &Path) -> Option<u32> {
    folder.file_name()?.to_str()?.parse().ok()
}

/// In the order in which they probably lie on the disk.
fn catalogs(folder: &Path) -> Vec<PathBuf> {
    let mut files = entries(folder);
    files.retain(|entry| entry.file_name().to_str().is_some_and(is_read));
    files.sort_by_key(DirEntryExt::ino);
    files.iter().map(DirEntry::path).collect()
}

fn is_read(name: &str) -> bool {
    RelFile::parse(name).is_some_and(|file| {
        let number = file.number.0;
        let asked = matches!(file.fork, Fork::Main | Fork::Vm);
        number < GIVEN_BY_HAND && asked && !UNREAD.contains(&number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_catalogs_that_are_read_are_read_ahead() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "1259",
            "1259.1",
            "1259_fsm",
            "1259_vm",
            "2613",
            "2840.1",
            "13000",
            "PG_VERSION",
        ] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let mut found = catalogs(dir.path());
        found.sort();
        assert_eq!(
            found,
            ["1259", "1259.1", "1259_vm"].map(|name| dir.path().join(name))
        );
    }
}
