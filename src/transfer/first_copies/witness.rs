//! Which pages were changed since all files were looked at, as the WAL tells it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::digest::RANGE;
use crate::error::Result;
use crate::pg::amount::size;
use crate::pg::wal::{Beyond, Layout, Reader, Record, RelationFile, Segments};
use crate::pg::{ClusterState, ControlFile, Lsn, Version};
use crate::work::Cancel;

/// Bytes in a page: what the digests are made for.
const PAGE: u32 = 8192;

/// From this minor release on no checkpoint ends between the record of a cut and the cut.
///
/// The commit is "Fix possible recovery trouble if TRUNCATE overlaps a checkpoint".
const CUTS_IN_TIME: [(u16, u16); 5] = [(10, 21), (11, 16), (12, 11), (13, 7), (14, 3)];

/// Where the WAL of a running server is read from, to know afterwards what was changed.
///
/// It is called before the relations are listed and looked at: what the server had written to the
/// WAL before the last checkpoint that had ended began, was in the files by then.
#[derive(Debug)]
pub struct Witness {
    data_dir: PathBuf,
    /// The control file then.
    control: ControlFile,
    segments: Segments,
    layout: Layout,
}

/// What the WAL told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// How much was read.
    pub bytes: u64,
    files: HashMap<RelationFile, Marks>,
    /// Pages in a segment of a relation.
    segment: u32,
}

/// What was changed of a relation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Marks {
    /// The file was made, or cut.
    whole: bool,
    /// A bit for each range of each segment.
    segments: HashMap<u32, Vec<u64>>,
}

impl Witness {
    /// Calls it for a server that is running; an error says in a clause why it knows nothing.
    ///
    /// Only with checksums or `wal_log_hints` does the WAL name pages in which nothing but hints
    /// were changed. Without these a page that is not named may be another one than was copied;
    /// as good, but not the same, so that nobody could compare old and new any more.
    ///
    /// # Errors
    ///
    /// Where the control file cannot be read.
    pub fn call(data_dir: &Path, version: &Version) -> Result<std::result::Result<Self, String>> {
        let control = ControlFile::read(data_dir)?;
        let no = |why: &str| Ok(Err(why.to_owned()));
        let (major, minor) = (version.major.0, version.minor);
        if !(10..=18).contains(&major) {
            return no("its version is unknown");
        }
        if CUTS_IN_TIME
            .iter()
            .any(|(of, from)| *of == major && minor < *from)
        {
            return no("in this minor release a file may be cut after a checkpoint");
        }
        if control.state != ClusterState::InProduction {
            return no("old was not running");
        }
        if !control.data_checksums() && !control.wal_log_hints {
            return no("without checksums and wal_log_hints it does not name pages with new hints");
        }
        if control.wal_level == 0 || !control.full_page_writes {
            return no("it does not hold everything");
        }
        let Some(layout) = Layout::of(&control) else {
            return no("its files have an unknown size");
        };
        if control.block_size != PAGE || control.relseg_size == 0 {
            return no("pages have another size");
        }
        let mut witness = Self {
            segments: Segments::new(&data_dir.join("pg_wal"), layout),
            data_dir: data_dir.to_owned(),
            control,
            layout,
        };
        witness.hold();
        Ok(Ok(witness))
    }

    /// Keeps what WAL there is by now: the shutdown may remove it.
    pub fn hold(&mut self) {
        self.segments.hold(self.control.redo);
    }

    /// Asks which of these relations were changed where, until the server has shut down; an
    /// error says in a clause why that is not known.
    ///
    /// It is not asked for more than half as many bytes as knowing it may save.
    ///
    /// # Errors
    ///
    /// Where the control file cannot be read, and where somebody asks to stop.
    pub(super) fn ask(
        &mut self,
        about: impl Iterator<Item = RelationFile>,
        saves: u64,
        cancel: &Cancel,
    ) -> Result<std::result::Result<Told, String>> {
        let control = ControlFile::read(&self.data_dir)?;
        if let Some(why) = self.differs(&control) {
            return Ok(Err(why.to_owned()));
        }
        let (from, end) = (self.control.redo, control.checkpoint_lsn);
        let bytes = end.0 - from.0;
        if bytes > saves / 2 {
            return Ok(Err(format!("{} are too much to be read", size(bytes))));
        }
        let mut told = Told {
            bytes,
            files: about.map(|file| (file, Marks::default())).collect(),
            segment: control.relseg_size,
        };
        let mut reader = Reader::new(self.layout, from, end);
        let mut known = true;
        while let Some(at) = reader.wanted() {
            cancel.check()?;
            let page = match self.segments.page(at) {
                Ok(page) => page,
                Err(why) => return Ok(Err(why)),
            };
            if let Err(fault) = reader.read(page, |record| known &= told.take(record)) {
                return Ok(Err(fault.to_string()));
            }
            if !known {
                return Ok(Err(
                    "it holds a record whose effects are not known".to_owned()
                ));
            }
        }
        Ok(Ok(told))
    }

    /// Why the server that has shut down is not the one that was running.
    fn differs(&self, now: &ControlFile) -> Option<&'static str> {
        let then = &self.control;
        if !now.cleanly_shut_down() {
            return Some("old did not shut down");
        }
        let same = Layout::of(now) == Some(self.layout)
            && now.data_checksum_version == then.data_checksum_version
            && now.wal_log_hints == then.wal_log_hints
            && now.wal_level == then.wal_level
            && now.full_page_writes
            && (now.block_size, now.relseg_size) == (then.block_size, then.relseg_size);
        if !same {
            return Some("old is another cluster, or has other settings");
        }
        (now.checkpoint_lsn < then.redo || then.redo == Lsn(0))
            .then_some("old is an earlier state of itself")
    }
}

impl Told {
    /// Notes what a record changes; false where that is not known.
    fn take(&mut self, record: &Record<'_>) -> bool {
        for block in record.blocks.iter().filter(|block| block.main) {
            if let Some(marks) = self.files.get_mut(&block.relation) {
                let (segment, page) = (block.number / self.segment, block.number % self.segment);
                marks.mark(segment, page / PAGES);
            }
        }
        match record.beyond() {
            Beyond::Nothing => true,
            Beyond::Unknown => false,
            Beyond::Whole(file) => {
                if let Some(marks) = self.files.get_mut(&file) {
                    marks.whole = true;
                }
                true
            }
        }
    }

    /// Which ranges of a segment may have been changed, in order; nothing where all may.
    pub(super) fn ranges(&self, file: &RelationFile, segment: u32) -> Option<Vec<u32>> {
        let marks = self.files.get(file).filter(|marks| !marks.whole)?;
        let bits = marks.segments.get(&segment).map(Vec::as_slice);
        let words = (0..).zip(bits.unwrap_or_default());
        let ranges = words.flat_map(|(word, bits): (u32, &u64)| {
            (0..u64::BITS)
                .filter(move |bit| bits & (1 << bit) != 0)
                .map(move |bit| word * u64::BITS + bit)
        });
        Some(ranges.collect())
    }
}

/// How many pages are in a range.
const PAGES: u32 = RANGE as u32 / PAGE;

impl Marks {
    fn mark(&mut self, segment: u32, range: u32) {
        let bits = self.segments.entry(segment).or_default();
        let word = (range / u64::BITS) as usize;
        if bits.len() <= word {
            bits.resize(word + 1, 0);
        }
        bits[word] |= 1 << (range % u64::BITS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::wal::Block;
    use crate::pg::{Oid, RelFileNumber};

    const SEGMENT: u32 = 131_072;

    fn file(number: u32) -> RelationFile {
        RelationFile {
            tablespace: Oid::PG_DEFAULT,
            database: Oid(5),
            number: RelFileNumber(number),
        }
    }

    fn told() -> Told {
        Told {
            bytes: 0,
            files: [1, 2].map(|number| (file(number), Marks::default())).into(),
            segment: SEGMENT,
        }
    }

    fn take(told: &mut Told, (manager, info): (u8, u8), blocks: &[Block], data: &[u8]) -> bool {
        told.take(&Record {
            start: Lsn(0),
            length: 0,
            manager,
            info,
            blocks,
            data,
        })
    }

    #[test]
    fn pages_are_named_by_their_ranges() {
        let mut told = told();
        for (of, main, number) in [
            (1, true, 0),
            (1, true, 3),
            (1, true, 4 * 64),
            (1, true, SEGMENT - 1),
            (1, true, 2 * SEGMENT + 9),
            (1, false, 50),
            (3, true, 7),
        ] {
            let (relation, main) = (file(of), main);
            let block = Block {
                relation,
                main,
                number,
            };
            assert!(take(&mut told, (10, 0), &[block], &[]));
        }
        let ranges = |of, segment| told.ranges(&file(of), segment);
        assert_eq!(ranges(1, 0), Some(vec![0, 64, SEGMENT / 4 - 1]));
        assert_eq!(ranges(1, 1), Some(vec![]));
        assert_eq!(ranges(1, 2), Some(vec![2]));
        assert_eq!(ranges(2, 0), Some(vec![]));
        assert_eq!(ranges(3, 0), None);
    }

    #[test]
    fn what_is_made_or_cut_is_read_whole() {
        let parts = |parts: &[u32]| -> Vec<u8> {
            parts.iter().flat_map(|part| part.to_ne_bytes()).collect()
        };
        let mut told = told();
        assert!(take(&mut told, (2, 0x10), &[], &parts(&[1663, 5, 1, 0])));
        assert_eq!(told.ranges(&file(1), 0), None);
        assert_eq!(told.ranges(&file(2), 0), Some(vec![]));
        let cut = parts(&[77, 1663, 5, 2, 7]);
        assert!(take(&mut told, (2, 0x20), &[], &cut));
        assert_eq!(told.ranges(&file(2), 4), None);
        // Another relation's.
        assert!(take(
            &mut told,
            (2, 0x20),
            &[],
            &parts(&[77, 1663, 6, 2, 7])
        ));
        assert!(!take(&mut told, (2, 0x20), &[], &parts(&[77, 1663])));
    }

    #[test]
    fn what_is_not_known_ends_it() {
        for (manager, info, known) in [
            (0, 0x00, false),
            (0, 0x10, true),
            (0, 0x30, true),
            (0, 0x60, false),
            (0, 0x80, false),
            (0, 0x90, false),
            (0, 0xA0, true),
            (0, 0xB0, true),
            (0, 0xD0, false),
            (0, 0xE0, true),
            (1, 0x00, true),
            (2, 0x30, false),
            (4, 0x00, false),
            (5, 0x00, false),
            (7, 0x00, true),
            (21, 0x00, true),
            (22, 0x00, false),
            (128, 0x00, false),
        ] {
            let took = take(&mut told(), (manager, info), &[], &[]);
            assert_eq!(took, known, "{manager} {info:X}");
        }
    }
}
