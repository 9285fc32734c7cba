//! Crashes and broken disks on small clusters: at every counted point of every step of the
//! registry, in every mode, and out again; and mistakes planted in the program, each of which
//! must be seen.
//!
//! One real `prepare` makes what is begun from. Its catalogs are thrown away then, because no
//! server runs here: that makes a cluster of some dozen files, which is restored in milliseconds.
//! Steps that need a server begin, fail where it does not start, and are undone; what they do
//! beyond that is tried on real servers (`tests/crash.rs`).
//!
//! Every point is killed at, and left in both ways, each repeated; of points that find the same on
//! the disk (`sameness.rs`) the first one. `PGM_MATRIX_EVERY=K` kills at every Kth point of all,
//! whatever it finds; `PGM_MATRIX_DOUBLE=K` kills the ways out of every Kth of these once more
//! (`twice.rs`);
//! `PGM_MATRIX_MODE=MODE` tries one mode only. It is done in memory, where that is possible: what is
//! tried here is the order of acts, which no disk makes better.

#![cfg(feature = "fault")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod act;
mod cell;
mod disk;
mod ends;
mod likeness;
mod place;
mod planted;
mod sameness;
mod scenario;
#[path = "../support/mod.rs"]
mod support;
mod twice;

use cell::Matrix;
use ends::Ends;
use place::Place;
use scenario::Scenario;
use support::mount::{elsewhere, in_memory, on_file_system_in_memory};

/// In a child: one command on a migration, by the engine.
#[test]
fn one_act() {
    if std::env::var_os(act::ACT).is_some() {
        act::perform();
    }
}

#[test]
fn killed_anywhere_by_link() {
    in_memory("killed_anywhere_by_link", || {
        killed_anywhere("link");
    });
}

#[test]
fn killed_anywhere_by_copy() {
    in_memory("killed_anywhere_by_copy", || {
        killed_anywhere("copy");
    });
}

#[test]
fn killed_anywhere_by_copy_file_range() {
    in_memory("killed_anywhere_by_copy_file_range", || {
        killed_anywhere("copy-file-range");
    });
}

#[test]
fn killed_anywhere_by_swap() {
    in_memory("killed_anywhere_by_swap", || {
        killed_anywhere("swap");
    });
}

#[test]
fn killed_anywhere_by_clone() {
    on_file_system_in_memory("btrfs", "killed_anywhere_by_clone", || {
        killed_anywhere("clone");
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

#[test]
fn a_prepare_that_adopts_killed_anywhere() {
    in_memory("a_prepare_that_adopts_killed_anywhere", || {
        let mut place = Place::new();
        place.become_prepared("swap");
        place.become_adopting();
        let mut matrix = Matrix::with_ends(&place, Ends::of_adopting(&place));
        matrix.run(&Scenario::adopting());
        matrix.tell();
    });
}

/// What moves between new and a state directory on another file system: new's control file, to and
/// fro, and the WAL that it begins with.
#[test]
fn killed_on_the_way_to_another_file_system() {
    let test = "killed_on_the_way_to_another_file_system";
    on_file_system_in_memory("ext4", test, || {
        let mut place = Place::new();
        place.put_state_apart(&elsewhere());
        // By link new would have files already that come later.
        place.become_prepared("swap");
        let mut matrix = Matrix::new(&place);
        for step in ["create-new-cluster", "seed-transaction-state"] {
            matrix.run_in(&Scenario::begun_at(step), &[step]);
        }
        matrix.tell();
        place.become_prepared("link");
        let mut matrix = Matrix::new(&place);
        let moving = ["carry-transaction-state", "release-new-cluster"];
        for scenario in [Scenario::cutover(), Scenario::upgraded()] {
            matrix.run_in(&scenario, &moving);
        }
        matrix.refuse_each_of(&Scenario::cutover(), "apply release-new-cluster");
        matrix.refuse_each_of(&Scenario::upgraded(), "undo release-new-cluster");
        matrix.tell();
    });
}

fn killed_anywhere(mode: &str) {
    if !cell::chosen(mode) {
        return;
    }
    let mut place = Place::new();
    place.become_prepared(mode);
    let mut matrix = Matrix::new(&place);
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

/// On a file system that knows clones.
#[test]
fn a_disk_that_refuses_clones() {
    let test = "a_disk_that_refuses_clones";
    on_file_system_in_memory("btrfs", test, disk::refusals_of_clones);
}

#[test]
fn planted_mistakes_are_seen() {
    in_memory("planted_mistakes_are_seen", planted::all);
}
