//! The examples of `checks/*.toml` on real servers of every old version: each is found, its
//! remedy is carried out, and then nothing is found any more.

// A test says what went wrong by failing there.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;
use std::sync::Mutex;

use pg_migrator::catalog::{self, Database, Snapshot};
use pg_migrator::checks::{
    self, Applicable, Check, Example, NewVersion, RemedyKind, Report, Statement, Subject, Trials,
};
use pg_migrator::error::{Code, Remedy};
use pg_migrator::pg::MajorVersion;
use pg_migrator::server::{self, Cancel, Installation, Postmaster, PostmasterSpec, Side};
use postgres::{Client, NoTls, SimpleQueryMessage};
use support::{Cluster, as_server_user};

const INSTALL_USER: &str = "postgres";
const SCRATCH: &str = "example";

/// What is found in every cluster here: they archive, and are without checksums.
const ALWAYS: [&str; 2] = [
    "the WAL of the old server goes to an archive (archive_command = true), which *",
    "data checksums are off in the old cluster, and so they will be in the new one without --enable-checksums",
];

/// One server, and what is asked of it.
struct Bench {
    spec: PostmasterSpec,
    server: Option<Postmaster>,
    cancel: Cancel,
    new: Trials,
    /// Goes last, when its servers have ended.
    cluster: Cluster,
}

impl Bench {
    fn create(version: MajorVersion) -> Self {
        let cluster = support::cluster(&format!("old-{version}"), &[]);
        let installation = Installation::find(Side::Old, &cluster.bindir, &Cancel::new()).unwrap();
        let new = format!("new-{}", MajorVersion::NEWEST_NEW);
        let new = Trials::new(NewVersion {
            installation: Installation::find(Side::New, &support::bindir(&new), &Cancel::new())
                .unwrap(),
            options: Vec::new(),
            socket_parent: None,
            logs: cluster.scratch().to_owned(),
        });
        let datadir = cluster.datadir();
        let log = cluster.scratch().join("private.log");
        let mut spec = PostmasterSpec::for_old(&installation, &datadir, INSTALL_USER, &log, None);
        // With -b nobody could create what the examples need.
        spec.binary_upgrade = false;
        for (name, value) in [
            ("fsync", "off"),
            ("full_page_writes", "off"),
            ("autovacuum", "off"),
            ("wal_level", "logical"),
            ("max_prepared_transactions", "5"),
            ("archive_mode", "on"),
            ("shared_buffers", "16MB"),
        ] {
            spec.set(name, value);
        }
        // Where somebody archives there is a sign of a backup; examples may change a setting in a file.
        let settings = cluster.data.join("postgresql.auto.conf");
        std::fs::write(settings, "archive_command = 'true'\n").unwrap();
        let cancel = Cancel::new();
        let server = Some(Postmaster::start(&spec, &cancel).unwrap());
        let bench = Self {
            spec,
            server,
            cancel,
            new,
            cluster,
        };
        let made = bench.execute("postgres", &format!("CREATE DATABASE {SCRATCH}"));
        made.unwrap();
        bench
    }

    /// Starts it once more, with sessions of another role.
    fn restart_as(&mut self, user: &str) {
        self.server.take().unwrap().stop().unwrap();
        self.spec.user = user.to_owned();
        self.server = Some(Postmaster::start(&self.spec, &self.cancel).unwrap());
    }

    fn server(&self) -> &Postmaster {
        self.server.as_ref().unwrap()
    }

    /// A session that may write, unlike those of the program.
    fn session(&self, database: &str) -> Client {
        Client::connect(&self.server().conninfo(database), NoTls).unwrap()
    }

    fn execute(&self, database: &str, sql: &str) -> Result<(), String> {
        self.executed(database, sql).map(drop)
    }

    /// The session in which something was done.
    fn executed(&self, database: &str, sql: &str) -> Result<Client, String> {
        let failed = |error: postgres::Error| {
            let reason = error
                .as_db_error()
                .map_or(error.to_string(), ToString::to_string);
            format!("{reason}\n  in {database}: {sql}")
        };
        let mut session = self.session(database);
        session.batch_execute(sql).map_err(failed)?;
        Ok(session)
    }

    fn execute_all(&self, statements: &[Statement]) -> Result<(), String> {
        for statement in statements {
            self.execute(place(statement), &statement.sql)?;
        }
        Ok(())
    }

    fn check(&self, checks: &[Check]) -> Result<Report, String> {
        // Where it fails, a check must be able to tell why.
        let (old, cancel) = (self.server(), &self.cancel);
        let checks = self.applicable(checks);
        let interviews = checks.interviews(cancel);
        let ask = |client: &mut server::Client, _: &Database| interviews.ask(client);
        // Of two sessions one helps the other.
        let read = catalog::read_and_with_help(old, 2, cancel, ask, &interviews);
        let (snapshot, asked) = read.ok().unzip();
        let subject = self.subject(snapshot.as_ref());
        let report = checks::run(&checks, &subject, asked).map_err(|e| e.to_string())?;
        match report.not_made.first() {
            Some((_, error)) => Err(format!("{error}: {:?}", error.facts())),
            None => Ok(report),
        }
    }

    fn applicable<'c>(&self, checks: &'c [Check]) -> Applicable<'c> {
        Applicable::new(checks, self.server().major, self.new.major())
    }

    fn subject<'a>(&'a self, snapshot: Option<&'a Snapshot>) -> Subject<'a> {
        Subject {
            old: self.server(),
            snapshot,
            new: &self.new,
            linked_before: false,
            enables_checksums: false,
            cancel: &self.cancel,
        }
    }

    fn remedy(&self, remedy: &Remedy) -> Result<(), String> {
        match remedy {
            Remedy::Manual(_) => Ok(()),
            Remedy::Sql { database, sql } => self.execute(database, sql),
            Remedy::Command(command) => {
                let output = Command::new("sh").arg("-c").arg(command).output().unwrap();
                let errors = String::from_utf8_lossy(&output.stderr);
                output
                    .status
                    .success()
                    .then_some(())
                    .ok_or(format!("{errors}\n  in {command}"))
            }
        }
    }

    fn carry_out(&mut self, check: &Check, example: &Example) -> Result<(), String> {
        self.execute_all(&example.setup)?;
        if let Some(user) = &example.user {
            self.restart_as(user);
        }
        let others = example.sessions.iter();
        let others = others.map(|begun| self.executed(place(begun), &begun.sql));
        let others: Vec<Client> = others.collect::<Result<_, _>>()?;
        let outcome = self.find_and_remedy(check, example);
        drop(others);
        if example.user.is_some() {
            self.restart_as(INSTALL_USER);
        }
        outcome?;
        self.execute_all(&example.cleanup)?;
        // Every example keeps to this schema, and a new database each would take too long.
        self.execute(SCRATCH, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    }

    fn find_and_remedy(&self, check: &Check, example: &Example) -> Result<(), String> {
        let only = std::slice::from_ref(check);
        let report = self.check(only)?;
        compare("found", &report, &example.finds)?;
        if check.remedy.kind == RemedyKind::Manual {
            return Ok(());
        }
        for finding in &report.findings {
            self.remedy(&finding.remedy)?;
        }
        compare(
            "found after the remedies",
            &self.check(only)?,
            &example.by_hand,
        )
    }

    fn expect_clean(&self, checks: &[Check]) -> Result<(), String> {
        let report = self.check(checks)?;
        if report.made + report.inapplicable.len() != checks.len() {
            return Err(format!(
                "made {}, inapplicable {:?}",
                report.made, report.inapplicable
            ));
        }
        compare(
            "found in a cluster without objects of users",
            &report,
            &ALWAYS.map(str::to_owned),
        )
    }

    /// Those of the checks that are asked although there are no objects of users.
    fn asked_in_vain(&self, checks: &[Check]) -> Vec<String> {
        let mut session = self.session(SCRATCH);
        let is_row = |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(_));
        let mut asked = Vec::new();
        for check in checks.iter().filter(|check| {
            let applies = &check.applies;
            applies.old.contains(self.server().major) && applies.new.contains(self.new.major())
        }) {
            let Some(condition) = &check.only_where else {
                continue;
            };
            let found = session.simple_query(&format!("SELECT WHERE ({condition}\n)"));
            match found {
                Ok(rows) if !rows.iter().any(is_row) => {}
                Ok(_) => asked.push(check.id.clone()),
                Err(error) => asked.push(format!("{}: {error}", check.id)),
            }
        }
        asked
    }
}

fn place(statement: &Statement) -> &str {
    statement.database.as_deref().unwrap_or(SCRATCH)
}

fn compare(what: &str, report: &Report, expected: &[String]) -> Result<(), String> {
    let found: Vec<&str> = report
        .findings
        .iter()
        .map(|f| f.sentence.as_str())
        .collect();
    let same = found.len() == expected.len()
        && found
            .iter()
            .zip(expected)
            .all(|(found, pattern)| matches(pattern, found));
    same.then_some(())
        .ok_or_else(|| format!("{what}: {found:#?}\nexpected: {expected:#?}"))
}

/// `*` in the pattern stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            let mut starts = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            starts.any(|at| matches(tail, &rest[at..]))
        }),
    }
}

/// Every example on one version; the failures.
fn all_examples(checks: &[Check], version: MajorVersion) -> Vec<String> {
    let mut bench = Bench::create(version);
    let mut failures = Vec::new();
    if let Err(failure) = bench.expect_clean(checks) {
        failures.push(format!("{version}, at first: {failure}"));
    }
    let asked = bench.asked_in_vain(checks);
    if !asked.is_empty() {
        failures.push(format!("{version}, asked in vain: {asked:?}"));
    }
    for check in checks.iter().filter(|c| c.applies.old.contains(version)) {
        let examples = check.examples.iter().enumerate();
        for (number, example) in examples.filter(|(_, e)| e.old.contains(version)) {
            if let Err(failure) = bench.carry_out(check, example) {
                // What a failed example leaves behind would only blur the next ones.
                failures.push(format!("{version}, {} [{number}]: {failure}", check.id));
                return failures;
            }
        }
    }
    if let Err(failure) = bench.expect_clean(checks) {
        failures.push(format!("{version}, at last: {failure}"));
    }
    bench.server.take().unwrap().stop().unwrap();
    failures
}

#[test]
fn every_example_is_found_and_its_remedy_works() {
    as_server_user("every_example_is_found_and_its_remedy_works", || {
        let checks = checks::all().unwrap();
        let versions = MajorVersion::OLDEST_OLD.0..=MajorVersion::NEWEST_OLD.0;
        let waiting = Mutex::new(versions.map(MajorVersion));
        let failures = Mutex::new(Vec::new());
        let next = || waiting.lock().unwrap().next();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while let Some(version) = next() {
                        let failed = all_examples(&checks, version);
                        failures.lock().unwrap().extend(failed);
                    }
                });
            }
        });
        let failures = failures.into_inner().unwrap();
        assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    });
}

/// A check that finds one thing a database, unless the query is another one.
fn everywhere(id: &str, query: &str) -> Check {
    let text = format!(
        r#"
id = "{id}"
severity = "notice"
scope = "each-database"
columns = ["value"]
finding = "{{value}} in {{database}}"
why = "It is a test."
query = """{query}"""
remedy = {{ kind = "manual", text = "none" }}
[[example]]
setup = "SELECT 1"
finds = []
"#
    );
    checks::parse(id, &text).unwrap()
}

fn sentences(report: &Report) -> Vec<&str> {
    let findings = report.findings.iter();
    findings.map(|finding| finding.sentence.as_str()).collect()
}

#[test]
fn what_cannot_be_checked_is_reported_and_hides_nothing() {
    as_server_user(
        "what_cannot_be_checked_is_reported_and_hides_nothing",
        || {
            let bench = Bench::create(MajorVersion(17));
            let named = "CREATE DATABASE \"a \u{1b}[31m\u{2028}b\"";
            bench.execute("postgres", named).unwrap();
            bench.execute("postgres", "CREATE DATABASE gone").unwrap();
            let snapshot = catalog::read(bench.server(), 2, &bench.cancel).unwrap();
            bench.execute("postgres", "DROP DATABASE gone").unwrap();

            let checks = [
                everywhere("writes", "SELECT pg_catalog.lo_create(0) AS value"),
                everywhere("good", "SELECT 'x' AS value"),
                everywhere("misnamed", "SELECT 1 AS other"),
            ];
            let subject = bench.subject(Some(&snapshot));
            let report = checks::run(&bench.applicable(&checks), &subject, None).unwrap();
            assert_eq!(
                sentences(&report),
                [
                    "x in template1",
                    "x in postgres",
                    "x in example",
                    "x in a \\u{1b}[31m\\u{2028}b",
                ]
            );
            assert!(report.blocks());
            assert_eq!(report.made, 0, "each failed somewhere");
            let failed = |id: &str| {
                let errors = report.not_made.iter().filter(|(check, _)| check == id);
                errors
                    .map(|(_, error)| error.causes().join(" "))
                    .collect::<Vec<_>>()
            };
            assert_eq!(failed("good").len(), 1, "in gone");
            assert!(failed("good")[0].contains("could not connect"));
            assert_eq!(failed("writes").len(), 5);
            assert!(failed("writes")[0].contains("read-only transaction"));
            assert!(failed("misnamed")[0].contains("value does not exist"));

            bench
                .cancel
                .request(nix::sys::signal::Signal::SIGINT as i32);
            let stopped = checks::run(&bench.applicable(&checks), &subject, None).unwrap_err();
            assert_eq!(stopped.code(), Code::Interrupted);
        },
    );
}

#[test]
fn what_breaks_a_session_takes_the_blame_alone() {
    as_server_user("what_breaks_a_session_takes_the_blame_alone", || {
        let bench = Bench::create(MajorVersion(17));
        let snapshot = catalog::read(bench.server(), 2, &bench.cancel).unwrap();
        let ends =
            "SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid())::text AS value";
        let mut gated = everywhere("gated", "SELECT 'y' AS value");
        gated.only_where = Some("1 = 1 / (pg_catalog.pg_backend_pid() * 0)".to_owned());
        let checks = [
            everywhere("before", "SELECT 'x' AS value"),
            everywhere("ends", ends),
            everywhere("after", "SELECT 'z' AS value"),
        ];
        let applicable = bench.applicable(&checks);
        let subject = bench.subject(Some(&snapshot));

        let interviews = applicable.interviews(&bench.cancel);
        let mut session = bench.server().connect("postgres").unwrap();
        let broken = interviews.ask(&mut session).unwrap_err();
        assert!(session.run_script("SELECT 1").is_err(), "{broken}");

        let report = checks::run(&applicable, &subject, None).unwrap();
        let blamed: Vec<&str> = (report.not_made.iter())
            .map(|(check, _)| check.as_str())
            .collect();
        assert_eq!(blamed, ["ends"; 3]);
        assert_eq!(sentences(&report).len(), 6);
        assert_eq!(report.made, 2);

        // What all are asked at once for is no question of theirs.
        let mut breaking = everywhere("breaking", "SELECT 'y' AS value");
        breaking.only_where = Some(format!("({}) = ''", ends.replace(" AS value", "")));
        for check in [gated, breaking] {
            let checks = [check];
            let report = checks::run(&bench.applicable(&checks), &subject, None).unwrap();
            assert_eq!(report.not_made, []);
            assert_eq!(sentences(&report).len(), 3);
        }
    });
}

/// Something that is none of our business crashes while a question is asked.
#[test]
fn a_crash_elsewhere_is_blamed_on_no_check() {
    as_server_user("a_crash_elsewhere_is_blamed_on_no_check", || {
        let bench = Bench::create(MajorVersion(17));
        let snapshot = catalog::read(bench.server(), 2, &bench.cancel).unwrap();
        let long = "SELECT 'x' AS value FROM pg_catalog.pg_sleep( \
                    CASE pg_catalog.current_database() WHEN 'postgres' THEN 3 ELSE 0 END)";
        let checks = [
            everywhere("long", long),
            everywhere("after", "SELECT 'z' AS value"),
        ];
        let subject = bench.subject(Some(&snapshot));
        let report = std::thread::scope(|scope| {
            scope.spawn(|| crash_beside("pg_sleep", bench.server()));
            checks::run(&bench.applicable(&checks), &subject, None).unwrap()
        });
        assert_eq!(report.not_made, []);
        assert_eq!(sentences(&report).len(), 6);
    });
}

/// Kills a session while another one is at such a statement.
fn crash_beside(statement: &str, server: &server::Endpoint) {
    let mut session = server.connect("template1").unwrap();
    let looks = format!(
        "SELECT pg_catalog.pg_backend_pid() FROM pg_catalog.pg_stat_activity \
         WHERE pid <> pg_catalog.pg_backend_pid() AND state = 'active' \
         AND query LIKE '%{statement}%'"
    );
    let pid = loop {
        if let Some(row) = session.text_rows(&looks).unwrap().pop() {
            break row[0].as_ref().unwrap().parse().unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    let crash = nix::sys::signal::Signal::SIGKILL;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), crash).unwrap();
}

#[test]
fn after_a_crash_one_waits_until_sessions_are_let_in() {
    as_server_user("after_a_crash_one_waits_until_sessions_are_let_in", || {
        let bench = Bench::create(MajorVersion(17));
        let mut session = bench.server().connect("postgres").unwrap();
        let pid = session
            .text_rows("SELECT pg_catalog.pg_backend_pid()")
            .unwrap();
        let pid = pid[0][0].as_ref().unwrap().parse().unwrap();
        let crash = nix::sys::signal::Signal::SIGKILL;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), crash).unwrap();
        while session.run_script("SELECT 1").is_ok() {}
        let server = bench.server();
        server.await_recovery("postgres", &bench.cancel).unwrap();
        server.connect("postgres").unwrap();
    });
}

/// Extensions many clusters have, all of which the installation of new has, too.
const COMMON_EXTENSIONS: [&str; 12] = [
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "dblink",
    "earthdistance",
    "hstore",
    "intarray",
    "ltree",
    "pg_trgm",
    "postgres_fdw",
    "tablefunc",
];

#[test]
fn the_new_version_is_asked_once_and_only_where_there_is_something_to_ask() {
    as_server_user(
        "the_new_version_is_asked_once_and_only_where_there_is_something_to_ask",
        || {
            let bench = Bench::create(MajorVersion(17));
            let checks = checks::all().unwrap();
            let log = |name: &str| bench.cluster.scratch().join(name);

            bench.expect_clean(&checks).unwrap();
            assert!(!log("throw-away-initdb.log").exists());

            for database in ["postgres", SCRATCH] {
                for extension in COMMON_EXTENSIONS {
                    let made = bench.execute(database, &format!("CREATE EXTENSION {extension}"));
                    made.unwrap();
                }
            }
            bench.expect_clean(&checks).unwrap();
            let made = std::fs::read_to_string(log("throw-away-server.log")).unwrap();
            assert_eq!(made.matches("starting PostgreSQL 18").count(), 1, "{made}");
            bench.expect_clean(&checks).unwrap();
            let again = std::fs::read_to_string(log("throw-away-server.log")).unwrap();
            assert_eq!(again.matches("starting PostgreSQL").count(), 1, "{again}");
        },
    );
}

#[test]
fn a_star_stands_for_any_text() {
    assert!(matches("a * c", "a b c") && matches("a*", "a") && matches("*", "ä"));
    assert!(matches("* of * has", "x of y of z has"));
    assert!(!matches("a * c", "a b d") && !matches("a", "ab") && !matches("*b", "a"));
}
