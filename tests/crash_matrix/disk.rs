//! A disk that refuses: each act once, with each error; every run ends with a code and a
//! standing, and the one that follows finishes.

use std::collections::BTreeSet;
use std::fs;

use pg_migrator::disk::ACTS;

use crate::cell::{Matrix, Scenario, chosen, given};
use crate::place::Place;
use crate::support::say;

/// ENOSPC, EIO, EXDEV, EDQUOT, EMFILE.
const ERRORS: [i32; 5] = [28, 5, 18, 122, 24];
/// Of how many refusals one is tried, unless the environment says otherwise.
const EVERY: usize = 97;
/// Acts that are not met here: clones need a file system that can (`tests/crash.rs` has one), and
/// symbolic links are made of an adopted cluster only.
const ELSEWHERE: [&str; 2] = ["disk.clone", "disk.symlink"];

pub fn refusals() {
    let mut place = Place::new();
    let mut met = BTreeSet::new();
    let mut turn = 0;
    for mode in ["link", "copy-file-range", "swap", "copy"] {
        if !chosen(mode) {
            continue;
        }
        place.become_prepared(mode);
        let matrix = Matrix::new(&place);
        for scenario in Scenario::all() {
            let acts = acts(&place, &scenario);
            met.extend(acts.iter().cloned());
            let mut tried = 0;
            for number in 1..=acts.len() {
                for errno in ERRORS {
                    turn += 1;
                    if turn % given("PGM_MATRIX_REFUSALS").unwrap_or(EVERY) == 0 {
                        matrix.refuse(&scenario, number, errno);
                        tried += 1;
                    }
                }
            }
            let all = acts.len() * ERRORS.len();
            let name = scenario.name();
            say(&format!(
                "TRIED {tried} of {all} refusals by {mode}: {name}"
            ));
        }
    }
    let forgotten: Vec<_> = ACTS
        .iter()
        .filter(|act| !met.contains(**act) && !ELSEWHERE.contains(act))
        .collect();
    let all = std::env::var_os("PGM_MATRIX_MODE").is_none();
    assert!(!all || forgotten.is_empty(), "never refused: {forgotten:?}");
}

/// The acts a command asks the disk for, in order.
fn acts(place: &Place, scenario: &Scenario) -> Vec<String> {
    let log = place.path("acts");
    let _ = fs::remove_file(&log);
    scenario.begin(place);
    scenario
        .command()
        .with("PGM_FAULT_ACTS", log.display())
        .perform(place);
    let text = fs::read_to_string(log).unwrap();
    text.lines().map(str::to_owned).collect()
}

impl Matrix<'_> {
    fn refuse(&self, scenario: &Scenario, number: usize, errno: i32) {
        let place = self.place();
        scenario.begin(place);
        let ran = scenario
            .command()
            .with("PGM_FAULT_ERROR", format!("*:{number}:{errno}"))
            .perform(place);
        let what = || {
            format!(
                "{} by {}, act {number}, {errno}",
                scenario.name(),
                place.mode
            )
        };
        assert!(!ran.exit.is_empty(), "{}: {ran:?}", what());
        let defect = ran.exit == "Bug" || ran.error.starts_with("PGM-9");
        assert!(!defect, "{}: {ran:?}", what());
        let silent = ran.exit != "Done" && !ran.error.starts_with("PGM-");
        assert!(!silent, "{}: {ran:?}", what());
        assert!(!ran.error.contains("remedy: None"), "{}: {ran:?}", what());
        for way in scenario.ways() {
            if let Err(lost) = self.leave(way) {
                panic!("{}, then {way}: {lost}\nfirst: {ran:?}", what());
            }
        }
    }
}
