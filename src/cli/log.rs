//! `log`: the events of a migration again; and the report made from them.

use super::args::{Global, Log};
use super::migration;
use super::run::Run;
use crate::disk::Area;
use crate::engine::{EVENTS_FILE, REPORT_FILE};
use crate::error::{Code, Error, Exit, Remedy, Result};
use crate::event::Event;
use crate::render::{self, Filter, JsonLines, Look, Show, Terminal};
use crate::server::privileges;

pub fn run(global: &Global, arguments: &Log) -> Exit {
    match show(global, arguments) {
        Ok(()) => Exit::Done,
        Err(error) => {
            let run = Run::begin(global);
            run.announce("log", None, &[]);
            run.refuse_unread(error)
        }
    }
}

fn show(global: &Global, arguments: &Log) -> Result<()> {
    let path = migration::state_path(global, &arguments.migration)?;
    if path.is_dir() {
        privileges::become_owner(&path)?;
    }
    let file = path.join(EVENTS_FILE);
    let reader = std::fs::File::open(&file).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            Error::new(Code::StateMissing, "there is no migration here")
                .fact("state directory", path.display())
                .remedy(Remedy::manual(
                    "give the new data directory with -D, or the state directory with \
                     --state-dir",
                ))
        }
        _ => Error::io(Code::NotReadable, "read", &file, &e),
    })?;
    let filter = if arguments.warnings {
        Filter::Warnings
    } else {
        Filter::Everything
    };
    let reader = std::io::BufReader::new(reader);
    if global.json {
        let mut listener = JsonLines::new(Box::new(std::io::stdout()));
        return render::replay(reader, &mut listener, filter);
    }
    let mut terminal = one_stream().show(Show::All).titled();
    render::replay(reader, &mut terminal, filter)
}

/// What happened is the result here, the errors too: they stay in their places among the rest.
fn one_stream() -> Terminal {
    let out = || Box::new(std::io::stdout());
    Terminal::new(out(), Look::of_stdout(), out(), Look::of_stdout())
}

/// Writes the report from the events; it decides nothing, so a failure is nobody's concern.
pub fn write_report(area: &Area) {
    let Ok(text) = std::fs::read_to_string(area.root().join(EVENTS_FILE)) else {
        return;
    };
    let events: Vec<Event> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let _ = area.write(REPORT_FILE, render::report(&events).as_bytes(), 0o600);
}
