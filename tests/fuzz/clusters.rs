//! Parsers of what lies in a data directory.

use std::path::Path;

use pg_migrator::pg::wal::{Layout, Reader};
use pg_migrator::pg::{
    ControlFile, Lsn, PostmasterOpts, PostmasterPid, RelFile, conf, control, hba, page, slru,
};
use pg_migrator::server::{Endpoint, Side, password_in};

use crate::seal;
use crate::target::{Target, sealed, target, text};

pub const TARGETS: &[Target] = &[
    sealed("pg_control", seal::control, pg_control),
    target("postmaster.pid", |input| {
        if let Some(file) = PostmasterPid::parse(&text(input)) {
            let _ = (
                file.process(),
                file.ready(),
                file.standalone(),
                file.format(),
            );
        }
    }),
    target("postmaster.opts", |input| {
        if let Some(opts) = PostmasterOpts::parse(&text(input)) {
            let _ = opts.setting("port");
        }
    }),
    target("postgresql.conf", |input| {
        if let Ok(settings) = conf::parse(&text(input)) {
            for setting in &settings {
                let _ = conf::quote_value(&setting.value);
            }
            let _ = conf::last(&settings, "port");
        }
    }),
    target("pg_hba.conf", |input| {
        for line in hba::parse(Path::new("/pg_hba.conf"), &text(input)) {
            let words = line.fields.iter().flatten();
            let _: Vec<String> = words.map(hba::Word::written).collect();
        }
    }),
    target("names", names),
    target("page", page_of),
    sealed("wal", seal::wal, wal),
    target("pgpass", pgpass),
];

fn pg_control(input: &[u8]) {
    let Ok(file) = ControlFile::parse(input) else {
        return;
    };
    let _ = (
        file.cleanly_shut_down(),
        file.data_checksums(),
        file.first_segment_after_checkpoint(),
        file.checkpoint_wal_file(),
        file.format_differences(&file),
        file.not_after(&file),
    );
    for xid in [file.oldest_xid, file.next_xid.xid()] {
        let _ = slru::xact_position(xid);
    }
    let _ = (
        slru::offset_position(file.next_multi),
        file.next_multi.precedes(file.oldest_multi),
    );
    if let Some(layout) = Layout::of(&file) {
        let _ = (layout.file_name(file.redo), layout.in_segment(file.redo));
    }
}

fn names(input: &[u8]) {
    for name in text(input).split('\n') {
        if let Some(file) = RelFile::parse(name) {
            assert_eq!(file.file_name(), name);
        }
        let _ = (slru::parse_segment_name(name), control::is_wal_file(name));
    }
}

fn page_of(input: &[u8]) {
    for (block, page) in input.chunks(8192).enumerate() {
        let _ = page::fault(page, u32::try_from(block).unwrap(), true);
        for tuple in page::heap_tuples(page) {
            let Some(header) = tuple.header else { continue };
            let _ = (
                header.is_frozen(),
                header.xmax_is_multi(),
                header.xmax_only_locks(),
            );
        }
    }
}

/// Where the WAL of the corpus begins is in the name of nothing: its first page says it.
fn wal(input: &[u8]) {
    let number = |at: usize, width: usize| {
        let mut bytes = [0; 8];
        let found = input.get(at..at + width)?;
        bytes[..width].copy_from_slice(found);
        Some(u64::from_ne_bytes(bytes))
    };
    let (Some(timeline), Some(at), Some(id)) = (number(4, 4), number(8, 8), number(24, 8)) else {
        return;
    };
    let layout = Layout {
        timeline: pg_migrator::pg::Timeline(timeline as u32),
        system_identifier: pg_migrator::pg::SystemIdentifier(id),
        segment_size: 1 << 20,
        page_size: 8192,
    };
    let mut reader = Reader::new(layout, Lsn(at), Lsn(at.saturating_add(1 << 16)));
    for page in input.chunks(8192) {
        let read = |record: &pg_migrator::pg::wal::Record<'_>| {
            let _ = record.kind();
        };
        if reader.wanted().is_none() || reader.read(page, read).is_err() {
            return;
        }
    }
}

/// The file lies in a home directory; whoever upgrades may have had it from anywhere.
fn pgpass(input: &[u8]) {
    let endpoint = Endpoint {
        side: Side::Old,
        major: pg_migrator::pg::MajorVersion(15),
        data_dir: "/srv/old".into(),
        host: "/run/pg".into(),
        port: 5433,
        user: "post:gres".to_owned(),
        log: None,
        private: false,
    };
    for line in input.split(|byte| *byte == b'\n') {
        let found = password_in(line, &endpoint, "a");
        assert!(found.is_none_or(|password| password.len() < line.len()));
    }
}
