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
    ran.refused(
        3,
        "PGM-6003",
        &["new is not what was to be made of old", how],
    );
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

/// What neither a catalog of new nor old explains, wherever it lies and whatever it is of.
#[test]
fn a_file_too_many_is_named_wherever_it_is() {
    as_server_user("a_file_too_many_is_named_wherever_it_is", || {
        for mode in ["copy", "link", "swap"] {
            let case = Case::of("old-15", "new-18", mode);
            let trip = &case.trip;
            trip.prepare();
            trip.cutover();
            trip.run(&["verify"]).demand(0);

            let carried = relation_file(&trip.new);
            let base = carried.parent().unwrap().to_owned();
            let name = |suffix: &str| {
                let name = carried.file_name().unwrap().to_str().unwrap();
                base.join(format!("{name}{suffix}"))
            };
            let space = new_folder_in(&case.stock.space);
            let elsewhere = trip.new.join("base/77777");
            fs::create_dir(&elsewhere).unwrap();
            trip.run(&["verify"]).demand(0);
            for (file, how) in [
                (name(".9"), "in new only"),
                (name("_init"), "in new only"),
                (base.join("77777"), "belongs to no relation"),
                (base.join("77777_fsm"), "belongs to no relation"),
                (base.join("t5_16384"), "belongs to no relation"),
                (
                    base.join("1259_init"),
                    "a fork or segment that no catalog has",
                ),
                (base.join("1259.3"), "a fork or segment that no catalog has"),
                (space.join("77777.1"), "belongs to no relation"),
                (trip.new.join("global/77777"), "belongs to no relation"),
            ] {
                fs::write(&file, [0; 8192]).unwrap();
                differs(trip, &file, how);
                fs::remove_file(&file).unwrap();
            }
            fs::write(elsewhere.join("16384"), "").unwrap();
            differs(trip, &elsewhere, "a folder of no database");
            fs::remove_dir_all(&elsewhere).unwrap();
            let (catalog, aside) = (base.join("2615"), base.join("aside"));
            fs::rename(&catalog, &aside).unwrap();
            differs(trip, &catalog, "missing: the file of a catalog");
            fs::rename(&aside, &catalog).unwrap();
            trip.run(&["verify"]).demand(0);
            trip.rollback();
            case.demand_back("files too many");
        }
    });
}

/// A database's folder of new in the location of a tablespace.
fn new_folder_in(space: &Path) -> PathBuf {
    let folders = fs::read_dir(space).unwrap().map(|one| one.unwrap().path());
    let mut folders = folders.filter(|path| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("PG_18_")
    });
    let databases = fs::read_dir(folders.next().unwrap()).unwrap();
    let mut databases: Vec<PathBuf> = databases.map(|one| one.unwrap().path()).collect();
    databases.sort();
    databases.pop().unwrap()
}

/// Where new's catalogs were written to by every step that does so.
#[test]
fn nothing_is_found_after_drift_and_large_objects() {
    as_server_user("nothing_is_found_after_drift_and_large_objects", || {
        let case = Case::of("old-14", "new-17", "link");
        let trip = &case.trip;
        let server = case.stock.cluster.start();
        trip.prepare();
        server.sql("app", "CREATE TABLE come (id int PRIMARY KEY, note text)");
        server.sql("app", "DROP TABLE moved");
        server.sql("postgres", "CREATE DATABASE more");
        server.sql("more", "CREATE TABLE here (id serial, note text)");
        trip.run(&["prepare"]).demand(0);
        server.stop();
        trip.run(&["verify"]).demand(0);
        let server = case.stock.cluster.start();
        server.sql("app", "SELECT lo_from_bytea(0, 'large')");
        server.sql("app", "VACUUM FULL items");
        server.stop();
        let said = ["old has run since it was prepared", "prepare again"];
        trip.run(&["verify"]).refused(4, "PGM-2006", &said);
        trip.cutover();
        trip.run(&["verify"]).demand(0);
        let segment = trip.new.join("base/1/77777");
        fs::write(&segment, "").unwrap();
        differs(trip, &segment, "belongs to no relation");
        fs::remove_file(&segment).unwrap();
        let ran = trip.run(&["verify", "--json"]);
        assert!(ran.stdout.contains("nothing else in new"), "{}", ran.stdout);
    });
}
