//! WAL made by hand, as a server writes it, and what is not as a server writes it.

use proptest::prelude::*;

use super::*;
use crate::pg::{Oid, RelFileNumber};

const PAGE: u32 = 8192;
const SEGMENT: u32 = 1 << 20;
const LAYOUT: Layout = Layout {
    timeline: Timeline(3),
    system_identifier: SystemIdentifier(0x1234_5678_9ABC_DEF0),
    segment_size: SEGMENT,
    page_size: PAGE,
};
/// The beginning of the second segment.
const BASE: u64 = 0x1_0000_0000 + SEGMENT as u64;
const PG_15: u16 = 0xD110;

/// Writes records behind one another from `BASE` on.
struct Writer {
    magic: u16,
    bytes: Vec<u8>,
    previous: u64,
}

impl Writer {
    fn new(magic: u16) -> Self {
        Self {
            magic,
            bytes: Vec::new(),
            previous: BASE - 64,
        }
    }

    fn position(&self) -> u64 {
        BASE + self.bytes.len() as u64
    }

    /// Writes the header of the page that begins here, if one does.
    fn header(&mut self, rest: usize) {
        let at = self.position();
        if !at.is_multiple_of(u64::from(PAGE)) {
            return;
        }
        let long = at.is_multiple_of(u64::from(SEGMENT));
        let flags = u16::from(long) * 2 + u16::from(rest > 0);
        let mut header = [self.magic.to_ne_bytes(), flags.to_ne_bytes()].concat();
        header.extend(3_u32.to_ne_bytes());
        header.extend(at.to_ne_bytes());
        header.extend(u32::try_from(rest).unwrap().to_ne_bytes());
        header.extend([0; 4]);
        if long {
            header.extend(LAYOUT.system_identifier.0.to_ne_bytes());
            header.extend(SEGMENT.to_ne_bytes());
            header.extend(PAGE.to_ne_bytes());
        }
        self.bytes.extend(header);
    }

    /// Gives where it begins.
    fn record(&mut self, manager: u8, info: u8, contents: &[u8]) -> Lsn {
        self.header(0);
        let start = self.position();
        let mut record = record(manager, info, self.previous, contents);
        self.previous = start;
        while !record.is_empty() {
            self.header(record.len());
            let room = (PAGE as usize) - self.bytes.len() % PAGE as usize;
            let piece: Vec<u8> = record.drain(..room.min(record.len())).collect();
            self.bytes.extend(piece);
        }
        while !self.bytes.len().is_multiple_of(8) {
            self.bytes.push(0);
        }
        Lsn(start)
    }

    fn zeroes(&mut self, unit: u32) {
        while !self.bytes.len().is_multiple_of(unit as usize) {
            self.bytes.push(0);
        }
    }

    /// Ends it as a server that stops does.
    fn shutdown(mut self) -> (Vec<u8>, Lsn) {
        let end = self.record(0, 0x00, &data(&[7; 80]));
        self.zeroes(PAGE);
        (self.bytes, end)
    }
}

fn record(manager: u8, info: u8, previous: u64, contents: &[u8]) -> Vec<u8> {
    let length = u32::try_from(24 + contents.len()).unwrap();
    let mut header = [length.to_ne_bytes(), 700_u32.to_ne_bytes()].concat();
    header.extend(previous.to_ne_bytes());
    header.extend([info, manager, 0, 0]);
    let sum = crc32c::crc32c_append(crc32c::crc32c(contents), &header);
    header.extend(sum.to_ne_bytes());
    header.extend(contents);
    header
}

/// A record's own data.
fn data(bytes: &[u8]) -> Vec<u8> {
    let header = match u8::try_from(bytes.len()) {
        Ok(length) => vec![255, length],
        Err(_) => {
            let length = u32::try_from(bytes.len()).unwrap();
            [&[254][..], &length.to_ne_bytes()].concat()
        }
    };
    [&header[..], bytes].concat()
}

fn of(number: u32) -> RelationFile {
    RelationFile {
        tablespace: Oid(1663),
        database: Oid(5),
        number: RelFileNumber(number),
    }
}

fn relation(number: u32) -> Vec<u8> {
    [1663_u32, 5, number]
        .iter()
        .flat_map(|part| part.to_ne_bytes())
        .collect()
}

fn block_header(number: u8, flags: u8, data: u16) -> Vec<u8> {
    [&[number, flags][..], &data.to_ne_bytes()].concat()
}

/// Changes page 9 of the main fork of a relation, without anything else.
fn change(file: u32) -> Vec<u8> {
    [
        block_header(0, 0, 0),
        relation(file),
        9_u32.to_ne_bytes().to_vec(),
        data(&[1, 2, 3]),
    ]
    .concat()
}

type Seen = (Lsn, Kind, Vec<Block>);

/// Reads it all; pages that are not there are empty.
fn read(bytes: &[u8], from: Lsn, end: Lsn) -> Result<Vec<Seen>, Fault> {
    let mut reader = Reader::new(LAYOUT, from, end);
    let mut seen = Vec::new();
    while let Some(at) = reader.wanted() {
        let start = usize::try_from(at.0.saturating_sub(BASE)).unwrap();
        let there = bytes.get(start..).unwrap_or_default();
        let page = there.get(..PAGE as usize).unwrap_or(there);
        reader.read(page, |record| {
            seen.push((record.start, record.kind(), record.blocks.to_vec()));
        })?;
    }
    Ok(seen)
}

fn fault(bytes: &[u8], from: Lsn, end: Lsn) -> FaultKind {
    read(bytes, from, end).unwrap_err().kind
}

/// Records of many lengths, more than a segment of them.
fn long_log() -> (Vec<u8>, Vec<Lsn>, Lsn) {
    let mut writer = Writer::new(PG_15);
    let mut starts = Vec::new();
    for number in 0..400_usize {
        let length = [3, 200, 9000, 40, 0, 17, 30_000][number % 7] + number;
        starts.push(writer.record(10, 0x00, &data(&vec![5; length])));
    }
    assert!(writer.bytes.len() > SEGMENT as usize);
    let (bytes, end) = writer.shutdown();
    (bytes, starts, end)
}

#[test]
fn records_are_found_over_pages_and_segments() {
    let (bytes, starts, end) = long_log();
    let seen = read(&bytes, starts[0], end).unwrap();
    assert_eq!(seen.iter().map(|seen| seen.0).collect::<Vec<_>>(), starts);
    // From the page the first one begins on, and from the middle.
    assert_eq!(read(&bytes, Lsn(BASE), end).unwrap(), seen);
    assert_eq!(read(&bytes, starts[200], end).unwrap(), seen[200..]);
    assert_eq!(read(&bytes, end, end).unwrap(), []);
}

#[test]
fn a_switch_leaves_the_rest_of_its_segment_empty() {
    let mut writer = Writer::new(PG_15);
    let first = writer.record(10, 0x00, &change(1));
    let switch = writer.record(0, 0x40, &[]);
    writer.zeroes(SEGMENT);
    let last = writer.record(10, 0x00, &change(2));
    let (bytes, end) = writer.shutdown();
    let seen = read(&bytes, first, end).unwrap();
    assert_eq!(
        seen.iter().map(|seen| seen.0).collect::<Vec<_>>(),
        [first, switch, last]
    );
    assert_eq!(LAYOUT.in_segment(last), 40);
}

#[test]
fn pages_of_every_version_are_known() {
    for magic in [
        0xD097, 0xD098, 0xD101, 0xD106, 0xD10D, 0xD110, 0xD113, 0xD116, 0xD118,
    ] {
        let mut writer = Writer::new(magic);
        let first = writer.record(10, 0x00, &change(1));
        let (bytes, end) = writer.shutdown();
        assert_eq!(read(&bytes, first, end).unwrap().len(), 1, "{magic:X}");
    }
    let (bytes, end) = Writer::new(0xD119).shutdown();
    assert_eq!(fault(&bytes, Lsn(BASE), end), FaultKind::Page);
}

#[test]
fn pages_of_relations_are_found_behind_images_and_data() {
    for (magic, pressed, whole, named) in [
        (0xD097_u16, 0x03_u8, 0x05_u8, false),
        (0xD10D, 0x03, 0x05, true),
        (0xD110, 0x05, 0x03, true),
        (0xD118, 0x11, 0x03, true),
    ] {
        let image = |flags: u8| [&50_u16.to_ne_bytes()[..], &[100, 0, flags]].concat();
        let page = |number: u32| number.to_ne_bytes().to_vec();
        let top_level = match named {
            true => vec![252, 1, 0, 0, 0],
            false => Vec::new(),
        };
        let contents = [
            // Data and a compressed image that says how large its hole is.
            block_header(0, 0x10 | 0x20, 30),
            image(pressed),
            vec![0x40, 0],
            relation(11),
            page(1),
            // An image that does not, of the same relation's visibility map.
            block_header(1, 0x10 | 0x80 | 0x02, 0),
            image(whole),
            page(2),
            block_header(5, 0x40, 0),
            relation(12),
            page(3),
            vec![253, 1, 0],
            top_level,
            vec![254, 10, 0, 0, 0],
            vec![9; 30 + 50 + 50 + 10],
        ]
        .concat();
        let mut writer = Writer::new(magic);
        let first = writer.record(9, 0x40, &contents);
        let (bytes, end) = writer.shutdown();
        let block = |file, main, number| Block {
            relation: of(file),
            main,
            number,
        };
        let blocks = vec![block(11, true, 1), block(11, false, 2), block(12, true, 3)];
        assert_eq!(
            read(&bytes, first, end),
            Ok(vec![(first, Kind::Visible, blocks)]),
            "{magic:X}"
        );
    }
}

#[test]
fn contents_that_are_longer_or_shorter_than_they_say_are_refused() {
    let top_level = [&[252, 1, 0, 0, 0][..], &data(&[1])].concat();
    for (magic, contents) in [
        (PG_15, vec![255, 5, 1, 2, 3, 4]),
        (PG_15, vec![255, 1, 1, 2]),
        (PG_15, vec![254, 255, 255, 255, 255]),
        (PG_15, vec![99, 0, 0, 0]),
        (PG_15, block_header(0, 0, 0)),
        // Data without the flag, the flag without data, a number twice, no relation before.
        (
            PG_15,
            [&change(1)[..4 + 16], &block_header(0, 0x80, 0), &[0; 4]].concat(),
        ),
        (
            PG_15,
            [block_header(0, 0, 5), relation(1), vec![0; 9]].concat(),
        ),
        (
            PG_15,
            [block_header(0, 0x20, 0), relation(1), vec![0; 4]].concat(),
        ),
        (PG_15, [block_header(0, 0x80, 0), vec![0; 4]].concat()),
        (0xD106, top_level.clone()),
    ] {
        let mut writer = Writer::new(magic);
        let first = writer.record(10, 0, &contents);
        let (bytes, end) = writer.shutdown();
        assert_eq!(
            fault(&bytes, first, end),
            FaultKind::Contents,
            "{contents:?}"
        );
    }
    let mut writer = Writer::new(0xD10D);
    let first = writer.record(10, 0, &top_level);
    let (bytes, end) = writer.shutdown();
    assert_eq!(read(&bytes, first, end).unwrap().len(), 1);
}

#[test]
fn what_changes_rows_is_told_from_what_does_not() {
    let cases = [
        (9, 0x10, Kind::Prune),
        (9, 0x20, Kind::Prune),
        (9, 0x30, Kind::Prune),
        (9, 0x40, Kind::Visible),
        (9, 0x50, Kind::Other),
        (9, 0x60, Kind::Lock),
        (9, 0x70, Kind::Other),
        (9, 0x00, Kind::Other),
        (9, 0x90, Kind::Other),
        (10, 0x00, Kind::Other),
        (10, 0x10, Kind::Other),
        (10, 0x20, Kind::Other),
        (10, 0x40, Kind::Other),
        (10, 0x50, Kind::Other),
        (10, 0x60, Kind::Lock),
        (10, 0x70, Kind::InPlace),
        (10, 0xE0, Kind::Other),
        (0, 0xA0, Kind::Hint),
        (0, 0xB0, Kind::Other),
        (20, 0x00, Kind::Other),
        (128, 0x10, Kind::Other),
    ];
    let mut writer = Writer::new(PG_15);
    for (manager, info, _) in cases {
        // What belongs to every resource manager says nothing of the kind.
        writer.record(manager, info | 0x03, &change(1));
    }
    let (bytes, end) = writer.shutdown();
    let seen = read(&bytes, Lsn(BASE), end).unwrap();
    for ((_, kind, _), (manager, info, wanted)) in seen.iter().zip(cases) {
        assert_eq!(*kind, wanted, "{manager} {info:X}");
    }
    assert_eq!(seen.len(), cases.len());
}

#[test]
fn what_no_server_writes_is_refused() {
    let (bytes, starts, end) = long_log();
    let first = starts[0];
    let with = |at: usize, byte: u8| {
        let mut changed = bytes.clone();
        changed[at] ^= byte;
        fault(&changed, first, end)
    };
    assert_eq!(with(0, 1), FaultKind::Page);
    assert_eq!(with(2, 0x10), FaultKind::Page);
    assert_eq!(with(2, 0x02), FaultKind::Page);
    assert_eq!(with(2, 0x08), FaultKind::Continuation);
    assert_eq!(with(4, 1), FaultKind::Timeline);
    assert_eq!(with(8, 1), FaultKind::Address);
    assert_eq!(with(24, 1), FaultKind::Foreign);
    assert_eq!(with(32, 1), FaultKind::Foreign);
    assert_eq!(with(36, 1), FaultKind::Foreign);
    assert_eq!(with(66, 1), FaultKind::Checksum);
    // A record of 24 bytes, of none, and a continuation that is shorter.
    assert_eq!(with(40, 29 ^ 24), FaultKind::Checksum);
    assert_eq!(with(40, 29), FaultKind::Length);
    assert_eq!(with(2 * PAGE as usize + 16, 1), FaultKind::Continuation);
    // Pages of two versions.
    assert_eq!(with(PAGE as usize, 0x10 ^ 0x13), FaultKind::Page);

    let other = Reader::new(LAYOUT, Lsn(BASE + 8), end).read(&bytes[..PAGE as usize], |_| ());
    assert_eq!(other.unwrap_err().kind, FaultKind::Position);
    assert_eq!(fault(&bytes, Lsn(first.0 + 4), end), FaultKind::Position);
    assert_eq!(fault(&bytes, first, starts[9]), FaultKind::NoShutdown);
    assert_eq!(fault(&bytes, first, Lsn(end.0 - 8)), FaultKind::Overrun);
    assert_eq!(fault(&bytes, first, Lsn(end.0 + 8)), FaultKind::Overrun);
}

/// Its checksum is right; it is of the time before a restore, say.
#[test]
fn a_record_that_does_not_follow_is_refused() {
    let mut writer = Writer::new(PG_15);
    let first = writer.record(10, 0x00, &change(1));
    writer.previous -= 8;
    writer.record(10, 0x00, &change(1));
    let (bytes, end) = writer.shutdown();
    assert_eq!(fault(&bytes, first, end), FaultKind::Chain);

    let mut writer = Writer::new(PG_15);
    writer.previous = BASE + 40;
    let first = writer.record(10, 0x00, &change(1));
    let (bytes, end) = writer.shutdown();
    assert_eq!(fault(&bytes, first, end), FaultKind::Chain);
}

#[test]
fn the_file_of_a_relation_is_told_by_its_path() {
    let at = |path: &str| {
        let file = RelationFile::at(path.as_ref())?;
        Some((file.tablespace.0, file.database.0, file.number.0))
    };
    assert_eq!(at("global/1262"), Some((1664, 0, 1262)));
    assert_eq!(at("base/5/1259"), Some((1663, 5, 1259)));
    assert_eq!(
        at("pg_tblspc/16400/PG_15_202209061/16384/16500"),
        Some((16400, 16384, 16500))
    );
    for path in [
        "1262",
        "base/5/1259_vm",
        "base/x/1",
        "base/5",
        "/base/5/1259",
    ] {
        assert_eq!(at(path), None, "{path}");
    }
}

#[test]
fn files_are_named_as_servers_name_them() {
    assert_eq!(LAYOUT.file_name(Lsn(BASE)), "000000030000000100000001");
    assert_eq!(LAYOUT.in_segment(Lsn(BASE + 5)), 5);
    let (bytes, _) = Writer::new(PG_15).shutdown();
    assert_eq!(LAYOUT.written_for(&bytes), Some(Lsn(BASE)));
    assert_eq!(LAYOUT.written_for(&bytes[..12]), None);
    assert_eq!(LAYOUT.written_for(&[0; 24]), None);
    let other = Layout {
        timeline: Timeline(4),
        ..LAYOUT
    };
    assert_eq!(other.written_for(&bytes), None);
    let large = Layout {
        segment_size: 1 << 30,
        ..LAYOUT
    };
    assert_eq!(large.file_name(Lsn(BASE)), "000000030000000100000000");
}

#[test]
fn a_log_that_ends_early_is_refused_wherever_it_ends() {
    let mut writer = Writer::new(PG_15);
    let first = writer.record(10, 0x00, &data(&[5; 9000]));
    writer.record(10, 0x00, &change(1));
    let (bytes, end) = writer.shutdown();
    assert!(read(&bytes, first, end).is_ok());
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length], first, end).is_err(), "{length}");
    }
}

proptest! {
    #[test]
    fn a_byte_that_changes_is_noticed_or_says_nothing(at: prop::sample::Index, by in 1_u8..) {
        let (bytes, starts, end) = short_log();
        let at = at.index(bytes.len());
        let mut changed = bytes.clone();
        changed[at] ^= by;
        if let Ok(seen) = read(&changed, starts, end) {
            prop_assert_eq!(seen, read(&bytes, starts, end).unwrap());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        pages in prop::collection::vec(any::<u8>(), 0..3 * PAGE as usize),
        from: u64, end: u64, contents in prop::collection::vec(any::<u8>(), 0..200), magic: u16,
    ) {
        let mut reader = Reader::new(LAYOUT, Lsn(from), Lsn(end));
        for page in pages.chunks(PAGE as usize) {
            let _ = reader.read(page, |_| ());
        }
        // What has the right checksum is looked at more closely.
        let magic = if magic.is_multiple_of(2) { PG_15 } else { 0xD106 };
        let mut writer = Writer::new(magic);
        let first = writer.record(10, 0x00, &contents);
        let (bytes, end) = writer.shutdown();
        let _ = read(&bytes, first, end);
    }
}

fn short_log() -> (Vec<u8>, Lsn, Lsn) {
    let mut writer = Writer::new(PG_15);
    let first = writer.record(10, 0x00, &change(1));
    for length in [8180, 10, 3, 20_000] {
        writer.record(9, 0x10, &data(&vec![5; length]));
    }
    let (bytes, end) = writer.shutdown();
    (bytes, first, end)
}
