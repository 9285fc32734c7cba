//! A cutover from a server that is in use.
//!
//! The command that holds a pooler runs between the last reading and the stop: what a test wants
//! to happen there happens while that command waits.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::trip::{Ran, Trip};
use super::{Cluster, Running, cluster, until};

/// With these a server does nothing of its own accord.
pub const QUIET: &[&str] = &["autovacuum=off", "max_prepared_transactions=5"];

/// How many items there are.
pub const COUNT: &str = "SELECT count(*) || ' ' || max(id) FROM item";

/// An old cluster with a shop in it, and the way from it.
#[derive(Debug)]
pub struct Shop {
    /// Old.
    pub old: Cluster,
    /// The way from it.
    pub trip: Trip,
}

impl Shop {
    /// An empty one.
    pub fn new(old: &str, new: &str, mode: &str) -> Self {
        Self::with(old, &[], new, mode)
    }

    /// The same, of a cluster that initdb makes with these options.
    pub fn with(old: &str, options: &[&str], new: &str, mode: &str) -> Self {
        let old = cluster(old, options);
        let trip = Trip::new(&old, new, mode);
        Self { old, trip }
    }

    /// In use, with contents, and prepared.
    pub fn prepared(&self) -> Running<'_> {
        self.prepared_with(QUIET)
    }

    /// The same with other settings.
    pub fn prepared_with(&self, settings: &[&str]) -> Running<'_> {
        let server = self.serving_with(settings);
        self.trip.prepare();
        server
    }

    /// In use, with contents.
    pub fn serving_with(&self, settings: &[&str]) -> Running<'_> {
        let server = self.old.start_with(settings);
        server.sql("postgres", "CREATE DATABASE shop");
        server.sql(
            "shop",
            "CREATE TABLE item (id serial PRIMARY KEY, name text); \
             CREATE TABLE sold (item int, at timestamptz DEFAULT now()); \
             INSERT INTO item (name) SELECT 'item ' || n FROM generate_series(1, 1000) n;",
        );
        server
    }

    /// New takes everybody.
    pub fn let_everybody_in(&self) {
        fs::write(self.trip.new.join("pg_hba.conf"), "local all all trust\n").unwrap();
    }

    /// A file tests and commands talk by.
    pub fn flag(&self, name: &str) -> PathBuf {
        self.old.scratch().join(name)
    }

    /// A cutover that waits for `act` between the last reading and the stop.
    pub fn cutover_around(&self, words: &[&str], act: impl FnOnce()) -> Ran {
        let (reached, go_on) = (self.flag("reached"), self.flag("go-on"));
        for flag in [&reached, &go_on] {
            let _ = fs::remove_file(flag);
        }
        let pause = format!(
            "touch {}; while [ ! -e {} ]; do sleep 0.02; done",
            reached.display(),
            go_on.display()
        );
        let mut command = self.trip.command(&["cutover"]);
        command.args(words).args(["--pause-command", &pause]);
        let running = self.trip.begin(command);
        wait_for(&reached);
        act();
        fs::write(&go_on, "").unwrap();
        running.wait()
    }

    /// The first value a query gives in new, which must be stopped.
    pub fn in_new(&self, sql: &str) -> String {
        let new = self.trip.new_cluster();
        let server = new.start();
        let value = one(&mut server.connect("shop"), sql);
        server.stop();
        value
    }

    /// A session with the server on old's socket.
    pub fn session(&self) -> postgres::Client {
        postgres::Config::new()
            .host_path(self.old.scratch())
            .port(5432)
            .user("postgres")
            .dbname("shop")
            .connect(postgres::NoTls)
            .unwrap()
    }

    /// The first value a query gives in old, which must be serving.
    pub fn in_old(&self, sql: &str) -> String {
        one(&mut self.session(), sql)
    }

    /// The process of the server in old.
    pub fn process(&self) -> String {
        let file = fs::read_to_string(self.trip.old.join("postmaster.pid")).unwrap();
        file.lines().next().unwrap().to_owned()
    }

    /// Whether old was ever started privately.
    pub fn started_privately(&self) -> bool {
        self.trip.state().join("logs/old-server.log").exists()
    }

    /// The last event of the last run.
    pub fn end(&self) -> Value {
        self.trip.events().pop().unwrap()
    }

    /// What a step of the last run that did it said.
    pub fn said(&self, step: &str) -> String {
        let events = self.trip.events();
        let finished = events
            .iter()
            .rfind(|event| event["event"] == "step_finished" && event["step"] == step);
        finished.unwrap()["detail"].as_str().unwrap().to_owned()
    }
}

/// Servers that outlive the program under test.
impl Drop for Shop {
    fn drop(&mut self) {
        for (bindir, data) in [
            (&self.trip.old_bindir, &self.trip.old),
            (&self.trip.new_bindir, &self.trip.new),
        ] {
            pg_ctl(bindir, data, &["stop", "-m", "immediate"]);
        }
    }
}

fn pg_ctl(bindir: &Path, data: &Path, words: &[&str]) {
    let _ = Command::new(bindir.join("pg_ctl"))
        .args(words)
        .arg("-D")
        .arg(data)
        .output();
}

/// Waits until there is such a file.
#[track_caller]
pub fn wait_for(flag: &Path) {
    until(|| flag.exists());
}

/// The first value a query gives.
pub fn one(session: &mut postgres::Client, sql: &str) -> String {
    let rows = session.simple_query(sql).unwrap();
    rows.iter()
        .find_map(|message| match message {
            postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .unwrap()
}
