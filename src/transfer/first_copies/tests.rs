mod stirred;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::digest::RANGE;
use super::ledger::Entry;
use super::line::{self, Record};
use super::*;
use crate::disk::{Area, Era, OldDir};
use crate::event::Stream;
use crate::pg::page::PageLayout;
use crate::pg::{RelFile, RelFileNumber};
use crate::plan::{Folder, Pair};
use stirred::stirred;

const PAGE: usize = 8192;

/// Relations 1 to 9 of old, which become 11 to 19.
struct Dirs {
    dir: tempfile::TempDir,
    state: Area,
    map: FileMap,
    checksums: Option<PageLayout>,
    stream: Stream,
    cancel: Cancel,
}

impl Dirs {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["old", "new"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let root = dir.path().canonicalize().unwrap();
        let state = Area::new(&root.join("state")).unwrap();
        state.create_dir("", 0o700).unwrap();
        let folder = Folder {
            database: "shop".into(),
            old_dir: root.join("old"),
            new_root: root,
            new_dir: "new".into(),
            pairs: Vec::new(),
        };
        let mut dirs = Self {
            dir,
            state,
            map: FileMap {
                folders: vec![folder],
            },
            checksums: None,
            stream: Stream::default(),
            cancel: Cancel::new(),
        };
        for number in 1..=4 {
            dirs.relation(number, number);
            dirs.write(&number.to_string(), &pages(number, 50));
        }
        dirs
    }

    /// Old's file of this number is new's of this plus ten.
    fn relation(&mut self, old: u32, new: u32) {
        let pairs = &mut self.map.folders[0].pairs;
        pairs.retain(|pair| pair.new != RelFileNumber(10 + new));
        pairs.push(Pair {
            old: RelFileNumber(old),
            new: RelFileNumber(10 + new),
            wal: None,
        });
    }

    fn old(&self, name: &str) -> PathBuf {
        self.dir.path().join("old").join(name)
    }

    fn new_file(&self, name: &str) -> PathBuf {
        self.dir.path().join("new").join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.old(name), bytes).unwrap();
    }

    fn change(&self, name: &str, at: u64, bytes: &[u8]) {
        let file = OpenOptions::new().write(true).open(self.old(name)).unwrap();
        file.write_all_at(bytes, at).unwrap();
    }

    fn work(&self) -> Work<'_> {
        Work {
            jobs: 2,
            checksums: self.checksums,
            cancel: &self.cancel,
            sink: &self.stream,
            step: "test",
        }
    }

    fn beside(&self) -> Passed {
        self.beside_at(None)
    }

    fn beside_at(&self, max_rate: Option<u64>) -> Passed {
        let mut ledger = Ledger::open(&self.state).unwrap();
        beside(&self.map, &self.work(), max_rate, &mut ledger)
            .unwrap()
            .0
    }

    /// By another process than the one before; afterwards new is what old is.
    fn at_rest(&self) -> Passed {
        let mut ledger = Ledger::open(&self.state).unwrap();
        let (passed, _) = at_rest(&self.map, &self.work(), &mut ledger).unwrap();
        self.demand_same();
        passed
    }

    fn demand_same(&self) {
        let mut wanted = Vec::new();
        for entry in fs::read_dir(self.old("")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let file = RelFile::parse(&name).unwrap();
            let pairs = &self.map.folders[0].pairs;
            if let Some(pair) = pairs.iter().find(|pair| pair.old == file.number) {
                wanted.push((file.renumbered(pair.new).file_name(), name));
            }
        }
        wanted.sort();
        for (new, old) in &wanted {
            let file = RelFile::parse(new).unwrap();
            let (new, old) = (self.new_file(new), self.old(old));
            let mut bytes = fs::read(&old).unwrap();
            if let Some(layout) = self.checksums {
                layout.write_checksums(file, 0, &mut bytes);
            }
            assert!(fs::read(&new).unwrap() == bytes, "{new:?}");
            assert_ne!(inode(&new), inode(&old));
        }
        let mut there: Vec<String> = fs::read_dir(self.new_file(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        there.sort();
        let wanted: Vec<String> = wanted.into_iter().map(|(new, _)| new).collect();
        assert_eq!(there, wanted);
    }

    /// Time goes on until a write would be seen by the times of a file.
    fn come_of_age(&self) {
        wait_until_told(&self.cancel).unwrap();
    }
}

fn inode(path: &PathBuf) -> u64 {
    fs::metadata(path).unwrap().ino()
}

/// Pages of which no two are alike.
fn pages(seed: u32, number: u32) -> Vec<u8> {
    (0..number)
        .flat_map(|page| {
            let mark = (u64::from(seed) << 48 | u64::from(page)) + 1;
            mark.to_le_bytes().repeat(PAGE / 8)
        })
        .collect()
}

#[test]
fn what_is_old_enough_is_read_once() {
    let dirs = Dirs::new();
    dirs.come_of_age();
    let first = dirs.beside();
    assert_eq!((first.files, first.kept), (4, 0));
    assert_eq!(first.written, 4 * 50 * PAGE as u64);
    dirs.demand_same();
    let again = dirs.at_rest();
    assert_eq!((again.files, again.kept, again.read), (0, 4, 0));
    dirs.change("2", 7 * PAGE as u64, &[9; PAGE]);
    let passed = dirs.at_rest();
    assert_eq!((passed.files, passed.kept), (1, 3));
    assert_eq!(passed.read, 50 * PAGE as u64);
    assert_eq!(passed.written, RANGE as u64);
}

/// Of a file that was just written nobody knows whether it was written once more.
#[test]
fn what_is_young_is_read_again() {
    let dirs = Dirs::new();
    // However long it takes until it is looked at.
    let young = SystemTime::now() + Duration::from_secs(3600);
    for number in 1..=4 {
        let file = File::options()
            .write(true)
            .open(dirs.old(&number.to_string()));
        file.unwrap().set_modified(young).unwrap();
    }
    dirs.beside();
    let passed = dirs.at_rest();
    assert_eq!((passed.files, passed.kept, passed.written), (4, 0, 0));
}

#[test]
fn a_time_that_was_set_back_deceives_nobody() {
    let dirs = Dirs::new();
    dirs.come_of_age();
    dirs.beside();
    let before = fs::metadata(dirs.old("3")).unwrap();
    dirs.change("3", 0, &[1; 100]);
    let file = File::options().write(true).open(dirs.old("3")).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    let after = fs::metadata(dirs.old("3")).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    assert_eq!(dirs.at_rest().written, RANGE as u64);
}

/// A write so soon after the look that both times of the file stay as they were: the ledger is
/// made to say what it would say then.
#[test]
fn a_write_within_the_granularity_of_the_times_is_found() {
    let dirs = Dirs::new();
    dirs.come_of_age();
    let mut ledger = Ledger::open(&dirs.state).unwrap();
    beside(&dirs.map, &dirs.work(), None, &mut ledger).unwrap();
    let id = ledger.folder(&dirs.map.folders[0]).unwrap();
    let era = Era::now().unwrap();
    let new = RelFile::parse("13").unwrap();
    let known = ledger.known(id, new, &era).unwrap();
    let (digests, loose) = ledger.digests(&known).unwrap();
    dirs.change("3", 0, &[1; 100]);
    let old = OldDir::open(&dirs.old("")).unwrap();
    let from = old.stamp("3").unwrap().unwrap();
    ledger.begin(Some(&era)).unwrap();
    for (later, found) in [(MARGIN, true), (MARGIN + 1_000_000_000, false)] {
        let entry = Entry {
            folder: id,
            new,
            seen: from.changed + later,
            from,
            copy: known.copy,
            digests: digests.clone(),
            loose: loose.clone(),
        };
        ledger.add(&[entry]).unwrap();
        let read = fs::read(dirs.new_file("13")).unwrap();
        assert_ne!(read, fs::read(dirs.old("3")).unwrap());
        if found {
            let mut copied = Ledger::open(&dirs.state).unwrap();
            let (passed, _) = at_rest(&dirs.map, &dirs.work(), &mut copied).unwrap();
            assert_eq!((passed.files, passed.kept), (1, 3));
            dirs.demand_same();
            // Back to the copy of before, which is another file now.
            fs::write(dirs.new_file("13"), read).unwrap();
        } else {
            // With a ledger that lies, nothing would be found: so it is the margin that did it.
            let area = Area::new(dirs.dir.path()).unwrap().open_dir("new").unwrap();
            let copy = area.stamp("13").unwrap().unwrap();
            let entry = Entry {
                folder: id,
                new,
                seen: from.changed + later,
                from,
                copy,
                digests: digests.clone(),
                loose: loose.clone(),
            };
            ledger.add(&[entry]).unwrap();
            let (passed, _) = at_rest(&dirs.map, &dirs.work(), &mut ledger).unwrap();
            assert_eq!((passed.files, passed.kept), (0, 4));
        }
    }
}

#[test]
fn files_grow_shrink_go_and_change_places() {
    let mut dirs = Dirs::new();
    dirs.write("1_fsm", &pages(7, 3));
    dirs.write("1.1", &pages(8, 5));
    dirs.beside();
    dirs.change("1", 50 * PAGE as u64, &pages(9, 30));
    File::options()
        .write(true)
        .open(dirs.old("2"))
        .unwrap()
        .set_len(3 * PAGE as u64 + 17)
        .unwrap();
    fs::remove_file(dirs.old("1.1")).unwrap();
    fs::remove_file(dirs.old("1_fsm")).unwrap();
    dirs.write("1_vm", &pages(10, 1));
    dirs.relation(3, 4);
    dirs.relation(4, 3);
    let passed = dirs.at_rest();
    assert_eq!(passed.files, 5);

    // A relation is rewritten, and its number given to another.
    fs::remove_file(dirs.old("3")).unwrap();
    dirs.write("3", &pages(11, 20));
    dirs.write("5", &pages(12, 20));
    dirs.relation(5, 4);
    dirs.relation(3, 5);
    dirs.beside();
    dirs.at_rest();
    dirs.write("5", &[]);
    dirs.at_rest();
}

#[test]
fn a_copy_somebody_else_has_touched_is_made_anew() {
    let dirs = Dirs::new();
    dirs.come_of_age();
    dirs.beside();
    let beyond = dirs.dir.path().join("beyond");
    fs::hard_link(dirs.new_file("11"), &beyond).unwrap();
    let copy = File::options()
        .write(true)
        .open(dirs.new_file("12"))
        .unwrap();
    copy.write_all_at(&[3], 5).unwrap();
    fs::remove_file(dirs.new_file("13")).unwrap();
    fs::hard_link(dirs.old("3"), dirs.new_file("13")).unwrap();
    fs::remove_file(dirs.new_file("14")).unwrap();
    fs::write(dirs.new_file("19"), "of nobody").unwrap();
    let before = fs::read(dirs.old("3")).unwrap();
    dirs.change("1", 0, &[1]);
    dirs.change("2", 0, &[1]);
    dirs.change("3", 9, &before[9..10]);
    let mut dirs = dirs;
    dirs.relation(5, 9);
    dirs.write("5", b"");
    let passed = dirs.at_rest();
    assert_eq!((passed.files, passed.kept), (5, 0));
    assert_eq!(fs::read(&beyond).unwrap(), pages(1, 50));
    assert_eq!(fs::read(dirs.old("3")).unwrap(), before);
}

/// What a killed run leaves: a copy that was changed and never written down.
#[test]
fn a_copy_that_was_left_half_mended_is_made_anew() {
    let dirs = Dirs::new();
    dirs.come_of_age();
    dirs.beside();
    let area = Area::new(dirs.dir.path()).unwrap().open_dir("new").unwrap();
    let known = area.stamp("12").unwrap().unwrap();
    let half = area.open_replica("12", &known).unwrap().unwrap();
    half.write_at(&[5; PAGE], 0).unwrap();
    let passed = dirs.at_rest();
    assert_eq!((passed.files, passed.kept), (1, 3));
    assert_eq!(passed.written, 50 * PAGE as u64);
}

#[test]
fn a_ledger_that_was_torn_anywhere_is_believed_up_to_there() {
    let dirs = Dirs::new();
    dirs.come_of_age();
    dirs.beside();
    let whole = fs::read(dirs.state.root().join(LEDGER)).unwrap();
    for cut in [0, 1, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
        dirs.state.write(LEDGER, &whole[..cut], 0o600).unwrap();
        dirs.at_rest();
        let mut damaged = whole.clone();
        damaged[cut] ^= 1;
        dirs.state.write(LEDGER, &damaged, 0o600).unwrap();
        dirs.at_rest();
    }
    let mode = fs::metadata(dirs.state.root().join(LEDGER)).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

/// After a crash of the machine contents may be there whose times are not.
#[test]
fn nothing_is_believed_after_a_boot() {
    let dirs = Dirs::new();
    dirs.come_of_age();
    dirs.beside();
    assert_eq!(dirs.at_rest().kept, 4);
    let change_eras = |change: &dyn Fn(&str) -> String| {
        let text = fs::read_to_string(dirs.state.root().join(LEDGER)).unwrap();
        let mut lines = Vec::new();
        for line in text.lines() {
            let mut record = line::parse(line.as_bytes()).unwrap();
            if let Record::Pass { era } = &mut record {
                let text = serde_json::to_string(&era).unwrap();
                *era = serde_json::from_str(&change(&text)).unwrap();
            }
            lines.extend(record.line().unwrap());
        }
        dirs.state.write(LEDGER, &lines, 0o600).unwrap();
    };
    // The clock was set back by ten seconds: the times of old tell nothing, those of copies do.
    change_eras(&|era| {
        let ahead: i64 = serde_json::from_str::<serde_json::Value>(era).unwrap()["ahead"]
            .as_i64()
            .unwrap();
        era.replace(&ahead.to_string(), &(ahead + 10_000_000_000).to_string())
    });
    let passed = dirs.at_rest();
    assert_eq!((passed.files, passed.kept, passed.written), (4, 0, 0));
    change_eras(&|era| era.replace("\"boot\":\"", "\"boot\":\"0"));
    let passed = dirs.at_rest();
    assert_eq!((passed.files, passed.written), (4, 4 * 50 * PAGE as u64));
}

#[test]
fn holes_stay_holes_and_zeroes_zeroes() {
    let dirs = Dirs::new();
    let sparse = File::create(dirs.old("1")).unwrap();
    sparse.write_all_at(&[7; PAGE], 10 << 20).unwrap();
    sparse.set_len(20 << 20).unwrap();
    dirs.write("2", &vec![0; 4 << 20]);
    sparse.sync_all().unwrap();
    File::open(dirs.old("2")).unwrap().sync_all().unwrap();
    dirs.beside();
    dirs.demand_same();
    let blocks = |name| fs::metadata(dirs.new_file(name)).unwrap().blocks() * 512;
    assert!(blocks("11") < 1 << 20, "{}", blocks("11"));
    assert!(blocks("12") >= 4 << 20, "{}", blocks("12"));
    // Contents become zeroes, and the end a hole.
    dirs.change("1", 10 << 20, &[0; PAGE]);
    sparse.set_len(30 << 20).unwrap();
    dirs.at_rest();
    sparse.set_len(10 << 20).unwrap();
    dirs.at_rest();
}

#[test]
fn a_rate_that_was_asked_for_is_kept() {
    let dirs = Dirs::new();
    dirs.write("1", &vec![5; 8 << 20]);
    let begun = Instant::now();
    dirs.beside_at(Some(16 << 20));
    assert!(begun.elapsed() > Duration::from_millis(350));
    dirs.demand_same();
}

#[test]
fn a_ledger_stays_short() {
    let dirs = Dirs::new();
    dirs.write("1", &vec![5; 64 << 20]);
    let size = || fs::metadata(dirs.state.root().join(LEDGER)).unwrap().len();
    dirs.beside();
    let once = size();
    for round in 0..30 {
        dirs.change("1", 0, &[round; 10]);
        dirs.beside();
    }
    assert!(size() < (4 * once).max(2 << 20), "{} of {once}", size());
    dirs.at_rest();
}

/// Whatever happens between the passes, and while one is at work.
#[test]
fn in_the_end_every_block_is_the_same() {
    stirred(&Dirs::new());
}

/// Digests are of what old has: that copies have checksums makes none of them another one.
#[test]
fn in_the_end_every_page_has_its_checksum() {
    let mut dirs = Dirs::new();
    dirs.checksums = Some(PageLayout {
        block_size: PAGE as u32,
        segment_blocks: 131_072,
    });
    dirs.beside();
    assert_ne!(fs::read(dirs.new_file("11")).unwrap(), pages(1, 50));
    dirs.demand_same();
    stirred(&dirs);
}

#[test]
fn a_file_that_is_gone_ends_a_pass_at_rest() {
    let dirs = Dirs::new();
    dirs.beside();
    fs::remove_file(dirs.old("4")).unwrap();
    dirs.beside();
    assert!(!dirs.new_file("14").exists());
    let mut ledger = Ledger::open(&dirs.state).unwrap();
    let error = at_rest(&dirs.map, &dirs.work(), &mut ledger).unwrap_err();
    assert_eq!(error.code(), crate::error::Code::FileVanished);
}
