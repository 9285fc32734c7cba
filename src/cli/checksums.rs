//! `verify --checksums`: every page of the clusters that are named, with or without a migration.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use super::args::{Global, Verify};
use super::run::{Ending, Run};
use crate::disk::Lock;
use crate::engine::Outcome;
use crate::error::{Code, Error, Exit, Remedy, Result};
use crate::event::{EventKind, Found, Severity, Sink};
use crate::pg::amount::{count, counted, size};
use crate::pg::quote::shell_path;
use crate::pg::{ClusterState, ControlFile, DataDir};
use crate::server::{self, LEFTOVER_LIMIT, Side, privileges, stop_leftover};
use crate::verify::{CheckedPages, Fault, WrongPage, checked_pages};
use crate::work::usual_jobs;

pub fn run(global: &Global, arguments: &Verify) -> Exit {
    let run = Run::begin(global);
    run.announce("verify", None, &[]);
    let outcome = match check_all(&run, arguments) {
        Ok(()) => Outcome {
            exit: Exit::Done,
            error: None,
            standing: None,
        },
        Err(error) => Outcome::unchanged(error, None),
    };
    run.finish(outcome, None, Ending::default())
}

/// Looks at all clusters that were named, also where the first has wrong pages.
fn check_all(run: &Run, arguments: &Verify) -> Result<()> {
    let old = arguments.old_with_pages();
    let named = [
        (Side::Old, old.as_deref()),
        (Side::New, arguments.migration.new_datadir.as_deref()),
    ];
    let named = named
        .into_iter()
        .filter_map(|(side, dir)| Some((side, dir?)));
    let named: Vec<(Side, &Path)> = named.collect();
    if named.is_empty() {
        return Err(
            Error::new(Code::BadArguments, "whose pages are to be checked?").remedy(
                Remedy::manual("give the old data directory with -d, the new one with -D, or both"),
            ),
        );
    }
    let jobs = arguments.jobs.map_or_else(usual_jobs, usize::from);
    let mut wrong = 0;
    for (side, dir) in named {
        let resting = Resting::find(side, dir)?;
        wrong += check(run, &resting, jobs)?;
    }
    if wrong == 0 {
        return Ok(());
    }
    Err(Error::new(
        Code::WrongPages,
        format!("{} not as written", pages_are(wrong)),
    )
    .remedy(Remedy::manual(
        "bring what they hold back from a backup; where a page is of an index, REINDEX it",
    )))
}

fn pages_are(wrong: u64) -> String {
    match wrong {
        1 => "1 page is".to_owned(),
        many => format!("{} pages are", count(many)),
    }
}

/// A cluster that nobody uses, and that nobody of us begins to use.
struct Resting {
    side: Side,
    dir: DataDir,
    control: ControlFile,
    _lock: Lock,
}

impl Resting {
    /// As `pg_checksums` demands it: a server that was stopped, of a primary or of a standby.
    fn find(side: Side, given: &Path) -> Result<Self> {
        privileges::leave_root(given)?;
        let dir = DataDir::resolve(given)?;
        privileges::become_owner(&dir.path)?;
        let lock = Lock::on_directory(&dir.path)?;
        stop_leftover(&dir, LEFTOVER_LIMIT)?;
        if let Some(server) = server::running(&dir)? {
            return Err(in_use(side, &dir, server.process()));
        }
        let control = ControlFile::read(&dir.path)?;
        match control.state {
            ClusterState::ShutDown | ClusterState::ShutDownInRecovery => Ok(Self {
                side,
                dir,
                control,
                _lock: lock,
            }),
            state => Err(Error::new(
                Code::NotShutDown,
                format!("the {side} cluster was not shut down cleanly"),
            )
            .fact("data directory", dir.path.display())
            .fact("state", state)
            .remedy(Remedy::manual(
                "start it with its own programs, which repairs what a crash has torn, and stop it",
            ))),
        }
    }
}

fn in_use(side: Side, dir: &DataDir, process: i32) -> Error {
    let code = match side {
        Side::Old => Code::OldServerRunning,
        Side::New => Code::NewServerRunning,
    };
    Error::new(
        code,
        format!("a server is running in the {side} data directory, and writes pages"),
    )
    .fact("data directory", dir.path.display())
    .fact("process", process)
    .remedy(Remedy::command(format!(
        "pg_ctl stop -D {}",
        shell_path(&dir.path)
    )))
}

/// How many pages are wrong, each of them told.
fn check(run: &Run, resting: &Resting, jobs: usize) -> Result<u64> {
    let Resting {
        side, dir, control, ..
    } = resting;
    let step = || format!("check-pages-of-{side}");
    let started = Instant::now();
    run.stream.emit(EventKind::StepStarted { step: step() });
    let progress = |done, total| {
        run.stream.emit(EventKind::Progress {
            step: step(),
            unit: "bytes".to_owned(),
            done,
            total: Some(total),
        });
    };
    let checked = match checked_pages(dir, control, jobs, &run.cancel, &progress) {
        Ok(checked) => checked,
        Err(error) => {
            run.stream.emit(EventKind::StepFailed { step: step() });
            return Err(error);
        }
    };
    run.stream.emit(EventKind::StepFinished {
        step: step(),
        detail: clause(dir, &checked),
        seconds: started.elapsed().as_secs_f64(),
    });
    for page in &checked.named {
        run.stream.emit(EventKind::Finding(found(*side, dir, page)));
    }
    Ok(checked.wrong)
}

fn clause(dir: &DataDir, checked: &CheckedPages) -> String {
    let result = match checked.wrong {
        0 => "every page as written".to_owned(),
        wrong => format!("{} not as written", pages_are(wrong)),
    };
    let files = counted(checked.files, "file");
    let dir = dir.path.display();
    format!("{dir}: {files}, {}, {result}", size(checked.bytes))
}

fn found(side: Side, dir: &DataDir, page: &WrongPage) -> Found {
    let file = page.file.strip_prefix(&dir.path).unwrap_or(&page.file);
    let (file, block) = (file.display().to_string(), page.block.to_string());
    let mut columns = BTreeMap::from([
        ("file".to_owned(), page.file.display().to_string()),
        ("block".to_owned(), block.clone()),
    ]);
    let what = match page.fault {
        Fault::Checksum { stored, computed } => {
            columns.insert("stored".to_owned(), format!("{stored:X}"));
            columns.insert("computed".to_owned(), format!("{computed:X}"));
            format!("the checksum of what it holds is {computed:X}, it bears {stored:X}")
        }
        Fault::Torn { bytes } => format!("the file ends within it, after {bytes} bytes"),
    };
    Found {
        check: Code::WrongPages.to_string(),
        severity: Severity::Blocker,
        database: None,
        sentence: format!("{side}: file {file}, block {block}: {what}"),
        columns,
        facts: Vec::new(),
        remedy: None,
    }
}
