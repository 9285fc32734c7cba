//! One run of one PostgreSQL program.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::command;
use super::installation::Installation;
use super::veil::Veil;
use crate::error::{Code, Error, Remedy, Result};
use crate::fault;
use crate::pg::quote;
use crate::work::Cancel;

/// How many of the last lines of a log an error carries.
pub(super) const TAIL_LINES: usize = 10;

/// What a program left behind.
#[derive(Debug)]
pub struct Output {
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// The last lines of its standard error.
    pub stderr_tail: Vec<String>,
}

/// A PostgreSQL program about to be run, without a shell and with a clean environment.
#[derive(Debug)]
pub struct Program<'a> {
    installation: &'a Installation,
    name: &'static str,
    args: Vec<OsString>,
    log: Option<PathBuf>,
    server_log: Option<PathBuf>,
    failure: Code,
    subject: Option<(&'static str, String)>,
    keep_password: bool,
    rests: bool,
    veiled: bool,
    limit: Option<Duration>,
    ends: command::Ends,
}

impl<'a> Program<'a> {
    /// The program of this name in the installation.
    pub fn new(installation: &'a Installation, name: &'static str) -> Self {
        Self {
            installation,
            name,
            args: Vec::new(),
            log: None,
            server_log: None,
            failure: Code::ProgramFailed,
            subject: None,
            keep_password: false,
            rests: false,
            veiled: false,
            limit: None,
            ends: command::Ends::Group,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Appends its standard error to this file, which errors then name.
    ///
    /// Runs at the same time need a file each: an error takes the last lines for its own.
    #[must_use]
    pub fn log_to(mut self, log: &Path) -> Self {
        self.log = Some(log.to_owned());
        self
    }

    /// Where the server it starts says why it does not: an error has that log's last lines, too.
    #[must_use]
    pub fn server_logs_to(mut self, log: &Path) -> Self {
        self.server_log = Some(log.to_owned());
        self
    }

    /// The code of the error when it fails, instead of [`Code::ProgramFailed`].
    #[must_use]
    pub fn failing_with(mut self, code: Code) -> Self {
        self.failure = code;
        self
    }

    /// What it works on: becomes a fact of the error when it fails.
    #[must_use]
    pub fn about(mut self, kind: &'static str, name: impl Into<String>) -> Self {
        self.subject = Some((kind, name.into()));
        self
    }

    /// Whether it sees `PGPASSWORD` and `PGPASSFILE`; all other `PG*` variables stay hidden.
    #[must_use]
    pub fn with_password(mut self, yes: bool) -> Self {
        self.keep_password = yes;
        self
    }

    /// Whether it rests half of the time where it works in the background.
    #[must_use]
    pub fn resting(mut self) -> Self {
        self.rests = true;
        self
    }

    /// Keeps the literals of statements out of its log, and so out of errors.
    #[must_use]
    pub fn veiled(mut self) -> Self {
        self.veiled = true;
        self
    }

    /// Ends it when it takes longer: for what has little to do, while service may be down.
    ///
    /// What grows with the cluster has no limit. Somebody sees it at work and can interrupt it.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(fault::limit(limit));
        self
    }

    /// Leaves alone what it has started when it has to be ended: a server of somebody else, which has
    /// left the process group of its `pg_ctl` only from 12 on.
    #[must_use]
    pub fn ending_alone(mut self) -> Self {
        self.ends = command::Ends::ItAlone;
        self
    }

    /// Runs it to its end; anything but exit status 0 is an error with its last lines.
    ///
    /// It is ended when a stop is requested, and the error is then that request; so it is when its
    /// time is up, and the error is then [`Code::ProgramHangs`].
    pub fn run(&self, cancel: &Cancel) -> Result<Output> {
        cancel.check()?;
        let mut errors = self.open_log()?;
        let start = errors
            .seek(SeekFrom::End(0))
            .map_err(|error| self.broken("find the end of the log of", &error))?;
        let server_said = self.server_log.as_ref().map(|log| length(log));
        let path = self.installation.program(self.name);
        let mut command = command::isolated(&path, Signal::SIGKILL);
        let mut log = errors
            .try_clone()
            .map_err(|error| self.broken("share the log of", &error))?;
        command.args(&self.args).stdout(Stdio::piped());
        match self.veiled {
            true => command.stderr(Stdio::piped()),
            false => command.stderr(
                log.try_clone()
                    .map_err(|error| self.broken("share the log of", &error))?,
            ),
        };
        if self.keep_password {
            let secrets = ["PGPASSWORD", "PGPASSFILE"];
            command.envs(
                secrets
                    .iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            );
        }
        let mut child = command
            .spawn()
            .map_err(|error| self.broken("start", &error))?;
        let pipe = child.stdout.take();
        let complaints = child.stderr.take();
        // A full pipe would stop the child, so it is emptied while we wait.
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut bytes))
                .map(|_| bytes)
        });
        let writer = complaints
            .map(|complaints| std::thread::spawn(move || write_veiled(complaints, &mut log)));
        let turns = self.rests.then(command::Turns::in_background).flatten();
        let ended = command::wait(&mut child, self.ends, turns, self.limit, cancel)
            .map_err(|error| self.broken("wait for", &error))?;
        let Some(status) = ended.status else {
            // It keeps its pipes open for as long as it cannot be ended.
            cancel.check()?;
            let lines = tail(&mut errors, start);
            return Err(self.hangs(&path, &lines, ", and not when it was killed either"));
        };
        let panicked = |_| Error::new(Code::Internal, "a thread that read a pipe panicked");
        let written = writer.map(|writer| command::read_by(writer, &ended, cancel));
        written
            .flatten()
            .map_or(Ok(()), |written| written.map_err(panicked))?;
        let stdout = command::read_by(reader, &ended, cancel);
        let stderr_tail = tail(&mut errors, start);
        if status.success()
            && let Some(stdout) = stdout
        {
            let stdout = stdout.map_err(panicked)?;
            let stdout = stdout.map_err(|error| self.broken("read the output of", &error))?;
            return Ok(Output {
                stdout,
                stderr_tail,
            });
        }
        cancel.check()?;
        if ended.late {
            return Err(self.hangs(&path, &stderr_tail, ", and was killed"));
        }
        let error = self.failed(&path, status, &stderr_tail);
        Err(match (&self.server_log, server_said) {
            (Some(log), Some(start)) => with_server_log(error, log, start),
            _ => error,
        })
    }

    fn open_log(&self) -> Result<File> {
        let Some(log) = &self.log else {
            return tempfile::tempfile()
                .map_err(|error| self.broken("make a temporary file for", &error));
        };
        let mut file = append_to(log)?;
        writeln!(file, "command: {}", self.command_line())
            .map_err(|error| Error::io(Code::DiskOperation, "write", log, &error))?;
        Ok(file)
    }

    fn command_line(&self) -> String {
        let program = self.installation.program(self.name);
        std::iter::once(program.as_os_str())
            .chain(self.args.iter().map(OsString::as_os_str))
            .map(|word: &OsStr| quote::shell(&word.to_string_lossy()))
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn broken(&self, doing: &str, error: &std::io::Error) -> Error {
        let path = self.installation.program(self.name);
        Error::io(self.failure, doing, &path, error)
    }

    fn failed(&self, path: &Path, status: ExitStatus, lines: &[String]) -> Error {
        let error = Error::new(self.failure, format!("{} failed", self.name))
            .fact("program", path.display())
            .fact("exit status", command::describe(status));
        let error = self.with_what_is_known(error, lines);
        match &self.log {
            Some(log) => error
                .fact("log", log.display())
                .remedy(Remedy::manual(format!(
                    "read {}, put right what it says, and run the command again",
                    log.display()
                ))),
            None => error,
        }
    }

    fn hangs(&self, path: &Path, lines: &[String], and: &str) -> Error {
        let limit = self.limit.unwrap_or_default().as_secs();
        let message = format!("{} has not ended within {limit} s{and}", self.name);
        let error = Error::new(Code::ProgramHangs, message).fact("program", path.display());
        let error = self.with_what_is_known(error, lines);
        let error = match &self.log {
            Some(log) => error.fact("log", log.display()),
            None => error,
        };
        error.remedy(Remedy::manual(
            "find out what it waited for (a disk that does not answer, or is busy; something else \
             that lies where the program should be), and run the command again",
        ))
    }

    fn with_what_is_known(&self, mut error: Error, lines: &[String]) -> Error {
        if let Some((kind, name)) = &self.subject {
            error = error.fact(kind, name);
        }
        if !lines.is_empty() {
            error = error.fact("output", lines.join("\n"));
        }
        error
    }
}

/// Writes the lines of a program into its log, without the literals of statements.
fn write_veiled(complaints: impl Read, log: &mut File) {
    let mut veil = Veil::default();
    let mut complaints = BufReader::new(complaints);
    let mut line = Vec::new();
    // A full pipe would stop the program, so it is emptied also where the log takes no more.
    while complaints
        .read_until(b'\n', &mut line)
        .is_ok_and(|length| length > 0)
    {
        let text = String::from_utf8_lossy(&line);
        let _ = log.write_all(
            veil.line(text.strip_suffix('\n').unwrap_or(&text))
                .as_bytes(),
        );
        line.clear();
    }
    let _ = log.write_all(veil.end().as_bytes());
}

fn length(log: &Path) -> u64 {
    std::fs::metadata(log).map_or(0, |found| found.len())
}

/// What a server has said since its log had this length is the reason; without any, whoever reads
/// on finds out by the log of the program.
fn with_server_log(error: Error, log: &Path, start: u64) -> Error {
    let said = File::open(log).map(|mut log| tail(&mut log, start));
    let said = said.unwrap_or_default();
    if said.is_empty() {
        return error;
    }
    error
        .fact("log of the server", log.display())
        .fact("log line", said.join("\n"))
        .remedy(Remedy::manual(format!(
            "read {}, put right what it says, and run the command again",
            log.display()
        )))
}

/// Opens a log for appending, readable, and by nobody but its owner.
pub(super) fn append_to(log: &Path) -> Result<File> {
    File::options()
        .create(true)
        .append(true)
        .read(true)
        .mode(0o600)
        .open(log)
        .map_err(|error| Error::io(Code::DiskOperation, "open the log", log, &error))
}

/// The lines that say why, of those written behind `start`; what cannot be read is left out.
pub(super) fn tail(file: &mut File, start: u64) -> Vec<String> {
    const MUCH: u64 = 16 * 1024;
    let Ok(end) = file.seek(SeekFrom::End(0)) else {
        return Vec::new();
    };
    let from = start.max(end.saturating_sub(MUCH));
    let mut bytes = Vec::new();
    if file.seek(SeekFrom::Start(from)).is_err() || file.read_to_end(&mut bytes).is_err() {
        return Vec::new();
    }
    why(&String::from_utf8_lossy(&bytes))
}

/// A server that does not start says why in its log, and in its last complaint at times only that it
/// has said so: a setting is named before "configuration file contains errors", an address before
/// "could not create any TCP/IP sockets".
fn is_a_reason(line: &&str) -> bool {
    let says = [
        "could not bind",
        "in file \"",
        "invalid value for",
        "cannot be changed",
    ];
    line.contains("LOG: ") && says.iter().any(|words| line.contains(words))
}

/// The first complaint with what belongs to it, or the last lines where nobody complained.
///
/// pg_restore names the object before the complaint and the statement after it. The statement is
/// left to the log: it is long, and begins with the OIDs that all of its objects are given.
fn why(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let complaint = ["error: ", "ERROR: ", "FATAL: ", "PANIC: "];
    let complains = |line: &&str| complaint.iter().any(|word| line.contains(word));
    let Some(first) = lines.iter().position(complains) else {
        let last = lines.len().saturating_sub(TAIL_LINES);
        return lines[last..].iter().map(|&line| line.to_owned()).collect();
    };
    let object = first.checked_sub(1).map(|before| lines[before]);
    let object = object.filter(|line| line.contains(": from TOC entry "));
    let reasons = lines[..first].iter().copied().filter(is_a_reason);
    let context = lines[first + 1..]
        .iter()
        .take_while(|line| !line.starts_with("Command was:") && !complains(line));
    let all = object.into_iter().chain(reasons).chain([lines[first]]);
    all.chain(context.copied())
        .take(TAIL_LINES)
        .map(str::to_owned)
        .collect()
}

/// An option with a path, absolute since the child works in another directory than we do.
pub(super) fn path_option(option: &str, path: &Path) -> OsString {
    let mut word = OsString::from(option);
    word.push(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_pg_restore_is_told_with_its_object_and_without_its_statement() {
        let log = "pg_restore: creating TABLE \"public.a\"\n\
                   pg_restore: while PROCESSING TOC:\n\
                   pg_restore: from TOC entry 215; 1259 16385 TABLE a postgres\n\
                   pg_restore: error: could not execute query: ERROR:  no such type\n\
                   LINE 3: \"b\" d\n\
                   Command was: \n\
                   -- For binary upgrade, must preserve pg_type oid\n\
                   SELECT 1;\n";
        assert_eq!(
            why(log),
            [
                "pg_restore: from TOC entry 215; 1259 16385 TABLE a postgres",
                "pg_restore: error: could not execute query: ERROR:  no such type",
                "LINE 3: \"b\" d",
            ]
        );
    }

    #[test]
    fn without_a_complaint_the_last_lines_are_told() {
        let log: String = (1..=12)
            .map(|number| format!("line {number}\n\n"))
            .collect();
        let said = why(&log);
        assert_eq!(said.len(), TAIL_LINES);
        assert_eq!(said.first().map(String::as_str), Some("line 3"));
        assert_eq!(why(""), [""; 0]);
    }

    #[test]
    fn one_complaint_is_enough() {
        let log = "2026 LOG:  starting\n2026 FATAL:  no memory\n2026 HINT:  buy some\n\
                   2026 FATAL:  again\n";
        assert_eq!(why(log), ["2026 FATAL:  no memory", "2026 HINT:  buy some"]);
        let log = "2026 LOG:  unrecognized configuration parameter \"a\" in file \"/b\" line 3\n\
                   2026 FATAL:  configuration file \"/b\" contains errors\n";
        assert_eq!(why(log), log.lines().collect::<Vec<_>>());
    }
}
