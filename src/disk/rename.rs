//! A rename that survives a power cut, also across file systems.

use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, readlinkat, renameat};
use nix::sys::stat::{FileStat, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

use super::act::{Act, ask, failure, sync_dir, sync_file, trace};
use super::area::{Area, Place};
use super::copy::{copy_open, open_regular};
use super::write::{remove_unfinished, unfinished};
use crate::error::{Code, Error, Result};
use crate::fault;

impl Area {
    /// Moves an entry durably, to the same area or another one, in place of a file there.
    ///
    /// A regular file is synced first, so that its new name never shows unfinished contents.
    /// Across file systems a file or symbolic link is copied durably and then unlinked, so that
    /// for a while both are there; a directory is refused with [`Code::FileSystems`].
    pub fn rename(
        &self,
        from: impl AsRef<Path>,
        to_area: &Area,
        to: impl AsRef<Path>,
    ) -> Result<()> {
        let way = Way::begin(self.place(from.as_ref())?, to_area.place(to.as_ref())?)?;
        if !way.rename()?
            && let Err(error) = copy_across(&way.from, &way.to, &way.stat)
        {
            // A wish: who tries again removes it as well.
            let _ = remove_unfinished(&way.to);
            return Err(error);
        }
        way.sync()
    }

    /// The same, but in one act or not at all: where that would be a copy nothing is done, and
    /// the answer is `false`.
    pub fn rename_at_once(
        &self,
        from: impl AsRef<Path>,
        to_area: &Area,
        to: impl AsRef<Path>,
    ) -> Result<bool> {
        let way = Way::begin(self.place(from.as_ref())?, to_area.place(to.as_ref())?)?;
        let renamed = way.rename()?;
        if renamed {
            way.sync()?;
        }
        Ok(renamed)
    }
}

/// Two names, and what has the first of them.
struct Way {
    from: Place,
    to: Place,
    stat: FileStat,
}

impl Way {
    fn begin(from: Place, to: Place) -> Result<Self> {
        let stat = fstatat(
            &from.dir,
            from.name.as_os_str(),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )
        .map_err(|e| failure("rename", &from.path, e))?;
        if kind(&stat) == SFlag::S_IFREG {
            let (file, _) = open_regular(&from.dir, &from.name, &from.path)?;
            sync_file(&file, &from.path)?;
        }
        fault::point("disk.rename.begin");
        Ok(Self { from, to, stat })
    }

    /// `false` where it leads to another file system.
    fn rename(&self) -> Result<bool> {
        let (from, to) = (&self.from, &self.to);
        let rename = || {
            renameat(
                &from.dir,
                from.name.as_os_str(),
                &to.dir,
                to.name.as_os_str(),
            )
        };
        match ask(Act::Rename).and_then(|()| rename()) {
            Ok(()) => {
                trace("rename", || [from.path.clone(), to.path.clone()]);
                Ok(true)
            }
            Err(Errno::EXDEV) => Ok(false),
            Err(error) => Err(failure("rename", &from.path, error).fact("to", to.path.display())),
        }
    }

    fn sync(&self) -> Result<()> {
        let (from, to) = (&self.from, &self.to);
        fault::point("disk.rename.renamed");
        sync_dir(&to.dir, &to.dir_path)?;
        if !same_directory(&from.dir, &to.dir) {
            fault::point("disk.rename.arrived");
            sync_dir(&from.dir, &from.dir_path)?;
        }
        fault::point("disk.rename.done");
        Ok(())
    }
}

/// Makes the file durable at its new place before the old name goes.
fn copy_across(from: &Place, to: &Place, stat: &FileStat) -> Result<()> {
    let failed = |e: Errno| failure("move", &from.path, e).fact("to", to.path.display());
    let name = unfinished(&to.name);
    let path = to.dir_path.join(&name);
    remove_unfinished(to)?;
    match kind(stat) {
        SFlag::S_IFREG => {
            let (mut file, mode) = open_regular(&from.dir, &from.name, &from.path)?;
            let (copy, _) = copy_open(&mut file, &from.path, &to.dir, &name, &path, mode)?;
            fault::point("disk.rename.copied");
            sync_file(&copy, &path)?;
        }
        SFlag::S_IFLNK => {
            let target = readlinkat(&from.dir, from.name.as_os_str()).map_err(failed)?;
            symlinkat(target.as_os_str(), &to.dir, name.as_os_str()).map_err(failed)?;
            trace("symlink", || [path.clone()]);
        }
        _ => {
            return Err(Error::new(
                Code::FileSystems,
                format!(
                    "{} cannot be moved to another file system",
                    from.path.display()
                ),
            )
            .fact("path", from.path.display())
            .fact("to", to.path.display()));
        }
    }
    fault::point("disk.rename.copy_synced");
    ask(Act::Rename)
        .and_then(|()| renameat(&to.dir, name.as_os_str(), &to.dir, to.name.as_os_str()))
        .map_err(failed)?;
    trace("rename", || [path.clone(), to.path.clone()]);
    fault::point("disk.rename.copy_named");
    sync_dir(&to.dir, &to.dir_path)?;
    fault::point("disk.rename.copy_done");
    ask(Act::Unlink)
        .and_then(|()| unlinkat(&from.dir, from.name.as_os_str(), UnlinkatFlags::NoRemoveDir))
        .map_err(failed)?;
    trace("unlink", || [from.path.clone()]);
    Ok(())
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

fn same_directory(one: impl AsFd, other: impl AsFd) -> bool {
    match (fstat(one), fstat(other)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::PathBuf;

    fn area_in(parent: &Path, name: &str) -> Area {
        let area = Area::new(&parent.join(name)).unwrap();
        area.create_dir("", 0o700).unwrap();
        area
    }

    #[test]
    fn an_entry_moves_between_areas() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (area_in(dir.path(), "one"), area_in(dir.path(), "two"));
        one.write("f", b"new", 0o640).unwrap();
        two.write("g", b"replaced", 0o600).unwrap();
        assert!(one.rename_at_once("f", &two, "g").unwrap());
        assert_eq!(fs::read(two.root().join("g")).unwrap(), b"new");
        assert!(!one.root().join("f").exists());
        assert!(one.rename("f", &two, "g").is_err());

        one.create_dir("d", 0o700).unwrap();
        one.symlink(Path::new("/nowhere"), "d/l").unwrap();
        one.rename("d", &two, "d").unwrap();
        two.rename("d/l", &one, "l").unwrap();
        assert!(one.root().join("l").is_symlink());
    }

    /// A directory on another file system than the temporary one, where there is one.
    fn elsewhere(than: &Path) -> Option<tempfile::TempDir> {
        let device = fs::metadata(than).ok()?.dev();
        ["/dev/shm", "/run/shm", "/tmp", "/var/tmp"]
            .iter()
            .map(PathBuf::from)
            .filter(|path| fs::metadata(path).is_ok_and(|found| found.dev() != device))
            .find_map(|path| tempfile::tempdir_in(path).ok())
    }

    #[test]
    fn a_move_across_file_systems_is_a_copy_and_an_unlink() {
        let dir = tempfile::tempdir().unwrap();
        let one = area_in(dir.path(), "one");
        one.write("f", b"rows", 0o640).unwrap();
        one.symlink(Path::new("/nowhere"), "l").unwrap();
        one.create_dir("d", 0o700).unwrap();

        let other = elsewhere(dir.path());
        let two = area_in(other.as_ref().unwrap_or(&dir).path(), "two");
        two.write("g", b"replaced", 0o600).unwrap();
        if other.is_some() {
            assert_eq!(
                one.rename("d", &two, "d").unwrap_err().code(),
                Code::FileSystems
            );
            assert!(!one.rename_at_once("f", &two, "g").unwrap());
            assert_eq!(fs::read(two.root().join("g")).unwrap(), b"replaced");
            one.rename("f", &two, "g").unwrap();
            one.rename("l", &two, "l").unwrap();
        } else {
            // One file system only: the copying half is called as the kernel's refusal would.
            for (from, to) in [("f", "g"), ("l", "l")] {
                let from = one.place(Path::new(from)).unwrap();
                let to = two.place(Path::new(to)).unwrap();
                let stat = fstatat(
                    &from.dir,
                    from.name.as_os_str(),
                    AtFlags::AT_SYMLINK_NOFOLLOW,
                );
                copy_across(&from, &to, &stat.unwrap()).unwrap();
            }
        }
        let moved = two.root().join("g");
        assert_eq!(fs::read(&moved).unwrap(), b"rows");
        assert_eq!(fs::metadata(&moved).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(
            fs::read_link(two.root().join("l")).unwrap(),
            Path::new("/nowhere")
        );
        assert_eq!(fs::read_dir(two.root()).unwrap().count(), 2);
        assert_eq!(fs::read_dir(one.root()).unwrap().count(), 1);
    }
}
