//! File systems that are made durable as a whole.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, FsType, TMPFS_MAGIC, XFS_SUPER_MAGIC, fstatfs,
};
use nix::unistd::syncfs;

use super::act::{Act, ask, failure, read_failure, trace};
use crate::error::Result;
use crate::fault;

/// Those that write to a disk themselves and wait for it, or have none. Others hand on what they
/// hold and wait for nobody (FUSE, CIFS), or do not see what the file system below them could not
/// write (overlayfs).
const LOCAL: [FsType; 4] = [
    EXT4_SUPER_MAGIC,
    XFS_SUPER_MAGIC,
    BTRFS_SUPER_MAGIC,
    TMPFS_MAGIC,
];

/// A file system, from a moment on.
#[derive(Debug)]
pub struct FileSystem {
    dir: OwnedFd,
    path: PathBuf,
}

impl FileSystem {
    /// Holds the one that has `path`: what cannot be written to it from now on [`Self::sync`] tells,
    /// whoever else has been told meanwhile.
    ///
    /// # Errors
    ///
    /// `NotReadable` if the path cannot be opened.
    pub fn of(path: &Path) -> Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let dir = open(path, flags, Mode::empty()).map_err(|e| read_failure("open", path, e))?;
        let path = path.to_owned();
        Ok(Self { dir, path })
    }

    /// Whether [`Self::sync`] waits for the disk, and fails where something could not be written.
    ///
    /// The kernel tells since Linux 5.8.
    pub fn tells(&self) -> bool {
        let kernel = nix::sys::utsname::uname();
        fstatfs(&self.dir).is_ok_and(|found| LOCAL.contains(&found.filesystem_type()))
            && kernel.is_ok_and(|kernel| tells(kernel.sysname(), kernel.release()))
    }

    /// Makes everything on it durable, whoever wrote it.
    ///
    /// # Errors
    ///
    /// `DiskOperation` where something could not be written.
    pub fn sync(&self) -> Result<()> {
        if fault::planted("no-sync-of-a-whole") {
            return Ok(());
        }
        fault::point("disk.sync_filesystem.begin");
        ask(Act::SyncFileSystem)
            .and_then(|()| syncfs(&self.dir))
            .map_err(|e| failure("make durable the file system of", &self.path, e))?;
        trace("syncfs", || [self.path.clone()]);
        fault::point("disk.sync_filesystem.done");
        Ok(())
    }
}

fn tells(system: &OsStr, release: &OsStr) -> bool {
    let release = release.to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next().and_then(|part| part.parse::<u32>().ok());
    let version = (number(), number());
    system == "Linux" && version >= (Some(5), Some(8)) && version.1.is_some()
}

/// What has been written to files and has not reached a disk, of the whole machine, where the
/// kernel says so.
pub fn unwritten() -> Option<u64> {
    unwritten_of(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn unwritten_of(meminfo: &str) -> Option<u64> {
    let kilobytes = |name: &str| -> Option<u64> {
        let value = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        value.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    Some((kilobytes("Dirty:")? + kilobytes("Writeback:")?) * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn it_is_made_durable() {
        let dir = tempfile::tempdir().unwrap();
        let held = FileSystem::of(dir.path()).unwrap();
        std::fs::write(dir.path().join("1"), "rows").unwrap();
        held.sync().unwrap();
        let error = FileSystem::of(&dir.path().join("absent")).unwrap_err();
        assert_eq!(error.code(), Code::DiskOperation);
    }

    #[test]
    fn one_that_waits_for_no_disk_is_not_believed() {
        assert!(!FileSystem::of(Path::new("/proc")).unwrap().tells());
    }

    #[test]
    fn kernels_that_tell_of_lost_writes_are_known() {
        let tells = |system: &str, release: &str| tells(system.as_ref(), release.as_ref());
        for release in ["5.8.0", "5.10.0-30-amd64", "6.1", "10.0.1+"] {
            assert!(tells("Linux", release), "{release}");
        }
        for release in ["4.18.0-553.el8.x86_64", "5.7.19", "3.10", "6", "", "next"] {
            assert!(!tells("Linux", release), "{release}");
        }
        assert!(!tells("FreeBSD", "14.1-RELEASE"));
    }

    #[test]
    fn what_is_unwritten_is_read_from_the_kernel() {
        let text = "MemFree: 5 kB\nDirty:               132 kB\nWriteback:             8 kB\nWritebackTmp: 1 kB\n";
        assert_eq!(unwritten_of(text), Some(140 * 1024));
        assert_eq!(unwritten_of("Dirty: 132 kB\n"), None);
        assert_eq!(unwritten_of("Dirty: many\nWriteback: 0 kB\n"), None);
    }
}
