//! A file system that gets full in the middle of a cutover.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use support::case::Case;
use support::mount::on_file_system;
use support::stock::dump;

/// Room for the journal and for what is kept for the way back, and not for WAL.
const LITTLE: u64 = 4 << 20;
/// Room for a segment of WAL too, and not for a table of 50 MB.
const SOME: u64 = 28 << 20;

/// All that is free but so much.
fn fill(dir: &Path, left: u64) -> PathBuf {
    let path = dir.join("filler");
    let file = File::create(&path).unwrap();
    let space = nix::sys::statvfs::statvfs(dir).unwrap();
    let free = space.blocks_available() * space.fragment_size();
    let wanted = i64::try_from(free - left).unwrap();
    nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, wanted).unwrap();
    file.sync_all().unwrap();
    path
}

fn full(mode: &str, left: u64) {
    let case = Case::new(mode);
    let trip = &case.trip;
    let server = case.stock.cluster.start();
    server.sql("app", "CREATE TABLE before AS SELECT 1 AS n");
    server.stop();
    trip.prepare();
    let server = case.stock.cluster.start();
    server.sql(
        "app",
        "INSERT INTO before SELECT n FROM generate_series(1, 1500000) n",
    );
    let held = dump(&case.stock.cluster);
    server.stop();
    let filler = fill(case.stock.cluster.scratch(), left);
    let ran = trip.run(&["cutover"]);
    fs::remove_file(&filler).unwrap();
    assert!([5, 6].contains(&ran.code), "{mode}: {ran:?}");
    assert!(ran.stderr.contains("error[PGM-"), "{mode}: {ran:?}");
    assert!(!ran.stderr.contains("error[PGM-9"), "{mode}: {ran:?}");
    assert!(ran.stderr.contains("No space left"), "{mode}: {ran:?}");
    assert!(ran.stderr.contains("standing: "), "{mode}: {ran:?}");
    if ran.code == 6 {
        trip.run(&["resume"]).demand(0);
    }
    if case.is_prepared() {
        trip.cutover();
    }
    trip.run(&["verify"]).demand(0);
    case.demand_arrived(&held);
}

#[test]
fn a_disk_that_gets_full_while_files_are_copied() {
    let test = "a_disk_that_gets_full_while_files_are_copied";
    on_file_system("ext4", test, || {
        full("copy", SOME);
        full("copy-file-range", SOME);
    });
}

#[test]
fn a_disk_that_gets_full_before_files_are_linked_or_moved() {
    let test = "a_disk_that_gets_full_before_files_are_linked_or_moved";
    on_file_system("ext4", test, || {
        full("link", LITTLE);
        full("swap", LITTLE);
    });
}
