//! Pages of relation files: header, checksum, and the tuples of a heap.
//!
//! Everything here takes the bytes of one page and never trusts a number found in them.

mod btree;
mod checksum;
mod layout;
mod tuple;

pub use btree::empty_btree;
pub use checksum::checksum;
pub use layout::PageLayout;
pub use tuple::{HeapTuple, TupleHeader, heap_tuples};

use super::bytes::{u16_at, u32_at};
use super::{Lsn, Xid};

/// Bytes in a page header; line pointers begin behind it.
pub const HEADER_SIZE: usize = 24;

/// The flags a header may have (`PD_VALID_FLAG_BITS`).
const VALID_FLAGS: u16 = 0x0007;

/// The header of a page; mirrors `PageHeaderData` of `src/include/storage/bufpage.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHeader {
    /// The end of the WAL record that last changed the page.
    pub lsn: Lsn,
    /// The stored checksum.
    pub checksum: u16,
    /// Flags.
    pub flags: u16,
    /// Where the line pointers end.
    pub lower: u16,
    /// Where the tuples begin; 0 in a page that was never used.
    pub upper: u16,
    /// Where the access method's own space begins.
    pub special: u16,
    /// The size of the page.
    pub page_size: u16,
    /// The version of the layout: 4 since PostgreSQL 8.3.
    pub layout_version: u8,
    /// The oldest transaction whose rows may be pruned; 0 for none.
    pub prune_xid: Xid,
}

/// In which way a page is not what a server writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageFault {
    /// A header whose numbers contradict each other.
    Header,
    /// A checksum that does not match.
    Checksum {
        /// The one in the header.
        stored: u16,
        /// The one the page has.
        computed: u16,
    },
    /// A page that says it is unused but holds something.
    NotEmpty,
}

impl PageHeader {
    /// Reads the header; `None` where the bytes are too few.
    pub fn parse(page: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_SIZE] = page.first_chunk()?;
        let word = |at| u16_at(header, at).unwrap_or(0);
        let long = |at| u32_at(header, at).unwrap_or(0);
        let size_and_version = word(18);
        Some(Self {
            lsn: Lsn((u64::from(long(0)) << 32) | u64::from(long(4))),
            checksum: word(8),
            flags: word(10),
            lower: word(12),
            upper: word(14),
            special: word(16),
            page_size: size_and_version & 0xFF00,
            layout_version: (size_and_version & 0x00FF) as u8,
            prune_xid: Xid(long(20)),
        })
    }

    /// Whether the page was never used (`PageIsNew`).
    pub fn is_new(&self) -> bool {
        self.upper == 0
    }

    fn consistent(&self, length: usize) -> bool {
        self.flags & !VALID_FLAGS == 0
            && self.lower <= self.upper
            && self.upper <= self.special
            && usize::from(self.special) <= length
            && self.special.is_multiple_of(8)
    }
}

/// What a server would complain about when it reads the page as block `block` of its relation.
///
/// The block number counts over all segments of the relation. Mirrors `PageIsVerified` of
/// `src/backend/storage/page/bufpage.c`.
pub fn fault(page: &[u8], block: u32, checksums: bool) -> Option<PageFault> {
    let Some(header) = PageHeader::parse(page) else {
        return Some(PageFault::Header);
    };
    if header.is_new() {
        let empty = page.iter().all(|byte| *byte == 0);
        return (!empty).then_some(PageFault::NotEmpty);
    }
    if checksums {
        let computed = checksum(page, block);
        if computed != header.checksum {
            let stored = header.checksum;
            return Some(PageFault::Checksum { stored, computed });
        }
    }
    (!header.consistent(page.len())).then_some(PageFault::Header)
}

#[cfg(test)]
mod tests;
