//! Files of new that are not what they should be are found by `verify`, and named.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::as_server_user;
use support::case::Case;
use support::trip::Trip;

/// The first number an object of a user can have.
const FIRST: u32 = 16_384;

/// A file of new with contents of a user.
fn relation_file(new: &Path) -> PathBuf {
    let files = walkdir::WalkDir::new(new.join("base")).sort_by_file_name();
    let mut files = files.into_iter().map(|entry| entry.unwrap().into_path());
    let of_a_user = |path: &PathBuf| {
        let number: Option<u32> = path.file_name().unwrap().to_str().unwrap().parse().ok();
        path.is_file() && number >= Some(FIRST) && path.metadata().unwrap().len() > 0
    };
    files.find(of_a_user).unwrap()
}

fn differs(trip: &Trip, file: &Path, how: &str) {
    let ran = trip.run(&["verify"]);
    ran.refused(3, "PGM-6003", &["old and new differ", how]);
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(ran.stderr.contains(name), "{}", ran.stderr);
}

/// One byte, a file that is too long, a file too few, a segment too many.
#[test]
fn a_copy_that_is_not_old_byte_for_byte_is_named() {
    as_server_user("a_copy_that_is_not_old_byte_for_byte_is_named", || {
        let case = Case::new("copy");
        let trip = &case.trip;
        trip.prepare();
        trip.cutover();
        trip.run(&["verify"]).demand(0);

        let file = relation_file(&trip.new);
        let sound = fs::read(&file).unwrap();
        let mut flipped = sound.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        fs::write(&file, flipped).unwrap();
        differs(trip, &file, "differ");
        fs::write(&file, [&sound[..], &[0; 8192]].concat()).unwrap();
        differs(trip, &file, "bytes in new");
        fs::remove_file(&file).unwrap();
        differs(trip, &file, "missing");
        fs::write(&file, &sound).unwrap();
        let segment = file.with_extension("1");
        fs::write(&segment, &sound).unwrap();
        differs(trip, &segment, "in new only");
        fs::remove_file(&segment).unwrap();

        trip.run(&["verify"]).demand(0);
        trip.rollback();
        case.demand_back("differences that were found");
    });
}

/// By link nothing is read: each file has to be the same one.
#[test]
fn a_link_to_another_file_is_named() {
    as_server_user("a_link_to_another_file_is_named", || {
        let case = Case::new("link");
        let trip = &case.trip;
        trip.prepare();
        trip.run(&["verify"]).demand(0);
        trip.cutover();
        trip.run(&["verify"]).demand(0);

        let file = relation_file(&trip.new);
        let linked = file.with_extension("kept");
        fs::copy(&file, &linked).unwrap();
        fs::rename(&linked, &file).unwrap();
        differs(trip, &file, "is another file than in old");
        trip.rollback();
        case.demand_back("another file in the place of a link");
    });
}
