//! Copies that the kernel makes, or nobody.

use super::Work;
use super::copy::{Durable, make_all};
use super::listing::Moved;
use crate::error::Result;
use crate::plan::FileMap;

/// As [`copy`](super::copy()), by copy_file_range(2) alone: where the file systems cannot do it
/// that is an error.
pub fn copy_file_range(map: &FileMap, work: &Work<'_>) -> Result<Moved> {
    make_all(map, work, Durable::EachFile, |pending, old, new| {
        pending.new.copy_range_from(&pending.old, old, new)
    })
}
