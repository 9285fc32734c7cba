//! The proof that new's catalogs need no transaction status: every row is read.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Code, Error, Result};
use crate::pg::page::{PageHeader, heap_tuples};
use crate::work::{Cancel, each};

/// Size of a page; the control files of both clusters were compared before.
const PAGE: usize = 8192;

/// A row that still depends on the transaction status of the cluster it was written in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfrozen {
    /// The file.
    pub path: PathBuf,
    /// The page.
    pub block: u32,
    /// Number of the row on the page.
    pub item: u16,
    /// Its xmin and xmax.
    pub xids: (crate::pg::Xid, crate::pg::Xid),
}

/// Reads every page of these heaps of a stopped cluster, several heaps at once; a row that is
/// not frozen is an error.
///
/// Returns the number of rows. Mirrors what `heap_prepare_freeze_tuple` leaves behind: xmin
/// frozen or special, xmax absent or marked invalid.
pub fn scan(data_dir: &Path, heaps: &[PathBuf], jobs: usize, cancel: &Cancel) -> Result<u64> {
    let rows = AtomicU64::new(0);
    each(jobs, heaps, cancel, |heap| {
        rows.fetch_add(scan_heap(&data_dir.join(heap))?, Ordering::Relaxed);
        Ok(())
    })?;
    Ok(rows.into_inner())
}

fn scan_heap(first: &Path) -> Result<u64> {
    let mut rows = scan_file(first)?;
    for segment in 1.. {
        let mut path = first.to_owned();
        path.as_mut_os_string().push(format!(".{segment}"));
        if !path.exists() {
            break;
        }
        rows += scan_file(&path)?;
    }
    Ok(rows)
}

fn scan_file(path: &Path) -> Result<u64> {
    let unreadable = |e: &std::io::Error| Error::io(Code::NotReadable, "read", path, e);
    let mut file = File::open(path).map_err(|e| unreadable(&e))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|e| unreadable(&e))?;
    let mut rows = 0;
    for (block, page) in bytes.chunks(PAGE).enumerate() {
        let block = u32::try_from(block).unwrap_or(u32::MAX);
        if page.iter().all(|byte| *byte == 0) {
            continue;
        }
        let damaged = || {
            Error::new(
                Code::NotFrozen,
                "a catalog page of the new cluster cannot be read",
            )
            .fact("file", path.display())
            .fact("page", block)
        };
        PageHeader::parse(page).ok_or_else(damaged)?;
        for tuple in heap_tuples(page) {
            let header = tuple.header.ok_or_else(damaged)?;
            if !header.is_frozen() {
                return Err(not_frozen(&Unfrozen {
                    path: path.to_owned(),
                    block,
                    item: tuple.number,
                    xids: (header.xmin, header.xmax),
                }));
            }
            rows += 1;
        }
    }
    Ok(rows)
}

fn not_frozen(row: &Unfrozen) -> Error {
    Error::new(
        Code::NotFrozen,
        "a catalog row of the new cluster is not frozen",
    )
    .fact("file", row.path.display())
    .fact("page", row.block)
    .fact("row", row.item)
    .fact("xmin", row.xids.0)
    .fact("xmax", row.xids.1)
}
