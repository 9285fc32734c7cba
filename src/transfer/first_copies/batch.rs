//! Copying many files, the large ones by several workers.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::copy::{Copying, Made, Source};
use super::digest::RANGE;
use super::ledger::{Entry, Ledger};
use super::pass::{Pace, Passed, Task, remove, vanished};
use crate::error::Result;
use crate::transfer::in_folder;
use crate::transfer::listing::Old;
use crate::work::{each, lock};

/// So many files, or files of so many bytes, are copied before they are waited for and written
/// down. What a killed run has not written down is copied anew; and the digests of so many are in
/// memory until then, 16 bytes for each range, and twice that as text.
const FILES: usize = 1024;
const BYTES: u64 = 16 << 30;

/// A file that is longer than two of these is read by several workers.
const PART: u64 = 64 << 20;

/// Copies what has to be read, batch by batch.
pub(super) fn copy(
    tasks: &[Task<'_>],
    pace: &Pace<'_>,
    ledger: &mut Ledger,
    passed: &mut Passed,
) -> Result<()> {
    let mut rest = tasks;
    while !rest.is_empty() {
        let (batch, others) = rest.split_at(batch(rest));
        rest = others;
        copy_batch(batch, pace, ledger, passed)?;
    }
    Ok(())
}

/// How many of the tasks are done before what they did is written down.
fn batch(tasks: &[Task<'_>]) -> usize {
    let mut bytes = 0;
    let fit = tasks.iter().take(FILES).take_while(|task| {
        bytes += task.len;
        bytes <= BYTES
    });
    fit.count().max(1)
}

/// A file, and what has been done of it.
struct Job<'a> {
    task: &'a Task<'a>,
    stage: Mutex<Stage>,
    /// How many parts have not been read.
    left: AtomicUsize,
}

enum Stage {
    Begun,
    Open(Arc<Copying>),
    Made(Option<Box<Made>>),
}

/// What one worker does at a time.
enum Share {
    /// One part of the file.
    Part(Range<u64>),
    /// These parts of it, if the rest of the copy is right; else all of it.
    Only(Vec<Range<u64>>),
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
    let divided: Vec<(Job<'_>, Vec<Share>)> = tasks
        .iter()
        .map(|task| {
            let shares = shares(task, work.jobs);
            let job = Job {
                task,
                stage: Mutex::new(Stage::Begun),
                left: AtomicUsize::new(shares.len()),
            };
            (job, shares)
        })
        .collect();
    let all: Vec<(&Job<'_>, &Share)> = divided
        .iter()
        .flat_map(|(job, shares)| shares.iter().map(move |share| (job, share)))
        .collect();
    let known: &Ledger = ledger;
    each(work.jobs, &all, work.cancel, |(job, share)| {
        let done = job.run(share, known, pace);
        done.map_err(|error| in_folder(error, job.task.place.folder))
    })?;
    let made: Vec<(&Task<'_>, Option<Box<Made>>)> = divided
        .into_iter()
        .map(|(job, _)| (job.task, job.made()))
        .collect();
    each(work.jobs, &made, work.cancel, |(task, made)| {
        sync(task, made.as_deref(), pace.old)
    })?;
    let mut entries: Vec<Entry> = Vec::new();
    for (task, made) in made {
        match made {
            Some(made) => {
                passed.files += 1;
                passed.read += made.read;
                passed.written += made.written;
                entries.push(made.entry);
            }
            None => remove(task.place, task.wanted.new, ledger)?,
        }
    }
    ledger.add(&entries)
}

/// How the work on a file is divided.
fn shares(task: &Task<'_>, jobs: usize) -> Vec<Share> {
    if let Some(ranges) = &task.ranges {
        return vec![Share::Only(rows(ranges, task.len))];
    }
    parts(task.len, jobs).into_iter().map(Share::Part).collect()
}

fn parts(len: u64, jobs: usize) -> Vec<Range<u64>> {
    if jobs < 2 || len <= 2 * PART {
        return std::iter::once(0..u64::MAX).collect();
    }
    let last = (len - 1) / PART;
    let mut parts: Vec<_> = (0..last)
        .map(|part| part * PART..(part + 1) * PART)
        .collect();
    parts.push(last * PART..u64::MAX);
    parts
}

/// Rows of ranges without a gap, in bytes; the last one goes on to the end of the file.
fn rows(ranges: &[u32], len: u64) -> Vec<Range<u64>> {
    let mut rows: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        let begin = u64::from(*range) * RANGE as u64;
        let end = begin + RANGE as u64;
        match rows.last_mut() {
            Some(row) if row.end == begin => row.end = end,
            _ => rows.push(begin..end),
        }
    }
    let all = len.next_multiple_of(RANGE as u64);
    match rows.last_mut() {
        Some(row) if row.end >= all => row.end = u64::MAX,
        _ => rows.push(all..u64::MAX),
    }
    rows
}

impl Job<'_> {
    fn run(&self, share: &Share, ledger: &Ledger, pace: &Pace<'_>) -> Result<()> {
        let Some(copying) = self.open(ledger, pace)? else {
            return Ok(());
        };
        let run = |row: Range<u64>| copying.run(row, ledger.secret(), &|bytes| pace.go_on(bytes));
        match share {
            Share::Part(part) => run(part.clone())?,
            Share::Only(rows) if copying.in_part => {
                rows.iter().try_for_each(|row| run(row.clone()))?;
            }
            Share::Only(_) => run(0..u64::MAX)?,
        }
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            let made = copying.end()?;
            *lock(&self.stage) = Stage::Made(Some(Box::new(made)));
        }
        Ok(())
    }

    /// The file and its copy, opened by whoever is first; nothing where old has no such file any
    /// more.
    fn open(&self, ledger: &Ledger, pace: &Pace<'_>) -> Result<Option<Arc<Copying>>> {
        let mut stage = lock(&self.stage);
        match &*stage {
            Stage::Open(copying) => return Ok(Some(Arc::clone(copying))),
            Stage::Made(_) => return Ok(None),
            Stage::Begun => {}
        }
        let task = self.task;
        let pending = &task.place.pending;
        let known = task.known.and_then(|known| {
            let (digests, _) = ledger.digests(&known)?;
            let whole = digests.len() as u64 == known.copy.len.div_ceil(RANGE as u64);
            whole.then_some((known, digests))
        });
        let opened = Copying::open(Source {
            old: &pending.old,
            new: &pending.new,
            folder: task.place.id,
            names: (task.wanted.old, task.wanted.new),
            known,
            checksums: pace.work.checksums,
            aside: pace.old == Old::InUse,
            in_part: task.ranges.is_some(),
        })?;
        let Some(copying) = opened.map(Arc::new) else {
            vanished(task.place, task.wanted, pace.old)?;
            *stage = Stage::Made(None);
            return Ok(None);
        };
        *stage = Stage::Open(Arc::clone(&copying));
        Ok(Some(copying))
    }

    /// What became of it; nothing where it was gone.
    fn made(self) -> Option<Box<Made>> {
        match std::mem::replace(&mut *lock(&self.stage), Stage::Begun) {
            Stage::Made(made) => made,
            Stage::Begun | Stage::Open(_) => None,
        }
    }
}

fn sync(task: &Task<'_>, made: Option<&Made>, old: Old) -> Result<()> {
    if !made.is_some_and(|made| made.dirty) {
        return Ok(());
    }
    let (new, name) = (&task.place.pending.new, task.wanted.new.file_name());
    let synced = match old {
        Old::InUse => new.sync_aside(name),
        Old::AtRest => new.sync_file(name),
    };
    synced.map_err(|error| in_folder(error, task.place.folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: u64 = RANGE as u64;

    #[test]
    fn the_digests_of_a_batch_are_few() {
        let ranges = BYTES / WIDE;
        assert!(ranges * (16 + 32) <= 32 << 20);
    }

    #[test]
    fn rows_end_with_the_file() {
        let all = u64::MAX;
        assert_eq!(rows(&[], 0), vec![0..all; 1]);
        assert_eq!(rows(&[0], 100), vec![0..all; 1]);
        assert_eq!(rows(&[0], 5 * WIDE), [0..WIDE, 5 * WIDE..all]);
        let some = [0..2 * WIDE, 3 * WIDE..4 * WIDE, 7 * WIDE..all];
        assert_eq!(rows(&[0, 1, 3], 7 * WIDE - 5), some);
        let last = [0..WIDE, 5 * WIDE..all];
        assert_eq!(rows(&[0, 5, 6], 7 * WIDE - 5), last);
    }

    #[test]
    fn parts_are_all_of_a_file() {
        assert_eq!(parts(2 * PART, 2), vec![0..u64::MAX; 1]);
        assert_eq!(parts(16 * PART, 1), vec![0..u64::MAX; 1]);
        for len in [2 * PART + 1, 3 * PART - 1, 3 * PART] {
            let three = [0..PART, PART..2 * PART, 2 * PART..u64::MAX];
            assert_eq!(parts(len, 2), three);
        }
        assert_eq!(parts(1 << 30, 8).len(), 16);
    }
}
