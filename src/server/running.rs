//! The operator's server in a data directory: found, stopped, started again as it was.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::command::Pauses;
use super::endpoint::Endpoint;
use super::installation::Installation;
use super::leftover::{self, alive};
use super::program::Program;
use crate::error::{Code, Error, Family, Remedy, Result};
use crate::pg::{ClusterState, ControlFile, DataDir, PostmasterOpts, PostmasterPid};
use crate::work::Cancel;

/// How much longer `pg_ctl` may take than it was told to wait for its server: it counts its looks
/// and not the time, so on a busy machine it waits for longer. What it has started by then goes on.
pub const PG_CTL_MARGIN: Duration = Duration::from_secs(300);

/// A server that somebody else has started and that accepts sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// What it says about itself.
    pub pid: PostmasterPid,
    /// How it was started.
    pub opts: PostmasterOpts,
    /// Where it is reached.
    pub endpoint: Endpoint,
}

/// How a server of the operator is stopped.
#[derive(Debug, Clone, Copy)]
pub struct StopSpec {
    /// How long it may take.
    pub timeout: Duration,
}

/// How a server of the operator is started again.
#[derive(Debug, Clone, Copy)]
pub struct StartSpec<'a> {
    /// Whose `pg_ctl` starts it.
    pub installation: &'a Installation,
    /// Its data directory.
    pub data_dir: &'a DataDir,
    /// As whom sessions connect.
    pub user: &'a str,
    /// How it had been started: the same program, the same arguments.
    pub opts: &'a PostmasterOpts,
    /// Where the server's messages go until it sends them where it is configured to.
    pub log: &'a Path,
    /// How long it may take.
    pub timeout: Duration,
}

impl Running {
    /// The operator's server in this data directory; `None` where there is none, or only a
    /// private one of ours.
    ///
    /// # Errors
    ///
    /// `OldServerRunning` for a standalone backend, `OldServerNotReady` for a server that does
    /// not accept sessions that write, or that can be reached by neither socket nor network.
    pub fn find(
        data_dir: &DataDir,
        installation: &Installation,
        user: &str,
    ) -> Result<Option<Running>> {
        let Some(pid) = leftover::running(data_dir)? else {
            return Ok(None);
        };
        if pid.standalone() {
            return Err(standalone(data_dir, &pid));
        }
        let opts = data_dir.postmaster_opts()?;
        if opts.as_ref().is_some_and(leftover::ours) {
            return Ok(None);
        }
        if !pid.ready() {
            return Err(not_ready(data_dir, &pid));
        }
        let host = host(data_dir, &pid).ok_or_else(|| unreachable(data_dir, &pid))?;
        Ok(Some(Running {
            endpoint: Endpoint {
                side: installation.side,
                major: data_dir.major,
                data_dir: data_dir.path.clone(),
                host,
                port: pid.port,
                user: user.to_owned(),
                log: None,
                private: false,
            },
            opts: opts.unwrap_or_else(|| PostmasterOpts {
                program: path_text(&installation.program("postgres")),
                args: vec!["-D".to_owned(), path_text(&data_dir.config_dir)],
            }),
            pid,
        }))
    }

    /// Asks for a fast shutdown, and waits until the process is gone and `pg_control` says that
    /// the cluster was shut down.
    ///
    /// # Errors
    ///
    /// `ServerStop` where it takes longer than the limit: it goes on stopping and is never
    /// killed. `NotShutDown` where it ended in another way. A requested stop of ours ends the
    /// waiting, not the shutdown.
    pub fn stop(&self, spec: &StopSpec, cancel: &Cancel) -> Result<ControlFile> {
        cancel.check()?;
        if alive(self.pid.pid, &self.endpoint.data_dir) {
            // Gone between the two looks is as good.
            let _ = kill(Pid::from_raw(self.pid.pid), Signal::SIGINT);
        }
        self.wait_until_stopped(spec, cancel)
    }

    /// The same for a server that somebody else has asked to stop.
    pub fn wait_until_stopped(&self, spec: &StopSpec, cancel: &Cancel) -> Result<ControlFile> {
        let data_dir = &self.endpoint.data_dir;
        let asked = Instant::now();
        let mut pauses = Pauses::new();
        while alive(self.pid.pid, data_dir) {
            if asked.elapsed() > spec.timeout {
                return Err(self.still_stopping(spec.timeout));
            }
            cancel.check()?;
            pauses.pause();
        }
        let control = ControlFile::read(data_dir)?;
        if control.state == ClusterState::ShutDown {
            return Ok(control);
        }
        Err(Error::new(
            Code::NotShutDown,
            "the old server ended without a shutdown checkpoint",
        )
        .fact("data directory", data_dir.display())
        .fact("state", control.state)
        .remedy(Remedy::manual(
            "find out in its log why it ended, start it, and run the command again",
        )))
    }

    /// Starts a server as the operator's was started, and waits until it accepts sessions.
    ///
    /// `pg_ctl` detaches it, so it outlives this program. One that is running already is as
    /// good.
    ///
    /// # Errors
    ///
    /// `ServerStart` with what `pg_ctl` said.
    pub fn start_again(spec: &StartSpec<'_>, cancel: &Cancel) -> Result<Running> {
        let find = || Self::find(spec.data_dir, spec.installation, spec.user);
        if let Some(running) = find()? {
            return Ok(running);
        }
        let ran = Program::new(spec.installation, "pg_ctl")
            .args(start_arguments(spec))
            .failing_with(Code::ServerStart)
            .about("data directory", spec.data_dir.path.display().to_string())
            .within(spec.timeout + PG_CTL_MARGIN)
            .ending_alone()
            .server_logs_to(spec.log)
            .log_to(&spec.log.with_extension("pg_ctl.log"))
            .run(cancel);
        match ran {
            // A server that serves is none the worse for a pg_ctl that hangs or breaks; or it was
            // somebody else who started it meanwhile.
            Err(error) if error.code().family() != Family::Signal => {
                return find().ok().flatten().ok_or(error);
            }
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        find()?.ok_or_else(|| {
            Error::new(Code::ServerStart, "the old server is gone again")
                .fact("data directory", spec.data_dir.path.display())
                .fact("log", spec.log.display())
                .remedy(Remedy::manual("read that log, and start the server"))
        })
    }

    fn still_stopping(&self, timeout: Duration) -> Error {
        let error = Error::new(
            Code::ServerStop,
            format!(
                "the old server did not stop within {} s and is still stopping",
                timeout.as_secs()
            ),
        )
        .fact("data directory", self.endpoint.data_dir.display())
        .fact("process", self.pid.pid);
        leftover::name_those_at_work(error, self.pid.pid, &self.endpoint.data_dir).remedy(
            Remedy::manual(
                "its log says what it waits for: the shutdown checkpoint, a standby, the \
                 archiver, a session that does not end",
            ),
        )
    }
}

/// The directory at the head of the words is given to `pg_ctl`, which puts it there again; the
/// rest follows, so what it says counts. A relative directory was relative to where the server
/// had been started, and is replaced.
fn start_arguments(spec: &StartSpec<'_>) -> Vec<OsString> {
    let before = Path::new(&spec.opts.program);
    let program = if before.is_file() {
        before.to_owned()
    } else {
        spec.installation.program("postgres")
    };
    let config_dir = &spec.data_dir.config_dir;
    let (directory, rest) = match &spec.opts.args[..] {
        [first, directory, rest @ ..] if first == "-D" && Path::new(directory).is_absolute() => {
            (PathBuf::from(directory), rest)
        }
        all => (config_dir.clone(), all),
    };
    let mut words: Vec<String> = rest.iter().map(|word| sh_word(word)).collect();
    if names_a_relative_directory(rest) {
        words.push("-D".to_owned());
        words.push(sh_word(&path_text(config_dir)));
    }
    vec![
        "start".into(),
        "-w".into(),
        "-s".into(),
        "-t".into(),
        spec.timeout.as_secs().to_string().into(),
        "-p".into(),
        program.into(),
        "-D".into(),
        directory.into(),
        "-l".into(),
        spec.log.into(),
        "-o".into(),
        words.join(" ").into(),
    ]
}

/// A word for the `sh` that `pg_ctl` gives them to; it knows no other quotes.
fn sh_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn names_a_relative_directory(args: &[String]) -> bool {
    let mut relative = false;
    let mut after_d = false;
    for arg in args {
        let value = if after_d {
            Some(arg.as_str())
        } else {
            arg.strip_prefix("-D").filter(|joined| !joined.is_empty())
        };
        if let Some(value) = value {
            relative = Path::new(value).is_relative();
        }
        after_d = !after_d && arg == "-D";
    }
    relative
}

/// The directory of its first socket, else the address it listens on.
///
/// An address that means every address of the machine is reached by the loopback one.
fn host(data_dir: &DataDir, pid: &PostmasterPid) -> Option<PathBuf> {
    let abstract_socket = pid.socket_dir.starts_with('@');
    if !pid.socket_dir.is_empty() && !abstract_socket {
        // A relative one is relative to where the server works.
        return Some(data_dir.path.join(&pid.socket_dir));
    }
    let address = match pid.listen.as_str() {
        "" => return None,
        "*" => "localhost",
        "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        other => other,
    };
    Some(address.into())
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn about(data_dir: &DataDir, pid: &PostmasterPid, code: Code, message: &str) -> Error {
    Error::new(code, message)
        .fact("data directory", data_dir.path.display())
        .fact("process", pid.process())
}

fn standalone(data_dir: &DataDir, pid: &PostmasterPid) -> Error {
    let message = "a standalone backend (postgres --single) is at work in the old data directory";
    about(data_dir, pid, Code::OldServerRunning, message).remedy(Remedy::manual("end that session"))
}

fn not_ready(data_dir: &DataDir, pid: &PostmasterPid) -> Error {
    let (message, remedy) = match pid.status.as_str() {
        "standby" => (
            "the old server is a standby",
            "upgrade the primary instead; or, where this shall become one, promote it first",
        ),
        "stopping" => (
            "the old server is being stopped",
            "wait until it has stopped, or start it again, and run the command again",
        ),
        _ => (
            "the old server is starting and does not accept sessions yet",
            "wait until it accepts sessions, and run the command again",
        ),
    };
    about(data_dir, pid, Code::OldServerNotReady, message).remedy(Remedy::manual(remedy))
}

fn unreachable(data_dir: &DataDir, pid: &PostmasterPid) -> Error {
    let message = "the old server has neither a socket in a directory nor a network address";
    about(data_dir, pid, Code::OldServerNotReady, message).remedy(Remedy::manual(
        "set unix_socket_directories to a directory and restart the server, or stop it",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::{MajorVersion, Version};
    use crate::server::Side;

    fn data_dir() -> DataDir {
        DataDir {
            path: "/srv/old".into(),
            config_dir: "/etc/old".into(),
            major: MajorVersion(15),
        }
    }

    fn reached(socket_dir: &str, listen: &str) -> Option<String> {
        let pid = PostmasterPid {
            socket_dir: socket_dir.to_owned(),
            listen: listen.to_owned(),
            ..PostmasterPid::default()
        };
        host(&data_dir(), &pid).map(|host| host.display().to_string())
    }

    #[test]
    fn a_server_is_reached_by_its_socket_before_the_network() {
        assert_eq!(reached("/run/pg", "localhost").as_deref(), Some("/run/pg"));
        assert_eq!(reached("sock", "").as_deref(), Some("/srv/old/sock"));
        assert_eq!(reached("@pg", "::").as_deref(), Some("::1"));
        assert_eq!(reached("", "*").as_deref(), Some("localhost"));
        assert_eq!(reached("", "10.0.0.7").as_deref(), Some("10.0.0.7"));
        assert_eq!(reached("", ""), None);
    }

    #[test]
    fn it_is_started_with_the_words_it_was_started_with() {
        let installation = Installation {
            side: Side::Old,
            bindir: "/bin-of-15".into(),
            version: Version::parse("postgres (PostgreSQL) 15.18").unwrap(),
        };
        let data_dir = data_dir();
        let last = |args: &[&str]| {
            let opts = PostmasterOpts {
                program: "/nonexistent/postgres".to_owned(),
                args: args.iter().map(|&arg| arg.to_owned()).collect(),
            };
            let words = start_arguments(&StartSpec {
                installation: &installation,
                data_dir: &data_dir,
                user: "postgres",
                opts: &opts,
                log: Path::new("/state/log"),
                timeout: Duration::from_secs(60),
            });
            assert!(words.contains(&"/bin-of-15/postgres".into()));
            let text = |word: &OsString| word.clone().into_string().unwrap();
            (text(&words[8]), text(&words[12]))
        };
        let pair = |directory: &str, rest: &str| (directory.to_owned(), rest.to_owned());
        assert_eq!(
            last(&["-D", "/srv/old", "-c", "cluster_name=it's"]),
            pair("/srv/old", "'-c' 'cluster_name=it'\\''s'")
        );
        assert_eq!(
            last(&["-D", "old"]),
            pair("/etc/old", "'-D' 'old' -D '/etc/old'")
        );
        assert_eq!(
            last(&["-Dold", "-F"]),
            pair("/etc/old", "'-Dold' '-F' -D '/etc/old'")
        );
        assert_eq!(last(&[]), pair("/etc/old", ""));
    }
}
