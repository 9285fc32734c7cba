//! Files in place of those that are not in new yet.

use super::{Work, in_folder};
use crate::disk::Area;
use crate::error::Result;
use crate::pg::{Fork, RelFile};
use crate::plan::FileMap;
use crate::work::each;

/// Gives every relation of the map a file of these bytes in new, for a private server that
/// changes what belongs to it; [`remove`](super::remove) takes them away.
///
/// Nothing at all is a table without rows, as it was when it was restored.
pub fn stand_in(map: &FileMap, bytes: &[u8], work: &Work<'_>) -> Result<()> {
    each(work.jobs, &map.folders, work.cancel, |folder| {
        let make_all = || -> Result<()> {
            let new = Area::new(&folder.new_root)?.open_dir(&folder.new_dir)?;
            folder.pairs.iter().try_for_each(|pair| {
                new.stand_in(RelFile::first(pair.new, Fork::Main).file_name(), bytes)
            })
        };
        make_all().map_err(|error| in_folder(error, folder))
    })
}
