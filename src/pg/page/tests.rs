use super::*;
use proptest::prelude::*;

/// `page_checksum(decode(repeat(hex, n), 'hex'), block)` of the extension pageinspect.
const KNOWN: [(&[u8], u32, u16); 4] = [
    (&[1, 2, 3, 4], 0, 44_705),
    (&[1, 2, 3, 4], 131_072, 44_707),
    (&[0xFF], 7, 3619),
    (b"PostgreSQLpages!", 4_294_967_294, 57_653),
];

fn repeated(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().cycle().take(8192).collect()
}

/// A heap page with these tuples: xmin, xmax, infomask.
fn heap(tuples: &[(u32, u32, u16)]) -> Vec<u8> {
    let mut page = vec![0u8; 8192];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    let lower = (HEADER_SIZE + 4 * tuples.len()) as u16;
    let upper = 8192 - 32 * tuples.len();
    put(0, &1u32.to_ne_bytes());
    put(4, &0x28u32.to_ne_bytes());
    put(12, &lower.to_ne_bytes());
    put(14, &(upper as u16).to_ne_bytes());
    put(16, &8192u16.to_ne_bytes());
    put(18, &(8192u16 | 4).to_ne_bytes());
    for (index, (xmin, xmax, infomask)) in tuples.iter().enumerate() {
        let at = upper + 32 * index;
        let pointer = (at as u32) | 1 << 15 | 28 << 17;
        put(HEADER_SIZE + 4 * index, &pointer.to_ne_bytes());
        put(at, &xmin.to_ne_bytes());
        put(at + 4, &xmax.to_ne_bytes());
        put(at + 18, &3u16.to_ne_bytes());
        put(at + 20, &infomask.to_ne_bytes());
    }
    page
}

#[test]
fn checksums_are_those_of_postgresql() {
    for (bytes, block, expected) in KNOWN {
        assert_eq!(
            checksum(&repeated(bytes), block),
            expected,
            "{bytes:?} {block}"
        );
    }
}

/// `cargo test --release --lib -- --ignored --nocapture pages_in_a_second`
#[test]
#[ignore = "a speed, which only a release build on a quiet machine has"]
fn pages_in_a_second() {
    let mut state = 1u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let pages: Vec<u8> = noise.take(256 << 20).collect();
    for _ in 0..3 {
        let begun = std::time::Instant::now();
        let pages = pages.chunks_exact(8192).zip(0u32..);
        let sum = pages.fold(0u32, |sum, (page, block)| {
            sum.wrapping_add(u32::from(checksum(page, block)))
        });
        let seconds = begun.elapsed().as_secs_f64();
        let speed = f64::from(256 << 20) / seconds / 1e9;
        println!("{speed:.2} GB/s ({sum})");
        assert!(speed >= 1.5);
    }
}

#[test]
fn the_stored_checksum_does_not_count() {
    let mut page = repeated(b"abc");
    let before = checksum(&page, 5);
    page[8..10].fill(0x77);
    assert_eq!(checksum(&page, 5), before);
    page[10] ^= 1;
    assert_ne!(checksum(&page, 5), before);
}

#[test]
fn a_header_is_read() {
    let header = PageHeader::parse(&heap(&[(3, 0, 0)])).unwrap();
    assert_eq!(header.lsn, Lsn(0x1_0000_0028));
    assert_eq!(
        (header.lower, header.upper, header.special),
        (28, 8160, 8192)
    );
    assert_eq!((header.page_size, header.layout_version), (8192, 4));
    assert!(!header.is_new());
    assert_eq!(PageHeader::parse(&[0; 23]), None);
}

#[test]
fn faults_of_pages_are_found() {
    let good = heap(&[(3, 0, 0)]);
    assert_eq!(fault(&good, 0, false), None);
    let computed = checksum(&good, 0);
    let wrong = PageFault::Checksum {
        stored: 0,
        computed,
    };
    assert_eq!(fault(&good, 0, true), Some(wrong));
    let mut summed = good.clone();
    summed[8..10].copy_from_slice(&computed.to_ne_bytes());
    assert_eq!(fault(&summed, 0, true), None);
    assert!(fault(&summed, 1, true).is_some());

    let mut bad = good;
    bad[12..14].copy_from_slice(&8170u16.to_ne_bytes());
    assert_eq!(fault(&bad, 0, false), Some(PageFault::Header));
    assert_eq!(fault(&[0; 10], 0, false), Some(PageFault::Header));

    let mut empty = vec![0u8; 8192];
    assert_eq!(fault(&empty, 9, true), None);
    empty[8191] = 1;
    assert_eq!(fault(&empty, 9, true), Some(PageFault::NotEmpty));
}

#[test]
fn frozen_rows_are_told_from_others() {
    let frozen = |xmin, xmax, infomask| {
        let page = heap(&[(xmin, xmax, infomask)]);
        let tuple = heap_tuples(&page).next().unwrap();
        tuple.header.unwrap().is_frozen()
    };
    assert!(frozen(700, 0, 0x0B00), "frozen, nobody deleted it");
    assert!(frozen(2, 0, 0), "the frozen XID itself");
    assert!(
        frozen(700, 701, 0x0B00),
        "the deletion was rolled back and says so"
    );
    assert!(!frozen(700, 0, 0x0100), "only known as committed");
    assert!(!frozen(700, 0, 0x0A00), "rolled back");
    assert!(!frozen(700, 701, 0x0300), "somebody deleted it");
    assert!(!frozen(2, 1, 0x1380), "locked by a multixact");
}

#[test]
fn tuples_are_found_by_their_line_pointers() {
    let mut page = heap(&[(100, 0, 0x0800), (101, 5, 0x1080), (102, 0, 0), (103, 0, 0)]);
    let mut flags = |index: usize, raw: u32| {
        page[HEADER_SIZE + 4 * index..][..4].copy_from_slice(&raw.to_ne_bytes());
    };
    flags(0, 3 << 15);
    flags(2, 8180 | 1 << 15 | 28 << 17);
    let tuples: Vec<_> = heap_tuples(&page).collect();
    let numbers: Vec<_> = tuples.iter().map(|tuple| tuple.number).collect();
    assert_eq!(numbers, [2, 3, 4]);
    let header = tuples[0].header.unwrap();
    assert_eq!(
        (header.xmin, header.xmax, header.infomask2),
        (Xid(101), Xid(5), 3)
    );
    assert!(header.xmax_is_multi() && header.xmax_only_locks());
    assert_eq!(tuples[1].header, None);
    assert_eq!(tuples[2].header.map(|h| h.xmin), Some(Xid(103)));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(
        page in prop::collection::vec(any::<u8>(), 0..9000),
        block: u32,
        lower: u16,
        checksums: bool,
    ) {
        let mut page = page;
        if let Some(field) = page.get_mut(12..14) {
            field.copy_from_slice(&lower.to_ne_bytes());
        }
        prop_assert!(checksum(&page, block) > 0);
        let _ = fault(&page, block, checksums);
        prop_assert!(heap_tuples(&page).count() <= page.len() / 4);
    }
}
