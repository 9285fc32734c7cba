//! The way out is killed as well, at each of its points, and gone once more.
//!
//! Most ways out soon find what another one has found, or the killed command itself. Where a disk
//! is like one that was left this way before (`likeness.rs`), it need not be left again: the
//! program would do the same. Whether that is so is tried: every so many of these kills is made
//! after all, must end well, and must end at a disk that is like the one the other ended at.

use std::collections::{HashMap, HashSet};

use crate::act::Act;
use crate::cell::{Matrix, Point};
use crate::sameness::{Disk, Known};
use crate::scenario::Scenario;
use crate::support::say;

/// What is left, how, and whether old and new may share files.
type Leaving = (u128, &'static str, bool);

/// Of the kills that need not be made, one of so many is.
const AFTER_ALL: usize = 97;

/// Which disks were left before.
pub struct Twice {
    /// By what they are like and how they were left, what the end is like.
    ends: HashMap<Leaving, u128>,
    /// Ways out that were followed from point to point.
    followed: HashSet<Leaving>,
    /// Of the points killed at, the ways out of every so many are killed as well.
    every: usize,
    turn: usize,
    needless: usize,
    after_all: usize,
}

impl Twice {
    pub fn new(every: usize) -> Self {
        Self {
            ends: HashMap::new(),
            followed: HashSet::new(),
            every,
            turn: 0,
            needless: 0,
            after_all: 0,
        }
    }

    /// Whether the ways out of this point are killed.
    pub fn is_wanted(&mut self) -> bool {
        self.turn += 1;
        (self.turn - 1).is_multiple_of(self.every)
    }

    fn is_tried_after_all(&mut self) -> bool {
        self.needless += 1;
        let tried = self.needless.is_multiple_of(AFTER_ALL);
        self.after_all += usize::from(tried);
        tried
    }

    pub fn tell(&self, mode: &str) {
        let (tried, needless, known) = (self.after_all, self.needless, self.ends.len());
        say(&format!(
            "TRIED {tried} of {needless} second kills by {mode} whose disk is like one of {known} \
             that were left: each ends as that one does"
        ));
    }
}

impl Matrix<'_> {
    /// Writes down where this led to from the point; an error where a disk like it led elsewhere.
    pub fn remember_end(
        &mut self,
        scenario: &Scenario,
        point: &Point,
        way: &'static str,
    ) -> Result<(), String> {
        let Some(twice) = &mut self.twice else {
            return Ok(());
        };
        let end = Disk::look(self.place.dir()).likeness(&mut Known::default());
        let leaving = (point.found.like, way, scenario.shares_files());
        match twice.ends.insert(leaving, end) {
            Some(known) if known != end => Err("a disk like this one led elsewhere".to_owned()),
            _ => Ok(()),
        }
    }

    /// Kills each way out of the point, where that leaves what none has left yet.
    pub fn kill_again(&mut self, scenario: &Scenario, point: &Point) {
        for way in scenario.ways() {
            let leaving = (point.found.like, *way, scenario.shares_files());
            if self.twice.as_mut().unwrap().followed.insert(leaving) {
                self.kill(scenario, point).unwrap();
                let (_, points) = self.count(Act::new(way));
                for second in &points {
                    self.kill_at(scenario, point, way, second);
                }
            }
        }
    }

    fn kill_at(&mut self, scenario: &Scenario, point: &Point, way: &'static str, second: &Point) {
        let leaving = (second.found.like, way, scenario.shares_files());
        let twice = self.twice.as_mut().unwrap();
        let tried = !twice.ends.contains_key(&leaving) || twice.is_tried_after_all();
        let cell = format!("{way} killed once more");
        let cell = self.cells.entry(cell).or_default();
        cell.points += 1;
        cell.killed += usize::from(tried);
        cell.same += usize::from(!tried);
        if !tried {
            return;
        }
        let left = self.try_once(scenario, point, way, Some(second.number));
        let left = left.and_then(|()| self.remember_end(scenario, second, way));
        if let Err(lost) = left {
            let lost = format!("and again at {second:?}: {lost}");
            self.lose(scenario, point, way, &lost);
        }
    }
}
