//! The WAL new begins with.

use std::path::Path;

use crate::disk::Area;
use crate::error::Result;
use crate::pg::control::is_wal_file;

/// What speaks of single WAL files, and of none that is there any more.
const ABOUT_FILES: [&str; 2] = ["pg_wal/archive_status", "pg_wal/summaries"];

/// Puts the WAL of another directory in the place of new's.
///
/// Mirrors `KillExistingXLOG` and what follows it in `src/bin/pg_resetwal/pg_resetwal.c`.
pub fn replace_wal(from: &Area, rel: &str, new: &Area) -> Result<()> {
    let wal = new.open_dir("pg_wal")?;
    for name in wal.names()? {
        if name.to_str().is_some_and(is_wal_file) {
            wal.unlink(&name)?;
        }
    }
    wal.sync()?;
    for dir in ABOUT_FILES {
        if new.path(dir)?.is_dir() {
            new.empty_dir(dir)?;
        }
    }
    for name in from.open_dir(rel)?.names()? {
        if name.to_str().is_some_and(is_wal_file) {
            let to = Path::new("pg_wal").join(&name);
            from.rename(Path::new(rel).join(&name), new, to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wal_is_replaced_and_histories_stay() {
        let dir = tempfile::tempdir().unwrap();
        let area = Area::new(dir.path()).unwrap();
        let from = Area::new(&dir.path().join("from")).unwrap();
        for name in ["from", "from/pg_wal", "pg_wal", "pg_wal/archive_status"] {
            area.create_dir(name, 0o700).unwrap();
        }
        for name in [
            "from/pg_wal/000000010000000000000009",
            "pg_wal/000000010000000000000001",
            "pg_wal/000000010000000000000002.partial",
            "pg_wal/00000002.history",
            "pg_wal/archive_status/000000010000000000000001.ready",
        ] {
            area.write(name, b"", 0o600).unwrap();
        }
        replace_wal(&from, "pg_wal", &area).unwrap();
        let mut names = area.open_dir("pg_wal").unwrap().names().unwrap();
        names.sort();
        assert_eq!(
            names,
            [
                "000000010000000000000009",
                "00000002.history",
                "archive_status"
            ]
        );
        let marks = area.open_dir("pg_wal/archive_status").unwrap();
        assert!(marks.names().unwrap().is_empty());
    }
}
