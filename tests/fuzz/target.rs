//! The parsers, and what is asked of what they make of an input.

use std::fs;
use std::path::Path;

use pg_migrator::catalog::Snapshot;
use pg_migrator::disk::Area;
use pg_migrator::engine::StateDir;
use pg_migrator::event::{Event, Listener};
use pg_migrator::journal::{JOURNAL_FILE, Journal};
use pg_migrator::pg::wal::{Layout, Reader};
use pg_migrator::pg::{
    ControlFile, Lsn, MajorVersion, PostmasterOpts, PostmasterPid, RelFile, Version, conf, control,
    hba, page, quote, slru,
};
use pg_migrator::render::{Filter, replay};
use pg_migrator::schema;
use pg_migrator::transfer::Moves;
use pg_migrator::transfer::first_copies::{LEDGER, Ledger};

/// A parser.
pub struct Target {
    /// The folder of its corpus.
    pub name: &'static str,
    /// Makes checksums right.
    pub seal: fn(Vec<u8>) -> Vec<u8>,
    /// Reads the input, and uses what came of it.
    pub parse: fn(&[u8]),
}

const fn target(name: &'static str, parse: fn(&[u8])) -> Target {
    Target {
        name,
        seal: |input| input,
        parse,
    }
}

const fn sealed(name: &'static str, seal: fn(Vec<u8>) -> Vec<u8>, parse: fn(&[u8])) -> Target {
    Target { name, seal, parse }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    sealed("pg_control", seal_control, pg_control),
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
    sealed("wal", seal_wal, wal),
    target("versions", |input| {
        let text = text(input);
        let _ = (Version::parse(&text), MajorVersion::parse(&text));
    }),
    target("list-of-a-dump", |input| {
        if let Ok(contents) = schema::parse(&text(input)) {
            for entry in &contents.entries {
                let _ = quote::terminal_safe(&entry.text);
            }
        }
    }),
    sealed("journal", seal_journal, |input| {
        in_state(JOURNAL_FILE, input, |area| {
            if let Ok(Some(state)) = Journal::read(area) {
                let _ = state.standing();
                // What was read can be gone on with.
                let _ = Journal::open(area);
            }
        });
    }),
    target("plan", |input| {
        in_state(
            JOURNAL_FILE,
            include_bytes!("../corpus/journal/prepared"),
            |area| {
                fs::write(area.root().join("plan.json"), input).unwrap();
                let _ = StateDir::look(area.root());
            },
        );
    }),
    sealed("first-copies", seal_ledger, |input| {
        in_state(LEDGER, input, |area| {
            if let Ok(ledger) = Ledger::open(area) {
                let _ = ledger.last();
            }
        });
    }),
    target("swap", |input| drop(serde_json::from_slice::<Moves>(input))),
    target("snapshot", |input| {
        drop(serde_json::from_slice::<Snapshot>(input))
    }),
    target("events", |input| {
        let _ = replay(input, &mut Shown, Filter::Everything);
    }),
    target("shown", |input| {
        let text = text(input);
        let shown = quote::terminal_safe(&text);
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
        assert_eq!(quote::terminal_safe(&shown), shown);
    }),
];

struct Shown;

impl Listener for Shown {
    fn hear(&mut self, event: &Event) {
        let _ = serde_json::to_vec(event);
    }
}

fn text(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}

/// With a state directory that has this file.
fn in_state(name: &str, input: &[u8], with: impl FnOnce(&Area)) {
    let memory = Path::new("/dev/shm");
    let dir = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    let dir = dir.unwrap();
    fs::write(dir.path().join(name), input).unwrap();
    with(&Area::new(dir.path()).unwrap());
}

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

fn crc_at(bytes: &[u8], from: usize, to: usize, then: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[from..to]), then)
}

/// The CRC is behind everything it covers, at another place in each version.
fn seal_control(mut input: Vec<u8>) -> Vec<u8> {
    const PLACES: [usize; 3] = [288, 292, 296];
    let version = input
        .get(8..12)
        .map_or(0, |b| u32::from_ne_bytes(b.try_into().unwrap()));
    let known = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pg_control"))
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .find(|known| known[8..12] == version.to_ne_bytes());
    let place = known.and_then(|known| {
        (200..320).find(|at| known[*at..at + 4] == crc_at(&known, 0, *at, &[]).to_ne_bytes())
    });
    for at in place.into_iter().chain(PLACES).take(1) {
        if input.len() >= at + 4 {
            let crc = crc_at(&input, 0, at, &[]);
            input[at..at + 4].copy_from_slice(&crc.to_ne_bytes());
        }
    }
    input
}

/// Records of the first pages, as far as their lengths lead.
fn seal_wal(mut input: Vec<u8>) -> Vec<u8> {
    let mut at = 40;
    while let Some(length) = input.get(at..at + 4) {
        let length = u32::from_ne_bytes(length.try_into().unwrap()) as usize;
        let end = at + length;
        if length < 24 || end > input.len() || at / 8192 != (end - 1) / 8192 {
            break;
        }
        let head = input[at..at + 20].to_vec();
        let crc = crc_at(&input, at + 24, end, &head);
        input[at + 20..at + 24].copy_from_slice(&crc.to_ne_bytes());
        at = end.next_multiple_of(8);
    }
    input
}

fn seal_journal(input: Vec<u8>) -> Vec<u8> {
    seal_lines(&input, |line| {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        let record = record_of(line)?;
        let sealed = format!("{} {} {record}", value["seq"], value["time"].as_str()?);
        Some((value["crc"].as_str()?.to_owned(), sealed))
    })
}

fn seal_ledger(input: Vec<u8>) -> Vec<u8> {
    seal_lines(&input, |line| {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        Some((
            value["crc"].as_str()?.to_owned(),
            record_of(line)?.to_owned(),
        ))
    })
}

/// The record is the last member of a line.
fn record_of(line: &str) -> Option<&str> {
    let (_, record) = line.split_once("\"record\":")?;
    record.strip_suffix('}')
}

fn seal_lines(input: &[u8], parts: impl Fn(&str) -> Option<(String, String)>) -> Vec<u8> {
    let text = String::from_utf8_lossy(input);
    let lines = text
        .split_inclusive('\n')
        .map(|line| match parts(line.trim_end_matches('\n')) {
            Some((crc, sealed)) => {
                let right = format!("{:08x}", crc32c::crc32c(sealed.as_bytes()));
                line.replacen(&crc, &right, 1)
            }
            None => line.to_owned(),
        });
    lines.collect::<String>().into_bytes()
}
