//! One copy, made or mended.

use std::ops::Range;

use super::digest::{RANGE, Secret};
use super::ledger::{Entry, Known};
use crate::disk::{AreaDir, MARGIN, OldDir, OldFile, Replica};
use crate::error::Result;
use crate::pg::RelFile;
use crate::pg::page::PageLayout;

/// How much is read at a time.
const CHUNK: usize = 32 * RANGE;

/// How much may wait to be written, of one file beside a server.
const CLEARED: u64 = 16 << 20;

/// What nothing but zeroes looks like.
static ZEROES: [u8; RANGE] = [0; RANGE];

/// The file that is to be copied.
pub(super) struct Source<'a> {
    pub old: &'a OldDir,
    pub new: &'a AreaDir,
    pub folder: u32,
    /// What it is called in old, and in new.
    pub names: (RelFile, RelFile),
    /// The copy there is, if it still is what it was, with its digests.
    pub known: Option<(Known, Vec<u128>)>,
    /// What its pages are like, where the copy gets checksums that old's do not have.
    pub checksums: Option<PageLayout>,
    /// Whether others need the memory that files are read by and written through.
    pub aside: bool,
}

/// What became of a copy.
pub(super) struct Made {
    pub entry: Entry,
    pub read: u64,
    pub written: u64,
    /// Whether the file was changed, and is not on the disk yet.
    pub dirty: bool,
}

/// Makes the copy what the file is, range by range; nothing where old has no such file any more.
///
/// Before each chunk that is read `go_on` is asked, with the length of the one before it.
pub(super) fn copy(
    source: &Source<'_>,
    secret: &Secret,
    go_on: &dyn Fn(u64) -> Result<()>,
) -> Result<Option<Made>> {
    let (of_old, of_new) = (source.names.0.file_name(), source.names.1.file_name());
    let Some(from) = source.old.open_file(&of_old)? else {
        return Ok(None);
    };
    let mut copying = match open(source, &from)? {
        Some((to, known, digests)) => Copying {
            before: digests,
            before_len: known.copy.len,
            ..Copying::make(source, to)
        },
        None => {
            source.new.unlink(&of_new)?;
            Copying::make(source, source.new.new_replica(&of_new, from.mode)?)
        }
    };
    let mut chunk = vec![0; CHUNK];
    loop {
        let filled = match source.aside {
            true => from.read_aside(&mut chunk, copying.read)?,
            false => from.read_at(&mut chunk, copying.read)?,
        };
        copying.take(&from, &mut chunk[..filled], secret)?;
        copying.clear(source.aside);
        go_on(filled as u64)?;
        if filled < chunk.len() {
            break;
        }
    }
    copying.end(source, &from).map(Some)
}

/// A copy that is there, what is known of it, and its digests.
type Mending<'a> = (Replica, &'a Known, &'a [u128]);

/// A file of old that has become the copy itself is never written to.
fn open<'a>(source: &'a Source<'_>, from: &OldFile) -> Result<Option<Mending<'a>>> {
    let Some((known, digests)) = &source.known else {
        return Ok(None);
    };
    if from.stamp.same_file(&known.copy) {
        return Ok(None);
    }
    let name = source.names.1.file_name();
    let to = source.new.open_replica(name, &known.copy)?;
    Ok(to.map(|to| (to, known, digests.as_slice())))
}

struct Copying<'a> {
    source: &'a Source<'a>,
    to: Replica,
    /// Of what the copy held before.
    before: &'a [u128],
    /// Its length then; behind it there is nothing but a hole.
    before_len: u64,
    digests: Vec<u128>,
    read: u64,
    written: u64,
    /// How much of that the kernel was asked to write.
    cleared: u64,
    /// How far the copy reaches by what was written to it.
    reaches: u64,
}

impl<'a> Copying<'a> {
    fn make(source: &'a Source<'a>, to: Replica) -> Self {
        Self {
            source,
            to,
            before: &[],
            before_len: 0,
            digests: Vec::new(),
            read: 0,
            written: 0,
            cleared: 0,
            reaches: 0,
        }
    }

    /// Takes the next chunk; ranges that differ and follow one another are written at once.
    ///
    /// Digests are of what old has, whatever is written for it.
    fn take(&mut self, from: &OldFile, chunk: &mut [u8], secret: &Secret) -> Result<()> {
        let begin = self.read;
        let mut run = 0..0;
        for at in (0..chunk.len()).step_by(RANGE) {
            let range = &chunk[at..chunk.len().min(at + RANGE)];
            let end = at + range.len();
            let digest = secret.digest(range);
            let known = self.before.get(self.digests.len());
            let wanted = match known {
                Some(before) => *before != digest,
                None => !is_hole(from, range, begin + at as u64),
            };
            self.digests.push(digest);
            if wanted && run.end == at {
                run.end = end;
            } else if wanted {
                self.put(chunk, run, begin)?;
                run = at..end;
            }
        }
        self.put(chunk, run, begin)?;
        self.read += chunk.len() as u64;
        Ok(())
    }

    fn put(&mut self, chunk: &mut [u8], run: Range<usize>, begin: u64) -> Result<()> {
        if run.is_empty() {
            return Ok(());
        }
        let at = begin + run.start as u64;
        self.reaches = self.reaches.max(begin + run.end as u64);
        self.written += run.len() as u64;
        let bytes = &mut chunk[run];
        if let Some(layout) = self.source.checksums {
            layout.write_checksums(self.source.names.1, at, bytes);
        }
        self.to.write_at(bytes, at)
    }

    /// Lets go of what was written, from time to time, so that a large file does not fill the
    /// memory.
    fn clear(&mut self, aside: bool) {
        if aside && self.written >= self.cleared + CLEARED {
            self.cleared = self.written;
            self.to.begin_writing();
        }
    }

    fn end(mut self, source: &Source<'_>, from: &OldFile) -> Result<Made> {
        if self.reaches.max(self.before_len) != self.read {
            self.to.set_len(self.read)?;
        }
        let modified = from.stamp.modified.min(from.seen.saturating_sub(MARGIN));
        let copy = self.to.stamp(modified)?;
        Ok(Made {
            read: self.read,
            written: self.written,
            dirty: self.to.touched(),
            entry: Entry {
                folder: source.folder,
                new: source.names.1,
                seen: from.seen,
                from: from.stamp,
                copy,
                digests: self.digests,
            },
        })
    }
}

/// Zeroes are written where old has them on its disk: there they are room that was set aside.
fn is_hole(from: &OldFile, range: &[u8], at: u64) -> bool {
    *range == ZEROES[..range.len()] && from.is_hole(at, range.len() as u64)
}
