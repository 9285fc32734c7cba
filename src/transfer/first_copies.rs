//! Copies made while the old server still writes, and what is left to do when it has stopped.
//!
//! A first copy is believed in nothing. A page may have been copied while it was written, a file
//! may since have grown, shrunk, gone, or come back under its number. So a ledger in the state
//! directory holds for each copy what the file of old was before it was read, what the copy
//! was when it was finished, and a digest of every range of what was read for it, whatever old's
//! file has by now. When old has stopped:
//!
//! - A copy that is not the file it was when it was finished is made anew. So is every copy after
//!   the machine was booted: contents may have got to the disk and the times that tell of them
//!   not.
//! - A file of old is left unread where inode, length and times are what they were before it was
//!   read, and where those times were old enough then to tell of every later write.
//! - Of a file whose every change the WAL tells, those ranges are read in which it names a page,
//!   if the WAL is there from before the copy was last found right until old had stopped.
//! - Every other file is read whole.
//!
//! Of the copy those ranges are written whose digests are others.
//!
//! Nothing depends on the ledger being on the disk: within one boot of the machine everybody sees
//! what was written to it, and whatever a killed run did to a copy has changed its times.
//!
//! Where pages are given checksums, a range is written as it was read but for these: they follow
//! from the page and its place, so equal ranges of old have equal ranges in the copy.
//!
//! Copies are the one kind of file that is written in place: they have no second name, and nobody
//! else's.

mod batch;
mod copy;
mod digest;
mod ledger;
mod line;
mod loose;
mod pass;
mod rate;
mod witness;

use std::time::{Duration, Instant};

pub use ledger::{LEDGER, Ledger};
pub use pass::Passed;
pub use witness::Witness;

use rate::Rate;

use super::Work;
use super::listing::Old;
use crate::disk::MARGIN;
use crate::error::Result;
use crate::plan::FileMap;
use crate::work::Cancel;

/// What is quickly read after the stop, so that no further pass is worth its while.
const LITTLE: u64 = 64 << 20;

/// A busy server makes every pass read nearly everything.
const PASSES: u32 = 4;

/// Copies beside a server that writes, pass after pass, until one has found little to read or no
/// less than the one before it; all workers together read so many bytes in a second at most.
///
/// What is not there any more is left out. Gives what the passes did together, and what the last
/// one had to read.
pub fn beside(
    map: &FileMap,
    work: &Work<'_>,
    max_rate: Option<u64>,
    ledger: &mut Ledger,
) -> Result<(Passed, Passed)> {
    let rate = Rate::new(max_rate);
    let mut sum = Passed::default();
    let mut last: Option<Passed> = None;
    for _ in 0..PASSES {
        let (passed, _) = pass::pass(map, work, &rate, ledger, (Old::InUse, last.is_none()))?;
        sum.add(&passed);
        let before = last.replace(passed).map_or(u64::MAX, |last| last.read);
        if passed.read <= LITTLE || passed.read > before / 2 {
            break;
        }
    }
    Ok((sum, last.unwrap_or_default()))
}

/// Copies once more, so that the WAL can be asked afterwards what was changed since.
///
/// The witness was called before the relations of the map were listed: each of its files was made
/// by a transaction that had ended before any of them is looked at here, so that nobody fills a
/// new one behind the back of a checkpoint.
pub fn beside_a_witness(
    map: &FileMap,
    work: &Work<'_>,
    max_rate: Option<u64>,
    ledger: &mut Ledger,
    witness: std::result::Result<Witness, String>,
) -> Result<(Passed, Passed)> {
    ledger.call(witness);
    beside(map, work, max_rate, ledger)
}

/// Makes every copy what the files of a stopped cluster are, and waits until they are on disk;
/// with a clause that says why the WAL did not tell what was changed, where it was asked.
pub fn at_rest(
    map: &FileMap,
    work: &Work<'_>,
    ledger: &mut Ledger,
) -> Result<(Passed, Option<String>)> {
    pass::pass(map, work, &Rate::new(None), ledger, (Old::AtRest, false))
}

/// Waits as long as files that were just written would have to be read once more for that.
fn wait_until_told(cancel: &Cancel) -> Result<()> {
    let until = Instant::now() + Duration::from_nanos(MARGIN.unsigned_abs() + 100_000_000);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        cancel.check()?;
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
