//! `prepare` where something was prepared before: what drifted since is done again.

use std::path::{Path, PathBuf};

use super::args::{Clusters, Global, Migration, ModeArgs, Words, words};
use super::estimate::{self, Basis};
use super::findings::Asking;
use super::migration::{self, Opened};
use super::prepare;
use super::run::{Ending, Run};
use super::sight::survey_again;
use super::survey::{self, Examined, Purpose};
use crate::catalog::Portrait;
use crate::disk::Lock;
use crate::engine::{Engine, Outcome, Recorder, StateDir};
use crate::error::{Code, Error, Exit, Remedy, Result};
use crate::event::{EventKind, Level, Phase, Sink};
use crate::journal::{Journal, Standing};
use crate::pg::DataDir;
use crate::pg::amount::size;
use crate::plan::{Mode, Old, Plan};
use crate::server::{DEFAULT_PORT, privileges};
use crate::steps::{Again, Context, OldAtHand, is_the_cluster_prepared, new_state};
use crate::work::Cancel;

/// Whether new waits for the cutover there.
pub fn is_prepared(global: &Global, arguments: &Clusters) -> bool {
    let looked = migration::state_path(global, &named(arguments)).and_then(|path| {
        if path.is_dir() {
            privileges::become_owner(&path)?;
        }
        StateDir::look(&path)
    });
    looked.is_ok_and(|(state, _)| state.standing() == Standing::Prepared)
}

fn named(arguments: &Clusters) -> Migration {
    Migration {
        new_datadir: arguments.new_datadir.clone(),
    }
}

pub fn run(global: &Global, arguments: &Clusters) -> Exit {
    let run = Run::begin(global);
    let Opened {
        state,
        plan,
        journal,
        _old,
    } = match migration::open(global, &named(arguments)) {
        Ok(opened) => opened,
        Err(error) => {
            run.announce("prepare", None, &[]);
            return run.refuse_unread(error);
        }
    };
    run.announce("prepare", Some(plan.mode), &[Phase::Prepare]);
    let ready = still_prepared(&journal)
        .and_then(|()| nothing_untold(&run, &plan, &state))
        .and_then(|()| agree(arguments, &plan))
        .and_then(|()| examine(&run, &plan, &state, _old, &arguments.skip));
    let (plan, old, lock) = match ready {
        Ok(ready) => ready,
        Err(error) => {
            let outcome = Outcome::unchanged(error, Some(Standing::Prepared));
            return end(&run, &plan, &state, outcome);
        }
    };
    match repair(&run, &plan, &state, journal, old) {
        Some(outcome) => end(&run, &plan, &state, outcome),
        None => {
            drop((state, lock));
            anew(&run, &plan, &arguments.skip)
        }
    }
}

/// What a killed way back has found is said before anything is made of old again.
fn nothing_untold(run: &Run, plan: &Plan, state: &StateDir) -> Result<()> {
    let cx = Context::new(plan, &run.stream, &run.cancel, state.area.clone(), None);
    cx.found_in_old()?.map_or(Ok(()), Err)
}

/// Events of this run are kept from now on: before, all might have begun anew.
fn record(run: &Run, state: &StateDir) {
    if !run.stream.recorded()
        && let Ok(recorder) = Recorder::open(&state.area)
    {
        run.stream.record(Box::new(recorder));
    }
}

fn end(run: &Run, plan: &Plan, state: &StateDir, outcome: Outcome) -> Exit {
    record(run, state);
    migration::end(run, "prepare", plan, outcome, state, None)
}

/// Before the lock was taken another run may have gone on.
fn still_prepared(journal: &Journal) -> Result<()> {
    match journal.state().standing() {
        Standing::Prepared => Ok(()),
        _ => Err(Error::new(
            Code::WrongStanding,
            "another run has gone on with what was prepared",
        )
        .remedy(Remedy::manual("see pg_migrator status"))),
    }
}

/// Both clusters are what they were, and nothing blocks; the plan as it is now.
fn examine(
    run: &Run,
    plan: &Plan,
    state: &StateDir,
    lock: Option<Lock>,
    skip: &[String],
) -> Result<(Plan, Option<OldAtHand>, Lock)> {
    let asking = Asking::of(&[], skip)?;
    let lock = lock.ok_or_else(|| {
        Error::new(Code::NotReadable, "the old data directory is not there")
            .fact("data directory", plan.old.data_dir.display())
    })?;
    let context = Context::new(plan, &run.stream, &run.cancel, state.area.clone(), None);
    context.end_leftovers()?;
    context.new_was_not_started_early()?;
    is_the_cluster_prepared(&context, &context.old_control()?)?;
    let arguments = clusters(plan, skip);
    let looked = survey_again(run, &arguments, lock)?;
    let examined =
        survey::examine_and_keep_no_log(run, &arguments, looked, &asking, Purpose::Dump)?;
    let Examined {
        surveyed,
        snapshot,
        sketch,
        private,
        locks,
        lock,
    } = examined;
    let locks = locks.max(plan.locks_per_transaction);
    let now = Plan {
        locks_per_transaction: locks,
        old: Old {
            raise_locks: plan.old.raise_locks || survey::raises_locks(&surveyed, locks),
            running: prepare::was_running(&surveyed),
            ..plan.old.clone()
        },
        ..plan.clone()
    };
    if now != *plan {
        state.save_plan(&now)?;
    }
    let old = private.map(|server| OldAtHand {
        server,
        portrait: Portrait { snapshot, sketch },
    });
    Ok((now, old, lock))
}

/// Does again what is no longer right; nothing where everything was undone, to begin anew.
fn repair(
    run: &Run,
    plan: &Plan,
    state: &StateDir,
    journal: Journal,
    old: Option<OldAtHand>,
) -> Option<Outcome> {
    let steady = Cancel::new();
    let context = Context::new(plan, &run.stream, &run.cancel, state.area.clone(), old);
    let mut engine = Engine::new(journal, context, &steady);
    let read = new_state(plan, &state.area).and_then(|new| Ok((new, engine.read_again()?)));
    let (new, mut again) = match read {
        Ok(read) => read,
        Err(error) => return Some(Outcome::unchanged(error, Some(Standing::Prepared))),
    };
    let outcome = match &again {
        Again::Nothing(_) => Outcome::done(Standing::Prepared),
        Again::Databases(..) => {
            record(run, state);
            engine.restore_again()
        }
        Again::Everything | Again::Unknown => {
            say(
                run,
                &format!("{again}: everything is undone and prepared anew"),
            );
            let undone = engine.rollback(new, false);
            return undone.error.is_some().then_some(undone);
        }
    };
    if outcome.error.is_none() {
        again.spoilt(&engine.context().spoilt);
        say(run, &format!("prepared again: {}", again.done()));
        estimate::of_prepared(&mut engine, plan, run, Basis::Measured);
    }
    Some(outcome)
}

fn say(run: &Run, text: &str) {
    run.stream.emit(EventKind::Message {
        level: Level::Note,
        text: text.to_owned(),
    });
}

/// Prepares as if for the first time, with the options of the plan.
fn anew(run: &Run, plan: &Plan, skip: &[String]) -> Exit {
    let global = Global {
        state_dir: Some(plan.state_dir.clone()),
        ..Global::default()
    };
    match prepare::begin(run, &global, &clusters(plan, skip), Purpose::Dump) {
        Ok(begun) => prepare::work_on(run, "prepare", begun, prepare::prepare),
        Err(error) => {
            let outcome = Outcome::undone(error, Standing::RolledBack);
            run.finish(outcome, Some(plan), Ending::default())
        }
    }
}

/// The options a plan was made from, and the checks that are skipped this time.
fn clusters(plan: &Plan, skip: &[String]) -> Clusters {
    Clusters {
        old_bindir: Some(plan.old.bindir.clone()),
        new_bindir: Some(plan.new.bindir.clone()),
        old_datadir: Some(plan.old.config_dir.clone()),
        new_datadir: Some(plan.new.data_dir.clone()),
        username: Some(plan.install_user.clone()),
        mode: ModeArgs::of(plan.mode),
        skip: skip.to_vec(),
        jobs: u16::try_from(plan.jobs).ok(),
        nice: plan.nice,
        max_rate: plan.max_rate,
        enable_checksums: plan.checksums.is_some(),
        socketdir: plan.socket_dir.clone(),
        old_options: Words::of(&plan.old.options),
        new_options: Words::of(&plan.new.options),
        old_port: plan.old.port,
        new_port: plan.new.port,
    }
}

/// Options that are given again must be those of the plan: it was decided once for all.
fn agree(given: &Clusters, plan: &Plan) -> Result<()> {
    let mut other: Vec<(&str, String, String)> = Vec::new();
    let mut compare = |option, given: Option<String>, planned: String| {
        if let Some(given) = given.filter(|given| *given != planned) {
            other.push((option, given, planned));
        }
    };
    let path = |path: &Path| path.display().to_string();
    let real = |given: &PathBuf| path(&given.canonicalize().unwrap_or_else(|_| given.clone()));
    let words = |given: &[Words]| Some(words(given).join(" ")).filter(|text| !text.is_empty());
    let port = |port: u16| (port != DEFAULT_PORT).then(|| port.to_string());
    let old = given.old_datadir.as_ref().map(|given| {
        DataDir::resolve(given).map_or_else(|_| real(given), |found| path(&found.path))
    });
    compare("--old-datadir", old, path(&plan.old.data_dir));
    for (option, given, planned) in [
        ("--old-bindir", &given.old_bindir, &plan.old.bindir),
        ("--new-bindir", &given.new_bindir, &plan.new.bindir),
    ] {
        compare(option, given.as_ref().map(real), real(planned));
    }
    compare(
        "--username",
        given.username.clone(),
        plan.install_user.clone(),
    );
    // What auto came to is in the plan.
    let auto = matches!(plan.mode, Mode::Clone | Mode::Copy);
    let mode = given
        .mode
        .given()
        .filter(|mode| !(auto && *mode == Mode::Auto));
    compare(
        "mode",
        mode.map(|mode| mode.to_string()),
        plan.mode.to_string(),
    );
    let jobs = given.jobs.map(|jobs| jobs.to_string());
    compare("--jobs", jobs, plan.jobs.to_string());
    let nice = given.nice.then(|| "given".to_owned());
    compare(
        "--nice",
        nice,
        if plan.nice { "given" } else { "not given" }.to_owned(),
    );
    let rate = |rate: Option<u64>| rate.map(|bytes| format!("{} ({bytes} bytes)", size(bytes)));
    compare(
        "--max-rate",
        rate(given.max_rate),
        rate(plan.max_rate).unwrap_or_else(|| "none".to_owned()),
    );
    // Where old had them there was nothing to enable.
    let enable = given.enable_checksums && !plan.template.data_checksums;
    compare(
        "--enable-checksums",
        enable.then(|| "given".to_owned()),
        "not given".to_owned(),
    );
    let sockets = plan.socket_dir.as_deref().map_or_else(String::new, path);
    compare("--socketdir", given.socketdir.as_deref().map(path), sockets);
    compare(
        "--old-options",
        words(&given.old_options),
        plan.old.options.join(" "),
    );
    compare(
        "--new-options",
        words(&given.new_options),
        plan.new.options.join(" "),
    );
    compare(
        "--old-port",
        port(given.old_port),
        plan.old.port.to_string(),
    );
    compare(
        "--new-port",
        port(given.new_port),
        plan.new.port.to_string(),
    );
    if other.is_empty() {
        return Ok(());
    }
    let error = Error::new(
        Code::BadArguments,
        "what was prepared was prepared with other options",
    );
    let named = other.into_iter();
    Err(named
        .fold(error, |error, (option, given, planned)| {
            error.fact(option, format!("{given} now, {planned} when prepared"))
        })
        .remedy(Remedy::manual(
            "leave these options out to prepare again as before, or roll back and prepare with others",
        )))
}
