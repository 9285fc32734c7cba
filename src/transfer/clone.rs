//! Clone mode: each cluster has its own files, which share their blocks.

use super::Work;
use super::copy::{Durable, make_all};
use super::listing::Moved;
use crate::error::Result;
use crate::plan::FileMap;

/// Clones old's files of the relations moved to new, and waits until they are on disk.
///
/// As [`copy`](super::copy()), but what is waited for is the file system as a whole: to sync clones
/// one by one takes many times as long on XFS, and more on btrfs, because each time it has to
/// write down what became shared.
pub fn clone(map: &FileMap, work: &Work<'_>) -> Result<Moved> {
    make_all(map, work, Durable::FileSystem, |pending, old, new| {
        pending.new.reflink_from(&pending.old, old, new)
    })
}
