//! One pass over all files: which of them have to be read, and copying those.

use std::cmp::Reverse;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::copy::{self, Made, Source};
use super::digest::RANGE;
use super::ledger::{Entry, Known, Ledger};
use super::rate::Rate;
use super::{LITTLE, wait_until_told};
use crate::disk::{Era, Stamp, times_tell};
use crate::error::{Code, Error, Result};
use crate::pg::RelFile;
use crate::plan::{FileMap, Folder};
use crate::transfer::listing::{Name, Old, Pending, Wanted, pending_of};
use crate::transfer::{Work, in_folder};
use crate::work::{each, lock};

/// So many files, or bytes, are copied before they are waited for and written down. What a
/// killed run has not written down is copied anew.
const BATCH_FILES: usize = 1024;
const BATCH_BYTES: u64 = 16 << 30;

/// What a pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Files that were read.
    pub files: u64,
    /// Files that were left unread, because they are what they were.
    pub kept: u64,
    /// Bytes read.
    pub read: u64,
    /// Bytes written, because the copy lacked them.
    pub written: u64,
}

impl Passed {
    pub(super) fn add(&mut self, other: &Self) {
        self.files += other.files;
        self.kept = other.kept;
        self.read += other.read;
        self.written += other.written;
    }
}

/// How the work goes on, for all workers together.
struct Pace<'a> {
    work: &'a Work<'a>,
    old: Old,
    rate: &'a Rate,
    done: AtomicU64,
    all: u64,
}

impl Pace<'_> {
    /// Tells that so many bytes more were read, and waits as long as that is too many.
    fn go_on(&self, bytes: u64) -> Result<()> {
        let before = self.done.fetch_add(bytes, Ordering::SeqCst);
        // A file that grows is longer than it was said to be.
        let (before, now) = (before.min(self.all), (before + bytes).min(self.all));
        if thousandths(now, self.all) != thousandths(before, self.all) {
            self.work.progress("bytes", now, self.all);
        }
        self.rate.spend(bytes, self.work.cancel)
    }
}

/// Nobody wants to be told of every chunk of a terabyte.
fn thousandths(done: u64, all: u64) -> u64 {
    u64::try_from(u128::from(done) * 1000 / u128::from(all.max(1))).unwrap_or(1000)
}

/// A folder, as it is listed.
struct Place<'a> {
    folder: &'a Folder,
    id: u32,
    pending: Pending,
}

/// A file that has to be read.
struct Task<'a> {
    place: &'a Place<'a>,
    wanted: Wanted,
    known: Option<Known>,
    len: u64,
}

/// Reads the files that may have changed, and writes what their copies lack.
///
/// `patiently` lets young files come of age first, where there is much to read.
pub(super) fn pass(
    map: &FileMap,
    work: &Work<'_>,
    rate: &Rate,
    ledger: &mut Ledger,
    (old, patiently): (Old, bool),
) -> Result<Passed> {
    let era = Era::now();
    ledger.begin(era.as_ref())?;
    let mut places = Vec::new();
    for folder in &map.folders {
        work.cancel.check()?;
        places.push(Place {
            folder,
            id: ledger.folder(folder)?,
            pending: pending_of(folder, old)?,
        });
    }
    let mut passed = Passed::default();
    let mut tasks = Vec::new();
    for place in &places {
        work.cancel.check()?;
        let listed = list(place, ledger, era.as_ref(), old, &mut tasks);
        passed.kept += listed.map_err(|error| in_folder(error, place.folder))?;
    }
    let all: u64 = tasks.iter().map(|task| task.len).sum();
    if patiently && all > LITTLE {
        wait_until_told(work.cancel)?;
    }
    tasks.sort_by_key(|task| Reverse(task.len));
    let pace = Pace {
        work,
        old,
        rate,
        done: AtomicU64::new(0),
        all,
    };
    let mut rest = tasks.as_slice();
    while !rest.is_empty() {
        let (batch, others) = rest.split_at(batch(rest));
        rest = others;
        copy_batch(batch, &pace, ledger, &mut passed)?;
    }
    for place in &places {
        // Also where nothing was left to do: who made the names may have been killed before this.
        let synced = place.pending.new.sync();
        synced.map_err(|error| in_folder(error, place.folder))?;
    }
    ledger.end(&passed, old == Old::InUse)?;
    Ok(passed)
}

/// Removes what should not be there, and finds what has to be read; gives how many files need
/// not be.
fn list<'a>(
    place: &'a Place<'a>,
    ledger: &mut Ledger,
    era: Option<&Era>,
    old: Old,
    tasks: &mut Vec<Task<'a>>,
) -> Result<u64> {
    let pending = &place.pending;
    let tell = times_tell(&pending.old);
    let mut kept = 0;
    for name in pending.names() {
        let (wanted, present) = match name {
            Name::TooMany(file) => {
                remove(place, file, ledger)?;
                continue;
            }
            Name::Missing(wanted) => (wanted, None),
            Name::There(wanted, _) => (wanted, pending.new.stamp(wanted.new.file_name())?),
        };
        let Some(now) = pending.old.stamp(wanted.old.file_name())? else {
            vanished(place, wanted, old)?;
            remove(place, wanted.new, ledger)?;
            continue;
        };
        let known = present.zip(era).and_then(|(present, era)| {
            let known = ledger.known(place.id, wanted.new, era)?;
            (known.copy == present && !now.same_file(&present)).then_some((known, era))
        });
        if let Some((known, era)) = &known
            && tell
            && ledger.same_clock(known, era)
            && is_unchanged(known, &now)
        {
            kept += 1;
            continue;
        }
        tasks.push(Task {
            place,
            wanted,
            known: known.map(|(known, _)| known),
            len: now.len,
        });
    }
    Ok(kept)
}

/// Whether nobody has written to the file of old since it was looked at.
fn is_unchanged(known: &Known, now: &Stamp) -> bool {
    known.from == *now && known.from.tells_of_later_writes(known.seen)
}

fn remove(place: &Place<'_>, file: RelFile, ledger: &mut Ledger) -> Result<()> {
    ledger.gone(place.id, file);
    place.pending.new.unlink(file.file_name())
}

/// Beside a server a file may go at any moment; at rest it may not.
fn vanished(place: &Place<'_>, wanted: Wanted, old: Old) -> Result<()> {
    match old {
        Old::InUse => Ok(()),
        Old::AtRest => {
            let path = place.pending.old.path().join(wanted.old.file_name());
            Err(
                Error::new(Code::FileVanished, "a file of the old cluster is gone")
                    .fact("file", path.display()),
            )
        }
    }
}

/// How many of the tasks are done before what they did is written down.
fn batch(tasks: &[Task<'_>]) -> usize {
    let mut bytes = 0;
    let fit = tasks.iter().take(BATCH_FILES).take_while(|task| {
        bytes += task.len;
        bytes <= BATCH_BYTES
    });
    fit.count().max(1)
}

/// Copies some files, waits until they are on the disk, and writes down what they are.
///
/// All are on their way before the first is waited for: a sync for each as it was written would
/// commit the journal of the file system as often.
fn copy_batch(
    tasks: &[Task<'_>],
    pace: &Pace<'_>,
    ledger: &mut Ledger,
    passed: &mut Passed,
) -> Result<()> {
    let work = pace.work;
    let results: Mutex<Vec<(usize, Option<Made>)>> = Mutex::default();
    let numbered: Vec<(usize, &Task<'_>)> = tasks.iter().enumerate().collect();
    let known: &Ledger = ledger;
    each(work.jobs, &numbered, work.cancel, |(number, task)| {
        let made = run(task, known, pace);
        let made = made.map_err(|error| in_folder(error, task.place.folder))?;
        lock(&results).push((*number, made));
        Ok(())
    })?;
    let results = results
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    each(work.jobs, &results, work.cancel, |(number, made)| {
        let task = &tasks[*number];
        match made {
            Some(made) if made.dirty => {
                let (new, name) = (&task.place.pending.new, task.wanted.new.file_name());
                let synced = match pace.old {
                    Old::InUse => new.sync_aside(name),
                    Old::AtRest => new.sync_file(name),
                };
                synced.map_err(|error| in_folder(error, task.place.folder))
            }
            _ => Ok(()),
        }
    })?;
    let mut entries: Vec<Entry> = Vec::new();
    for (number, made) in results {
        match made {
            Some(made) => {
                passed.files += 1;
                passed.read += made.read;
                passed.written += made.written;
                entries.push(made.entry);
            }
            None => {
                let task = &tasks[number];
                remove(task.place, task.wanted.new, ledger)?;
            }
        }
    }
    ledger.add(&entries)
}

fn run(task: &Task<'_>, ledger: &Ledger, pace: &Pace<'_>) -> Result<Option<Made>> {
    let pending = &task.place.pending;
    let known = task.known.and_then(|known| {
        let digests = ledger.digests(&known)?;
        let whole = digests.len() as u64 == known.copy.len.div_ceil(RANGE as u64);
        whole.then_some((known, digests))
    });
    let source = Source {
        old: &pending.old,
        new: &pending.new,
        folder: task.place.id,
        names: (task.wanted.old, task.wanted.new),
        known,
        checksums: pace.work.checksums,
        aside: pace.old == Old::InUse,
    };
    let made = copy::copy(&source, ledger.secret(), &|bytes| pace.go_on(bytes))?;
    if made.is_none() {
        vanished(task.place, task.wanted, pace.old)?;
    }
    Ok(made)
}
