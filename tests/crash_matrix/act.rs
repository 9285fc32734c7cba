//! One command on a migration: in a process of its own where it is to be killed, made wrong or
//! looked at, and else in this one, which takes a tenth of the time.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pg_migrator::disk::Lock;
use pg_migrator::engine::{Engine, Outcome, Recorder, StateDir, finalize};
use pg_migrator::event::Stream;
use pg_migrator::journal::Standing;
use pg_migrator::steps::{Context, NewState, new_state};
use pg_migrator::work::Cancel;

use crate::place::Place;
use crate::planted;
use crate::sameness;

/// What the child is to do.
pub const ACT: &str = "PGM_MATRIX_ACT";
const DIR: &str = "PGM_MATRIX_DIR";

/// A command, and what is to happen to it.
pub struct Act {
    command: String,
    environment: Vec<(String, String)>,
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct Ran {
    /// It was killed.
    pub killed: bool,
    /// How it ended.
    pub exit: String,
    /// Where the migration stands then.
    pub standing: String,
    /// What it complained about.
    pub error: String,
}

impl Act {
    pub fn new(command: &str) -> Self {
        Self {
            command: command.to_owned(),
            environment: Vec::new(),
        }
    }

    /// The same with a variable.
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// Runs it to its end, or until it is killed.
    pub fn perform(&self, place: &Place) -> Ran {
        match self.environment.is_empty() {
            true => here(&self.command, place.dir()),
            false => self.perform_in_a_child(place),
        }
    }

    fn perform_in_a_child(&self, place: &Place) -> Ran {
        let outcome = place.path("outcome");
        let _ = fs::remove_file(&outcome);
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "one_act", "--nocapture", "--test-threads=1"])
            .env(ACT, &self.command)
            .env(DIR, place.dir())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let killed = output.status.signal() == Some(9);
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let text = fs::read_to_string(&outcome).unwrap_or_default();
        let mut lines = text.splitn(3, '\n').map(str::to_owned);
        let mut next = || lines.next().unwrap_or_default();
        let (exit, standing, error) = (next(), next(), next());
        let error = match exit.is_empty() && !killed {
            true => format!("it ended without an outcome: {said}"),
            false => error,
        };
        Ran {
            killed,
            exit,
            standing,
            error,
        }
    }
}

impl Ran {
    pub fn demand_standing(&self, standing: &str) {
        assert_eq!(self.standing, standing, "{self:?}");
    }
}

/// What the child does.
pub fn perform() {
    let command = std::env::var(ACT).unwrap();
    let dir = PathBuf::from(std::env::var_os(DIR).unwrap());
    sameness::watch_if_wanted(&dir);
    let ran = Ran::from(outcome_of(&command, &dir));
    let text = format!("{}\n{}\n{}", ran.exit, ran.standing, ran.error);
    fs::write(dir.join("outcome"), text).unwrap();
}

/// What becomes of it in this process.
fn here(command: &str, dir: &Path) -> Ran {
    let ended = catch_unwind(AssertUnwindSafe(|| outcome_of(command, dir)));
    ended.map_or_else(
        |_| Ran {
            killed: false,
            exit: String::new(),
            standing: String::new(),
            error: "it panicked".to_owned(),
        },
        Ran::from,
    )
}

impl From<Outcome> for Ran {
    fn from(outcome: Outcome) -> Self {
        let standing = outcome.standing.map(|standing| format!("{standing:?}"));
        let error = outcome
            .error
            .map(|error| format!("{} {error:?}", error.code()));
        Self {
            killed: false,
            exit: format!("{:?}", outcome.exit),
            standing: standing.unwrap_or_default(),
            error: error.unwrap_or_default(),
        }
    }
}

fn outcome_of(command: &str, dir: &Path) -> Outcome {
    let state = match StateDir::open(&dir.join("new.migration")) {
        Ok(state) => state,
        Err(error) => return Outcome::unchanged(error, None),
    };
    let opened = state
        .journal()
        .and_then(|journal| Ok((journal, state.plan()?)));
    let (journal, plan) = match opened {
        Ok(opened) => opened,
        Err(error) => return Outcome::unchanged(error, None),
    };
    let data = &plan.old.data_dir;
    let _old = data.is_dir().then(|| Lock::on_directory(data).unwrap());
    let stream = Stream::new(Vec::new());
    if let Ok(recorder) = Recorder::open(&state.area) {
        stream.record(Box::new(recorder));
    }
    let (cancel, steady) = (Cancel::new(), Cancel::new());
    let context = Context::new(&plan, &stream, &cancel, state.area.clone(), None);
    let mut engine = Engine::with_steps(journal, context, &steady, planted::steps());
    command_of(command, &mut engine)
}

fn command_of(command: &str, engine: &mut Engine<'_>) -> Outcome {
    let standing = engine.state().standing();
    match command {
        "prepare" => engine.prepare(),
        "cutover" => match engine.context().new_was_not_started_early() {
            Ok(()) => {
                // One more step, for those who ask for it.
                engine.context().handover.manifest = true;
                engine.cutover()
            }
            Err(error) => Outcome::unchanged(error, Some(standing)),
        },
        "resume" => engine.resume(false),
        "rollback" if standing == Standing::RolledBack => Outcome::done(standing),
        "rollback" => {
            let (plan, area) = (engine.context().plan, engine.context().state.clone());
            match new_state(plan, &area) {
                Ok(new) => engine.rollback(new, false),
                Err(error) => Outcome::unchanged(error, Some(standing)),
            }
        }
        "finalize" => finalize(engine, NewState::Started),
        other => panic!("{other}"),
    }
}
