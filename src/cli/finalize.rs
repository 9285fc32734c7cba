//! `finalize`: gives up the way back and removes the old cluster.

use super::args::{Global, Migration};
use super::ask::ask;
use super::migration;
use super::run::{Ending, Run};
use crate::engine::{Engine, Outcome, REPORT_FILE, Recorder, StateDir, finalize};
use crate::error::{Code, Error, Exit, Remedy, Result};
use crate::journal::Standing;
use crate::plan::Plan;
use crate::steps::{Context, NewState, new_state};
use crate::work::Cancel;

pub fn run(global: &Global, arguments: &Migration) -> Exit {
    let run = Run::begin(global);
    let opened = match migration::open(global, arguments) {
        Ok(opened) => opened,
        Err(error) => {
            run.announce("finalize", None, &[]);
            return run.refuse_unread(error);
        }
    };
    run.announce("finalize", Some(opened.plan.mode), &[]);
    if let Ok(recorder) = Recorder::open(&opened.state.area) {
        run.stream.record(Box::new(recorder));
    }
    let steady = Cancel::new();
    let plan = &opened.plan;
    let context = Context::new(
        plan,
        &run.stream,
        &run.cancel,
        opened.state.area.clone(),
        None,
    );
    let mut engine = Engine::new(opened.journal, context, &steady);
    let outcome = give_up(global, &mut engine, plan);
    drop(engine);
    let done = outcome.error.is_none();
    if done {
        return end_for_good(&run, plan, outcome, opened.state);
    }
    migration::end(&run, "finalize", plan, outcome, &opened.state, None)
}

fn give_up(global: &Global, engine: &mut Engine<'_>, plan: &Plan) -> Outcome {
    let standing = engine.state().standing();
    let new = match new_state(plan, &engine.context().state) {
        Ok(new) => new,
        Err(error) => return Outcome::unchanged(error, Some(standing)),
    };
    // What is refused anyway is not asked about, and what is done already neither.
    let allowed = new == NewState::Started && standing != Standing::Finalized;
    if allowed && let Err(error) = confirm(global, engine.context().cancel, plan) {
        return Outcome::unchanged(error, Some(standing));
    }
    finalize(engine, new)
}

/// The report is written last of all, so that it tells the end as well; it and the events stay.
fn end_for_good(run: &Run, plan: &Plan, outcome: Outcome, state: StateDir) -> Exit {
    let area = state.area.clone();
    let outcome = match state.clean() {
        Ok(()) => outcome,
        Err(error) => Outcome::stopped(error, Standing::Finalized),
    };
    let ending = Ending {
        standing: Some(format!(
            "the old cluster in {} is removed; pg_migrator log shows what was done, the report \
             is {}",
            plan.old.data_dir.display(),
            area.root().join(REPORT_FILE).display()
        )),
        ..Ending::default()
    };
    let exit = run.finish(outcome, Some(plan), ending);
    super::log::write_report(&area);
    exit
}

fn confirm(global: &Global, cancel: &Cancel, plan: &Plan) -> Result<()> {
    let question = format!(
        "Remove the old cluster {} for good?",
        crate::pg::quote::terminal_safe(&plan.old.data_dir.display().to_string())
    );
    match ask(global, cancel, &question)? {
        true => Ok(()),
        false => Err(Error::new(Code::NotConfirmed, "finalize was not confirmed")
            .remedy(Remedy::manual("answer yes, or give --yes"))),
    }
}
