//! A copy that is made and mended range by range, and the file it is a copy of.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::ftruncate;

use super::act::{Act, ask, failure, read_failure, sync_file, trace};
use super::copy::open_regular;
use super::dir::{AreaDir, OldDir, plain};
use super::holes;
use super::stamp::{Stamp, now};
use super::sync::begin_writing;
use super::write::create;
use crate::error::Result;
use crate::fault;

/// A file of the old cluster, open for reading while others may write to it.
#[derive(Debug)]
pub struct OldFile {
    file: File,
    path: PathBuf,
    /// Its mode.
    pub mode: u32,
    /// A moment before it was looked at.
    pub seen: i64,
    /// What it was when it was looked at, before anything of it was read.
    pub stamp: Stamp,
}

impl OldDir {
    /// Opens a file and looks at it; nothing where it is gone.
    ///
    /// A write that is under way may have set the time of the file already, and its contents may
    /// come after what is read here. Such a write holds a lock of the file. So one waits here for
    /// that lock, by a question that needs it: whatever comes later than that has set a later time.
    pub fn open_file(&self, name: impl AsRef<OsStr>) -> Result<Option<OldFile>> {
        let name = plain(name.as_ref())?;
        let path = self.path().join(name);
        let (file, mode) = match open_regular(&self.dir, name, &path) {
            Ok(opened) => opened,
            Err(_) if self.identity(name)?.is_none() => return Ok(None),
            Err(error) => return Err(error),
        };
        let seen = now();
        let stat = fstat(&file).map_err(|e| read_failure("examine", &path, e))?;
        let stamp = Stamp::from_stat(&stat);
        let opened = OldFile {
            file,
            path,
            mode,
            seen,
            stamp,
        };
        opened.is_hole(stamp.len.saturating_sub(1), 1);
        Ok(Some(opened))
    }
}

impl OldFile {
    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads from a position on until the buffer is full or the file ends; gives how much there
    /// was.
    pub fn read_at(&self, buffer: &mut [u8], from: u64) -> Result<usize> {
        ask(Act::ReadReplica).map_err(|e| read_failure("read", &self.path, e))?;
        let mut filled = 0;
        while filled < buffer.len() {
            let at = from + filled as u64;
            match self.file.read_at(&mut buffer[filled..], at) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(read_failure("read", &self.path, e)),
            }
        }
        Ok(filled)
    }

    /// The same beside a server that needs the memory: what was in memory before is somebody's
    /// and stays there, what was not does not stay.
    ///
    /// So nothing may be read ahead, either.
    pub fn read_aside(&self, buffer: &mut [u8], from: u64) -> Result<usize> {
        ask(Act::ReadReplica).map_err(|e| read_failure("read", &self.path, e))?;
        let there = self.in_memory(buffer, from);
        if there == buffer.len() {
            return Ok(there);
        }
        let rest = self.read_at(&mut buffer[there..], from + there as u64)?;
        forget(&self.file, from + there as u64, rest as u64);
        Ok(there + rest)
    }

    #[cfg(target_os = "linux")]
    fn in_memory(&self, buffer: &mut [u8], from: u64) -> usize {
        use rustix::io::{IoSliceMut, ReadWriteFlags, preadv2};
        if from == 0 {
            let whole = std::num::NonZeroU64::new(u64::MAX >> 1);
            let _ = rustix::fs::fadvise(&self.file, 0, whole, rustix::fs::Advice::Random);
        }
        let mut buffers = [IoSliceMut::new(buffer)];
        // What cannot be had without waiting, or not be asked for so, is read as ever.
        preadv2(&self.file, &mut buffers, from, ReadWriteFlags::NOWAIT).unwrap_or(0)
    }

    #[cfg(not(target_os = "linux"))]
    fn in_memory(&self, _buffer: &mut [u8], _from: u64) -> usize {
        0
    }

    /// Whether the file system keeps nothing for this part of it; where it cannot tell, no.
    pub fn is_hole(&self, from: u64, len: u64) -> bool {
        holes::is_hole(&self.file, &(from..from.saturating_add(len)))
    }
}

/// A file of new that holds a copy, open for writing; nothing is durable before
/// [`Replica::sync`].
#[derive(Debug)]
pub struct Replica {
    file: File,
    path: PathBuf,
    touched: AtomicBool,
}

impl AreaDir {
    /// A new, empty copy; an occupied name is an error.
    pub fn new_replica(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<Replica> {
        let name = plain(name.as_ref())?;
        let path = self.path().join(name);
        fault::point("disk.replica.begin");
        let file = create(&self.dir, name, &path, mode)?;
        trace("create", || [path.clone()]);
        fault::point("disk.replica.created");
        Ok(Replica {
            file,
            path,
            touched: AtomicBool::new(true),
        })
    }

    /// Makes a file durable and lets its contents go from memory, where a server needs that.
    pub fn sync_aside(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = plain(name.as_ref())?;
        ask(Act::SyncReplica).map_err(|e| failure("make durable", &self.path().join(name), e))?;
        self.sync_file(name)?;
        let path = self.path().join(name);
        let (file, _) = open_regular(&self.dir, name, &path)?;
        begin_writing(&file);
        Ok(())
    }

    /// Opens a copy to be mended in place; nothing where it is another file than it was known to
    /// be, or has a second name.
    pub fn open_replica(&self, name: impl AsRef<OsStr>, known: &Stamp) -> Result<Option<Replica>> {
        let name = plain(name.as_ref())?;
        let path = self.path().join(name);
        let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(&self.dir, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::ENOENT) => return Ok(None),
            Err(e) => return Err(failure("open", &path, e)),
        };
        let stat = fstat(&file).map_err(|e| read_failure("examine", &path, e))?;
        let regular = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits();
        if !regular || stat.st_nlink != 1 || Stamp::from_stat(&stat) != *known {
            return Ok(None);
        }
        Ok(Some(Replica {
            file: File::from(file),
            path,
            touched: AtomicBool::new(false),
        }))
    }
}

impl Replica {
    /// Writes a part of it. The first one passes a crash point: behind it the file is no longer
    /// what it was.
    pub fn write_at(&self, bytes: &[u8], at: u64) -> Result<()> {
        self.touch("disk.replica.write");
        ask(Act::WriteReplica)
            .map_err(io::Error::from)
            .and_then(|()| self.file.write_all_at(bytes, at))
            .map_err(|e| failure("write", &self.path, e))
    }

    /// Cuts it, or extends it with a hole.
    pub fn set_len(&self, len: u64) -> Result<()> {
        self.touch("disk.replica.cut");
        let failed = |e: Errno| failure("set the length of", &self.path, e);
        let len = i64::try_from(len).map_err(|_| failed(Errno::EFBIG))?;
        ask(Act::Truncate)
            .and_then(|()| ftruncate(&self.file, len))
            .map_err(failed)
    }

    fn touch(&self, point: &'static str) {
        if !self.touched.swap(true, Ordering::SeqCst) {
            fault::point(point);
            trace("patch", || [self.path.clone()]);
        }
    }

    /// Whether anything of it has been changed.
    pub fn touched(&self) -> bool {
        self.touched.load(Ordering::SeqCst)
    }

    /// Gives it a time in the past, which every later write replaces, lets the kernel begin to
    /// write it, and says what it is now.
    pub fn stamp(&self, modified: i64) -> Result<Stamp> {
        let failed = |e: Errno| failure("set the time of", &self.path, e);
        if self.touched() {
            let (seconds, rest) = (modified.div_euclid(SECOND), modified.rem_euclid(SECOND));
            let time = TimeSpec::new(seconds, rest);
            futimens(&self.file, &time, &time).map_err(failed)?;
            begin_writing(&self.file);
            fault::point("disk.replica.stamped");
        }
        Ok(Stamp::from_stat(&fstat(&self.file).map_err(failed)?))
    }

    /// Lets the kernel begin to write what there is, and forget what is written.
    pub fn begin_writing(&self) {
        begin_writing(&self.file);
    }

    /// Makes it durable.
    pub fn sync(&self) -> Result<()> {
        sync_file(&self.file, &self.path)?;
        fault::point("disk.replica.synced");
        Ok(())
    }
}

/// Lets a part of a file go from memory; a wish.
#[cfg(target_os = "linux")]
fn forget(file: &File, from: u64, len: u64) {
    use rustix::fs::{Advice, fadvise};
    if let Some(len) = std::num::NonZeroU64::new(len) {
        let _ = fadvise(file, from, Some(len), Advice::DontNeed);
    }
}

#[cfg(not(target_os = "linux"))]
fn forget(_file: &File, _from: u64, _len: u64) {}

/// Nanoseconds of a second.
const SECOND: i64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::pair::pair;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_copy_is_made_and_mended_and_known_again() {
        let (dir, _old, new) = pair();
        let path = dir.path().join("new/1");
        let made = new.new_replica("1", 0o640).unwrap();
        made.write_at(b"abc", 0).unwrap();
        made.set_len(9000).unwrap();
        let first = made.stamp(1_000_000_000_123_456_789).unwrap();
        made.sync().unwrap();
        assert_eq!(first.modified, 1_000_000_000_123_456_789);
        assert_eq!(new.stamp("1").unwrap(), Some(first));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert!(new.new_replica("1", 0o600).is_err());

        let again = new.open_replica("1", &first).unwrap().unwrap();
        assert!(!again.touched());
        assert_eq!(again.stamp(0).unwrap(), first);
        again.write_at(b"X", 1).unwrap();
        assert_ne!(new.stamp("1").unwrap(), Some(first));
        assert!(new.open_replica("1", &first).unwrap().is_none());
        again.set_len(3).unwrap();
        let second = again.stamp(2_000_000_000).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"aXc");
        assert!(new.open_replica("1", &second).unwrap().is_some());
        fs::hard_link(&path, dir.path().join("second")).unwrap();
        let linked = new.stamp("1").unwrap().unwrap();
        assert!(new.open_replica("1", &linked).unwrap().is_none());
        assert!(new.open_replica("2", &linked).unwrap().is_none());
    }

    #[test]
    fn a_file_of_old_is_read_with_its_holes() {
        let (dir, old, _new) = pair();
        let path = dir.path().join("old/1");
        let file = File::create(&path).unwrap();
        file.write_all_at(&[7; 4096], 1 << 20).unwrap();
        file.set_len(3 << 20).unwrap();
        let opened = old.open_file("1").unwrap().unwrap();
        assert_eq!(opened.stamp.len, 3 << 20);
        assert!(opened.seen <= now());
        let mut buffer = [1; 8192];
        assert_eq!(opened.read_at(&mut buffer, (1 << 20) - 10).unwrap(), 8192);
        assert_eq!((buffer[9], buffer[10]), (0, 7));
        assert_eq!(opened.read_at(&mut buffer, (3 << 20) - 10).unwrap(), 10);
        assert!(opened.is_hole(0, 65536));
        assert!(opened.is_hole(2 << 20, 65536));
        assert!(!opened.is_hole((1 << 20) - 65536, 131_072));
        assert!(old.open_file("2").unwrap().is_none());
        assert!(old.open_file("..").is_err());
    }

    #[test]
    fn only_what_was_in_memory_stays_there() {
        let (dir, old, new) = pair();
        let bytes: Vec<u8> = (0..4_u32 << 20).map(|n| (n / 4099) as u8).collect();
        fs::write(dir.path().join("old/1"), &bytes).unwrap();
        File::open(dir.path().join("old/1"))
            .unwrap()
            .sync_all()
            .unwrap();
        let file = old.open_file("1").unwrap().unwrap();
        let mut buffer = vec![0; bytes.len()];
        assert_eq!(file.read_aside(&mut buffer, 0).unwrap(), bytes.len());
        assert!(buffer == bytes);
        assert_eq!(file.in_memory(&mut buffer, 0), bytes.len());

        forget(&file.file, 0, bytes.len() as u64);
        if file.in_memory(&mut buffer, 0) > 0 {
            // A file system that has nothing but memory.
            return;
        }
        in_the_end(|| {
            forget(&file.file, 0, bytes.len() as u64);
            for at in (0..bytes.len()).step_by(1 << 20) {
                let read = file.read_aside(&mut buffer[at..at + (1 << 20)], at as u64);
                assert_eq!(read.unwrap(), 1 << 20);
            }
            assert!(buffer == bytes);
            file.in_memory(&mut buffer, 0) == 0
        });

        let copy = new.new_replica("2", 0o600).unwrap();
        copy.write_at(&bytes, 0).unwrap();
        let here = OldDir::open(new.path()).unwrap();
        let copied = here.open_file("2").unwrap().unwrap();
        in_the_end(|| {
            new.sync_aside("2").unwrap();
            copied.in_memory(&mut buffer, 0) == 0
        });
    }

    /// The kernel may keep what another thread of it is looking at just now.
    fn in_the_end(mut gone: impl FnMut() -> bool) {
        let tries = (0..100).any(|_| {
            gone() || {
                std::thread::sleep(std::time::Duration::from_millis(20));
                false
            }
        });
        assert!(tries, "it stays in memory");
    }
}
