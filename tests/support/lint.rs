//! What killing cannot show, read from a trace: nothing is renamed before it is durable, nothing
//! is left undurable by a step that is done, and a line of the journal is durable before the next
//! change.
//!
//! What other programs write is in no trace, but that they did: all of that is undurable until the
//! whole is synced. Where a step builds new by a server that waits for no disk, it may stay so until
//! files are placed: a prepare that was killed is begun anew.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pg_migrator::journal::Phase;
use pg_migrator::steps::registry;

/// A lost line of the first decides nothing, one of the other costs a copy made anew; a dump is
/// read before files are placed, and after a crash before that it is made anew.
const MAY_BE_LOST: [&str; 4] = ["/events.jsonl", "/first-copies.jsonl", "/dump", "/again"];
const JOURNAL: &str = "/journal.jsonl";
/// The step that makes durable what was built.
const PLACED: &str = "place-files";
/// What a file is called that nobody reads before it has another name.
const UNFINISHED: &str = ".pgm_new";
/// The line of a kill.
const KILLED: &str = "killed";

#[derive(Default)]
struct Lint {
    files: BTreeSet<String>,
    dirs: BTreeSet<String>,
    /// Below these anything may be undurable that other programs wrote, but for what is `synced`.
    trees: BTreeSet<String>,
    synced: BTreeSet<String>,
    /// Of the trees, those whose own names may be undurable, and those whose are not.
    unplaced: BTreeSet<String>,
    placed: BTreeSet<String>,
    journal: bool,
    found: Vec<String>,
}

/// Adds to a trace that the program was killed: what follows is done by another process.
pub fn killed(trace: &Path) {
    let mut file = fs::File::options().append(true).open(trace).unwrap();
    writeln!(file, "{KILLED}").unwrap();
}

/// What is wrong in a trace.
pub fn of(trace: &Path) -> Vec<String> {
    let text = fs::read_to_string(trace).unwrap();
    assert!(
        text.contains("append "),
        "{} tells nothing",
        trace.display()
    );
    let mut lint = Lint::default();
    for (at, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split(' ').collect();
        lint.follow(at + 1, words[0], &words[1..]);
    }
    if lint.journal && !text.trim_end().ends_with(KILLED) {
        let end = "the end: the last line of the journal is not durable";
        lint.found.push(end.to_owned());
    }
    lint.found
}

impl Lint {
    fn follow(&mut self, at: usize, act: &str, words: &[&str]) {
        if words.iter().any(|path| may_be_lost(path)) {
            return;
        }
        let of_journal = words.iter().any(|path| path.ends_with(JOURNAL));
        if self.journal && !of_journal && changes(act) {
            self.found.push(format!(
                "line {at}: {act} {words:?} before the line of the journal is durable"
            ));
            self.journal = false;
        }
        let last = words.last().copied().unwrap_or_default();
        match act {
            "append" if of_journal => self.journal = true,
            "append" | "truncate" | "patch" => {
                self.files.insert(last.to_owned());
            }
            "write" | "copy" | "clone" | "create" => {
                self.files.insert(last.to_owned());
                self.named(last);
            }
            "link" | "symlink" | "mkdir" => self.named(last),
            "fsync" | "fdatasync" => {
                self.journal &= !of_journal;
                self.files.remove(last);
                self.synced.insert(last.to_owned());
            }
            "fsyncdir" => {
                self.dirs.remove(last);
                self.place(|tree| parent(tree) == last);
            }
            "unsynced" => {
                self.synced.retain(|path| !is_at(last, path));
                self.trees.insert(last.to_owned());
                if !self.placed.contains(last) {
                    self.unplaced.insert(last.to_owned());
                }
            }
            "synctree" => {
                self.trees.retain(|tree| !is_at(last, tree));
                self.synced.insert(last.to_owned());
            }
            "syncfs" => self.synced_file_system(last),
            "unlink" | "rmdir" => self.gone(last),
            "rename" => self.renamed(at, words[0], words[1]),
            "step" if ["done", "undone"].contains(&words[0]) => self.demand_clean(at, words),
            "step" | "lock" | KILLED => {}
            other => panic!("line {at}: the lint does not know {other}"),
        }
    }

    fn named(&mut self, path: &str) {
        if !path.ends_with(UNFINISHED) {
            self.dirs.insert(parent(path));
        }
    }

    fn synced_file_system(&mut self, path: &str) {
        let device = device(path);
        for paths in [&mut self.files, &mut self.dirs, &mut self.trees] {
            paths.retain(|path| self::device(path) != device);
        }
        self.place(|tree| self::device(tree) == device);
    }

    /// The names of these trees are durable from now on.
    fn place(&mut self, durable: impl Fn(&String) -> bool) {
        let all = std::mem::take(&mut self.unplaced);
        let (placed, unplaced): (BTreeSet<_>, _) = all.into_iter().partition(durable);
        self.placed.extend(placed);
        self.unplaced = unplaced;
    }

    /// Nobody can ask for what is gone; that it is gone must be durable.
    fn gone(&mut self, path: &str) {
        self.forget(path);
        self.dirs.insert(parent(path));
    }

    fn forget(&mut self, path: &str) {
        for paths in [
            &mut self.files,
            &mut self.dirs,
            &mut self.trees,
            &mut self.synced,
            &mut self.unplaced,
            &mut self.placed,
        ] {
            paths.retain(|known| !is_at(path, known));
        }
    }

    fn renamed(&mut self, at: usize, from: &str, to: &str) {
        let known = [&self.files, &self.dirs, &self.trees];
        let first = known.into_iter().flatten().find(|path| is_at(from, path));
        let of_others = self.trees.iter().any(|tree| is_at(tree, from))
            && !self.synced.iter().any(|path| is_at(path, from));
        if let Some(file) = first.map(String::as_str).or(of_others.then_some(from)) {
            self.found
                .push(format!("line {at}: {file} is renamed before it is durable"));
        }
        self.forget(from);
        self.dirs.extend([parent(from), parent(to)]);
    }

    fn demand_clean(&mut self, at: usize, words: &[&str]) {
        let finished = |path: &&String| !path.ends_with(UNFINISHED);
        let mut dirty: Vec<&String> = self.files.iter().filter(finished).collect();
        dirty.extend(&self.dirs);
        let of_others = !may_be_made_anew(words[0], words[1]);
        if of_others {
            dirty.extend(self.trees.iter().chain(&self.unplaced));
        }
        for path in dirty {
            let what = words.join(" ");
            self.found
                .push(format!("line {at}: {what}, and {path} is not durable"));
        }
        self.files.clear();
        self.dirs.clear();
        if of_others {
            self.trees.clear();
            self.unplaced.clear();
        }
    }
}

/// Whether an act leaves files other than they were. Whoever goes on after a kill syncs the journal
/// before it does the first of these.
fn changes(act: &str) -> bool {
    let others = [
        "fsync",
        "fdatasync",
        "fsyncdir",
        "synctree",
        "syncfs",
        "step",
        "lock",
        KILLED,
    ];
    !others.contains(&act)
}

fn may_be_lost(path: &str) -> bool {
    MAY_BE_LOST
        .iter()
        .any(|name| path.ends_with(name) || path.contains(&format!("{name}/")))
}

/// Whether a step builds what is made durable as a whole when files are placed, or undoes that: what
/// it leaves of new is removed or made anew.
fn may_be_made_anew(act: &str, step: &str) -> bool {
    registry().iter().any(|known| {
        known.name() == step
            && known.phase() == Phase::Prepare
            && (act == "undone" || step != PLACED)
    })
}

/// Whether `path` is this place or lies below it.
fn is_at(place: &str, path: &str) -> bool {
    path.strip_prefix(place)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn parent(path: &str) -> String {
    path.rsplit_once('/').map_or("", |(dir, _)| dir).to_owned()
}

/// The file system a path is on, or was.
fn device(path: &str) -> u64 {
    let mut places = Path::new(path).ancestors();
    let there = places.find_map(|place| fs::metadata(place).ok());
    there.map_or(0, |found| found.dev())
}
