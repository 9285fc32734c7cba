//! A disk that refuses: each act once, with each error; every run ends with a code and a
//! standing, and the one that follows finishes.
//!
//! Many refusals leave what another one has left: where a disk is like one that was left before
//! (`likeness.rs`) it need not be left again. Every so many are, after all.

use std::collections::{BTreeSet, HashSet};
use std::fs;

use pg_migrator::disk::ACTS;

use crate::cell::{Matrix, chosen, given};
use crate::ends::Ends;
use crate::place::Place;
use crate::sameness::{Disk, Known};
use crate::scenario::Scenario;
use crate::support::say;

/// ENOSPC, EIO, EXDEV, EDQUOT, EMFILE.
const ERRORS: [i32; 5] = [28, 5, 18, 122, 24];
const CLONE: &str = "disk.clone";
/// Of the disks that need not be left, one of so many is.
const AFTER_ALL: usize = 47;

/// An act a command asks the disk for.
struct Asked {
    number: usize,
    name: String,
    at_work: String,
}

/// Which disks were left, and in which ways.
#[derive(Default)]
pub struct Left {
    disks: HashSet<(u128, &'static [&'static str])>,
    needless: usize,
}

/// Of each step, the first act of each kind with one of the errors, a run after the other with
/// the next one; or every Kth refusal of all (`PGM_MATRIX_REFUSALS=K`).
struct Choice {
    every: Option<usize>,
    turn: usize,
    kinds: BTreeSet<(String, String)>,
}

pub fn refusals() {
    let mut place = Place::new();
    let mut met = BTreeSet::new();
    let (mut choice, mut left) = (Choice::new(), Left::default());
    for mode in ["link", "copy-file-range", "swap", "copy"] {
        if !chosen(mode) {
            continue;
        }
        place.become_prepared(mode);
        let matrix = Matrix::new(&place);
        for scenario in Scenario::all() {
            met.extend(matrix.refuse_all(&scenario, &mut choice, &mut left));
        }
    }
    if chosen("swap") {
        place.become_prepared("swap");
        place.become_adopting();
        let matrix = Matrix::with_ends(&place, Ends::of_adopting(&place));
        met.extend(matrix.refuse_all(&Scenario::adopting(), &mut choice, &mut left));
    }
    left.tell();
    let forgotten: Vec<_> = ACTS
        .iter()
        .filter(|act| !met.contains(**act) && **act != CLONE)
        .collect();
    let all = std::env::var_os("PGM_MATRIX_MODE").is_none();
    assert!(!all || forgotten.is_empty(), "never refused: {forgotten:?}");
}

/// Each clone with each error.
pub fn refusals_of_clones() {
    let mut place = Place::new();
    place.become_prepared("clone");
    let matrix = Matrix::new(&place);
    let (mut tried, mut left) = (0, Left::default());
    for scenario in [Scenario::cutover(), Scenario::failing_cutover()] {
        for asked in acts(&place, &scenario) {
            if asked.name == CLONE {
                for errno in ERRORS {
                    matrix.refuse(&scenario, asked.number, errno, &mut left);
                    tried += 1;
                }
            }
        }
    }
    say(&format!("TRIED {tried} of {tried} refusals of clones"));
    left.tell();
    assert!(tried > 0);
}

impl Left {
    /// Whether what is there now must be left.
    fn is_wanted(&mut self, place: &Place, ways: &'static [&'static str]) -> bool {
        let like = Disk::look(place.dir()).likeness(&mut Known::default());
        if self.disks.insert((like, ways)) {
            return true;
        }
        self.needless += 1;
        self.needless.is_multiple_of(AFTER_ALL)
    }

    fn tell(&self) {
        let (disks, needless) = (self.disks.len(), self.needless);
        say(&format!(
            "TRIED {} of {needless} refusals whose disk is like one of {disks} that were left",
            needless / AFTER_ALL
        ));
    }
}

impl Choice {
    fn new() -> Self {
        Self {
            every: given("PGM_MATRIX_REFUSALS"),
            turn: 0,
            kinds: BTreeSet::new(),
        }
    }

    fn of(&mut self, asked: &Asked) -> Vec<i32> {
        if let Some(every) = self.every {
            let mut is_wanted = || {
                self.turn += 1;
                self.turn.is_multiple_of(every)
            };
            return ERRORS.into_iter().filter(|_| is_wanted()).collect();
        }
        if !self
            .kinds
            .insert((asked.name.clone(), asked.at_work.clone()))
        {
            return Vec::new();
        }
        self.turn += 1;
        vec![ERRORS[self.turn % ERRORS.len()]]
    }
}

/// The acts a command asks the disk for, in order.
fn acts(place: &Place, scenario: &Scenario) -> Vec<Asked> {
    let log = place.path("acts");
    let _ = fs::remove_file(&log);
    scenario.begin(place);
    scenario
        .command()
        .with("PGM_FAULT_ACTS", log.display())
        .perform(place);
    let text = fs::read_to_string(log).unwrap();
    let asked = text.lines().enumerate().map(|(at, line)| {
        let (name, at_work) = line.split_once(' ').unwrap();
        Asked {
            number: at + 1,
            name: name.to_owned(),
            at_work: at_work.to_owned(),
        }
    });
    asked.collect()
}

impl Matrix<'_> {
    /// Refuses what was chosen; gives the kinds of all acts that were met.
    fn refuse_all(
        &self,
        scenario: &Scenario,
        choice: &mut Choice,
        left: &mut Left,
    ) -> BTreeSet<String> {
        let asked = acts(self.place(), scenario);
        choice.kinds.clear();
        let mut tried = 0;
        for asked in &asked {
            for errno in choice.of(asked) {
                self.refuse(scenario, asked.number, errno, left);
                tried += 1;
            }
        }
        let (all, mode) = (asked.len() * ERRORS.len(), &self.place().mode);
        let name = scenario.name();
        say(&format!(
            "TRIED {tried} of {all} refusals by {mode}: {name}"
        ));
        asked.into_iter().map(|asked| asked.name).collect()
    }

    /// Every act of this step, with one error after the other.
    pub fn refuse_each_of(&self, scenario: &Scenario, step: &str) {
        let asked = acts(self.place(), scenario);
        let of_step = |asked: &&Asked| asked.at_work == step;
        let acts: Vec<_> = asked.iter().filter(of_step).collect();
        assert!(!acts.is_empty(), "{step}");
        let mut left = Left::default();
        for (at, asked) in acts.iter().enumerate() {
            self.refuse(scenario, asked.number, ERRORS[at % ERRORS.len()], &mut left);
        }
        let (tried, mode) = (acts.len(), &self.place().mode);
        say(&format!("TRIED {tried} refusals by {mode}: {step}"));
    }

    fn refuse(&self, scenario: &Scenario, number: usize, errno: i32, left: &mut Left) {
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
        if !left.is_wanted(place, scenario.ways()) {
            return;
        }
        for way in scenario.ways() {
            if let Err(lost) = self.leave(way) {
                panic!("{}, then {way}: {lost}\nfirst: {ran:?}", what());
            }
        }
    }
}
