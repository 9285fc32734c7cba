//! How quick a file system is, found out by doing a little of what will be done much of.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::syncfs;

use super::act::failure;
use super::clone::clone;
use super::sync::begin_writing;
use crate::error::Result;

/// What acts cost on a file system.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// Seconds to give a file one more name, durably, among many.
    pub link: f64,
    /// Seconds a name costs when its directory is listed.
    pub entry: f64,
    /// Seconds to copy a file of one page, durably, among many, as many at once as was asked for.
    pub small: f64,
    /// Seconds to clone one, durably, among many; nothing where it cannot be done.
    pub clone: Option<f64>,
    /// Bytes of a large file that are copied in a second, durably.
    pub bytes: f64,
    /// Seconds until a line that was appended to a file is on the disk.
    pub sync: f64,
}

/// Names that are made and listed.
const NAMES: u32 = 512;
/// How often they are listed.
const LISTINGS: usize = 9;
/// Small files that are copied at one go, their bytes, and how often that is done.
const SMALL: u32 = 256;
const PAGE: usize = 8192;
const GOES: usize = 5;
/// Clones that are made.
const CLONES: u32 = 64;
/// Large files that are copied at most, and their bytes.
const LARGE: u32 = 4;
const LARGE_BYTES: usize = 8 << 20;
/// No further large file is begun after this, so that a slow disk is not waited for.
const ENOUGH: Duration = Duration::from_millis(200);
/// Lines that are appended.
const LINES: usize = 9;

/// Measures the file system of this directory, in one that is made there and removed again.
///
/// Takes some tenths of a second, and 40 MB meanwhile. With `beside_old` the files that will be
/// copied are on the same file system: what it can share it need not copy. What is done more than
/// once counts as it did in the middle, since a disk may be busy with the work of others for a
/// moment. These acts are no part of the work, so they are neither crash points nor lines of the
/// trace.
///
/// # Errors
///
/// `NotWritable` where nothing may be made there, `NoSpace`, `DiskOperation`.
pub fn speed(place: &Path, beside_old: bool, jobs: usize) -> Result<Speed> {
    let measured = || {
        let scratch = tempfile::Builder::new()
            .prefix(".pgm-measure.")
            .tempdir_in(place)?;
        let (link, entry) = names(scratch.path())?;
        let sync = line(scratch.path())?;
        let small = small_copies(scratch.path(), beside_old, jobs)?;
        let clone = clones(scratch.path()).ok();
        let large = large_copies(scratch.path(), beside_old)?;
        scratch.close()?;
        Ok(Speed {
            link,
            entry,
            small,
            clone,
            bytes: bytes_in_a_second(large),
            sync,
        })
    };
    measured().map_err(|error: io::Error| failure("measure in", place, error))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "an estimate needs no more than 15 digits"
)]
fn bytes_in_a_second(seconds: f64) -> f64 {
    LARGE_BYTES as f64 / seconds.max(1e-9)
}

/// Seconds a link, and a name in a listing, cost.
fn names(dir: &Path) -> io::Result<(f64, f64)> {
    let dir = dir.join("names");
    fs::create_dir(&dir)?;
    let first = dir.join("0");
    File::create_new(&first)?;
    let begun = Instant::now();
    for name in 1..NAMES {
        fs::hard_link(&first, dir.join(name.to_string()))?;
    }
    File::open(&dir)?.sync_all()?;
    let link = begun.elapsed().as_secs_f64() / f64::from(NAMES);
    let mut listings = [0.0; LISTINGS];
    for listing in &mut listings {
        let begun = Instant::now();
        for entry in fs::read_dir(&dir)? {
            entry?;
        }
        *listing = begun.elapsed().as_secs_f64();
    }
    Ok((link, middle(&mut listings) / f64::from(NAMES)))
}

fn middle(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Seconds a line costs.
fn line(dir: &Path) -> io::Result<f64> {
    let mut file = File::create_new(dir.join("lines"))?;
    let mut times = [0.0; LINES];
    for time in &mut times {
        let begun = Instant::now();
        file.write_all(b"a line of a journal, as long as most\n")?;
        file.sync_data()?;
        *time = begun.elapsed().as_secs_f64();
    }
    Ok(middle(&mut times))
}

/// Seconds a small copy costs, made as copy mode makes them: all of one go are on their way to the
/// disk before the first is waited for.
fn small_copies(dir: &Path, beside_old: bool, jobs: usize) -> io::Result<f64> {
    let dir = dir.join("small");
    fs::create_dir(&dir)?;
    let source = original(&dir, &[1; PAGE])?;
    let workers = u32::try_from(jobs).unwrap_or(1).clamp(1, SMALL);
    let begun = Instant::now();
    let mut goes = Vec::new();
    while goes.is_empty() || goes.len() < GOES && begun.elapsed() < ENOUGH {
        let go = goes.len();
        let copied = |worker: u32| -> io::Result<Vec<File>> {
            let own = (0..SMALL).filter(|number| number % workers == worker);
            own.map(|number| {
                let name = dir.join(format!("{go}.{number}"));
                copied(&source, &name, &[1; PAGE], beside_old)
            })
            .collect()
        };
        let synced = |files: &[File]| files.iter().try_for_each(File::sync_all);
        let begun = Instant::now();
        let waiting = at_once(workers, copied)?;
        at_once(workers, |worker| synced(&waiting[worker as usize]))?;
        File::open(&dir)?.sync_all()?;
        goes.push(begun.elapsed().as_secs_f64());
    }
    Ok(middle(&mut goes) / f64::from(SMALL))
}

/// What as many threads give back, in their order.
fn at_once<T: Send>(
    workers: u32,
    work: impl Fn(u32) -> io::Result<T> + Sync,
) -> io::Result<Vec<T>> {
    let panicked = |_| Err(io::Error::other("a worker panicked"));
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..workers)
            .map(|worker| scope.spawn(move || work(worker)))
            .collect();
        let results = threads.into_iter();
        results
            .map(|thread| thread.join().unwrap_or_else(panicked))
            .collect()
    })
}

/// Seconds a large copy costs; each is waited for, so that its time is known.
fn large_copies(dir: &Path, beside_old: bool) -> io::Result<f64> {
    let dir = dir.join("large");
    fs::create_dir(&dir)?;
    let contents = noise(LARGE_BYTES);
    let source = original(&dir, &contents)?;
    let mut made = 0;
    let begun = Instant::now();
    while made < LARGE && (made == 0 || begun.elapsed() < ENOUGH) {
        let name = dir.join(made.to_string());
        copied(&source, &name, &contents, beside_old)?.sync_all()?;
        made += 1;
    }
    File::open(&dir)?.sync_all()?;
    Ok(begun.elapsed().as_secs_f64() / f64::from(made))
}

fn original(dir: &Path, contents: &[u8]) -> io::Result<PathBuf> {
    let source = dir.join("source");
    let mut file = File::create_new(&source)?;
    file.write_all(contents)?;
    file.sync_all()?;
    Ok(source)
}

fn copied(source: &Path, name: &Path, contents: &[u8], beside_old: bool) -> io::Result<File> {
    let mut to = File::create_new(name)?;
    if beside_old {
        io::copy(&mut File::open(source)?, &mut to)?;
    } else {
        to.write_all(contents)?;
    }
    begin_writing(&to);
    Ok(to)
}

/// Seconds a clone costs, made as clone mode makes them: waited for all at once.
fn clones(dir: &Path) -> io::Result<f64> {
    let dir = dir.join("clones");
    fs::create_dir(&dir)?;
    let source = dir.join("source");
    fs::write(&source, [1; PAGE])?;
    File::open(&source)?.sync_all()?;
    let begun = Instant::now();
    for name in 0..CLONES {
        let to = File::create_new(dir.join(name.to_string()))?;
        clone(&File::open(&source)?, &to)?;
    }
    syncfs(File::open(&dir)?)?;
    Ok(begun.elapsed().as_secs_f64() / f64::from(CLONES))
}

/// Bytes no file system stores in less room.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn every_act_takes_its_time_and_nothing_is_left() {
        let place = tempfile::tempdir().unwrap();
        for beside_old in [true, false] {
            let speed = speed(place.path(), beside_old, 2).unwrap();
            for seconds in [speed.link, speed.entry, speed.small, speed.sync] {
                assert!((1e-9..1.0).contains(&seconds), "{speed:?}");
            }
            assert!(speed.bytes > 1e5, "{speed:?}");
            assert!(speed.entry < speed.link, "{speed:?}");
        }
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
        let nowhere = place.path().join("nowhere");
        let error = super::speed(&nowhere, true, 2).unwrap_err();
        assert_eq!(error.code(), Code::DiskOperation);
    }

    #[test]
    fn noise_cannot_be_packed() {
        let noise = noise(1000);
        assert_eq!(noise.len(), 1000);
        let mut seen: Vec<_> = noise.chunks(8).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 125);
    }
}
