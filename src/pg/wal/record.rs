//! One record: which pages it changed, and how.

use std::path::Path;

use super::{FaultKind, Format};
use crate::pg::bytes::{u16_at, u32_at, u64_at};
use crate::pg::{Lsn, Oid, RelFileNumber};

/// Bytes in the header of a record.
pub(super) const HEADER: usize = 24;
/// Where its checksum is, the last of its fields.
const CHECKSUM_AT: usize = 20;
/// What of `xl_info` belongs to the resource manager.
const INFO: u8 = 0xF0;

/// Resource managers, by their place in `src/include/access/rmgrlist.h`, 10 to 18.
pub(super) const XLOG: u8 = 0;
const SMGR: u8 = 2;
const DBASE: u8 = 4;
const TBLSPC: u8 = 5;
const HEAP2: u8 = 9;
const HEAP: u8 = 10;
/// The last of those that come with PostgreSQL.
const LOGICAL_MESSAGE: u8 = 21;

const CHECKPOINT_SHUTDOWN: u8 = 0x00;
const SWITCH: u8 = 0x40;
const PARAMETER_CHANGE: u8 = 0x60;
const FULL_PAGES_CHANGE: u8 = 0x80;
const END_OF_RECOVERY: u8 = 0x90;
const OVERWRITTEN: u8 = 0xD0;

const SMGR_CREATE: u8 = 0x10;
const SMGR_TRUNCATE: u8 = 0x20;

/// The numbers a block reference may have.
const LAST_BLOCK: u8 = 32;
const TOP_LEVEL: u8 = 252;
const ORIGIN: u8 = 253;
const DATA_LONG: u8 = 254;
const DATA_SHORT: u8 = 255;

const FORK: u8 = 0x0F;
const HAS_IMAGE: u8 = 0x10;
const HAS_DATA: u8 = 0x20;
const SAME_RELATION: u8 = 0x80;
/// An image without the free space in the middle of the page.
const HAS_HOLE: u8 = 0x01;

/// The first file of a relation, as the WAL names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelationFile {
    /// The tablespace.
    pub tablespace: Oid,
    /// The database; 0 for what all databases share.
    pub database: Oid,
    /// The number in the name of the file.
    pub number: RelFileNumber,
}

impl RelationFile {
    /// From its path in the data directory, as `pg_relation_filepath` gives it.
    pub fn at(path: &Path) -> Option<Self> {
        let parts: Option<Vec<&str>> = path.iter().map(|part| part.to_str()).collect();
        let (tablespace, database, number) = match parts?[..] {
            ["global", number] => (Oid::PG_GLOBAL, Oid(0), number),
            ["base", database, number] => (Oid::PG_DEFAULT, database.parse().ok()?, number),
            ["pg_tblspc", tablespace, _, database, number] => {
                (tablespace.parse().ok()?, database.parse().ok()?, number)
            }
            _ => return None,
        };
        Some(Self {
            tablespace,
            database,
            number: number.parse().ok()?,
        })
    }
}

/// A page that a record changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Of which relation.
    pub relation: RelationFile,
    /// Whether it is the relation itself and not its free space or visibility map.
    pub main: bool,
    /// The page.
    pub number: u32,
}

/// How a record changes the pages of a table.
///
/// Mirrors `src/include/access/heapam_xlog.h` and `src/include/catalog/pg_control.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Takes away rows nobody sees any more, or freezes rows.
    ///
    /// 10 to 13: `CLEAN` 0x10, `FREEZE_PAGE` 0x20, `CLEANUP_INFO` 0x30, which names no page.
    /// 14 to 16: `PRUNE`, `VACUUM`, `FREEZE_PAGE`. From 17 on all three prune and freeze.
    Prune,
    /// Says of a page that everybody sees all its rows.
    Visible,
    /// Locks a row.
    Lock,
    /// Overwrites a row where it is.
    InPlace,
    /// Only notes which transactions are known to have ended.
    Hint,
    /// Whatever else.
    Other,
}

/// A record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it begins.
    pub start: Lsn,
    /// How many bytes it has.
    pub length: usize,
    /// Its resource manager.
    pub manager: u8,
    /// What of its flags belongs to the resource manager.
    pub info: u8,
    /// The pages it changed.
    pub blocks: &'a [Block],
    /// What it holds besides.
    pub data: &'a [u8],
}

/// What a record changes that it does not name by its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// Nothing of any relation's own file.
    Nothing,
    /// A file is made, or cut.
    Whole(RelationFile),
    /// Something that is not told here: whole databases, a server that ended or got other
    /// settings, a resource manager that does not come with PostgreSQL.
    Unknown,
}

impl Record<'_> {
    /// What it changes besides its blocks, of the files that hold relations.
    ///
    /// Replaying the other records that come with 10 to 18 changes such files through the blocks
    /// they name; what else it changes are maps of space and visibility, status files, and names
    /// of files that go. Mirrors `smgr_redo` of `src/backend/catalog/storage.c`, with
    /// `src/include/catalog/storage_xlog.h`.
    pub fn beyond(&self) -> Beyond {
        let file = |at: usize| {
            Some(RelationFile {
                tablespace: Oid(u32_at(self.data, at)?),
                database: Oid(u32_at(self.data, at + 4)?),
                number: RelFileNumber(u32_at(self.data, at + 8)?),
            })
        };
        match (self.manager, self.info) {
            (SMGR, SMGR_CREATE) => file(0).map_or(Beyond::Unknown, Beyond::Whole),
            (SMGR, SMGR_TRUNCATE) => file(4).map_or(Beyond::Unknown, Beyond::Whole),
            (SMGR | DBASE | TBLSPC, _) => Beyond::Unknown,
            (
                XLOG,
                CHECKPOINT_SHUTDOWN | PARAMETER_CHANGE | FULL_PAGES_CHANGE | END_OF_RECOVERY
                | OVERWRITTEN,
            ) => Beyond::Unknown,
            (manager, _) if manager > LOGICAL_MESSAGE => Beyond::Unknown,
            _ => Beyond::Nothing,
        }
    }

    /// How it changes the pages of a table.
    pub fn kind(&self) -> Kind {
        match (self.manager, self.info) {
            (HEAP2, 0x10 | 0x20 | 0x30) => Kind::Prune,
            (HEAP2, 0x40) => Kind::Visible,
            (HEAP2, 0x60) | (HEAP, 0x60) => Kind::Lock,
            (HEAP, 0x70) => Kind::InPlace,
            (XLOG, 0xA0) => Kind::Hint,
            _ => Kind::Other,
        }
    }
}

/// The header of a record whose checksum is right; mirrors `XLogRecord`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Where the record before begins.
    pub previous: Lsn,
    pub manager: u8,
    pub info: u8,
}

impl Header {
    /// Reads it from a whole record.
    pub(super) fn parse(record: &[u8]) -> Result<Self, FaultKind> {
        let read = || {
            let contents = crc32c::crc32c(record.get(HEADER..)?);
            let sum = crc32c::crc32c_append(contents, record.get(..CHECKSUM_AT)?);
            let header = Self {
                previous: Lsn(u64_at(record, 8)?),
                manager: *record.get(17)?,
                info: *record.get(16)? & INFO,
            };
            Some((u32_at(record, CHECKSUM_AT)? == sum, header))
        };
        match read() {
            None => Err(FaultKind::Length),
            Some((false, _)) => Err(FaultKind::Checksum),
            Some((true, header)) => Ok(header),
        }
    }

    /// Whether nothing follows in the same segment.
    pub(super) fn is_switch(&self) -> bool {
        (self.manager, self.info) == (XLOG, SWITCH)
    }

    /// Whether a server ended here.
    pub(super) fn is_shutdown(&self) -> bool {
        (self.manager, self.info) == (XLOG, CHECKPOINT_SHUTDOWN)
    }
}

/// Reads which pages a record changed, and that its parts are together as long as it is; gives
/// where what it holds besides begins, which is at its end.
///
/// Mirrors `DecodeXLogRecord`; the formats are in `src/include/access/xlogrecord.h`.
pub(super) fn blocks(
    record: &[u8],
    format: &Format,
    blocks: &mut Vec<Block>,
) -> Result<usize, FaultKind> {
    blocks.clear();
    let mut rest = Cursor {
        bytes: record.get(HEADER..).unwrap_or_default(),
    };
    let own = read_blocks(&mut rest, format, blocks);
    own.and_then(|own| record.len().checked_sub(own))
        .ok_or(FaultKind::Contents)
}

/// Gives how much the record holds besides its blocks.
fn read_blocks(rest: &mut Cursor<'_>, format: &Format, blocks: &mut Vec<Block>) -> Option<usize> {
    // What the headers say the data behind them has; the headers end where only that is left.
    let mut data = 0_usize;
    let mut own = 0_usize;
    let mut last = None;
    while rest.bytes.len() > data {
        match rest.byte()? {
            DATA_SHORT => {
                own = usize::from(rest.byte()?);
                data += own;
                break;
            }
            DATA_LONG => {
                own = rest.long()? as usize;
                data += own;
                break;
            }
            ORIGIN => {
                rest.short()?;
            }
            TOP_LEVEL if format.names_top_level => {
                rest.long()?;
            }
            number if number <= LAST_BLOCK && last.is_none_or(|last| last < number) => {
                last = Some(number);
                data += read_block(rest, format, blocks)?;
            }
            _ => return None,
        }
    }
    (rest.bytes.len() == data).then_some(own)
}

/// Gives how much data the block has.
fn read_block(rest: &mut Cursor<'_>, format: &Format, blocks: &mut Vec<Block>) -> Option<usize> {
    let flags = rest.byte()?;
    let mut data = usize::from(rest.short()?);
    if (flags & HAS_DATA != 0) != (data > 0) {
        return None;
    }
    if flags & HAS_IMAGE != 0 {
        data += usize::from(rest.short()?);
        rest.short()?;
        let image = rest.byte()?;
        if image & HAS_HOLE != 0 && image & format.compressed != 0 {
            rest.short()?;
        }
    }
    let relation = match flags & SAME_RELATION {
        0 => RelationFile {
            tablespace: Oid(rest.long()?),
            database: Oid(rest.long()?),
            number: RelFileNumber(rest.long()?),
        },
        _ => blocks.last()?.relation,
    };
    blocks.push(Block {
        relation,
        main: flags & FORK == 0,
        number: rest.long()?,
    });
    Some(data)
}

struct Cursor<'a> {
    bytes: &'a [u8],
}

impl Cursor<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn short(&mut self) -> Option<u16> {
        let value = u16_at(self.bytes, 0)?;
        self.bytes = self.bytes.get(2..)?;
        Some(value)
    }

    fn long(&mut self) -> Option<u32> {
        let value = u32_at(self.bytes, 0)?;
        self.bytes = self.bytes.get(4..)?;
        Some(value)
    }
}
