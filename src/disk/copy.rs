//! Copies of one file.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, openat};
use nix::sys::stat::{Mode, SFlag, fstat};

use super::act::{Act, READ, ask, failure, read_failure, trace};
use super::area::Area;
use super::holes::{each_part, is_sparse};
use super::write::create;
use crate::error::{Code, Error, Result};
use crate::fault;

/// Copies an open regular file to a new name, with its mode; nothing is synced.
pub(super) fn copy_open(
    from: &mut File,
    from_path: &Path,
    dir: &OwnedFd,
    name: &OsStr,
    path: &Path,
    mode: u32,
) -> Result<(File, u64)> {
    let mut to = create(dir, name, path, mode)?;
    fault::point("disk.copy.created");
    let bytes = ask(Act::Copy)
        .map_err(io::Error::from)
        .and_then(|()| copy_all(from, &mut to))
        .map_err(|e| failure("copy to", path, e).fact("file", from_path.display()))?;
    trace("copy", || [from_path.to_owned(), path.to_owned()]);
    Ok((to, bytes))
}

/// On Linux each part is copied by `copy_file_range(2)` where the file systems can do it.
fn copy_all(from: &mut File, to: &mut File) -> io::Result<u64> {
    let len = from.metadata()?.len();
    if !is_sparse(from, len)? {
        return io::copy(from, to);
    }
    each_part(from, len, |part| {
        let (mut from, mut to) = (&*from, &*to);
        from.seek(SeekFrom::Start(part.start))?;
        to.seek(SeekFrom::Start(part.start))?;
        let wanted = part.end - part.start;
        match io::copy(&mut from.take(wanted), &mut to)? == wanted {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    })?;
    to.set_len(len)?;
    Ok(len)
}

/// Opens a regular file for reading and tells its mode; a symbolic link is refused.
pub(super) fn open_regular(dir: impl AsFd, name: &OsStr, path: &Path) -> Result<(File, u32)> {
    let opened = ask(Act::Open).and_then(|()| openat(dir, name, READ, Mode::empty()));
    let file = opened.map_err(|e| match e {
        Errno::ELOOP => Error::new(
            Code::DiskOperation,
            format!("{} is a symbolic link, not a file", path.display()),
        )
        .fact("path", path.display()),
        e => read_failure("open", path, e),
    })?;
    let mode = fstat(&file)
        .map_err(|e| read_failure("examine", path, e))?
        .st_mode;
    if mode & SFlag::S_IFMT.bits() != SFlag::S_IFREG.bits() {
        return Err(Error::new(
            Code::DiskOperation,
            format!("{} is not a regular file", path.display()),
        )
        .fact("path", path.display()));
    }
    Ok((File::from(file), mode & 0o7777))
}

impl Area {
    /// Copies a regular file to a name that must be free and returns its length.
    ///
    /// The mode is kept. Neither end may be a symbolic link. Nothing is synced, and a failure
    /// leaves what was copied so far.
    pub fn copy_file(&self, from: &Path, rel: impl AsRef<Path>) -> Result<u64> {
        let place = self.place(rel.as_ref())?;
        let (mut file, mode) = open_regular(AT_FDCWD, from.as_os_str(), from)?;
        fault::point("disk.copy.begin");
        let (_, bytes) = copy_open(&mut file, from, &place.dir, &place.name, &place.path, mode)?;
        fault::point("disk.copy.done");
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn a_copy_keeps_bytes_and_mode_and_overwrites_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let area = Area::new(&dir.path().join("area")).unwrap();
        area.create_dir("", 0o700).unwrap();
        let from = dir.path().join("from");
        fs::write(&from, vec![7; 300_000]).unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o640)).unwrap();

        assert_eq!(area.copy_file(&from, "to").unwrap(), 300_000);
        let to = area.root().join("to");
        assert_eq!(fs::read(&to).unwrap(), vec![7; 300_000]);
        assert_eq!(fs::metadata(&to).unwrap().mode() & 0o7777, 0o640);
        assert!(area.copy_file(&from, "to").is_err());

        symlink(&from, dir.path().join("alias")).unwrap();
        for not_a_file in [dir.path().join("alias"), dir.path().to_owned()] {
            let error = area.copy_file(&not_a_file, "other").unwrap_err();
            assert_eq!(error.code(), Code::DiskOperation);
        }
        assert!(!area.root().join("other").exists());
    }
}
