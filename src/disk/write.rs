//! Directories, whole files and links made in an area.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, ftruncate, linkat, symlinkat, unlinkat};

use super::act::{Act, CREATE, ask, failure, open_dir_at, outside, sync_dir, sync_file, trace};
use super::area::{Area, Place};
use crate::error::Result;
use crate::fault;

/// The name a file has until it is whole.
///
/// It follows from the final name, so that what a crash left behind is found again by
/// whoever writes or removes that file.
pub(super) fn unfinished(name: &OsStr) -> OsString {
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".pgm_new");
    temporary
}

/// Removes what an earlier, killed write of this file may have left.
pub(super) fn remove_unfinished(place: &Place) -> Result<()> {
    let name = unfinished(&place.name);
    let path = place.dir_path.join(&name);
    let unlink = || unlinkat(&place.dir, name.as_os_str(), UnlinkatFlags::NoRemoveDir);
    match ask(Act::Unlink).and_then(|()| unlink()) {
        Ok(()) => {
            trace("unlink", || [path]);
            Ok(())
        }
        Err(Errno::ENOENT | Errno::ENAMETOOLONG) => Ok(()),
        Err(error) => Err(failure("remove", &path, error)),
    }
}

/// Creates a file nobody else has a name for, with exactly this mode whatever the umask is.
pub(super) fn create(dir: &OwnedFd, name: &OsStr, path: &Path, mode: u32) -> Result<File> {
    let file = ask(Act::Create)
        .and_then(|()| openat(dir, name, CREATE, Mode::S_IRUSR | Mode::S_IWUSR))
        .map_err(|e| failure("create", path, e))?;
    set_mode(&file, path, mode)?;
    Ok(File::from(file))
}

fn set_mode(file: &OwnedFd, path: &Path, mode: u32) -> Result<()> {
    fchmod(file, Mode::from_bits_truncate(mode)).map_err(|e| failure("set the mode of", path, e))
}

impl Area {
    /// Makes a directory durably; an empty path is the root itself.
    ///
    /// A directory that exists is fine and keeps its mode.
    pub fn create_dir(&self, rel: impl AsRef<Path>, mode: u32) -> Result<()> {
        let rel = rel.as_ref();
        let place = self.place(rel)?;
        fault::point("disk.create_dir.begin");
        let make = || mkdirat(&place.dir, place.name.as_os_str(), Mode::S_IRWXU);
        match ask(Act::MakeDir).and_then(|()| make()) {
            Ok(()) => {
                let made = open_dir_at(&place.dir, &place.name)
                    .map_err(|e| failure("open", &place.path, e))?;
                set_mode(&made, &place.path, mode)?;
                trace("mkdir", || [place.path.clone()]);
            }
            Err(Errno::EEXIST) => drop(self.open(rel)?),
            Err(error) => return Err(failure("create the directory", &place.path, error)),
        }
        fault::point("disk.create_dir.made");
        // Also where it existed: whoever made it may have been killed before this.
        sync_dir(&place.dir, &place.dir_path)?;
        fault::point("disk.create_dir.done");
        Ok(())
    }

    /// Writes a whole file durably, in place of one that exists.
    ///
    /// At every moment there is the old file or the new one, never a part. A symbolic link of
    /// that name is replaced, not followed.
    pub fn write(&self, rel: impl AsRef<Path>, bytes: &[u8], mode: u32) -> Result<()> {
        let place = self.place(rel.as_ref())?;
        fault::point("disk.write.begin");
        remove_unfinished(&place)?;
        let name = unfinished(&place.name);
        let path = place.dir_path.join(&name);
        let mut file = create(&place.dir, &name, &path, mode)?;
        fault::point("disk.write.created");
        ask(Act::Write)
            .map_err(std::io::Error::from)
            .and_then(|()| file.write_all(bytes))
            .map_err(|e| failure("write", &path, e))?;
        trace("write", || [path.clone()]);
        fault::point("disk.write.written");
        sync_file(&file, &path)?;
        fault::point("disk.write.synced");
        ask(Act::Rename)
            .and_then(|()| {
                renameat(
                    &place.dir,
                    name.as_os_str(),
                    &place.dir,
                    place.name.as_os_str(),
                )
            })
            .map_err(|e| failure("replace", &place.path, e))?;
        trace("rename", || [path.clone(), place.path.clone()]);
        fault::point("disk.write.renamed");
        sync_dir(&place.dir, &place.dir_path)?;
        fault::point("disk.write.done");
        Ok(())
    }

    /// Makes a symbolic link durably; one that already says the same is fine.
    pub fn symlink(&self, target: &Path, rel: impl AsRef<Path>) -> Result<()> {
        let place = self.place(rel.as_ref())?;
        let name = place.name.as_os_str();
        fault::point("disk.symlink.begin");
        match ask(Act::Symlink).and_then(|()| symlinkat(target, &place.dir, name)) {
            Ok(()) => trace("symlink", || [place.path.clone()]),
            Err(Errno::EEXIST)
                if readlinkat(&place.dir, name).is_ok_and(|says| says == target.as_os_str()) => {}
            Err(error) => return Err(failure("create the link", &place.path, error)),
        }
        fault::point("disk.symlink.made");
        sync_dir(&place.dir, &place.dir_path)?;
        fault::point("disk.symlink.done");
        Ok(())
    }

    /// Gives a file one more name; not durable until its directory is synced.
    ///
    /// A symbolic link gets the name itself, not what it leads to. For many links in one
    /// directory [`crate::disk::AreaDir::link_from`] is faster.
    pub fn link(&self, existing: &Path, rel: impl AsRef<Path>) -> Result<()> {
        let place = self.place(rel.as_ref())?;
        fault::point("disk.link.begin");
        ask(Act::Link)
            .and_then(|()| {
                linkat(
                    AT_FDCWD,
                    existing,
                    &place.dir,
                    place.name.as_os_str(),
                    AtFlags::empty(),
                )
            })
            .map_err(|e| failure("link", &place.path, e).fact("file", existing.display()))?;
        trace("link", || [existing.to_owned(), place.path.clone()]);
        fault::point("disk.link.done");
        Ok(())
    }

    /// Cuts a file, or extends it with zeroes, durably.
    ///
    /// Refused for a file with a second name, which may be one outside the area.
    pub fn truncate_or_extend(&self, rel: impl AsRef<Path>, len: u64) -> Result<()> {
        let place = self.place(rel.as_ref())?;
        let failed = |e: Errno| failure("set the length of", &place.path, e);
        let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file =
            openat(&place.dir, place.name.as_os_str(), flags, Mode::empty()).map_err(failed)?;
        if fstat(&file).map_err(failed)?.st_nlink > 1 {
            return Err(outside(&place.path, "the file has a second name"));
        }
        fault::point("disk.truncate.begin");
        let len = i64::try_from(len).map_err(|_| failed(Errno::EFBIG))?;
        ask(Act::Truncate)
            .and_then(|()| ftruncate(&file, len))
            .map_err(failed)?;
        trace("truncate", || [place.path.clone()]);
        fault::point("disk.truncate.cut");
        sync_file(&file, &place.path)?;
        fault::point("disk.truncate.done");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn area() -> (tempfile::TempDir, Area) {
        let dir = tempfile::tempdir().unwrap();
        let area = Area::new(&dir.path().join("area")).unwrap();
        area.create_dir("", 0o750).unwrap();
        (dir, area)
    }

    #[test]
    fn a_directory_gets_its_mode_once() {
        let (_dir, area) = area();
        let mode = || fs::metadata(area.root()).unwrap().mode() & 0o7777;
        assert_eq!(mode(), 0o750);
        area.create_dir("", 0o700).unwrap();
        assert_eq!(mode(), 0o750);
        area.write("file", b"", 0o600).unwrap();
        assert!(area.create_dir("file", 0o700).is_err());
        assert_eq!(
            area.create_dir("a/b", 0o700).unwrap_err().code(),
            Code::DiskOperation
        );
    }

    #[test]
    fn a_write_replaces_and_leaves_nothing_else() {
        let (_dir, area) = area();
        fs::write(area.root().join(".f.pgm_new"), "left by a crash").unwrap();
        area.write("f", b"one", 0o600).unwrap();
        area.write("f", b"two", 0o640).unwrap();
        let file = area.root().join("f");
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(area.root()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_is_the_same_file_and_is_never_cut() {
        let (dir, area) = area();
        let old = dir.path().join("old");
        fs::write(&old, "rows").unwrap();
        area.link(&old, "new").unwrap();
        assert_eq!(
            fs::metadata(&old).unwrap().ino(),
            fs::metadata(area.root().join("new")).unwrap().ino()
        );
        assert!(area.link(&old, "new").is_err());
        let error = area.truncate_or_extend("new", 0).unwrap_err();
        assert_eq!(error.code(), Code::OutsideArea);
        assert_eq!(fs::read(&old).unwrap(), b"rows");
    }

    #[test]
    fn a_file_is_cut_and_extended_with_zeroes() {
        let (_dir, area) = area();
        area.write("f", b"abc", 0o600).unwrap();
        area.truncate_or_extend("f", 1).unwrap();
        area.truncate_or_extend("f", 3).unwrap();
        assert_eq!(fs::read(area.root().join("f")).unwrap(), b"a\0\0");
        assert!(area.truncate_or_extend("absent", 1).is_err());
    }

    #[test]
    fn a_symbolic_link_is_made_once() {
        let (_dir, area) = area();
        area.symlink(Path::new("/one"), "l").unwrap();
        area.symlink(Path::new("/one"), "l").unwrap();
        assert!(area.symlink(Path::new("/two"), "l").is_err());
        assert_eq!(
            fs::read_link(area.root().join("l")).unwrap(),
            Path::new("/one")
        );
    }

    #[test]
    fn lacking_rights_have_their_own_code() {
        if nix::unistd::geteuid().is_root() {
            // Root may write anywhere; the mapping is what can be shown.
            let error = failure("write", Path::new("/x/y"), Errno::EACCES);
            assert_eq!(error.code(), Code::NotWritable);
            assert!(error.remedy_text().is_some());
            return;
        }
        let (_dir, area) = area();
        fs::set_permissions(area.root(), fs::Permissions::from_mode(0o500)).unwrap();
        let error = area.write("f", b"", 0o600).unwrap_err();
        fs::set_permissions(area.root(), fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(error.code(), Code::NotWritable);
    }
}
