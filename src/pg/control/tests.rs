use super::*;
use proptest::prelude::*;

/// The first 512 bytes of the control files of real clusters, just made by initdb.
const REAL: [(u16, u32, u32, &[u8]); 9] = [
    (
        10,
        1002,
        201_707_211,
        include_bytes!("../../../tests/data/pg_control/10"),
    ),
    (
        11,
        1100,
        201_809_051,
        include_bytes!("../../../tests/data/pg_control/11"),
    ),
    (
        12,
        1201,
        201_909_212,
        include_bytes!("../../../tests/data/pg_control/12"),
    ),
    (
        13,
        1300,
        202_007_201,
        include_bytes!("../../../tests/data/pg_control/13"),
    ),
    (
        14,
        1300,
        202_107_181,
        include_bytes!("../../../tests/data/pg_control/14"),
    ),
    (
        15,
        1300,
        202_209_061,
        include_bytes!("../../../tests/data/pg_control/15"),
    ),
    (
        16,
        1300,
        202_307_071,
        include_bytes!("../../../tests/data/pg_control/16"),
    ),
    (
        17,
        1700,
        202_406_281,
        include_bytes!("../../../tests/data/pg_control/17"),
    ),
    (
        18,
        1800,
        202_506_291,
        include_bytes!("../../../tests/data/pg_control/18"),
    ),
];

fn real(major: u16) -> ControlFile {
    let (.., bytes) = REAL.iter().find(|(version, ..)| *version == major).unwrap();
    ControlFile::parse(bytes).unwrap()
}

#[test]
fn the_control_files_of_all_versions_are_read() {
    for (major, control_version, catalog_version, bytes) in REAL {
        let control = ControlFile::parse(bytes).unwrap();
        let read = (control.control_version, control.catalog_version);
        assert_eq!(read, (control_version, catalog_version), "{major}");
        assert_eq!(control.state, ClusterState::ShutDown, "{major}");
        assert_eq!(
            (control.block_size, control.relseg_size),
            (8192, 131_072),
            "{major}"
        );
        assert_eq!(control.wal_segment_size, 16 << 20, "{major}");
        assert_eq!(
            (control.lo_block_size, control.toast_max_chunk_size),
            (2048, 1996),
            "{major}"
        );
        assert_eq!(
            (
                control.max_align,
                control.name_data_len,
                control.index_max_keys
            ),
            (8, 64, 32)
        );
        assert!(
            control.float_format_ok && control.float8_by_value,
            "{major}"
        );
        assert!(control.full_page_writes, "{major}");
        assert_eq!(
            (control.timeline, control.next_multi),
            (Timeline(1), MultiXid(1)),
            "{major}"
        );
        assert_eq!(
            control.max_wal_senders,
            (major >= 12).then_some(10),
            "{major}"
        );
        assert_eq!(
            (control.max_connections, control.max_locks_per_xact),
            (100, 64),
            "{major}"
        );
        assert_eq!(control.data_checksums(), major == 18, "{major}");
        assert_eq!(
            control.char_signed,
            (major == 18).then_some(true),
            "{major}"
        );
        assert!(control.checkpoint_time > 1_700_000_000, "{major}");
        assert!(control.modified >= control.checkpoint_time, "{major}");
        assert_eq!(control.redo, control.checkpoint_lsn, "{major}");
        assert_eq!(control.next_xid.epoch(), 0, "{major}");
    }
}

#[test]
fn every_changed_or_missing_byte_is_noticed() {
    for (major, _, _, bytes) in REAL {
        let used = used_length(bytes);
        for at in 0..used {
            let mut changed = bytes.to_vec();
            changed[at] ^= 0x10;
            let error = ControlFile::parse(&changed).unwrap_err();
            assert_eq!(error.code(), Code::ControlFile, "{major} {at}");
            let error = ControlFile::parse(&bytes[..at]).unwrap_err();
            assert!(
                error.message().contains("it ends after"),
                "{major} {at}: {error}"
            );
        }
        assert!(ControlFile::parse(&bytes[..used]).is_ok());
    }
}

/// Up to and with the CRC; behind it the file holds zeroes.
fn used_length(bytes: &[u8]) -> usize {
    let crc = (0..bytes.len() - 4)
        .find(|at| bytes[*at..*at + 4] == crc32c::crc32c(&bytes[..*at]).to_ne_bytes());
    crc.unwrap() + 4
}

fn with_crc(mut bytes: Vec<u8>, length: usize) -> Vec<u8> {
    let crc = crc32c::crc32c(&bytes[..length - 4]);
    bytes[length - 4..length].copy_from_slice(&crc.to_ne_bytes());
    bytes
}

#[test]
fn impossible_values_are_refused_even_with_a_good_crc() {
    let (.., bytes) = REAL[5];
    let used = used_length(bytes);
    let refuse = |at: usize, value: u32, reason: &str| {
        let mut changed = bytes.to_vec();
        changed[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        let error = ControlFile::parse(&with_crc(changed, used)).unwrap_err();
        assert!(error.message().contains(reason), "{error}");
        assert!(error.remedy_text().is_some());
    };
    refuse(16, 7, "unknown state");
    refuse(8, 960, "format this program does not know");
    refuse(8, 1300u32.swap_bytes(), "other byte order");
    let sixteen_mb = (16u32 << 20).to_ne_bytes();
    let at = bytes.chunks(4).position(|field| field == sixteen_mb);
    let size = at.unwrap() * 4;
    refuse(size, 0, "WAL segment size");
    refuse(size, 3 << 20, "WAL segment size");
    refuse(size - 12, 0, "block or segment size");
    refuse(size - 8, 0, "block or segment size");
}

#[test]
fn differences_of_format_are_named_as_pg_controldata_names_them() {
    let old = real(15);
    let mut new = real(18);
    assert_eq!(
        old.format_differences(&new),
        [("Data page checksum version", "0".to_owned(), "1".to_owned())]
    );
    new.data_checksum_version = 0;
    assert!(old.format_differences(&new).is_empty());
    new.wal_segment_size = 64 << 20;
    new.float8_by_value = false;
    assert_eq!(
        old.format_differences(&new),
        [
            (
                "Bytes per WAL segment",
                "16777216".to_owned(),
                "67108864".to_owned()
            ),
            (
                "Float8 argument passing",
                "by value".to_owned(),
                "by reference".to_owned()
            ),
        ]
    );
}

#[test]
fn the_next_wal_file_is_behind_the_checkpoint() {
    let mut control = real(15);
    control.timeline = Timeline(7);
    let mut names = |lsn: u64, size: u32| {
        control.checkpoint_lsn = Lsn(lsn);
        control.wal_segment_size = size;
        (
            control.checkpoint_wal_file(),
            control.first_segment_after_checkpoint(),
        )
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        names(0x1_0100_0028, 16 << 20),
        pair("000000070000000100000001", "000000010000000100000002")
    );
    assert_eq!(
        names(0x1_FFFF_FFFF, 16 << 20),
        pair("0000000700000001000000FF", "000000010000000200000000")
    );
    assert_eq!(
        names(0x1_FFFF_FFFF, 1 << 30),
        pair("000000070000000100000003", "000000010000000200000000")
    );
    assert_eq!(names(u64::MAX, 1 << 20).0, "00000007FFFFFFFF00000FFF");
}

#[test]
fn a_control_file_is_found_in_its_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let global = dir.path().join("global");
    std::fs::create_dir(&global).unwrap();
    let error = ControlFile::read(dir.path()).unwrap_err();
    assert_eq!(error.code(), Code::ControlFile);
    assert!(
        error.message().ends_with("global/pg_control is missing"),
        "{error}"
    );

    let (.., bytes) = REAL[0];
    std::fs::write(global.join("pg_control.old"), bytes).unwrap();
    let error = ControlFile::read(dir.path()).unwrap_err();
    assert!(matches!(error.remedy_text(), Some(Remedy::Manual(text)) if text.contains("mv ")));

    std::fs::write(global.join("pg_control"), bytes).unwrap();
    assert_eq!(ControlFile::read(dir.path()).unwrap(), real(10));
    let before = fingerprint(dir.path()).unwrap();
    assert_eq!(before.len(), 64);
    std::fs::write(global.join("pg_control"), REAL[1].3).unwrap();
    assert_ne!(fingerprint(dir.path()).unwrap(), before);

    std::fs::write(global.join("pg_control"), &bytes[..100]).unwrap();
    let error = ControlFile::read(dir.path()).unwrap_err();
    assert!(
        error.message().contains("it ends after 100 bytes"),
        "{error}"
    );
    assert_eq!(error.facts()[0].0, "control file");
}

#[test]
fn a_control_file_survives_json() {
    let control = real(12);
    let text = serde_json::to_string(&control).unwrap();
    assert_eq!(serde_json::from_str::<ControlFile>(&text).unwrap(), control);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        real in 0..REAL.len(),
        garbage in prop::collection::vec(any::<u8>(), 512),
    ) {
        let _ = ControlFile::parse(&bytes);
        let (.., original) = REAL[real];
        let mut mixed = garbage;
        mixed[8..12].copy_from_slice(&original[8..12]);
        let control = ControlFile::parse(&with_crc(mixed.clone(), used_length(original)));
        prop_assert!(control.is_err() || control.is_ok_and(|c| !c.first_segment_after_checkpoint().is_empty()));
        // The numbers a server may really have written: everything up to the recovery fields.
        let mut counters = original.to_vec();
        counters[24..160].copy_from_slice(&mixed[24..160]);
        let control = ControlFile::parse(&with_crc(counters, used_length(original))).unwrap();
        prop_assert!(control.checkpoint_wal_file().len() >= 24);
        let _ = control.first_segment_after_checkpoint();
    }
}

#[test]
fn a_later_state_is_told_from_an_earlier_one_on_every_circle() {
    let mut then = ControlFile::parse(REAL[4].3).unwrap();
    then.next_xid = FullXid::new(3, Xid(u32::MAX - 5));
    then.next_multi = MultiXid(u32::MAX - 5);
    assert_eq!(then.not_after(&then), []);

    let mut later = then.clone();
    later.next_xid = FullXid::new(4, Xid(700));
    later.next_multi = MultiXid(7);
    later.checkpoint_lsn.0 += 1;
    assert_eq!(later.not_after(&then), []);
    let names: Vec<_> = then.not_after(&later).iter().map(|it| it.0).collect();
    assert_eq!(
        names,
        [
            "Latest checkpoint location",
            "Latest checkpoint's NextXID",
            "Latest checkpoint's NextMultiXactId"
        ]
    );
    let (_, now, before) = &then.not_after(&later)[1];
    assert_eq!([now.as_str(), before.as_str()], ["3:4294967290", "4:700"]);

    later.timeline = Timeline(then.timeline.0 + 1);
    assert_eq!(later.not_after(&then).len(), 1);
}
