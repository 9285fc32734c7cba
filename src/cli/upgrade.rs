//! `upgrade`: check, prepare and cutover in one go; asks before the cutover.

use std::io::{BufRead, IsTerminal, Write};

use super::args::{Global, Upgrade};
use super::cutover::cut_over;
use super::estimate::{self, Basis};
use super::prepare::with_new_migration;
use super::run::Run;
use super::survey::Purpose;
use crate::engine::Outcome;
use crate::error::{Code, Error, Exit, Remedy};
use crate::event::Phase;
use crate::journal::Standing;
use crate::plan::Plan;

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
            if !confirmed(global, plan) {
                return Outcome::stopped(
                    Error::new(Code::NotConfirmed, "the cutover was not confirmed")
                        .remedy(Remedy::manual("answer yes, or give --yes")),
                    Standing::Prepared,
                );
            }
            cut_over(engine, plan, run, arguments.service.handover())
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

fn confirmed(global: &Global, plan: &Plan) -> bool {
    ask(
        global,
        &format!(
            "The new cluster is prepared. Mode {}: {}. Cut over now?",
            plan.mode,
            plan.mode.way_back()
        ),
    )
}

fn somebody_answers() -> bool {
    std::io::stdin().is_terminal()
}

/// Asks for a yes on the terminal; where nobody can answer the answer is no.
#[expect(
    clippy::print_stderr,
    reason = "a question waits on the terminal, no event can"
)]
pub fn ask(global: &Global, question: &str) -> bool {
    if global.yes {
        return true;
    }
    if !somebody_answers() {
        return false;
    }
    eprint!("{question} [yes/no] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok() && answer.trim().eq_ignore_ascii_case("yes")
}
