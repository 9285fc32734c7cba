//! `status`: where a migration stands and what may be done next.

use super::args::{Global, Migration};
use super::migration;
use super::run::{Ending, Run, next};
use crate::disk::{Area, Lock};
use crate::engine::{Outcome, StateDir};
use crate::error::{Exit, Result};
use crate::event::{EventKind, Level, Phase, Sink};
use crate::journal::{Standing, State};
use crate::plan::Plan;
use crate::server::privileges;
use crate::steps::{NewState, new_state};

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
            let outcome = Outcome::done(state.standing());
            let ending = Ending {
                next: next("status", &outcome, &plan),
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
    let handed_over = matches!(
        state.standing(),
        Standing::Upgraded | Standing::Finalizing | Standing::Finalized
    );
    match new {
        Ok(NewState::Untouched) => {}
        // The standing says so.
        Ok(NewState::Started) if handed_over => {}
        Ok(NewState::Started) => warn(run, "the new cluster has been started".to_owned()),
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

fn warn(run: &Run, text: String) {
    run.stream.emit(EventKind::Message {
        level: Level::Warning,
        text,
    });
}
