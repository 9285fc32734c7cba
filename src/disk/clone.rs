//! Files that the file system makes from old's: clones, and copies it makes itself.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use nix::errno::Errno;

use super::act::{Act, ask, failure, read_failure, trace};
use super::copy::open_regular;
use super::dir::{AreaDir, OldDir, plain};
use super::holes::{each_part, is_sparse};
use super::sync::begin_writing;
use super::write::create;
use crate::error::{Code, Error, Remedy, Result};
use crate::fault;

/// The most that one call copies, so that a request to stop is seen between two.
const CHUNK: u64 = 1 << 30;

impl AreaDir {
    /// Makes a file that shares the blocks of one of old, with its mode, until either is written
    /// to (`FICLONE`); returns its length.
    ///
    /// An occupied name is an error, and so is a file system that cannot share blocks: nothing
    /// is copied instead, and an empty file may be left. Nothing is made durable.
    pub fn reflink_from(
        &self,
        old: &OldDir,
        old_name: impl AsRef<OsStr>,
        new_name: impl AsRef<OsStr>,
    ) -> Result<u64> {
        self.make_from(old, old_name.as_ref(), new_name.as_ref(), &CLONE)
    }

    /// Has the kernel copy a file of old, with its mode, by `copy_file_range(2)` and by nothing
    /// else; returns its length.
    ///
    /// As for [`Self::copy_from`], but where the file systems cannot do it that is an error.
    pub fn copy_range_from(
        &self,
        old: &OldDir,
        old_name: impl AsRef<OsStr>,
        new_name: impl AsRef<OsStr>,
    ) -> Result<u64> {
        self.make_from(old, old_name.as_ref(), new_name.as_ref(), &RANGE)
    }

    fn make_from(&self, old: &OldDir, of_old: &OsStr, name: &OsStr, way: &Way) -> Result<u64> {
        let (of_old, name) = (plain(of_old)?, plain(name)?);
        let from_path = old.path().join(of_old);
        let (from, mode) = open_regular(&old.dir, of_old, &from_path)?;
        let len = length(&from, &from_path)?;
        fault::point(way.begin);
        let path = self.path().join(name);
        let to = create(&self.dir, name, &path, mode)?;
        fault::point(way.created);
        ask(way.act)
            .map_err(io::Error::from)
            .and_then(|()| (way.fill)(&from, &to, len))
            .map_err(|e| refused(way, &path, e).fact("file", from_path.display()))?;
        trace(way.name, || [from_path.clone(), path.clone()]);
        begin_writing(&to);
        fault::point(way.done);
        Ok(len)
    }
}

/// One way to fill a file that was just made, with the names it has elsewhere.
struct Way {
    act: Act,
    name: &'static str,
    doing: &'static str,
    begin: &'static str,
    created: &'static str,
    done: &'static str,
    fill: fn(&File, &File, u64) -> io::Result<()>,
}

const CLONE: Way = Way {
    act: Act::Clone,
    name: "clone",
    doing: "clone to",
    begin: "disk.clone.begin",
    created: "disk.clone.created",
    done: "disk.clone.done",
    fill: |from, to, _| clone(from, to),
};

const RANGE: Way = Way {
    act: Act::CopyRange,
    name: "copy",
    doing: "copy by copy_file_range to",
    begin: "disk.copy_range.begin",
    created: "disk.copy_range.created",
    done: "disk.copy_range.done",
    fill: copy_ranges,
};

/// A file system that cannot do it says so in several ways, or ends early, and none of that tells
/// what to do.
fn refused(way: &Way, path: &Path, error: io::Error) -> Error {
    match error.raw_os_error().map(Errno::from_raw) {
        None | Some(Errno::EOPNOTSUPP | Errno::ENOTTY | Errno::ENOSYS | Errno::EINVAL) => {
            let remedy = "roll back, and prepare again with --mode auto, which clones what can be \
                          cloned, or with --copy";
            Error::io(Code::FileSystems, way.doing, path, &error)
                .fact("path", path.display())
                .remedy(Remedy::manual(remedy))
        }
        Some(_) => failure(way.doing, path, error),
    }
}

fn length(file: &File, path: &Path) -> Result<u64> {
    let found = file.metadata();
    Ok(found.map_err(|e| read_failure("examine", path, e))?.len())
}

/// Makes `to` share all blocks of `from`.
pub(super) fn clone(from: &File, to: &File) -> io::Result<()> {
    rustix::fs::ioctl_ficlone(to, from).map_err(io::Error::from)
}

fn copy_ranges(from: &File, to: &File, len: u64) -> io::Result<()> {
    if !is_sparse(from, len)? {
        return copy_range(from, to, 0..len);
    }
    each_part(from, len, |part| copy_range(from, to, part))?;
    to.set_len(len)
}

/// Has the kernel copy a part of one file to the same place in another.
pub(super) fn copy_range(from: &File, to: &File, part: Range<u64>) -> io::Result<()> {
    let (mut read, mut written) = (part.start, part.start);
    while read < part.end {
        let wanted = usize::try_from((part.end - read).min(CHUNK)).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut written), wanted) {
            // Some file systems say so of what they cannot do.
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::pair::pair;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn pair_with_a_file() -> (tempfile::TempDir, OldDir, AreaDir) {
        let (dir, old, new) = pair();
        let file = dir.path().join("old/1");
        fs::write(&file, vec![7; 300_000]).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        (dir, old, new)
    }

    #[test]
    fn the_kernel_copies_bytes_and_mode() {
        let (dir, old, new) = pair_with_a_file();
        assert_eq!(new.copy_range_from(&old, "1", "2").unwrap(), 300_000);
        let made = dir.path().join("new/2");
        assert_eq!(fs::read(&made).unwrap(), vec![7; 300_000]);
        assert_eq!(fs::metadata(&made).unwrap().mode() & 0o7777, 0o640);
        assert!(new.copy_range_from(&old, "1", "2").is_err());
        fs::write(dir.path().join("old/3"), "").unwrap();
        assert_eq!(new.copy_range_from(&old, "3", "3").unwrap(), 0);
        let error = new.copy_range_from(&old, "1", "../2").unwrap_err();
        assert_eq!(error.code(), Code::OutsideArea);
    }

    #[test]
    fn what_cannot_be_cloned_is_not_copied() {
        let (dir, old, new) = pair_with_a_file();
        let made = dir.path().join("new/2");
        match new.reflink_from(&old, "1", "2") {
            Ok(len) => {
                assert_eq!(len, 300_000);
                assert_eq!(fs::read(&made).unwrap(), vec![7; 300_000]);
                assert_eq!(fs::metadata(&made).unwrap().mode() & 0o7777, 0o640);
                let (a, b) = (old.identity("1").unwrap(), new.identity("2").unwrap());
                assert!(!a.unwrap().same_file(&b.unwrap()));
            }
            Err(error) => {
                assert!(error.message().contains("could not clone to"), "{error}");
                assert_eq!(error.code(), Code::FileSystems);
                assert_eq!(fs::metadata(&made).unwrap().len(), 0);
            }
        }
    }
}
