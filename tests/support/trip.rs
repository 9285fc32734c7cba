//! One migration on the command line: its places, the program, and what it said.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use serde_json::Value;

use super::{Cluster, bindir, program, until};

/// Longer than any step of these tests takes.
pub const LIMIT: Duration = Duration::from_secs(120);

/// How often a moment is tried to be met that may be over before a signal comes.
pub const ATTEMPTS: usize = 20;

const JOURNAL: &str = "journal.jsonl";

/// A migration of one old cluster into one new data directory.
#[derive(Debug)]
pub struct Trip {
    /// Old's programs.
    pub old_bindir: PathBuf,
    /// New's programs.
    pub new_bindir: PathBuf,
    /// Old's data directory.
    pub old: PathBuf,
    /// New's data directory.
    pub new: PathBuf,
    /// `link`, `copy` and so on.
    pub mode: String,
    /// The install user.
    pub user: String,
}

/// What a command of the program left behind.
#[derive(Debug)]
pub struct Ran {
    /// The exit status, or minus the signal it died of.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

/// A command that is still running.
#[derive(Debug)]
pub struct Underway {
    child: Option<Child>,
    state: PathBuf,
    before: Vec<Value>,
}

impl Trip {
    /// From this cluster to a data directory beside it.
    pub fn new(old: &Cluster, new_installation: &str, mode: &str) -> Self {
        Self {
            old_bindir: old.bindir.clone(),
            new_bindir: bindir(new_installation),
            old: old.data.clone(),
            new: old.scratch().join("new"),
            mode: mode.to_owned(),
            user: "postgres".to_owned(),
        }
    }

    /// Gives new a directory of programs in which one is a script instead.
    pub fn replace_program(&mut self, place: &Path, name: &str, script: &str) {
        self.new_bindir = with_another(&self.new_bindir, place, name, script);
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        let mut path = self.new.clone().into_os_string();
        path.push(".migration");
        path.into()
    }

    /// A command on a migration that was begun.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = bare(words);
        command.arg("-D").arg(&self.new);
        if self.trace().exists() {
            command.env("PGM_TRACE", self.trace());
        }
        command
    }

    /// What commands do to files, from [`Self::begin_trace`] on; only a program with crash points
    /// tells.
    pub fn trace(&self) -> PathBuf {
        self.new.with_extension("trace")
    }

    /// Begins a trace, or another one.
    pub fn begin_trace(&self) {
        fs::write(self.trace(), "").unwrap();
    }

    /// A command that begins a migration.
    pub fn first_command(&self, words: &[&str]) -> Command {
        let mut command = self.command(words);
        command
            .args(match self.mode.as_str() {
                "auto" => vec!["--mode".to_owned(), "auto".to_owned()],
                mode => vec![format!("--{mode}")],
            })
            .args(["-U", &self.user, "-j", "2", "-b"])
            .arg(&self.old_bindir)
            .arg("-B")
            .arg(&self.new_bindir)
            .arg("-d")
            .arg(&self.old);
        command
    }

    /// The same with a piece of shell, where `$real` is the program itself.
    pub fn script(&mut self, program: &str, text: &str) {
        let place = self.new.with_extension(format!("with-{program}"));
        self.new_bindir = scripted(&self.new_bindir, &place, program, text);
    }

    /// The same for old.
    pub fn script_of_old(&mut self, program: &str, text: &str) {
        let place = self.old.with_extension(format!("with-{program}"));
        self.old_bindir = scripted(&self.old_bindir, &place, program, text);
    }

    /// Runs `rollback`, `status` and the like to the end.
    pub fn run(&self, words: &[&str]) -> Ran {
        finish(self.command(words))
    }

    /// Runs `check`, `prepare` or `upgrade` to the end.
    pub fn run_first(&self, words: &[&str]) -> Ran {
        finish(self.first_command(words))
    }

    /// What one check says to somebody who knows nothing of this migration.
    pub fn check_without_new(&self, check: &str) -> String {
        let mut command = bare(&["check", "--only", check, "-U", &self.user, "-b"]);
        command
            .arg(&self.old_bindir)
            .arg("-B")
            .arg(&self.new_bindir);
        command.arg("-d").arg(&self.old);
        let ran = finish(command);
        ran.demand(0);
        ran.stdout
    }

    /// Prepares, which must succeed.
    pub fn prepare(&self) {
        self.run_first(&["prepare"]).demand(0);
    }

    /// Cuts over, which must succeed.
    pub fn cutover(&self) {
        self.run(&["cutover"]).demand(0);
    }

    /// Rolls back, which must succeed.
    pub fn rollback(&self) {
        self.run(&["rollback"]).demand(0);
    }

    /// Rolls back and prepares again.
    pub fn prepare_anew(&self) {
        self.rollback();
        self.prepare();
    }

    /// Starts a command that is to be interrupted.
    pub fn begin(&self, mut command: Command) -> Underway {
        let before = self.journal();
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Underway {
            child: Some(child),
            state: self.state(),
            before,
        }
    }

    /// A command that stands still behind a line of the journal, and before the next thing is
    /// done, as long as that is wanted; what was quicker is undone, and begun again.
    pub fn frozen(
        &self,
        moment: (&str, &str),
        mut begin: impl FnMut() -> Command,
        mut undo: impl FnMut(),
    ) -> Underway {
        for _ in 0..ATTEMPTS {
            if let Some(underway) = self.freezes(moment, begin()) {
                return underway;
            }
            undo();
        }
        panic!("what follows {moment:?} is always over before a signal comes");
    }

    /// The same of a first prepare.
    pub fn frozen_prepare(&self, kind: &str, step: &str) -> Underway {
        let prepare = || self.first_command(&["prepare"]);
        self.frozen((kind, step), prepare, || self.rollback())
    }

    /// The same of a cutover.
    pub fn frozen_cutover(&self, kind: &str, step: &str) -> Underway {
        self.frozen_cutover_with(&[], (kind, step))
    }

    /// The same of one with more words.
    pub fn frozen_cutover_with(&self, words: &[&str], moment: (&str, &str)) -> Underway {
        let cutover = || self.command(&[&["cutover"], words].concat());
        self.frozen(moment, cutover, || self.prepare_anew())
    }

    /// The same, tried once: nothing, and a command that has ended well, where it was quicker than
    /// the signal.
    pub fn freezes(&self, moment: (&str, &str), command: Command) -> Option<Underway> {
        let mut underway = self.begin(command);
        assert!(underway.reaches(moment.0, moment.1), "{moment:?}");
        if !underway.stops() {
            underway.wait().demand(0);
            return None;
        }
        if underway.is_at(moment) {
            return Some(underway);
        }
        underway.go_on().demand(0);
        None
    }

    /// A command that stands still the first time it comes to this point of this step; only a
    /// program with crash points does.
    pub fn stands_still(&self, mut command: Command, point: &str) -> Underway {
        command.env("PGM_FAULT_STOP", point);
        let underway = self.begin(command);
        if underway.stands() {
            return underway;
        }
        panic!("never at {point}: {:?}", underway.wait());
    }

    /// The standing, as `status --json` gives it.
    pub fn demand_standing(&self, clause: &str) {
        let ran = self.run(&["status"]);
        ran.demand(0);
        assert!(
            ran.stdout.contains(clause),
            "no \"{clause}\" in:\n{}",
            ran.stdout
        );
    }

    /// The lines of the journal.
    pub fn journal(&self) -> Vec<Value> {
        lines(&self.state().join(JOURNAL))
    }

    /// Where in new the first file lies that the list of moves has.
    pub fn a_file_that_was_swapped(&self) -> PathBuf {
        let list = fs::read(self.state().join("swap.json")).unwrap();
        let list: Value = serde_json::from_slice(&list).unwrap();
        let folder = &list["folders"][0];
        let path = |value: &Value| PathBuf::from(value.as_str().unwrap());
        let dir = path(&folder["new_root"]).join(path(&folder["new_dir"]));
        dir.join(path(&folder["files"][0][1]))
    }

    /// The events that were kept.
    pub fn events(&self) -> Vec<Value> {
        lines(&self.state().join("events.jsonl"))
    }

    /// Whether new's own pg_ctl can start it; if it can, it is stopped again.
    pub fn new_starts(&self) -> Output {
        starts(&self.new_bindir, &self.new)
    }

    /// Whether old's own pg_ctl can start it; if it can, it is stopped again.
    pub fn old_starts(&self) -> Output {
        starts(&self.old_bindir, &self.old)
    }

    /// New has checksums, and every page bears its own: so say both programs.
    pub fn demand_checksums(&self) {
        let mut theirs = Command::new(self.new_bindir.join("pg_checksums"));
        let theirs = theirs.args(["--check", "-D"]).arg(&self.new);
        let output = theirs.env("LC_ALL", "C").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("Bad checksums:  0"), "{said}");
        assert!(said.contains("Data checksum version: 1"), "{said}");
        self.run(&["verify", "--checksums"]).demand(0);
    }

    /// The new cluster, to be used as any other, with access for everybody.
    pub fn new_cluster(&self) -> Cluster {
        let hba = self.new.join("pg_hba.conf");
        fs::write(hba, "local all all trust\n").unwrap();
        let mut cluster = super::place(&self.new_bindir);
        cluster.data.clone_from(&self.new);
        cluster
    }
}

/// A command with nothing but these words.
pub fn bare(words: &[&str]) -> Command {
    let mut command = Command::new(program());
    command
        .args(words)
        .current_dir("/")
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    for name in [
        "PGUSER",
        "PGDATAOLD",
        "PGDATANEW",
        "PGBINOLD",
        "PGBINNEW",
        "PGSOCKETDIR",
    ] {
        command.env_remove(name);
    }
    command
}

/// Runs a command of the program to its end.
pub fn finish(mut command: Command) -> Ran {
    Ran::from(command.output().unwrap())
}

fn starts(bindir: &Path, data: &Path) -> Output {
    let pg_ctl = |words: &[&str]| {
        Command::new(bindir.join("pg_ctl"))
            .args(words)
            .args(["-w", "-t", "60", "-D"])
            .arg(data)
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let sockets = data.parent().unwrap().display();
    let options = format!("-c listen_addresses= -c unix_socket_directories='{sockets}'");
    let log = data.parent().unwrap().join("pg_ctl.log");
    let started = pg_ctl(&["start", "-l", log.to_str().unwrap(), "-o", &options]);
    if started.status.success() {
        let stopped = pg_ctl(&["stop", "-m", "fast"]);
        assert!(stopped.status.success(), "{stopped:?}");
    }
    started
}

fn is(line: &Value, (kind, what): (&str, &str)) -> bool {
    let record = &line["record"];
    record["kind"] == kind && (record["step"] == what || record["milestone"] == what)
}

/// At some milestones a prepare that repairs only turns.
fn tells_of_an_end(record: &Value) -> bool {
    match record["kind"].as_str() {
        Some("step_done" | "undo_done") => true,
        Some("reached") => !["anew", "reopened"].contains(&record["milestone"].as_str().unwrap()),
        _ => false,
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    // A line that is being written is not there yet.
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let signal = || -output.status.signal().unwrap_or_default();
        Self {
            code: output.status.code().unwrap_or_else(signal),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// Demands an exit status.
    pub fn demand(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Demands an exit status and an error with this code, and that all of this is said.
    ///
    /// Where several things are wrong, each is a finding on standard output.
    pub fn refused(&self, code: i32, error: &str, said: &[&str]) -> &Self {
        self.demand(code);
        let all = format!("{}{}", self.stderr, self.stdout);
        let head = format!("error[{error}]: ");
        assert!(self.stderr.contains(&head), "no {head:?} in:\n{all}");
        for text in said {
            assert!(all.contains(text), "no {text:?} in:\n{all}");
        }
        self
    }
}

impl Underway {
    /// Waits until the journal has a line of this kind about this step or milestone, written by
    /// this run.
    ///
    /// `false` if the command ended before.
    pub fn reaches(&mut self, kind: &str, what: &str) -> bool {
        let started = Instant::now();
        loop {
            let ended = self.ended();
            if self.has_written(kind, what) {
                return true;
            }
            if ended {
                return false;
            }
            assert!(started.elapsed() < LIMIT, "the journal does not say so");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Whether the journal has such a line now.
    pub fn has_written(&self, kind: &str, what: &str) -> bool {
        self.written().iter().any(|line| is(line, (kind, what)))
    }

    /// Whether nothing was done since it wrote that line.
    fn is_at(&self, moment: (&str, &str)) -> bool {
        let written = self.written();
        let mut since = written.iter().skip_while(|line| !is(line, moment));
        // The journal of a migration that is over is removed.
        since.next().is_some() && !since.any(|line| tells_of_an_end(&line["record"]))
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// What it has written; a new migration begins a new journal.
    fn written(&self) -> Vec<Value> {
        let mut lines = lines(&self.state.join(JOURNAL));
        if lines.first() == self.before.first() {
            lines.drain(..self.before.len().min(lines.len()));
        }
        lines
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        let id = self.child.as_ref().unwrap().id();
        Pid::from_raw(i32::try_from(id).unwrap())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Stops it; whether it had not ended before.
    fn stops(&mut self) -> bool {
        if self.ended() {
            return false;
        }
        self.signal(Signal::SIGSTOP);
        self.stands()
    }

    /// Waits until none of its threads runs any more, as one that waits for a disk does until that
    /// has answered; `false` if it ends instead.
    fn stands(&self) -> bool {
        // Whoever waits for the end shall still see it.
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        let state = || waitid(Id::Pid(self.pid()), flags | WaitPidFlag::WNOHANG).unwrap();
        until(|| state() != WaitStatus::StillAlive);
        matches!(state(), WaitStatus::Stopped(..))
    }

    /// Lets one that stands still go on, and waits for its end.
    pub fn go_on(self) -> Ran {
        self.signal(Signal::SIGCONT);
        self.wait()
    }

    /// The same with a signal that it finds as soon as it goes on.
    pub fn go_on_with(self, signal: Signal) -> Ran {
        self.signal(signal);
        self.go_on()
    }

    /// Kills it, as a power cut would; it must not have ended before.
    pub fn kill(self) {
        assert!(self.dies(), "it had ended before it was killed");
    }

    /// The same for what may be quicker; whether it came before the end.
    pub fn dies(mut self) -> bool {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        let status = child.wait().unwrap();
        status.signal() == Some(Signal::SIGKILL as i32)
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ran {
        Ran::from(self.child.take().unwrap().wait_with_output().unwrap())
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn scripted(bindir: &Path, place: &Path, program: &str, text: &str) -> PathBuf {
    fs::create_dir(place).unwrap();
    let real = bindir.join(program);
    let text = format!("#!/bin/sh\nreal='{}'\n{text}\n", real.display());
    with_another(bindir, place, program, &text)
}

/// A directory of these programs in which one is a script instead.
fn with_another(bindir: &Path, place: &Path, name: &str, script: &str) -> PathBuf {
    let other = place.join("bin");
    fs::create_dir(&other).unwrap();
    for entry in fs::read_dir(bindir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != name {
            symlink(entry.path(), other.join(entry.file_name())).unwrap();
        }
    }
    super::write_program(&other.join(name), script);
    other
}
