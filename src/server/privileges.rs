//! Becoming the owner of the old data directory, once and for good.

use std::ffi::CString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::unistd::{Gid, Uid, User};

use crate::error::{Code, Error, Remedy, Result};
use crate::pg::{DataDir, quote};

/// Who the process has become; children are told so, since its own environment is still root's.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) name: String,
    pub(super) home: PathBuf,
}

static BECOME: OnceLock<Owner> = OnceLock::new();

/// The user the process has become, if it was started as root.
pub(super) fn owner() -> Option<&'static Owner> {
    BECOME.get()
}

/// Gives root up for the owner of the cluster behind this path, before anything of it is read;
/// of anybody else nothing is demanded yet.
///
/// The path may be that of a configuration directory.
pub fn leave_root(given: &Path) -> Result<()> {
    if !Uid::effective().is_root() {
        return Ok(());
    }
    let place = DataDir::whose(given)?;
    become_owner_of(&place, std::fs::symlink_metadata(&place))
}

/// Makes the process the owner of the old data directory, for ever, if it is root; else demands
/// that it already is.
///
/// Must be called before any other thread is started, and before anything is written. A
/// directory of root's is refused, because PostgreSQL does not run as root.
pub fn become_owner(datadir: &Path) -> Result<()> {
    become_owner_of(datadir, std::fs::metadata(datadir))
}

fn become_owner_of(datadir: &Path, found: std::io::Result<Metadata>) -> Result<()> {
    let metadata =
        found.map_err(|error| Error::io(Code::NotADataDirectory, "read", datadir, &error))?;
    let (uid, gid) = (Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid()));
    let current = Uid::effective();
    if uid.is_root() {
        return Err(owned_by_root(datadir));
    }
    if current == uid && Uid::current() == uid {
        return Ok(());
    }
    if !current.is_root() {
        return Err(wrong_owner(datadir, uid, current));
    }
    drop_root(uid, gid).map_err(|error| {
        Error::new(
            Code::WrongOwner,
            format!(
                "could not become user {}, the owner of the data directory",
                name_of(uid)
            ),
        )
        .fact("data directory", datadir.display())
        .caused_by(&error)
    })?;
    if nix::unistd::setuid(Uid::from_raw(0)).is_ok() || Uid::effective() != uid {
        return Err(Error::new(
            Code::Internal,
            "root could be regained after it was given up",
        ));
    }
    Ok(())
}

fn drop_root(uid: Uid, directory_group: Gid) -> nix::Result<()> {
    let user = User::from_uid(uid)?;
    match &user {
        Some(user) => {
            let name = CString::new(user.name.as_bytes()).map_err(|_| nix::Error::EINVAL)?;
            nix::unistd::initgroups(&name, user.gid)?;
            nix::unistd::setgid(user.gid)?;
        }
        // A container may know the number and no name.
        None => {
            nix::unistd::setgroups(&[directory_group])?;
            nix::unistd::setgid(directory_group)?;
        }
    }
    nix::unistd::setuid(uid)?;
    // A second call finds the process no longer root and does not come this far.
    let _ = BECOME.set(match user {
        Some(user) => Owner {
            name: user.name,
            home: user.dir,
        },
        None => Owner {
            name: uid.to_string(),
            home: PathBuf::from("/"),
        },
    });
    Ok(())
}

fn name_of(uid: Uid) -> String {
    match User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    }
}

fn owned_by_root(datadir: &Path) -> Error {
    let path = quote::shell(&datadir.to_string_lossy());
    Error::new(Code::OwnedByRoot, "the old data directory belongs to root")
        .fact("data directory", datadir.display())
        .remedy(Remedy::manual(format!(
            "give it back to the user its server runs as: chown -R USER {path}"
        )))
}

fn wrong_owner(datadir: &Path, owner: Uid, current: Uid) -> Error {
    let owner = name_of(owner);
    Error::new(
        Code::WrongOwner,
        format!("the old data directory belongs to {owner}, not to you"),
    )
    .fact("data directory", datadir.display())
    .fact("owner", &owner)
    .fact("you are", name_of(current))
    .remedy(Remedy::manual(match self::owner() {
        None => format!(
            "run the same command as that user (sudo -u {}), or as root",
            quote::shell(&owner)
        ),
        // Root became the owner of the configuration, who is somebody else.
        Some(_) => {
            "give the data directory itself instead of its configuration directory".to_owned()
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The drop itself cannot be undone in this process; the integration tests see it.
    #[test]
    fn a_directory_of_root_is_refused() {
        let error = become_owner(Path::new("/")).unwrap_err();
        assert_eq!(error.code(), Code::OwnedByRoot);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = become_owner(Path::new("/nonexistent/data")).unwrap_err();
        assert_eq!(error.code(), Code::NotADataDirectory);
        assert!(error.message().contains("/nonexistent/data"));
    }
}
