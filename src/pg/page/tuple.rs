//! The tuples of a heap page and what their headers say about visibility.

use super::{HEADER_SIZE, PageHeader};
use crate::pg::Xid;
use crate::pg::bytes::{u16_at, u32_at};

/// Bytes in the fixed part of a tuple header.
const TUPLE_HEADER_SIZE: usize = 23;

const XMAX_LOCK_ONLY: u16 = 0x0080;
const XMIN_COMMITTED: u16 = 0x0100;
const XMIN_INVALID: u16 = 0x0200;
const XMIN_FROZEN: u16 = XMIN_COMMITTED | XMIN_INVALID;
const XMAX_INVALID: u16 = 0x0800;
const XMAX_IS_MULTI: u16 = 0x1000;

/// `lp_flags` of a line pointer that leads to a tuple.
const LP_NORMAL: u32 = 1;

/// The header of a heap tuple; mirrors `src/include/access/htup_details.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TupleHeader {
    /// The transaction that made the row.
    pub xmin: Xid,
    /// The transaction, or the multixact, that deleted or locked it; 0 for none.
    pub xmax: Xid,
    /// What is known about both.
    pub infomask: u16,
    /// The number of columns and a few flags.
    pub infomask2: u16,
}

impl TupleHeader {
    fn parse(tuple: &[u8]) -> Option<Self> {
        (tuple.len() >= TUPLE_HEADER_SIZE).then_some(())?;
        Some(Self {
            xmin: Xid(u32_at(tuple, 0)?),
            xmax: Xid(u32_at(tuple, 4)?),
            infomask2: u16_at(tuple, 18)?,
            infomask: u16_at(tuple, 20)?,
        })
    }

    /// Whether who made the row is known without looking into `pg_xact`.
    pub fn xmin_frozen(&self) -> bool {
        self.infomask & XMIN_FROZEN == XMIN_FROZEN || self.xmin < Xid::FIRST_NORMAL
    }

    /// Whether nobody has deleted or locked the row.
    pub fn xmax_empty(&self) -> bool {
        self.xmax == Xid(0) || self.infomask & XMAX_INVALID != 0
    }

    /// Whether the row is visible to everybody without `pg_xact` and `pg_multixact`.
    ///
    /// A row for which this does not hold changes its meaning when those are replaced by
    /// another cluster's. Hint bits are not enough: they say committed, but the XID is still
    /// compared with horizons.
    pub fn is_frozen(&self) -> bool {
        self.xmin_frozen() && self.xmax_empty()
    }

    /// Whether `xmax` is a multixact.
    pub fn xmax_is_multi(&self) -> bool {
        !self.xmax_empty() && self.infomask & XMAX_IS_MULTI != 0
    }

    /// Whether the row was locked, not deleted.
    pub fn xmax_only_locks(&self) -> bool {
        self.infomask & XMAX_LOCK_ONLY != 0
    }
}

/// A line pointer that leads to a tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeapTuple {
    /// The number of the line pointer, from 1: the second half of the row's `ctid`.
    pub number: u16,
    /// The tuple's header; `None` where the pointer leads out of the page, which is damage.
    pub header: Option<TupleHeader>,
}

/// The tuples of a heap page, in the order of their line pointers.
///
/// Unused, redirecting and dead line pointers are passed over: they hold no row.
pub fn heap_tuples(page: &[u8]) -> impl Iterator<Item = HeapTuple> {
    let lower = PageHeader::parse(page).map_or(0, |header| usize::from(header.lower));
    let end = lower.min(page.len());
    let pointers = page
        .get(HEADER_SIZE..end)
        .unwrap_or_default()
        .chunks_exact(4);
    (1u16..).zip(pointers).filter_map(|(number, pointer)| {
        let pointer = LinePointer::parse(u32_at(pointer, 0)?);
        (pointer.flags == LP_NORMAL).then(|| HeapTuple {
            number,
            header: pointer.tuple(page).and_then(TupleHeader::parse),
        })
    })
}

struct LinePointer {
    offset: usize,
    flags: u32,
    length: usize,
}

impl LinePointer {
    /// The compiler lays out its three bit fields from the low end or from the high one, as
    /// the machine has its bytes.
    fn parse(raw: u32) -> Self {
        let (first, last) = (raw & 0x7FFF, raw >> 17);
        let (offset, length) = if cfg!(target_endian = "big") {
            (last, first)
        } else {
            (first, last)
        };
        Self {
            offset: offset as usize,
            flags: (raw >> 15) & 0b11,
            length: length as usize,
        }
    }

    fn tuple<'a>(&self, page: &'a [u8]) -> Option<&'a [u8]> {
        page.get(self.offset..self.offset + self.length)
    }
}
