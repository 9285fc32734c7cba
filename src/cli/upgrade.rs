//! `upgrade`: check, prepare and cutover in one go; asks before the cutover.

use std::io::{BufRead, IsTerminal, Write};

use super::args::{Global, Upgrade};
use super::cutover::cut_over;
use super::prepare::with_new_migration;
use crate::engine::{Engine, Outcome};
use crate::error::{Code, Error, Exit, Remedy};
use crate::event::{EventKind, Level, Phase, Sink};
use crate::journal::Standing;
use crate::plan::Plan;

pub fn run(global: &Global, arguments: Upgrade) -> Exit {
    let phases = [Phase::Prepare, Phase::Cutover];
    with_new_migration(
        global,
        &arguments.clusters,
        "upgrade",
        &phases,
        |engine, plan, run| {
            let prepared = engine.prepare();
            if prepared.error.is_some() {
                return prepared;
            }
            if !confirmed(global, engine, plan, run) {
                return Outcome::stopped(
                    Error::new(Code::NotConfirmed, "the cutover was not confirmed")
                        .remedy(Remedy::manual("answer yes, or give --yes")),
                    Standing::Prepared,
                );
            }
            cut_over(engine, plan, run, arguments.start)
        },
    )
}

fn confirmed(global: &Global, engine: &mut Engine<'_>, plan: &Plan, run: &super::run::Run) -> bool {
    let _ = engine;
    run.stream.emit(EventKind::Message {
        level: Level::Note,
        text: format!(
            "new is prepared; mode {}: {}",
            plan.mode,
            plan.mode.way_back()
        ),
    });
    ask(global, "Cut over now?")
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
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return false;
    }
    eprint!("{question} [yes/no] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    read.is_ok() && answer.trim().eq_ignore_ascii_case("yes")
}
