//! A private server: started, waited for, stopped.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::ops::Deref;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::command::{self, Pauses};
use super::endpoint::Endpoint;
use super::program::{append_to, tail};
use super::socket::PrivateSocket;
use super::spec::PostmasterSpec;
use crate::error::{Code, Error, Remedy, Result};
use crate::pg::postmaster::PostmasterPid;
use crate::pg::quote;
use crate::work::Cancel;

/// A running server that is ours alone.
///
/// It is a direct child in a process group of its own, so that a Ctrl-C at the terminal does
/// not reach it: we stop it ourselves. If we die, the kernel asks it to shut down (Linux), and
/// a later run finds what is left with [`super::leftover`].
#[derive(Debug)]
pub struct Postmaster {
    spec: PostmasterSpec,
    /// Removes its directory when the server is gone.
    _socket: PrivateSocket,
    endpoint: Endpoint,
    child: Option<Child>,
    log: File,
    log_start: u64,
}

impl Postmaster {
    /// Starts a server and waits until it accepts sessions.
    ///
    /// To be called by a thread that lives as long as the server does, in practice the main
    /// one: the kernel takes the starting THREAD for the parent whose death ends the server.
    ///
    /// # Errors
    ///
    /// `ServerStart` with the last lines of its log; a requested stop, after which no server
    /// is left.
    pub fn start(spec: &PostmasterSpec, cancel: &Cancel) -> Result<Postmaster> {
        cancel.check()?;
        let socket = PrivateSocket::create(spec.socket_parent.as_deref(), spec.port)?;
        let mut log = append_to(&spec.log)?;
        let program = spec.installation.program("postgres");
        let arguments = spec.arguments(socket.path());
        let written = announce(&mut log, &program, &arguments);
        let log_start =
            written.map_err(|e| Error::io(Code::DiskOperation, "write", &spec.log, &e))?;
        let child = spawn(&program, &arguments, &log).map_err(|error| {
            Error::io(Code::ServerStart, "start", &program, &error)
                .fact("data directory", spec.data_dir.display())
        })?;
        let mut server = Postmaster {
            spec: spec.clone(),
            endpoint: Endpoint {
                side: spec.installation.side,
                major: spec.installation.version.major,
                data_dir: spec.data_dir.clone(),
                host: socket.path().to_owned(),
                port: spec.port,
                user: spec.user.clone(),
                log: Some(spec.log.clone()),
                private: true,
            },
            _socket: socket,
            child: Some(child),
            log,
            log_start,
        };
        server.wait_until_ready(cancel)?;
        Ok(server)
    }

    /// How it was started.
    pub fn spec(&self) -> &PostmasterSpec {
        &self.spec
    }

    /// Stops it in fast mode and waits for its end; the shutdown checkpoint is then on disk.
    ///
    /// # Errors
    ///
    /// `ServerStop` if it takes longer than the limit (it is then left running, never killed)
    /// or ends with a failure.
    pub fn stop(mut self) -> Result<()> {
        match self.end() {
            Ok(Some(status)) if status.success() => Ok(()),
            Ok(Some(status)) => Err(self
                .about(Code::ServerStop, "ended with a failure")
                .fact("exit status", command::describe(status))),
            Ok(None) => Err(self.about(
                Code::ServerStop,
                &format!("did not stop within {} s", self.spec.timeout.as_secs()),
            )),
            Err(error) => Err(self
                .about(Code::ServerStop, "could not be waited for")
                .caused_by(&error)),
        }
    }

    fn wait_until_ready(&mut self, cancel: &Cancel) -> Result<()> {
        let started = Instant::now();
        let mut pauses = Pauses::new();
        loop {
            if let Some(status) = self.exited() {
                return Err(self
                    .about(Code::ServerStart, "did not start")
                    .fact("exit status", command::describe(status)));
            }
            if self.says_ready() {
                return Ok(());
            }
            if started.elapsed() > self.spec.timeout {
                let limit = self.spec.timeout.as_secs();
                return Err(self.about(
                    Code::ServerStart,
                    &format!("was not ready within {limit} s"),
                ));
            }
            cancel.check()?;
            pauses.pause();
        }
    }

    fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        Some(status)
    }

    /// The last line of postmaster.pid; an older file may still be there and name another
    /// process.
    fn says_ready(&self) -> bool {
        let Ok(text) = std::fs::read_to_string(self.spec.data_dir.join("postmaster.pid")) else {
            return false;
        };
        let ours = self.child.as_ref().map(Child::id);
        PostmasterPid::parse(&text).is_some_and(|file| {
            u32::try_from(file.pid).ok() == ours && ["ready", "standby"].contains(&&*file.status)
        })
    }

    /// Asks for a fast shutdown and waits; `None` when the time is over.
    fn end(&mut self) -> std::io::Result<Option<ExitStatus>> {
        let Some(mut child) = self.child.take() else {
            return Ok(None);
        };
        if let Ok(pid) = i32::try_from(child.id()) {
            // It may have ended by itself; the wait below sees it.
            let _ = kill(Pid::from_raw(pid), Signal::SIGINT);
        }
        let asked = Instant::now();
        let mut pauses = Pauses::new();
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            if asked.elapsed() > self.spec.timeout {
                return Ok(None);
            }
            pauses.pause();
        }
    }

    fn about(&mut self, code: Code, what: &str) -> Error {
        let log = self.spec.log.display();
        let side = self.spec.installation.side;
        let mut error = Error::new(code, format!("the private {side} server {what}"))
            .fact("data directory", self.spec.data_dir.display())
            .fact("log", log.to_string())
            .remedy(Remedy::manual(format!(
                "read {log}, put right what it says, and run the command again"
            )));
        let said = tail(&mut self.log, self.log_start);
        if !said.is_empty() {
            error = error.fact("log line", said.join("\n"));
        }
        error
    }
}

impl Deref for Postmaster {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        // The last resort, on the way out of a failure that has its own error.
        let _ = self.end();
    }
}

fn announce(
    log: &mut File,
    program: &Path,
    arguments: &[std::ffi::OsString],
) -> std::io::Result<u64> {
    let words = arguments.iter().map(|word| word.to_string_lossy());
    let line = std::iter::once(program.to_string_lossy())
        .chain(words)
        .map(|word| quote::shell(&word))
        .collect::<Vec<_>>()
        .join(" ");
    writeln!(log, "command: {line}")?;
    log.seek(SeekFrom::End(0))
}

fn spawn(program: &Path, arguments: &[std::ffi::OsString], log: &File) -> std::io::Result<Child> {
    command::isolated(program, Signal::SIGINT)
        .args(arguments)
        .stdout(Stdio::from(log.try_clone()?))
        .stderr(Stdio::from(log.try_clone()?))
        .spawn()
}
