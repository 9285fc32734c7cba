//! What is known about a file and the file system it lies on.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::FileStat;
use nix::sys::statvfs::statvfs;

use super::act::read_failure;
use crate::error::Result;

/// The file system of a path, and what is free on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Space {
    /// Number of the device; the same for all paths that can share files by hard links.
    pub device: u64,
    /// Bytes an ordinary user may still fill.
    pub free_bytes: u64,
    /// Files that may still be made; unknown where the file system keeps no count.
    pub free_inodes: Option<u64>,
    /// The unit in which the file system gives out space.
    pub block: u64,
}

/// What makes a file the same file under another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FileId {
    /// Number of the device.
    pub device: u64,
    /// Number of the inode on it.
    pub inode: u64,
    /// How many names it has.
    pub links: u64,
    /// Its length in bytes.
    pub len: u64,
}

impl FileId {
    pub(super) fn from_stat(stat: &FileStat) -> Self {
        // The widths of these fields differ between platforms.
        #[allow(clippy::unnecessary_cast)]
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            links: stat.st_nlink as u64,
            len: stat.st_size.max(0) as u64,
        }
    }

    /// Whether both are names of one file.
    pub fn same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// The space where `path` is or would be: asked of its nearest ancestor that exists.
pub fn space(path: &Path) -> Result<Space> {
    let absolute = std::path::absolute(path).map_err(|e| read_failure("make absolute", path, e))?;
    let (found, device) = nearest(&absolute)?;
    let stat = statvfs(&found).map_err(|e| read_failure("examine", &found, e))?;
    // The widths of these fields differ between platforms.
    #[allow(clippy::unnecessary_cast)]
    let space = Space {
        device,
        free_bytes: (stat.blocks_available() as u64).saturating_mul(stat.fragment_size() as u64),
        free_inodes: (stat.files() != 0).then(|| stat.files_available() as u64),
        block: stat.fragment_size() as u64,
    };
    Ok(space)
}

fn nearest(path: &Path) -> Result<(PathBuf, u64)> {
    let mut at = path;
    loop {
        match std::fs::metadata(at) {
            Ok(found) => return Ok((at.to_owned(), found.dev())),
            Err(error) => match (error.kind(), at.parent()) {
                (io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, Some(parent)) => {
                    at = parent;
                }
                _ => return Err(read_failure("examine", at, error)),
            },
        }
    }
}

/// Which file a name stands for; a symbolic link stands for itself.
pub fn identity(path: &Path) -> Result<FileId> {
    let found = std::fs::symlink_metadata(path).map_err(|e| read_failure("examine", path, e))?;
    Ok(FileId {
        device: found.dev(),
        inode: found.ino(),
        links: found.nlink(),
        len: found.len(),
    })
}

/// Like [`identity`], with nothing for an absent file.
pub fn identity_if_present(path: &Path) -> Result<Option<FileId>> {
    match std::fs::symlink_metadata(path) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        _ => identity(path).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_space_of_a_path_to_be_is_that_of_its_ancestor() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let here = space(dir.path()).unwrap();
        assert!(here.block >= 512);
        assert_eq!(here.device, identity(dir.path()).unwrap().device);
        for below in ["no/such/path", "file/below"] {
            let found = space(&dir.path().join(below)).unwrap();
            assert_eq!((found.device, found.block), (here.device, here.block));
        }
    }

    #[test]
    fn an_identity_is_that_of_the_name_itself() {
        let dir = tempfile::tempdir().unwrap();
        let (file, second, alias) = (
            dir.path().join("file"),
            dir.path().join("second"),
            dir.path().join("alias"),
        );
        fs::write(&file, "rows").unwrap();
        fs::hard_link(&file, &second).unwrap();
        symlink(&file, &alias).unwrap();
        let id = identity(&file).unwrap();
        assert_eq!((id.links, id.len), (2, 4));
        assert!(id.same_file(&identity(&second).unwrap()));
        assert!(!id.same_file(&identity(&alias).unwrap()));
        let absent = dir.path().join("absent");
        assert_eq!(identity(&absent).unwrap_err().code(), Code::DiskOperation);
        assert_eq!(identity_if_present(&absent).unwrap(), None);
        assert_eq!(identity_if_present(&file).unwrap(), Some(id));
    }
}
