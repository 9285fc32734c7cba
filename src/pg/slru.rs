//! Where a transaction or multixact lies in `pg_xact` and `pg_multixact`.
//!
//! The layout is that of PostgreSQL 10 to 18 with pages of 8 kB.

use super::{MultiXid, Xid};

/// Bytes in a page.
pub const PAGE_SIZE: usize = 8192;

/// Pages in a segment file.
pub const PAGES_PER_SEGMENT: u32 = 32;

/// Transactions whose status is in one byte of `pg_xact`.
const XACTS_PER_BYTE: u32 = 4;
const XACTS_PER_PAGE: u32 = PAGE_SIZE as u32 * XACTS_PER_BYTE;

/// Multixacts in a page of `pg_multixact/offsets`.
const OFFSETS_PER_PAGE: u32 = PAGE_SIZE as u32 / 4;

/// Members come in groups: four bytes of flags, then four XIDs.
const MEMBERS_PER_GROUP: u32 = 4;
const GROUP_SIZE: usize = 20;
const GROUPS_PER_PAGE: u32 = (PAGE_SIZE / GROUP_SIZE) as u32;
const MEMBERS_PER_PAGE: u32 = MEMBERS_PER_GROUP * GROUPS_PER_PAGE;

/// A place in one of these directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The page, counted over all segments.
    pub page: u32,
    /// The byte in that page.
    pub byte: usize,
}

impl Position {
    /// The number of the segment file.
    pub fn segment(&self) -> u32 {
        self.page / PAGES_PER_SEGMENT
    }

    /// The name of the segment file.
    pub fn segment_name(&self) -> String {
        segment_name(self.segment())
    }

    /// The page, counted in its segment.
    pub fn page_in_segment(&self) -> u32 {
        self.page % PAGES_PER_SEGMENT
    }

    /// The byte, counted in its segment.
    pub fn byte_in_segment(&self) -> usize {
        self.page_in_segment() as usize * PAGE_SIZE + self.byte
    }

    /// How long the segment file must be at least for the page to be in it.
    pub fn segment_length(&self) -> u64 {
        (u64::from(self.page_in_segment()) + 1) * PAGE_SIZE as u64
    }
}

/// The name of a segment file: four hexadecimal digits, more where they do not suffice.
pub fn segment_name(segment: u32) -> String {
    format!("{segment:04X}")
}

/// Reads the name of a segment file; `None` for any other name.
pub fn parse_segment_name(name: &str) -> Option<u32> {
    let segment = u32::from_str_radix(name, 16).ok()?;
    (segment_name(segment) == name).then_some(segment)
}

/// Where the status of a transaction lies in `pg_xact`.
pub fn xact_position(xid: Xid) -> Position {
    Position {
        page: xid.0 / XACTS_PER_PAGE,
        byte: (xid.0 % XACTS_PER_PAGE / XACTS_PER_BYTE) as usize,
    }
}

/// Where the offset of a multixact's first member lies in `pg_multixact/offsets`.
pub fn offset_position(multi: MultiXid) -> Position {
    Position {
        page: multi.0 / OFFSETS_PER_PAGE,
        byte: (multi.0 % OFFSETS_PER_PAGE) as usize * 4,
    }
}

/// Where the XID of a member lies in `pg_multixact/members`.
pub fn member_position(offset: u32) -> Position {
    let group = offset / MEMBERS_PER_GROUP % GROUPS_PER_PAGE;
    let in_group = (offset % MEMBERS_PER_GROUP) as usize;
    Position {
        page: offset / MEMBERS_PER_PAGE,
        byte: group as usize * GROUP_SIZE + MEMBERS_PER_GROUP as usize + in_group * 4,
    }
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XactStatus {
    /// Not yet, or with the server.
    InProgress,
    /// Committed.
    Committed,
    /// Rolled back.
    Aborted,
    /// A subtransaction whose parent decides.
    SubCommitted,
}

impl XactStatus {
    /// Reads the status of a transaction from the byte at its [`xact_position`].
    pub fn of(xid: Xid, byte: u8) -> Self {
        let shift = xid.0 % XACTS_PER_BYTE * 2;
        match (byte >> shift) & 0b11 {
            0 => Self::InProgress,
            1 => Self::Committed,
            2 => Self::Aborted,
            _ => Self::SubCommitted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(position: Position) -> (String, u32, usize) {
        (
            position.segment_name(),
            position.page_in_segment(),
            position.byte,
        )
    }

    fn at(segment: &str, page: u32, byte: usize) -> (String, u32, usize) {
        (segment.to_owned(), page, byte)
    }

    #[test]
    fn transactions_are_found() {
        assert_eq!(place(xact_position(Xid(0))), at("0000", 0, 0));
        assert_eq!(place(xact_position(Xid(32_767))), at("0000", 0, 8191));
        assert_eq!(place(xact_position(Xid(32_768))), at("0000", 1, 0));
        assert_eq!(place(xact_position(Xid(1 << 20))), at("0001", 0, 0));
        assert_eq!(place(xact_position(Xid(u32::MAX))), at("0FFF", 31, 8191));
        assert_eq!(xact_position(Xid(32_768)).segment_length(), 16_384);
        assert_eq!(xact_position(Xid(32_772)).byte_in_segment(), 8193);
        assert_eq!(xact_position(Xid(u32::MAX)).segment_length(), 262_144);
    }

    #[test]
    fn multixacts_are_found() {
        assert_eq!(place(offset_position(MultiXid(2047))), at("0000", 0, 8188));
        assert_eq!(place(offset_position(MultiXid(65_536))), at("0001", 0, 0));
        assert_eq!(
            place(offset_position(MultiXid(u32::MAX))),
            at("FFFF", 31, 8188)
        );
        assert_eq!(place(member_position(0)), at("0000", 0, 4));
        assert_eq!(place(member_position(5)), at("0000", 0, 28));
        assert_eq!(place(member_position(1635)), at("0000", 0, 8176));
        assert_eq!(place(member_position(1636)), at("0000", 1, 4));
        assert_eq!(place(member_position(u32::MAX)), at("14078", 5, 5176));
    }

    #[test]
    fn the_four_transactions_of_a_byte_are_told_apart() {
        let statuses: Vec<_> = (8..12)
            .map(|xid| XactStatus::of(Xid(xid), 0b11_10_01_00))
            .collect();
        assert_eq!(
            statuses,
            [
                XactStatus::InProgress,
                XactStatus::Committed,
                XactStatus::Aborted,
                XactStatus::SubCommitted
            ]
        );
    }

    #[test]
    fn names_of_segments_are_read() {
        assert_eq!(parse_segment_name("0000"), Some(0));
        assert_eq!(parse_segment_name("14078"), Some(0x14078));
        for name in [
            "",
            "000",
            "00000",
            "00ff",
            "+0FF",
            "0000000000000000",
            "archive_status",
        ] {
            assert_eq!(parse_segment_name(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_position_lies_in_its_page(number: u32) {
            for position in [
                xact_position(Xid(number)), offset_position(MultiXid(number)), member_position(number),
            ] {
                prop_assert!(position.byte < PAGE_SIZE);
                prop_assert!((position.byte_in_segment() as u64) < position.segment_length());
                prop_assert_eq!(parse_segment_name(&position.segment_name()), Some(position.segment()));
            }
        }
    }
}
