//! `verify --manifest`: old is compared with what was written down before the cutover.

use std::time::Instant;

use super::args::{Global, Migration};
use super::migration;
use super::run::Run;
use crate::engine::{Engine, Outcome};
use crate::error::{Code, Error, Exit, Remedy, Result};
use crate::event::{EventKind, Sink};
use crate::journal::Standing;
use crate::plan::{Mode, Plan};
use crate::steps::{ComparedOld, NewState, new_state};

/// The name of what it does, in the place of a step.
const STEP: &str = "compare-old";

pub fn run(global: &Global, arguments: &Migration) -> Exit {
    migration::with_engine(global, arguments, "verify", &[], |engine, plan, run| {
        let standing = engine.state().standing();
        match compare(engine, plan, run) {
            Err(error) => Outcome::unchanged(error, Some(standing)),
            Ok(()) => Outcome::done(standing),
        }
    })
}

fn compare(engine: &mut Engine<'_>, plan: &Plan, run: &Run) -> Result<()> {
    if let Some(why) = elsewhere(engine, plan) {
        return Err(not_comparable(why));
    }
    let cx = engine.context();
    cx.end_leftovers()?;
    let step = || STEP.to_owned();
    let started = Instant::now();
    run.stream.emit(EventKind::StepStarted { step: step() });
    let compared = cx.compare_old(STEP).and_then(agreeing);
    run.stream.emit(match &compared {
        Ok(compared) => EventKind::StepFinished {
            step: step(),
            detail: compared.agrees(),
            seconds: started.elapsed().as_secs_f64(),
        },
        Err(_) => EventKind::StepFailed { step: step() },
    });
    compared.map(|_| ())
}

/// Why old has not the files it had, where new has them now or may have written to them.
fn elsewhere(engine: &mut Engine<'_>, plan: &Plan) -> Option<&'static str> {
    let untouched = new_state(plan, &engine.context().state) == Ok(NewState::Untouched);
    match engine.state().standing() {
        Standing::Finalizing | Standing::Finalized => Some("old was given up"),
        Standing::CuttingOver | Standing::RollingBack if plan.mode.shares_files() => {
            Some("the cutover has not ended, nor the way back, which compares by itself")
        }
        Standing::Upgraded if plan.mode == Mode::Swap => {
            Some("its files are with new; a way back compares them when they are home")
        }
        Standing::Upgraded if plan.mode == Mode::Link && !untouched => {
            Some("new has been started and may have written to its files")
        }
        _ => None,
    }
}

fn agreeing(compared: Option<ComparedOld>) -> Result<ComparedOld> {
    let compared = compared.ok_or_else(|| {
        Error::new(Code::WrongStanding, "no manifest of old was recorded").remedy(Remedy::manual(
            "cutover --manifest or upgrade --manifest records one",
        ))
    })?;
    if let Some(why) = &compared.not_compared {
        return Err(not_comparable(why));
    }
    compared.error().map_or(Ok(compared), Err)
}

fn not_comparable(why: &str) -> Error {
    Error::new(
        Code::WrongStanding,
        "old cannot be compared with its manifest now",
    )
    .fact("because", why)
}
