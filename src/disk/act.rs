//! What every change has in common: its line in the trace, its error, its system call.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::fsync;

use crate::error::{Code, Error, Remedy, Result};
use crate::fault;

/// Flags for a directory that must be one, and not a link to one.
pub(super) const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Flags for reading a file; O_NONBLOCK because opening a pipe would wait for a writer.
pub(super) const READ: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_CLOEXEC);

/// Flags for a new file that nobody else has a name for.
pub(super) const CREATE: OFlag = OFlag::O_WRONLY
    .union(OFlag::O_CREAT)
    .union(OFlag::O_EXCL)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Adds a line to the trace; the paths are only made where there is one.
#[cfg(not(feature = "fault"))]
#[inline(always)]
pub(super) fn trace<const N: usize>(_op: &str, _paths: impl FnOnce() -> [PathBuf; N]) {}

#[cfg(feature = "fault")]
pub(super) fn trace<const N: usize>(op: &str, paths: impl FnOnce() -> [PathBuf; N]) {
    if std::env::var_os("PGM_TRACE").is_none() {
        return;
    }
    let mut line = op.to_owned();
    for path in paths() {
        line.push(' ');
        for c in path.to_string_lossy().chars() {
            match c {
                ' ' | '\t' | '\n' | '\\' => line.push_str(&format!("\\{:03o}", u32::from(c))),
                c => line.push(c),
            }
        }
    }
    fault::trace(&line);
}

/// Tells a trace that another program, whom nobody waits for until it is on the disk, writes below
/// this path.
///
/// Whether that becomes durable before anything depends on it shows in the trace alone; nothing is
/// done here.
pub fn unsynced(path: &Path) {
    trace("unsynced", || [path.to_owned()]);
}

/// Kinds of acts that a disk may refuse; with the feature `fault` each of them can be made to
/// fail, by its name.
macro_rules! acts {
    ($($act:ident => $name:literal),* $(,)?) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Act { $($act),* }

        /// The names of all kinds of acts a disk may refuse.
        #[cfg(feature = "fault")]
        pub const ACTS: &[&str] = &[$($name),*];

        impl Act {
            fn name(self) -> &'static str {
                match self { $(Self::$act => $name),* }
            }
        }
    };
}

acts! {
    Open => "disk.open",
    Create => "disk.create",
    MakeDir => "disk.mkdir",
    Write => "disk.write",
    Append => "disk.append",
    Copy => "disk.copy",
    CopyRange => "disk.copy_range",
    Clone => "disk.clone",
    Truncate => "disk.truncate",
    Rename => "disk.rename",
    Link => "disk.link",
    Symlink => "disk.symlink",
    Unlink => "disk.unlink",
    RemoveDir => "disk.rmdir",
    SyncFile => "disk.fsync",
    SyncLine => "disk.fdatasync",
    SyncDir => "disk.fsyncdir",
    SyncFileSystem => "disk.syncfs",
    SyncReplica => "disk.replica.sync",
    ReadReplica => "disk.replica.read",
    WriteReplica => "disk.replica.write",
}

/// Whether the act may be done, or the error it is to fail with.
pub(super) fn ask(act: Act) -> nix::Result<()> {
    fault::error(act.name()).map_err(|e| e.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

/// The error of one system call on one path.
pub(super) fn failure(doing: &str, path: &Path, error: impl Into<io::Error>) -> Error {
    let error = error.into();
    let errno = error.raw_os_error().map(Errno::from_raw);
    let code = match errno {
        Some(Errno::ENOSPC | Errno::EDQUOT) => Code::NoSpace,
        Some(Errno::EACCES | Errno::EROFS) => Code::NotWritable,
        Some(Errno::EXDEV) => Code::FileSystems,
        _ => Code::DiskOperation,
    };
    let failed = Error::io(code, doing, path, &error).fact("path", path.display());
    let dir = path.parent().unwrap_or(path).display();
    failed.remedy(Remedy::manual(match (code, errno) {
        (Code::NotWritable, _) => format!(
            "give user {} the right to read and write {dir}, on a file system mounted for writing",
            nix::unistd::geteuid(),
        ),
        (Code::NoSpace, _) => format!("make room, or raise the quota, on the file system of {dir}"),
        (Code::FileSystems, _) => {
            "have both on one file system and one mount, or choose a mode that copies".to_owned()
        }
        (_, Some(Errno::EMFILE | Errno::ENFILE)) => {
            "raise the limit of open files (ulimit -n), or give fewer --jobs".to_owned()
        }
        (_, Some(Errno::EIO)) => "look into the kernel's log for what the disk or its file system \
                                  reported, and mend that before anything else"
            .to_owned(),
        _ => format!(
            "find out what keeps user {} from doing that",
            nix::unistd::geteuid()
        ),
    }))
}

/// The error of an attempt to read, where lacking rights means something else.
pub(super) fn read_failure(doing: &str, path: &Path, error: impl Into<io::Error>) -> Error {
    let error = error.into();
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Error::io(Code::NotReadable, doing, path, &error).fact("path", path.display());
    }
    failure(doing, path, error)
}

/// The refusal of a path that leaves its area.
pub(super) fn outside(path: &Path, why: &str) -> Error {
    Error::new(Code::OutsideArea, format!("{}: {why}", path.display())).fact("path", path.display())
}

/// A directory handle below another one; a symbolic link is not followed.
pub(super) fn open_dir_at(dir: impl AsFd, name: &OsStr) -> nix::Result<OwnedFd> {
    ask(Act::Open)?;
    openat(dir, name, DIRECTORY, Mode::empty())
}

/// Makes a file durable; a failure is final, since the kernel may have dropped the pages.
pub(super) fn sync_file(file: impl AsFd, path: &Path) -> Result<()> {
    if fault::planted("no-fsync-of-a-file") {
        return Ok(());
    }
    ask(Act::SyncFile)
        .and_then(|()| fsync(file))
        .map_err(|e| failure("make durable", path, e))?;
    trace("fsync", || [path.to_owned()]);
    Ok(())
}

/// Makes the entries of a directory durable.
pub(super) fn sync_dir(dir: impl AsFd, path: &Path) -> Result<()> {
    if fault::planted("no-fsync-of-a-directory") {
        return Ok(());
    }
    ask(Act::SyncDir)
        .and_then(|()| fsync(dir))
        .map_err(|e| failure("make durable", path, e))?;
    trace("fsyncdir", || [path.to_owned()]);
    Ok(())
}
