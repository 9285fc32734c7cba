//! `cutover`: hands over to the prepared new cluster.

use super::args::{Cutover, Global};
use super::estimate::{self, Basis};
use super::migration;
use super::run::Run;
use crate::engine::{Engine, Outcome};
use crate::error::Exit;
use crate::event::Phase;
use crate::journal::Standing;
use crate::plan::Plan;
use crate::steps::Handover;

pub fn run(global: &Global, arguments: &Cutover) -> Exit {
    migration::with_engine(
        global,
        &arguments.migration,
        "cutover",
        &[Phase::Cutover],
        |engine, plan, run| {
            if engine.state().standing() == Standing::Prepared {
                estimate::of_prepared(engine, plan, run, Basis::Known);
            }
            cut_over(engine, plan, run, arguments.service.handover())
        },
    )
}

/// The cutover of an engine that has prepared.
pub fn cut_over(engine: &mut Engine<'_>, plan: &Plan, run: &Run, handover: Handover) -> Outcome {
    let standing = engine.state().standing();
    let ready = migration::demand(engine, &[Standing::Prepared], "cutover")
        .and_then(|()| engine.context().end_leftovers())
        // A server that is neither ready nor gone is an error here, before anything is done.
        .and_then(|()| engine.context().old_is_serving().map(|_| ()))
        .and_then(|()| engine.context().new_was_not_started_early())
        .and_then(|()| engine.context().new_has_its_control());
    if let Err(error) = ready {
        return Outcome::unchanged(error, Some(standing));
    }
    engine.context().handover = handover;
    let outcome = engine.cutover();
    if outcome.error.is_none() {
        migration::tell_remaining(engine, plan, run);
    }
    outcome
}
