//! What a program says when it is asked for its version.
//!
//! Pipes take it: a file would need room, and where there is none every program would seem to say
//! nothing. Nobody waits for the end of a pipe: something the program has started may keep it open for
//! ever.

use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;

use super::command;
use crate::work::Cancel;

/// What is kept of an answer; whatever comes behind that is thrown away.
const MUCH: usize = 64 << 10;
/// How much is read at a time.
const PART: usize = 4 << 10;

/// What was said, and how it ended.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: ExitStatus,
    pub(super) said: String,
    pub(super) complaint: String,
}

/// Asks a program for its version; nothing where it does not end in time, or a stop is requested.
pub(super) fn ask_for_version(
    program: &Path,
    limit: Duration,
    cancel: &Cancel,
) -> io::Result<Option<Answer>> {
    let mut child = command::isolated(program, Signal::SIGKILL)
        .arg("--version")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut said = Ear::new(child.stdout.take());
    let mut complaint = Ear::new(child.stderr.take());
    let mut listen = || {
        said.listen();
        complaint.listen();
    };
    let status = command::wait_at_most(&mut child, limit, cancel, &mut listen)?;
    // What it said before its end is all there now.
    listen();
    Ok(status.map(|status| Answer {
        status,
        said: said.text(),
        complaint: complaint.text(),
    }))
}

/// One end of a pipe, and what came through it.
struct Ear<P> {
    pipe: Option<P>,
    heard: Vec<u8>,
}

impl<P: Read + AsFd> Ear<P> {
    /// One that would have to be waited for is not listened to.
    fn new(pipe: Option<P>) -> Self {
        let unblocked = |pipe: &P| fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).is_ok();
        Self {
            pipe: pipe.filter(unblocked),
            heard: Vec::new(),
        }
    }

    /// Takes what has come by now: as much as a pipe holds, since some never stop talking.
    fn listen(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut part = [0; PART];
        for _ in 0..MUCH / PART {
            match pipe.read(&mut part) {
                Ok(0) => return,
                Ok(length) => {
                    let room = MUCH - self.heard.len();
                    self.heard.extend_from_slice(&part[..length.min(room)]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.heard).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    /// A program that does this; see `installation` for why another process writes it.
    fn program(dir: &Path, script: &str) -> std::path::PathBuf {
        let (draft, program) = (dir.join("draft"), dir.join("program"));
        fs::write(&draft, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
        let copied = std::process::Command::new("cp")
            .arg("-p")
            .args([&draft, &program])
            .status();
        assert!(copied.unwrap().success());
        program
    }

    #[test]
    fn more_than_a_pipe_holds_is_read_and_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let program = program(
            dir.path(),
            "echo first; head -c 1000000 /dev/zero; echo complaint >&2; exit 3",
        );
        let limit = Duration::from_secs(30);
        let answer = ask_for_version(&program, limit, &Cancel::new());
        let answer = answer.unwrap().unwrap();
        assert!(answer.said.starts_with("first\n"));
        assert_eq!(answer.said.len(), MUCH);
        assert_eq!(answer.complaint, "complaint\n");
        assert_eq!(answer.status.code(), Some(3));
    }

    #[test]
    fn who_never_stops_talking_is_not_listened_to_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let program = program(dir.path(), "echo 17; yes >&2 & exec yes");
        let asked = Instant::now();
        let limit = Duration::from_millis(300);
        let answer = ask_for_version(&program, limit, &Cancel::new()).unwrap();
        assert!(answer.is_none(), "{answer:?}");
        assert!(asked.elapsed() < Duration::from_secs(20));
    }
}
