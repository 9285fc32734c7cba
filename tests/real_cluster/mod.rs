//! A throw-away cluster and its server, made with the installations of `ci/toolchain`.

// Each test uses its own part of it.
#![allow(dead_code)]

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown, geteuid};
use postgres::{Client, NoTls};
use tempfile::TempDir;

/// The programs of an installation; its absence is a failure, never a reason to pass.
pub fn toolchain(name: &str) -> PathBuf {
    let directory = std::env::var_os("PGM_TOOLCHAIN").map(PathBuf::from);
    let directory = directory.unwrap_or_else(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("ci/toolchain");
        let output = Command::new(&script).arg("--dir").output().unwrap();
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    });
    let bindir = directory.join(name).join("bin");
    assert!(bindir.is_dir(), "{name} is missing: run ci/toolchain");
    bindir
}

/// PostgreSQL does not run as root; there the servers belong to the user `ci/toolchain` makes.
fn server_user() -> Option<User> {
    geteuid()
        .is_root()
        .then(|| User::from_name("pgmtest").unwrap().unwrap())
}

/// A PostgreSQL program with a clean environment.
pub fn program(path: PathBuf, directory: &Path) -> Command {
    assert!(path.is_file(), "{} is missing", path.display());
    let mut command = Command::new(path);
    command
        .env_clear()
        .envs([("PATH", "/usr/bin:/bin"), ("LC_ALL", "C"), ("TZ", "UTC")])
        .current_dir(directory)
        .stdin(Stdio::null());
    if let Some(user) = server_user() {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command
}

/// Runs a program to its end and gives what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// A cluster in a directory of its own, removed at the end.
pub struct Cluster {
    temp: TempDir,
    bindir: PathBuf,
}

impl Cluster {
    pub fn create(installation: &str, initdb_options: &[&str]) -> Self {
        let temp = tempfile::Builder::new().prefix("pgm").tempdir().unwrap();
        if let Some(user) = server_user() {
            chown(temp.path(), Some(user.uid), Some(user.gid)).unwrap();
        }
        let bindir = toolchain(installation);
        let cluster = Self { temp, bindir };
        let mut initdb = program(cluster.bindir.join("initdb"), cluster.temp.path());
        initdb.args(["-N", "-A", "trust", "-U", "postgres"]);
        initdb
            .args(["-E", "UTF8", "--locale=C"])
            .args(initdb_options);
        run(initdb.arg("-D").arg(cluster.data()));
        cluster
    }

    pub fn directory(&self) -> &Path {
        self.temp.path()
    }

    pub fn data(&self) -> PathBuf {
        self.temp.path().join("data")
    }

    pub fn start(&self, settings: &[&str]) -> Server {
        let log = std::fs::File::create(self.temp.path().join("log")).unwrap();
        let mut postgres = program(self.bindir.join("postgres"), self.temp.path());
        postgres
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.temp.path());
        for setting in settings {
            postgres.args(["-c", setting]);
        }
        let child = postgres.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Server(child)
    }

    pub fn connect(&self) -> Client {
        let mut config = postgres::Config::new();
        config
            .host_path(self.temp.path())
            .user("postgres")
            .dbname("postgres");
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            match config.connect(NoTls) {
                Ok(client) => return client,
                Err(error) if Instant::now() > until => {
                    let log = std::fs::read_to_string(self.temp.path().join("log"));
                    panic!("{error}\n{}", log.unwrap_or_default());
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

/// A running server, stopped in fast mode at the end.
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        let _ = kill(pid, Signal::SIGINT);
        let _ = self.0.wait();
    }
}
