//! `prepare`: builds the new cluster beside the old one.

use super::again;
use super::args::{Clusters, Global, words};
use super::estimate::{self, Basis};
use super::findings::Asking;
use super::migration;
use super::run::Run;
use super::sight;
use super::survey::{self, Examined, Purpose};
use crate::catalog::{Portrait, TemplateSettings};
use crate::disk::Lock;
use crate::engine::{Engine, Outcome, Recorder, StateDir};
use crate::error::{Code, Error, Exit, Remedy, Result};
use crate::event::Phase;
use crate::plan::{self, New, Old, Origin, Plan, WasRunning, default_state_dir};
use crate::steps::{Context, OldAtHand};
use crate::survey::{Surveyed, decided};
use crate::work::Cancel;

pub fn run(global: &Global, arguments: Clusters) -> Exit {
    if again::is_prepared(global, &arguments) {
        return again::run(global, &arguments);
    }
    if let Err(error) = complete(&arguments) {
        let run = Run::begin(global);
        run.announce("prepare", None, &[]);
        return run.refuse(error);
    }
    let phases = [Phase::Prepare];
    with_new_migration(
        global,
        &arguments,
        ("prepare", Purpose::Dump),
        &phases,
        prepare,
    )
}

/// The work of a prepare that begins from nothing.
pub fn prepare(engine: &mut Engine<'_>, plan: &Plan, run: &Run) -> Outcome {
    let outcome = engine.prepare();
    if outcome.error.is_none() {
        estimate::of_prepared(engine, plan, run, Basis::Measured);
    }
    outcome
}

/// Only where something was prepared before, the state directory knows the rest.
fn complete(arguments: &Clusters) -> Result<()> {
    let given = [
        ("--old-bindir", arguments.old_bindir.is_some()),
        ("--new-bindir", arguments.new_bindir.is_some()),
        ("--old-datadir", arguments.old_datadir.is_some()),
    ];
    let missing = given.iter().filter(|(_, given)| !given);
    let missing: Vec<&str> = missing.map(|(option, _)| *option).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::new(Code::BadArguments, "which clusters are meant?")
        .fact("not given", missing.join(", "))
        .remedy(Remedy::manual(
            "give the programs and the data directories of both; without them only what was \
                 prepared before is prepared again",
        )))
}

/// Verifies both sides, begins a migration and does the work with its engine.
pub fn with_new_migration(
    global: &Global,
    arguments: &Clusters,
    (command, purpose): (&str, Purpose),
    phases: &[Phase],
    work: impl FnOnce(&mut Engine<'_>, &Plan, &Run) -> Outcome,
) -> Exit {
    let run = Run::begin(global);
    run.announce(command, Some(arguments.mode.mode()), phases);
    match begin(&run, global, arguments, purpose) {
        Ok(begun) => work_on(&run, command, begun, work),
        Err(error) => run.refuse(error),
    }
}

/// Does the work of a migration with its engine, and ends the run.
pub fn work_on(
    run: &Run,
    command: &str,
    begun: Begun,
    work: impl FnOnce(&mut Engine<'_>, &Plan, &Run) -> Outcome,
) -> Exit {
    let Begun {
        plan,
        state,
        old,
        _lock,
    } = begun;
    let journal = match state.begin(&plan) {
        Ok(journal) => journal,
        Err(error) => return run.refuse(error),
    };
    if let Ok(recorder) = Recorder::open(&state.area) {
        run.stream.record(Box::new(recorder));
    }
    let steady = Cancel::new();
    let context = Context::new(&plan, &run.stream, &run.cancel, state.area.clone(), old);
    let mut engine = Engine::new(journal, context, &steady);
    let outcome = work(&mut engine, &plan, run);
    let downtime = engine.context().outage.account();
    drop(engine);
    migration::end(run, command, &plan, outcome, &state, downtime)
}

/// A migration that may begin.
pub struct Begun {
    plan: Plan,
    state: StateDir,
    old: Option<OldAtHand>,
    _lock: Lock,
}

/// Verifies both sides and decides everything.
pub fn begin(run: &Run, global: &Global, arguments: &Clusters, purpose: Purpose) -> Result<Begun> {
    let new_datadir = arguments.new_datadir.as_ref().ok_or_else(|| {
        Error::new(Code::BadArguments, "where is the new cluster to be?").remedy(Remedy::manual(
            "give its data directory with -D (or PGDATANEW)",
        ))
    })?;
    let asking = Asking::of(&[], &arguments.skip)?;
    let looked = sight::survey(run, global, arguments)?;
    let surveyed = &looked.surveyed;
    let new_dir = surveyed
        .new_dir
        .clone()
        .unwrap_or_else(|| new_datadir.clone());
    let state_dir = surveyed
        .state_dir
        .clone()
        .unwrap_or_else(|| default_state_dir(&new_dir));
    let examined = survey::examine_and_keep_no_log(run, arguments, looked, &asking, purpose)?;
    let state = StateDir::create(&state_dir)?;
    let (plan, old, lock) = decide(arguments, examined, new_dir, state_dir);
    Ok(Begun {
        plan,
        state,
        old,
        _lock: lock,
    })
}

/// The frozen decisions, from what was found and what was asked for.
fn decide(
    arguments: &Clusters,
    examined: Examined,
    new_dir: std::path::PathBuf,
    state_dir: std::path::PathBuf,
) -> (Plan, Option<OldAtHand>, Lock) {
    let Examined {
        surveyed,
        snapshot,
        sketch,
        private,
        locks,
        lock,
    } = examined;
    let (mode, passages) = decided(&surveyed, arguments.mode.mode());
    let checksums = survey::checksums(arguments, &surveyed);
    let plan = Plan {
        format: plan::FORMAT,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        mode,
        passages,
        jobs: survey::jobs(arguments),
        nice: arguments.nice,
        max_rate: arguments.max_rate,
        checksums,
        socket_dir: arguments.socketdir.clone(),
        state_dir,
        install_user: snapshot.install_user.clone(),
        locks_per_transaction: locks,
        old: Old {
            data_dir: surveyed.old.path.clone(),
            config_dir: surveyed.old.config_dir.clone(),
            bindir: surveyed.old_installation.bindir.clone(),
            version: surveyed.old_installation.version.clone(),
            catalog_version: surveyed.old_control.catalog_version,
            system_identifier: surveyed.old_control.system_identifier,
            port: arguments.old_port,
            options: words(&arguments.old_options),
            tablespaces: surveyed.tablespaces.clone(),
            wal_dir: surveyed.wal_dir.clone(),
            raise_locks: survey::raises_locks(&surveyed, locks),
            running: was_running(&surveyed),
        },
        new: New {
            data_dir: new_dir,
            bindir: surveyed.new_installation.bindir.clone(),
            version: surveyed.new_installation.version.clone(),
            port: arguments.new_port,
            options: words(&arguments.new_options),
            origin: surveyed.origin.unwrap_or(Origin::Absent),
        },
        template: TemplateSettings {
            data_checksums: snapshot.settings.data_checksums || checksums.is_some(),
            ..snapshot.settings.clone()
        },
    };
    let old = private.map(|server| OldAtHand {
        server,
        portrait: Portrait { snapshot, sketch },
    });
    (plan, old, lock)
}

/// The server of the operator, where one was found.
pub fn was_running(surveyed: &Surveyed) -> Option<WasRunning> {
    surveyed.serving.as_ref().map(|serving| WasRunning {
        opts: serving.opts.clone(),
        host: serving.endpoint.host.clone(),
        port: serving.endpoint.port,
    })
}
