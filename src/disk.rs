//! Every change to a file or directory, and nothing else.
//!
//! Whatever this program writes goes through an [`Area`], a root with everything below it.
//! Inside it a path is walked one component at a time over directory handles that do not
//! follow symbolic links, so that neither a name nor a link, nor one exchanged in the middle,
//! leads an act out of the area. What a file means is not known here.
//!
//! Every primitive passes a crash point before and after the act and, with the feature
//! `fault`, writes a line to the trace named by `PGM_TRACE`: the operation and its paths,
//! separated by spaces, with white space and backslashes in a path as octal escapes.

mod act;
mod ahead;
mod appender;
mod area;
mod clone;
mod copy;
mod dir;
#[cfg(test)]
#[cfg(feature = "fault")]
mod durability;
mod entries;
mod file_system;
mod holes;
mod lock;
#[cfg(test)]
mod pair;
mod remove;
mod rename;
mod replica;
mod space;
mod speed;
mod stamp;
mod sync;
mod temporary;
mod trial;
mod write;

#[cfg(feature = "fault")]
pub use act::ACTS;

pub use act::unsynced;
pub use ahead::ReadAhead;
pub use appender::Appender;
pub use area::Area;
pub use dir::{AreaDir, OldDir};
pub use entries::listings_tell_files;
pub use file_system::{FileSystem, unwritten};
pub use holes::STAT_BLOCK;
pub use lock::Lock;
pub use replica::{OldFile, Replica};
pub use space::{FileId, Space, identity, identity_if_present, space};
pub use speed::{Speed, speed};
pub use stamp::{Era, MARGIN, Stamp, now, times_tell};
pub use temporary::{PREFIX as TEMPORARY, Temporary, sweep, sweep_one, temporary};
pub use trial::{Mount, Possible, is_trial, mount, possible};
