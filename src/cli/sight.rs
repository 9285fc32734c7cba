//! What is seen of both sides before any server is asked, and what is told of it.

use std::collections::BTreeMap;

use super::args::{Clusters, Global};
use super::run::Run;
use crate::disk::{Lock, ReadAhead};
use crate::error::{Code, Error, Remedy, Result};
use crate::event::{Advice, EventKind, Found, Severity, Sink};
use crate::pg::DataDir;
use crate::plan::Mode;
use crate::server::{LEFTOVER_LIMIT, privileges, stop_leftover, sweep_temporary};
use crate::survey::{Reading, Request, Sight, Sizing, Surveyed, read_ahead, survey as look};

/// Both sides as they were seen from outside, and old locked.
pub struct Looked {
    /// Both sides.
    pub surveyed: Surveyed,
    /// Keeps other runs of this program away from old.
    pub lock: Lock,
    /// What stands in the way of an upgrade, and has been told; only `check` goes on with it.
    pub problems: Vec<Error>,
    /// Old's catalogs on their way into memory, where no server has them there.
    pub ahead: Option<ReadAhead>,
    /// The sizes of old's files, where they are yet to be put into the inventory.
    pub sizing: Option<Sizing>,
}

/// Becomes the owner of old, locks it, and looks at both sides from outside.
///
/// # Errors
///
/// What is wrong with them, after all of it has been told.
pub fn survey(run: &Run, global: &Global, arguments: &Clusters) -> Result<Looked> {
    demand_copies(arguments)?;
    let request = request(global, arguments);
    let (sight, lock, ahead) = own_and_look(run, &request, Reading::Dump)?;
    let surveyed = sight.sound();
    Ok(Looked {
        surveyed: surveyed.map_err(|problems| one_error(run, problems))?,
        lock,
        problems: Vec::new(),
        ahead,
        sizing: None,
    })
}

/// The same where old is to be asked whatever can be asked of it in spite of that.
///
/// # Errors
///
/// As for [`survey`], but only where nothing can be asked.
pub fn survey_to_ask(
    run: &Run,
    global: &Global,
    arguments: &Clusters,
    reading: Reading,
) -> Result<Looked> {
    demand_copies(arguments)?;
    let request = Request {
        sizes_later: true,
        ..request(global, arguments)
    };
    let (sight, lock, ahead) = own_and_look(run, &request, reading)?;
    let problems = sight.problems;
    let Some(surveyed) = sight.surveyed else {
        return Err(one_error(run, problems));
    };
    tell_problems(run, &problems);
    Ok(Looked {
        surveyed,
        lock,
        problems,
        ahead,
        sizing: sight.sizing,
    })
}

fn own_and_look(
    run: &Run,
    request: &Request,
    reading: Reading,
) -> Result<(Sight, Lock, Option<ReadAhead>)> {
    privileges::leave_root(&request.old_datadir)?;
    let old = DataDir::resolve(&request.old_datadir).map_err(|error| {
        // That it is closed says less than whose it is.
        if error.code() != Code::NotReadable {
            return error;
        }
        match look(request, &run.cancel).problems {
            problems if problems.is_empty() => error,
            problems => one_error(run, problems),
        }
    })?;
    privileges::become_owner(&old.path)?;
    sweep_temporary(None);
    let lock = Lock::on_directory(&old.path)?;
    stop_leftover(&old, LEFTOVER_LIMIT)?;
    // A server that runs has them in memory.
    let served = old.path.join("postmaster.pid").exists();
    let programs = [
        request.old_bindir.join("postgres"),
        request.new_bindir.join("postgres"),
        request.new_bindir.join("initdb"),
    ];
    let ahead = (!served).then(|| read_ahead(&old, programs.to_vec(), reading));
    let sight = look(request, &run.cancel);
    run.cancel.check()?;
    Ok((sight, lock, ahead))
}

/// Pages can be given checksums only where each of them passes through memory.
fn demand_copies(arguments: &Clusters) -> Result<()> {
    let mode = arguments.mode.mode();
    if !arguments.enable_checksums || mode == Mode::Copy {
        return Ok(());
    }
    Err(Error::new(
        Code::BadArguments,
        "--enable-checksums needs --copy: in this mode pages do not pass through this program",
    )
    .fact("mode", mode)
    .remedy(Remedy::manual(match mode.shares_files() {
        true => {
            "give --copy with --enable-checksums; or leave it out, and when the way back is not \
             wanted any more, stop new and run pg_checksums --enable of the new version"
        }
        false => {
            "give --copy with --enable-checksums; or leave it out, and run pg_checksums --enable \
             of the new version while new is stopped"
        }
    })))
}

/// The same where new has been prepared and old is locked: only old and the installations are
/// looked at.
pub fn survey_again(run: &Run, arguments: &Clusters, lock: Lock) -> Result<Looked> {
    let request = Request {
        new_datadir: None,
        state_dir: None,
        mode: None,
        ..request(&Global::default(), arguments)
    };
    let surveyed = look(&request, &run.cancel).sound();
    run.cancel.check()?;
    Ok(Looked {
        surveyed: surveyed.map_err(|problems| one_error(run, problems))?,
        lock,
        problems: Vec::new(),
        ahead: None,
        sizing: None,
    })
}

fn request(global: &Global, arguments: &Clusters) -> Request {
    Request {
        old_bindir: arguments.old_bindir.clone().unwrap_or_default(),
        new_bindir: arguments.new_bindir.clone().unwrap_or_default(),
        old_datadir: arguments.old_datadir.clone().unwrap_or_default(),
        new_datadir: arguments.new_datadir.clone(),
        state_dir: global.state_dir.clone(),
        mode: Some(arguments.mode.mode()),
        checksums: arguments.enable_checksums,
        socket_dir: arguments.socketdir.clone(),
        username: arguments.username.clone(),
        sizes_later: false,
    }
}

/// Several problems become findings, and the error names how many there are.
pub fn one_error(run: &Run, mut problems: Vec<Error>) -> Error {
    if problems.len() < 2 {
        return problems
            .pop()
            .unwrap_or_else(|| Error::new(Code::Internal, "a survey failed without a reason"));
    }
    tell_problems(run, &problems);
    Error::new(
        problems[0].code(),
        format!(
            "{} things must be put right before anything can be done",
            problems.len()
        ),
    )
    .remedy(Remedy::manual("each finding above names its remedy"))
}

/// Each of them as a finding that blocks.
pub fn tell_problems(run: &Run, problems: &[Error]) {
    for problem in problems {
        run.stream.emit(EventKind::Finding(Found {
            check: problem.code().to_string(),
            severity: Severity::Blocker,
            database: None,
            sentence: problem.message().to_owned(),
            columns: BTreeMap::new(),
            facts: problem.facts().to_vec(),
            remedy: problem.remedy_text().cloned().map(Advice::from),
        }));
    }
}
