//! The checksum of every page of a cluster at rest.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Code, Error, Remedy, Result};
use crate::pg::page::{PageHeader, checksum};
use crate::pg::{ControlFile, DataDir};
use crate::work::{Cancel, each, lock};

/// How many pages are named; of more only the number is told.
const NAMED: usize = 10_000;
/// Bytes that are read at once: a multiple of every size a page may have.
pub(super) const READ: usize = 1 << 20;
/// How often it is said how far it is.
const OFTEN: Duration = Duration::from_millis(100);

/// Files without pages, by how their names begin; others have pages whatever they are called.
///
/// Mirrors `skip` of `src/bin/pg_checksums/pg_checksums.c`.
const NO_PAGES: [&str; 3] = ["pgsql_tmp", "pg_internal.init", ".DS_Store"];
/// The same by their whole names.
const NO_PAGES_WHOLE: [&str; 3] = ["pg_control", "pg_filenode.map", "PG_VERSION"];

/// What was found in the pages of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckedPages {
    /// Files that were read.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// How many pages are wrong.
    pub wrong: u64,
    /// The first of them, by file and block.
    pub named: Vec<WrongPage>,
}

/// A page that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WrongPage {
    /// The file it is in.
    pub file: PathBuf,
    /// The number of the block in this file.
    pub block: u32,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Its checksum is that of other contents.
    Checksum {
        /// The one in the page.
        stored: u16,
        /// The one its contents have.
        computed: u16,
    },
    /// The file ends within it.
    Torn {
        /// Bytes that are there.
        bytes: usize,
    },
}

/// A file with pages.
struct PageFile {
    path: PathBuf,
    segment: u32,
    bytes: u64,
}

/// Computes the checksum of every page of a cluster whose server does not run: of all forks and
/// segments, catalogs and what belongs to no relation, in the data directory and in tablespaces.
///
/// A page that was never used has none. Mirrors `scan_directory` and `scan_file` of
/// `src/bin/pg_checksums/pg_checksums.c`, so that both find the same pages.
///
/// # Errors
///
/// `NoChecksums` where the cluster has none, `NotReadable`, `DataDirectoryLayout` for a tablespace
/// that is not there or a file whose number of a segment is none.
pub fn checked_pages(
    dir: &DataDir,
    control: &ControlFile,
    jobs: usize,
    cancel: &Cancel,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<CheckedPages> {
    if !control.data_checksums() {
        return Err(without_checksums(dir));
    }
    let mut files = page_files(dir, control)?;
    files.sort_unstable_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
    let total = files.iter().map(|file| file.bytes).sum();
    let told = Told::new(total, progress);
    let sum = Mutex::new(CheckedPages::default());
    each(jobs, &files, cancel, |file| {
        let found = check_file(file, control, cancel, &told)?;
        let mut sum = lock(&sum);
        sum.files += 1;
        sum.bytes += found.bytes;
        sum.wrong += found.wrong;
        let room = NAMED.saturating_sub(sum.named.len());
        sum.named.extend(found.named.into_iter().take(room));
        Ok(())
    })?;
    let mut sum = lock(&sum).clone();
    sum.named.sort_unstable();
    Ok(sum)
}

fn without_checksums(dir: &DataDir) -> Error {
    Error::new(Code::NoChecksums, "the cluster has no data checksums")
        .fact("data directory", dir.path.display())
        .remedy(Remedy::manual(
            "nothing in its pages tells whether they are as they were written: compare it with a \
             backup, or dump it",
        ))
}

fn check_file(
    file: &PageFile,
    control: &ControlFile,
    cancel: &Cancel,
    told: &Told<'_>,
) -> Result<CheckedPages> {
    let unreadable = |e: &std::io::Error| Error::io(Code::NotReadable, "read", &file.path, e);
    let page_size = control.block_size as usize;
    let first = file.segment.wrapping_mul(control.relseg_size);
    let mut from = File::open(&file.path).map_err(|e| unreadable(&e))?;
    let mut buffer = vec![0; READ];
    let mut found = CheckedPages::default();
    let mut block = 0u32;
    loop {
        cancel.check()?;
        let filled = fill(&mut from, &mut buffer).map_err(|e| unreadable(&e))?;
        for page in buffer[..filled].chunks(page_size) {
            let fault = if page.len() < page_size {
                Some(Fault::Torn { bytes: page.len() })
            } else {
                fault(page, first.wrapping_add(block))
            };
            if let Some(fault) = fault {
                found.wrong += 1;
                if found.named.len() < NAMED {
                    found.named.push(WrongPage {
                        file: file.path.clone(),
                        block,
                        fault,
                    });
                }
            }
            block = block.wrapping_add(1);
        }
        found.bytes += filled as u64;
        told.more(filled as u64);
        if filled < buffer.len() {
            return Ok(found);
        }
    }
}

fn fault(page: &[u8], block: u32) -> Option<Fault> {
    let header = PageHeader::parse(page)?;
    if header.is_new() {
        return None;
    }
    let (stored, computed) = (header.checksum, checksum(page, block));
    (stored != computed).then_some(Fault::Checksum { stored, computed })
}

/// Reads until the buffer is full or the file ends.
pub(super) fn fill(from: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// Every file with pages that the cluster has.
fn page_files(dir: &DataDir, control: &ControlFile) -> Result<Vec<PageFile>> {
    let mut files = Vec::new();
    for name in ["global", "base"] {
        walk(&dir.path.join(name), &mut files)?;
    }
    let version = DataDir::tablespace_version_dir(dir.major, control.catalog_version);
    for tablespace in dir.tablespaces()? {
        // By its link: that is how servers and their programs name these files.
        let link = dir.path.join("pg_tblspc").join(tablespace.oid.to_string());
        walk(&link.join(&version), &mut files)?;
    }
    Ok(files)
}

fn walk(dir: &Path, files: &mut Vec<PageFile>) -> Result<()> {
    let unreadable =
        |path: &Path, e: &std::io::Error| Error::io(Code::NotReadable, "read", path, e);
    for entry in fs::read_dir(dir).map_err(|e| unreadable(dir, &e))? {
        let entry = entry.map_err(|e| unreadable(dir, &e))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if NO_PAGES.iter().any(|begin| name.starts_with(begin)) {
            continue;
        }
        let path = entry.path();
        // A folder may be a link to another disk.
        let found = fs::metadata(&path).map_err(|e| unreadable(&path, &e))?;
        if found.is_dir() {
            walk(&path, files)?;
        } else if found.is_file() && !NO_PAGES_WHOLE.contains(&&*name) {
            files.push(PageFile {
                segment: segment_of(&name).ok_or_else(|| no_segment(&path))?,
                path,
                bytes: found.len(),
            });
        }
    }
    Ok(())
}

/// The number behind the dot, as the server numbers what follows the first file; 0 without one.
fn segment_of(name: &str) -> Option<u32> {
    match name.split_once('.') {
        None => Some(0),
        Some((_, number)) => number.parse().ok().filter(|number| *number > 0),
    }
}

fn no_segment(path: &Path) -> Error {
    Error::new(
        Code::DataDirectoryLayout,
        "a file among relation files is named like a segment, but by no number",
    )
    .fact("file", path.display())
    .remedy(Remedy::manual(
        "no server reads it: find out who made it, and move it away",
    ))
}

/// How far it is, told now and then.
pub(super) struct Told<'a> {
    done: AtomicU64,
    total: u64,
    last: Mutex<Instant>,
    progress: &'a (dyn Fn(u64, u64) + Sync),
}

impl<'a> Told<'a> {
    pub(super) fn new(total: u64, progress: &'a (dyn Fn(u64, u64) + Sync)) -> Self {
        Self {
            done: AtomicU64::new(0),
            total,
            last: Mutex::new(Instant::now()),
            progress,
        }
    }

    pub(super) fn more(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let mut last = lock(&self.last);
        if last.elapsed() >= OFTEN {
            *last = Instant::now();
            (self.progress)(done, self.total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_numbered_as_by_the_server() {
        assert_eq!(segment_of("16384"), Some(0));
        assert_eq!(segment_of("16384_fsm.2"), Some(2));
        assert_eq!(segment_of("t3_16384.12"), Some(12));
        for name in ["16384.0", "16384.", "16384.x", "16384.1.2", "notes.txt"] {
            assert_eq!(segment_of(name), None, "{name}");
        }
    }

    #[test]
    fn a_page_that_was_never_used_has_no_checksum() {
        let mut page = vec![0; 8192];
        assert_eq!(fault(&page, 7), None);
        page[14..16].copy_from_slice(&8192u16.to_ne_bytes());
        let computed = checksum(&page, 7);
        let stored = 0;
        assert_eq!(fault(&page, 7), Some(Fault::Checksum { stored, computed }));
        page[8..10].copy_from_slice(&computed.to_ne_bytes());
        assert_eq!(fault(&page, 7), None);
        let moved = fault(&page, 8);
        assert!(matches!(moved, Some(Fault::Checksum { stored, .. }) if stored == computed));
    }
}
