//! The files the WAL lies in.

use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::Layout;
use crate::pg::control::is_wal_file;
use crate::pg::{Lsn, fill_at};

/// How much is read at a time.
const CHUNK: u64 = 256 << 10;
/// Letters in the name of a file that holds WAL and nothing else.
const NAME: usize = 24;
/// Bytes that say which position a page was written for.
const START: usize = 16;
/// How many files are held open: fewer than every process may have.
const HELD: usize = 256;
/// Their bytes at most: a file that is held keeps its room, which the server may want.
const HELD_BYTES: u64 = 4 << 30;

/// The files of the WAL, read one after the other.
///
/// The checkpoint of a shutdown gives files that are not needed any more other names, or removes
/// them. What was held before is there all the same.
#[derive(Debug)]
pub struct Segments {
    dir: PathBuf,
    layout: Layout,
    open: Option<(String, File)>,
    held: HashMap<String, File>,
    chunk: Vec<u8>,
    /// Where the chunk begins.
    at: Lsn,
}

impl Segments {
    /// Those of a directory; nothing is opened yet.
    pub fn new(dir: &Path, layout: Layout) -> Self {
        Self {
            dir: dir.to_owned(),
            layout,
            open: None,
            held: HashMap::new(),
            chunk: Vec::new(),
            at: Lsn(0),
        }
    }

    /// Opens the files there are from a position on, to keep what is in them; those a server has
    /// made for later, too. A wish: what cannot be held may be gone later.
    pub fn hold(&mut self, from: Lsn) {
        let first = self.layout.file_name(from);
        // The number of the timeline.
        let timeline = first.get(..8).unwrap_or_default();
        let names = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut names: Vec<String> = names
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.len() == NAME && is_wal_file(name))
            .filter(|name| name.starts_with(timeline) && *name >= first)
            .filter(|name| !self.held.contains_key(name))
            .collect();
        names.sort_unstable();
        let room = HELD_BYTES / u64::from(self.layout.segment_size);
        let most = usize::try_from(room).map_or(HELD, |room| room.min(HELD));
        names.truncate(most.saturating_sub(self.held.len()));
        for name in names {
            if let Ok(file) = File::open(self.dir.join(&name)) {
                self.held.insert(name, file);
            }
        }
    }

    /// The page at a position; an error says in a clause why there is none.
    pub fn page(&mut self, at: Lsn) -> Result<&[u8], String> {
        let length = self.layout.page_size as usize;
        if self.in_chunk(at, length).is_none() {
            self.load(at)?;
        }
        let name = self.layout.file_name(at);
        self.in_chunk(at, length)
            .ok_or_else(|| format!("{name} ends early"))
    }

    fn in_chunk(&self, at: Lsn, length: usize) -> Option<&[u8]> {
        let start = usize::try_from(at.0.checked_sub(self.at.0)?).ok()?;
        self.chunk.get(start..)?.get(..length)
    }

    fn load(&mut self, at: Lsn) -> Result<(), String> {
        let name = self.layout.file_name(at);
        let failed = |e: &std::io::Error| format!("{name}: {e}");
        let from = self.layout.in_segment(at);
        let file = match self.open.take() {
            Some((open, file)) if open == name => file,
            _ => match File::open(self.dir.join(&name)) {
                Ok(file) => file,
                Err(e) if e.kind() == ErrorKind::NotFound => self
                    .held
                    .remove(&name)
                    .or_else(|| self.recycled(Lsn(at.0 - from)))
                    .ok_or_else(|| format!("{name} is gone"))?,
                Err(e) => return Err(failed(&e)),
            },
        };
        let wanted = CHUNK.min(u64::from(self.layout.segment_size) - from);
        self.at = at;
        self.chunk.resize(wanted as usize, 0);
        let read = fill_at(&file, &mut self.chunk, from).map_err(|e| failed(&e))?;
        self.chunk.truncate(read);
        self.open = Some((name, file));
        Ok(())
    }

    /// The file that held a segment and was given another name by the checkpoint of the shutdown.
    fn recycled(&self, segment: Lsn) -> Option<File> {
        let names = std::fs::read_dir(&self.dir).ok()?;
        names.flatten().find_map(|entry| {
            let name = entry.file_name();
            if name.len() != NAME || !name.to_str().is_some_and(is_wal_file) {
                return None;
            }
            let file = File::open(entry.path()).ok()?;
            let mut start = [0; START];
            file.read_exact_at(&mut start, 0).ok()?;
            (self.layout.written_for(&start) == Some(segment)).then_some(file)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::{SystemIdentifier, Timeline};

    const SEGMENT: u32 = 1 << 20;
    const LAYOUT: Layout = Layout {
        timeline: Timeline(1),
        system_identifier: SystemIdentifier(7),
        segment_size: SEGMENT,
        page_size: 8192,
    };

    /// A page that says where it was written, with a mark of its own.
    fn page(at: u64, mark: u8) -> Vec<u8> {
        let mut page = vec![mark; 8192];
        page[..2].copy_from_slice(&0xD110_u16.to_ne_bytes());
        page[4..8].copy_from_slice(&1_u32.to_ne_bytes());
        page[8..16].copy_from_slice(&at.to_ne_bytes());
        page
    }

    #[test]
    fn segments_are_read_under_whatever_name() {
        let dir = tempfile::tempdir().unwrap();
        let write =
            |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        let size = u64::from(SEGMENT);
        write(
            "000000010000000000000003",
            &[page(3 * size, 1), page(3 * size + 8192, 2)].concat(),
        );
        write("000000010000000000000009", &page(4 * size, 3));
        write("000000010000000000000008.partial", &page(5 * size, 4));
        write("00000001.history", b"");
        let mut segments = Segments::new(dir.path(), LAYOUT);
        let mut marks = |at: u64| segments.page(Lsn(at)).map(|page| page[100]);
        assert_eq!(marks(3 * size), Ok(1));
        assert_eq!(marks(3 * size + 8192), Ok(2));
        assert_eq!(
            marks(3 * size + 2 * 8192),
            Err("000000010000000000000003 ends early".to_owned())
        );
        assert_eq!(marks(4 * size), Ok(3));
        assert_eq!(marks(3 * size), Ok(1));
        assert_eq!(
            marks(5 * size),
            Err("000000010000000000000005 is gone".to_owned())
        );
    }

    #[test]
    fn what_was_held_is_read_after_it_has_gone() {
        let dir = tempfile::tempdir().unwrap();
        let name = |number: u32| format!("0000000100000000000000{number:02X}");
        let size = u64::from(SEGMENT);
        for number in 2..=5_u32 {
            let bytes = page(u64::from(number) * size, number as u8);
            std::fs::write(dir.path().join(name(number)), bytes).unwrap();
        }
        std::fs::write(dir.path().join(format!("{}.backup", name(3))), "").unwrap();
        let mut segments = Segments::new(dir.path(), LAYOUT);
        segments.hold(Lsn(3 * size + 100));
        segments.hold(Lsn(3 * size + 100));
        let mut held: Vec<&String> = segments.held.keys().collect();
        held.sort();
        assert_eq!(held, [&name(3), &name(4), &name(5)]);
        for number in 2..=4 {
            std::fs::remove_file(dir.path().join(name(number))).unwrap();
        }
        // Its name was given to another by now.
        std::fs::rename(dir.path().join(name(5)), dir.path().join(name(9))).unwrap();
        let mut marks = |number: u64| segments.page(Lsn(number * size)).map(|page| page[100]);
        assert_eq!(marks(2), Err(format!("{} is gone", name(2))));
        assert_eq!([marks(3), marks(4), marks(5)], [Ok(3), Ok(4), Ok(5)]);
    }
}
