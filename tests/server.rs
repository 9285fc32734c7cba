//! The room `server` on real servers.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pg_migrator::error::Code;
use pg_migrator::pg::{ClusterState, ControlFile};
use pg_migrator::server::{
    Cancel, Client, Postmaster, PostmasterSpec, Side, in_each_database, leftover, privileges,
    running, stop_leftover,
};
use support::private::{SIGINT, fact, find, log, new, old, value};
use support::{Cluster, as_server_user, cluster, until};

#[test]
fn every_version_serves_privately() {
    as_server_user("every_version_serves_privately", || {
        let olds = (10..=17).map(|v| (Side::Old, format!("old-{v}")));
        let news = (15..=18).map(|v| (Side::New, format!("new-{v}")));
        for (side, name) in olds.chain(news) {
            let cluster = cluster(&name, &[]);
            // Settings with which a server in binary-upgrade mode, or ours, would not start.
            let slots = name.ends_with("17") || name.ends_with("18");
            if slots {
                cluster.configure("max_slot_wal_keep_size = 100MB\nsummarize_wal = on");
            }
            let spec = match side {
                Side::Old => old(&cluster, &name),
                Side::New => new(&cluster, &name),
            };
            serves_privately(&cluster, &spec);
        }
    });
}

fn serves_privately(cluster: &Cluster, spec: &PostmasterSpec) {
    let cancel = Cancel::new();
    let server = Postmaster::start(spec, &cancel).unwrap();
    let socket_dir = server.host.clone();
    assert_eq!(socket_dir.metadata().unwrap().mode() & 0o777, 0o700);
    let mut client = server.connect("postgres").unwrap();
    let read_only = value(&mut client, "SHOW transaction_read_only");
    assert_eq!(read_only == "on", spec.installation.side == Side::Old);
    assert_eq!(value(&mut client, "SHOW search_path"), "\"\"");
    assert_eq!(value(&mut client, "SHOW max_locks_per_transaction"), "128");
    assert_eq!(value(&mut client, "SHOW listen_addresses"), "");
    drop(client);
    let names = ["template1", "postgres"].map(str::to_owned);
    let answers = in_each_database(&server, &names, 4, &cancel, |client, name| {
        let rows = client.rows("SELECT pg_catalog.current_database()::pg_catalog.text", &[])?;
        assert_eq!(client.database(), name);
        Ok(rows[0].get::<_, String>(0))
    });
    assert_eq!(answers.unwrap(), names);
    let datadir = cluster.datadir();
    assert!(leftover(&datadir).unwrap().is_some());
    server.stop().unwrap();
    assert!(!socket_dir.exists());
    assert_eq!(running(&datadir).unwrap(), None);
    let control = ControlFile::read(&cluster.data).unwrap();
    assert_eq!(control.state, ClusterState::ShutDown);
}

#[test]
fn a_session_is_pinned_whatever_database_and_role_say() {
    as_server_user("a_session_is_pinned_whatever_database_and_role_say", || {
        let cluster = cluster("old-15", &[]);
        let started = cluster.start();
        started.sql(
            "postgres",
            "CREATE ROLE weak;
             CREATE TABLE public.t (x int);
             ALTER DATABASE postgres SET search_path = public;
             ALTER ROLE postgres SET role = weak;
             ALTER ROLE postgres IN DATABASE postgres SET statement_timeout = 1;
             ALTER ROLE postgres SET datestyle = 'German';
             ALTER ROLE postgres SET bytea_output = 'escape'",
        );
        started.stop();
        let server = Postmaster::start(&old(&cluster, "old-15"), &Cancel::new()).unwrap();
        let mut client = server.connect("postgres").unwrap();
        assert_eq!(value(&mut client, "SELECT current_user"), "postgres");
        assert_eq!(value(&mut client, "SHOW statement_timeout"), "0");
        assert_eq!(value(&mut client, "SELECT date '2026-11-21'"), "2026-11-21");
        assert_eq!(value(&mut client, "SELECT '\\x00ff'::bytea"), "\\x00ff");
        let error = client.run_script("SELECT * FROM t").unwrap_err();
        assert_eq!(error.code(), Code::Query);
        assert_eq!(fact(&error, "sqlstate"), Some("42P01"));
        assert_eq!(fact(&error, "database"), Some("postgres"));
        let error = client.run_script("CREATE TABLE public.u ()").unwrap_err();
        assert_eq!(fact(&error, "sqlstate"), Some("25006"));
        server.stop().unwrap();
    });
}

#[test]
fn rows_go_in_and_out_by_copy() {
    as_server_user("rows_go_in_and_out_by_copy", || {
        let cluster = cluster("new-17", &[]);
        let mut spec = new(&cluster, "new-17");
        spec.binary_upgrade = false;
        let server = Postmaster::start(&spec, &Cancel::new()).unwrap();
        let mut client = server.connect("postgres").unwrap();
        client.run_script("CREATE TABLE public.t (x int)").unwrap();
        // A thousand notices must neither block nor be printed.
        client
            .run_script(
                "DO $$ BEGIN FOR i IN 1..1000 LOOP RAISE WARNING '%', repeat('x', 1000);
                 END LOOP; END $$ LANGUAGE plpgsql",
            )
            .unwrap();
        let text: String = (0..100_000).map(|n| format!("{n}\n")).collect();
        let sql = "COPY public.t FROM STDIN";
        assert_eq!(client.copy_in(sql, &mut text.as_bytes()).unwrap(), 100_000);
        let mut back = Vec::new();
        client
            .copy_out("COPY public.t TO STDOUT", &mut back)
            .unwrap();
        assert_eq!(back, text.as_bytes());
        let error = client.copy_in(sql, &mut "one\n".as_bytes()).unwrap_err();
        assert_eq!(fact(&error, "sqlstate"), Some("22P02"));
        assert!(fact(&error, "context").unwrap().contains("line 1"));
        let changed = client.execute("DELETE FROM public.t WHERE x < $1", &[&10i32]);
        assert_eq!(changed.unwrap(), 10);
        server.stop().unwrap();
    });
}

#[test]
fn a_server_that_cannot_start_says_why() {
    as_server_user("a_server_that_cannot_start_says_why", || {
        let cluster = cluster("old-15", &[]);
        cluster.configure("shared_preload_libraries = 'no_such_module'");
        let error = Postmaster::start(&old(&cluster, "old-15"), &Cancel::new()).unwrap_err();
        assert_eq!(error.code(), Code::ServerStart);
        let mut facts = error.facts().iter();
        assert!(facts.any(|(name, text)| name == "log line" && text.contains("no_such_module")));
        assert_eq!(fact(&error, "log"), log(&cluster).to_str());
        assert_eq!(fact(&error, "exit status"), Some("1"));
    });
}

#[test]
fn a_server_that_is_not_ready_in_time_is_stopped() {
    as_server_user("a_server_that_is_not_ready_in_time_is_stopped", || {
        let cluster = cluster("old-15", &[]);
        let mut spec = old(&cluster, "old-15");
        // It says so elsewhere, so the wait has no end of its own.
        spec.data_dir = cluster.scratch().to_owned();
        spec.installation.bindir = cluster.scratch().join("bin");
        std::fs::create_dir(&spec.installation.bindir).unwrap();
        let program = spec.installation.program("postgres");
        let script = format!(
            "#!/bin/sh\nexec '{}/postgres' \"$@\" -c data_directory='{}'\n",
            cluster.bindir.display(),
            cluster.data.display()
        );
        support::write_program(&program, &script);
        spec.timeout = Duration::from_secs(2);
        let error = Postmaster::start(&spec, &Cancel::new()).unwrap_err();
        assert_eq!(error.code(), Code::ServerStart);
        // Its end is asked for, and may take longer than the start was to take.
        until(|| running(&cluster.datadir()).unwrap().is_none());

        spec.timeout = Duration::from_secs(60);
        let cancel = Cancel::new();
        let asking = cancel.clone();
        let asker = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(500));
            asking.request(SIGINT);
        });
        let error = Postmaster::start(&spec, &cancel).unwrap_err();
        asker.join().unwrap();
        assert_eq!(error.code(), Code::Interrupted);
        assert_eq!(running(&cluster.datadir()).unwrap(), None);
    });
}

#[test]
fn a_request_to_stop_cancels_statements() {
    as_server_user("a_request_to_stop_cancels_statements", || {
        let cluster = cluster("old-10", &[]);
        let server = Postmaster::start(&old(&cluster, "old-10"), &Cancel::new()).unwrap();
        let cancel = Cancel::new();
        let names = ["template1", "postgres", "postgres"].map(str::to_owned);
        let asking = cancel.clone();
        let asker = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            asking.request(SIGINT);
        });
        let started = Instant::now();
        let work =
            |client: &mut Client, _: &str| client.run_script("SELECT pg_catalog.pg_sleep(60)");
        let error = in_each_database(&server, &names, 2, &cancel, work).unwrap_err();
        asker.join().unwrap();
        assert_eq!(error.code(), Code::Interrupted);
        assert!(started.elapsed() < Duration::from_secs(45));
        server.stop().unwrap();
    });
}

#[test]
fn the_first_error_ends_the_work_in_all_databases() {
    as_server_user("the_first_error_ends_the_work_in_all_databases", || {
        let cluster = cluster("old-15", &[]);
        let server = Postmaster::start(&old(&cluster, "old-15"), &Cancel::new()).unwrap();
        let names = ["template1", "missing", "postgres"].map(str::to_owned);
        let done = std::sync::Mutex::new(Vec::new());
        let error = in_each_database(&server, &names, 1, &Cancel::new(), |_, name| {
            done.lock().unwrap().push(name.to_owned());
            Ok(())
        });
        let error = error.unwrap_err();
        assert_eq!(error.code(), Code::Connection);
        assert_eq!(fact(&error, "sqlstate"), Some("3D000"));
        assert_eq!(*done.lock().unwrap(), ["template1"]);
        let mut client = server.connect("postgres").unwrap();
        let others = "SELECT count(*) FROM pg_catalog.pg_stat_activity \
                      WHERE backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()";
        // A session ends a moment after its client.
        until(|| value(&mut client, others) == "0");
        server.stop().unwrap();
    });
}

#[test]
fn a_leftover_is_found_and_stopped() {
    as_server_user("a_leftover_is_found_and_stopped", || {
        let cluster = cluster("old-15", &[]);
        let datadir = cluster.datadir();
        let limit = Duration::from_secs(60);
        let foreign = cluster.start();
        assert_eq!(leftover(&datadir).unwrap(), None);
        assert_eq!(
            running(&datadir).unwrap().map(|file| file.pid),
            Some(foreign.pid())
        );
        stop_leftover(&datadir, limit).unwrap();
        assert!(running(&datadir).unwrap().is_some(), "not ours to stop");
        foreign.stop();

        let server = Postmaster::start(&old(&cluster, "old-15"), &Cancel::new()).unwrap();
        let socket_dir = server.host.clone();
        std::mem::forget(server);
        assert!(leftover(&datadir).unwrap().is_some());
        stop_leftover(&datadir, limit).unwrap();
        assert_eq!(leftover(&datadir).unwrap(), None);
        // Who made it lives on, and holds it.
        assert!(socket_dir.exists());
        std::fs::remove_dir_all(&socket_dir).unwrap();
        let control = ControlFile::read(&cluster.data).unwrap();
        assert_eq!(control.state, ClusterState::ShutDown);
        stop_leftover(&datadir, limit).unwrap();
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_goes_down_with_a_killed_run() {
    const VICTIM: &str = "PGM_TEST_VICTIM";
    let name = "a_server_goes_down_with_a_killed_run";
    as_server_user(name, || {
        if let Some(data) = std::env::var_os(VICTIM) {
            let installation = find(Side::Old, "old-15");
            let datadir = pg_migrator::pg::DataDir::resolve(Path::new(&data)).unwrap();
            let log = datadir.path.with_extension("log");
            let spec = PostmasterSpec::for_old(&installation, &datadir, "postgres", &log, None);
            let _server = Postmaster::start(&spec, &Cancel::new()).unwrap();
            nix::sys::signal::raise(nix::sys::signal::SIGKILL).unwrap();
        }
        let cluster = cluster("old-15", &[]);
        let output = support::run_again(name, &[], &[(VICTIM, cluster.data.to_str().unwrap())]);
        assert!(!output.status.success());
        let log = std::fs::read_to_string(cluster.data.with_extension("log")).unwrap();
        assert!(log.contains("ready to accept connections"), "{log}");
        let datadir = cluster.datadir();
        let killed = Instant::now();
        while running(&datadir).unwrap().is_some() {
            assert!(killed.elapsed() < Duration::from_secs(30), "still running");
            std::thread::sleep(Duration::from_millis(20));
        }
        let control = ControlFile::read(&cluster.data).unwrap();
        assert_eq!(control.state, ClusterState::ShutDown);
        // Its socket's directory is swept by whoever comes next.
        let opts = datadir.postmaster_opts().unwrap().unwrap();
        let socket_dir = PathBuf::from(opts.setting("unix_socket_directories").unwrap());
        assert!(socket_dir.exists());
        stop_leftover(&datadir, Duration::from_secs(1)).unwrap();
        assert!(!socket_dir.exists());
    });
}

/// Root is given up in a process of its own, since there is no way back.
#[test]
fn root_becomes_the_owner_for_good() {
    const DATA: &str = "PGM_TEST_OWNED";
    let name = "root_becomes_the_owner_for_good";
    if !nix::unistd::geteuid().is_root() {
        let error = privileges::become_owner(Path::new("/proc/1")).unwrap_err();
        assert_eq!(error.code(), Code::OwnedByRoot);
        privileges::become_owner(tempfile::tempdir().unwrap().path()).unwrap();
        return;
    }
    let Some(data) = std::env::var_os(DATA) else {
        let dir = tempfile::tempdir().unwrap();
        let user = nix::unistd::User::from_name(support::SERVER_USER)
            .unwrap()
            .unwrap();
        std::os::unix::fs::chown(dir.path(), Some(user.uid.as_raw()), None).unwrap();
        let output = support::run_again(name, &[], &[(DATA, dir.path().to_str().unwrap())]);
        support::demand_passed(name, &output);
        return;
    };
    let data = Path::new(&data);
    privileges::become_owner(data).unwrap();
    let owner = data.metadata().unwrap().uid();
    assert_eq!(nix::unistd::geteuid().as_raw(), owner);
    assert_eq!(nix::unistd::getuid().as_raw(), owner);
    assert!(
        nix::unistd::getgroups()
            .unwrap()
            .iter()
            .all(|group| group.as_raw() != 0)
    );
    assert!(nix::unistd::setuid(nix::unistd::Uid::from_raw(0)).is_err());
    privileges::become_owner(data).unwrap();
    // PostgreSQL's own programs agree that this is not root.
    let installation = find(Side::Old, "old-15");
    let error = installation.setting(data, "port").unwrap_err();
    let said = fact(&error, "output").unwrap();
    assert!(!said.contains("root"), "{said}");
}
