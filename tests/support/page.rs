//! The commands of `docs/recovery.md`, as an operator pastes them.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::case::Case;
use super::processes_in;

/// The page.
pub const PAGE: &str = include_str!("../../docs/recovery.md");

/// What every other part asks, and the end of a program that lives.
pub const FIRST: &str = "before anything";

/// The text of a section.
pub fn section(title: &str) -> String {
    let lines = PAGE
        .lines()
        .skip_while(|line| *line != format!("## {title}"));
    let found: Vec<_> = lines
        .skip(1)
        .take_while(|line| !line.starts_with("## ") && !line.starts_with("# "))
        .collect();
    assert!(!found.is_empty(), "no section {title}");
    found.join("\n")
}

/// The parts a paragraph of a section leads to.
pub fn parts(text: &str) -> Vec<String> {
    text.split("](#")
        .skip(1)
        .map(|rest| rest.split(')').next().unwrap().replace('-', " "))
        .collect()
}

/// The blocks of commands of a part.
pub fn blocks(part: &str) -> Vec<String> {
    let mut letters = part.chars();
    let first: String = letters.next().unwrap().to_uppercase().collect();
    let text = section(&format!("{first}{}", letters.as_str())) + "\n";
    let blocks = text.split("```sh\n").skip(1);
    let blocks: Vec<String> = blocks
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect();
    assert!(!blocks.is_empty(), "{part} has no commands");
    blocks
}

/// The commands of some parts.
pub fn commands<T: AsRef<str>>(parts: &[T]) -> String {
    let of_part = |part: &T| blocks(part.as_ref()).concat();
    parts.iter().map(of_part).collect()
}

/// Pastes this text into a shell, which goes on after whatever fails, and gives what it
/// complained about; `other` are variables that the operator has set wrongly.
pub fn paste(case: &Case, text: &str, other: &[(&str, &Path)]) -> String {
    let trip = &case.trip;
    // Old is started as it would be by its operator, on a port of its own.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    // What an interactive shell makes of exclamation marks must not matter.
    let mut shell = Command::new("bash")
        .args(["--norc", "-o", "history", "-o", "histexpand"])
        .env("OLD", &trip.old)
        .env("NEW", &trip.new)
        .env("OLDBIN", &trip.old_bindir)
        .env("NEWBIN", &trip.new_bindir)
        .env("STATE", trip.state())
        .env("PGPORT", free.unwrap().port().to_string())
        .envs(other.iter().copied())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = shell.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let output = shell.wait_with_output().unwrap();
    String::from_utf8(output.stderr).unwrap()
}

/// Does what these parts say, and is never told to stop.
pub fn follow<T: AsRef<str>>(case: &Case, parts: &[T]) {
    wait_for_servers(case);
    let said = paste(case, &commands(parts), &[]);
    assert!(!said.contains("STOP"), "{said}");
}

/// Pastes this text, which is stopped for this reason, and finds everything as it was.
pub fn demand_stopped(case: &Case, text: &str, other: &[(&str, &Path)], why: &str) {
    let before = seen(case);
    let said = paste(case, text, other);
    assert!(said.contains("STOP") && said.contains(why), "{why}: {said}");
    let after = seen(case);
    let changed: Vec<_> = before
        .iter()
        .filter(|(path, what)| after.get(*path) != Some(what))
        .collect();
    assert!(changed.is_empty(), "{why}: {changed:?}\n{said}");
    assert_eq!(before.len(), after.len(), "{why}: {said}");
}

/// Every name of both clusters and of the state directory, with what is behind it.
fn seen(case: &Case) -> BTreeMap<PathBuf, (u64, u64, i64, i64)> {
    let trip = &case.trip;
    let dirs = [
        &trip.old,
        &trip.new,
        &trip.state(),
        &case.stock.space.clone(),
    ];
    let entries = dirs.into_iter().flat_map(walkdir::WalkDir::new).flatten();
    entries
        .map(|entry| {
            let meta = entry.path().symlink_metadata().unwrap();
            let what = (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec());
            (entry.into_path(), what)
        })
        .collect()
}

/// Those of a killed run end with it, a moment later.
fn wait_for_servers(case: &Case) {
    let begun = Instant::now();
    let ours = |dir: &Path| dir.exists() && !processes_in(dir).is_empty() && !serves(dir);
    while ours(&case.trip.old) || ours(&case.trip.new) {
        assert!(begun.elapsed() < super::trip::LIMIT, "still running");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a server is ready here that a test has started.
fn serves(dir: &Path) -> bool {
    let text = std::fs::read_to_string(dir.join("postmaster.pid")).unwrap_or_default();
    text.lines()
        .nth(7)
        .is_some_and(|line| line.trim() == "ready")
}
