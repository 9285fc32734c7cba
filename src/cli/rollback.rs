//! `rollback`: undoes whatever was done.

use super::args::{Global, Rollback};
use super::migration;
use crate::engine::{Engine, Outcome};
use crate::error::Exit;
use crate::event::Phase;
use crate::journal::Standing;
use crate::plan::Plan;
use crate::steps::{NewState, new_state};

pub fn run(global: &Global, arguments: &Rollback) -> Exit {
    let phases = [Phase::Prepare, Phase::Cutover];
    migration::with_engine(
        global,
        &arguments.migration,
        "rollback",
        &phases,
        |engine, plan, _| {
            let standing = engine.state().standing();
            if standing == Standing::RolledBack {
                return engine.gone_back();
            }
            match migration::new_is_down(engine, plan) {
                Ok(new_state) => engine.rollback(new_state, arguments.discard_new_writes),
                Err(_) if is_gone(engine, plan) => engine.rollback(NewState::Started, false),
                Err(error) => Outcome::unchanged(error, Some(standing)),
            }
        },
    )
}

/// Whether stopping new would open no way back: by link and by swap its first start has ended it.
fn is_gone(engine: &mut Engine<'_>, plan: &Plan) -> bool {
    let became = new_state(plan, &engine.context().state);
    plan.mode.shares_files() && matches!(became, Ok(NewState::Started))
}
