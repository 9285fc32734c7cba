//! What tests with real servers share: the installations, the user who may run servers, and
//! fresh clusters.

// Every test crate uses its own part of this.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

pub mod application;
pub mod case;
pub mod counters;
pub mod lint;
pub mod mount;
pub mod page;
pub mod private;
pub mod shop;
pub mod stock;
pub mod tree;
pub mod trip;

use std::collections::hash_map::DefaultHasher;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use pg_migrator::pg::DataDir;
use tempfile::TempDir;

/// The user servers run as where the tests are started by root.
pub const SERVER_USER: &str = "pgmtest";

const PROGRAM: &str = "PGM_TEST_PROGRAM";
/// Names the directory in which templates are kept, where that is not the one for temporary files.
const SHELF: &str = "PGM_TEST_SHELF";

/// Where `ci/toolchain` has put the installations.
pub fn toolchain() -> PathBuf {
    let dir = match std::env::var_os("PGM_TOOLCHAIN") {
        Some(dir) => PathBuf::from(dir),
        None if nix::unistd::geteuid().is_root() => {
            PathBuf::from("/var/cache/pg_migrator/toolchain")
        }
        None => std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
            .expect("HOME is set")
            .join("pg_migrator/toolchain"),
    };
    assert!(
        dir.is_dir(),
        "there is no toolchain in {}: run ci/toolchain",
        dir.display()
    );
    dir
}

/// The directory with the programs of an installation, such as `old-10`.
pub fn bindir(installation: &str) -> PathBuf {
    let dir = toolchain().join(installation).join("bin");
    assert!(
        dir.is_dir(),
        "the toolchain has no {installation}: run ci/toolchain {installation}"
    );
    dir
}

/// The program under test, where the server user can reach it.
pub fn program() -> PathBuf {
    std::env::var_os(PROGRAM).map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_pg_migrator")),
        PathBuf::from,
    )
}

/// Runs the body of a test as a user who may run servers.
///
/// `test` is the name of the test as the harness knows it. Root runs this one test again, as
/// another user and from a directory that user can reach, and demands that it passed.
pub fn as_server_user(test: &str, body: impl FnOnce()) {
    if !nix::unistd::geteuid().is_root() {
        return body();
    }
    let output = run_again(
        test,
        &[
            "--reuid",
            SERVER_USER,
            "--regid",
            SERVER_USER,
            "--clear-groups",
        ],
        &[],
    );
    demand_passed(test, &output);
    show_told(&output);
}

/// Shows what a test that was run again wants to be shown.
pub fn show_told(output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout);
    for line in said.lines() {
        if TOLD.iter().any(|word| line.contains(word)) {
            say(line);
        }
    }
}

/// In lines that are shown also where the test passes.
const TOLD: [&str; 3] = ["SKIPPED", "TRIED", "TOOK"];

/// Says something that the harness does not swallow where the test passes.
pub fn say(line: &str) {
    let line = format!("{line}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

/// Runs one test of this executable again, through `setpriv` with these options.
pub fn run_again(test: &str, setpriv: &[&str], environment: &[(&str, &str)]) -> Output {
    let place = tempfile::Builder::new()
        .prefix("pgm-test-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir()
        .unwrap();
    let ourselves = place.path().join("test");
    let program_copy = place.path().join("pg_migrator");
    link_or_copy(&std::env::current_exe().unwrap(), &ourselves);
    link_or_copy(&program(), &program_copy);
    Command::new("setpriv")
        .args(setpriv)
        .arg(&ourselves)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("PGM_TOOLCHAIN", toolchain())
        .env(PROGRAM, &program_copy)
        .envs(environment.iter().copied())
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .expect("setpriv runs")
}

/// Demands that exactly this test was run and passed: with a wrong name none would be.
pub fn demand_passed(test: &str, output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{test} as another user ({}):\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

fn link_or_copy(from: &Path, to: &Path) {
    if fs::hard_link(from, to).is_err() {
        copy_program(from, to);
    }
}

/// Copies a program.
///
/// What this process has open for writing cannot be executed, and a child that another test forks at
/// that moment holds it open: another process writes it.
pub fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-p").args([from, to]).status();
    assert!(copied.unwrap().success(), "{}", from.display());
}

/// Makes a program of this text, as [`copy_program`] does.
pub fn write_program(path: &Path, text: &str) {
    let draft = path.with_extension("draft");
    fs::write(&draft, text).unwrap();
    fs::set_permissions(&draft, Permissions::from_mode(0o755)).unwrap();
    copy_program(&draft, path);
    fs::remove_file(&draft).unwrap();
}

/// A cluster in a directory of its own, which goes away with the value.
#[derive(Debug)]
pub struct Cluster {
    /// Its programs.
    pub bindir: PathBuf,
    /// Its data directory.
    pub data: PathBuf,
    scratch: TempDir,
}

/// A cluster as initdb makes it, with UTF8 and C.UTF-8, of user `postgres`.
///
/// It is a copy of a template that is kept, so all clusters made with the same installation
/// and options have the same system identifier; see [`unique_cluster`].
pub fn cluster(installation: &str, initdb_options: &[&str]) -> Cluster {
    let template = template(installation, initdb_options);
    let cluster = place_for(installation);
    let status = Command::new("cp")
        .args(["-a", "--reflink=auto"])
        .args([&template, &cluster.data])
        .status()
        .unwrap();
    assert!(status.success(), "cp -a {}", template.display());
    cluster
}

/// A cluster with a system identifier of its own.
pub fn unique_cluster(installation: &str, initdb_options: &[&str]) -> Cluster {
    let cluster = place_for(installation);
    initdb(&cluster.bindir, &cluster.data, initdb_options);
    cluster
}

fn place_for(installation: &str) -> Cluster {
    place(&bindir(installation))
}

/// A place for a cluster of this installation, with nothing in it.
pub fn place(bindir: &Path) -> Cluster {
    let scratch = tempfile::Builder::new().prefix("pgm-").tempdir().unwrap();
    Cluster {
        bindir: bindir.to_owned(),
        data: scratch.path().join("data"),
        scratch,
    }
}

/// A template, made at most once for each installation and set of options.
fn template(installation: &str, options: &[&str]) -> PathBuf {
    let finished = shelf().join(format!(
        "{installation}-{:016x}",
        mark(installation, options)
    ));
    if !finished.is_dir() {
        let draft = tempfile::tempdir_in(shelf()).unwrap();
        let data = draft.path().join("data");
        initdb(&bindir(installation), &data, options);
        // Another test may have been faster; its template is as good.
        if let Err(error) = fs::rename(&data, &finished) {
            assert!(finished.is_dir(), "{error}");
        }
    }
    finished
}

/// Where templates are kept.
fn shelf() -> PathBuf {
    let dir = std::env::var_os(SHELF).map_or_else(std::env::temp_dir, PathBuf::from);
    let shelf = dir.join(format!("pgm-templates-{}", nix::unistd::geteuid()));
    let made = fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(&shelf);
    made.unwrap();
    let owner = fs::symlink_metadata(&shelf).unwrap().uid();
    assert_eq!(
        owner,
        nix::unistd::geteuid().as_raw(),
        "{}",
        shelf.display()
    );
    shelf
}

/// Tells templates apart: by what they are made from, and by the build of the installation.
fn mark(installation: &str, made_from: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new();
    made_from.hash(&mut hasher);
    fs::read(toolchain().join(installation).join("stamp"))
        .unwrap_or_default()
        .hash(&mut hasher);
    hasher.finish()
}

/// How initdb makes the clusters of tests.
pub const INITDB: [&str; 8] = [
    "-U",
    "postgres",
    "-A",
    "trust",
    "-N",
    "-E",
    "UTF8",
    "--locale=C.UTF-8",
];

fn initdb(bindir: &Path, data: &Path, options: &[&str]) {
    let output = Command::new(bindir.join("initdb"))
        .arg("-D")
        .arg(data)
        .args(INITDB)
        .args(options)
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "initdb: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

impl Cluster {
    /// A directory beside the data directory, for a test's own files.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The data directory as the program under test sees it.
    pub fn datadir(&self) -> DataDir {
        DataDir::resolve(&self.data).unwrap()
    }

    /// Adds lines to postgresql.conf.
    pub fn configure(&self, lines: &str) {
        let file = self.data.join("postgresql.conf");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{text}\n{lines}\n")).unwrap();
    }

    /// Starts its server, as its operator would, on a socket in the scratch directory.
    pub fn start(&self) -> Running<'_> {
        self.start_with(&[])
    }

    /// The same with more settings, `name=value` each.
    pub fn start_with(&self, settings: &[&str]) -> Running<'_> {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.scratch().join("server.log"))
            .unwrap();
        let mut sockets = std::ffi::OsString::from("unix_socket_directories=");
        sockets.push(self.scratch());
        // The server ends with the thread of the test, whatever becomes of that.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "INT"])
            .arg(self.bindir.join("postgres"))
            .arg("-D")
            .arg(&self.data)
            .args([
                "-c",
                "listen_addresses=",
                "-c",
                "fsync=off",
                "-c",
                "port=5432",
                "-c",
            ])
            .arg(sockets)
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut running = Running {
            cluster: self,
            child: Some(child),
        };
        running.wait();
        running
    }

    /// What its server has said so far.
    pub fn server_log(&self) -> String {
        fs::read_to_string(self.scratch().join("server.log")).unwrap_or_default()
    }
}

/// Makes a library of this C.
pub fn compile(source: &str, library: &Path, options: &[&OsStr]) {
    let file = library.with_extension("c");
    fs::write(&file, source).unwrap();
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1"])
        .args(options)
        .arg("-o")
        .args([library, &file])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// Waits until something is so.
#[track_caller]
pub fn until(mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < trip::LIMIT, "it never came to that");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until a lock of somebody keeps somebody else waiting.
#[track_caller]
pub fn until_a_lock_is_waited_for(session: &mut postgres::Client) {
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    until(|| session.query_one(waiting, &[]).unwrap().get::<_, i64>(0) > 0);
}

/// Processes at work in a directory or below it.
pub fn processes_in(dir: &Path) -> Vec<i32> {
    let processes = fs::read_dir("/proc").unwrap();
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(dir))
        })
        .collect()
}

/// A server that is stopped in fast mode with the value.
#[derive(Debug)]
pub struct Running<'a> {
    cluster: &'a Cluster,
    child: Option<Child>,
}

impl Running<'_> {
    fn wait(&mut self) {
        let started = Instant::now();
        while self.try_connect("template1").is_err() {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(
                ended.is_none() && started.elapsed() < Duration::from_secs(60),
                "no server: {}",
                self.cluster.server_log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn try_connect(&self, database: &str) -> Result<postgres::Client, postgres::Error> {
        postgres::Config::new()
            .host_path(self.cluster.scratch())
            .port(5432)
            .user("postgres")
            .dbname(database)
            .notice_callback(|_| {})
            .connect(postgres::NoTls)
    }

    /// A session of user `postgres`.
    pub fn connect(&self, database: &str) -> postgres::Client {
        self.try_connect(database).unwrap()
    }

    /// Runs statements in a database.
    pub fn sql(&self, database: &str, statements: &str) {
        let done = self.connect(database).batch_execute(statements);
        done.unwrap_or_else(|error| panic!("{statements}: {:?}", error.as_db_error()));
    }

    /// Demands that no session of this name is there; one ends a moment after its client.
    #[track_caller]
    pub fn demand_left_by(&self, application: &str) {
        let mut client = self.connect("postgres");
        let theirs = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
        until(|| {
            let left = client.query_one(theirs, &[&application]).unwrap();
            left.get::<_, i64>(0) == 0
        });
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.as_ref().unwrap().id()).unwrap()
    }

    /// Stops it and demands that it ends well.
    pub fn stop(mut self) {
        let status = self.end().unwrap();
        assert!(status.success(), "{status}: {}", self.cluster.server_log());
    }

    /// Kills it alone: its processes end when they notice, the busy ones later.
    pub fn crash_alone(mut self) {
        let pid = nix::unistd::Pid::from_raw(self.pid());
        // SIGQUIT would let every process say goodbye; the children notice the death by themselves.
        nix::sys::signal::kill(pid, nix::sys::signal::SIGKILL).unwrap();
        self.child.take().unwrap().wait().unwrap();
    }

    /// Kills it as a power cut would, together with all its processes.
    pub fn crash(self) {
        let data = self.cluster.data.clone();
        self.crash_alone();
        let killed = Instant::now();
        while !processes_in(&data).is_empty() {
            assert!(
                killed.elapsed() < Duration::from_secs(60),
                "children outlive their server"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn end(&mut self) -> Option<std::process::ExitStatus> {
        let mut child = self.child.take()?;
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::SIGINT);
        child.wait().ok()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.end();
    }
}
