//! Making durable what was written without it.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};

use super::act::{Act, READ, ask, failure, open_dir_at, read_failure, sync_dir, sync_file, trace};
use super::area::Area;
use super::remove::names;
use crate::error::Result;
use crate::fault;

/// How many files of one directory a worker takes at a time.
const CHUNK: usize = 256;

impl Area {
    /// Makes one file durable.
    pub fn sync_file(&self, rel: impl AsRef<Path>) -> Result<()> {
        let place = self.place(rel.as_ref())?;
        fault::point("disk.sync_file.begin");
        sync_entry(&place.dir, &place.name, &place.path)?;
        fault::point("disk.sync_file.done");
        Ok(())
    }

    /// Makes the entries of one directory durable.
    pub fn sync_dir(&self, rel: impl AsRef<Path>) -> Result<()> {
        let (dir, path) = self.open(rel.as_ref())?;
        fault::point("disk.sync_dir.begin");
        sync_dir(&dir, &path)?;
        fault::point("disk.sync_dir.done");
        Ok(())
    }

    /// Makes it durable that the root lies where it does, whoever made it.
    ///
    /// A directory above it that may not be read cannot be synced by us, and where the root is a
    /// file system of its own there is nothing to be synced.
    pub fn sync_name(&self) -> Result<()> {
        let parent = self.root().parent().unwrap_or(Path::new("/"));
        let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev()).ok();
        if device(parent) != device(self.root()) {
            return Ok(());
        }
        fault::point("disk.sync_name.begin");
        match open(parent, READ | OFlag::O_DIRECTORY, Mode::empty()) {
            Ok(dir) => sync_dir(&dir, parent)?,
            Err(Errno::EACCES) => {}
            Err(error) => return Err(failure("open", parent, error)),
        }
        fault::point("disk.sync_name.done");
        Ok(())
    }

    /// Makes every file and then every directory below `rel` durable, deepest first.
    ///
    /// Files are synced by `jobs` threads. Symbolic links are not followed, so a tablespace
    /// outside the area needs a call of its own.
    pub fn sync_tree(&self, rel: impl AsRef<Path>, jobs: usize) -> Result<()> {
        if fault::planted("no-sync-of-a-whole") {
            return Ok(());
        }
        let (top, path) = self.open(rel.as_ref())?;
        let mut tree = Vec::new();
        collect(&top, Path::new(""), &path, &mut tree)?;
        fault::point("disk.sync_tree.begin");
        sync_files(&top, &tree, jobs)?;
        fault::point("disk.sync_tree.files");
        for folder in &tree {
            sync_dir(reopen(&top, folder)?, &folder.path)?;
        }
        trace("synctree", || [path]);
        fault::point("disk.sync_tree.done");
        Ok(())
    }
}

/// Lets the kernel begin to write a file, and waits for nothing.
///
/// Syncing many small files one after the other is quick when all of them are on their way: the
/// first commit of the journal has them all. A wish; what it comes to, the sync says.
pub(super) fn begin_writing(file: impl AsFd) {
    #[cfg(any(target_os = "linux", target_os = "freebsd"))]
    {
        let not_needed = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
        let _ = nix::fcntl::posix_fadvise(file, 0, 0, not_needed);
    }
    #[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
    let _ = file;
}

/// Opens a file just to sync it.
pub(super) fn sync_entry(dir: impl AsFd, name: &OsStr, path: &Path) -> Result<()> {
    let file = ask(Act::Open)
        .and_then(|()| openat(dir, name, READ, Mode::empty()))
        .map_err(|e| failure("open", path, e))?;
    sync_file(&file, path)
}

/// One directory of a tree, by its path from the top and from the root of everything.
struct Folder {
    rel: PathBuf,
    path: PathBuf,
    files: Vec<OsString>,
}

/// Lists the tree below an open directory, each directory after those in it.
fn collect(dir: &OwnedFd, rel: &Path, path: &Path, tree: &mut Vec<Folder>) -> Result<()> {
    let mut files = Vec::new();
    for name in names(dir, path)? {
        let full = path.join(&name);
        let stat = match fstatat(dir, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => continue,
            Err(error) => return Err(read_failure("examine", &full, error)),
        };
        match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFDIR => {
                let below = open_dir_at(dir, &name).map_err(|e| read_failure("open", &full, e))?;
                collect(&below, &rel.join(&name), &full, tree)?;
            }
            SFlag::S_IFREG => files.push(name),
            _ => {}
        }
    }
    tree.push(Folder {
        rel: rel.to_owned(),
        path: path.to_owned(),
        files,
    });
    Ok(())
}

/// Opens a directory below another one, no component of which may have become a link.
fn reopen(top: &OwnedFd, folder: &Folder) -> Result<OwnedFd> {
    let failed = |e: Errno| read_failure("open", &folder.path, e);
    let mut dir = open_dir_at(top, OsStr::new(".")).map_err(failed)?;
    for name in &folder.rel {
        dir = open_dir_at(&dir, name).map_err(failed)?;
    }
    Ok(dir)
}

fn sync_files(top: &OwnedFd, tree: &[Folder], jobs: usize) -> Result<()> {
    let chunks: Vec<(&Folder, &[OsString])> = tree
        .iter()
        .flat_map(|folder| {
            let files = folder.files.chunks(CHUNK);
            files.map(move |chunk| (folder, chunk))
        })
        .collect();
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some((folder, files)) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
            let dir = reopen(top, folder)?;
            for name in *files {
                sync_present(dir.as_fd(), name, &folder.path.join(name))?;
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..jobs.min(chunks.len()))
            .map(|_| scope.spawn(work))
            .collect();
        let mut outcome = work();
        for worker in workers {
            match worker.join() {
                Ok(done) => outcome = outcome.and(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        outcome
    })
}

/// Syncs a file of the list; one that has gone since needs nothing.
fn sync_present(dir: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<()> {
    match openat(dir, name, READ, Mode::empty()) {
        Ok(file) => sync_file(&file, path),
        Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(failure("open", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_kind_of_entry_is_synced_or_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let area = Area::new(&dir.path().join("area")).unwrap();
        area.create_dir("", 0o700).unwrap();
        area.create_dir("base", 0o700).unwrap();
        for number in 0..3 * CHUNK {
            fs::write(area.root().join(format!("base/{number}")), "x").unwrap();
        }
        symlink("/no/such", area.root().join("way")).unwrap();
        nix::unistd::mkfifo(&area.root().join("pipe"), Mode::S_IRWXU).unwrap();
        area.sync_tree("", 3).unwrap();
        area.sync_tree("base", 1).unwrap();
        area.sync_file("base/1").unwrap();
        area.sync_dir("base").unwrap();
        for error in [
            area.sync_tree("absent", 1).unwrap_err(),
            area.sync_file("absent").unwrap_err(),
            area.sync_file("way").unwrap_err(),
        ] {
            assert_eq!(error.code(), Code::DiskOperation);
        }
    }
}
