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
use xxhash_rust::xxh3::Xxh3;

use crate::place::{PARTS, real};

/// The file that gets a line for each point.
pub const LOG: &str = "PGM_MATRIX_SAMENESS";
/// Times move with the ticks of the kernel: a file is read again unless it is older than this.
pub const TICKS: Duration = Duration::from_millis(50);

static WATCH: Mutex<Option<Watch>> = Mutex::new(None);

struct Watch {
    dir: PathBuf,
    log: File,
    known: HashMap<u64, (Stamp, u128)>,
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
        known: HashMap::new(),
    });
    fault::watch(|number| {
        let mut watch = WATCH.lock().unwrap_or_else(PoisonError::into_inner);
        watch.iter_mut().for_each(|watch| watch.look(number));
    });
}

/// Of each point the number of the first one that finds the same.
pub fn read(log: &Path) -> HashMap<u64, u64> {
    let text = fs::read_to_string(log).unwrap();
    let mut firsts = HashMap::new();
    text.lines()
        .map(|line| {
            let (number, found) = line.split_once(' ').unwrap();
            let number = number.parse().unwrap();
            (number, *firsts.entry(found).or_insert(number))
        })
        .collect()
}

impl Watch {
    fn look(&mut self, number: u64) {
        let mut hash = Xxh3::new();
        for part in PARTS {
            let path = real(&self.dir.join(part));
            if let Ok(meta) = fs::symlink_metadata(&path) {
                self.add(&path, &meta, &mut hash);
            }
        }
        writeln!(self.log, "{number} {:032x}", hash.digest128()).unwrap();
    }

    fn add(&mut self, path: &Path, meta: &Metadata, hash: &mut Xxh3) {
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
        if meta.is_dir() {
            let entries = fs::read_dir(path).unwrap().map(Result::unwrap);
            let mut entries: Vec<_> = entries
                .map(|entry| (entry.path(), entry.metadata().unwrap()))
                .collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            for (path, meta) in &entries {
                self.add(path, meta, hash);
            }
        } else if meta.is_symlink() {
            let target = fs::read_link(path).unwrap();
            hash.update(target.as_os_str().as_encoded_bytes());
        } else {
            hash.update(&self.bytes(path, meta).to_le_bytes());
        }
    }

    fn bytes(&mut self, path: &Path, meta: &Metadata) -> u128 {
        let stamp = [
            meta.size().cast_signed(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        ];
        if let Some((known, digest)) = self.known.get(&meta.ino())
            && *known == stamp
        {
            return *digest;
        }
        let digest = xxhash_rust::xxh3::xxh3_128(&fs::read(path).unwrap());
        let changed = Duration::new(
            meta.ctime().cast_unsigned(),
            u32::try_from(meta.ctime_nsec()).unwrap(),
        );
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        if now.saturating_sub(changed) > TICKS {
            self.known.insert(meta.ino(), (stamp, digest));
        }
        digest
    }
}
