//! One old cluster with an example of every check that applies to it: one run of `check` finds
//! them all, and what it prints as SQL mends what can be mended so.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pg_migrator::checks::{self, Check, Example, Scope, Statement};
use pg_migrator::pg::MajorVersion;
use serde_json::Value;
use support::trip::{Ran, Trip};
use support::{Cluster, Running, as_server_user, cluster};

/// What examples call the database they are in.
const EXAMPLE: &str = "example";

/// That, a role, a tablespace, and a folder they make, which get a number here.
const OWN_NAMES: [&str; 4] = [EXAMPLE, "Bob", "Inner", "inner_space"];

/// Checks that have no place in such a cluster, and why.
const APART: [(&str, &str); 3] = [
    (
        "older-minor-release",
        "it is about the releases of both installations (tests/minor_releases.rs)",
    ),
    (
        "no-sign-of-a-backup",
        "an archive of the WAL, which wal-archive finds, is such a sign",
    ),
    (
        "standbys",
        "it takes a server that follows (tests/around_old.rs)",
    ),
];

/// Checks that say nothing before the remedies of others have been carried out, and why.
const AFTERWARDS: [(&str, &str); 1] = [(
    "orphaned-files",
    "a prepared transaction, which prepared-transactions finds, may have made any file",
)];

/// Traps that are set when all others are: no option is given to a tablespace that has one nobody
/// knows, and a logical slot waits for every transaction that is open.
const LAST: [&str; 2] = ["unknown-tablespace-options", "prepared-transactions"];

/// An example, with names of its own.
struct Trap {
    check: Check,
    example: Example,
    database: String,
}

impl Trap {
    fn new(number: usize, check: Check, example: Example) -> Self {
        Self {
            check,
            example,
            database: format!("{EXAMPLE}_{number}"),
        }
    }

    /// Text of the example, in which its own names take the place of those of all examples.
    fn text(&self, text: &str) -> String {
        let number = &self.database[EXAMPLE.len()..];
        let renamed = |text: String, own: &&str| text.replace(own, &format!("{own}{number}"));
        OWN_NAMES.iter().fold(text.to_owned(), renamed)
    }

    fn place(&self, statement: &Statement) -> String {
        let named = statement.database.as_deref();
        named.map_or_else(|| self.database.clone(), |name| self.text(name))
    }

    fn set(&self, server: &Running<'_>) {
        server.sql("postgres", &format!("CREATE DATABASE {}", self.database));
        for statement in &self.example.setup {
            server.sql(&self.place(statement), &self.text(&statement.sql));
        }
    }

    /// Sessions of others, which stay open as long as the result lives.
    fn sessions(&self, server: &Running<'_>) -> Vec<postgres::Client> {
        let open = |statement: &Statement| {
            let mut session = server.connect(&self.place(statement));
            session.batch_execute(&self.text(&statement.sql)).unwrap();
            session
        };
        self.example.sessions.iter().map(open).collect()
    }

    /// The sentences of the example that nobody has found. Of what belongs to the whole cluster
    /// other traps may be a part too, so that any sentence will do.
    fn missed(&self, findings: &[Value]) -> Vec<String> {
        let own = |event: &&Value| event["check"] == self.check.id;
        let found: Vec<&str> = findings.iter().filter(own).filter_map(sentence).collect();
        let wanted = self.example.finds.iter().map(|wanted| self.text(wanted));
        match self.check.scope {
            Scope::EachDatabase => wanted
                .filter(|wanted| !found.iter().any(|found| fits(wanted, found)))
                .map(|wanted| format!("{}: {wanted}", self.check.id))
                .collect(),
            Scope::Host | Scope::Cluster => match found.is_empty() {
                true => vec![format!("{}: anything", self.check.id)],
                false => Vec::new(),
            },
        }
    }
}

fn sentence(event: &Value) -> Option<&str> {
    event["sentence"].as_str()
}

/// `*` in the pattern stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            let mut starts = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            starts.any(|at| fits(tail, &rest[at..]))
        }),
    }
}

/// An example that finds something, of every check that applies and that an object can trap.
fn traps(old: MajorVersion, new: MajorVersion) -> Vec<Trap> {
    let checks = checks::all().unwrap().into_iter();
    let checks = checks.filter(|check| {
        let applies = check.applies.old.contains(old) && check.applies.new.contains(new);
        applies && APART.iter().all(|(id, _)| check.id != *id)
    });
    let trap = |(number, check): (usize, Check)| {
        let mut examples = check.examples.iter();
        let example = examples.find(|one| one.old.contains(old) && !one.finds.is_empty());
        let example = example.unwrap_or_else(|| panic!("{} has no trap", check.id));
        let example = example.clone();
        Trap::new(number, check, example)
    };
    let mut traps: Vec<Trap> = checks.enumerate().map(trap).collect();
    traps.sort_by_key(|trap| LAST.iter().position(|id| trap.check.id == *id));
    traps
}

fn events(ran: &Ran, kind: &str) -> Vec<Value> {
    let events = ran.stdout.lines();
    let events = events.map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["event"] == kind).collect()
}

fn findings(ran: &Ran) -> Vec<Value> {
    events(ran, "finding")
}

fn checks_of(findings: &[Value]) -> BTreeSet<&str> {
    findings
        .iter()
        .filter_map(|f| f["check"].as_str())
        .collect()
}

/// The script with everything that destroys something as statements instead of comments.
fn everything_carried_out(script: &str) -> String {
    let mut destructive = false;
    let lines = script.lines().map(|line| {
        destructive = line == "-- destructive:" || destructive && !line.is_empty();
        match line.strip_prefix("-- ") {
            Some(statement) if destructive && line != "-- destructive:" => statement,
            _ => line,
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// An old server with all traps that apply to it, and an upgrade of it.
struct Trapped<'c> {
    server: Running<'c>,
    trip: Trip,
    /// Those that are found at once.
    traps: Vec<Trap>,
    /// Those that are found when others have been mended.
    later: Vec<Trap>,
    script: PathBuf,
}

impl<'c> Trapped<'c> {
    fn new(cluster: &'c Cluster, old: u16, new: u16) -> Self {
        let server = cluster.start_with(&[
            "wal_level=logical",
            "max_prepared_transactions=5",
            "autovacuum=off",
            "full_page_writes=off",
            "archive_mode=on",
        ]);
        let traps = traps(MajorVersion(old), MajorVersion(new));
        for trap in &traps {
            trap.set(&server);
        }
        let waits = |trap: &Trap| AFTERWARDS.iter().any(|(id, _)| trap.check.id == *id);
        let (later, traps) = traps.into_iter().partition(waits);
        Self {
            server,
            trip: Trip::new(cluster, &format!("new-{new}"), "link"),
            traps,
            later,
            script: cluster.scratch().join("remedies.sql"),
        }
    }

    fn check(&self) -> Ran {
        let script = self.script.to_str().unwrap();
        self.trip.run_first(&["check", "--json", "--sql", script])
    }

    /// One run of all checks, as the user who is a trap himself; what it found.
    fn find_all(&mut self) -> Vec<Value> {
        let others = self
            .traps
            .iter()
            .flat_map(|trap| trap.sessions(&self.server));
        let others: Vec<_> = others.collect();
        let user = self.traps.iter().find_map(|trap| trap.example.user.clone());
        self.trip.user = user.unwrap();
        let ran = self.check();
        self.trip.user = "postgres".to_owned();
        drop(others);
        ran.demand(3);
        let found = findings(&ran);
        assert_eq!(missed(&self.traps, &found), [""; 0], "{}", ran.stdout);
        let tally = events(&ran, "checks_finished").remove(0);
        assert_eq!(tally["made"], tally["applicable"], "{found:#?}");
        found
    }

    /// What SQL can mend is mended; what is left was found before, or could not be.
    fn mend(&self, found: &[Value]) {
        carry_out(&self.trip, &self.script);
        // What other objects depended on has a remedy in SQL only when those have been mended.
        self.check().demand(3);
        carry_out(&self.trip, &self.script);
        let left = findings(&self.check());
        let in_sql = |one: &&Value| one["remedy"]["kind"] == "sql";
        let unmended: Vec<_> = left.iter().filter(in_sql).collect();
        assert!(unmended.is_empty(), "{unmended:#?}");
        assert_eq!(missed(&self.later, &left), [""; 0], "{left:#?}");
        let known = checks_of(found);
        let later = |id: &&str| AFTERWARDS.iter().any(|(one, _)| one == id);
        let mut others = checks_of(&left);
        others.retain(|id| !known.contains(id) && !later(id));
        assert!(others.is_empty(), "{others:?}");
    }
}

fn missed(traps: &[Trap], found: &[Value]) -> Vec<String> {
    traps.iter().flat_map(|trap| trap.missed(found)).collect()
}

/// By psql of the new version, as the script says.
fn carry_out(trip: &Trip, script: &Path) {
    let edited = trip.new.with_extension("sql");
    let script = fs::read_to_string(script).unwrap();
    fs::write(&edited, everything_carried_out(&script)).unwrap();
    let output = Command::new(trip.new_bindir.join("psql"))
        .args(["-X", "-q", "-U", "postgres", "-h"])
        .arg(trip.old.parent().unwrap())
        .args(["-d", "template1", "-f"])
        .arg(&edited)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{script}");
}

#[test]
fn every_trap_is_found_at_once_and_mended() {
    as_server_user("every_trap_is_found_at_once_and_mended", || {
        let cluster = cluster("old-10", &[]);
        let mut trapped = Trapped::new(&cluster, 10, 18);
        let found = trapped.find_all();
        trapped.mend(&found);
        trapped.server.stop();
    });
}

#[test]
fn every_trap_of_a_late_version_is_found_at_once() {
    as_server_user("every_trap_of_a_late_version_is_found_at_once", || {
        let cluster = cluster("old-17", &[]);
        let mut trapped = Trapped::new(&cluster, 17, 18);
        trapped.find_all();
        trapped.server.stop();
    });
}
