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
    if is_elsewhere(engine, plan) {
        return Err(not_comparable("its files are with new, or given up"));
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

/// Whether new has files of old now, or may have written to them.
fn is_elsewhere(engine: &mut Engine<'_>, plan: &Plan) -> bool {
    let untouched = new_state(plan, &engine.context().state) == Ok(NewState::Untouched);
    match engine.state().standing() {
        Standing::Finalizing | Standing::Finalized => true,
        Standing::CuttingOver | Standing::RollingBack => plan.mode.shares_files(),
        Standing::Upgraded => match plan.mode {
            Mode::Swap => true,
            Mode::Link => !untouched,
            _ => false,
        },
        _ => false,
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
    .remedy(Remedy::manual(
        "what a way back gives back is compared by itself, before old is started",
    ))
}
