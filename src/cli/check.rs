//! `check`: verifies that an upgrade would succeed, and changes nothing.

use std::iter;
use std::path::Path;

use super::args::{Check, Global};
use super::findings::Asking;
use super::output::Output;
use super::run::{Ending, Run};
use super::sight::survey_to_ask;
use super::survey::{self, Examined, Purpose};
use crate::checks;
use crate::engine::Outcome;
use crate::error::{Exit, Result};
use crate::event::{EventKind, Sink};
use crate::pg::quote::{shell, shell_path};
use crate::render;
use crate::survey::{Reading, Surveyed};

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

/// A check leaves nothing behind but the files that were asked for.
fn examine(run: &Run, global: &Global, arguments: &Check) -> Result<Examined> {
    let clusters = &arguments.clusters;
    let mut asking = Asking::of(&arguments.only, &clusters.skip)?;
    let (purpose, reading) = match arguments.rehearse {
        true => (Purpose::Rehearsal, Reading::Dump),
        false => (Purpose::Check, Reading::Questions),
    };
    let looked = survey_to_ask(run, global, clusters, reading)?;
    asking.output = output(arguments, &asking.checks, &looked.surveyed)?;
    let examined = survey::examine_and_keep_no_log(run, clusters, looked, &asking, purpose);
    asking.output.write_script(&run.stream)?;
    examined
}

/// Where files are to be written; to be asked by the user who will write them.
fn output(arguments: &Check, checks: &[checks::Check], surveyed: &Surveyed) -> Result<Output> {
    let new = surveyed.new_dir.as_deref();
    let clusters: Vec<&Path> = iter::once(&*surveyed.old.path).chain(new).collect();
    let output = Output::find(checks, &clusters, arguments.output_dir.as_deref())?;
    match &arguments.sql {
        None => Ok(output),
        Some(file) => output.with_script(&clusters, file, about(surveyed), psql(surveyed)),
    }
}

fn about(surveyed: &Surveyed) -> String {
    format!(
        "{} before it is upgraded from PostgreSQL {} to {}",
        surveyed.old.path.display(),
        surveyed.old_installation.version.text,
        surveyed.new_installation.version.text
    )
}

/// New's psql, as the install user; it finds the server where that is running.
fn psql(surveyed: &Surveyed) -> String {
    let program = surveyed.new_installation.bindir.join("psql");
    let mut out = format!("{} -X", shell_path(&program));
    if let Some(serving) = &surveyed.serving {
        let (host, port) = (shell_path(&serving.endpoint.host), serving.endpoint.port);
        out += &format!(" -h {host} -p {port}");
    }
    out + &format!(" -U {}", shell(&surveyed.user))
}
