//! What is known of the copies there are.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::digest::{self, RANGE, Secret};
use super::line::{self, Copied, FORMAT, Record};
use super::loose::Loose;
use super::pass::Passed;
use super::witness::Witness;
use crate::disk::{Appender, Area, Era, Stamp};
use crate::error::{Code, Error, Result};
use crate::pg::RelFile;
use crate::plan::Folder;

/// Name of the ledger in the state directory.
pub const LEDGER: &str = "first-copies.jsonl";

/// Where a shorter one is written.
const SHORTER: &str = "first-copies.jsonl.new";

/// Below this size it is not worth to leave out what is no longer true.
const SHORT: u64 = 1 << 20;

/// The ledger of first copies: a log whose later lines take the place of earlier ones.
///
/// In memory is where each line is and what decides whether a file has to be read; digests are
/// read from the log when they are wanted.
pub struct Ledger {
    state: Area,
    log: Appender,
    lines: File,
    /// Where the next line begins.
    end: u64,
    secret: Secret,
    eras: Vec<Era>,
    folders: HashMap<(PathBuf, PathBuf), u32>,
    copies: HashMap<(u32, RelFile), Known>,
    last: Option<Passed>,
    /// How many passes this process has begun.
    passes: u32,
    /// Who tells what was changed since a pass, and the number of that; or why nobody does.
    witness: Option<std::result::Result<(Witness, u32), String>>,
}

/// What is known of one copy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// A moment before the file of old was looked at.
    pub seen: i64,
    /// What it was then.
    pub from: Stamp,
    /// What the copy was when it was finished.
    pub copy: Stamp,
    /// The pass of this process that looked at both, or 0.
    pub looked: u32,
    era: u32,
    at: u64,
    len: u32,
}

/// A copy that was made or mended.
pub(super) struct Entry {
    pub folder: u32,
    pub new: RelFile,
    pub seen: i64,
    pub from: Stamp,
    pub copy: Stamp,
    pub digests: Vec<u128>,
    pub loose: Loose,
}

#[cfg(test)]
impl Known {
    /// What a ledger would know of a copy.
    pub fn of(entry: &Entry) -> Self {
        Self {
            seen: entry.seen,
            from: entry.from,
            copy: entry.copy,
            looked: 0,
            era: 0,
            at: 0,
            len: 0,
        }
    }
}

impl Ledger {
    /// The ledger of this state directory; a new one where there is none that can be read.
    ///
    /// What comes after a torn or damaged line is not believed: those files are copied anew.
    pub fn open(state: &Area) -> Result<Self> {
        match Self::load(state)? {
            Some(ledger) => Ok(ledger),
            None => Self::create(state),
        }
    }

    /// Whether copies were begun to be made.
    pub fn exists(state: &Area) -> Result<bool> {
        let path = state.path(LEDGER)?;
        path.try_exists()
            .map_err(|e| Error::io(Code::DiskOperation, "look at", &path, &e))
    }

    /// Removes it; copies that are there are nobody's then.
    pub fn forget(state: &Area) -> Result<()> {
        state.remove_file(SHORTER)?;
        state.remove_file(LEDGER)
    }

    fn create(state: &Area) -> Result<Self> {
        let secret = Secret::new()?;
        let opened = Record::Opened {
            format: FORMAT,
            range: RANGE,
            secret: secret.clone(),
        };
        let first = opened.line()?;
        state.write(LEDGER, &first, 0o600)?;
        Ok(Self {
            state: state.clone(),
            log: Appender::open(state, LEDGER)?,
            lines: open(state)?,
            end: first.len() as u64,
            secret,
            eras: Vec::new(),
            folders: HashMap::new(),
            copies: HashMap::new(),
            last: None,
            passes: 0,
            witness: None,
        })
    }

    fn load(state: &Area) -> Result<Option<Self>> {
        let lines = match open(state) {
            Ok(file) => file,
            Err(_) if !Self::exists(state)? => return Ok(None),
            Err(error) => return Err(error),
        };
        let unreadable = |e: &std::io::Error| {
            let path = state.root().join(LEDGER);
            Error::io(Code::NotReadable, "read", &path, e)
        };
        let mut reader = BufReader::with_capacity(1 << 20, &lines);
        let mut line = Vec::new();
        reader
            .read_until(b'\n', &mut line)
            .map_err(|e| unreadable(&e))?;
        let Some(Record::Opened {
            format: FORMAT,
            range: RANGE,
            secret,
        }) = whole(&line)
        else {
            return Ok(None);
        };
        let mut read = Read {
            end: line.len() as u64,
            ..Read::default()
        };
        loop {
            line.clear();
            let length = reader
                .read_until(b'\n', &mut line)
                .map_err(|e| unreadable(&e))?;
            match whole(&line) {
                Some(record) if length > 0 => read.take(record, length),
                _ => break,
            }
        }
        let end = read.end;
        if lines.metadata().map_err(|e| unreadable(&e))?.len() > end {
            state.truncate_or_extend(LEDGER, end)?;
        }
        Ok(Some(Self {
            state: state.clone(),
            log: Appender::open(state, LEDGER)?,
            lines,
            end,
            secret,
            eras: read.eras,
            folders: read.folders,
            copies: read.copies,
            last: read.last,
            passes: 0,
            witness: None,
        }))
    }

    /// What the last pass of all found to do.
    pub fn last(&self) -> Option<&Passed> {
        self.last.as_ref()
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Begins a pass: copies made from now on are of this era.
    pub(super) fn begin(&mut self, era: Option<&Era>) -> Result<()> {
        self.shorten()?;
        self.passes += 1;
        // Of an unknown era nothing is believed later.
        let era = era.cloned().unwrap_or_default();
        // Also where it is the last one again, which is a matter of nanoseconds: so runs that do the
        // same pass the same points.
        self.append(&Record::Pass { era: era.clone() }.line()?)?;
        self.eras.push(era);
        Ok(())
    }

    /// The number of a folder.
    pub(super) fn folder(&mut self, folder: &Folder) -> Result<u32> {
        let new = folder.new_root.join(&folder.new_dir);
        let key = (folder.old_dir.clone(), new);
        if let Some(id) = self.folders.get(&key) {
            return Ok(*id);
        }
        let id = u32::try_from(self.folders.len())
            .map_err(|_| Error::new(Code::Internal, "too many directories"))?;
        let (old, new) = key.clone();
        self.append(&Record::Folder { id, old, new }.line()?)?;
        self.folders.insert(key, id);
        Ok(id)
    }

    /// What is known of a copy, as long as that may be compared with what it is now.
    pub(super) fn known(&self, folder: u32, new: RelFile, now: &Era) -> Option<Known> {
        let known = self.copies.get(&(folder, new))?;
        self.era(known)?.same_boot(now).then_some(*known)
    }

    /// Whether the moment at which the file of old was looked at lies on the clock of now.
    pub(super) fn same_clock(&self, known: &Known, now: &Era) -> bool {
        self.era(known).is_some_and(|era| era.same_clock(now))
    }

    fn era(&self, known: &Known) -> Option<&Era> {
        self.eras.get(known.era as usize)
    }

    /// Notes that this pass has found the copy to be what its file is.
    pub(super) fn found(&mut self, folder: u32, new: RelFile) {
        let passes = self.passes;
        if let Some(known) = self.copies.get_mut(&(folder, new)) {
            known.looked = passes;
        }
    }

    /// From the next pass on, this one tells what is changed, or nobody does.
    pub(super) fn call(&mut self, witness: std::result::Result<Witness, String>) {
        let since = self.passes + 1;
        self.witness = Some(witness.map(|witness| (witness, since)));
    }

    /// Takes who tells what was changed of copies that were looked at by this pass or a later
    /// one; nothing where nobody was called.
    pub(super) fn take_witness(&mut self) -> Option<std::result::Result<(Witness, u32), String>> {
        self.witness.take()
    }

    /// Keeps what WAL there is, where it may be asked.
    pub fn hold(&mut self) {
        if let Some(Ok((witness, _))) = &mut self.witness {
            witness.hold();
        }
    }

    /// The digests of a copy, and what of it the WAL may say nothing of; none where its line
    /// cannot be read.
    pub(super) fn digests(&self, known: &Known) -> Option<(Vec<u128>, Loose)> {
        let mut line = vec![0; known.len as usize];
        self.lines.read_exact_at(&mut line, known.at).ok()?;
        match whole(&line)? {
            Record::File(copied) => Some((digest::parse(&copied.digests)?, copied.loose)),
            _ => None,
        }
    }

    /// Writes down copies whose bytes are on the disk.
    pub(super) fn add(&mut self, entries: &[Entry]) -> Result<()> {
        let era = self.eras.len().saturating_sub(1);
        let mut lines = Vec::new();
        for entry in entries {
            let record = Record::File(Copied {
                folder: entry.folder,
                new: entry.new.file_name().into(),
                seen: entry.seen,
                from: entry.from,
                copy: entry.copy,
                digests: digest::text(&entry.digests).into(),
                loose: entry.loose.clone(),
            });
            let line = record.line()?;
            let known = Known {
                seen: entry.seen,
                from: entry.from,
                copy: entry.copy,
                looked: self.passes,
                era: u32::try_from(era).unwrap_or(u32::MAX),
                at: self.end + lines.len() as u64,
                len: u32::try_from(line.len()).unwrap_or(u32::MAX),
            };
            self.copies.insert((entry.folder, entry.new), known);
            lines.extend(line);
        }
        self.append(&lines)
    }

    /// Forgets a copy that is gone; its line stays until the next shortening.
    pub(super) fn gone(&mut self, folder: u32, new: RelFile) {
        self.copies.remove(&(folder, new));
    }

    /// Ends a pass; `durably` where nobody waits for it.
    pub(super) fn end(&mut self, passed: &Passed, durably: bool) -> Result<()> {
        self.last = Some(*passed);
        let line = Record::Passed {
            files: passed.files,
            kept: passed.kept,
            read: passed.read,
            written: passed.written,
        }
        .line()?;
        if durably {
            self.log.append(&line)?;
            self.end += line.len() as u64;
            return Ok(());
        }
        self.append(&line)
    }

    fn append(&mut self, lines: &[u8]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        self.log.append_without_sync(lines)?;
        self.end += lines.len() as u64;
        Ok(())
    }

    /// Leaves out lines that later ones have replaced, where they are more than the others.
    fn shorten(&mut self) -> Result<()> {
        let alive: u64 = self.copies.values().map(|known| u64::from(known.len)).sum();
        if self.end < SHORT || self.end / 2 < alive {
            return Ok(());
        }
        self.state.remove_file(SHORTER)?;
        let mut shorter = Appender::open(&self.state, SHORTER)?;
        let mut end = 0;
        let mut put = |line: &[u8]| -> Result<u64> {
            shorter.append_without_sync(line)?;
            let at = end;
            end += line.len() as u64;
            Ok(at)
        };
        let secret = self.secret.clone();
        let (format, range) = (FORMAT, RANGE);
        put(&Record::Opened {
            format,
            range,
            secret,
        }
        .line()?)?;
        let mut folders: Vec<_> = self.folders.iter().collect();
        folders.sort_unstable_by_key(|(_, id)| **id);
        for ((old, new), id) in folders {
            let (id, old, new) = (*id, old.clone(), new.clone());
            put(&Record::Folder { id, old, new }.line()?)?;
        }
        for (number, era) in self.eras.iter().enumerate() {
            put(&Record::Pass { era: era.clone() }.line()?)?;
            for known in self.copies.values_mut() {
                if known.era as usize == number {
                    let mut line = vec![0; known.len as usize];
                    let path = self.state.root().join(LEDGER);
                    self.lines
                        .read_exact_at(&mut line, known.at)
                        .map_err(|e| Error::io(Code::NotReadable, "read", &path, &e))?;
                    known.at = put(&line)?;
                }
            }
        }
        drop(shorter);
        self.state.rename(SHORTER, &self.state, LEDGER)?;
        self.log = Appender::open(&self.state, LEDGER)?;
        self.lines = open(&self.state)?;
        self.end = end;
        Ok(())
    }
}

/// What the lines say.
#[derive(Default)]
struct Read {
    end: u64,
    eras: Vec<Era>,
    folders: HashMap<(PathBuf, PathBuf), u32>,
    copies: HashMap<(u32, RelFile), Known>,
    last: Option<Passed>,
}

impl Read {
    fn take(&mut self, record: Record<'_>, length: usize) {
        match record {
            Record::Opened { .. } => {}
            Record::Pass { era } => self.eras.push(era),
            Record::Folder { id, old, new } => {
                self.folders.insert((old, new), id);
            }
            Record::File(copied) => {
                let era = self.eras.len().checked_sub(1);
                let file = RelFile::parse(&copied.new);
                if let (Some(file), Some(era)) = (file, era) {
                    let known = Known {
                        seen: copied.seen,
                        from: copied.from,
                        copy: copied.copy,
                        looked: 0,
                        era: u32::try_from(era).unwrap_or(u32::MAX),
                        at: self.end,
                        len: u32::try_from(length).unwrap_or(u32::MAX),
                    };
                    self.copies.insert((copied.folder, file), known);
                }
            }
            Record::Passed {
                files,
                kept,
                read,
                written,
            } => {
                self.last = Some(Passed {
                    files,
                    kept,
                    read,
                    written,
                    ..Passed::default()
                });
            }
        }
        self.end += length as u64;
    }
}

fn whole(line: &[u8]) -> Option<Record<'_>> {
    line::parse(line.strip_suffix(b"\n")?)
}

fn open(state: &Area) -> Result<File> {
    let path = state.path(LEDGER)?;
    File::open(&path).map_err(|e| match e.kind() {
        ErrorKind::NotFound => Error::io(Code::StateMissing, "open", &path, &e),
        _ => Error::io(Code::NotReadable, "open", &path, &e),
    })
}
