//! `check`: verifies that an upgrade would succeed, and changes nothing.

use super::args::{Check, Global};
use super::run::{Ending, Run};
use super::survey::{self, Examined, Purpose};
use crate::engine::Outcome;
use crate::error::{Exit, Result};

pub fn run(global: &Global, arguments: Check) -> Exit {
    let run = Run::begin(global);
    run.announce("check", None, &[]);
    let outcome = match examine(&run, global, &arguments) {
        Ok(examined) => match examined.stop() {
            Ok(()) => Outcome {
                exit: Exit::Done,
                error: None,
                standing: None,
            },
            Err(error) => Outcome::unchanged(error, None),
        },
        Err(error) => Outcome::unchanged(error, None),
    };
    run.finish(outcome, None, Ending::default())
}

/// A check leaves nothing behind.
fn examine(run: &Run, global: &Global, arguments: &Check) -> Result<Examined> {
    let surveyed = survey::survey(run, global, &arguments.clusters)?;
    let purpose = match arguments.rehearse {
        true => Purpose::Rehearsal,
        false => Purpose::Check,
    };
    survey::examine_and_keep_no_log(run, &arguments.clusters, surveyed, purpose)
}
