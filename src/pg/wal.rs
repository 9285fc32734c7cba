//! The write-ahead log: its pages, and the records that go over them.
//!
//! Everything here takes bytes and never trusts a number found in them. Mirrors
//! `src/backend/access/transam/xlogreader.c`; the layout is that of PostgreSQL 10 to 18.

mod page;
mod reader;
mod record;
mod segments;

use std::fmt;

pub use reader::Reader;
pub use record::{Beyond, Block, Kind, Record, RelationFile};
pub use segments::Segments;

use super::bytes::{u16_at, u32_at, u64_at};
use super::control::wal_file_name;
use super::{ControlFile, Lsn, SystemIdentifier, Timeline};

/// Where a server puts the WAL, as its control file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The timeline.
    pub timeline: Timeline,
    /// The cluster it is of.
    pub system_identifier: SystemIdentifier,
    /// Bytes in a file.
    pub segment_size: u32,
    /// Bytes in a page.
    pub page_size: u32,
}

impl Layout {
    /// That of the last checkpoint; `None` for sizes no server was ever built with.
    pub fn of(control: &ControlFile) -> Option<Self> {
        let (segment, page) = (control.wal_segment_size, control.wal_block_size);
        let possible = page.is_power_of_two()
            && segment.is_power_of_two()
            && (1024..=65_536).contains(&page)
            && (1 << 20..=1 << 30).contains(&segment);
        possible.then_some(Self {
            timeline: control.timeline,
            system_identifier: control.system_identifier,
            segment_size: segment,
            page_size: page,
        })
    }

    /// The name of the file a position is in.
    pub fn file_name(&self, at: Lsn) -> String {
        let segment = at.0 / u64::from(self.segment_size);
        wal_file_name(self.timeline, segment, self.segment_size)
    }

    /// How far in its file a position is.
    pub fn in_segment(&self, at: Lsn) -> u64 {
        at.0 % u64::from(self.segment_size)
    }

    /// Which position a page says it was written for.
    ///
    /// A file that is not needed any more gets the name of a later one, and keeps what it holds
    /// until that one is written.
    pub fn written_for(&self, page: &[u8]) -> Option<Lsn> {
        let of_cluster = u16_at(page, 0).and_then(Format::of).is_some()
            && u32_at(page, 4).map(Timeline) == Some(self.timeline);
        u64_at(page, 8).map(Lsn).filter(|_| of_cluster)
    }

    fn in_page(&self, at: Lsn) -> usize {
        (at.0 % u64::from(self.page_size)) as usize
    }

    fn page_of(&self, at: Lsn) -> Lsn {
        Lsn(at.0 - at.0 % u64::from(self.page_size))
    }
}

/// What of the WAL is not the same in all versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Format {
    magic: u16,
    /// What says of a page image that it is compressed: other flags from 15 on.
    compressed: u8,
    /// Whether a record may name the transaction its own is a part of: from 14 on.
    names_top_level: bool,
}

impl Format {
    /// By the number at the beginning of each page, which is another one in each major version
    /// (`XLOG_PAGE_MAGIC` of `src/include/access/xlog_internal.h`).
    fn of(magic: u16) -> Option<Self> {
        let (compressed, names_top_level) = match magic {
            // 10, 11, 12, 13
            0xD097 | 0xD098 | 0xD101 | 0xD106 => (0x02, false),
            // 14
            0xD10D => (0x02, true),
            // 15, 16, 17, 18
            0xD110 | 0xD113 | 0xD116 | 0xD118 => (0x04 | 0x08 | 0x10, true),
            _ => return None,
        };
        Some(Self {
            magic,
            compressed,
            names_top_level,
        })
    }
}

/// Where WAL is not what a server writes, and in which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The page or the record.
    pub at: Lsn,
    /// What is wrong.
    pub kind: FaultKind,
}

/// In which way WAL is not what a server writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// A page that is too short, of no known version, or whose header contradicts itself.
    Page,
    /// A page of another cluster, or of another build.
    Foreign,
    /// A page of another timeline.
    Timeline,
    /// A page that was written for another position: what a segment held before.
    Address,
    /// A record that does not go on where it must, or a page that goes on with none.
    Continuation,
    /// A position at which no record can begin.
    Position,
    /// A length no record has, as where the WAL ends.
    Length,
    /// A record that does not follow the one before.
    Chain,
    /// A wrong checksum.
    Checksum,
    /// A record whose parts are not as long as it is.
    Contents,
    /// The end was passed in the middle of a record.
    Overrun,
    /// No shutdown checkpoint where one must be.
    NoShutdown,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            FaultKind::Page => "is no page",
            FaultKind::Foreign => "is a page of another cluster",
            FaultKind::Timeline => "is a page of another timeline",
            FaultKind::Address => "is a page of another position",
            FaultKind::Continuation => "a record does not go on",
            FaultKind::Position => "no record can begin",
            FaultKind::Length => "no record begins",
            FaultKind::Chain => "is a record that does not follow the one before",
            FaultKind::Checksum => "is a record with a wrong checksum",
            FaultKind::Contents => "is a record nobody can read",
            FaultKind::Overrun => "a record goes over the end",
            FaultKind::NoShutdown => "is no shutdown checkpoint",
        };
        write!(f, "at {} {what}", self.at)
    }
}

#[cfg(test)]
mod tests;
