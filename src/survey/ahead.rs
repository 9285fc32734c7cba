//! Old's catalogs are brought into memory while other things are looked at.

use std::path::{Path, PathBuf};

use super::inventory::database_folders;
use crate::disk::ReadAhead;
use crate::pg::{DataDir, Oid, RelFile, RelFileNumber};

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

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn number(folder: &Path) -> Option<u32> {
    folder.file_name()?.to_str()?.parse().ok()
}

fn catalogs(folder: &Path) -> Vec<PathBuf> {
    let mut files = entries(folder);
    files.retain(|file| {
        let name = file.file_name().and_then(|name| name.to_str());
        name.and_then(RelFile::parse).is_some_and(|file| {
            file.number < RelFileNumber(Oid::FIRST_NORMAL.0) && !UNREAD.contains(&file.number.0)
        })
    });
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_catalogs_that_are_read_are_read_ahead() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["1259", "1259_fsm", "2613", "2840.1", "16384", "PG_VERSION"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let mut found = catalogs(dir.path());
        found.sort();
        assert_eq!(
            found,
            ["1259", "1259_fsm"].map(|name| dir.path().join(name))
        );
    }
}
