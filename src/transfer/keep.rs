//! Directories kept as they are, by second names for their files, and given back.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::disk::Area;
use crate::error::{Code, Error, Result};

/// Gives everything below these directories of `from` a second name below `place` of `to`.
///
/// What is kept stays what it is only as long as those files are replaced and never written
/// in place. On another file system they are copied. What an interrupted call left behind is
/// made anew.
pub fn keep(from: &Area, dirs: &[&str], to: &Area, place: &str) -> Result<()> {
    to.remove_tree(place)?;
    to.create_dir(place, 0o700)?;
    for dir in dirs {
        double(&from.path(dir)?, to, &Path::new(place).join(dir))?;
    }
    Ok(())
}

/// Puts the directories back as they were kept; what was kept stays.
pub fn give_back(kept: &Area, place: &str, dirs: &[&str], to: &Area) -> Result<()> {
    for dir in dirs {
        to.remove_tree(dir)?;
        double(&kept.path(Path::new(place).join(dir))?, to, Path::new(dir))?;
    }
    Ok(())
}

fn double(from: &Path, to: &Area, rel: &Path) -> Result<()> {
    let mut dirs = Vec::new();
    for entry in walkdir::WalkDir::new(from).follow_links(false) {
        let entry = entry.map_err(|e| unreadable(from).caused_by(&e))?;
        let below = entry.path().strip_prefix(from).unwrap_or(entry.path());
        // Joining nothing would end the path in a slash.
        let rel: PathBuf = rel.join(below).components().collect();
        if entry.file_type().is_dir() {
            let meta = entry
                .metadata()
                .map_err(|e| unreadable(from).caused_by(&e))?;
            to.create_dir(&rel, meta.permissions().mode() & 0o7777)?;
            dirs.push(rel);
        } else if to.link(entry.path(), &rel).is_err() {
            to.copy_file(entry.path(), &rel)?;
            to.sync_file(&rel)?;
        }
    }
    dirs.iter().try_for_each(|dir| to.sync_dir(dir))
}

fn unreadable(dir: &Path) -> Error {
    Error::new(
        Code::DiskOperation,
        format!("could not read {}", dir.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const DIRS: [&str; 2] = ["pg_xact", "pg_wal"];

    fn areas() -> (tempfile::TempDir, Area, Area) {
        let dir = tempfile::tempdir().unwrap();
        let area = |name: &str| {
            let area = Area::new(&dir.path().join(name)).unwrap();
            area.create_dir("", 0o700).unwrap();
            area
        };
        let (new, state) = (area("new"), area("state"));
        for sub in ["pg_xact", "pg_wal", "pg_wal/archive_status"] {
            new.create_dir(sub, 0o750).unwrap();
        }
        new.write("pg_xact/0000", b"status", 0o640).unwrap();
        new.write("pg_wal/000000010000000000000001", b"wal", 0o600)
            .unwrap();
        (dir, new, state)
    }

    fn seen(dir: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
        let entries = walkdir::WalkDir::new(dir).sort_by_file_name().into_iter();
        entries
            .map(|entry| {
                let entry = entry.unwrap();
                let bytes = fs::read(entry.path()).unwrap_or_default();
                let mode = entry.metadata().unwrap().permissions().mode();
                (entry.path().to_owned(), mode, bytes)
            })
            .collect()
    }

    #[test]
    fn what_was_replaced_is_given_back_also_twice_and_from_half_way() {
        let (_dir, new, state) = areas();
        let before = seen(new.root());
        state.create_dir("kept", 0o700).unwrap();
        state
            .write("kept/left by a killed run", b"", 0o600)
            .unwrap();
        keep(&new, &DIRS, &state, "kept").unwrap();
        assert!(!state.root().join("kept/left by a killed run").exists());

        new.empty_dir("pg_xact").unwrap();
        new.write("pg_xact/0000", b"another status", 0o600).unwrap();
        new.write("pg_xact/0001", b"more", 0o600).unwrap();
        new.remove_tree("pg_wal").unwrap();
        for _ in 0..2 {
            give_back(&state, "kept", &DIRS, &new).unwrap();
            assert_eq!(seen(new.root()), before);
        }
    }
}
