//! Private servers are nobody else's: who may reach them, and what the settings of a cluster and its
//! preloaded libraries make of them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::trip::{ATTEMPTS, LIMIT, Trip, Underway};
use support::{SERVER_USER, as_server_user, bindir, cluster, say, unique_cluster};

/// Whoever else has an account on this machine.
const STRANGER: &str = "nobody";

fn as_user(user: &str, program: PathBuf, words: &[&str]) -> Output {
    let mut command = if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", user, "--clear-groups"])
            .arg(program);
        command
    } else {
        Command::new(program)
    };
    let words = command.args(words).env("LC_ALL", "C").current_dir("/");
    words.output().unwrap()
}

fn as_owner(program: PathBuf, words: &[&str]) -> String {
    let output = as_user(SERVER_USER, program, words);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a server says of itself.
#[derive(Debug)]
struct Server {
    pid: i32,
    port: String,
    sockets: PathBuf,
}

/// The server here, if it accepts sessions and is not this one.
fn ready(data: &Path, before: i32) -> Option<Server> {
    let text = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let [pid, _, _, port, sockets, .., "ready"] = lines[..] else {
        return None;
    };
    (pid != before.to_string()).then(|| Server {
        pid: pid.parse().unwrap(),
        port: port.to_owned(),
        sockets: sockets.into(),
    })
}

impl Server {
    fn sockets_of_it(&self) -> BTreeSet<String> {
        let fds = fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap();
        fds.filter_map(|fd| {
            let target = fs::read_link(fd.unwrap().path()).ok()?;
            let target = target.to_str()?.to_owned();
            Some(
                target
                    .strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .to_owned(),
            )
        })
        .collect()
    }

    /// Local ports of TCP it listens on.
    fn tcp(&self) -> Vec<String> {
        let ours = self.sockets_of_it();
        let mut ports = Vec::new();
        for table in ["tcp", "tcp6"] {
            let text =
                fs::read_to_string(format!("/proc/{}/net/{table}", self.pid)).unwrap_or_default();
            for line in text.lines().skip(1) {
                let columns: Vec<&str> = line.split_whitespace().collect();
                // 0A is LISTEN.
                if columns[3] == "0A" && ours.contains(columns[9]) {
                    ports.push(columns[1].to_owned());
                }
            }
        }
        ports
    }

    /// Paths of the Unix-domain sockets it listens on.
    fn unix(&self) -> Vec<PathBuf> {
        let ours = self.sockets_of_it();
        let text = fs::read_to_string(format!("/proc/{}/net/unix", self.pid)).unwrap();
        let lines = text
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().collect());
        lines
            .filter(|columns: &Vec<&str>| columns.len() > 7 && ours.contains(columns[6]))
            .map(|columns| columns[7].into())
            .collect()
    }

    fn asked_by(&self, user: &str, sql: &str) -> Output {
        let host = self.sockets.to_str().unwrap();
        let words = [
            "-X",
            "-A",
            "-t",
            "-U",
            "postgres",
            "-d",
            "template1",
            "-h",
            host,
        ];
        let psql = bindir("new-17").join("psql");
        as_user(
            user,
            psql,
            &[&words[..], &["-p", &self.port, "-c", sql]].concat(),
        )
    }
}

/// A directory of the owner of clusters, which everybody may enter.
fn place() -> tempfile::TempDir {
    let place = tempfile::Builder::new()
        .prefix("pgm-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir()
        .unwrap();
    if nix::unistd::geteuid().is_root() {
        let user = nix::unistd::User::from_name(SERVER_USER).unwrap().unwrap();
        let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
        std::os::unix::fs::chown(place.path(), Some(uid), Some(gid)).unwrap();
    }
    place
}

fn make_dir(place: &Path, name: &str) -> PathBuf {
    let dir = place.join(name);
    as_owner("/bin/mkdir".into(), &["-m", "1777", dir.to_str().unwrap()]);
    dir
}

/// A cluster that lets everybody in, in all the ways its files know.
fn wide_open(place: &Path, bindir: &Path, name: &str, port: u16) -> PathBuf {
    let data = place.join(name);
    let target = data.to_str().unwrap();
    let words = [&support::INITDB[..], &["-D", target]].concat();
    as_owner(bindir.join("initdb"), &words);
    let open = place.join("open").display().to_string();
    let write = |file: &str, text: String| {
        let path = data.join(file);
        let owner = fs::metadata(&data).unwrap();
        let before = fs::read_to_string(&path).unwrap_or_default();
        fs::write(&path, format!("{before}\n{text}\n")).unwrap();
        std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    };
    write(
        "postgresql.conf",
        format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{open}'\n\
             include 'more.conf'\ninclude '/dev/null'"
        ),
    );
    write(
        "more.conf",
        format!(
            "unix_socket_permissions = 0777\nhba_file = '{target}/everybody.conf'\n\
             listen_addresses = '*'\nexternal_pid_file = '{open}/{name}.pid'\n\
             log_destination = 'csvlog'\nlogging_collector = on\nlog_directory = '{open}'"
        ),
    );
    write(
        "postgresql.auto.conf",
        format!(
            "listen_addresses = '127.0.0.1'\nunix_socket_directories = '{open}'\nport = {port}"
        ),
    );
    for file in ["pg_hba.conf", "everybody.conf"] {
        write(
            file,
            "local all all trust\nhost all all 0.0.0.0/0 trust".to_owned(),
        );
    }
    data
}

/// As soon as a private server accepts sessions the program stands still; nothing where both were
/// quicker.
fn caught(underway: &mut Underway, data: &Path, before: i32) -> Option<Server> {
    let begun = Instant::now();
    let server = loop {
        if let Some(server) = ready(data, before) {
            break server;
        }
        if underway.ended() {
            return None;
        }
        assert!(begun.elapsed() < LIMIT, "no server, and no end");
        std::thread::sleep(Duration::from_micros(500));
    };
    if underway.ended() {
        return None;
    }
    underway.signal(Signal::SIGSTOP);
    // A program that stands still stops no server, unless it has just told it to stop.
    std::thread::sleep(Duration::from_millis(200));
    let still = ready(data, before).is_some_and(|now| now.pid == server.pid);
    still.then_some(server)
}

/// Somebody tries, while the program stands still.
fn attack(server: &Server, place: &Path, data: &Path) {
    let dir = fs::metadata(&server.sockets).unwrap();
    assert_eq!(dir.mode() & 0o7777, 0o700);
    assert!(server.sockets.starts_with(place.join("tmp")), "{server:?}");
    assert_eq!(server.tcp(), [""; 0]);
    let socket = server.sockets.join(format!(".s.PGSQL.{}", server.port));
    assert_eq!(server.unix(), [socket]);
    let left = fs::read_dir(place.join("open")).unwrap();
    assert_eq!(left.count(), 0, "the settings of the cluster count");
    let said = |sql: &str| {
        let output = server.asked_by(SERVER_USER, sql);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(said("SHOW listen_addresses"), "");
    assert_eq!(said("SHOW unix_socket_permissions"), "0700");
    let hba = server.sockets.join("hba");
    assert_eq!(said("SHOW hba_file"), hba.to_str().unwrap());
    assert_eq!(said("SHOW data_directory"), data.to_str().unwrap());
    let rules = "SELECT type, database, user_name, auth_method FROM pg_hba_file_rules";
    assert_eq!(said(rules), "local|{all}|{all}|trust");
    if nix::unistd::geteuid().is_root() {
        let output = server.asked_by(STRANGER, "SELECT 1");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && text.contains("Permission denied"),
            "{text}"
        );
    }
}

/// Whether the private servers of a command could be attacked, the one in old and those in `more`.
fn attacked(trip: &Trip, command: &str, place: &Path, before: i32, more: &[&Path]) -> bool {
    let mut first = trip.first_command(&[command]);
    first.env("TMPDIR", place.join("tmp"));
    let mut underway = trip.begin(first);
    let places = [(trip.old.as_path(), before)].into_iter();
    let tried = places
        .chain(more.iter().map(|new| (*new, 0)))
        .all(|(data, before)| {
            let server = caught(&mut underway, data, before);
            if let Some(server) = &server {
                attack(server, place, data);
            }
            if !underway.ended() {
                underway.signal(Signal::SIGCONT);
            }
            server.is_some()
        });
    underway.wait().demand(0);
    tried
}

/// Another user of the machine, the network, and a cluster whose files let everybody in.
#[test]
fn nobody_else_reaches_a_private_server() {
    let place = place();
    let place = place.path();
    let open = make_dir(place, "open");
    make_dir(place, "tmp");
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let (old_bindir, new_bindir) = (bindir("old-14"), bindir("new-17"));
    let old = wide_open(place, &old_bindir, "old", port);
    let new = wide_open(place, &new_bindir, "new", port);

    // As its operator starts it, everybody gets in.
    let (data, log) = (old.to_str().unwrap(), open.join("log"));
    let start = ["-w", "-D", data, "-l", log.to_str().unwrap(), "start"];
    as_owner(old_bindir.join("pg_ctl"), &start);
    let server = ready(&old, 0).unwrap();
    assert_eq!(server.sockets, open);
    assert_eq!(server.tcp().len(), 1);
    assert!(server.asked_by(STRANGER, "SELECT 1").status.success());
    as_owner(old_bindir.join("pg_ctl"), &["-w", "-D", data, "stop"]);
    for entry in fs::read_dir(&open).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }

    let trip = Trip {
        old_bindir,
        new_bindir,
        new: new.clone(),
        mode: "copy".to_owned(),
        user: "postgres".to_owned(),
        old: old.clone(),
    };
    for (command, more) in [("check", &[][..]), ("prepare", &[new.as_path()][..])] {
        let caught = (0..ATTEMPTS).any(|_| {
            let tried = attacked(&trip, command, place, server.pid, more);
            if !more.is_empty() && !tried {
                trip.rollback();
            }
            tried
        });
        assert!(caught, "{command} was always quicker");
        say(&format!("TRIED the private servers of {command}"));
    }
    trip.rollback();
}

const SECRET: &str = "sesame-open-it";

/// Libraries that write statements down are there, since objects of users may need them, and keep
/// quiet; what they have kept in old stays there.
#[test]
fn preloaded_libraries_write_no_secret_down() {
    as_server_user("preloaded_libraries_write_no_secret_down", || {
        let old = cluster("old-15", &[]);
        let lines = "shared_preload_libraries = 'auto_explain, pg_stat_statements'\n\
                     session_preload_libraries = 'auto_explain'\n\
                     auto_explain.log_min_duration = 0\n\
                     auto_explain.log_nested_statements = on\n\
                     pg_stat_statements.track = 'all'\npgaudit.log = 'all'\npgaudit.role = 'postgres'";
        old.configure(lines);
        let server = old.start();
        server.sql("postgres", "CREATE EXTENSION pg_stat_statements");
        for whose in ["ROLE postgres", "DATABASE postgres", "ROLE ALL"] {
            for setting in [
                "auto_explain.log_min_duration = 0",
                "pg_stat_statements.track = 'all'",
                "pgaudit.log = 'all'",
            ] {
                server.sql("postgres", &format!("ALTER {whose} SET {setting}"));
            }
        }
        server.sql(
            "postgres",
            &format!(
                "CREATE TABLE kept AS SELECT '{SECRET}'::text AS word FROM generate_series(1, 100); \
                 ALTER TABLE kept ALTER word SET DEFAULT '{SECRET}'"
            ),
        );
        server.sql("postgres", "ANALYZE kept");
        server.sql(
            "postgres",
            &format!(
                "CREATE SUBSCRIPTION follows CONNECTION 'host=nowhere password={SECRET}' \
                 PUBLICATION p WITH (connect = false, enabled = false, slot_name = NONE)"
            ),
        );
        server.sql("postgres", "SELECT 'asked by its users'");
        server.stop();

        let fresh = unique_cluster("new-18", &["--no-data-checksums"]);
        fresh.configure(lines);
        let mut trip = Trip::new(&old, "new-18", "copy");
        trip.new.clone_from(&fresh.data);
        trip.run_first(&["check", "--rehearse"]).demand(0);
        trip.prepare();
        trip.cutover();
        for entry in walkdir::WalkDir::new(trip.state().join("logs")) {
            let entry = entry.unwrap();
            if entry.file_type().is_file() {
                let text = String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned();
                let told = text.contains(SECRET) || text.contains("Query Text");
                assert!(!told, "{}: {text}", entry.path().display());
            }
        }
        let kept = fs::read(trip.new.join("pg_stat/pg_stat_statements.stat")).unwrap();
        let kept = String::from_utf8_lossy(&kept).into_owned();
        assert!(!kept.contains(SECRET) && !kept.contains("CREATE"), "{kept}");
        trip.rollback();
        let server = old.start();
        let mut session = server.connect("postgres");
        let known = support::shop::one(
            &mut session,
            "SELECT count(*) FROM pg_stat_statements WHERE query LIKE 'CREATE SUBSCRIPTION%'",
        );
        assert_eq!(known, "1");
        drop(session);
        server.stop();
        say("TRIED preloaded libraries that write statements down");
    });
}

/// The files of a cluster say where another one is.
#[test]
fn settings_lead_to_no_other_cluster() {
    use pg_migrator::server::{Cancel, Postmaster};
    use support::private;
    as_server_user("settings_lead_to_no_other_cluster", || {
        let victim = cluster("old-15", &[]);
        let before = support::tree::whole(&victim.data);
        let old = unique_cluster("old-15", &[]);
        old.configure(&format!(
            "data_directory = '{}'\nunix_socket_group = 'nobodys_group'",
            victim.data.display()
        ));
        let mut spec = private::old(&old, "old-15");
        spec.timeout = Duration::from_secs(30);
        let server = Postmaster::start(&spec, &Cancel::new()).unwrap();
        let mut session = server.connect("template1").unwrap();
        let served = private::value(&mut session, "SHOW data_directory");
        assert_eq!(served, old.data.to_str().unwrap());
        drop(session);
        server.stop().unwrap();
        let after = support::tree::whole(&victim.data);
        support::tree::demand_same("a private server", &before, &after);
        say("TRIED settings that name another data directory");
    });
}
