//! A migration that was begun: found, locked, and given an engine.

use std::path::PathBuf;

use super::args::{Global, Migration};
use super::lost;
use super::run::{Ending, Run, next};
use crate::disk::Lock;
use crate::engine::{Engine, Outcome, Recorder, StateDir};
use crate::error::{Code, Error, Exit, Remedy, Result};
use crate::event::{DowntimePart, EventKind, Phase, Remaining, Sink};
use crate::journal::{Journal, Standing};
use crate::plan::{Plan, default_state_dir, remaining};
use crate::server::{self, privileges};
use crate::steps::{Context, NewState, new_state};
use crate::work::Cancel;

/// An opened migration.
pub struct Opened {
    /// Its state directory, locked.
    pub state: StateDir,
    /// Its plan.
    pub plan: Plan,
    /// Its journal.
    pub journal: Journal,
    /// Keeps other runs of this program away from old.
    pub _old: Option<Lock>,
}

/// The state directory that is meant.
pub fn state_path(global: &Global, migration: &Migration) -> Result<PathBuf> {
    let given = match (&global.state_dir, &migration.new_datadir) {
        (Some(dir), _) => dir.clone(),
        (None, Some(new)) => default_state_dir(&absolute(new)?),
        (None, None) => {
            return Err(
                Error::new(Code::BadArguments, "which migration is meant?").remedy(Remedy::manual(
                    "give the new data directory with -D, or --state-dir",
                )),
            );
        }
    };
    absolute(&given)
}

/// An absolute path without a trailing slash; symbolic links of its parent are resolved.
fn absolute(path: &std::path::Path) -> Result<PathBuf> {
    let full = std::path::absolute(path)
        .map_err(|e| Error::io(Code::BadArguments, "make absolute", path, &e))?;
    let full: PathBuf = full.components().collect();
    match (
        full.parent().and_then(|parent| parent.canonicalize().ok()),
        full.file_name(),
    ) {
        (Some(parent), Some(name)) => Ok(parent.join(name)),
        _ => Ok(full),
    }
}

/// Becomes the owner of the migration, locks it and reads it.
pub fn open(global: &Global, migration: &Migration) -> Result<Opened> {
    let path = state_path(global, migration)?;
    if path.is_dir() {
        privileges::become_owner(&path)?;
    }
    let state = StateDir::open(&path)?;
    let journal = state.journal()?;
    let plan = state.plan()?;
    server::sweep_temporary(plan.socket_dir.as_deref());
    belongs_together(&plan, &journal, &path)?;
    if let Some(new) = &migration.new_datadir {
        let given = absolute(new)?;
        if given != plan.new.data_dir {
            return Err(foreign(&path)
                .fact("new data directory given", given.display())
                .fact("new data directory there", plan.new.data_dir.display())
                .remedy(Remedy::manual(
                    "give the state directory alone, or that of the migration you mean",
                )));
        }
    }
    // After `finalize` there is no old left to be locked.
    let old = match plan.old.data_dir.is_dir() {
        true => Some(Lock::on_directory(&plan.old.data_dir)?),
        false => None,
    };
    Ok(Opened {
        state,
        plan,
        journal,
        _old: old,
    })
}

/// A state directory that was moved or mixed up must not lead to the wrong clusters.
pub fn belongs_together(plan: &Plan, journal: &Journal, path: &std::path::Path) -> Result<()> {
    let opened = &journal.state().opened;
    let same = opened.old == plan.old.data_dir
        && opened.new == plan.new.data_dir
        && opened.system_identifier == plan.old.system_identifier.0
        && plan.state_dir == path;
    if same {
        return Ok(());
    }
    Err(foreign(path)
        .fact("old data directory there", opened.old.display())
        .fact("new data directory there", opened.new.display())
        .fact("state directory in its plan", plan.state_dir.display())
        .remedy(moved_back(plan, path)))
}

fn moved_back(plan: &Plan, path: &std::path::Path) -> Remedy {
    let quoted = crate::pg::quote::shell_path;
    if plan.state_dir == path || plan.state_dir.exists() {
        return Remedy::manual("give the state directory of this migration with --state-dir");
    }
    Remedy::command(format!("mv {} {}", quoted(path), quoted(&plan.state_dir)))
}

fn foreign(path: &std::path::Path) -> Error {
    Error::new(
        Code::StateForeign,
        "the state directory belongs to another migration",
    )
    .fact("state directory", path.display())
}

/// Opens a migration, does the work with its engine, and ends the run.
pub fn with_engine(
    global: &Global,
    migration: &Migration,
    command: &str,
    phases: &[Phase],
    work: impl FnOnce(&mut Engine<'_>, &Plan, &Run) -> Outcome,
) -> Exit {
    let run = Run::begin(global);
    let opened = match open(global, migration) {
        Ok(opened) => opened,
        Err(error) => {
            run.announce(command, None, &[]);
            return run.refuse_unread(error);
        }
    };
    run.announce(command, Some(opened.plan.mode), phases);
    if let Ok(recorder) = Recorder::open(&opened.state.area) {
        run.stream.record(Box::new(recorder));
    }
    let steady = Cancel::new();
    let context = Context::new(
        &opened.plan,
        &run.stream,
        &run.cancel,
        opened.state.area.clone(),
        None,
    );
    let mut engine = Engine::new(opened.journal, context, &steady);
    let outcome = work(&mut engine, &opened.plan, &run);
    let downtime = engine.context().outage.account();
    drop(engine);
    end(
        &run,
        command,
        &opened.plan,
        outcome,
        &opened.state,
        downtime,
    )
}

/// Ends a run that has a plan.
pub fn end(
    run: &Run,
    command: &str,
    plan: &Plan,
    outcome: Outcome,
    state: &StateDir,
    downtime: Option<(f64, Vec<DowntimePart>)>,
) -> Exit {
    let (outcome, ending) = match lost::is_lost(plan, &outcome) {
        true => lost::told(plan, outcome),
        false => {
            let ending = Ending {
                next: next(command, &outcome, plan),
                ..Ending::default()
            };
            (outcome, ending)
        }
    };
    let ending = Ending { downtime, ..ending };
    let exit = run.finish(outcome, Some(plan), ending);
    super::log::write_report(&state.area);
    exit
}

/// Says what is left to the operator after a cutover.
pub fn tell_remaining(engine: &mut Engine<'_>, plan: &Plan, run: &Run) {
    let server = server::running(&engine.context().new_dir()).ok().flatten();
    if let Ok(snapshot) = engine.context().old_snapshot() {
        let items = remaining(plan, &snapshot, server.as_ref())
            .into_iter()
            .map(|task| Remaining {
                what: task.what,
                commands: task.commands,
            })
            .collect();
        run.stream.emit(EventKind::Remaining { items });
    }
}

/// What became of new; an error while somebody's server runs in it.
pub fn new_is_down(engine: &mut Engine<'_>, plan: &Plan) -> Result<NewState> {
    engine.context().end_leftovers()?;
    engine.context().new_is_down()?;
    new_state(plan, &engine.context().state)
}

/// The standing that a command needs, or an error that says what there is.
pub fn demand(engine: &Engine<'_>, wanted: &[Standing], command: &str) -> Result<()> {
    let standing = engine.state().standing();
    if wanted.contains(&standing) {
        return Ok(());
    }
    let remedy = match standing {
        Standing::RolledBack => "prepare again: everything was undone",
        _ => "see the commands that are possible below",
    };
    Err(Error::new(
        Code::WrongStanding,
        format!("{command} is not possible now"),
    )
    .remedy(Remedy::manual(remedy)))
}
