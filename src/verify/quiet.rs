//! Whether the catalogs of a stopped cluster are what they were when it was read in use.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::catalog::{Heap, Mark};
use crate::error::{Code, Error, Result};
use crate::pg::page::{HEADER_SIZE, PageHeader};
use crate::pg::slru::{XactStatus, xact_position};
use crate::pg::{Lsn, Xid, control};
use crate::work::{Cancel, each};

/// Size of a page; the control files of both clusters were compared before.
const PAGE: usize = 8192;
/// How much is read at a time.
const CHUNK: usize = 64 * PAGE;

/// What was found out about a cluster since it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Since {
    /// Pages of catalogs looked at.
    pub pages: u64,
    /// Why the reading may not be true any more, a clause each; empty where it is shown to be.
    pub doubts: Vec<String>,
}

/// Finds out, from the files of a cluster that was shut down, whether anything in its catalogs
/// may have changed since it was read.
///
/// Three things can: a transaction that was open at the reading and has committed; a catalog
/// that was rewritten; a page that was changed after the position of the mark. Everything else
/// that changes a catalog changes a page: every change but a hint writes WAL and stamps the page
/// with the end of its record, and with checksums or `wal_log_hints` hints do so too. A doubt is
/// no proof of a change; no doubt is a proof that there is none.
pub fn since(data_dir: &Path, mark: &Mark, jobs: usize, cancel: &Cancel) -> Result<Since> {
    let mut doubts = Vec::new();
    for xid in &mark.open {
        if may_have_committed(data_dir, xid.xid())? {
            doubts.push(format!(
                "transaction {xid} was open when the catalogs were read, and has committed"
            ));
        }
    }
    for map in &mark.maps {
        let path = data_dir.join(&map.path);
        let same = path.exists() && control::fingerprint_file(&path)? == map.digest;
        if !same {
            doubts.push(format!("{} changed", map.path.display()));
        }
    }
    let scanned = scan(data_dir, &mark.heaps, mark.begin, jobs, cancel)?;
    doubts.extend(scanned.changed);
    Ok(Since {
        pages: scanned.pages,
        doubts,
    })
}

/// Status is kept where the oldest transaction can still be asked for; what is not kept any more
/// was not open a moment ago, and is taken for committed.
fn may_have_committed(data_dir: &Path, xid: Xid) -> Result<bool> {
    let position = xact_position(xid);
    let path = data_dir.join("pg_xact").join(position.segment_name());
    let mut byte = [0];
    let read = File::open(&path).and_then(|mut file| {
        file.seek(SeekFrom::Start(position.byte_in_segment() as u64))?;
        file.read_exact(&mut byte)
    });
    match read {
        Ok(()) => Ok(matches!(
            XactStatus::of(xid, byte[0]),
            XactStatus::Committed | XactStatus::SubCommitted
        )),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof) => Ok(true),
        Err(e) => Err(Error::io(Code::NotReadable, "read", &path, &e)),
    }
}

struct Scanned {
    pages: u64,
    changed: Vec<String>,
}

/// Looks for pages that were changed after a position.
///
/// A heap whose first file is gone was rewritten. The first newer page decides; the rest of that
/// heap is not read.
fn scan(
    data_dir: &Path,
    heaps: &[Heap],
    since: Lsn,
    jobs: usize,
    cancel: &Cancel,
) -> Result<Scanned> {
    let pages = AtomicU64::new(0);
    let changed = Mutex::new(Vec::new());
    each(jobs, heaps, cancel, |heap| {
        let (looked_at, newer) = scan_heap(data_dir, &heap.path, since)?;
        pages.fetch_add(looked_at, Ordering::Relaxed);
        if newer {
            lock(&changed).push(changed_heap(heap));
        }
        Ok(())
    })?;
    let mut changed = std::mem::take(&mut *lock(&changed));
    changed.sort_unstable();
    Ok(Scanned {
        pages: pages.into_inner(),
        changed,
    })
}

fn changed_heap(heap: &Heap) -> String {
    match heap.database.as_str() {
        "" => format!("{} changed", heap.name),
        database => format!("{} of database {database} changed", heap.name),
    }
}

fn scan_heap(data_dir: &Path, heap: &Path, since: Lsn) -> Result<(u64, bool)> {
    let mut pages = 0;
    for segment in 0_u32.. {
        let mut path = data_dir.join(heap);
        if segment > 0 {
            path.as_mut_os_string().push(format!(".{segment}"));
        }
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok((pages, segment == 0)),
            Err(e) => return Err(Error::io(Code::NotReadable, "open", &path, &e)),
        };
        let (looked_at, newer) = scan_file(file, &path, since)?;
        pages += looked_at;
        if newer {
            return Ok((pages, true));
        }
    }
    Ok((pages, false))
}

fn scan_file(mut file: File, path: &Path, since: Lsn) -> Result<(u64, bool)> {
    let mut chunk = vec![0; CHUNK];
    let mut pages = 0;
    loop {
        let filled = fill(&mut file, &mut chunk)
            .map_err(|e| Error::io(Code::NotReadable, "read", path, &e))?;
        for page in chunk[..filled].chunks(PAGE) {
            pages += 1;
            let header = page.get(..HEADER_SIZE).and_then(PageHeader::parse);
            // Half a page is nothing a server leaves behind.
            if header.is_none_or(|header| header.lsn > since) {
                return Ok((pages, true));
            }
        }
        if filled < chunk.len() {
            return Ok((pages, false));
        }
    }
}

fn fill(file: &mut File, chunk: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < chunk.len() {
        match file.read(&mut chunk[filled..]) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// A lock whose holder panicked: the panic itself ends the scope.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(lsn: u64) -> Vec<u8> {
        let mut page = vec![0; PAGE];
        page[..4].copy_from_slice(&((lsn >> 32) as u32).to_ne_bytes());
        page[4..8].copy_from_slice(&(lsn as u32).to_ne_bytes());
        page
    }

    fn heaps() -> Vec<Heap> {
        let heap = |database: &str, path: &str| Heap {
            database: database.to_owned(),
            name: format!("pg_{path}"),
            path: path.into(),
        };
        vec![heap("", "1"), heap("shop", "2")]
    }

    fn changed(dir: &Path, since: u64) -> Vec<String> {
        scan(dir, &heaps(), Lsn(since), 2, &Cancel::new())
            .unwrap()
            .changed
    }

    #[test]
    fn a_newer_page_is_found_wherever_it_is() {
        let (one, two) = ("pg_1 changed", "pg_2 of database shop changed");
        let dir = tempfile::tempdir().unwrap();
        let old: Vec<u8> = page(0x1_0000_0010).repeat(70);
        for name in ["1", "2", "2.1"] {
            std::fs::write(dir.path().join(name), &old).unwrap();
        }
        assert_eq!(changed(dir.path(), 0x1_0000_0010), [""; 0]);
        assert_eq!(changed(dir.path(), 0x1_0000_000F), [one, two]);
        let newer = [old.clone(), page(0x2_0000_0000)].concat();
        std::fs::write(dir.path().join("2.1"), newer).unwrap();
        assert_eq!(changed(dir.path(), 0x1_0000_0010), [two]);
        std::fs::write(dir.path().join("2.1"), [&old[..], &[0; 10]].concat()).unwrap();
        assert_eq!(changed(dir.path(), 0x1_0000_0010), [two]);
        std::fs::remove_file(dir.path().join("2.1")).unwrap();
        std::fs::remove_file(dir.path().join("1")).unwrap();
        assert_eq!(changed(dir.path(), 0x1_0000_0010), [one]);
    }

    #[test]
    fn every_page_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("1"), page(1).repeat(64)).unwrap();
        std::fs::write(dir.path().join("2"), []).unwrap();
        let scanned = scan(dir.path(), &heaps(), Lsn(1), 1, &Cancel::new()).unwrap();
        assert_eq!((scanned.pages, scanned.changed.len()), (64, 0));
    }

    #[test]
    fn an_open_transaction_counts_once_it_has_committed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("pg_xact")).unwrap();
        assert!(may_have_committed(dir.path(), Xid(100)).unwrap());
        let mut status = vec![0; PAGE];
        // Transactions 100 to 103: open, committed, rolled back, committed with their parent.
        status[25] = 0b11_10_01_00;
        std::fs::write(dir.path().join("pg_xact/0000"), status).unwrap();
        let committed = (100..104).map(|xid| may_have_committed(dir.path(), Xid(xid)).unwrap());
        assert_eq!(committed.collect::<Vec<_>>(), [false, true, false, true]);
        assert!(may_have_committed(dir.path(), Xid(32_768)).unwrap());
    }
}
