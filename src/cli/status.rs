//! `status`: where a migration stands and what may be done next.

use super::args::{Global, Migration};
use super::migration;
use super::run::{Ending, Run, next};
use crate::engine::{Outcome, StateDir};
use crate::error::{Exit, Result};
use crate::event::{EventKind, Level, Sink};
use crate::journal::{State, StepState};
use crate::plan::Plan;
use crate::server::privileges;
use crate::steps::{NewState, new_state};

pub fn run(global: &Global, arguments: &Migration) -> Exit {
    let run = Run::begin(global);
    match look(global, arguments) {
        Err(error) => {
            run.announce("status", None, &[]);
            run.refuse(error)
        }
        Ok((state, plan)) => {
            run.announce("status", Some(plan.mode), &[]);
            let new =
                crate::disk::Area::new(&plan.state_dir).and_then(|area| new_state(&plan, &area));
            describe(&run, &state, &plan, new);
            let standing = state.standing();
            let ending = Ending {
                next: next(standing, &plan),
                ..Ending::default()
            };
            run.finish(
                Outcome::done(standing),
                Some((&plan.old.data_dir, &plan.new.data_dir)),
                ending,
            )
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
    let say = |text: String| {
        run.stream.emit(EventKind::Message {
            level: Level::Note,
            text,
        });
    };
    for entry in &state.steps {
        let how = match entry.state {
            StepState::Intended => "begun",
            StepState::Done => "done",
            StepState::Undoing => "being undone",
        };
        say(format!("{}: {how}", entry.step));
    }
    match new {
        Ok(NewState::Started) => say("the new cluster has been started since its release".into()),
        Ok(NewState::Missing) => say("the new cluster has lost its control file".into()),
        Ok(NewState::Untouched) => {}
        Err(error) => say(format!("the new cluster could not be looked at: {error}")),
    }
}
