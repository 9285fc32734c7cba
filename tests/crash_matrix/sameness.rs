//! Which points of a run find the same on the disk: a kill at one of them leaves what a kill at
//! any other of them leaves.
//!
//! The same is everything that can be read: names, kinds, modes, numbers of inodes and of their
//! names, lengths, times, and every byte. So two points are the same only if nothing was done to
//! any file in between, as before and after a sync, or at the end of an act and the beginning of
//! the next one.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use pg_migrator::fault;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::likeness;
use crate::place::{PARTS, real};

/// The file that gets a line for each point.
pub const LOG: &str = "PGM_MATRIX_SAMENESS";
/// Whether what it is like is to be there, too (`likeness.rs`).
pub const LIKENESS: &str = "PGM_MATRIX_LIKENESS";
/// Times move with the ticks of the kernel: a file is read again unless it is older than this.
pub const TICKS: Duration = Duration::from_millis(50);

static WATCH: Mutex<Option<Watch>> = Mutex::new(None);

struct Watch {
    dir: PathBuf,
    log: File,
    known: Known,
    /// What was found last, and what it is like, where that is wanted.
    last: Option<(u128, u128)>,
    likeness: bool,
}

/// Contents of files that need not be read again.
#[derive(Default)]
pub struct Known(HashMap<(u64, u64), (Stamp, Contents)>);

/// What stands for the bytes of a file.
#[derive(Debug, Clone, Copy)]
pub struct Contents {
    /// For all of them.
    pub all: u128,
    /// For those that are not the time.
    pub without_times: u128,
}

/// What a point finds.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// The first point of the run that finds the same.
    pub same_as: u64,
    /// Stands for all disks like it, in all runs, where that was asked for.
    pub like: u128,
}

/// What changes when a file is written to, once its last change is some ticks ago.
type Stamp = [i64; 5];

/// In a child whose points are to be compared: from now on each is looked at.
pub fn watch_if_wanted(dir: &Path) {
    let Some(log) = std::env::var_os(LOG) else {
        return;
    };
    *WATCH.lock().unwrap() = Some(Watch {
        dir: dir.to_owned(),
        log: File::create(log).unwrap(),
        known: Known::default(),
        last: None,
        likeness: std::env::var_os(LIKENESS).is_some(),
    });
    fault::watch(|number| {
        let mut watch = WATCH.lock().unwrap_or_else(PoisonError::into_inner);
        watch.iter_mut().for_each(|watch| watch.look(number));
    });
}

/// What each point finds.
pub fn read(log: &Path) -> HashMap<u64, Found> {
    let text = fs::read_to_string(log).unwrap();
    let mut firsts = HashMap::new();
    text.lines()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let number = words[0].parse().unwrap();
            let found = Found {
                same_as: *firsts.entry(words[1]).or_insert(number),
                like: u128::from_str_radix(words[2], 16).unwrap(),
            };
            (number, found)
        })
        .collect()
}

impl Watch {
    fn look(&mut self, number: u64) {
        let disk = Disk::look(&self.dir);
        let found = disk.sameness(&mut self.known);
        let like = match self.last {
            Some((last, like)) if last == found => like,
            _ if self.likeness => disk.likeness(&mut self.known),
            _ => 0,
        };
        self.last = Some((found, like));
        writeln!(self.log, "{number} {found:032x} {like:032x}").unwrap();
    }
}

/// Everything there is at one moment: names in order, and what they are.
pub struct Disk {
    pub dir: PathBuf,
    pub entries: Vec<(PathBuf, Metadata)>,
}

impl Disk {
    pub fn look(dir: &Path) -> Self {
        let mut entries = Vec::new();
        for part in PARTS {
            let root = real(&dir.join(part));
            if !root.exists() {
                continue;
            }
            for entry in walkdir::WalkDir::new(&root).sort_by_file_name() {
                let entry = entry.unwrap();
                let below = entry.path().strip_prefix(&root).unwrap();
                entries.push((Path::new(part).join(below), entry.metadata().unwrap()));
            }
        }
        Self {
            dir: dir.to_owned(),
            entries,
        }
    }

    fn sameness(&self, known: &mut Known) -> u128 {
        let mut hash = Xxh3::new();
        for (path, meta) in &self.entries {
            hash.update(path.as_os_str().as_encoded_bytes());
            let numbers = [
                meta.ino(),
                meta.nlink(),
                meta.mode().into(),
                meta.len(),
                meta.mtime().cast_unsigned(),
                meta.mtime_nsec().cast_unsigned(),
            ];
            for number in numbers {
                hash.update(&number.to_le_bytes());
            }
            let full = self.dir.join(path);
            if meta.is_symlink() {
                let target = fs::read_link(full).unwrap();
                hash.update(target.as_os_str().as_encoded_bytes());
            } else if meta.is_file() {
                hash.update(&known.contents(&full, meta).all.to_le_bytes());
            }
        }
        hash.digest128()
    }
}

impl Known {
    /// What is in a file.
    pub fn contents(&mut self, path: &Path, meta: &Metadata) -> Contents {
        let stamp = [
            meta.size().cast_signed(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        ];
        if let Some((known, contents)) = self.0.get(&(meta.dev(), meta.ino()))
            && *known == stamp
        {
            return *contents;
        }
        let bytes = fs::read(path).unwrap();
        let all = xxh3_128(&bytes);
        let contents = Contents {
            all,
            without_times: likeness::without_times(path, bytes)
                .map_or(all, |bytes| xxh3_128(&bytes)),
        };
        let changed = Duration::new(
            meta.ctime().cast_unsigned(),
            u32::try_from(meta.ctime_nsec()).unwrap(),
        );
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        if now.saturating_sub(changed) > TICKS {
            self.0.insert((meta.dev(), meta.ino()), (stamp, contents));
        }
        contents
    }
}
