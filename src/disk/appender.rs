//! A file that only grows, durably, one line at a time.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::fdatasync;

use super::act::{Act, ask, failure, sync_dir, sync_file, trace};
use super::area::Area;
use crate::error::{Code, Error, Result};
use crate::fault;

/// A durable append-only file.
///
/// After one failure it takes no more lines: nobody knows what reached the disk, and a line
/// behind a torn one could not be read.
#[derive(Debug)]
pub struct Appender {
    file: File,
    path: PathBuf,
    broken: bool,
}

impl Appender {
    /// Opens the file, or makes it durably with mode 0600; a symbolic link is refused.
    ///
    /// What it holds already is made durable before the first line is added, because the
    /// process that wrote it may have been killed in between. A torn last line has to be cut
    /// off before ([`Area::truncate_or_extend`]).
    pub fn open(area: &Area, rel: impl AsRef<Path>) -> Result<Self> {
        let place = area.place(rel.as_ref())?;
        fault::point("disk.append.opening");
        let flags = OFlag::O_WRONLY
            | OFlag::O_APPEND
            | OFlag::O_CREAT
            | OFlag::O_NOFOLLOW
            | OFlag::O_NONBLOCK
            | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let failed = |e: Errno| failure("open", &place.path, e);
        let file = ask(Act::Open)
            .and_then(|()| openat(&place.dir, place.name.as_os_str(), flags, mode))
            .map_err(failed)?;
        let kind = fstat(&file).map_err(failed)?.st_mode & SFlag::S_IFMT.bits();
        if kind != SFlag::S_IFREG.bits() {
            return Err(failed(Errno::EINVAL));
        }
        fault::point("disk.append.opened");
        sync_file(&file, &place.path)?;
        sync_dir(&place.dir, &place.dir_path)?;
        fault::point("disk.append.ready");
        Ok(Self {
            file: File::from(file),
            path: place.path,
            broken: false,
        })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds the bytes and returns when they are on the disk; the line ends as given.
    pub fn append(&mut self, line: &[u8]) -> Result<()> {
        self.append_without_sync(line)?;
        self.broken = true;
        if !fault::planted("no-fsync-of-the-journal") {
            ask(Act::SyncLine)
                .and_then(|()| fdatasync(&self.file))
                .map_err(|e| failure("make durable", &self.path, e))?;
            trace("fdatasync", || [self.path.clone()]);
        }
        self.broken = false;
        fault::point("disk.append.done");
        Ok(())
    }

    /// Adds the bytes, which are on the disk after the next [`Self::append`] or when the system
    /// comes to it; a crash of this program alone loses none.
    pub fn append_without_sync(&mut self, line: &[u8]) -> Result<()> {
        if self.broken {
            return Err(Error::new(
                Code::DiskOperation,
                format!("{} failed earlier and takes no more", self.path.display()),
            )
            .fact("path", self.path.display()));
        }
        self.broken = true;
        fault::point("disk.append.begin");
        self.put(line)
            .map_err(|e| failure("append to", &self.path, e))?;
        trace("append", || [self.path.clone()]);
        fault::point("disk.append.written");
        self.broken = false;
        Ok(())
    }

    /// Writes the line: in two halves where a crash between them can be asked for.
    fn put(&mut self, line: &[u8]) -> std::io::Result<()> {
        if !cfg!(feature = "fault") {
            return self.file.write_all(line);
        }
        let (first, second) = line.split_at(line.len() / 2);
        self.file.write_all(first)?;
        // A disk that is full takes the beginning of a line.
        ask(Act::Append)?;
        fault::point("disk.append.half");
        self.file.write_all(second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn area() -> (tempfile::TempDir, Area) {
        let dir = tempfile::tempdir().unwrap();
        let area = Area::new(&dir.path().join("state")).unwrap();
        area.create_dir("", 0o700).unwrap();
        (dir, area)
    }

    #[test]
    fn lines_are_added_behind_what_is_there() {
        let (_dir, area) = area();
        for line in ["one\n", "two\n"] {
            let mut journal = Appender::open(&area, "journal").unwrap();
            journal.append(line.as_bytes()).unwrap();
        }
        let text = fs::read_to_string(area.root().join("journal")).unwrap();
        assert_eq!(text, "one\ntwo\n");
        assert!(Appender::open(&area, "").is_err());
        area.symlink(Path::new("journal"), "alias").unwrap();
        assert!(Appender::open(&area, "alias").is_err());
    }

    #[test]
    fn after_a_failure_nothing_more_is_taken() {
        let (_dir, area) = area();
        let mut journal = Appender::open(&area, "journal").unwrap();
        let good = std::mem::replace(&mut journal.file, File::open("/dev/null").unwrap());
        assert!(journal.append(b"lost\n").is_err());
        journal.file = good;
        let error = journal.append(b"behind a torn line\n").unwrap_err();
        assert!(error.message().contains("failed earlier"), "{error}");
        assert_eq!(fs::read(area.root().join("journal")).unwrap(), b"");
    }
}
