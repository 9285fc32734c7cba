//! Handles on directories, for many acts in one of them.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, fstatat};
use nix::unistd::linkat;
use rustix::fs::{RenameFlags, renameat_with};

use super::act::{Act, CREATE, ask, failure, outside, read_failure, sync_dir, trace};
use super::copy::{copy_open, open_regular};
use super::remove::{names, unlink};
use super::space::FileId;
use super::stamp::Stamp;
use super::sync::{begin_writing, sync_entry};
use crate::error::Result;
use crate::fault;

/// A directory of an area, held open; made by [`crate::disk::Area::open_dir`].
///
/// Its methods take plain names, which cost one system call each whatever the depth. None of
/// them syncs but those that say so.
#[derive(Debug)]
pub struct AreaDir {
    pub(super) dir: OwnedFd,
    path: PathBuf,
}

/// A directory of the old cluster, held open for reading.
#[derive(Debug)]
pub struct OldDir {
    pub(super) dir: OwnedFd,
    path: PathBuf,
}

impl OldDir {
    /// Opens a directory; symbolic links on the way are followed.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir = open(path, flags, Mode::empty())
            .map_err(|e| read_failure("open the directory", path, e))?;
        Ok(Self {
            dir,
            path: path.to_owned(),
        })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names in it, in no order.
    pub fn names(&self) -> Result<Vec<OsString>> {
        names(&self.dir, &self.path)
    }

    /// What the entry is, or nothing where it is absent; a symbolic link is not followed.
    pub fn identity(&self, name: impl AsRef<OsStr>) -> Result<Option<FileId>> {
        identity_at(&self.dir, &self.path, name.as_ref())
    }

    /// The same with its times.
    pub fn stamp(&self, name: impl AsRef<OsStr>) -> Result<Option<Stamp>> {
        look_at(&self.dir, &self.path, name.as_ref(), Stamp::from_stat)
    }
}

impl AreaDir {
    pub(super) fn new(dir: OwnedFd, path: PathBuf) -> Self {
        Self { dir, path }
    }

    /// Its path at the time it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names in it, in no order.
    pub fn names(&self) -> Result<Vec<OsString>> {
        names(&self.dir, &self.path)
    }

    /// What the entry is, or nothing where it is absent; a symbolic link is not followed.
    pub fn identity(&self, name: impl AsRef<OsStr>) -> Result<Option<FileId>> {
        identity_at(&self.dir, &self.path, name.as_ref())
    }

    /// The same with its times.
    pub fn stamp(&self, name: impl AsRef<OsStr>) -> Result<Option<Stamp>> {
        look_at(&self.dir, &self.path, name.as_ref(), Stamp::from_stat)
    }

    /// Gives a file of the old cluster one more name; an occupied name is an error.
    pub fn link_from(
        &self,
        old: &OldDir,
        old_name: impl AsRef<OsStr>,
        new_name: impl AsRef<OsStr>,
    ) -> Result<()> {
        let old_name = plain(old_name.as_ref())?;
        let new_name = plain(new_name.as_ref())?;
        fault::point("disk.link.begin");
        ask(Act::Link)
            .and_then(|()| linkat(&old.dir, old_name, &self.dir, new_name, AtFlags::empty()))
            .map_err(|e| {
                failure("link", &self.path.join(new_name), e)
                    .fact("file", old.path.join(old_name).display())
            })?;
        trace("link", || {
            [old.path.join(old_name), self.path.join(new_name)]
        });
        fault::point("disk.link.done");
        Ok(())
    }

    /// The same for a file that a running server may have removed; `false` where it has.
    pub fn link_if_there(
        &self,
        old: &OldDir,
        old_name: impl AsRef<OsStr>,
        new_name: impl AsRef<OsStr>,
    ) -> Result<bool> {
        let old_name = old_name.as_ref();
        match self.link_from(old, old_name, new_name) {
            Ok(()) => Ok(true),
            Err(error) => match old.identity(old_name)? {
                None => Ok(false),
                Some(_) => Err(error),
            },
        }
    }

    /// Copies a regular file of the old cluster, with its mode, and returns its length.
    ///
    /// An occupied name is an error, and a failure leaves what was copied so far. The file is on
    /// its way to the disk, and durable after [`Self::sync_file`].
    pub fn copy_from(
        &self,
        old: &OldDir,
        old_name: impl AsRef<OsStr>,
        new_name: impl AsRef<OsStr>,
    ) -> Result<u64> {
        let old_name = plain(old_name.as_ref())?;
        let new_name = plain(new_name.as_ref())?;
        let from_path = old.path.join(old_name);
        let (mut from, mode) = open_regular(&old.dir, old_name, &from_path)?;
        fault::point("disk.copy.begin");
        let path = self.path.join(new_name);
        let (to, bytes) = copy_open(&mut from, &from_path, &self.dir, new_name, &path, mode)?;
        begin_writing(&to);
        fault::point("disk.copy.done");
        Ok(bytes)
    }

    /// Renames an entry within the directory, in place of one that exists.
    pub fn rename(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> Result<()> {
        let (from, to) = (plain(from.as_ref())?, plain(to.as_ref())?);
        fault::point("disk.rename.begin");
        ask(Act::Rename)
            .and_then(|()| renameat(&self.dir, from, &self.dir, to))
            .map_err(|e| failure("rename", &self.path.join(from), e))?;
        trace("rename", || [self.path.join(from), self.path.join(to)]);
        fault::point("disk.rename.done");
        Ok(())
    }

    /// Moves an entry of another directory on the same file system to this one, under another
    /// name, which must be free. Nothing is synced.
    pub fn take_from(
        &self,
        from: &Self,
        from_name: impl AsRef<OsStr>,
        name: impl AsRef<OsStr>,
    ) -> Result<()> {
        let (from_name, name) = (plain(from_name.as_ref())?, plain(name.as_ref())?);
        let failed = |e: Errno| {
            failure("move", &from.path.join(from_name), e)
                .fact("to", self.path.join(name).display())
        };
        fault::point("disk.take.begin");
        ask(Act::Rename).map_err(failed)?;
        match renameat_with(
            &from.dir,
            from_name,
            &self.dir,
            name,
            RenameFlags::NOREPLACE,
        ) {
            Ok(()) => {}
            // Not every file system knows the flag; the name was found free.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                renameat(&from.dir, from_name, &self.dir, name).map_err(failed)?;
            }
            Err(error) => return Err(failed(Errno::from_raw(error.raw_os_error()))),
        }
        trace("rename", || {
            [from.path.join(from_name), self.path.join(name)]
        });
        fault::point("disk.take.done");
        Ok(())
    }

    /// Makes a file for nobody but the owner, which stands in for another for a while; one that
    /// is there is fine.
    ///
    /// Nothing is made durable, and no trace is left: nobody may rely on it after a crash.
    pub fn stand_in(&self, name: impl AsRef<OsStr>, bytes: &[u8]) -> Result<()> {
        let name = plain(name.as_ref())?;
        fault::point("disk.stand_in.begin");
        let path = self.path.join(name);
        ask(Act::Create).map_err(|e| failure("create", &path, e))?;
        match openat(&self.dir, name, CREATE, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(file) => File::from(file)
                .write_all(bytes)
                .map_err(|error| failure("write", &path, error)),
            Err(Errno::EEXIST) => Ok(()),
            Err(error) => Err(failure("create", &path, error)),
        }
    }

    /// Removes a file or symbolic link; an absent one is fine.
    pub fn unlink(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = plain(name.as_ref())?;
        fault::point("disk.unlink.begin");
        unlink(&self.dir, name, &self.path.join(name))?;
        fault::point("disk.unlink.done");
        Ok(())
    }

    /// Makes one file of it durable.
    pub fn sync_file(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = plain(name.as_ref())?;
        fault::point("disk.sync_file.begin");
        sync_entry(&self.dir, name, &self.path.join(name))?;
        fault::point("disk.sync_file.done");
        Ok(())
    }

    /// Makes its entries durable.
    pub fn sync(&self) -> Result<()> {
        fault::point("disk.sync_dir.begin");
        sync_dir(&self.dir, &self.path)?;
        fault::point("disk.sync_dir.done");
        Ok(())
    }
}

fn identity_at(dir: &OwnedFd, path: &Path, name: &OsStr) -> Result<Option<FileId>> {
    look_at(dir, path, name, FileId::from_stat)
}

fn look_at<T>(
    dir: &OwnedFd,
    path: &Path,
    name: &OsStr,
    what: impl FnOnce(&FileStat) -> T,
) -> Result<Option<T>> {
    let name = plain(name)?;
    match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(what(&stat))),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(read_failure("examine", &path.join(name), error)),
    }
}

/// The name, if it is one entry of the directory itself.
pub(super) fn plain(name: &OsStr) -> Result<&OsStr> {
    let bytes = name.as_encoded_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        return Err(outside(Path::new(name), "not a plain name"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Area;
    use crate::error::Code;
    use std::fs;

    fn pair() -> (tempfile::TempDir, OldDir, AreaDir) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("old")).unwrap();
        let area = Area::new(&dir.path().join("new")).unwrap();
        area.create_dir("", 0o700).unwrap();
        area.create_dir("base", 0o700).unwrap();
        let old = OldDir::open(&dir.path().join("old")).unwrap();
        let new = area.open_dir("base").unwrap();
        (dir, old, new)
    }

    #[test]
    fn files_are_linked_copied_renamed_and_removed_by_name() {
        let (dir, old, new) = pair();
        fs::write(old.path().join("1"), "rows").unwrap();
        new.link_from(&old, "1", "2").unwrap();
        assert_eq!(new.copy_from(&old, "1", "3").unwrap(), 4);
        assert!(new.link_from(&old, "1", "2").is_err());
        assert!(new.copy_from(&old, "1", "2").is_err());
        let linked = new.identity("2").unwrap().unwrap();
        assert_eq!(old.identity("1").unwrap().unwrap(), linked);
        assert_eq!((linked.links, linked.len), (2, 4));
        assert_ne!(new.identity("3").unwrap().unwrap().inode, linked.inode);

        new.rename("3", "4").unwrap();
        let other = Area::new(&dir.path().join("new"))
            .unwrap()
            .open_dir("")
            .unwrap();
        assert!(other.take_from(&new, "4", "base").is_err());
        other.take_from(&new, "4", "5").unwrap();
        new.take_from(&other, "5", "4").unwrap();
        new.sync_file("4").unwrap();
        new.unlink("2").unwrap();
        new.unlink("2").unwrap();
        new.sync().unwrap();
        assert_eq!(new.identity("2").unwrap(), None);
        assert_eq!(new.names().unwrap(), ["4"]);
        assert_eq!(old.names().unwrap(), ["1"]);
        assert_eq!(fs::read(dir.path().join("old/1")).unwrap(), b"rows");
    }

    #[test]
    fn only_plain_names_are_taken() {
        let (_dir, old, new) = pair();
        fs::write(old.path().join("1"), "rows").unwrap();
        for name in ["", ".", "..", "a/b", "/etc/passwd", "../x"] {
            let refused = [
                new.link_from(&old, "1", name).unwrap_err(),
                new.link_from(&old, name, "x").unwrap_err(),
                new.copy_from(&old, name, "x").map(|_| ()).unwrap_err(),
                new.unlink(name).unwrap_err(),
                new.rename("x", name).unwrap_err(),
                new.identity(name).map(|_| ()).unwrap_err(),
            ];
            for error in refused {
                assert_eq!(error.code(), Code::OutsideArea, "{name}");
            }
        }
    }
}
