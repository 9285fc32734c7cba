//! Whose a cluster is, told before anything of it is read.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{canonical_directory, not_a_data_directory, unreadable};
use crate::error::{Code, Error, Remedy, Result};

/// What lies at a path and belongs to the user whose cluster it is.
///
/// That is the directory; only where a configuration directory is root's, as `/etc/postgresql`
/// may be, it is the `postgresql.conf` in it. No file is opened and no link followed but those
/// of the path itself: whoever asks may be root, and what the files hold, or lead to, is the
/// owner's choice.
pub(super) fn place(given: &Path) -> Result<PathBuf> {
    let dir = canonical_directory(given)?;
    let found = dir.metadata().map_err(|e| unreadable("open", &dir, &e))?;
    if found.uid() != 0 || dir.join("PG_VERSION").symlink_metadata().is_ok() {
        return Ok(dir);
    }
    let conf = dir.join("postgresql.conf");
    match conf.symlink_metadata() {
        Ok(found) if found.uid() != 0 => Ok(conf),
        Ok(_) => Err(Error::new(
            Code::OwnedByRoot,
            "the configuration directory belongs to root, and so does its postgresql.conf",
        )
        .fact("configuration directory", dir.display())
        .remedy(Remedy::manual(
            "give the data directory itself, or run the command as the user the server runs as",
        ))),
        Err(_) => Err(not_a_data_directory(
            &dir,
            "it has neither PG_VERSION nor postgresql.conf",
        )),
    }
}
