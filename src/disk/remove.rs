//! Removal of files and trees.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::act::{Act, DIRECTORY, ask, failure, open_dir_at, read_failure, sync_dir, trace};
use super::area::Area;
use super::write::remove_unfinished;
use crate::error::Result;
use crate::fault;

impl Area {
    /// Removes a file or symbolic link durably; an absent one is fine.
    ///
    /// What a killed [`Area::write`] of the same file left behind goes with it.
    pub fn remove_file(&self, rel: impl AsRef<Path>) -> Result<()> {
        let Some(place) = self.place_if_present(rel.as_ref())? else {
            return Ok(());
        };
        fault::point("disk.remove_file.begin");
        remove_unfinished(&place)?;
        unlink(&place.dir, &place.name, &place.path)?;
        fault::point("disk.remove_file.removed");
        // Also where it was absent: whoever removed it may have been killed before this.
        sync_dir(&place.dir, &place.dir_path)?;
        fault::point("disk.remove_file.done");
        Ok(())
    }

    /// Removes whatever has this name and everything below it, durably; an absent one is fine.
    ///
    /// An empty path is the root itself. Symbolic links are removed, never followed.
    pub fn remove_tree(&self, rel: impl AsRef<Path>) -> Result<()> {
        let Some(place) = self.place_if_present(rel.as_ref())? else {
            return Ok(());
        };
        fault::point("disk.remove_tree.begin");
        remove_unfinished(&place)?;
        remove_entry(&place.dir, &place.name, &place.path)?;
        fault::point("disk.remove_tree.removed");
        sync_dir(&place.dir, &place.dir_path)?;
        fault::point("disk.remove_tree.done");
        Ok(())
    }

    /// Removes everything in a directory durably and keeps the directory.
    pub fn empty_dir(&self, rel: impl AsRef<Path>) -> Result<()> {
        let (dir, path) = self.open(rel.as_ref())?;
        fault::point("disk.empty_dir.begin");
        remove_contents(&dir, &path)?;
        fault::point("disk.empty_dir.emptied");
        sync_dir(&dir, &path)?;
        fault::point("disk.empty_dir.done");
        Ok(())
    }
}

/// Removes one name; an absent one is fine.
pub(super) fn unlink(dir: impl AsFd, name: &OsStr, path: &Path) -> Result<()> {
    match ask(Act::Unlink).and_then(|()| unlinkat(dir, name, UnlinkatFlags::NoRemoveDir)) {
        Ok(()) => {
            trace("unlink", || [path.to_owned()]);
            Ok(())
        }
        Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(failure("remove", path, error)),
    }
}

/// The names in a directory, in no order; "." and ".." are left out.
pub(super) fn names(dir: impl AsFd, path: &Path) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    entries(dir, path, |name, _| names.push(name.to_owned()))?;
    Ok(names)
}

/// Visits the entries of a directory, in no order, with the number of the inode the directory
/// has for each; "." and ".." are left out.
pub(super) fn entries(
    dir: impl AsFd,
    path: &Path,
    mut visit: impl FnMut(&OsStr, u64),
) -> Result<()> {
    let failed = |e: Errno| read_failure("list", path, e);
    // A handle of its own, because reading moves the position all holders of one share.
    let mut list = Dir::openat(dir, ".", DIRECTORY, Mode::empty()).map_err(failed)?;
    for entry in list.iter() {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            visit(OsStr::from_bytes(name), entry.ino());
        }
    }
    Ok(())
}

fn remove_contents(dir: impl AsFd, path: &Path) -> Result<()> {
    for (at, name) in names(&dir, path)?.iter().enumerate() {
        remove_entry(&dir, name, &path.join(name))?;
        if at == 0 {
            fault::point("disk.remove.begun");
        }
    }
    fault::point("disk.remove.emptied");
    Ok(())
}

fn remove_entry(dir: impl AsFd, name: &OsStr, path: &Path) -> Result<()> {
    match ask(Act::Unlink).and_then(|()| unlinkat(&dir, name, UnlinkatFlags::NoRemoveDir)) {
        Ok(()) => trace("unlink", || [path.to_owned()]),
        Err(Errno::ENOENT) => {}
        Err(error) => {
            // A directory is EISDIR on Linux and EPERM by POSIX, which has other meanings too.
            let Ok(below) = open_dir_at(&dir, name) else {
                return Err(failure("remove", path, error));
            };
            remove_contents(&below, path)?;
            ask(Act::RemoveDir)
                .and_then(|()| unlinkat(&dir, name, UnlinkatFlags::RemoveDir))
                .map_err(|e| failure("remove the directory", path, e))?;
            trace("rmdir", || [path.to_owned()]);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn tree() -> (tempfile::TempDir, Area) {
        let dir = tempfile::tempdir().unwrap();
        let area = Area::new(&dir.path().join("area")).unwrap();
        area.create_dir("", 0o700).unwrap();
        fs::create_dir(dir.path().join("beyond")).unwrap();
        fs::write(dir.path().join("beyond/kept"), "kept").unwrap();
        for name in ["base", "base/1", "base/2"] {
            area.create_dir(name, 0o700).unwrap();
            area.write(Path::new(name).join("f"), b"x", 0o600).unwrap();
        }
        symlink(dir.path().join("beyond"), area.root().join("base/2/way")).unwrap();
        symlink(dir.path().join("beyond"), area.root().join("base/way")).unwrap();
        (dir, area)
    }

    #[test]
    fn a_tree_goes_and_what_its_links_lead_to_stays() {
        let (dir, area) = tree();
        area.remove_tree("base/way").unwrap();
        area.remove_tree("base").unwrap();
        area.remove_tree("base").unwrap();
        area.remove_tree("base/no/such").unwrap();
        assert_eq!(fs::read_dir(area.root()).unwrap().count(), 0);
        area.remove_tree("").unwrap();
        area.remove_tree("").unwrap();
        assert!(!area.root().exists());
        assert_eq!(fs::read(dir.path().join("beyond/kept")).unwrap(), b"kept");
    }

    #[test]
    fn an_emptied_directory_stays() {
        let (dir, area) = tree();
        area.empty_dir("").unwrap();
        assert_eq!(fs::read_dir(area.root()).unwrap().count(), 0);
        assert!(area.empty_dir("absent").is_err());
        assert!(dir.path().join("beyond/kept").exists());
    }

    #[test]
    fn a_file_goes_with_what_a_crash_left_of_it() {
        let (_dir, area) = tree();
        fs::write(area.root().join(".f.pgm_new"), "half").unwrap();
        area.write("f", b"x", 0o600).unwrap();
        fs::write(area.root().join(".f.pgm_new"), "half").unwrap();
        area.remove_file("f").unwrap();
        area.remove_file("f").unwrap();
        area.remove_file("no/such").unwrap();
        assert_eq!(fs::read_dir(area.root()).unwrap().count(), 1);
        assert!(area.remove_file("base").is_err());
        assert!(area.root().join("base/1/f").exists());
    }
}
