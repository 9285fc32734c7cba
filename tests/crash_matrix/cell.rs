//! The matrix: a command killed at each of its points, and both ways out, each repeated.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use pg_migrator::disk::Area;
use pg_migrator::journal::{Journal, Standing, State};
use pg_migrator::steps::registry;

use crate::act::{Act, Ran};
use crate::ends::Ends;
use crate::place::Place;
use crate::sameness::{self, Found};
use crate::scenario::Scenario;
use crate::support::tree::have_one_file;
use crate::support::{lint, say};
use crate::twice::Twice;

/// Steps that only a server makes necessary.
const NOT_NEEDED: [&str; 4] = [
    "reopen-new-cluster",
    "carry-large-objects",
    "refresh-horizons",
    "start-new-server",
];

/// A crash point: its number, and what was at work.
#[derive(Debug, Clone)]
pub struct Point {
    pub number: u64,
    pub name: String,
    pub at_work: String,
    /// What is there on the disk.
    pub found: Found,
}

/// Points that were at work on one thing.
#[derive(Default, Clone, Copy)]
pub struct Cell {
    pub points: usize,
    pub killed: usize,
    pub same: usize,
}

pub struct Matrix<'a> {
    pub place: &'a Place,
    ends: Ends,
    mistake: String,
    pub cells: BTreeMap<String, Cell>,
    losses: usize,
    /// Where ways out are killed as well.
    pub twice: Option<Twice>,
}

impl<'a> Matrix<'a> {
    pub fn new(place: &'a Place) -> Self {
        Self::with_ends(place, Ends::of(place))
    }

    /// One of other ways than those to new and back to old.
    pub fn with_ends(place: &'a Place, ends: Ends) -> Self {
        Self {
            ends,
            place,
            mistake: String::new(),
            cells: BTreeMap::new(),
            losses: 0,
            twice: given("PGM_MATRIX_DOUBLE").map(Twice::new),
        }
    }

    pub fn with_mistake(mut self, mistake: &str) -> Self {
        mistake.clone_into(&mut self.mistake);
        self
    }

    /// Kills the command at its points, and demands that nothing is lost.
    ///
    /// Where points find the same on the disk the first of them is enough, unless every Kth is
    /// asked for.
    pub fn run(&mut self, scenario: &Scenario) {
        self.run_where(scenario, |_| true);
    }

    /// The same of those points alone at which one of these steps acts.
    pub fn run_in(&mut self, scenario: &Scenario, steps: &[&str]) {
        let acts = |at_work: &str| match at_work.split_once(' ') {
            Some(("apply" | "undo", step)) => steps.contains(&step),
            _ => false,
        };
        self.run_where(scenario, |point| acts(&point.at_work));
    }

    fn run_where(&mut self, scenario: &Scenario, wanted: impl Fn(&Point) -> bool) {
        let mut points = self.points(scenario);
        points.retain(wanted);
        let every = given("PGM_MATRIX_EVERY");
        let mut tried = Vec::new();
        for (at, point) in points.iter().enumerate() {
            let killed = every.map_or(point.is_first(), |every| at % every == 0);
            let cell = self.cells.entry(point.at_work.clone()).or_default();
            cell.points += 1;
            cell.killed += usize::from(killed);
            cell.same += usize::from(every.is_none() && !killed);
            if killed {
                self.leave_in_all_ways(scenario, point);
                tried.push(point);
            }
        }
        for point in tried {
            if self.twice.as_mut().is_some_and(Twice::is_wanted) {
                self.kill_again(scenario, point);
            }
        }
    }

    fn leave_in_all_ways(&mut self, scenario: &Scenario, point: &Point) {
        for way in scenario.ways() {
            let left = self.try_once(scenario, point, way, None);
            let left = left.and_then(|()| self.remember_end(scenario, point, way));
            if let Err(lost) = left {
                self.lose(scenario, point, way, &lost);
            }
        }
    }

    pub fn lose(&mut self, scenario: &Scenario, point: &Point, way: &str, lost: &str) {
        let (name, mode) = (scenario.name(), &self.place.mode);
        say(&format!(
            "LOST {name} by {mode}, killed at {point:?}, {way}: {lost}"
        ));
        self.losses += 1;
    }

    /// The first thing that goes wrong when a step of this name is killed.
    pub fn first_loss(&self, scenarios: &[Scenario], step: &str) -> Option<String> {
        for scenario in scenarios {
            let points = self.points(scenario);
            let of_step = |point: &&Point| point.is_first() && point.at_work.ends_with(step);
            for point in points.iter().filter(of_step) {
                for way in scenario.ways() {
                    if let Err(lost) = self.try_once(scenario, point, way, None) {
                        return Some(format!("killed at {}, {way}: {lost}", point.name));
                    }
                }
            }
        }
        None
    }

    fn points(&self, scenario: &Scenario) -> Vec<Point> {
        scenario.begin(self.place);
        let trace = self.place.path("trace");
        let _ = fs::remove_file(&trace);
        let command = self.plant(scenario.command());
        let (ran, points) = self.count(command.with("PGM_TRACE", trace.display()));
        assert!(!ran.exit.is_empty(), "{}: {ran:?}", scenario.name());
        if self.mistake.is_empty() {
            let dirty = lint::of(&trace);
            assert!(dirty.is_empty(), "{}: {dirty:#?}", scenario.name());
        }
        assert!(!points.is_empty(), "{}", scenario.name());
        points
    }

    /// Runs a command to its end, for the points it reaches.
    pub fn count(&self, act: Act) -> (Ran, Vec<Point>) {
        let (log, same) = (self.place.path("points"), self.place.path("same"));
        let _ = fs::remove_file(&log);
        let mut act = act.with("PGM_FAULT_LOG", log.display());
        if self.twice.is_some() {
            act = act.with(sameness::LIKENESS, "");
        }
        let ran = act.with(sameness::LOG, same.display()).perform(self.place);
        (ran, read_points(&log, &same))
    }

    fn plant(&self, act: Act) -> Act {
        match self.mistake.as_str() {
            "" => act,
            mistake => act.with("PGM_PLANT", mistake),
        }
    }

    pub fn kill(&self, scenario: &Scenario, point: &Point) -> Result<(), String> {
        scenario.begin(self.place);
        let command = self.plant(scenario.command());
        let ran = command.with("PGM_FAULT", point.number).perform(self.place);
        if !ran.killed {
            return Err(format!("it was not killed: {ran:?}"));
        }
        self.demand_one_cluster(scenario)
    }

    pub fn try_once(
        &self,
        scenario: &Scenario,
        point: &Point,
        way: &str,
        again: Option<u64>,
    ) -> Result<(), String> {
        self.kill(scenario, point)?;
        if let Some(number) = again {
            let ran = Act::new(way).with("PGM_FAULT", number).perform(self.place);
            if !ran.killed {
                return Err(format!("the way out was not killed: {ran:?}"));
            }
            self.demand_one_cluster(scenario)?;
        }
        self.leave(way)
    }

    /// Two clusters that share files are never both startable.
    fn demand_one_cluster(&self, scenario: &Scenario) -> Result<(), String> {
        let there = |data: &str| self.place.path(data).join("global/pg_control").exists();
        match there("data") && there("new") && self.is_sharing(scenario) {
            true => Err("both clusters could be started".to_owned()),
            false => Ok(()),
        }
    }

    /// Before its files are placed a new cluster shares none, and is started privately; a prepare
    /// that is resumed may have begun with another one.
    fn is_sharing(&self, scenario: &Scenario) -> bool {
        let placed = scenario.shares_files() && (!scenario.is_a_prepare() || is_placed(self.place));
        let by_name = placed && ["link", "swap"].contains(&self.place.mode.as_str());
        by_name || has_one_file_twice(self.place)
    }

    /// Goes this way until it ends, and once more, which changes nothing.
    pub fn leave(&self, way: &str) -> Result<(), String> {
        let before = standing(self.place);
        let ran = self.plant(Act::new(way)).perform(self.place);
        self.ends.demand(self.place, &ran)?;
        let wanted = match (way, before) {
            ("rollback", _) => "RolledBack",
            ("finalize", _) => "Finalized",
            (_, Standing::CuttingOver) => "Upgraded",
            _ => ran.standing.as_str(),
        };
        if ran.standing != wanted {
            return Err(format!(
                "from {before:?} it does not lead to {wanted}: {ran:?}"
            ));
        }
        let once_more = self.plant(Act::new(way)).perform(self.place);
        if once_more.standing != ran.standing {
            return Err(format!("repeated it leads elsewhere: {once_more:?}"));
        }
        self.ends.demand(self.place, &once_more)?;
        match once_more.standing.as_str() {
            "Prepared" => self.arrive(),
            _ => Ok(()),
        }
    }

    /// What waits for the cutover is as good as ever.
    fn arrive(&self) -> Result<(), String> {
        let ran = self.plant(Act::new("cutover")).perform(self.place);
        match ran.standing.as_str() {
            "Upgraded" => self.ends.demand(self.place, &ran),
            _ => Err(format!("the cutover does not end: {ran:?}")),
        }
    }

    pub fn place(&self) -> &Place {
        self.place
    }

    /// Prints the cells.
    pub fn tell(&self) {
        let (mode, losses) = (&self.place.mode, self.losses);
        let mut sum = Cell::default();
        for (at_work, cell) in &self.cells {
            let (points, tried) = (cell.points, cell.killed + cell.same);
            say(&format!(
                "TRIED {tried} of {points} points by {mode}: {at_work}"
            ));
            sum.points += points;
            sum.killed += cell.killed;
            sum.same += cell.same;
        }
        let (points, tried) = (sum.points, sum.killed + sum.same);
        let (killed, same) = (sum.killed, sum.same);
        say(&format!(
            "TRIED {tried} of {points} points by {mode} in all, {losses} times something was lost: \
             {killed} were killed at, {same} find the disk as one of these does"
        ));
        if let Some(twice) = &self.twice {
            twice.tell(mode);
        }
        assert_eq!(losses, 0);
    }

    /// No step of the registry is forgotten.
    pub fn demand_every_step(&self) {
        let mode = self.place.mode.as_str();
        for step in registry() {
            let name = step.name();
            let of_mode = match name {
                "withdraw-old-control" => mode == "swap",
                "retire-old-control" => mode == "link",
                _ => true,
            };
            let needed = of_mode && !NOT_NEEDED.contains(&name);
            let has = |act: &str| self.cells.contains_key(&format!("{act} {name}"));
            assert_eq!(has("undo"), needed, "{name} by {mode}");
        }
    }
}

fn standing(place: &Place) -> Standing {
    said(place).standing()
}

/// Whether a file has a name in each of the clusters.
fn has_one_file_twice(place: &Place) -> bool {
    have_one_file(&place.path("data/base"), &place.path("new/base"))
}

/// Whether new may have files of old by now.
fn is_placed(place: &Place) -> bool {
    said(place)
        .steps
        .iter()
        .any(|step| step.step == "place-files")
}

/// What the journal says.
fn said(place: &Place) -> State {
    let state = Area::new(&place.path("new.migration")).unwrap();
    Journal::read(&state).unwrap().unwrap()
}

impl Point {
    pub fn is_first(&self) -> bool {
        self.found.same_as == self.number
    }
}

fn read_points(log: &Path, same: &Path) -> Vec<Point> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let same = sameness::read(same);
    let points = text.lines().map(|line| {
        let mut words = line.splitn(3, ' ').map(str::to_owned);
        let number = words.next().unwrap().parse().unwrap();
        let name = words.next().unwrap();
        let at_work = words.next().filter(|at| !at.is_empty());
        Point {
            number,
            name,
            at_work: at_work.unwrap_or("-".to_owned()),
            found: same[&number],
        }
    });
    points.collect()
}

/// Whether this mode is to be tried.
pub fn chosen(mode: &str) -> bool {
    std::env::var("PGM_MATRIX_MODE").is_ok_and(|chosen| chosen == mode)
        || std::env::var_os("PGM_MATRIX_MODE").is_none()
}

pub fn given(name: &str) -> Option<usize> {
    std::env::var(name)
        .ok()
        .map(|number| number.parse().unwrap())
}
