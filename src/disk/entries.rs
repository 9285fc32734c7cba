//! Listings of directories that tell which file each name stands for.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::fstat;
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, F2FS_SUPER_MAGIC, FsType, NFS_SUPER_MAGIC, TMPFS_MAGIC,
    XFS_SUPER_MAGIC, fstatfs,
};

use super::dir::{AreaDir, OldDir};
use super::remove::entries;
use crate::error::Result;

impl OldDir {
    /// Visits its entries, in no order, each with the number of its inode as the directory says
    /// it; see [`listings_tell_files`].
    pub fn entries(&self, visit: impl FnMut(&OsStr, u64)) -> Result<()> {
        entries(&self.dir, self.path(), visit)
    }
}

impl AreaDir {
    /// Visits its entries, in no order, each with the number of its inode as the directory says
    /// it; see [`listings_tell_files`].
    pub fn entries(&self, visit: impl FnMut(&OsStr, u64)) -> Result<()> {
        entries(&self.dir, self.path(), visit)
    }
}

/// Whether names in these directories stand for one file where their listings give them one
/// inode number, and for two where they give two.
///
/// A listing costs next to nothing, a look at each of a hundred thousand files half a second. But
/// it is the directory that speaks: of a name with something mounted on it, it gives the number
/// of what is covered, and stacked file systems (overlayfs) may give numbers of a layer below.
/// So both must lie on one device, of a kind that is known to keep the numbers of its inodes in
/// its directories, with nothing mounted below. Where any of that cannot be found out the answer
/// is no.
pub fn listings_tell_files(old: &OldDir, new: &AreaDir) -> bool {
    let device = |dir: &OwnedFd| fstat(dir).map(|stat| stat.st_dev).ok();
    device(&old.dir).is_some()
        && device(&old.dir) == device(&new.dir)
        && keeps_inode_numbers(&old.dir)
        && nothing_mounted_below(&[&old.dir, &new.dir])
}

const ZFS_SUPER_MAGIC: FsType = FsType(0x2fc1_2fc1);
const BCACHEFS_SUPER_MAGIC: FsType = FsType(0xca45_1a4e);

/// Those whose directories have the numbers of their inodes.
const LISTING: [FsType; 5] = [
    EXT4_SUPER_MAGIC,
    XFS_SUPER_MAGIC,
    BTRFS_SUPER_MAGIC,
    TMPFS_MAGIC,
    ZFS_SUPER_MAGIC,
];

/// Others on which a file has the number it has until it is removed.
const KEEPING: [FsType; 3] = [F2FS_SUPER_MAGIC, BCACHEFS_SUPER_MAGIC, NFS_SUPER_MAGIC];

fn keeps_inode_numbers(dir: &OwnedFd) -> bool {
    fstatfs(dir).is_ok_and(|found| LISTING.contains(&found.filesystem_type()))
}

/// Whether a file is known by its number on this file system for good, also after a rename and
/// after the next mount.
///
/// Some give numbers out as files are looked at (FUSE, CIFS, FAT), or those of a layer (overlayfs).
pub(super) fn keeps_file_numbers(dir: &File) -> bool {
    fstatfs(dir).is_ok_and(|found| {
        let kind = found.filesystem_type();
        LISTING.contains(&kind) || KEEPING.contains(&kind)
    })
}

/// A file may be mounted on a file, too.
fn nothing_mounted_below(dirs: &[&OwnedFd]) -> bool {
    let Ok(mounts) = std::fs::read("/proc/self/mountinfo") else {
        return false;
    };
    dirs.iter().all(|dir| {
        let path = std::fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd()));
        path.is_ok_and(|path| !mount_points(&mounts).any(|at| is_below(&at, &path)))
    })
}

fn is_below(at: &Path, dir: &Path) -> bool {
    at != dir && at.starts_with(dir)
}

/// The fifth field of each line; white space and backslashes in it are octal escapes.
fn mount_points(mounts: &[u8]) -> impl Iterator<Item = PathBuf> {
    mounts
        .split(|&byte| byte == b'\n')
        .filter_map(|line| line.split(|&byte| byte == b' ').nth(4))
        .map(|field| PathBuf::from(OsString::from_vec(unescaped(field))))
}

fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut at = 0;
    while let Some(&byte) = field.get(at) {
        let escape = field.get(at + 1..at + 4).filter(|_| byte == b'\\');
        let code = escape.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(code) => {
                out.push(code);
                at += 4;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Area;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_listing_gives_the_inodes_of_the_files() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["old", "new"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("old/1"), "rows").unwrap();
        fs::hard_link(dir.path().join("old/1"), dir.path().join("new/2")).unwrap();
        fs::write(dir.path().join("new/1"), "rows").unwrap();
        let old = OldDir::open(&dir.path().join("old")).unwrap();
        let new = Area::new(dir.path()).unwrap().open_dir("new").unwrap();
        let mut seen = Vec::new();
        let mut see = |name: &OsStr, inode| seen.push((name.to_owned(), inode));
        old.entries(&mut see).unwrap();
        new.entries(&mut see).unwrap();
        seen[1..].sort();
        let inode = |path| fs::metadata(dir.path().join(path)).unwrap().ino();
        assert_eq!(
            seen,
            [
                ("1".into(), inode("old/1")),
                ("1".into(), inode("new/1")),
                ("2".into(), inode("old/1")),
            ]
        );
    }

    #[test]
    fn listings_of_two_devices_tell_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let area = Area::new(dir.path()).unwrap();
        let other = OldDir::open(Path::new("/proc/self")).unwrap();
        assert!(!listings_tell_files(&other, &area.open_dir("").unwrap()));
    }

    #[test]
    fn numbers_that_are_given_out_are_not_kept() {
        let proc = File::open("/proc/self").unwrap();
        assert!(!keeps_file_numbers(&proc));
        let dir = tempfile::tempdir().unwrap();
        assert!(keeps_file_numbers(&File::open(dir.path()).unwrap()));
    }

    #[test]
    fn what_is_mounted_below_is_seen() {
        let table = b"36 25 8:1 / / rw - ext4 /dev/a rw\n\
                      37 36 8:2 /x /srv/new\\040data/base rw shared:1 - ext4 /dev/b rw\n";
        let points: Vec<PathBuf> = mount_points(table).collect();
        assert_eq!(
            points,
            [PathBuf::from("/"), PathBuf::from("/srv/new data/base")]
        );
        let below = |dir: &str| points.iter().any(|at| is_below(at, Path::new(dir)));
        assert!(below("/srv/new data"));
        assert!(!below("/srv/new data/base"));
        assert!(!below("/srv/new"));
    }
}
