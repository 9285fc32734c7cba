//! `resume`: goes on after a crash or an interruption.

use super::args::{Global, Resume};
use super::migration;
use crate::error::Exit;
use crate::event::Phase;
use crate::journal::Standing;

pub fn run(global: &Global, arguments: &Resume) -> Exit {
    let phases = [Phase::Prepare, Phase::Cutover];
    migration::with_engine(
        global,
        &arguments.migration,
        "resume",
        &phases,
        |engine, plan, run| {
            engine.context().handover = arguments.service.handover();
            let outcome = engine.resume(arguments.keep_new);
            if outcome.error.is_none() && outcome.standing == Some(Standing::Upgraded) {
                migration::tell_remaining(engine, plan, run);
            }
            outcome
        },
    )
}
