//! Old goes, and nothing but old.

use std::path::Path;

use super::context::{CONTROL, Context, RETIRED};
use crate::disk::Area;
use crate::error::{Code, Error, Remedy, Result};
use crate::pg::control::is_wal_file;
use crate::pg::{ControlFile, DataDir};

/// Goes last, because the control file in it says whose the directory is.
const LAST: &str = "global";

impl Context<'_> {
    /// Removes old: its folders in tablespaces, its WAL directory, its data directory.
    ///
    /// Other things in a tablespace location, and a configuration directory outside the data
    /// directory, are not old's to take along. May be repeated after any interruption.
    pub fn remove_old_cluster(&self) -> Result<()> {
        let old = &self.plan.old;
        if !old.data_dir.exists() {
            return Ok(());
        }
        self.old_is_down()?;
        self.old_is_itself()?;
        let folder = DataDir::tablespace_version_dir(old.version.major, old.catalog_version);
        // Those made in place go with the data directory.
        let outside = old.tablespaces.iter().filter(|place| !place.in_place);
        for place in outside {
            if place.location.is_dir() {
                Area::new(&place.location)?.remove_tree(&folder)?;
            }
        }
        if let Some(wal) = old.wal_dir.as_ref().filter(|wal| wal.is_dir()) {
            remove_wal(wal)?;
        }
        let area = self.old_area()?;
        for name in names(&old.data_dir)? {
            if name != LAST {
                area.remove_tree(&name)?;
            }
        }
        area.remove_tree("")
    }

    /// Another cluster may lie where old was by the time it is to be removed.
    fn old_is_itself(&self) -> Result<()> {
        let dir = &self.plan.old.data_dir;
        for name in [CONTROL, RETIRED] {
            let path = dir.join(name);
            if path.exists() {
                let found = ControlFile::read_file(&path)?.system_identifier;
                return if found == self.plan.old.system_identifier {
                    Ok(())
                } else {
                    Err(strange(dir))
                };
            }
        }
        // What is left of a removal that was interrupted has no version any more.
        if dir.join("PG_VERSION").exists() {
            Err(strange(dir))
        } else {
            Ok(())
        }
    }
}

fn strange(dir: &Path) -> Error {
    Error::new(
        Code::StateForeign,
        "another cluster lies where the old one of this migration was",
    )
    .fact("data directory", dir.display())
    .remedy(Remedy::manual(
        "nothing of it was removed; move it away, or leave it and remove the \
                            state directory",
    ))
}

fn names(dir: &Path) -> Result<Vec<std::ffi::OsString>> {
    let unreadable = |e: &std::io::Error| Error::io(Code::NotReadable, "list", dir, e);
    std::fs::read_dir(dir)
        .map_err(|e| unreadable(&e))?
        .map(|entry| {
            entry
                .map(|entry| entry.file_name())
                .map_err(|e| unreadable(&e))
        })
        .collect()
}

/// A WAL directory outside the data directory may hold other things beside old's WAL.
fn remove_wal(wal: &Path) -> Result<()> {
    let area = Area::new(wal)?;
    for name in names(wal)? {
        if name.to_str().is_some_and(is_of_wal) {
            area.remove_tree(&name)?;
        }
    }
    Ok(())
}

fn is_of_wal(name: &str) -> bool {
    let hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let history = name
        .strip_suffix(".history")
        .is_some_and(|id| id.len() == 8 && hexadecimal(id));
    is_wal_file(name)
        || history
        || matches!(name, "archive_status" | "summaries")
        || name.starts_with("xlogtemp.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wal_is_taken_for_wal() {
        for name in [
            "000000010000000000000001",
            "000000010000000000000001.partial",
            "000000010000000000000001.00000028.backup",
            "00000002.history",
            "archive_status",
            "xlogtemp.123",
        ] {
            assert!(is_of_wal(name), "{name}");
        }
        for name in ["17", "notes", "lost+found", "history", "backup-2026", ""] {
            assert!(!is_of_wal(name), "{name}");
        }
    }
}
