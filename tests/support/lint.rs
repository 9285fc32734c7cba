//! What killing cannot show, read from a trace: nothing is renamed before it is durable, nothing
//! is left undurable by a step that is done, and a line of the journal is durable before the next
//! change.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A lost line of the first decides nothing, one of the other costs a copy made anew.
const MAY_BE_LOST: [&str; 2] = ["/events.jsonl", "/first-copies.jsonl"];
const JOURNAL: &str = "/journal.jsonl";

#[derive(Default)]
struct Lint {
    files: BTreeSet<String>,
    dirs: BTreeSet<String>,
    journal: bool,
    found: Vec<String>,
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
    lint.found
}

impl Lint {
    fn follow(&mut self, at: usize, act: &str, words: &[&str]) {
        let may_be_lost = |path: &&str| MAY_BE_LOST.iter().any(|name| path.ends_with(name));
        if words.iter().any(may_be_lost) {
            return;
        }
        let of_journal = words.iter().any(|path| path.ends_with(JOURNAL));
        if self.journal && !of_journal {
            self.found.push(format!(
                "line {at}: {act} {words:?} before the line of the journal is durable"
            ));
            self.journal = false;
        }
        let last = words.last().copied().unwrap_or_default();
        match act {
            "append" if of_journal => self.journal = true,
            "fdatasync" if of_journal => self.journal = false,
            "append" | "write" | "copy" | "clone" | "create" | "patch" | "truncate" => {
                self.files.insert(last.to_owned());
                if act != "append" && act != "truncate" && act != "patch" {
                    self.dirs.insert(parent(last));
                }
            }
            "fsync" | "fdatasync" => {
                self.files.remove(last);
            }
            "fsyncdir" => {
                self.dirs.remove(last);
            }
            "syncfs" => {
                self.files.clear();
                self.dirs.clear();
            }
            "link" | "symlink" | "mkdir" => {
                self.dirs.insert(parent(last));
            }
            "unlink" | "rmdir" => self.gone(last),
            "rename" => self.renamed(at, words[0], words[1]),
            "step" if ["done", "undone"].contains(&words[0]) => self.demand_clean(at, words),
            "step" | "lock" => {}
            other => panic!("line {at}: the lint does not know {other}"),
        }
    }

    /// Nobody can ask for what is gone; that it is gone must be durable.
    fn gone(&mut self, path: &str) {
        let below = format!("{path}/");
        self.files
            .retain(|file| file != path && !file.starts_with(&below));
        self.dirs
            .retain(|dir| dir != path && !dir.starts_with(&below));
        self.dirs.insert(parent(path));
    }

    fn renamed(&mut self, at: usize, from: &str, to: &str) {
        let below = format!("{from}/");
        let dirty = |path: &String| path == from || path.starts_with(&below);
        if let Some(file) = self.files.iter().chain(&self.dirs).find(|path| dirty(path)) {
            self.found
                .push(format!("line {at}: {file} is renamed before it is durable"));
        }
        self.files.retain(|path| !dirty(path));
        self.dirs.retain(|path| !dirty(path));
        self.dirs.extend([parent(from), parent(to)]);
    }

    fn demand_clean(&mut self, at: usize, words: &[&str]) {
        for path in self.files.iter().chain(&self.dirs) {
            let what = words.join(" ");
            self.found
                .push(format!("line {at}: {what}, and {path} is not durable"));
        }
        self.files.clear();
        self.dirs.clear();
    }
}

fn parent(path: &str) -> String {
    path.rsplit_once('/').map_or("", |(dir, _)| dir).to_owned()
}
