//! Holes: parts of a file for which its file system keeps nothing.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

/// Bytes of the unit in which `st_blocks` counts, whatever the file system's own is.
pub const STAT_BLOCK: u64 = 512;
/// How much of a hole is read at once.
const LOOK: usize = 256 << 10;

/// Whether the file system keeps nothing for this part; where it cannot tell, no.
pub(super) fn is_hole(file: impl AsFd, part: &Range<u64>) -> bool {
    next(file, part.start, Whence::SeekData).is_ok_and(|data| data.is_none_or(|at| at >= part.end))
}

/// Whether a file of this length seems to have holes; files that are packed seem to as well.
pub(super) fn is_sparse(file: &File, len: u64) -> io::Result<bool> {
    Ok(file.metadata()?.blocks().saturating_mul(STAT_BLOCK) < len)
}

/// Gives each part that has to be copied, in order; the rest is holes.
///
/// What is said to be a hole has to read as zeroes, too: there were releases of file systems that
/// took for one what had just been written.
pub(super) fn each_part(
    file: &File,
    len: u64,
    mut copy: impl FnMut(Range<u64>) -> io::Result<()>,
) -> io::Result<()> {
    let mut at = 0;
    while at < len {
        let data = next(file, at, Whence::SeekData).map_or(at, |data| data.unwrap_or(len));
        let hole = at..data.min(len);
        if !hole.is_empty() {
            at = hole.end;
            if !is_zero(file, &hole)? {
                copy(hole)?;
            }
            continue;
        }
        let end = next(file, at, Whence::SeekHole).ok().flatten();
        let part = at..end.filter(|end| *end > at).unwrap_or(len).min(len);
        at = part.end;
        copy(part)?;
    }
    Ok(())
}

/// None where there is no more of that up to the end.
fn next(file: impl AsFd, from: u64, whence: Whence) -> nix::Result<Option<u64>> {
    let from = i64::try_from(from).map_err(|_| Errno::EOVERFLOW)?;
    match lseek(file, from, whence) {
        Ok(at) => Ok(u64::try_from(at).ok()),
        Err(Errno::ENXIO) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_zero(file: &File, part: &Range<u64>) -> io::Result<bool> {
    let mut buffer = vec![0; LOOK];
    let mut at = part.start;
    while at < part.end {
        let wanted = usize::try_from(part.end - at).map_or(LOOK, |left| left.min(LOOK));
        file.read_exact_at(&mut buffer[..wanted], at)?;
        if buffer[..wanted].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += wanted as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::pair::pair;
    use crate::disk::{AreaDir, OldDir};
    use std::fs;

    type Way = fn(&AreaDir, &OldDir, &str, &str) -> crate::error::Result<u64>;

    const MIB: u64 = 1 << 20;

    /// Of this many MiB, those with data.
    fn make(path: &std::path::Path, len: u64, data: &[u64]) {
        let file = File::create(path).unwrap();
        for at in data {
            file.write_all_at(&[7; 8192], at * MIB + 8192).unwrap();
        }
        file.set_len(len * MIB).unwrap();
        file.sync_all().unwrap();
    }

    #[test]
    fn holes_stay_holes() {
        let (dir, old, new) = pair();
        let ways: [(&str, Way); 2] = [
            ("copied", |new, old, from, to| new.copy_from(old, from, to)),
            ("by-range", |new, old, from, to| {
                new.copy_range_from(old, from, to)
            }),
        ];
        let files: [(&str, u64, &[u64]); 4] = [
            ("all", 16, &[]),
            ("begins", 16, &[0]),
            ("ends", 16, &[15]),
            ("between", 16, &[3, 4, 9]),
        ];
        for (name, len, data) in files {
            let from = dir.path().join("old").join(name);
            make(&from, len, data);
            let from_bytes = fs::read(&from).unwrap();
            for (way, copy) in ways {
                let to = format!("{name}-{way}");
                assert_eq!(copy(&new, &old, name, &to).unwrap(), len * MIB);
                let to = dir.path().join("new").join(to);
                assert!(fs::read(&to).unwrap() == from_bytes, "{}", to.display());
                let file = File::open(&to).unwrap();
                file.sync_all().unwrap();
                let kept = file.metadata().unwrap().blocks() * STAT_BLOCK;
                assert!(kept <= from.metadata().unwrap().blocks() * STAT_BLOCK + MIB);
            }
        }
    }

    #[test]
    fn zeroes_that_were_written_are_no_hole_and_data_is_not_zero() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        make(&path, 8, &[2]);
        let file = File::open(&path).unwrap();
        assert!(is_hole(&file, &(0..MIB)));
        assert!(!is_hole(&file, &(2 * MIB..3 * MIB)));
        assert!(is_zero(&file, &(0..2 * MIB)).unwrap());
        assert!(!is_zero(&file, &(0..3 * MIB)).unwrap());
        fs::write(&path, vec![0; 1 << 20]).unwrap();
        assert!(!is_sparse(&File::open(&path).unwrap(), MIB).unwrap());
    }
}
