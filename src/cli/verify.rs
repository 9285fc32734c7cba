//! `verify`: compares the files of new with those of old.

use std::time::Instant;

use super::args::{Global, Verify};
use super::run::Run;
use super::{checksums, manifest, migration};
use crate::engine::{Engine, Outcome};
use crate::error::{Code, Error, Exit, Remedy, Result};
use crate::event::{EventKind, Sink};
use crate::journal::Standing;
use crate::pg::amount::{counted, size};
use crate::plan::{Mode, Plan};
use crate::steps::{Context, NewState};
use crate::verify::{self, Compared};

/// How many differences an error names.
const NAMED: usize = 20;

/// The name of what it does, in the place of a step.
const STEP: &str = "compare-files";

pub fn run(global: &Global, arguments: &Verify) -> Exit {
    if arguments.checksums {
        return checksums::run(global, arguments);
    }
    if arguments.manifest {
        return manifest::run(global, &arguments.migration);
    }
    migration::with_engine(
        global,
        &arguments.migration,
        "verify",
        &[],
        |engine, plan, run| {
            let standing = engine.state().standing();
            match comparable(engine, plan).and_then(|()| compare(engine, plan, run)) {
                Err(error) => Outcome::unchanged(error, Some(standing)),
                Ok(()) => Outcome::done(standing),
            }
        },
    )
}

/// An error where there are no two sets of files that should be equal.
fn comparable(engine: &mut Engine<'_>, plan: &Plan) -> Result<()> {
    let placed = match plan.mode {
        Mode::Link => &[Standing::Prepared, Standing::Upgraded][..],
        _ => &[Standing::Upgraded],
    };
    migration::demand(engine, placed, "verify")?;
    if let NewState::Started | NewState::StartedEarly { .. } = migration::new_is_down(engine, plan)?
    {
        return Err(Error::new(
            Code::WrongStanding,
            "new has been started and has changed its files since; they can no longer be \
             compared with old's",
        )
        .remedy(Remedy::manual(
            "compare what queries return in both clusters",
        )));
    }
    engine.context().old_is_down()
}

fn compare(engine: &mut Engine<'_>, plan: &Plan, run: &Run) -> Result<()> {
    let step = || STEP.to_owned();
    let started = Instant::now();
    run.stream.emit(EventKind::StepStarted { step: step() });
    let cx = engine.context();
    let compared = match plan.mode {
        Mode::Swap => cx
            .swap_list()
            .and_then(|moves| verify::swapped(&moves, plan.jobs, cx.cancel)),
        mode => cx
            .file_map()
            .and_then(|map| verify::contents(&map, (mode, plan.checksums), plan.jobs, cx.cancel)),
    };
    let compared = compared.and_then(|compared| and_nothing_else(cx, plan, compared));
    let compared = compared.map_err(|error| where_old_has_run(cx, error));
    let compared = compared.and_then(|compared| differences(&compared).map_or(Ok(compared), Err));
    run.stream.emit(match &compared {
        Ok(compared) => EventKind::StepFinished {
            step: step(),
            detail: clause(compared, plan),
            seconds: started.elapsed().as_secs_f64(),
        },
        Err(_) => EventKind::StepFailed { step: step() },
    });
    compared.map(|_| ())
}

/// A relation that was rewritten since it was prepared has another file, which only the cutover
/// looks up.
fn where_old_has_run(cx: &Context<'_>, error: Error) -> Error {
    match error.code() == Code::FileVanished && cx.old_was_started() == Ok(true) {
        true => Error::new(
            Code::WrongStanding,
            "old has run since it was prepared, and has put relations into other files",
        )
        .remedy(Remedy::manual(
            "prepare again and verify then, or verify after the cutover, which takes the files \
             that old has by then",
        )),
        false => error,
    }
}

/// Adds what new has beside the files that came from old.
fn and_nothing_else(cx: &Context<'_>, plan: &Plan, mut compared: Compared) -> Result<Compared> {
    let layout = cx.new_control()?.page_layout();
    let (contents, map) = (cx.contents_of_new()?, cx.file_map()?);
    let found = verify::nothing_else(&contents, &map, layout, (plan.jobs, cx.cancel))?;
    // A file too many of a relation of old has been found by the comparison.
    compared.differences.extend(found.differences);
    Ok(compared)
}

fn clause(compared: &Compared, plan: &Plan) -> String {
    let files = counted(compared.files, "file");
    let said = match plan.mode {
        Mode::Link => format!("{files}, each the same in both clusters"),
        Mode::Swap => format!("{files}, each the one that old had"),
        Mode::Copy if plan.checksums.is_some() => format!(
            "{files}, {}, equal byte by byte but for the checksums of pages, which are right",
            size(compared.bytes)
        ),
        Mode::Copy | Mode::Clone | Mode::CopyFileRange | Mode::Auto => {
            format!("{files}, {}, equal byte by byte", size(compared.bytes))
        }
    };
    format!("{said}; nothing else in new but its catalogs")
}

fn differences(compared: &Compared) -> Option<Error> {
    if compared.differences.is_empty() {
        return None;
    }
    let error = Error::new(Code::Differences, "new is not what was to be made of old")
        .fact("differences", compared.differences.len());
    let named = compared.differences.iter().take(NAMED);
    let error = named.fold(error, |error, difference| {
        error.fact("difference", difference)
    });
    Some(error.remedy(Remedy::manual(
        "keep new out of service and delete nothing in it by hand; roll back, and prepare again \
         when the reason is known",
    )))
}
