//! What the file systems of two directories can do with a file of one in the other.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::stat::Mode;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::act::{failure, read_failure};
use super::clone::{clone, copy_range};
use super::entries::keeps_file_numbers;
use crate::error::Result;

/// How much of a file is copied to see whether it can be.
const SOME: u64 = 64 << 10;

/// What a trial is called, and what it makes.
const PREFIX: &str = ".pgm-try.";
const OWN: &str = "own";
const CLONE: &str = "clone";
const RANGE: &str = "range";
const LINK: &str = "link";

/// How often a directory that goes away under our hands is made anew.
const ATTEMPTS: usize = 8;

const APART: &str = "they lie on different file systems, subvolumes or mounts";
const MOUNTED_TWICE: &str = "they lie on one file system that is mounted in two places, and no name leads from one to the \
     other";
const NUMBERS: &str = "it is not known of this file system that it keeps the numbers of its files, by \
                       which those that were moved are found again";

/// What is possible between two directories; where something is not, the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Possible {
    /// A second name.
    pub link: Result<(), String>,
    /// A rename of a file that is found again by its number.
    pub swap: Result<(), String>,
    /// A file that shares its blocks.
    pub clone: Result<(), String>,
    /// A copy that the kernel makes.
    pub copy_range: Result<(), String>,
}

/// Which part of the tree of directories a path is in: hard links and renames leave neither a
/// device nor what is mounted in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mount {
    device: (u32, u32),
    /// Unknown before Linux 5.8.
    number: Option<u64>,
}

/// Where a directory is mounted.
pub fn mount(path: &Path) -> Result<Mount> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let found = statx(CWD, path, AtFlags::empty(), wanted)
        .map_err(|e| read_failure("examine", path, io::Error::from(e)))?;
    let known = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID);
    Ok(Mount {
        device: (found.stx_dev_major, found.stx_dev_minor),
        number: known.then_some(found.stx_mnt_id),
    })
}

/// Tries in `place`, in a directory that is made there and removed at once, what can be done
/// with a file of `old`; with one that is made there too where old has none.
///
/// Of old a file is opened for reading, and nothing else: a second name would be a change, so for
/// links it is asked whether both are mounted together, and whether `place` knows links at all.
/// These acts are no part of the work, so they are neither crash points nor lines of the trace.
/// What a trial that was killed has left there goes.
///
/// # Errors
///
/// `NotWritable` where nothing may be made there, `NoSpace`, `NotReadable`, `DiskOperation`.
pub fn possible(old: &Path, sample: Option<&Path>, place: &Path) -> Result<Possible> {
    let failed = |error: io::Error| failure("try something in", place, error);
    remove_abandoned(place).map_err(failed)?;
    let (at_old, at_place) = (mount(old)?, mount(place)?);
    let scratch = Scratch::make(place).map_err(failed)?;
    let path = |name: &str| scratch.dir.path().join(name);
    let own = path(OWN);
    fs::write(&own, [7; 8192]).map_err(failed)?;
    let sample = sample.unwrap_or(&own);
    let from = match File::open(sample) {
        // A running server may have removed it.
        Err(e) if e.kind() == io::ErrorKind::NotFound => File::open(&own),
        opened => opened,
    };
    let from = from.map_err(|e| read_failure("open", sample, e))?;
    let len = from
        .metadata()
        .map_err(|e| read_failure("examine", sample, e))?
        .len();
    let made = |name: &str| File::create_new(path(name)).map_err(failed);
    let (by_clone, by_range) = (made(CLONE)?, made(RANGE)?);
    let link = match at_old == at_place {
        true => fs::hard_link(&own, path(LINK)).map_err(|error| said(&error)),
        false if at_old.device == at_place.device => Err(MOUNTED_TWICE.to_owned()),
        false => Err(APART.to_owned()),
    };
    let numbers = match keeps_file_numbers(&by_clone) {
        true => Ok(()),
        false => Err(NUMBERS.to_owned()),
    };
    let found = Possible {
        swap: link.clone().and(numbers),
        link,
        clone: clone(&from, &by_clone).map_err(|error| not_cloned(&error)),
        copy_range: copy_range(&from, &by_range, 0..len.min(SOME)).map_err(|error| said(&error)),
    };
    scratch.dir.close().map_err(failed)?;
    Ok(found)
}

/// Whether this is what a trial has made, which may have been killed.
pub fn is_trial(path: &Path) -> bool {
    let named = path.file_name().and_then(|name| name.to_str());
    named.is_some_and(|name| name.starts_with(PREFIX))
        && path.symlink_metadata().is_ok_and(|found| found.is_dir())
        && holds_nothing_else(path).unwrap_or(false)
}

fn holds_nothing_else(dir: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if ![OWN, CLONE, RANGE, LINK].iter().any(|made| name == *made) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The directory of a trial; who makes one holds it locked, so that others know it for one that
/// is in use.
struct Scratch {
    dir: tempfile::TempDir,
    _held: Option<Flock<File>>,
}

impl Scratch {
    /// Between its making and its lock another run may take it for an abandoned one.
    fn make(place: &Path) -> io::Result<Self> {
        for _ in 0..ATTEMPTS {
            let made = tempfile::Builder::new().prefix(PREFIX).tempdir_in(place)?;
            let held = match hold(made.path()) {
                Ok(held) => Some(held),
                Err(Errno::EWOULDBLOCK | Errno::ENOENT) => continue,
                // A directory that cannot be locked is left alone by everybody.
                Err(_) => None,
            };
            if made.path().is_dir() {
                return Ok(Self {
                    dir: made,
                    _held: held,
                });
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }
}

fn hold(dir: &Path) -> nix::Result<Flock<File>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let opened = nix::fcntl::open(dir, flags, Mode::empty())?;
    Flock::lock(File::from(opened), FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error)
}

fn remove_abandoned(place: &Path) -> io::Result<()> {
    for entry in fs::read_dir(place)?.flatten() {
        let path = entry.path();
        if is_trial(&path) && hold(&path).is_ok() {
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

fn not_cloned(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EOPNOTSUPP | Errno::ENOTTY | Errno::ENOSYS) => {
            "the file system cannot share blocks".to_owned()
        }
        Some(Errno::EINVAL) => "the file system cannot share blocks of these two".to_owned(),
        _ => said(error),
    }
}

fn said(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EXDEV) => APART.to_owned(),
        Some(number) => number.to_string(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn what_can_be_done_is_found_out_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        fs::create_dir(&old).unwrap();
        fs::create_dir(&new).unwrap();
        fs::write(old.join("1"), [1; 8192]).unwrap();
        for sample in [Some(old.join("1")), None] {
            let found = possible(&old, sample.as_deref(), &new).unwrap();
            assert_eq!((found.link, found.swap), (Ok(()), Ok(())));
        }
        assert_eq!(fs::read_dir(&new).unwrap().count(), 0);
        assert_eq!(fs::read_dir(&old).unwrap().count(), 1);
        let gone = possible(&old, None, &dir.path().join("gone")).unwrap_err();
        assert_eq!(gone.code(), Code::DiskOperation);
    }

    #[test]
    fn what_a_killed_trial_has_left_goes() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (name, file) in [
            (".pgm-try.a", "own"),
            (".pgm-try.b", "link"),
            (".pgm-try.c", "rows"),
            ("pgm-try.d", "own"),
        ] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join(file), "").unwrap();
        }
        let in_use = hold(&at(".pgm-try.b")).unwrap();
        let seen = |name: &str| (is_trial(&at(name)), at(name).exists());
        possible(dir.path(), None, dir.path()).unwrap();
        assert_eq!(seen(".pgm-try.a"), (false, false));
        assert_eq!(seen(".pgm-try.b"), (true, true));
        assert_eq!(seen(".pgm-try.c"), (false, true));
        assert_eq!(seen("pgm-try.d"), (false, true));
        drop(in_use);
        possible(dir.path(), None, dir.path()).unwrap();
        assert_eq!(seen(".pgm-try.b"), (false, false));
    }

    #[test]
    fn errors_are_said_in_words_of_our_own() {
        let said = |number: Errno| not_cloned(&io::Error::from(number));
        assert_eq!(
            said(Errno::EOPNOTSUPP),
            "the file system cannot share blocks"
        );
        assert_eq!(said(Errno::EXDEV), APART);
        assert_eq!(said(Errno::EIO), Errno::EIO.to_string());
    }

    #[test]
    fn nothing_is_shared_between_file_systems() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = Path::new("/dev/shm");
        if mount(dir.path()).unwrap() == mount(elsewhere).unwrap() {
            return;
        }
        let sample = dir.path().join("1");
        fs::write(&sample, [1; 8192]).unwrap();
        let found = possible(dir.path(), Some(&sample), elsewhere).unwrap();
        assert_eq!(found.link, Err(APART.to_owned()));
        assert_eq!(found.swap, found.link);
        assert!(found.clone.is_err(), "{found:?}");
    }
}
