//! `cutover`: hands over to the prepared new cluster.

use super::args::{Cutover, Global};
use super::migration;
use super::run::Run;
use crate::engine::{Engine, Outcome};
use crate::error::{Code, Error, Exit, Remedy, Result};
use crate::event::Phase;
use crate::journal::Standing;
use crate::pg::quote::shell_path;
use crate::plan::Plan;
use crate::server;

pub fn run(global: &Global, arguments: &Cutover) -> Exit {
    migration::with_engine(
        global,
        &arguments.migration,
        "cutover",
        &[Phase::Cutover],
        |engine, plan, run| cut_over(engine, plan, run, arguments.start),
    )
}

/// The cutover of an engine that has prepared.
pub fn cut_over(engine: &mut Engine<'_>, plan: &Plan, run: &Run, start: bool) -> Outcome {
    let standing = engine.state().standing();
    let ready = migration::demand(engine, &[Standing::Prepared], "cutover")
        .and_then(|()| engine.context().end_leftovers())
        .and_then(|()| old_is_down(plan, engine))
        .and_then(|()| engine.context().new_was_not_started_early());
    if let Err(error) = ready {
        return Outcome::unchanged(error, Some(standing));
    }
    engine.context().start_new = start;
    let outcome = engine.cutover();
    if outcome.error.is_none() {
        migration::tell_remaining(engine, plan, run);
    }
    outcome
}

fn old_is_down(plan: &Plan, engine: &mut Engine<'_>) -> Result<()> {
    match server::running(&engine.context().old_dir())? {
        None => Ok(()),
        Some(file) => Err(
            Error::new(Code::OldServerRunning, "the old server is still running")
                .fact("data directory", plan.old.data_dir.display())
                .fact("process", file.process())
                .remedy(Remedy::command(format!(
                    "{} stop -D {}",
                    shell_path(&plan.old.bindir.join("pg_ctl")),
                    shell_path(&plan.old.config_dir)
                ))),
        ),
    }
}
