//! Records, put together from the pages they go over.

use super::page::PageHeader;
use super::record::{Block, HEADER, Header, Record, blocks};
use super::{Fault, FaultKind, Format, Layout};
use crate::pg::Lsn;
use crate::pg::bytes::u32_at;

/// What records are aligned by.
const ALIGNED: u64 = 8;

/// Reads the WAL from a position up to the shutdown checkpoint at another one.
///
/// It is given the pages it asks for, one after the other, and never a guess: every record must
/// be whole, must name the one before, and the last one must be where it was said to be. What
/// was read is then all there is in between.
#[derive(Debug)]
pub struct Reader {
    layout: Layout,
    /// That of the first page; all must have the same.
    format: Option<Format>,
    /// Where the next record begins, or the page it begins on.
    next: Lsn,
    /// Where the shutdown checkpoint begins.
    end: Lsn,
    /// The page that is wanted.
    page: Lsn,
    previous: Option<Lsn>,
    begun: Option<Begun>,
    /// The record that was begun, as far as it was read.
    bytes: Vec<u8>,
    blocks: Vec<Block>,
    finished: bool,
}

/// A record that goes on on the next page.
#[derive(Debug, Clone, Copy)]
struct Begun {
    start: Lsn,
    length: usize,
}

impl Reader {
    /// From a position at which a record begins, or the page it begins on.
    pub fn new(layout: Layout, from: Lsn, end: Lsn) -> Self {
        Self {
            layout,
            format: None,
            next: from,
            end,
            page: layout.page_of(from),
            previous: None,
            begun: None,
            bytes: Vec::new(),
            blocks: Vec::new(),
            finished: false,
        }
    }

    /// Where the page begins that is wanted next; `None` after the shutdown checkpoint.
    pub fn wanted(&self) -> Option<Lsn> {
        (!self.finished).then_some(self.page)
    }

    /// Takes the page that is wanted, and shows each record that ends on it, but for the
    /// shutdown checkpoint.
    ///
    /// # Errors
    ///
    /// The first thing that is not what a server writes; the reader is of no use afterwards.
    pub fn read(&mut self, page: &[u8], mut visit: impl FnMut(&Record<'_>)) -> Result<(), Fault> {
        let at = self.page;
        let header =
            PageHeader::parse(page, at, &self.layout).map_err(|kind| Fault { at, kind })?;
        if *self.format.get_or_insert(header.format) != header.format {
            return Err(self.fault(FaultKind::Page));
        }
        self.page = Lsn(at.0.saturating_add(u64::from(self.layout.page_size)));
        let mut offset = self.first_record(page, at, &header, &mut visit)?;
        while let Some(from) = offset {
            offset = self.one_record(page, at, from, &header.format, &mut visit)?;
        }
        Ok(())
    }

    /// Ends the record that was begun, if one was; gives where on this page the next begins.
    fn first_record(
        &mut self,
        page: &[u8],
        at: Lsn,
        header: &PageHeader,
        visit: &mut impl FnMut(&Record<'_>),
    ) -> Result<Option<usize>, Fault> {
        let wrong = |kind| Err(Fault { at, kind });
        let Some(begun) = self.begun else {
            let offset = match self.layout.in_page(self.next) {
                0 => header.length,
                offset if offset >= header.length && (offset as u64).is_multiple_of(ALIGNED) => {
                    offset
                }
                _ => return wrong(FaultKind::Position),
            };
            // On the very first page the end of an earlier record may come before.
            if offset == header.length && header.continues.is_some() {
                return wrong(FaultKind::Continuation);
            }
            return Ok(Some(offset));
        };
        let missing = begun.length - self.bytes.len();
        if header.continues != Some(missing) {
            return wrong(FaultKind::Continuation);
        }
        let there = page.get(header.length..).unwrap_or_default();
        let piece = there.get(..missing).unwrap_or(there);
        self.bytes.extend_from_slice(piece);
        if self.bytes.len() < begun.length {
            return Ok(None);
        }
        self.begun = None;
        let record = std::mem::take(&mut self.bytes);
        let goes_on = self.whole(begun.start, &record, &header.format, visit)?;
        self.bytes = record;
        Ok(self.go_on(at, header.length + piece.len(), goes_on))
    }

    /// Reads the record that begins at an offset of the page, or as much of it as is there;
    /// gives where on this page the next begins.
    fn one_record(
        &mut self,
        page: &[u8],
        at: Lsn,
        offset: usize,
        format: &Format,
        visit: &mut impl FnMut(&Record<'_>),
    ) -> Result<Option<usize>, Fault> {
        let start = Lsn(at.0.saturating_add(offset as u64));
        let wrong = |kind| Err(Fault { at: start, kind });
        if start > self.end {
            return wrong(FaultKind::Overrun);
        }
        let Some(length) = u32_at(page, offset).map(|length| length as usize) else {
            return wrong(FaultKind::Length);
        };
        if length < HEADER {
            return wrong(FaultKind::Length);
        }
        let there = page.get(offset..).unwrap_or_default();
        let Some(record) = there.get(..length) else {
            self.begun = Some(Begun { start, length });
            self.bytes.clear();
            self.bytes.extend_from_slice(there);
            return Ok(None);
        };
        let goes_on = self.whole(start, record, format, visit)?;
        Ok(self.go_on(at, offset + length, goes_on))
    }

    /// Takes a record all of whose bytes are there; gives whether another may follow it in this
    /// segment.
    fn whole(
        &mut self,
        start: Lsn,
        record: &[u8],
        format: &Format,
        visit: &mut impl FnMut(&Record<'_>),
    ) -> Result<bool, Fault> {
        let wrong = |kind| Fault { at: start, kind };
        let header = Header::parse(record).map_err(wrong)?;
        let follows = match self.previous {
            Some(previous) => header.previous == previous,
            None => header.previous < start,
        };
        if !follows {
            return Err(wrong(FaultKind::Chain));
        }
        self.previous = Some(start);
        let own = blocks(record, format, &mut self.blocks).map_err(wrong)?;
        if start == self.end {
            self.finished = header.is_shutdown();
            return match self.finished {
                true => Ok(true),
                false => Err(wrong(FaultKind::NoShutdown)),
            };
        }
        visit(&Record {
            start,
            length: record.len(),
            manager: header.manager,
            info: header.info,
            blocks: &self.blocks,
            data: record.get(own..).unwrap_or_default(),
        });
        Ok(!header.is_switch())
    }

    /// Finds the next record behind one that ended at an offset of this page.
    fn go_on(&mut self, at: Lsn, offset: usize, in_segment: bool) -> Option<usize> {
        if self.finished {
            return None;
        }
        let unit = match in_segment {
            true => ALIGNED,
            false => u64::from(self.layout.segment_size),
        };
        let end = at.0.saturating_add(offset as u64);
        self.next = Lsn(end.checked_next_multiple_of(unit).unwrap_or(u64::MAX));
        let page = self.layout.page_of(self.next);
        if page == at {
            return Some(self.layout.in_page(self.next));
        }
        self.page = page;
        None
    }

    fn fault(&self, kind: FaultKind) -> Fault {
        Fault {
            at: self.page,
            kind,
        }
    }
}
