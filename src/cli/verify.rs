//! `verify`: compares the files of new with those of old.

use super::args::{Global, Migration};
use super::migration;
use crate::engine::{Engine, Outcome};
use crate::error::{Code, Error, Exit, Remedy, Result};
use crate::event::{EventKind, Level, Sink};
use crate::journal::Standing;
use crate::plan::{Mode, Plan};
use crate::steps::NewState;
use crate::verify::{self, Compared};

/// How many differences an error names.
const NAMED: usize = 20;

pub fn run(global: &Global, arguments: &Migration) -> Exit {
    migration::with_engine(global, arguments, "verify", &[], |engine, plan, run| {
        let standing = engine.state().standing();
        match compare(engine, plan) {
            Err(error) => Outcome::unchanged(error, Some(standing)),
            Ok(compared) => {
                run.stream.emit(EventKind::Message {
                    level: Level::Note,
                    text: format!(
                        "{} files compared, {} bytes read in each cluster",
                        compared.files, compared.bytes
                    ),
                });
                match differences(&compared) {
                    None => Outcome::done(standing),
                    Some(error) => Outcome::unchanged(error, Some(standing)),
                }
            }
        }
    })
}

fn compare(engine: &mut Engine<'_>, plan: &Plan) -> Result<Compared> {
    let placed = match plan.mode {
        Mode::Link => &[Standing::Prepared, Standing::Upgraded][..],
        Mode::Copy => &[Standing::Upgraded],
    };
    migration::demand(engine, placed, "verify")?;
    if migration::new_is_down(engine, plan)? == NewState::Started {
        return Err(Error::new(
            Code::WrongStanding,
            "new has been started and has changed its files since; they can no longer be \
             compared with old's",
        )
        .remedy(Remedy::manual(
            "compare what queries return in both clusters",
        )));
    }
    engine.context().old_is_down()?;
    let cx = engine.context();
    verify::contents(&cx.file_map()?, plan.mode, plan.jobs, cx.cancel)
}

fn differences(compared: &Compared) -> Option<Error> {
    if compared.differences.is_empty() {
        return None;
    }
    let error = Error::new(Code::Differences, "old and new differ")
        .fact("differences", compared.differences.len());
    let named = compared.differences.iter().take(NAMED);
    Some(named.fold(error, |error, difference| {
        error.fact("difference", difference)
    }))
}
