//! The directory of a private server's socket, closed to everybody else.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::command::Pauses;
use super::spec::CLUSTER_NAME;
use crate::disk::{self, Area, Temporary};
use crate::error::{Code, Error, Remedy, Result};

/// The longest path a socket may have: `sun_path` less the final zero.
const LONGEST: usize = 107;
const PREFIX: &str = "pg_migrator-";

/// A directory that goes away with the value.
#[derive(Debug)]
pub(super) struct PrivateSocket {
    area: Area,
    directory: Temporary,
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
        let directory = Temporary::in_dir(&parent).map_err(|error| {
            error.remedy(Remedy::manual(
                "give a directory you can write to with --socketdir",
            ))
        })?;
        let socket = PrivateSocket {
            area: Area::new(directory.path())?,
            directory,
        };
        socket.area.write("hba", b"local all all trust\n", 0o600)?;
        Ok(socket)
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// How long a server is waited for whose run was killed: the kernel has told it to stop.
const GOING: Duration = Duration::from_secs(5);

/// Removes directories among temporary files that killed runs have left, also of throw-away
/// clusters; not one of a server that lives on.
pub fn sweep_temporary(socket_parent: Option<&Path>) {
    let temporary = std::env::temp_dir();
    let mut parents = vec![temporary.as_path(), Path::new("/tmp")];
    parents.extend(socket_parent);
    parents.dedup();
    for parent in parents {
        disk::sweep(parent, keeps_its_server);
    }
}

fn keeps_its_server(dir: &Path) -> bool {
    let begun = Instant::now();
    let mut pauses = Pauses::new();
    while has_server(dir) {
        if begun.elapsed() > GOING {
            return true;
        }
        pauses.pause();
    }
    false
}

/// A private server keeps its number beside its socket, any server in its data directory.
fn has_server(dir: &Path) -> bool {
    let files = walkdir::WalkDir::new(dir).max_depth(2).into_iter();
    files.filter_map(Result::ok).any(|entry| {
        let name = entry.file_name();
        (name == "pid" || name == "postmaster.pid") && names_a_process(entry.path())
    })
}

fn names_a_process(file: &Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let number = text
        .lines()
        .next()
        .and_then(|line| line.trim().parse().ok());
    number.is_some_and(|number: i32| is_server_of_ours(number.saturating_abs()))
}

/// Another process may have been given the number since, and may live for ever.
#[cfg(target_os = "linux")]
fn is_server_of_ours(process: i32) -> bool {
    let words = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let named = format!("cluster_name={CLUSTER_NAME}");
    words
        .split(|byte| *byte == 0)
        .any(|word| word == named.as_bytes())
}

#[cfg(not(target_os = "linux"))]
fn is_server_of_ours(process: i32) -> bool {
    use nix::{errno::Errno, sys::signal::kill, unistd::Pid};
    kill(Pid::from_raw(process), None) != Err(Errno::ESRCH)
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
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

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
