//! What the file systems of two directories can do with a file of one in the other.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::errno::Errno;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::act::{failure, read_failure};
use super::clone::{clone, copy_range};
use crate::error::Result;

/// How much of a file is copied to see whether it can be.
const SOME: u64 = 64 << 10;

/// What is possible between two directories; where something is not, the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Possible {
    /// A second name, and so a rename.
    pub link: Result<(), String>,
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
///
/// # Errors
///
/// `NotWritable` where nothing may be made there, `NoSpace`, `NotReadable`, `DiskOperation`.
pub fn possible(old: &Path, sample: Option<&Path>, place: &Path) -> Result<Possible> {
    let together = mount(old)? == mount(place)?;
    let failed = |error: io::Error| failure("try something in", place, error);
    let scratch = tempfile::Builder::new()
        .prefix(".pgm-try.")
        .tempdir_in(place)
        .map_err(failed)?;
    let own = scratch.path().join("own");
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
    let made = |name: &str| File::create_new(scratch.path().join(name)).map_err(failed);
    let (by_clone, by_range) = (made("clone")?, made("range")?);
    let found = Possible {
        link: match together {
            true => said(fs::hard_link(&own, scratch.path().join("link"))),
            false => Err(Errno::EXDEV.to_string()),
        },
        clone: said(clone(&from, &by_clone)),
        copy_range: said(copy_range(&from, &by_range, len.min(SOME))),
    };
    scratch.close().map_err(failed)?;
    Ok(found)
}

fn said(done: io::Result<()>) -> Result<(), String> {
    done.map_err(|error| match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).to_string(),
        None => error.to_string(),
    })
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
            assert_eq!(found.link, Ok(()));
        }
        assert_eq!(fs::read_dir(&new).unwrap().count(), 0);
        assert_eq!(fs::read_dir(&old).unwrap().count(), 1);
        let gone = possible(&old, None, &dir.path().join("gone")).unwrap_err();
        assert_eq!(gone.code(), Code::DiskOperation);
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
        assert_eq!(found.link, Err(Errno::EXDEV.to_string()));
        assert!(found.clone.is_err(), "{found:?}");
    }
}
