//! Commands the operator gave, for what only their service manager or pooler can do.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::command::{self, Pauses};
use super::program::{append_to, tail};
use crate::error::{Code, Error, Remedy, Result};
use crate::work::Cancel;

/// A command of the operator, for `sh -c`.
///
/// It runs as the owner of the data directory, in `/`, with a clean environment. What it was
/// meant to bring about is for the caller to verify: that it succeeded says little.
#[derive(Debug, Clone, Copy)]
pub struct Hook<'a> {
    /// The option it was given with.
    pub option: &'a str,
    /// The command.
    pub command: &'a str,
    /// Where its output goes, all of it: a server it starts may keep it open for ever.
    pub log: &'a Path,
    /// How long it may take.
    pub timeout: Duration,
}

impl Hook<'_> {
    /// Runs it to its end.
    ///
    /// # Errors
    ///
    /// `HookFailed` for any exit status but 0, and where it takes too long: it is then asked to
    /// end. A requested stop of ours ends it too.
    pub fn run(&self, cancel: &Cancel) -> Result<()> {
        cancel.check()?;
        let mut log = append_to(self.log)?;
        let unusable = |doing: &str, error: &std::io::Error| {
            Error::io(Code::DiskOperation, doing, self.log, error)
        };
        writeln!(log, "command: {}", self.command).map_err(|e| unusable("write", &e))?;
        let start = log
            .seek(SeekFrom::End(0))
            .map_err(|e| unusable("read", &e))?;
        let output = || log.try_clone().map_err(|e| unusable("share", &e));
        let mut child = command::isolated(Path::new("/bin/sh"), Signal::SIGTERM)
            .args(["-c", self.command])
            .stdout(Stdio::from(output()?))
            .stderr(Stdio::from(output()?))
            .spawn()
            .map_err(|e| self.failed("could not be started").caused_by(&e))?;
        let started = Instant::now();
        let mut pauses = Pauses::new();
        loop {
            let ended = child
                .try_wait()
                .map_err(|e| self.failed("could not be waited for").caused_by(&e))?;
            if let Some(status) = ended {
                if status.success() {
                    return Ok(());
                }
                let error = self
                    .failed("failed")
                    .fact("exit status", command::describe(status));
                return Err(tail(&mut log, start)
                    .into_iter()
                    .fold(error, |error, line| error.fact("output", line)));
            }
            let late = started.elapsed() > self.timeout;
            if late || cancel.requested() {
                if let Ok(pid) = i32::try_from(child.id()) {
                    // Gone already is as good.
                    let _ = killpg(Pid::from_raw(pid), Signal::SIGTERM);
                }
                cancel.check()?;
                let limit = self.timeout.as_secs();
                return Err(self.failed(&format!("did not end within {limit} s")));
            }
            pauses.pause();
        }
    }

    fn failed(&self, how: &str) -> Error {
        Error::new(
            Code::HookFailed,
            format!("the command given with {} {how}", self.option),
        )
        .fact("command", self.command)
        .fact("log", self.log.display())
        .remedy(Remedy::manual(
            "try the command by hand, as the user who owns the data directory: a service manager \
             may need a rule that lets that user do it",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(command: &str, timeout: Duration) -> Result<()> {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("hook.log");
        let ran = Hook {
            option: "--pause-command",
            command,
            log: &log,
            timeout,
        }
        .run(&Cancel::new());
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(text.starts_with(&format!("command: {command}\n")));
        ran
    }

    #[test]
    fn what_it_said_is_in_the_error() {
        let long = Duration::from_secs(60);
        run("exit 0", long).unwrap();
        let error = run("echo no such pooler >&2; exit 3", long).unwrap_err();
        assert_eq!(error.code(), Code::HookFailed);
        let facts = error.facts();
        for (name, value) in [("exit status", "3"), ("output", "no such pooler")] {
            assert!(facts.contains(&(name.to_owned(), value.to_owned())));
        }
    }

    #[test]
    fn it_is_not_waited_for_for_ever() {
        let started = Instant::now();
        let error = run("sleep 60", Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.code(), Code::HookFailed);
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_server_it_leaves_behind_holds_nobody_up() {
        let started = Instant::now();
        run("sleep 20 & exit 0", Duration::from_secs(60)).unwrap();
        assert!(started.elapsed() < Duration::from_secs(15));
    }
}
