//! `rollback`: undoes whatever was done.

use super::args::{Global, Rollback};
use super::migration;
use crate::engine::Outcome;
use crate::error::Exit;
use crate::event::Phase;
use crate::journal::Standing;

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
                return Outcome::done(standing);
            }
            match migration::new_is_down(engine, plan) {
                Ok(new_state) => engine.rollback(new_state, arguments.discard_new_writes),
                Err(error) => Outcome::unchanged(error, Some(standing)),
            }
        },
    )
}
