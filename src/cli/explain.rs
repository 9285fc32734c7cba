//! `explain`: the text of an error code or a check.

use super::args::{Explain, Global};
use super::run::{Ending, Run};
use crate::checks::{self, Check};
use crate::engine::Outcome;
use crate::error::{Code, Error, Exit, Remedy, Result};
use crate::event::{EventKind, Sink};
use crate::render;

#[expect(
    clippy::print_stdout,
    reason = "for people the text is the result, without a run around it"
)]
pub fn run(global: &Global, arguments: &Explain) -> Exit {
    let text = text(&arguments.code);
    if let (Ok(text), false) = (&text, global.json) {
        print!("{text}");
        return Exit::Done;
    }
    let run = Run::begin(global);
    run.announce("explain", None, &[]);
    match text {
        Ok(text) => {
            let name = arguments.code.clone();
            run.stream.emit(EventKind::Explained { name, text });
            let outcome = Outcome {
                exit: Exit::Done,
                error: None,
                standing: None,
            };
            run.finish(outcome, None, Ending::default())
        }
        Err(error) => run.refuse(error),
    }
}

fn text(name: &str) -> Result<String> {
    if let Some(code) = Code::parse(name) {
        return Ok(render::explain(code));
    }
    if name == checks::REHEARSAL {
        return Ok(checks::EXPLANATION.to_owned());
    }
    let checks = checks::all()?;
    match checks.iter().find(|check| check.id == name) {
        Some(check) => Ok(check.explanation()),
        None => Err(Error::new(
            Code::UnknownCode,
            format!("there is no code or check {name}"),
        )
        .remedy(meant(&checks, name))),
    }
}

fn meant(checks: &[Check], name: &str) -> Remedy {
    match checks::nearest(checks, name) {
        Some(near) => Remedy::command(format!("pg_migrator explain {near}")),
        None => Remedy::manual("see docs/errors.md, and pg_migrator check --list"),
    }
}
