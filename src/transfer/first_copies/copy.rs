//! One copy, made or mended, by one worker or by several.

use std::ops::Range;
use std::sync::Mutex;

use super::digest::{RANGE, Secret};
use super::ledger::{Entry, Known};
use super::loose::{self, Loose};
use crate::disk::{AreaDir, MARGIN, OldDir, OldFile, Replica};
use crate::error::{Code, Error, Result};
use crate::pg::RelFile;
use crate::pg::page::PageLayout;
use crate::work::lock;

/// How much is read at a time.
const CHUNK: usize = 32 * RANGE;

/// How much may wait to be written, of one part beside a server.
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
    /// Whether the copy, if it can be mended, is right wherever it is not looked at.
    pub in_part: bool,
}

/// What became of a copy.
pub(super) struct Made {
    pub entry: Entry,
    pub read: u64,
    pub written: u64,
    /// Whether the file was changed, and is not on the disk yet.
    pub dirty: bool,
}

/// A copy that is being made the same as its file, in parts, by any number of workers.
///
/// Parts begin where ranges do; the last one goes on to the end of the file, wherever that is by
/// then.
pub(super) struct Copying {
    from: OldFile,
    to: Replica,
    folder: u32,
    new: RelFile,
    checksums: Option<PageLayout>,
    aside: bool,
    /// Whether the copy is right wherever it is not looked at.
    pub in_part: bool,
    /// Of what the copy held before.
    before: Vec<u128>,
    /// Its length then; behind it there is nothing but a hole.
    before_len: u64,
    parts: Mutex<Vec<Part>>,
}

/// What one worker has read without a gap.
struct Part {
    wanted: Range<u64>,
    digests: Vec<u128>,
    loose: Vec<u32>,
    read: u64,
    written: u64,
    /// How far the copy reaches by what was written to it.
    reaches: u64,
    /// How much of that the kernel was asked to write.
    cleared: u64,
}

impl Copying {
    /// Opens the file and its copy, which is made where there is none to be mended; nothing where
    /// old has no such file any more.
    ///
    /// A file of old that has become the copy itself is never written to.
    pub fn open(source: Source<'_>) -> Result<Option<Self>> {
        let (of_old, of_new) = (source.names.0.file_name(), source.names.1.file_name());
        let Some(from) = source.old.open_file(&of_old)? else {
            return Ok(None);
        };
        let usable = source
            .known
            .filter(|(known, _)| !from.stamp.same_file(&known.copy));
        let mending = match usable {
            Some((known, digests)) => {
                let to = source.new.open_replica(&of_new, &known.copy)?;
                to.map(|to| (to, digests, known.copy.len))
            }
            None => None,
        };
        let in_part = source.in_part && mending.is_some();
        let (to, before, before_len) = match mending {
            Some(mending) => mending,
            None => {
                source.new.unlink(&of_new)?;
                let made = source.new.new_replica(&of_new, from.mode)?;
                (made, Vec::new(), 0)
            }
        };
        Ok(Some(Self {
            from,
            to,
            folder: source.folder,
            new: source.names.1,
            checksums: source.checksums,
            aside: source.aside,
            in_part,
            before,
            before_len,
            parts: Mutex::default(),
        }))
    }

    /// Makes a part of the copy what the file is.
    ///
    /// After each chunk that was read `go_on` is asked, with its length.
    pub fn run(
        &self,
        wanted: Range<u64>,
        secret: &Secret,
        go_on: &dyn Fn(u64) -> Result<()>,
    ) -> Result<()> {
        let mut part = Part {
            wanted,
            digests: Vec::new(),
            loose: Vec::new(),
            read: 0,
            written: 0,
            reaches: 0,
            cleared: 0,
        };
        let mut chunk = vec![0; CHUNK];
        loop {
            let at = part.wanted.start + part.read;
            let room = usize::try_from(part.wanted.end - at).unwrap_or(CHUNK);
            let wanted = &mut chunk[..room.min(CHUNK)];
            let filled = match self.aside {
                true => self.from.read_aside(wanted, at)?,
                false => self.from.read_at(wanted, at)?,
            };
            let ended = filled < wanted.len();
            self.take(&mut part, &mut chunk[..filled], secret)?;
            self.clear(&mut part);
            go_on(filled as u64)?;
            if ended || part.is_whole() {
                break;
            }
        }
        lock(&self.parts).push(part);
        Ok(())
    }

    /// Takes the next chunk; ranges that differ and follow one another are written at once.
    ///
    /// Digests are of what old has, whatever is written for it.
    fn take(&self, part: &mut Part, chunk: &mut [u8], secret: &Secret) -> Result<()> {
        let begin = part.wanted.start + part.read;
        let first = (begin / RANGE as u64) as usize;
        let mut run = 0..0;
        for (number, at) in (0..chunk.len()).step_by(RANGE).enumerate() {
            let range = &chunk[at..chunk.len().min(at + RANGE)];
            let end = at + range.len();
            let digest = secret.digest(range);
            let wanted = match self.before.get(first + number) {
                Some(before) => *before != digest,
                None => !is_hole(&self.from, range, begin + at as u64),
            };
            part.digests.push(digest);
            if loose::is_loose(range) {
                part.loose.push((first + number) as u32);
            }
            if wanted && run.end == at {
                run.end = end;
            } else if wanted {
                self.put(part, chunk, run, begin)?;
                run = at..end;
            }
        }
        self.put(part, chunk, run, begin)?;
        part.read += chunk.len() as u64;
        Ok(())
    }

    fn put(&self, part: &mut Part, chunk: &mut [u8], run: Range<usize>, begin: u64) -> Result<()> {
        if run.is_empty() {
            return Ok(());
        }
        let at = begin + run.start as u64;
        part.reaches = begin + run.end as u64;
        part.written += run.len() as u64;
        let bytes = &mut chunk[run];
        if let Some(layout) = self.checksums {
            layout.write_checksums(self.new, at, bytes);
        }
        self.to.write_at(bytes, at)
    }

    /// Lets go of what was written, from time to time, so that a large file does not fill the
    /// memory.
    fn clear(&self, part: &mut Part) {
        if self.aside && part.written >= part.cleared + CLEARED {
            part.cleared = part.written;
            self.to.begin_writing();
        }
    }

    /// Ends the copy, when all its parts are there.
    pub fn end(&self) -> Result<Made> {
        let mut parts = std::mem::take(&mut *lock(&self.parts));
        parts.sort_unstable_by_key(|part| part.wanted.start);
        let reaches = parts.iter().map(|part| part.reaches).max().unwrap_or(0);
        let sum = |of: fn(&Part) -> u64| parts.iter().map(of).sum();
        let (read, written) = (sum(|part| part.read), sum(|part| part.written));
        let (digests, loose, len) = self.together(parts)?;
        if reaches.max(self.before_len) != len {
            self.to.set_len(len)?;
        }
        let from = &self.from;
        let modified = from.stamp.modified.min(from.seen.saturating_sub(MARGIN));
        let copy = self.to.stamp(modified)?;
        Ok(Made {
            read,
            written,
            dirty: self.to.touched(),
            entry: Entry {
                folder: self.folder,
                new: self.new,
                seen: from.seen,
                from: from.stamp,
                copy,
                digests,
                loose,
            },
        })
    }

    /// The digests of the whole, and how long it is: up to the first part that met the end of the
    /// file. What others have read behind that, of a file that was cut and grew again in between,
    /// is cut off.
    fn together(&self, parts: Vec<Part>) -> Result<(Vec<u128>, Loose, u64)> {
        let mut digests = match self.in_part {
            true => self.before.clone(),
            false => Vec::new(),
        };
        let mut loose = Vec::new();
        let last = parts.len().saturating_sub(1);
        for (number, part) in parts.into_iter().enumerate() {
            let first = (part.wanted.start / RANGE as u64) as usize;
            let end = first + part.digests.len();
            if digests.len() < end {
                digests.resize(end, 0);
            }
            digests[first..end].copy_from_slice(&part.digests);
            loose.extend(&part.loose);
            if part.is_whole() {
                continue;
            }
            if self.in_part && number != last {
                return Err(changed(&self.from));
            }
            let len = part.wanted.start + part.read;
            digests.truncate(len.div_ceil(RANGE as u64) as usize);
            return Ok((digests, Loose::of(&loose), len));
        }
        Err(Error::new(Code::Internal, "a file was not read to its end")
            .fact("file", self.from.path().display()))
    }
}

impl Part {
    /// Whether all that was wanted was there.
    fn is_whole(&self) -> bool {
        self.read == self.wanted.end - self.wanted.start
    }
}

fn changed(from: &OldFile) -> Error {
    Error::new(
        Code::OldChanged,
        "a file was changed while nothing should change it",
    )
    .fact("file", from.path().display())
}

/// Zeroes are written where old has them on its disk: there they are room that was set aside.
fn is_hole(from: &OldFile, range: &[u8], at: u64) -> bool {
    *range == ZEROES[..range.len()] && from.is_hole(at, range.len() as u64)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    use super::*;
    use crate::disk::Area;

    const WIDE: u64 = RANGE as u64;

    fn whole(dir: &Path) -> (OldDir, AreaDir) {
        for name in ["old", "new"] {
            fs::create_dir(dir.join(name)).unwrap();
        }
        let new = Area::new(&dir.join("new")).unwrap();
        (
            OldDir::open(&dir.join("old")).unwrap(),
            new.open_dir("").unwrap(),
        )
    }

    fn bytes(ranges: u64) -> Vec<u8> {
        (0..ranges * WIDE)
            .map(|n| (n / 997 % 251) as u8 + 1)
            .collect()
    }

    fn copying(old: &OldDir, new: &AreaDir, known: Option<&Made>, in_part: bool) -> Copying {
        let one = RelFile::parse("1").unwrap();
        let source = Source {
            old,
            new,
            folder: 0,
            names: (one, one),
            known: known.map(|made| (Known::of(&made.entry), made.entry.digests.clone())),
            checksums: None,
            aside: false,
            in_part,
        };
        Copying::open(source).unwrap().unwrap()
    }

    #[test]
    fn parts_make_one_copy_in_whatever_order() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = whole(dir.path());
        let (from, to) = (dir.path().join("old/1"), dir.path().join("new/1"));
        let contents = [bytes(10), vec![0; 3 * RANGE], bytes(1), vec![7; 100]].concat();
        fs::write(&from, &contents).unwrap();
        let secret = Secret::new().unwrap();
        let go_on = |_| Ok(());
        let one = copying(&old, &new, None, false);
        one.run(0..u64::MAX, &secret, &go_on).unwrap();
        let one = one.end().unwrap();
        assert!(fs::read(&to).unwrap() == contents);
        fs::remove_file(&to).unwrap();
        let parts = copying(&old, &new, None, false);
        for part in [6 * WIDE..u64::MAX, 0..2 * WIDE, 2 * WIDE..6 * WIDE] {
            parts.run(part, &secret, &go_on).unwrap();
        }
        let parts = parts.end().unwrap();
        assert!(fs::read(&to).unwrap() == contents);
        assert_eq!(parts.entry.digests, one.entry.digests);
        assert_eq!(parts.entry.loose, one.entry.loose);
        assert_eq!(
            one.entry.loose.ranges().collect::<Vec<_>>(),
            [10, 11, 12, 14]
        );
        assert_eq!((parts.read, parts.written), (one.read, one.written));

        // What is behind an end that was met is cut off, whoever has read it.
        let cut = copying(&old, &new, Some(&parts), false);
        cut.run(4 * WIDE..u64::MAX, &secret, &go_on).unwrap();
        fs::write(&from, &contents[..RANGE + 5]).unwrap();
        cut.run(0..4 * WIDE, &secret, &go_on).unwrap();
        let cut = cut.end().unwrap();
        assert!(fs::read(&to).unwrap() == contents[..RANGE + 5]);
        assert_eq!(cut.entry.digests.len(), 2);
    }

    #[test]
    fn only_what_is_wanted_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = whole(dir.path());
        let path = dir.path().join("old/1");
        fs::write(&path, bytes(20)).unwrap();
        let secret = Secret::new().unwrap();
        let first = copying(&old, &new, None, false);
        first.run(0..u64::MAX, &secret, &|_| Ok(())).unwrap();
        let first = first.end().unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        for range in [3, 9, 20, 21] {
            file.write_all_at(&[0xEE; RANGE], range * WIDE).unwrap();
        }
        let again = copying(&old, &new, Some(&first), true);
        assert!(again.in_part);
        for row in [0..WIDE, 3 * WIDE..4 * WIDE, 20 * WIDE..u64::MAX] {
            again.run(row, &secret, &|_| Ok(())).unwrap();
        }
        let again = again.end().unwrap();
        assert_eq!((again.read, again.written), (4 * WIDE, 3 * WIDE));
        // The ninth range was not asked for, so nobody knows of it.
        let mut wanted = fs::read(&path).unwrap();
        wanted[9 * RANGE..10 * RANGE].copy_from_slice(&bytes(20)[9 * RANGE..10 * RANGE]);
        assert!(fs::read(dir.path().join("new/1")).unwrap() == wanted);
        let changed = |n: &usize| again.entry.digests.get(*n) != first.entry.digests.get(*n);
        assert_eq!((0..22).filter(changed).collect::<Vec<_>>(), [3, 20, 21]);

        // A copy somebody else has touched is made anew, as a whole.
        fs::hard_link(dir.path().join("new/1"), dir.path().join("second")).unwrap();
        assert!(!copying(&old, &new, Some(&again), true).in_part);
    }
}
