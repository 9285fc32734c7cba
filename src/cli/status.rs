//! `status`: where a migration stands and what may be done next.

use super::args::{Global, Migration};
use super::migration;
use super::run::{Ending, Run, next};
use crate::catalog::Change;
use crate::disk::{Area, Lock};
use crate::engine::{Outcome, StateDir};
use crate::error::{Code, Exit, Result};
use crate::event::{EventKind, Level, Phase, Sink};
use crate::journal::{Standing, State};
use crate::pg::amount::count;
use crate::plan::Plan;
use crate::server::privileges;
use crate::steps::{Context, NewState, compared_old, new_state, read_and_compare};

/// How many changes are named.
const NAMED: usize = 20;

pub fn run(global: &Global, arguments: &Migration) -> Exit {
    let run = Run::begin(global);
    match look(global, arguments) {
        Err(error) => {
            run.announce("status", None, &[]);
            run.refuse_unread(error)
        }
        Ok((state, plan)) => {
            run.announce("status", Some(plan.mode), &[Phase::Prepare, Phase::Cutover]);
            let new = Area::new(&plan.state_dir).and_then(|area| new_state(&plan, &area));
            describe(&run, &state, &plan, new);
            let prepared = state.standing() == Standing::Prepared;
            let drifted = prepared && tell_drift(&run, &plan);
            let outcome = Outcome::done(state.standing());
            let mut commands = next("status", &outcome, &plan);
            let refused = plan.command("cutover");
            for command in commands
                .iter_mut()
                .filter(|one| drifted && **one == refused)
            {
                *command = plan.command("prepare");
            }
            let ending = Ending {
                next: commands,
                ..Ending::default()
            };
            run.finish(outcome, Some(&plan), ending)
        }
    }
}

fn look(global: &Global, arguments: &Migration) -> Result<(State, Plan)> {
    let path = migration::state_path(global, arguments)?;
    if path.is_dir() {
        privileges::become_owner(&path)?;
    }
    StateDir::look(&path)
}

fn describe(run: &Run, state: &State, plan: &Plan, new: Result<NewState>) {
    run.introduce(plan, String::new(), String::new());
    for entry in &state.steps {
        run.stream.emit(EventKind::StepStands {
            step: entry.step.clone(),
            state: entry.state,
        });
    }
    let at_work = Area::new(&plan.state_dir).map(|area| Lock::holder(&area));
    if let Ok(Some(process)) = at_work {
        warn(
            run,
            format!("a run is at work on this migration now, process {process}"),
        );
    }
    let said = matches!(
        state.standing(),
        Standing::Upgraded | Standing::RollingBack | Standing::Finalizing | Standing::Finalized
    );
    // Whoever holds the lock tells it with its exit status.
    let compared = Area::new(&plan.state_dir).map(|area| compared_old(&area));
    if let Ok(Some(found)) = compared
        && let Some(error) = found.error().filter(|_| !found.told)
    {
        warn(run, error.to_string());
    }
    match new {
        Ok(NewState::Untouched) => {}
        // The standing says so.
        Ok(NewState::Started) if said => {}
        Ok(NewState::Started | NewState::StartedEarly { .. }) => {
            warn(run, "the new cluster has been started".to_owned())
        }
        Ok(NewState::Missing) => warn(
            run,
            "the control file of the new cluster is gone, or is that of another cluster".to_owned(),
        ),
        Err(error) => warn(
            run,
            format!("the new cluster could not be looked at: {error}"),
        ),
    }
}

/// What the next cutover would stop at, while there is time to prepare again; whether there is
/// any such thing.
fn tell_drift(run: &Run, plan: &Plan) -> bool {
    let found = drift(run, plan);
    let drifted = match &found {
        Ok(changes) => changes.as_ref().is_some_and(|changes| !changes.is_empty()),
        Err(error) => error.code() == Code::Drift,
    };
    match found {
        Ok(None) => note(
            run,
            "the old server is not running: the cutover looks whether its schema changed"
                .to_owned(),
        ),
        Ok(Some(changes)) if changes.is_empty() => note(
            run,
            "the schema of the old cluster is what it was when it was prepared".to_owned(),
        ),
        Ok(Some(changes)) => {
            for change in changes.iter().take(NAMED) {
                warn(run, format!("changed since prepare: {change}"));
            }
            if changes.len() > NAMED {
                let more = count((changes.len() - NAMED) as u64);
                warn(
                    run,
                    format!("changed since prepare: {more} further objects"),
                );
            }
        }
        Err(error) if drifted => warn(run, error.message().to_owned()),
        Err(error) => warn(
            run,
            format!("whether the schema of the old cluster changed could not be found: {error}"),
        ),
    }
    if drifted {
        let command = plan.command("prepare");
        warn(
            run,
            format!("the cutover will be refused: prepare again, {command}"),
        );
    }
    drifted
}

/// Nothing where the old server is not running.
fn drift(run: &Run, plan: &Plan) -> Result<Option<Vec<Change>>> {
    let area = Area::new(&plan.state_dir)?;
    let context = Context::new(plan, &run.stream, &run.cancel, area.clone(), None);
    match context.old_is_serving()? {
        None => Ok(None),
        Some(running) => {
            let server = &running.endpoint;
            let (_, changes) = read_and_compare(plan, &area, server, &run.cancel)?;
            Ok(Some(changes))
        }
    }
}

fn warn(run: &Run, text: String) {
    say(run, Level::Warning, text);
}

fn note(run: &Run, text: String) {
    say(run, Level::Note, text);
}

fn say(run: &Run, level: Level, text: String) {
    run.stream.emit(EventKind::Message { level, text });
}
