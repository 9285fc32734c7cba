//! How every child is started: clean environment, own process group, no way to outlive us.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::privileges;
use crate::work::Cancel;

/// What a child keeps of our environment. `LD_LIBRARY_PATH`, because an installation that was
/// built by hand may need it to start at all.
const KEPT: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
];

/// How long a child that was asked to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// How long the end of a child that was killed is waited for.
const BURIAL: Duration = Duration::from_secs(1);

/// How long a child in the background works, and how long it rests then.
const TURN: Duration = Duration::from_millis(100);

/// The least of all priorities.
const LEAST: &str = "19";

/// Whether children are started with the least priority.
static BACKGROUND: AtomicBool = AtomicBool::new(false);

/// While it lives, children are started with the least priority, and so all that they start.
///
/// A priority cannot be taken back without being root, so this process keeps its own: a server
/// it starts for the operator must not be slow for ever.
#[derive(Debug)]
pub struct Background(());

impl Background {
    /// Begins.
    pub fn begin() -> Self {
        BACKGROUND.store(true, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        BACKGROUND.store(false, Ordering::SeqCst);
    }
}

/// The program, or `nice` that becomes the program.
fn begun_by(program: &Path) -> Command {
    if !BACKGROUND.load(Ordering::SeqCst) {
        return Command::new(program);
    }
    let mut command = Command::new("nice");
    command.args(["-n", LEAST]).arg(program);
    command
}

/// A command that inherits nothing it does not need.
///
/// It works in `/`: our own directory may be closed to the user we have become, and every
/// PostgreSQL program complains about that. So paths in its arguments must be absolute.
/// Messages are in English (`LC_ALL=C`), since some of them are kept in reports.
///
/// `death` is sent to it when the THREAD that starts it ends, which the kernel takes for its
/// parent; where the kernel has no such thing the child is found as a leftover.
pub(super) fn isolated(program: &Path, death: Signal) -> Command {
    let mut command = begun_by(program);
    command
        .env_clear()
        .envs(
            KEPT.iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        )
        .env("LANG", "C")
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .process_group(0);
    if let Some(owner) = privileges::owner() {
        command
            .env("HOME", &owner.home)
            .env("USER", &owner.name)
            .env("LOGNAME", &owner.name);
    }
    die_with_parent(&mut command, death);
    command
}

#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command, death: Signal) {
    let parent = nix::unistd::getpid();
    let arrange = move || {
        nix::sys::prctl::set_pdeathsig(death)?;
        // The parent may have died before the call: then nobody would ever send the signal.
        if nix::unistd::getppid() != parent {
            return Err(nix::Error::ESRCH.into());
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; the closure makes
    // two system calls, allocates nothing and takes no lock.
    unsafe { command.pre_exec(arrange) };
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_command: &mut Command, _death: Signal) {}

/// Pauses between two looks at a child: short at first, since most children are.
pub(super) struct Pauses(Duration);

impl Pauses {
    pub(super) fn new() -> Self {
        Self(Duration::from_micros(500))
    }

    pub(super) fn pause(&mut self) {
        std::thread::sleep(self.0);
        self.0 = (self.0 * 2).min(Duration::from_millis(5));
    }
}

/// A child that, in the background, works and rests in turn.
///
/// What a restore writes comes between a busy server and its disk whatever the priority of its
/// processes: the server's commits wait in one journal with the files that are made.
#[derive(Debug)]
pub(super) struct Turns {
    resting: bool,
    since: Instant,
}

impl Turns {
    /// Turns, if children work in the background now.
    pub(super) fn in_background() -> Option<Self> {
        BACKGROUND.load(Ordering::SeqCst).then(|| Self {
            resting: false,
            since: Instant::now(),
        })
    }

    fn look(&mut self, child: &Child) {
        if self.since.elapsed() < TURN {
            return;
        }
        let signal = match self.resting {
            true => Signal::SIGCONT,
            false => Signal::SIGSTOP,
        };
        signal_group(child, signal);
        self.resting = !self.resting;
        self.since = Instant::now();
    }
}

/// How a child came to its end.
#[derive(Debug)]
pub(super) struct Ended {
    /// Nothing where it does not even end when it is killed: it waits for a disk that does not
    /// answer.
    pub(super) status: Option<ExitStatus>,
    /// Whether it was ended because its time was up.
    pub(super) late: bool,
}

/// Waits for a child; ends it, and everything it has started, when a stop is requested or its time
/// is up.
pub(super) fn wait(
    child: &mut Child,
    mut turns: Option<Turns>,
    limit: Option<Duration>,
    cancel: &Cancel,
) -> std::io::Result<Ended> {
    let mut pauses = Pauses::new();
    let begun = Instant::now();
    let mut asked: Option<Instant> = None;
    let mut late = false;
    loop {
        // Asked once more when time is up: we may have stood still, and not the child.
        let over = limit.is_some_and(|limit| begun.elapsed() >= limit);
        if let Some(status) = child.try_wait()? {
            let status = Some(status);
            return Ok(Ended { status, late });
        }
        match asked {
            None if over || cancel.requested() => {
                late = !cancel.requested();
                signal_group(child, Signal::SIGTERM);
                // Who rests hears nothing.
                signal_group(child, Signal::SIGCONT);
                asked = Some(Instant::now());
            }
            None => turns.iter_mut().for_each(|turns| turns.look(child)),
            Some(since) if since.elapsed() > GRACE + BURIAL => {
                return Ok(Ended { status: None, late });
            }
            Some(since) if since.elapsed() > GRACE => signal_group(child, Signal::SIGKILL),
            Some(_) => {}
        }
        pauses.pause();
    }
}

/// Waits for a child that has nothing to do but to answer; `None` where it has not ended in time,
/// or a stop is requested, and then it is killed with everything it has started.
///
/// `listen` is called again and again meanwhile: whoever finds a pipe full does not end.
///
/// Nothing kills a process that waits for a disk which does not answer, so it is not waited for
/// for long after that.
pub(super) fn wait_at_most(
    child: &mut Child,
    limit: Duration,
    cancel: &Cancel,
    listen: &mut dyn FnMut(),
) -> std::io::Result<Option<ExitStatus>> {
    let mut pauses = Pauses::new();
    let asked = Instant::now();
    loop {
        // Asked once more when time is up: we may have stood still, and not the child.
        let over = asked.elapsed() >= limit || cancel.requested();
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if over {
            break;
        }
        listen();
        pauses.pause();
    }
    let killed = Instant::now();
    signal_group(child, Signal::SIGKILL);
    while child.try_wait()?.is_none() && killed.elapsed() < BURIAL {
        pauses.pause();
    }
    Ok(None)
}

fn signal_group(child: &Child, signal: Signal) {
    // Gone already is as good.
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(pid), signal);
    }
}

/// An exit status as a person reads it.
pub(super) fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => code.to_string(),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn ended(child: &mut Child, turns: Option<Turns>, cancel: &Cancel) -> String {
        let ended = wait(child, turns, None, cancel).unwrap();
        assert!(!ended.late);
        describe(ended.status.unwrap())
    }

    fn sh(script: &str) -> Command {
        let mut command = isolated(Path::new("/bin/sh"), Signal::SIGKILL);
        command.args(["-c", script]).stdout(Stdio::piped());
        command
    }

    #[test]
    fn the_environment_is_clean() {
        let output = sh("env; pwd").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            text.contains("LC_ALL=C\n") && text.ends_with("/\n"),
            "{text}"
        );
        assert!(!text.contains("CARGO"), "{text}");
    }

    #[test]
    fn a_child_has_its_own_process_group() {
        let output = sh("ps -o pid=,pgid= -p $$").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let numbers: Vec<_> = text.split_whitespace().collect();
        assert_eq!(numbers.len(), 2, "{text}");
        assert_eq!(numbers[0], numbers[1]);
    }

    #[test]
    fn a_request_to_stop_ends_the_child() {
        let cancel = Cancel::new();
        let mut child = sh("sleep 60").spawn().unwrap();
        cancel.request(2);
        let started = Instant::now();
        let status = ended(&mut child, None, &cancel);
        assert_eq!(status, "killed by signal 15");
        assert!(started.elapsed() < GRACE);
    }

    /// Whoever does not hear is killed, and whatever was started meanwhile.
    #[test]
    fn a_child_whose_time_is_up_is_ended() {
        let cancel = Cancel::new();
        let limit = Some(Duration::from_millis(300));
        for (script, signal) in [("sleep 60", 15), ("trap '' TERM; sleep 60; sleep 60", 9)] {
            let mut child = sh(script).spawn().unwrap();
            let started = Instant::now();
            let ended = wait(&mut child, None, limit, &cancel).unwrap();
            assert!(ended.late);
            let status = describe(ended.status.unwrap());
            assert_eq!(status, format!("killed by signal {signal}"));
            assert!(started.elapsed() < GRACE * 2);
            // Nobody is left to hold the pipe open.
            let mut rest = String::new();
            child.stdout.unwrap().read_to_string(&mut rest).unwrap();
        }
        let mut child = sh("sleep 0.1; exit 3").spawn().unwrap();
        let ended = wait(&mut child, None, Some(GRACE), &cancel).unwrap();
        assert!(!ended.late);
        assert_eq!(describe(ended.status.unwrap()), "3");
    }

    #[test]
    fn a_child_that_rests_can_be_ended() {
        let cancel = Cancel::new();
        let mut child = sh("while :; do :; done").spawn().unwrap();
        let turns = Turns {
            resting: false,
            since: Instant::now(),
        };
        let started = Instant::now();
        let status = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(TURN * 3 / 2);
                cancel.request(2);
            });
            ended(&mut child, Some(turns), &cancel)
        });
        assert_eq!(status, "killed by signal 15");
        assert!(started.elapsed() > TURN && started.elapsed() < GRACE);
    }

    #[test]
    fn a_child_that_takes_turns_comes_to_its_end() {
        let mut child = sh("sleep 0.35; exit 3").spawn().unwrap();
        let turns = Turns {
            resting: true,
            since: Instant::now(),
        };
        assert_eq!(ended(&mut child, Some(turns), &Cancel::new()), "3");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_child_dies_with_the_thread_that_started_it() {
        let mut child = std::thread::spawn(|| sh("exec sleep 60").spawn().unwrap())
            .join()
            .unwrap();
        let status = ended(&mut child, None, &Cancel::new());
        assert_eq!(status, "killed by signal 9");
    }
}
