//! At which points a command is killed, and how each kill is left.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::demand_durable;
use crate::support::case::Case;
use crate::support::trip::finish;
use crate::support::{lint, say};

/// What the names of boundaries begin with.
const BOUNDARY: &str = "engine.step";
/// How many points less a run may have than the one that was counted: old is looked at, and
/// workers wait for each other, as it comes.
const FEWER: usize = 5;

/// What SIGKILL leaves as a status.
const KILLED: i32 = -9;

/// Where a command is killed, and how it is left.
#[derive(Debug)]
pub struct Kill {
    /// The point, as the environment names it.
    fault: String,
    /// Whether a run may end before it.
    near_the_end: bool,
    /// How it is left.
    pub way: &'static str,
    /// Whether it is a prepare that is killed.
    pub of_prepare: bool,
    /// The point at which the way out is killed as well.
    again: Option<String>,
}

/// Which points of a command are tried, one of so many unless the environment says otherwise.
#[derive(Debug, Clone, Copy)]
pub enum Wanted {
    Any(usize),
    OfCopies(usize),
}

/// Boundaries of steps, one of so many as a run of all tests has time for.
pub const SOME: Wanted = Wanted::Any(17);
/// Points at which copies are made.
pub const SOME_COPIES: Wanted = Wanted::OfCopies(101);

/// Points at which copies are made, mended and written down.
fn is_of_copies(point: &str) -> bool {
    point.starts_with("disk.replica.") || point == "disk.append.half"
}

impl Kill {
    /// Runs a command that is killed there.
    pub fn strikes(&self, case: &Case, mut command: Command) {
        command.env("PGM_FAULT", &self.fault);
        let ran = finish(command);
        if !(self.near_the_end && ran.code == 0) {
            ran.demand(KILLED);
            lint::killed(&case.trip.trace());
        }
    }

    /// Kills the way out too, where that is wanted; whether it ended before.
    pub fn gets_out_in_spite_of_the_second(&self, case: &Case) -> bool {
        self.again.as_ref().is_some_and(|again| {
            let mut command = case.trip.command(&[self.way]);
            command.env("PGM_FAULT", again);
            let ran = finish(command);
            if ran.code == KILLED {
                lint::killed(&case.trip.trace());
            }
            ran.code == 0
        })
    }
}

/// The points of a command that are tried, after it has been run once to count them, and to see
/// that all it does, and what comes before it and after it, is durable in time.
pub fn kills(case: &Case, command: &str, wanted: Wanted) -> Vec<Kill> {
    case.trip.begin_trace();
    if command != "prepare" {
        case.trip.prepare();
    }
    if command == "rollback" {
        case.trip.cutover();
    }
    let log = case.trip.new.with_extension("points");
    let mut counted = match command {
        "prepare" => case.trip.first_command(&[command]),
        _ => case.trip.command(&[command]),
    };
    counted.env("PGM_FAULT_LOG", &log);
    finish(counted).demand(0);
    let tried = chosen(case, &log, command, wanted);
    case.trip.rollback();
    let mode = &case.trip.mode;
    let lines = demand_durable(case, &format!("{command} by {mode}"));
    say(&format!(
        "TRIED {lines} lines of the trace of {command} by {mode} and of the way back, nothing \
         undurable"
    ));
    tried
}

pub fn chosen(case: &Case, log: &Path, command: &str, wanted: Wanted) -> Vec<Kill> {
    let text = fs::read_to_string(log).unwrap();
    fs::remove_file(log).unwrap();
    let names: Vec<&str> = text
        .lines()
        .map(|line| line.split(' ').nth(1).unwrap())
        .collect();
    let (all, steps) = (given("PGM_CRASH_EVERY"), given("PGM_CRASH_STEPS"));
    let (by_steps, every) = match wanted {
        Wanted::Any(every) => (all.is_none(), all.or(steps).unwrap_or(every)),
        Wanted::OfCopies(every) => (false, all.unwrap_or(every)),
    };
    let of_kind = |name: &str| match wanted {
        Wanted::Any(_) => !by_steps || name.starts_with(BOUNDARY),
        Wanted::OfCopies(_) => is_of_copies(name),
    };
    let from = given("PGM_CRASH_FROM").unwrap_or(1);
    let (mut found, mut tried, mut kills) = (0, 0, Vec::new());
    for (at, _) in names.iter().enumerate().filter(|(_, name)| of_kind(name)) {
        found += 1;
        if at + 1 < from || (found - 1) % every != 0 {
            continue;
        }
        let fault = match by_steps {
            true => format!("{BOUNDARY}:{found}"),
            false => (at + 1).to_string(),
        };
        let near_the_end = at + FEWER >= names.len();
        let ways = ways_of(tried, by_steps && steps.is_some());
        tried += 1;
        kills.extend(ways.into_iter().map(|(way, again)| Kill {
            fault: fault.clone(),
            near_the_end,
            way,
            of_prepare: command == "prepare",
            again,
        }));
    }
    let (some, mode) = (kills.len(), &case.trip.mode);
    let what = if by_steps { "boundaries" } else { "points" };
    say(&format!(
        "TRIED {tried} of {found} {what} of {command} by {mode}, in {some} kills"
    ));
    assert!(some > 0, "no point was tried");
    kills
}

/// The ways out of a kill: both, or one after the other; every third is killed once more.
fn ways_of(turn: usize, both: bool) -> Vec<(&'static str, Option<String>)> {
    const WAYS: [&str; 2] = ["rollback", "resume"];
    let way = WAYS[turn % 2];
    let again = turn
        .is_multiple_of(3)
        .then(|| format!("{BOUNDARY}:{}", turn * 7 % 19 + 1));
    match both {
        false => vec![(way, again)],
        true => {
            let twice = again.map(|again| (way, Some(again)));
            WAYS.map(|way| (way, None))
                .into_iter()
                .chain(twice)
                .collect()
        }
    }
}

/// Whether more is tried than a run of all tests has time for.
pub fn many() -> bool {
    given("PGM_CRASH_STEPS")
        .or(given("PGM_CRASH_EVERY"))
        .is_some()
}

fn given(name: &str) -> Option<usize> {
    let number = std::env::var(name).ok()?;
    Some(number.parse().unwrap())
}
