//! Tests of what killing alone cannot show: the order of acts, read from the trace.
//!
//! Each test runs itself in a child, because trace and crash points are set by the
//! environment of a whole process.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

use super::{Appender, Area, OldDir};

const PLACE: &str = "PGM_TEST_PLACE";

/// The area of the child, or nothing in the parent.
fn child_area() -> Option<Area> {
    let place = std::env::var_os(PLACE)?;
    Some(Area::new(Path::new(&place)).unwrap())
}

fn run(test: &str, place: &Path, variables: &[(&str, &str)]) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--test-threads=1"])
        .arg(format!("disk::durability::{test}"))
        .env(PLACE, place)
        .envs(variables.iter().copied())
        .output()
        .unwrap()
        .status
}

/// The trace of one run of a test, with paths relative to its area, which is `@`.
fn traced(test: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().canonicalize().unwrap().join("area");
    fs::create_dir(&place).unwrap();
    let trace = dir.path().join("trace");
    let status = run(test, &place, &[("PGM_TRACE", trace.to_str().unwrap())]);
    assert!(status.success(), "{status}");
    let text = fs::read_to_string(trace).unwrap();
    let text = text.replace(place.to_str().unwrap(), "@");
    text.lines().map(str::to_owned).collect()
}

/// The number of the first point of this name that the test reaches.
fn point_number(test: &str, name: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("area");
    fs::create_dir(&place).unwrap();
    let log = dir.path().join("points");
    assert!(run(test, &place, &[("PGM_FAULT_LOG", log.to_str().unwrap())]).success());
    let points = fs::read_to_string(log).unwrap();
    let number = points
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(_, point)| point.trim_end() == name)
        .unwrap_or_else(|| panic!("{name} not in\n{points}"))
        .0;
    number.to_owned()
}

#[test]
fn a_line_is_synced_before_append_returns() {
    if let Some(area) = child_area() {
        let mut journal = Appender::open(&area, "journal").unwrap();
        journal.append(b"one\n").unwrap();
        journal.append(b"two\n").unwrap();
        return;
    }
    assert_eq!(
        traced("a_line_is_synced_before_append_returns"),
        [
            "fsync @/journal",
            "fsyncdir @",
            "append @/journal",
            "fdatasync @/journal",
            "append @/journal",
            "fdatasync @/journal",
        ]
    );
}

#[test]
fn a_file_is_synced_before_it_gets_its_name() {
    if let Some(area) = child_area() {
        area.write("a file", b"x", 0o600).unwrap();
        area.create_dir("d", 0o700).unwrap();
        area.rename("a file", &area, "d/f").unwrap();
        area.remove_file("d/f").unwrap();
        return;
    }
    assert_eq!(
        traced("a_file_is_synced_before_it_gets_its_name"),
        [
            "write @/.a\\040file.pgm_new",
            "fsync @/.a\\040file.pgm_new",
            "rename @/.a\\040file.pgm_new @/a\\040file",
            "fsyncdir @",
            "mkdir @/d",
            "fsyncdir @",
            "fsync @/a\\040file",
            "rename @/a\\040file @/d/f",
            "fsyncdir @/d",
            "fsyncdir @",
            "unlink @/d/f",
            "fsyncdir @/d",
        ]
    );
}

#[test]
fn a_tree_is_synced_and_removed_from_below() {
    if let Some(area) = child_area() {
        area.create_dir("d", 0o700).unwrap();
        area.open_dir("").unwrap().sync().unwrap();
        let here = OldDir::open(area.root()).unwrap();
        area.write("f", b"x", 0o600).unwrap();
        let below = area.open_dir("d").unwrap();
        below.link_from(&here, "f", "l").unwrap();
        area.sync_tree("d", 2).unwrap();
        below.unlink("l").unwrap();
        below.copy_from(&here, "f", "c").unwrap();
        area.truncate_or_extend("d/c", 9).unwrap();
        area.remove_tree("d").unwrap();
        return;
    }
    let trace = traced("a_tree_is_synced_and_removed_from_below");
    assert_eq!(
        trace[7..],
        [
            "link @/f @/d/l",
            "fsync @/d/l",
            "fsyncdir @/d",
            "synctree @/d",
            "unlink @/d/l",
            "copy @/f @/d/c",
            "truncate @/d/c",
            "fsync @/d/c",
            "unlink @/d/c",
            "rmdir @/d",
            "fsyncdir @",
        ]
    );
}

#[test]
fn a_kill_leaves_half_a_line_or_the_old_file() {
    const TEST: &str = "a_kill_leaves_half_a_line_or_the_old_file";
    if let Some(area) = child_area() {
        let mut journal = Appender::open(&area, "journal").unwrap();
        journal.append(b"12345678\n").unwrap();
        area.write("f", b"new", 0o600).unwrap();
        return;
    }
    let killed_at = |point: &str| {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), "old").unwrap();
        let number = point_number(TEST, point);
        let status = run(TEST, dir.path(), &[("PGM_FAULT", &number)]);
        assert_eq!(status.signal(), Some(9), "{point}");
        let read = |name| fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        (read("journal"), read("f"), read(".f.pgm_new"))
    };
    let state = |journal: &str, file: &str, unfinished: &str| {
        (journal.to_owned(), file.to_owned(), unfinished.to_owned())
    };
    assert_eq!(killed_at("disk.append.begin"), state("", "old", ""));
    assert_eq!(killed_at("disk.append.half"), state("1234", "old", ""));
    let line = "12345678\n";
    assert_eq!(killed_at("disk.append.written"), state(line, "old", ""));
    assert_eq!(killed_at("disk.write.synced"), state(line, "old", "new"));
    assert_eq!(killed_at("disk.write.renamed"), state(line, "new", ""));
}
