//! One pass over all files: which of them have to be read.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicU64, Ordering};

use super::batch;
use super::digest::RANGE;
use super::ledger::{Known, Ledger};
use super::rate::Rate;
use super::witness::Told;
use super::{LITTLE, wait_until_told};
use crate::disk::{Era, Stamp, times_tell};
use crate::error::{Code, Error, Result};
use crate::pg::{Fork, RelFile};
use crate::plan::{FileMap, Folder};
use crate::transfer::listing::{Name, Old, Pending, Wanted, pending_of};
use crate::transfer::{Work, in_folder};

/// Below this it is quicker to read the files than to ask what was changed in them.
const ASKED: u64 = 16 << 20;

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
    /// Files of which only those parts were read that the WAL names.
    pub named: u64,
    /// Bytes of WAL that were read for that.
    pub wal: u64,
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
pub(super) struct Pace<'a> {
    pub work: &'a Work<'a>,
    pub old: Old,
    rate: &'a Rate,
    done: AtomicU64,
    all: u64,
}

impl Pace<'_> {
    /// Tells that so many bytes more were read, and waits as long as that is too many.
    pub fn go_on(&self, bytes: u64) -> Result<()> {
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
pub(super) struct Place<'a> {
    pub folder: &'a Folder,
    pub id: u32,
    pub pending: Pending,
}

/// A file that has to be read.
pub(super) struct Task<'a> {
    pub place: &'a Place<'a>,
    pub wanted: Wanted,
    pub known: Option<Known>,
    /// How long it is.
    pub len: u64,
    /// How much of it will be read.
    pub reads: u64,
    /// The ranges that may be others than in the copy; nothing where all may be.
    pub ranges: Option<Vec<u32>>,
    /// Whether it is the file that was looked at when the copy was last found right, and no
    /// shorter than the copy.
    same: bool,
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
) -> Result<(Passed, Option<String>)> {
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
    let silent = match old {
        Old::AtRest => ask(&mut tasks, ledger, &mut passed, work)?,
        Old::InUse => None,
    };
    let all: u64 = tasks.iter().map(|task| task.reads).sum();
    if patiently && all > LITTLE {
        wait_until_told(work.cancel)?;
    }
    tasks.sort_by_key(|task| Reverse(task.reads));
    let pace = Pace {
        work,
        old,
        rate,
        done: AtomicU64::new(0),
        all,
    };
    batch::copy(&tasks, &pace, ledger, &mut passed)?;
    for place in &places {
        // Also where nothing was left to do: who made the names may have been killed before this.
        let synced = place.pending.new.sync();
        synced.map_err(|error| in_folder(error, place.folder))?;
    }
    ledger.end(&passed, old == Old::InUse)?;
    Ok((passed, silent))
}

/// Asks the WAL what was changed in the files that would be read; a clause says why it does not
/// tell, where much depends on it.
fn ask(
    tasks: &mut [Task<'_>],
    ledger: &mut Ledger,
    passed: &mut Passed,
    work: &Work<'_>,
) -> Result<Option<String>> {
    // Asked once: from now on nothing changes.
    let (mut witness, since) = match ledger.take_witness() {
        None => return Ok(None),
        Some(Ok(witness)) => witness,
        Some(Err(why)) => {
            let reads: u64 = tasks.iter().map(|task| task.len).sum();
            return Ok((reads > LITTLE).then_some(why));
        }
    };
    let asked = |task: &&mut Task<'_>| {
        let looked = task.known.is_some_and(|known| known.looked >= since);
        task.same && looked && task.wanted.old.fork == Fork::Main && task.wanted.wal.is_some()
    };
    let mut asked: Vec<&mut Task<'_>> = tasks.iter_mut().filter(asked).collect();
    let saves = asked.iter().map(|task| task.len).sum();
    if saves < ASKED {
        return Ok(None);
    }
    let about = asked.iter().filter_map(|task| task.wanted.wal);
    let told = match witness.ask(about, saves, work.cancel)? {
        Ok(told) => told,
        Err(why) => return Ok(Some(why)),
    };
    passed.wal = told.bytes;
    for task in &mut asked {
        if let Some(ranges) = named(task, &told, ledger) {
            task.reads = (ranges.len() as u64 * RANGE as u64).min(task.len);
            task.ranges = Some(ranges);
            passed.named += 1;
        }
    }
    Ok(None)
}

/// The ranges the WAL names, with those it may say nothing of: the first one, where indexes keep
/// what they merely remember, pages no record had changed yet, and what was not copied.
fn named(task: &Task<'_>, told: &Told, ledger: &Ledger) -> Option<Vec<u32>> {
    let known = task.known?;
    let (_, loose) = ledger.digests(&known)?;
    let mut ranges = told.ranges(&task.wanted.wal?, task.wanted.old.segment)?;
    let copied = u32::try_from(known.copy.len / RANGE as u64).ok()?;
    let all = u32::try_from(task.len.div_ceil(RANGE as u64)).ok()?;
    ranges.push(0);
    ranges.extend(loose.ranges());
    ranges.extend(copied..all);
    ranges.sort_unstable();
    ranges.dedup();
    ranges.retain(|range| *range < all);
    Some(ranges)
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
            ledger.found(place.id, wanted.new);
            continue;
        }
        let known = known.map(|(known, _)| known);
        tasks.push(Task {
            place,
            wanted,
            known,
            len: now.len,
            reads: now.len,
            ranges: None,
            same: known
                .is_some_and(|known| known.from.same_file(&now) && known.copy.len <= now.len),
        });
    }
    Ok(kept)
}

/// Whether nobody has written to the file of old since it was looked at.
fn is_unchanged(known: &Known, now: &Stamp) -> bool {
    known.from == *now && known.from.tells_of_later_writes(known.seen)
}

pub(super) fn remove(place: &Place<'_>, file: RelFile, ledger: &mut Ledger) -> Result<()> {
    ledger.gone(place.id, file);
    place.pending.new.unlink(file.file_name())
}

/// Beside a server a file may go at any moment; at rest it may not.
pub(super) fn vanished(place: &Place<'_>, wanted: Wanted, old: Old) -> Result<()> {
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
