//! `explain`: the text of an error code or a check.

use super::args::{Explain, Global};
use super::run::Run;
use crate::checks;
use crate::error::{Code, Error, Exit, Remedy, Result};
use crate::render;

#[expect(
    clippy::print_stdout,
    reason = "the text is the result, there is no run to render"
)]
pub fn run(global: &Global, arguments: &Explain) -> Exit {
    match text(&arguments.code) {
        Ok(text) => {
            print!("{text}");
            Exit::Done
        }
        Err(error) => {
            let run = Run::begin(global);
            run.announce("explain", None, &[]);
            run.refuse(error)
        }
    }
}

fn text(name: &str) -> Result<String> {
    if let Some(code) = Code::parse(name) {
        return Ok(render::explain(code));
    }
    let checks = checks::all()?;
    match checks.iter().find(|check| check.id == name) {
        Some(check) => Ok(check.explanation()),
        None => Err(Error::new(
            Code::UnknownCode,
            format!("there is no code or check {name}"),
        )
        .remedy(Remedy::manual(
            "see docs/errors.md and the files in checks/",
        ))),
    }
}
