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
    use std::io::Write;

    let Some(file) = std::env::var_os("PGM_TRACE") else {
        return;
    };
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
    line.push('\n');
    let opened = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(file);
    if let Ok(mut file) = opened {
        // A lost line shows as an act that was never made, which the reader of the trace finds.
        let _ = file.write_all(line.as_bytes());
    }
}

/// The error of one system call on one path.
pub(super) fn failure(doing: &str, path: &Path, error: impl Into<io::Error>) -> Error {
    let error = error.into();
    let code = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOSPC | Errno::EDQUOT) => Code::NoSpace,
        Some(Errno::EACCES | Errno::EROFS) => Code::NotWritable,
        Some(Errno::EXDEV) => Code::FileSystems,
        _ => Code::DiskOperation,
    };
    let failed = Error::io(code, doing, path, &error).fact("path", path.display());
    match code {
        Code::NotWritable => failed.remedy(Remedy::manual(format!(
            "give user {} the right to read and write {}, on a file system mounted for writing",
            nix::unistd::geteuid(),
            path.parent().unwrap_or(path).display()
        ))),
        _ => failed,
    }
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
    openat(dir, name, DIRECTORY, Mode::empty())
}

/// Makes a file durable; a failure is final, since the kernel may have dropped the pages.
pub(super) fn sync_file(file: impl AsFd, path: &Path) -> Result<()> {
    fsync(file).map_err(|e| failure("make durable", path, e))?;
    trace("fsync", || [path.to_owned()]);
    Ok(())
}

/// Makes the entries of a directory durable.
pub(super) fn sync_dir(dir: impl AsFd, path: &Path) -> Result<()> {
    fsync(dir).map_err(|e| failure("make durable", path, e))?;
    trace("fsyncdir", || [path.to_owned()]);
    Ok(())
}
