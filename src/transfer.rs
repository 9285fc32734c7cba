//! Moving relation files and transaction status from old to new; one file a mode.
//!
//! Every function may be repeated after having been interrupted anywhere: what is there is
//! looked at, not remembered. Files of old are only ever opened for reading or given a second
//! name; files of new are unlinked, never truncated or written in place, because in link mode
//! their contents may be old's. Only first copies are mended in place, each after a look that it
//! has no second name and is the very file that was made; without that a table of a terabyte
//! would be copied anew for a row.

mod clone;
mod copy;
mod copy_file_range;
pub mod first_copies;
mod keep;
mod link;
mod listing;
mod slru;
mod stand_in;
mod swap;
mod wal;

use crate::error::{Code, Error};
use crate::event::{EventKind, Sink};
use crate::pg::page::PageLayout;
use crate::plan::Folder;
use crate::work::Cancel;

pub use clone::clone;
pub use copy::copy;
pub use copy_file_range::copy_file_range;
pub use keep::{give_back, keep};
pub use link::{Mended, link, link_beside, sum};
pub use listing::{Moved, Name, Pending, has_any, pending, remove};
pub use slru::{StatusDirs, carry};
pub use stand_in::stand_in;
pub use swap::{FolderMoves, Moves, moves, nothing_moved, swap, swap_back};
pub use wal::replace_wal;

/// What every transfer needs to know besides the files.
pub struct Work<'a> {
    /// How many files are worked on at once.
    pub jobs: usize,
    /// What pages are like, where copies of them get checksums that old's do not have; only
    /// [`first_copies`] gives them.
    pub checksums: Option<PageLayout>,
    /// The request to stop.
    pub cancel: &'a Cancel,
    /// Who is told about progress.
    pub sink: &'a dyn Sink,
    /// The step it is part of.
    pub step: &'static str,
}

impl Work<'_> {
    fn progress(&self, unit: &str, done: u64, total: u64) {
        self.sink.emit(EventKind::Progress {
            step: self.step.to_owned(),
            unit: unit.to_owned(),
            done,
            total: Some(total),
        });
    }
}

/// Adds to an error what was being moved.
fn in_folder(error: Error, folder: &Folder) -> Error {
    match error.code() {
        Code::DiskOperation => {
            let mut wider = Error::new(Code::TransferFailed, error.message())
                .fact("database", &folder.database);
            for (name, value) in error.facts() {
                wider = wider.fact(name, value);
            }
            if let Some(remedy) = error.remedy_text() {
                wider = wider.remedy(remedy.clone());
            }
            wider.caused_by(&error)
        }
        _ => error.fact("database", &folder.database),
    }
}

#[cfg(test)]
mod tests;
