//! The matrix: a command killed at each of its points, and both ways out, each repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use pg_migrator::disk::Area;
use pg_migrator::journal::{Journal, Standing};
use pg_migrator::steps::registry;

use crate::act::Act;
use crate::ends::Ends;
use crate::lint;
use crate::place::Place;
use crate::planted::FAILS;
use crate::support::say;

/// Of how many kinds of points one is tried, unless the environment says otherwise.
const EVERY: usize = 5;
/// Steps that only a server makes necessary.
const NOT_NEEDED: [&str; 4] = [
    "reopen-new-cluster",
    "carry-large-objects",
    "refresh-horizons",
    "start-new-server",
];

/// What is begun from, and which command is killed.
pub struct Scenario {
    image: &'static str,
    begun_at: Option<String>,
    command: &'static str,
    fails: &'static str,
}

impl Scenario {
    fn new(image: &'static str, command: &'static str) -> Self {
        Self {
            image,
            begun_at: None,
            command,
            fails: "",
        }
    }

    pub fn cutover() -> Self {
        Self::new("prepared", "cutover")
    }

    /// One that is undone because its last look finds a difference.
    pub fn failing_cutover() -> Self {
        Self {
            fails: "verify-new-cluster",
            ..Self::cutover()
        }
    }

    /// A prepare that goes on from this step.
    pub fn begun_at(step: &str) -> Self {
        Self {
            begun_at: Some(step.to_owned()),
            ..Self::new("prepared", "prepare")
        }
    }

    pub fn all() -> Vec<Self> {
        vec![
            Self::begun_at("place-files"),
            Self::cutover(),
            Self::failing_cutover(),
            Self::new("prepared", "rollback"),
            Self::new("upgraded", "rollback"),
            Self::new("upgraded", "finalize"),
        ]
    }

    pub fn name(&self) -> String {
        let from = self.begun_at.as_deref().unwrap_or(self.image);
        let fails = if self.fails.is_empty() {
            ""
        } else {
            " that fails"
        };
        format!("{}{fails} from {from}", self.command)
    }

    pub fn command(&self) -> Act {
        Act::new(self.command).with(FAILS, self.fails)
    }

    pub fn begin(&self, place: &Place) {
        match &self.begun_at {
            Some(step) => place.become_begun_at(step),
            None => place.restore(self.image),
        }
    }

    pub fn ways(&self) -> &'static [&'static str] {
        match self.command {
            "finalize" => &["finalize"],
            _ => &["resume", "rollback"],
        }
    }
}

/// A crash point: its number, and what was at work.
#[derive(Debug, Clone)]
pub struct Point {
    pub number: u64,
    pub name: String,
    pub at_work: String,
}

pub struct Matrix<'a> {
    place: &'a Place,
    ends: Ends,
    mistake: String,
    cells: BTreeMap<String, [usize; 2]>,
    losses: usize,
}

impl<'a> Matrix<'a> {
    pub fn new(place: &'a Place) -> Self {
        Self {
            ends: Ends::of(place),
            place,
            mistake: String::new(),
            cells: BTreeMap::new(),
            losses: 0,
        }
    }

    pub fn with_mistake(mut self, mistake: &str) -> Self {
        mistake.clone_into(&mut self.mistake);
        self
    }

    /// Kills the command at its points, and demands that nothing is lost.
    pub fn run(&mut self, scenario: &Scenario) {
        let points = self.points(scenario);
        let double = given("PGM_MATRIX_DOUBLE");
        let tried = self.chosen_of(&points);
        for (at, point) in points.iter().enumerate() {
            let cell = self.cells.entry(point.at_work.clone()).or_default();
            cell[0] += 1;
            let Some(chosen) = tried.iter().position(|tried| *tried == at) else {
                continue;
            };
            cell[1] += 1;
            for (turn, way) in scenario.ways().iter().enumerate() {
                let both = given("PGM_MATRIX_EVERY").is_some();
                if !both && chosen % scenario.ways().len() != turn {
                    continue;
                }
                if let Err(lost) = self.try_once(scenario, point, way, None) {
                    self.lose(scenario, point, way, &lost);
                }
                if double.is_some_and(|double| (at + turn) % double == 0) {
                    self.kill_again(scenario, point, way);
                }
            }
        }
    }

    /// Which of them are tried: every Kth of all, or of the first ones of each kind.
    fn chosen_of(&self, points: &[Point]) -> Vec<usize> {
        if let Some(every) = given("PGM_MATRIX_EVERY") {
            return (0..points.len()).step_by(every).collect();
        }
        let mut kinds = BTreeSet::new();
        (0..points.len())
            .filter(|at| kinds.insert((&points[*at].name, &points[*at].at_work)))
            .step_by(EVERY)
            .collect()
    }

    fn lose(&mut self, scenario: &Scenario, point: &Point, way: &str, lost: &str) {
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
            for point in points.iter().filter(|point| point.at_work.ends_with(step)) {
                for way in scenario.ways() {
                    if let Err(lost) = self.try_once(scenario, point, way, None) {
                        return Some(format!("killed at {}, {way}: {lost}", point.name));
                    }
                }
            }
        }
        None
    }

    /// Kills the way out as well, at each of its points.
    fn kill_again(&mut self, scenario: &Scenario, point: &Point, way: &str) {
        self.kill(scenario, point).unwrap();
        let log = self.place.path("points");
        let _ = fs::remove_file(&log);
        Act::new(way)
            .with("PGM_FAULT_LOG", log.display())
            .perform(self.place);
        let again = read_points(&log);
        let cell = self
            .cells
            .entry(format!("{way} killed once more"))
            .or_default();
        cell[0] += again.len();
        cell[1] += again.len();
        for second in &again {
            if let Err(lost) = self.try_once(scenario, point, way, Some(second.number)) {
                self.lose(
                    scenario,
                    point,
                    way,
                    &format!("and again at {second:?}: {lost}"),
                );
            }
        }
    }

    fn points(&self, scenario: &Scenario) -> Vec<Point> {
        scenario.begin(self.place);
        let (log, trace) = (self.place.path("points"), self.place.path("trace"));
        for file in [&log, &trace] {
            let _ = fs::remove_file(file);
        }
        let ran = self
            .plant(scenario.command())
            .with("PGM_FAULT_LOG", log.display())
            .with("PGM_TRACE", trace.display())
            .perform(self.place);
        assert!(!ran.exit.is_empty(), "{}: {ran:?}", scenario.name());
        if self.mistake.is_empty() {
            let dirty = lint::of(&trace);
            assert!(dirty.is_empty(), "{}: {dirty:#?}", scenario.name());
        }
        let points = read_points(&log);
        assert!(!points.is_empty(), "{}", scenario.name());
        points
    }

    fn plant(&self, act: Act) -> Act {
        act.with("PGM_PLANT", &self.mistake)
    }

    fn kill(&self, scenario: &Scenario, point: &Point) -> Result<(), String> {
        scenario.begin(self.place);
        let command = self.plant(scenario.command());
        let ran = command.with("PGM_FAULT", point.number).perform(self.place);
        if !ran.killed {
            return Err(format!("it was not killed: {ran:?}"));
        }
        self.demand_one_cluster(scenario)
    }

    fn try_once(
        &self,
        scenario: &Scenario,
        point: &Point,
        way: &str,
        again: Option<u64>,
    ) -> Result<(), String> {
        self.kill(scenario, point)?;
        if let Some(number) = again {
            Act::new(way).with("PGM_FAULT", number).perform(self.place);
            self.demand_one_cluster(scenario)?;
        }
        self.leave(way)
    }

    /// Two clusters that share files are never both startable.
    fn demand_one_cluster(&self, scenario: &Scenario) -> Result<(), String> {
        let sharing = ["link", "swap"].contains(&self.place.mode.as_str());
        // Before its files are placed a new cluster shares none, and is started privately.
        let begun = scenario
            .begun_at
            .as_deref()
            .is_none_or(|step| step == "place-files");
        let there = |data: &str| self.place.path(data).join("global/pg_control").exists();
        match sharing && begun && there("data") && there("new") {
            true => Err("both clusters could be started".to_owned()),
            false => Ok(()),
        }
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
        let mode = &self.place.mode;
        let mut sum = [0, 0];
        for (at_work, [points, tried]) in &self.cells {
            say(&format!(
                "TRIED {tried} of {points} points by {mode}: {at_work}"
            ));
            sum = [sum[0] + points, sum[1] + tried];
        }
        let (losses, [points, tried]) = (self.losses, sum);
        say(&format!(
            "TRIED {tried} of {points} points by {mode} in all, {losses} times something was lost"
        ));
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
    let state = Area::new(&place.path("new.migration")).unwrap();
    Journal::read(&state).unwrap().unwrap().standing()
}

pub fn read_points(log: &Path) -> Vec<Point> {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines()
        .map(|line| {
            let mut words = line.splitn(3, ' ').map(str::to_owned);
            Point {
                number: words.next().unwrap().parse().unwrap(),
                name: words.next().unwrap(),
                at_work: words
                    .next()
                    .filter(|at| !at.is_empty())
                    .unwrap_or("-".to_owned()),
            }
        })
        .collect()
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
