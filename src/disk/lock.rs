//! One run at a time in one area.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, openat};
use nix::sys::stat::{Mode, fstat, fstatat};

use super::act::{Act, ask, failure, trace};
use super::area::{Area, Place};
use crate::error::{Code, Error, Remedy, Result};
use crate::fault;

/// How often a lock file that goes away under our hands is made anew.
const ATTEMPTS: usize = 8;

/// The right to work in an area, held until it is dropped or the process ends.
///
/// The file stays, because removing it would let two runs hold locks on two files of one name.
/// Its content is for people and is not synced; programs that are started do not inherit it.
#[derive(Debug)]
pub struct Lock {
    _held: Flock<File>,
}

impl Lock {
    /// Takes the lock at once or fails with [`Code::StateLocked`] and the holder's process id.
    pub fn acquire(area: &Area) -> Result<Self> {
        let place = area.place(Path::new("lock"))?;
        fault::point("disk.lock.begin");
        for _ in 0..ATTEMPTS {
            let mut held = match Flock::lock(open(&place)?, FlockArg::LockExclusiveNonblock) {
                Ok(held) => held,
                Err((file, Errno::EWOULDBLOCK)) => return Err(refused(&place, file)),
                Err((_, error)) => return Err(failure("lock", &place.path, error)),
            };
            // The holder before us may have removed the whole area with this file in it.
            if !still_named(&place, &held) {
                continue;
            }
            ask(Act::Write)
                .map_err(io::Error::from)
                .and_then(|()| sign(&mut held))
                .map_err(|e| failure("write", &place.path, e))?;
            trace("lock", || [place.path.clone()]);
            fault::point("disk.lock.done");
            return Ok(Self { _held: held });
        }
        Err(Error::new(
            Code::StateLocked,
            format!("{} is removed by another process", place.path.display()),
        )
        .fact("path", place.path.display()))
    }
}

impl Lock {
    /// The process that works in the area now; `unknown` where it has not signed yet.
    ///
    /// To find out, the lock is taken for a moment, together with others who only ask.
    pub fn holder(area: &Area) -> Option<String> {
        let file = File::open(area.path("lock").ok()?).ok()?;
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Err((file, Errno::EWOULDBLOCK)) => Some(signer(file)),
            Ok(_) | Err(_) => None,
        }
    }

    /// Takes the lock of a directory itself: nothing is written, so it may be anybody's.
    ///
    /// Two migrations of one old cluster have two state directories; this keeps them apart.
    pub fn on_directory(dir: &Path) -> Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = nix::fcntl::open(dir, flags, Mode::empty())
            .map_err(|error| failure("open", dir, error))?;
        match Flock::lock(File::from(opened), FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(Self { _held: held }),
            Err((_, Errno::EWOULDBLOCK)) => Err(Error::new(
                Code::StateLocked,
                "another run of pg_migrator is at work on this cluster",
            )
            .fact("path", dir.display())
            .remedy(Remedy::manual("wait until it has ended"))),
            Err((_, error)) => Err(failure("lock", dir, error)),
        }
    }
}

fn open(place: &Place) -> Result<File> {
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(
        &place.dir,
        place.name.as_os_str(),
        flags,
        Mode::S_IRUSR | Mode::S_IWUSR,
    )
    .map(File::from)
    .map_err(|e| failure("open", &place.path, e))
}

fn still_named(place: &Place, held: &File) -> bool {
    let name: &OsStr = &place.name;
    match (
        fstat(held),
        fstatat(&place.dir, name, AtFlags::AT_SYMLINK_NOFOLLOW),
    ) {
        (Ok(held), Ok(named)) => (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino),
        _ => false,
    }
}

fn sign(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes())
}

/// Only the first bytes are read: the file may be anything.
fn signer(file: File) -> String {
    let mut text = String::new();
    let read = file.take(32).read_to_string(&mut text);
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => pid.to_string(),
        _ => "unknown".to_owned(),
    }
}

fn refused(place: &Place, file: File) -> Error {
    Error::new(
        Code::StateLocked,
        format!("{} is held by another run", place.path.display()),
    )
    .fact("process", signer(file))
    .fact("path", place.path.display())
    .remedy(Remedy::manual(
        "wait until the other run has ended, or end it",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_directory_is_locked_once() {
        let dir = tempfile::tempdir().unwrap();
        let held = Lock::on_directory(dir.path()).unwrap();
        assert_eq!(
            Lock::on_directory(dir.path()).unwrap_err().code(),
            Code::StateLocked
        );
        drop(held);
        Lock::on_directory(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_second_lock_is_refused_and_names_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let area = Area::new(&dir.path().join("state")).unwrap();
        assert!(Lock::acquire(&area).is_err());
        area.create_dir("", 0o700).unwrap();
        fs::write(area.root().join("lock"), "99999999\nleft by an earlier run").unwrap();
        let first = Lock::acquire(&area).unwrap();
        let error = Lock::acquire(&area).unwrap_err();
        assert_eq!(error.code(), Code::StateLocked);
        let process = ("process".to_owned(), std::process::id().to_string());
        assert!(error.facts().contains(&process), "{error:?}");
        drop(first);
        Lock::acquire(&area).unwrap();
    }

    #[test]
    fn a_lock_on_a_file_that_lost_its_name_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let area = Area::new(dir.path()).unwrap();
        let place = area.place(Path::new("lock")).unwrap();
        let file = open(&place).unwrap();
        assert!(still_named(&place, &file));
        area.remove_file("lock").unwrap();
        assert!(!still_named(&place, &file));
        let _newer = open(&place).unwrap();
        assert!(!still_named(&place, &file));
    }

    #[test]
    fn a_child_does_not_keep_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let area = Area::new(dir.path()).unwrap();
        let lock = Lock::acquire(&area).unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("30")
            .spawn()
            .unwrap();
        drop(lock);
        let again = Lock::acquire(&area);
        child.kill().unwrap();
        child.wait().unwrap();
        again.unwrap();
    }
}
