//! Whether the catalogs of a stopped cluster are what they were when it was read in use.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Mutex;

use super::wal::{self, Told};
use crate::catalog::{Heap, Mark};
use crate::error::{Code, Error, Result};
use crate::pg::page::{HEADER_SIZE, PageHeader};
use crate::pg::slru::{XactStatus, xact_position};
use crate::pg::{Lsn, Xid, control, fill_at};
use crate::work::{Cancel, each, lock};

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
    /// What the WAL said.
    pub wal: Wal,
}

/// What the WAL of a cluster said of catalogs with newer pages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Wal {
    /// It was not read, because nothing is newer or because it would not have helped.
    #[default]
    Unread,
    /// All that is newer in these catalogs is what VACUUM, ANALYZE and readers write.
    Explains {
        /// The catalogs.
        catalogs: Vec<String>,
        /// How much WAL was read.
        bytes: u64,
    },
    /// Something else was written.
    Confirms,
    /// It cannot be read, and why.
    Silent(String),
}

/// Finds out, from the files of a cluster that was shut down, whether anything in its catalogs
/// may have changed since it was read.
///
/// Three things can: a transaction that was open at the reading and has committed; a catalog
/// that was rewritten; a page that was changed after the position of the mark. Everything else
/// that changes a catalog changes a page: every change but a hint writes WAL and stamps the page
/// with the end of its record, and with checksums or `wal_log_hints` hints do so too. A doubt is
/// no proof of a change; no doubt is a proof that there is none. Where newer pages are the only
/// doubts, the WAL tells what made them new.
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
    let mut since = Since {
        pages: scanned.pages,
        doubts,
        wal: Wal::Unread,
    };
    if since.doubts.is_empty() && scanned.replaced.is_empty() && !scanned.newer.is_empty() {
        since.wal = match wal::ask(data_dir, mark, scanned.newest, cancel)? {
            Told::Innocent { bytes } => {
                since.wal = Wal::Explains {
                    catalogs: scanned.newer,
                    bytes,
                };
                return Ok(since);
            }
            Told::Changed => Wal::Confirms,
            Told::Nothing(why) => Wal::Silent(why),
        };
    }
    let mut changed = [scanned.replaced, scanned.newer].concat();
    changed.sort_unstable();
    let changed = changed.iter().map(|catalog| format!("{catalog} changed"));
    since.doubts.extend(changed);
    Ok(since)
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

#[derive(Debug, Default, PartialEq, Eq)]
struct Scanned {
    pages: u64,
    /// Catalogs whose file is gone, or is none.
    replaced: Vec<String>,
    /// Catalogs with newer pages.
    newer: Vec<String>,
    /// The newest position of any page.
    newest: Lsn,
}

/// Looks for pages that were changed after a position.
fn scan(
    data_dir: &Path,
    heaps: &[Heap],
    since: Lsn,
    jobs: usize,
    cancel: &Cancel,
) -> Result<Scanned> {
    let scanned = Mutex::new(Scanned::default());
    each(jobs, heaps, cancel, |heap| {
        let pages = scan_heap(data_dir, &heap.path)?;
        let mut scanned = lock(&scanned);
        scanned.pages += pages.seen;
        scanned.newest = scanned.newest.max(pages.newest);
        if pages.missing {
            scanned.replaced.push(name(heap));
        } else if pages.newest > since {
            scanned.newer.push(name(heap));
        }
        Ok(())
    })?;
    let mut scanned = std::mem::take(&mut *lock(&scanned));
    scanned.replaced.sort_unstable();
    scanned.newer.sort_unstable();
    Ok(scanned)
}

fn name(heap: &Heap) -> String {
    match heap.database.as_str() {
        "" => heap.name.clone(),
        database => format!("{} of database {database}", heap.name),
    }
}

/// What the pages of one heap say.
#[derive(Debug, Default)]
struct Pages {
    seen: u64,
    newest: Lsn,
    /// The first file is gone, as after a rewrite, or there is half a page, which no server
    /// leaves behind.
    missing: bool,
}

fn scan_heap(data_dir: &Path, heap: &Path) -> Result<Pages> {
    let mut pages = Pages::default();
    for segment in 0_u32.. {
        let mut path = data_dir.join(heap);
        if segment > 0 {
            path.as_mut_os_string().push(format!(".{segment}"));
        }
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                pages.missing |= segment == 0;
                break;
            }
            Err(e) => return Err(Error::io(Code::NotReadable, "open", &path, &e)),
        };
        scan_file(&file, &path, &mut pages)?;
    }
    Ok(pages)
}

fn scan_file(file: &File, path: &Path, pages: &mut Pages) -> Result<()> {
    let mut chunk = vec![0; CHUNK];
    for from in (0..).step_by(CHUNK) {
        let filled = fill_at(file, &mut chunk, from)
            .map_err(|e| Error::io(Code::NotReadable, "read", path, &e))?;
        for page in chunk[..filled].chunks(PAGE) {
            pages.seen += 1;
            match page.get(..HEADER_SIZE).and_then(PageHeader::parse) {
                Some(header) if page.len() == PAGE => pages.newest = pages.newest.max(header.lsn),
                _ => pages.missing = true,
            }
        }
        if filled < chunk.len() {
            break;
        }
    }
    Ok(())
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

    fn scanned(dir: &Path, since: u64) -> Scanned {
        scan(dir, &heaps(), Lsn(since), 2, &Cancel::new()).unwrap()
    }

    #[test]
    fn a_newer_page_is_found_wherever_it_is() {
        let newer = |dir: &Path, since| scanned(dir, since).newer;
        let (one, two) = ("pg_1", "pg_2 of database shop");
        let dir = tempfile::tempdir().unwrap();
        let old: Vec<u8> = page(0x1_0000_0010).repeat(70);
        for name in ["1", "2", "2.1"] {
            std::fs::write(dir.path().join(name), &old).unwrap();
        }
        assert_eq!(newer(dir.path(), 0x1_0000_0010), [""; 0]);
        assert_eq!(newer(dir.path(), 0x1_0000_000F), [one, two]);
        let later = [old.clone(), page(0x2_0000_0000), old.clone()].concat();
        std::fs::write(dir.path().join("2.1"), later).unwrap();
        let found = scanned(dir.path(), 0x1_0000_0010);
        assert_eq!(found.newer, [two]);
        assert_eq!(found.newest, Lsn(0x2_0000_0000));
        assert_eq!(found.replaced, [""; 0]);
    }

    /// They are no newer pages: nothing but the catalog itself can say what they are.
    #[test]
    fn a_file_that_is_gone_or_torn_is_found() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["1", "2", "2.1"] {
            std::fs::write(dir.path().join(name), page(5).repeat(2)).unwrap();
        }
        std::fs::write(dir.path().join("2.1"), [&page(5)[..], &[0; 30]].concat()).unwrap();
        let found = scanned(dir.path(), 5);
        assert_eq!(found.replaced, ["pg_2 of database shop"]);
        std::fs::remove_file(dir.path().join("2.1")).unwrap();
        std::fs::remove_file(dir.path().join("1")).unwrap();
        let found = scanned(dir.path(), 5);
        assert_eq!(
            (found.replaced, found.newer),
            (vec!["pg_1".to_owned()], vec![])
        );
    }

    #[test]
    fn every_page_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("1"), page(9).repeat(64)).unwrap();
        std::fs::write(dir.path().join("2"), []).unwrap();
        let found = scanned(dir.path(), 1);
        assert_eq!((found.pages, found.newer), (64, vec!["pg_1".to_owned()]));
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
