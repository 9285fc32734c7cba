//! How every child is started: clean environment, own process group, no way to outlive us.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
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

/// Who is ended with a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// Everything it has started.
    Group,
    /// Nobody: what it has started is not ours to end.
    ItAlone,
}

impl Ends {
    fn signal(self, child: &Child, signal: Signal) {
        match self {
            Self::Group => signal_group(child, signal),
            // Not reaped yet, so the number is its own.
            Self::ItAlone => {
                let _ = number(child).map(|pid| kill(pid, signal));
            }
        }
    }
}

/// Waits for a child; ends it, and whoever ends with it, when a stop is requested or its time is up.
pub(super) fn wait(
    child: &mut Child,
    ends: Ends,
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
        if has_ended(child)? {
            if asked.is_some() && ends == Ends::Group {
                // What it has started may not have heard, and nobody is left to tell it.
                signal_group(child, Signal::SIGKILL);
            }
            let status = Some(child.wait()?);
            return Ok(Ended { status, late });
        }
        match asked {
            None if over || cancel.requested() => {
                late = !cancel.requested();
                ends.signal(child, Signal::SIGTERM);
                // Who rests hears nothing.
                ends.signal(child, Signal::SIGCONT);
                asked = Some(Instant::now());
            }
            None => turns.iter_mut().for_each(|turns| turns.look(child)),
            Some(since) if since.elapsed() > GRACE + BURIAL => {
                return Ok(Ended { status: None, late });
            }
            Some(since) if since.elapsed() > GRACE => ends.signal(child, Signal::SIGKILL),
            Some(_) => {}
        }
        pauses.pause();
    }
}

/// Whether it has ended. It is not reaped: until then its number stays that of its group.
#[cfg(any(target_os = "linux", target_os = "freebsd"))]
fn has_ended(child: &mut Child) -> std::io::Result<bool> {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let Some(pid) = number(child) else {
        return Ok(child.try_wait()?.is_some());
    };
    let looks = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    Ok(waitid(Id::Pid(pid), looks)? != WaitStatus::StillAlive)
}

/// Whether it has ended.
#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
fn has_ended(child: &mut Child) -> std::io::Result<bool> {
    Ok(child.try_wait()?.is_some())
}

/// What a thread has read from a pipe of a child that has ended; nothing where the pipe is still held
/// by somebody who has left the child's group, and nobody wants to wait for that.
pub(super) fn read_by<T>(
    thread: JoinHandle<T>,
    ended: &Ended,
    cancel: &Cancel,
) -> Option<std::thread::Result<T>> {
    let mut pauses = Pauses::new();
    let mut since = Instant::now();
    while !thread.is_finished() {
        if !ended.late && !cancel.requested() {
            since = Instant::now();
        }
        if since.elapsed() > BURIAL {
            return None;
        }
        pauses.pause();
    }
    Some(thread.join())
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
    let _ = number(child).map(|pid| killpg(pid, signal));
}

fn number(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().map(Pid::from_raw)
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
    use std::io::{BufRead, BufReader, Read};

    use super::*;

    /// Shorter than any child of a test lives by itself.
    const LONG: Duration = Duration::from_secs(45);

    fn ended(child: &mut Child, turns: Option<Turns>, cancel: &Cancel) -> String {
        let ended = wait(child, Ends::Group, turns, None, cancel).unwrap();
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
        assert!(started.elapsed() < LONG);
    }

    /// Whoever does not hear is killed, and whatever was started meanwhile.
    #[test]
    fn a_child_whose_time_is_up_is_ended() {
        let deaf = "trap '' TERM; echo begun; sleep 60; sleep 60";
        for (script, signal) in [("echo begun; sleep 60", 15), (deaf, 9)] {
            let started = Instant::now();
            let (ended, _, rest) = heard(sh(script), Ends::Group);
            let status = describe(ended.status.unwrap());
            assert_eq!(status, format!("killed by signal {signal}"));
            assert!(started.elapsed() < LONG);
            // Nobody is left to hold the pipe open.
            assert_eq!(rest.unwrap().unwrap(), "");
        }
        let mut child = sh("sleep 0.1; exit 3").spawn().unwrap();
        let ended = wait(&mut child, Ends::Group, None, Some(LONG), &Cancel::new()).unwrap();
        assert!(!ended.late);
        assert_eq!(describe(ended.status.unwrap()), "3");
    }

    /// The child hears, and what it has started does not.
    #[test]
    fn nobody_of_the_group_outlives_a_child_that_was_ended() {
        let deaf = "(trap '' TERM; echo deaf; sleep 20; sleep 20) & wait";
        let (ended, _, rest) = heard(sh(deaf), Ends::Group);
        assert_eq!(describe(ended.status.unwrap()), "killed by signal 15");
        // The pipe is closed: the deaf one has ended, too.
        assert_eq!(rest.unwrap().unwrap(), "");
    }

    /// So may a server that somebody relies on.
    #[test]
    fn a_child_can_be_ended_alone() {
        let (ended, heard, rest) = heard(sh("sleep 60 & echo $!; wait"), Ends::ItAlone);
        assert_eq!(describe(ended.status.unwrap()), "killed by signal 15");
        assert!(rest.is_none(), "whoever holds the pipe has ended");
        kill(
            Pid::from_raw(heard.trim().parse().unwrap()),
            Signal::SIGKILL,
        )
        .unwrap();
    }

    /// Ends a child that has said something; gives that, and what else was read if the pipe was closed.
    fn heard(
        mut command: Command,
        ends: Ends,
    ) -> (Ended, String, Option<std::thread::Result<String>>) {
        let mut child = command.spawn().unwrap();
        let mut pipe = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        pipe.read_line(&mut said).unwrap();
        let reader = std::thread::spawn(move || {
            let mut rest = String::new();
            pipe.read_to_string(&mut rest).unwrap();
            rest
        });
        let cancel = Cancel::new();
        let ended = wait(&mut child, ends, None, Some(Duration::ZERO), &cancel).unwrap();
        assert!(ended.late);
        let rest = read_by(reader, &ended, &cancel);
        (ended, said, rest)
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
        assert!(started.elapsed() > TURN && started.elapsed() < LONG);
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
