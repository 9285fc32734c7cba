//! `upgrade`: check, prepare and cutover in one go; asks before the cutover.

use super::args::{Global, Upgrade};
use super::ask::{ask, somebody_answers};
use super::cutover::cut_over;
use super::estimate::{self, Basis};
use super::prepare::with_new_migration;
use super::run::Run;
use super::survey::Purpose;
use crate::engine::Outcome;
use crate::error::{Code, Error, Exit, Remedy, Result};
use crate::event::Phase;
use crate::journal::Standing;
use crate::plan::Plan;
use crate::work::Cancel;

pub fn run(global: &Global, arguments: Upgrade) -> Exit {
    if !global.yes && !somebody_answers() {
        let run = Run::begin(global);
        run.announce("upgrade", Some(arguments.clusters.mode.mode()), &[]);
        return run.refuse(nobody_answers());
    }
    let phases = [Phase::Prepare, Phase::Cutover];
    // Who answers no, or tomorrow, wants to know then whether old has changed.
    let purpose = match global.yes {
        true => Purpose::Upgrade,
        false => Purpose::Dump,
    };
    with_new_migration(
        global,
        &arguments.clusters,
        ("upgrade", purpose),
        &phases,
        |engine, plan, run| {
            engine.context().straight_on = true;
            let prepared = engine.prepare();
            if prepared.error.is_some() {
                return prepared;
            }
            let basis = match global.yes {
                true => Basis::Known,
                false => Basis::Measured,
            };
            estimate::of_prepared(engine, plan, run, basis);
            match confirm(global, &run.cancel, plan) {
                Ok(()) => cut_over(engine, plan, run, arguments.service.handover()),
                Err(error) => Outcome::stopped(error, Standing::Prepared),
            }
        },
    )
}

/// Said before the slow half begins, not after it.
fn nobody_answers() -> Error {
    Error::new(
        Code::NotConfirmed,
        "nobody can be asked before the cutover: standard input is not a terminal",
    )
    .remedy(Remedy::manual(
        "give --yes, or run prepare now and cutover later",
    ))
}

fn confirm(global: &Global, cancel: &Cancel, plan: &Plan) -> Result<()> {
    let question = format!(
        "The new cluster is prepared. Mode {}: {}. Cut over now?",
        plan.mode,
        plan.mode.way_back()
    );
    match ask(global, cancel, &question)? {
        true => Ok(()),
        false => Err(
            Error::new(Code::NotConfirmed, "the cutover was not confirmed")
                .remedy(Remedy::manual("answer yes, or give --yes")),
        ),
    }
}
