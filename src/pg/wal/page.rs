//! The header of a page of WAL.

use super::{FaultKind, Format, Layout};
use crate::pg::bytes::{u16_at, u32_at, u64_at};
use crate::pg::{Lsn, SystemIdentifier, Timeline};

/// Bytes in the header of a page; records are aligned as it is.
pub(super) const SHORT: usize = 24;
/// Bytes in that of the first page of a segment.
pub(super) const LONG: usize = 40;

/// A record begun on the page before goes on here.
pub(super) const CONTINUES: u16 = 0x0001;
/// This header is a long one.
pub(super) const IS_LONG: u16 = 0x0002;
/// A record begun on the page before was given up, after a crash.
const GIVEN_UP: u16 = 0x0008;
const ALL_FLAGS: u16 = 0x000F;

/// What a page says of itself; mirrors `XLogPageHeaderData`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageHeader {
    /// The version.
    pub format: Format,
    /// Bytes in it.
    pub length: usize,
    /// How much there still is of the record that goes on here.
    pub continues: Option<usize>,
}

impl PageHeader {
    /// Reads the header of the page that must be at this position.
    pub(super) fn parse(page: &[u8], at: Lsn, layout: &Layout) -> Result<Self, FaultKind> {
        let missing = FaultKind::Page;
        let flags = u16_at(page, 2).ok_or(missing)?;
        let long = flags & IS_LONG != 0;
        let length = if long { LONG } else { SHORT };
        let format = u16_at(page, 0).and_then(Format::of).ok_or(missing)?;
        let first = layout.in_segment(at) == 0;
        if page.len() != layout.page_size as usize || flags & !ALL_FLAGS != 0 || long != first {
            return Err(missing);
        }
        if u32_at(page, 4).map(Timeline) != Some(layout.timeline) {
            return Err(FaultKind::Timeline);
        }
        if u64_at(page, 8).map(Lsn) != Some(at) {
            return Err(FaultKind::Address);
        }
        if long {
            let ours = u64_at(page, 24).map(SystemIdentifier) == Some(layout.system_identifier)
                && u32_at(page, 32) == Some(layout.segment_size)
                && u32_at(page, 36) == Some(layout.page_size);
            if !ours {
                return Err(FaultKind::Foreign);
            }
        }
        let rest = u32_at(page, 16).ok_or(missing)? as usize;
        if flags & GIVEN_UP != 0 || (flags & CONTINUES != 0) != (rest > 0) {
            return Err(FaultKind::Continuation);
        }
        Ok(Self {
            format,
            length,
            continues: (rest > 0).then_some(rest),
        })
    }
}
