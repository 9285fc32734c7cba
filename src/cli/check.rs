//! `check`: verifies that an upgrade would succeed, and changes nothing.

use std::path::Path;

use super::args::{Check, Global};
use super::findings::Asking;
use super::output::Output;
use super::run::{Ending, Run};
use super::survey::{self, Examined, Purpose};
use crate::checks;
use crate::engine::Outcome;
use crate::error::{Exit, Result};
use crate::event::{EventKind, Sink};
use crate::render;

pub fn run(global: &Global, arguments: Check) -> Exit {
    if arguments.list {
        return list(global);
    }
    let run = Run::begin(global);
    run.announce("check", None, &[]);
    let checked = examine(&run, global, &arguments);
    end(&run, checked.and_then(Examined::stop))
}

fn end(run: &Run, result: Result<()>) -> Exit {
    let outcome = match result {
        Ok(()) => Outcome {
            exit: Exit::Done,
            error: None,
            standing: None,
        },
        Err(error) => Outcome::unchanged(error, None),
    };
    run.finish(outcome, None, Ending::default())
}

/// Every check there is.
#[expect(
    clippy::print_stdout,
    reason = "for people the list is the result, without a run around it"
)]
fn list(global: &Global) -> Exit {
    let listed = checks::all().map(|all| all.iter().map(checks::Check::listed).collect::<Vec<_>>());
    if let (Ok(listed), false) = (&listed, global.json) {
        print!("{}", render::list(listed));
        return Exit::Done;
    }
    let run = Run::begin(global);
    run.announce("check", None, &[]);
    let told = listed.map(|listed| {
        for check in listed {
            run.stream.emit(EventKind::CheckListed(check));
        }
    });
    end(&run, told)
}

/// A check leaves nothing behind.
fn examine(run: &Run, global: &Global, arguments: &Check) -> Result<Examined> {
    let clusters = &arguments.clusters;
    let mut asking = Asking::of(&arguments.only, &clusters.skip)?;
    let surveyed = survey::survey(run, global, clusters)?;
    // Only now this process is the user who will write them.
    let clusters_at: Vec<&Path> = [
        Some(surveyed.0.old.path.as_path()),
        surveyed.0.new_dir.as_deref(),
    ]
    .into_iter()
    .flatten()
    .collect();
    asking.output = Output::find(
        &asking.checks,
        &clusters_at,
        arguments.output_dir.as_deref(),
    )?;
    let purpose = match arguments.rehearse {
        true => Purpose::Rehearsal,
        false => Purpose::Check,
    };
    survey::examine_and_keep_no_log(run, clusters, surveyed, &asking, purpose)
}
