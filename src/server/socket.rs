//! The directory of a private server's socket, closed to everybody else.

use std::fs::Permissions;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::disk::Area;
use crate::error::{Code, Error, Remedy, Result};

/// The longest path a socket may have: `sun_path` less the final zero.
const LONGEST: usize = 107;
const PREFIX: &str = "pg_migrator-";

/// A directory that goes away with the value.
#[derive(Debug)]
pub(super) struct PrivateSocket {
    area: Area,
}

impl PrivateSocket {
    /// Makes the directory in `parent`, or where temporary files go.
    ///
    /// It holds its own access rules, since those of the cluster may demand a password:
    /// whoever can open the directory may connect, and only the owner can.
    pub(super) fn create(parent: Option<&Path>, port: u16) -> Result<PrivateSocket> {
        let chosen = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let parent = match parent {
            None if !fits(&chosen, port) => PathBuf::from("/tmp"),
            _ => chosen,
        };
        if !fits(&parent, port) {
            return Err(too_long(&parent));
        }
        let directory = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(&parent)
            .map_err(|error| {
                Error::io(Code::NotWritable, "make a directory in", &parent, &error).remedy(
                    Remedy::manual("give a directory you can write to with --socketdir"),
                )
            })?;
        let socket = PrivateSocket {
            area: Area::new(directory.path())?,
        };
        // From here on the directory is removed by us, through the room that owns removals.
        let _ = directory.keep();
        socket.area.write("hba", b"local all all trust\n", 0o600)?;
        Ok(socket)
    }

    pub(super) fn path(&self) -> &Path {
        self.area.root()
    }
}

impl Drop for PrivateSocket {
    fn drop(&mut self) {
        // What cannot be removed is an empty directory among temporary files.
        let _ = self.area.remove_tree("");
    }
}

/// Removes what a killed run has left, if the path is such a directory and ours.
pub(super) fn sweep(path: &Path) -> Result<()> {
    let named = path
        .file_name()
        .is_some_and(|name| name.as_bytes().starts_with(PREFIX.as_bytes()));
    let ours = path.symlink_metadata().is_ok_and(|metadata| {
        metadata.is_dir()
            && metadata.uid() == nix::unistd::geteuid().as_raw()
            && metadata.mode() & 0o077 == 0
    });
    if named && ours {
        Area::new(path)?.remove_tree("")?;
    }
    Ok(())
}

fn fits(parent: &Path, port: u16) -> bool {
    let random = 6;
    let socket = format!("/{PREFIX}/.s.PGSQL.{port}").len() + random;
    parent.as_os_str().len() + socket <= LONGEST
}

fn too_long(parent: &Path) -> Error {
    Error::new(
        Code::SocketPath,
        format!(
            "the path of a socket in {} would be too long",
            parent.display()
        ),
    )
    .fact("limit", format!("{LONGEST} bytes"))
    .remedy(Remedy::manual(
        "give a shorter directory with --socketdir, such as /tmp",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_private_and_goes_away() {
        let parent = tempfile::tempdir().unwrap();
        let socket = PrivateSocket::create(Some(parent.path()), 50432).unwrap();
        let path = socket.path().to_owned();
        let mode = path.metadata().unwrap().mode() & 0o777;
        assert_eq!(mode, 0o700);
        assert!(path.join("hba").is_file());
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_long_path_is_refused_where_it_was_asked_for() {
        let parent = PathBuf::from(format!("/{}", "x".repeat(90)));
        let error = PrivateSocket::create(Some(&parent), 50432).unwrap_err();
        assert_eq!(error.code(), Code::SocketPath);
    }

    #[test]
    fn only_directories_of_ours_are_swept() {
        let parent = tempfile::tempdir().unwrap();
        let other = parent.path().join("precious");
        std::fs::create_dir(&other).unwrap();
        std::fs::set_permissions(&other, Permissions::from_mode(0o700)).unwrap();
        sweep(&other).unwrap();
        assert!(other.exists());
        let socket = PrivateSocket::create(Some(parent.path()), 1).unwrap();
        sweep(socket.path()).unwrap();
        assert!(!socket.path().exists());
        sweep(socket.path()).unwrap();
    }
}
