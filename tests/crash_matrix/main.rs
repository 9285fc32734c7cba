//! Crashes and broken disks on small clusters: at every counted point of every step of the
//! registry, in every mode, and out again; and mistakes planted in the program, each of which
//! must be seen.
//!
//! One real `prepare` makes what is begun from. Its catalogs are thrown away then, because no
//! server runs here: that makes a cluster of some dozen files, which is restored in milliseconds.
//! Steps that need a server begin, fail where it does not start, and are undone; what they do
//! beyond that is tried on real servers (`tests/crash.rs`).
//!
//! Of each kind of point of each step a few are tried, and one way out of each.
//! `PGM_MATRIX_EVERY=K` tries every Kth point of all and both ways out, `PGM_MATRIX_DOUBLE=K` kills
//! every Kth way out once more at each of its points, `PGM_MATRIX_MODE=MODE` tries one mode only.

#![cfg(feature = "fault")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod act;
mod cell;
mod disk;
mod ends;
mod lint;
mod place;
mod planted;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;

use cell::{Matrix, Scenario};
use place::Place;

/// In a child: one command on a migration, by the engine.
#[test]
fn one_act() {
    if std::env::var_os(act::ACT).is_some() {
        act::perform();
    }
}

#[test]
fn killed_anywhere_by_link_or_copy_file_range() {
    in_memory("killed_anywhere_by_link_or_copy_file_range", || {
        let mut place = Place::new();
        for mode in ["link", "copy-file-range"] {
            if cell::chosen(mode) {
                place.become_prepared(mode);
                every_scenario(&place);
            }
        }
    });
}

#[test]
fn killed_anywhere_by_swap_or_copy() {
    in_memory("killed_anywhere_by_swap_or_copy", || {
        let mut place = Place::new();
        for mode in ["swap", "copy"] {
            if cell::chosen(mode) {
                place.become_prepared(mode);
                every_scenario(&place);
            }
        }
    });
}

/// Of prepare, the mode matters to one step only, which the tests above have.
#[test]
fn a_prepare_killed_anywhere() {
    in_memory("a_prepare_killed_anywhere", || {
        let mut place = Place::new();
        place.become_prepared("swap");
        let mut matrix = Matrix::new(&place);
        for step in place::prepare_steps() {
            matrix.run(&Scenario::begun_at(&step));
        }
        matrix.tell();
    });
}

fn every_scenario(place: &Place) {
    let mut matrix = Matrix::new(place);
    for scenario in Scenario::all() {
        matrix.run(&scenario);
    }
    matrix.tell();
    matrix.demand_every_step();
}

#[test]
fn a_disk_that_refuses_anything_once() {
    in_memory("a_disk_that_refuses_anything_once", disk::refusals);
}

#[test]
fn planted_mistakes_are_seen() {
    in_memory("planted_mistakes_are_seen", planted::all);
}

/// Runs a test as a user who may run servers, with temporary files in memory where that is
/// possible: what is tried here is the order of acts, which no disk makes better.
fn in_memory(test: &str, body: impl FnOnce()) {
    const MOVED: &str = "PGM_MATRIX_IN_MEMORY";
    if std::env::var_os(MOVED).is_some() {
        return body();
    }
    let memory = Path::new("/dev/shm");
    let dir = match memory.is_dir() {
        true => memory.to_owned(),
        false => std::env::temp_dir(),
    };
    let user: &[&str] = match nix::unistd::geteuid().is_root() {
        true => &[
            "--reuid",
            support::SERVER_USER,
            "--regid",
            support::SERVER_USER,
            "--clear-groups",
        ],
        false => &["--pdeathsig", "KILL"],
    };
    let environment = [(MOVED, "1"), ("TMPDIR", dir.to_str().unwrap())];
    let output = support::run_again(test, user, &environment);
    support::demand_passed(test, &output);
    support::show_told(&output);
}
