//! Which disks are alike: of all runs, not only of one.
//!
//! The program is a function of what it finds: the two clusters, the tablespace and the state
//! directory. From two disks that are alike the same command does the same, and leaves alike ones.
//! Left out is only what nothing there decides by:
//!
//! - numbers of inodes: which names are one file stays, and so does which file a list names;
//! - times of files: nothing but the ledger of first copies asks for them. Of what it wrote down
//!   stays whether that is what the file still has, and whether it was old enough to tell;
//! - what pg_resetwal has the time in: but not whether two of these files are the same one's bytes,
//!   nor whether a fingerprint that was written down is that of one of them;
//! - how a journal came to say what it says: the state it leads to stays, and whether it is torn;
//! - how often first copies have named the boot they are of: each pass does, and what counts is which
//!   it is, and whether the clock was set back, which nobody does here;
//! - what is told to people: events, logs, when service went down;
//! - the number of a process that is gone.
//!
//! That this is right is not taken for granted: see `twice.rs`.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::signal::kill;
use nix::unistd::Pid;
use pg_migrator::disk::{Area, MARGIN};
use pg_migrator::journal::Journal;
use pg_migrator::pg::{ControlFile, control};
use serde_json::{Value, json};
use xxhash_rust::xxh3::Xxh3;

use crate::sameness::{Disk, Known};

const STATE: &str = "new.migration/";
/// In the first bytes of a segment of the WAL is all that pg_resetwal writes there.
const FIRST_RECORD: usize = 512;

/// What the contents of a file are to the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// For people, or for nobody.
    Told,
    Journal,
    Document,
    ProcessFile,
    Timed,
    Plain,
}

/// Which names and bytes of a disk are one file's.
struct Relations<'a> {
    disk: &'a Disk,
    /// Of each file the first of its names.
    names: HashMap<u64, usize>,
    /// Of the bytes of files with a time in them the first name of a file that has them.
    firsts: HashMap<u128, usize>,
    /// Which of these are control files, by fingerprint.
    controls: HashMap<String, usize>,
}

impl Disk {
    /// Stands for what there is, and for all that is like it.
    pub fn likeness(&self, known: &mut Known) -> u128 {
        let mut relations = Relations {
            disk: self,
            names: HashMap::new(),
            firsts: HashMap::new(),
            controls: HashMap::new(),
        };
        for (number, (_, meta)) in self.entries.iter().enumerate() {
            relations.names.entry(meta.ino()).or_insert(number);
        }
        let mut hash = Xxh3::new();
        for (number, (path, meta)) in self.entries.iter().enumerate() {
            relations.add((number, path, meta), known, &mut hash);
        }
        hash.digest128()
    }
}

/// The contents of a file without the times pg_resetwal puts there; nothing where it puts none.
pub fn without_times(path: &Path, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let first = bytes.len().min(FIRST_RECORD);
    if is_wal(path) {
        let written = bytes[..first].iter().any(|byte| *byte != 0);
        bytes[..first].fill(u8::from(written));
        return Some(bytes);
    }
    if !is_control(path) {
        return None;
    }
    let control = ControlFile::parse(&bytes).ok()?;
    let crc = (0..first)
        .step_by(4)
        .find(|at| crc32c::crc32c(&bytes[..*at]).to_ne_bytes() == bytes[*at..at + 4])?;
    bytes[crc..crc + 4].fill(0);
    for eight in bytes.chunks_exact_mut(8) {
        if [control.modified, control.checkpoint_time]
            .contains(&i64::from_ne_bytes(eight.try_into().unwrap()))
        {
            eight.fill(0);
        }
    }
    Some(bytes)
}

fn is_wal(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "pg_wal")
}

fn is_control(path: &Path) -> bool {
    name_when_whole(path).ends_with("pg_control")
}

/// What a file is called, or will be when it is whole.
fn name_when_whole(path: &Path) -> &str {
    let name = path.file_name().unwrap().to_str().unwrap();
    name.strip_suffix(".pgm_new")
        .and_then(|name| name.strip_prefix('.'))
        .unwrap_or(name)
}

fn kind(path: &Path) -> Kind {
    let name = name_when_whole(path);
    if name.starts_with("postmaster.pid") {
        return Kind::ProcessFile;
    }
    if path.starts_with("data") {
        return Kind::Plain;
    }
    if is_wal(path) || is_control(path) {
        return Kind::Timed;
    }
    match path.to_str().unwrap().strip_prefix(STATE) {
        Some(told) if told.starts_with("logs/") => Kind::Told,
        Some("events.jsonl" | "lock" | "report.txt") => Kind::Told,
        Some("journal.jsonl") => Kind::Journal,
        Some(_) => match name {
            "first-copies.jsonl"
            | "swap.json"
            | "down-since.json"
            | "released-control.json"
            | "given-up-control.json" => Kind::Document,
            _ => Kind::Plain,
        },
        None => Kind::Plain,
    }
}

impl Relations<'_> {
    fn add(
        &mut self,
        (number, path, meta): (usize, &Path, &Metadata),
        known: &mut Known,
        hash: &mut Xxh3,
    ) {
        let full = self.disk.dir.join(path);
        let mut add = |bytes: &[u8]| {
            hash.update(&bytes.len().to_le_bytes());
            hash.update(bytes);
        };
        add(path.as_os_str().as_encoded_bytes());
        add(&meta.mode().to_le_bytes());
        if meta.is_symlink() {
            let target = fs::read_link(&full).unwrap();
            return add(target.as_os_str().as_encoded_bytes());
        }
        if !meta.is_file() {
            return;
        }
        add(&meta.nlink().to_le_bytes());
        add(&meta.dev().to_le_bytes());
        add(&self.names[&meta.ino()].to_le_bytes());
        match kind(path) {
            Kind::Told => {}
            Kind::Journal => add(self.journal(&full).as_bytes()),
            Kind::Document => add(self.document(&full, path.ends_with("swap.json")).as_bytes()),
            Kind::ProcessFile => add(process_file(&full).as_bytes()),
            Kind::Timed => {
                let found = known.contents(&full, meta);
                let first = *self.firsts.entry(found.all).or_insert(number);
                if is_control(path) {
                    let fingerprint = control::fingerprint_file(&full).unwrap();
                    self.controls.entry(fingerprint).or_insert(first);
                }
                add(&found.without_times.to_le_bytes());
                add(&first.to_le_bytes());
            }
            Kind::Plain => add(&known.contents(&full, meta).all.to_le_bytes()),
        }
    }

    fn journal(&self, path: &Path) -> String {
        let bytes = fs::read(path).unwrap();
        let area = Area::new(&self.disk.dir.join(STATE)).unwrap();
        let Ok(Some(state)) = Journal::read(&area) else {
            return String::from_utf8_lossy(&bytes).into_owned();
        };
        format!("{state:?} torn: {}", !bytes.ends_with(b"\n"))
    }

    /// Of a document with more lines each one.
    fn document(&self, path: &Path, of_moves: bool) -> String {
        let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        if let Ok(value) = serde_json::from_str(&text) {
            return self.value(value, of_moves).to_string();
        }
        let mut pass = None;
        let lines = text.split_inclusive('\n').map(|line| {
            let Ok(parsed) = serde_json::from_str(line) else {
                return line.to_owned();
            };
            let parsed = self.value(parsed, of_moves);
            let of_the_last_pass = parsed["record"]["kind"] == "pass"
                && pass.replace(parsed.clone()).as_ref() == Some(&parsed);
            match of_the_last_pass {
                true => String::new(),
                false => format!("{parsed}\n"),
            }
        });
        lines.collect()
    }

    fn value(&self, value: Value, of_moves: bool) -> Value {
        match value {
            Value::Array(values) if of_moves && values.len() == 3 && values[2].is_u64() => {
                json!([values[0], values[1], self.file(&values[2])])
            }
            Value::Array(values) => values
                .into_iter()
                .map(|value| self.value(value, of_moves))
                .collect(),
            Value::Object(fields) if fields.contains_key("inode") => self.stamp(&fields.into()),
            Value::Object(fields) => {
                let tells = fields
                    .get("seen")
                    .map(|seen| old_enough(&fields["from"], seen));
                let kept = fields.into_iter().map(|(name, value)| {
                    let value = match (name.as_str(), &value) {
                        ("seen", _) => json!(tells),
                        // Of bytes of old, which nobody changes, with a secret that is drawn.
                        ("digests", Value::String(digests)) => json!(digests.len()),
                        ("crc" | "secret" | "ahead" | "clock", _) => Value::Null,
                        _ => self.value(value, of_moves),
                    };
                    (name, value)
                });
                Value::Object(kept.collect())
            }
            Value::String(text) => match self.controls.get(&text) {
                Some(control) => json!(format!("of control file {control}")),
                None => Value::String(text),
            },
            other => other,
        }
    }

    /// The file with this inode; the number itself where there is none.
    fn file(&self, inode: &Value) -> Value {
        let named = inode.as_u64().and_then(|inode| self.names.get(&inode));
        named.map_or(inode.clone(), |name| json!(format!("file {name}")))
    }

    /// What had this stamp, and whether it still has it.
    fn stamp(&self, stamp: &Value) -> Value {
        let named = stamp["inode"].as_u64().and_then(|of| self.names.get(&of));
        let still = named.is_some_and(|number| {
            let meta = &self.disk.entries[*number].1;
            let nanoseconds = |seconds, rest| seconds * 1_000_000_000 + rest;
            stamp["len"] == meta.len()
                && stamp["modified"] == nanoseconds(meta.mtime(), meta.mtime_nsec())
                && stamp["changed"] == nanoseconds(meta.ctime(), meta.ctime_nsec())
        });
        json!([named, stamp["len"], still])
    }
}

/// Whether the times of a stamp were old enough at this moment to show each later write.
fn old_enough(stamp: &Value, seen: &Value) -> bool {
    let before = seen.as_i64().unwrap() - MARGIN;
    ["modified", "changed"]
        .iter()
        .all(|time| stamp[time].as_i64().unwrap() < before)
}

/// Without the number of a process that is gone, or is this one.
fn process_file(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let Ok(number) = first.parse::<i32>() else {
        return text;
    };
    let process = Pid::from_raw(number.abs());
    match process == Pid::this() || kill(process, None).is_err() {
        true => format!("gone {}\n{rest}", number < 0),
        false => text,
    }
}

/// A disk with two names of one file, a list that names it, and a process that is gone.
fn sample(dir: &Path) {
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("data/base/5/1", "rows");
    write("data/base/5/2", "rows");
    write("new/base/5/7", "other rows");
    fs::hard_link(dir.join("data/base/5/1"), dir.join("new/base/5/1")).unwrap();
    write("data/postmaster.pid", "-99999999\n/data\n");
    write("new.migration/events.jsonl", &format!("{dir:?}"));
    let inode = fs::metadata(dir.join("data/base/5/1")).unwrap().ino();
    let moves = json!({"files": [["1", "1", inode]]});
    write("new.migration/swap.json", &moves.to_string());
    write(LEDGER, &ledger(&[("this", 7)]));
}

const LEDGER: &str = "new.migration/first-copies.jsonl";

/// A ledger of passes, each of a boot and with what one clock was ahead of another.
fn ledger(passes: &[(&str, u64)]) -> String {
    let line = |record: Value| format!("{}\n", json!({"crc": "", "record": record}));
    let passes = passes.iter().map(|(boot, ahead)| {
        let era = json!({"boot": boot, "ahead": ahead});
        line(json!({"kind": "pass", "era": era}))
    });
    let opened = line(json!({"kind": "opened"}));
    std::iter::once(opened).chain(passes).collect()
}

#[test]
fn disks_are_alike_but_for_what_decides() {
    let of = |change: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        sample(dir.path());
        change(dir.path());
        Disk::look(dir.path()).likeness(&mut Known::default())
    };
    let like = of(&|_| {});
    assert_eq!(like, of(&|_| {}));
    let process =
        |text| move |dir: &Path| fs::write(dir.join("data/postmaster.pid"), text).unwrap();
    assert_eq!(like, of(&process("-88888888\n/data\n")));
    assert_ne!(like, of(&process("-1\n/data\n")));
    assert_ne!(like, of(&process("88888888\n/data\n")));
    let passes = |passes: &[_]| {
        let text = ledger(passes);
        move |dir: &Path| fs::write(dir.join(LEDGER), &text).unwrap()
    };
    // Whether a pass read the very same difference of two clocks as the last one decides nothing.
    assert_eq!(like, of(&passes(&[("this", 7), ("this", 8)])));
    assert_ne!(like, of(&passes(&[("this", 7), ("next", 7)])));
    assert_ne!(like, of(&passes(&[])));
    // The same bytes in two files are not two names of one.
    assert_ne!(
        like,
        of(&|dir| {
            fs::remove_file(dir.join("new/base/5/1")).unwrap();
            fs::copy(dir.join("data/base/5/1"), dir.join("new/base/5/1")).unwrap();
        })
    );
    // The list names another file.
    assert_ne!(
        like,
        of(&|dir| {
            fs::rename(dir.join("data/base/5/2"), dir.join("data/base/5/3")).unwrap();
            fs::rename(dir.join("data/base/5/1"), dir.join("data/base/5/2")).unwrap();
            fs::rename(dir.join("data/base/5/3"), dir.join("data/base/5/1")).unwrap();
            fs::remove_file(dir.join("new/base/5/1")).unwrap();
            fs::hard_link(dir.join("data/base/5/1"), dir.join("new/base/5/1")).unwrap();
        })
    );
    assert_ne!(
        like,
        of(&|dir| fs::write(dir.join("new/base/5/7"), "some rows").unwrap())
    );
}
