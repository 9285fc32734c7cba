//! What cannot be worked with gets a code, a text, a remedy, and is left as it is.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use support::case::Case;
use support::tree::{self, Tree};
use support::trip::{Ran, Trip, bare, finish};
use support::{as_server_user, bindir, cluster, say};

/// One pair that would do; each test spoils it in some way.
struct Input {
    case: Case,
    trip: Trip,
    place: PathBuf,
}

impl Input {
    fn new() -> Self {
        let case = Case::new("copy");
        let trip = Trip::new(&case.stock.cluster, "new-17", "copy");
        let place = case.stock.cluster.scratch().to_owned();
        Self { case, trip, place }
    }

    fn before(&self) -> Tree {
        tree::whole(&self.place)
    }

    /// All three commands that look at a pair refuse it alike, and change nothing.
    fn refused(&self, code: &str, said: &[&str]) {
        let before = self.before();
        for command in ["check", "prepare", "upgrade"] {
            let ran = self.trip.run_first(&[command, "--yes"]);
            ran.refused(4, code, said);
            demand_standing(&ran);
            tree::demand_same(command, &before, &self.before());
        }
    }

    /// The same, but `check` finds it besides all that can be asked of old.
    fn found(&self, code: &str, said: &[&str]) {
        self.found_and_asked(code, said);
        self.refused_by(code, said);
    }

    fn refused_by(&self, code: &str, said: &[&str]) {
        let before = self.before();
        for command in ["prepare", "upgrade"] {
            let ran = self.trip.run_first(&[command, "--yes"]);
            ran.refused(4, code, said);
            demand_standing(&ran);
            tree::demand_same(command, &before, &self.before());
        }
    }

    fn found_and_asked(&self, code: &str, said: &[&str]) {
        let before = tree::kept(&self.trip.old);
        let ran = self.trip.run_first(&["check"]);
        let finding = format!("blocker[{code}]");
        let said: Vec<&str> = said.iter().copied().chain([&*finding]).collect();
        ran.refused(3, "PGM-6002", &said);
        demand_asked(&ran);
        tree::demand_same("check", &before, &tree::kept(&self.trip.old));
    }

    fn old(&self, rel: &str) -> PathBuf {
        self.trip.old.join(rel)
    }
}

fn demand_standing(ran: &Ran) {
    let said = "standing: nothing has been changed";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    assert!(ran.stderr.contains("remedy:"), "{}", ran.stderr);
}

/// Checks were made, and those that are not of SQL are counted with them.
fn demand_asked(ran: &Ran) {
    let mut lines = ran.stdout.lines();
    let tally = lines.find(|line| line.starts_with("  check  "));
    let tally = tally.unwrap_or_else(|| panic!("no checks in {}", ran.stdout));
    assert!(
        tally.contains("block") && !tally.contains("nothing blocks"),
        "{tally}"
    );
}

#[test]
fn programs_that_are_missing_or_wrong() {
    as_server_user("programs_that_are_missing_or_wrong", || {
        let mut input = Input::new();
        let empty = input.place.join("empty");
        fs::create_dir(&empty).unwrap();

        let old_bindir = std::mem::replace(&mut input.trip.old_bindir, empty.clone());
        input.refused("PGM-1101", &["postgres", "pg_ctl", "empty"]);
        input.trip.old_bindir = bindir("old-13");
        input.refused("PGM-1102", &["PostgreSQL 14", "13."]);
        input.trip.old_bindir = old_bindir;

        input.trip.new_bindir = empty.join("nowhere");
        input.refused("PGM-1101", &["initdb", "nowhere"]);
        // It serves, but it cannot dump.
        input.trip.new_bindir = bindir("old-17");
        input.refused("PGM-1101", &["pg_dump"]);
        input.trip.new_bindir = broken_programs(&empty);
        input.refused("PGM-1101", &["pg_restore", "of no use"]);
    });
}

/// All the programs, one of which does not run.
fn broken_programs(place: &Path) -> PathBuf {
    let broken = place.join("bin");
    fs::create_dir(&broken).unwrap();
    for entry in fs::read_dir(bindir("new-17")).unwrap() {
        let entry = entry.unwrap();
        symlink(entry.path(), broken.join(entry.file_name())).unwrap();
    }
    let program = broken.join("pg_restore");
    fs::remove_file(&program).unwrap();
    support::write_program(&program, "#!/bin/sh\necho of no use >&2\nexit 1\n");
    broken
}

#[test]
fn pairs_that_are_no_upgrade() {
    as_server_user("pairs_that_are_no_upgrade", || {
        for (old, new, said) in [
            (
                "old-17",
                "new-17",
                &["both PostgreSQL 17", "minor release"][..],
            ),
            (
                "old-17",
                "new-15",
                &["15.20", "older than the old one", "17.10"],
            ),
            ("old-18", "new-18", &["both PostgreSQL 18"]),
        ] {
            let old = cluster(old, &[]);
            let before = tree::whole(old.scratch());
            let ran = Trip::new(&old, new, "copy").run_first(&["prepare"]);
            ran.refused(4, "PGM-1103", said);
            demand_standing(&ran);
            tree::demand_same(new, &before, &tree::whole(old.scratch()));
        }
    });
}

#[test]
fn what_is_no_data_directory() {
    as_server_user("what_is_no_data_directory", || {
        let mut input = Input::new();
        let real = input.trip.old.clone();
        input.trip.old = input.place.join("nowhere");
        input.refused("PGM-1201", &["nowhere"]);
        input.trip.old = input.place.join("space");
        input.refused("PGM-1201", &["space"]);
        input.trip.old = real.join("PG_VERSION");
        input.refused("PGM-1201", &["PG_VERSION"]);
        input.trip.old = real;

        fs::write(input.old("PG_VERSION"), "9.6\n").unwrap();
        input.refused("PGM-1103", &["9.6"]);
        fs::write(input.old("PG_VERSION"), "fourteen\n").unwrap();
        input.refused("PGM-1201", &["PG_VERSION"]);
        fs::write(input.old("PG_VERSION"), "14\n").unwrap();

        for name in ["base", "pg_xact"] {
            fs::rename(input.old(name), input.old("hidden")).unwrap();
            input.refused("PGM-1202", &[name]);
            fs::rename(input.old("hidden"), input.old(name)).unwrap();
        }
        for name in [
            "standby.signal",
            "recovery.signal",
            "backup_label",
            "tablespace_map",
        ] {
            fs::write(input.old(name), "").unwrap();
            input.refused("PGM-1202", &[name]);
            fs::remove_file(input.old(name)).unwrap();
        }
        input.trip.run_first(&["check"]).demand(0);
    });
}

#[test]
fn control_files_that_cannot_be_believed() {
    as_server_user("control_files_that_cannot_be_believed", || {
        let input = Input::new();
        let file = input.old("global/pg_control");
        let sound = fs::read(&file).unwrap();
        let mut flipped = sound.clone();
        flipped[40] ^= 1;
        let mut unknown = sound.clone();
        unknown[8..12].copy_from_slice(&9999_u32.to_le_bytes());
        for (bytes, said) in [
            (&sound[..100], "it ends after 100 bytes"),
            (&[], "it ends after 0 bytes"),
            (&flipped, "CRC"),
            (&unknown, "9999"),
        ] {
            fs::write(&file, bytes).unwrap();
            input.refused("PGM-1301", &["pg_control", said]);
        }
        fs::remove_file(&file).unwrap();
        input.refused("PGM-1301", &["pg_control", "missing"]);
        fs::write(&file, sound).unwrap();
        input.trip.run_first(&["check"]).demand(0);
    });
}

/// A session without a server, as for repairs; it ends with its input.
fn standalone(input: &Input) -> Child {
    let mut child = Command::new(input.trip.old_bindir.join("postgres"))
        .args(["--single", "-D"])
        .arg(&input.trip.old)
        .arg("postgres")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It prompts when everything it writes by itself is written.
    let mut prompt = [0; 8];
    let said = child.stdout.as_mut().unwrap().read(&mut prompt).unwrap();
    assert_eq!(&prompt[..said.min(7)], b"\nPostgr");
    child
}

#[test]
fn clusters_that_are_in_use() {
    as_server_user("clusters_that_are_in_use", || {
        let input = Input::new();
        let mut alone = standalone(&input);
        let pid = alone.id().to_string();
        input.refused("PGM-1203", &[&pid, "postgres --single", "end that session"]);
        drop(alone.stdin.take());
        assert!(alone.wait().unwrap().success());

        let new = cluster("new-17", &[]);
        let mut trip = Trip::new(&input.case.stock.cluster, "new-17", "copy");
        trip.new.clone_from(&new.data);
        let server = new.start();
        let pid = server.pid().to_string();
        let said = [&*pid, "pg_ctl", "stop", "blocker[PGM-1204]"];
        let checked = trip.run_first(&["check"]);
        checked.refused(3, "PGM-6002", &said);
        demand_asked(&checked);
        let before = tree::whole(&input.place);
        let ran = trip.run_first(&["prepare"]);
        ran.refused(4, "PGM-1204", &said[..3]);
        demand_standing(&ran);
        tree::demand_same("a running new cluster", &before, &tree::whole(&input.place));
        assert!(!trip.state().exists());
        server.stop();

        input.trip.prepare();
        let server = input.case.stock.cluster.start();
        server.crash();
        let ran = input.trip.run(&["cutover"]);
        ran.refused(5, "PGM-1303", &["shut down", "waits for the cutover"]);
        input.trip.rollback();
        input.refused("PGM-1303", &["shut down"]);
    });
}

#[test]
fn tablespaces_that_cannot_be_read() {
    as_server_user("tablespaces_that_cannot_be_read", || {
        let input = Input::new();
        let away = input.place.join("away");
        fs::rename(&input.case.stock.space, &away).unwrap();
        // The database that lies there is told with its tablespace.
        let said = ["tablespace", "space", "blocker[PGM-3003]", "second 'db';"];
        input.found_and_asked("PGM-1202", &said);
        input.refused_by("PGM-1202", &said[..2]);
        fs::rename(&away, &input.case.stock.space).unwrap();

        let closed = |mode| {
            fs::set_permissions(&input.case.stock.space, fs::Permissions::from_mode(mode)).unwrap();
        };
        closed(0o000);
        input.found("PGM-1403", &["space", "cannot be"]);
        closed(0o700);

        let link = fs::read_dir(input.old("pg_tblspc")).unwrap().next();
        let link = link.unwrap().unwrap().path();
        fs::remove_file(&link).unwrap();
        fs::write(&link, "no link").unwrap();
        input.found("PGM-1202", &["pg_tblspc"]);
    });
}

#[test]
fn new_directories_that_are_not_fresh() {
    as_server_user("new_directories_that_are_not_fresh", || {
        let mut input = Input::new();
        fs::create_dir(&input.trip.new).unwrap();
        fs::write(input.trip.new.join("letter"), "dear").unwrap();
        input.found("PGM-1205", &["letter"]);
        fs::remove_file(input.trip.new.join("letter")).unwrap();
        // What a run has left that was killed while it tried something.
        let trial = input.trip.new.join(".pgm-try.AbC123");
        fs::create_dir(&trial).unwrap();
        fs::write(trial.join("letter"), "dear").unwrap();
        input.found("PGM-1205", &[".pgm-try.AbC123"]);
        fs::rename(trial.join("letter"), trial.join("own")).unwrap();
        input.trip.run_first(&["check"]).demand(0);
        assert_eq!(fs::read_dir(&input.trip.new).unwrap().count(), 0);
        fs::create_dir(&trial).unwrap();
        input.trip.run_first(&["prepare"]).demand(0);
        input.trip.rollback();
        fs::remove_dir_all(input.trip.state()).unwrap();
        fs::remove_dir_all(&input.trip.new).unwrap();
        fs::write(&input.trip.new, "a file").unwrap();
        input.found("PGM-1205", &["not a directory"]);
        fs::remove_file(&input.trip.new).unwrap();

        let used = cluster("new-17", &[]);
        let server = used.start();
        server.sql("postgres", "CREATE TABLE mine (id int)");
        server.stop();
        fs::rename(&used.data, &input.trip.new).unwrap();
        input.found("PGM-1205", &["new data directory"]);
        fs::remove_dir_all(&input.trip.new).unwrap();

        let other = cluster("new-18", &["--no-data-checksums"]);
        fs::rename(&other.data, &input.trip.new).unwrap();
        input.found("PGM-1205", &["18"]);
        fs::remove_dir_all(&input.trip.new).unwrap();

        let checked = cluster("new-17", &["--data-checksums"]);
        fs::rename(&checked.data, &input.trip.new).unwrap();
        input.found("PGM-1302", &["checksum"]);
        fs::remove_dir_all(&input.trip.new).unwrap();

        let linked = cluster("new-17", &[]);
        fs::rename(&linked.data, &input.trip.new).unwrap();
        let (wal, away) = (input.trip.new.join("pg_wal"), input.place.join("wal"));
        fs::rename(&wal, &away).unwrap();
        symlink(&away, &wal).unwrap();
        input.found("PGM-1205", &["a WAL directory outside the data directory"]);
        fs::remove_dir_all(&input.trip.new).unwrap();

        let (old, inside) = (input.trip.old.clone(), input.trip.old.join("new"));
        for place in [old, inside, input.case.stock.space.join("new")] {
            input.trip.new = place;
            input.found("PGM-1206", &[]);
        }
    });
}

#[test]
fn users_who_may_not() {
    as_server_user("users_who_may_not", || {
        let mut input = Input::new();
        let server = input.case.stock.cluster.start();
        server.sql(
            "postgres",
            "CREATE ROLE boss SUPERUSER LOGIN; CREATE ROLE guest LOGIN",
        );
        server.stop();
        for (user, said) in [
            ("boss", &["install user", "--username postgres"][..]),
            ("nobody here", &["nobody here", "does not exist"]),
            ("guest", &["guest"]),
        ] {
            input.trip.user = user.to_owned();
            for command in ["check", "prepare"] {
                let ran = input.trip.run_first(&[command]);
                match (command, user) {
                    // Whoever may look at everything is told of everything.
                    ("check", "boss") => ran.refused(3, "PGM-6002", &["blocker[PGM-1211]"]),
                    _ => ran.refused(4, "PGM-1211", said),
                };
                demand_standing(&ran);
                // The server's log is gone with the run.
                assert!(!ran.stderr.contains("old-server.log"), "{}", ran.stderr);
                assert!(!input.trip.new.exists() && !input.trip.state().exists());
            }
        }
        input.case.demand_untouched("wrong users");
    });
}

#[test]
fn places_that_cannot_be_written_to() {
    as_server_user("places_that_cannot_be_written_to", || {
        let mut input = Input::new();
        let closed = input.place.join("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
        let before = input.before();
        let mut command = input.trip.first_command(&["prepare"]);
        command.arg("--state-dir").arg(closed.join("state"));
        let ran = finish(command);
        ran.refused(4, "PGM-1403", &["closed"]);
        demand_standing(&ran);
        let file = input.place.join("a file");
        fs::write(&file, "").unwrap();
        let mut command = input.trip.first_command(&["prepare"]);
        command.arg("--state-dir").arg(&file);
        finish(command).refused(4, "PGM-1403", &["a file"]);
        fs::remove_file(&file).unwrap();
        let mut command = input.trip.first_command(&["prepare"]);
        command
            .arg("--socketdir")
            .arg(input.place.join("x".repeat(90)));
        finish(command).refused(4, "PGM-1404", &["107"]);
        tree::demand_same("closed places", &before, &input.before());

        input.trip.new = closed.join("new");
        input.found("PGM-1403", &["closed"]);
    });
}

/// A file system of its own, small, where the kernel lets a user have one.
#[test]
fn file_systems_that_are_too_small_or_another_one() {
    as_server_user("file_systems_that_are_too_small_or_another_one", || {
        let mut input = Input::new();
        let small = input.place.join("small");
        fs::create_dir(&small).unwrap();
        input.trip.new = small.join("new");
        if !mounted(&small, "size=1m", Command::new("true"))
            .status
            .success()
        {
            say("SKIPPED: no file system can be mounted here by a user");
            return;
        }
        let before = input.before();
        for (mode, size, code, said) in [
            ("copy", "size=30m", "PGM-1401", &["free", "small"][..]),
            (
                "copy",
                "size=4g,nr_inodes=300",
                "PGM-1401",
                &["inodes", "small"],
            ),
            ("link", "size=4g", "PGM-1402", &["link", "--copy", "small"]),
            (
                "clone",
                "size=4g",
                "PGM-1402",
                &["clone", "different file systems", "small"],
            ),
            (
                "copy-file-range",
                "size=4g",
                "PGM-1402",
                &["--copy", "different file systems", "small"],
            ),
        ] {
            input.trip.mode = mode.to_owned();
            for command in ["check", "prepare"] {
                let output = mounted(&small, size, input.trip.first_command(&[command]));
                let ran = Ran::from(output);
                match command {
                    "check" => ran.refused(3, "PGM-6002", &[&[code], said].concat()),
                    _ => ran.refused(4, code, said),
                };
                demand_standing(&ran);
            }
        }
        input.case.demand_untouched("too little space");
        assert_eq!(before.len(), input.before().len());
    });
}

/// Runs a command that sees a file system on this directory.
fn mounted(dir: &Path, options: &str, command: Command) -> std::process::Output {
    let script = "mount -t tmpfs -o \"$1\" tmpfs \"$2\" || exit 1; shift 2; exec \"$@\"";
    let mut within = Command::new("unshare");
    within
        .args(["--user", "--map-current-user", "--mount", "--keep-caps"])
        .args(["sh", "-c", script, "sh", options])
        .arg(dir)
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir("/");
    within.output().unwrap()
}

#[test]
fn command_lines_that_are_wrong() {
    let wrong: [&[&str]; 6] = [
        &["migrate"],
        &["prepare"],
        &["prepare", "--link", "--copy"],
        &["cutover", "--jobs", "many"],
        &["cutover"],
        &["explain", "PGM-9999"],
    ];
    for words in wrong {
        let ran = finish(bare(words));
        assert_eq!(ran.code, 2, "{words:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("error[PGM-100"), "{}", ran.stderr);
    }
    let explained = finish(bare(&["explain", "PGM-2008"]));
    explained.demand(0);
    assert!(explained.stdout.contains("--discard-new-writes"));
    let events = finish(bare(&["explain", "--json", "prepared-transactions"]));
    events.demand(0);
    let kinds: Vec<String> = events
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["event"].to_string())
        .collect();
    assert_eq!(
        kinds,
        ["\"run_started\"", "\"explained\"", "\"run_finished\""]
    );
}

/// It would stop half way, after everything slow.
#[test]
fn an_upgrade_about_which_nobody_can_be_asked() {
    as_server_user("an_upgrade_about_which_nobody_can_be_asked", || {
        let input = Input::new();
        let before = input.before();
        let ran = input.trip.run_first(&["upgrade"]);
        ran.refused(4, "PGM-2007", &["nobody can be asked", "give --yes"]);
        demand_standing(&ran);
        tree::demand_same("an upgrade without a yes", &before, &input.before());
    });
}
