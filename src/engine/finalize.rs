//! The way back is given up: old goes, and nothing but old.

use super::{Engine, Outcome};
use crate::error::{Code, Error, Remedy, Result};
use crate::journal::{Milestone, Standing};
use crate::plan::Plan;
use crate::steps::{NewState, started_early};

/// Removes the old cluster.
///
/// Refused while new has never been started: until then old is all there is. Interrupted
/// anywhere, the next `finalize` goes on.
pub fn finalize(engine: &mut Engine<'_>, new_state: NewState) -> Outcome {
    let standing = engine.state().standing();
    let ready = match standing {
        // Killed after the last act, before what the migration kept was cleaned.
        Standing::Finalized => return Outcome::done(standing),
        Standing::Upgraded => new_has_run(engine.context().plan, new_state),
        Standing::Finalizing => Ok(()),
        _ => Err(Error::new(
            Code::WrongStanding,
            "there is nothing to finalize yet",
        )),
    };
    if let Err(error) = ready {
        return Outcome::unchanged(error, Some(standing));
    }
    let done = begin(engine, standing)
        .and_then(|()| engine.context().remove_old_cluster())
        .and_then(|()| engine.reach(Milestone::Finalized));
    match done {
        Ok(()) => Outcome::done(engine.state().standing()),
        Err(error) => engine.stopped(error),
    }
}

fn begin(engine: &mut Engine<'_>, standing: Standing) -> Result<()> {
    if standing == Standing::Finalizing {
        return Ok(());
    }
    engine.context().old_is_down()?;
    engine.reach(Milestone::Finalizing)
}

fn new_has_run(plan: &Plan, new_state: NewState) -> Result<()> {
    match new_state {
        NewState::Started => Ok(()),
        NewState::Untouched => Err(Error::new(
            Code::NewNeverStarted,
            "the new cluster has never been started; the old one is still all there is",
        )
        .remedy(Remedy::manual(
            "start the new cluster, look at it, and finalize then",
        ))),
        NewState::StartedEarly { shared } => Err(started_early(plan, shared)),
        NewState::Missing => Err(Error::new(
            Code::NewWithoutControl,
            "the new cluster has no control file",
        )),
    }
}
