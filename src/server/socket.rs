//! The directory of a private server's socket, closed to everybody else.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::command::Pauses;
use super::spec::CLUSTER_NAME;
use crate::disk::{self, Area, TEMPORARY, Temporary};
use crate::error::{Code, Error, Remedy, Result};

/// The longest path a socket may have: `sun_path` less the final zero.
const LONGEST: usize = 107;

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
        (name == "pid" || name == "postmaster.pid")
            && process_in(entry.path()).is_some_and(|process| is_at_work(process, dir))
    })
}

fn process_in(file: &Path) -> Option<i32> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let number: i32 = text.lines().next()?.trim().parse().ok()?;
    Some(number.saturating_abs())
}

/// Whether this process is a server of ours, or works below this directory; what cannot be seen may
/// well be. Another process may have been given the number since, and may live for ever.
fn is_at_work(process: i32, dir: &Path) -> bool {
    if kill(Pid::from_raw(process), None) == Err(Errno::ESRCH) {
        return false;
    }
    let of = Path::new("/proc").join(process.to_string());
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let below = std::fs::read_link(of.join("cwd")).is_ok_and(|place| place.starts_with(dir));
    let named = format!("cluster_name={CLUSTER_NAME}");
    let is_named = |words: Vec<u8>| {
        let mut words = words.split(|byte| *byte == 0);
        words.any(|word| word == named.as_bytes())
    };
    below || std::fs::read(of.join("cmdline")).map_or(true, is_named)
}

fn fits(parent: &Path, port: u16) -> bool {
    let random = 6;
    let socket = format!("/{TEMPORARY}/.s.PGSQL.{port}").len() + random;
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
    use std::os::unix::fs::MetadataExt;

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
}
