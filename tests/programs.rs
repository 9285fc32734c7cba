//! PostgreSQL's programs as the room `server` runs them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use pg_migrator::error::Code;
use pg_migrator::pg::{ControlFile, MajorVersion};
use pg_migrator::server::initdb::{LocaleProvider, sync_only};
use pg_migrator::server::pg_restore::{self, Transactions};
use pg_migrator::server::psql::Script;
use pg_migrator::server::{
    Cancel, Initdb, PgDump, PgDumpall, PgResetwal, PgRestore, Postmaster, PostmasterSpec, Psql,
    Side,
};
use support::private::{SIGINT, fact, find, log, new, old, value};
use support::{Cluster, as_server_user, cluster};

#[test]
fn a_dump_is_restored_whatever_the_database_is_called() {
    as_server_user("a_dump_is_restored_whatever_the_database_is_called", || {
        let names = [
            "-x",
            "a=b",
            "postgres://c",
            "it's \"q\" \\ b",
            "dbname='z' täble",
        ];
        let old_cluster = cluster("old-10", &[]);
        let started = old_cluster.start();
        for name in names {
            started.sql(
                "postgres",
                &format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\"")),
            );
            started.sql(
                name,
                "CREATE TABLE t (x int); CREATE VIEW v AS SELECT * FROM t",
            );
        }
        started.sql("postgres", "CREATE ROLE \"O'Hara\"");
        started.stop();
        for version in [15, 16, 17, 18] {
            restored(&old_cluster, &names, version);
        }
    });
}

fn restored(old_cluster: &Cluster, names: &[&str], version: u16) {
    let cancel = Cancel::new();
    let name = format!("new-{version}");
    let new_cluster = cluster(&name, &[]);
    let programs = find(Side::New, &name);
    let log = log(&new_cluster);
    let file = |what: &str| new_cluster.scratch().join(what);
    let old_server = Postmaster::start(&old(old_cluster, "old-10"), &cancel).unwrap();
    let new_server = Postmaster::start(&new(&new_cluster, &name), &cancel).unwrap();

    let globals = file("globals.sql");
    PgDumpall {
        conninfo: &old_server.server_conninfo(),
        file: &globals,
        tablespaces: true,
        lock_wait_timeout: Some(Duration::from_secs(5)),
        password: false,
        sync: false,
    }
    .run(&programs, &log, &cancel)
    .unwrap();
    let conninfo = new_server.conninfo("postgres");
    let psql = Psql {
        conninfo: &conninfo,
        script: Script::File(&globals),
        failure: Code::RestoreFailed,
    };
    psql.run(&programs, &log, &cancel).unwrap();

    for (number, database) in names.iter().enumerate() {
        let dump = file(&format!("{number}.dump"));
        PgDump {
            conninfo: &old_server.conninfo(database),
            database,
            file: &dump,
            snapshot: None,
            lock_wait_timeout: Some(Duration::from_secs(5)),
            statistics: PgDump::knows_statistics(MajorVersion(version)),
            labels: true,
            password: false,
            sync: false,
        }
        .run(&programs, &log, &cancel)
        .unwrap();
        let list = pg_restore::list(&programs, &dump, &log, &cancel).unwrap();
        assert!(
            list.contains("TABLE public t") && list.contains("depends on:"),
            "{list}"
        );
        PgRestore {
            file: &dump,
            conninfo: &conninfo,
            database,
            clean: false,
            create: true,
            use_list: None,
            transactions: Transactions::Of(1000),
            jobs: 1,
        }
        .run(&programs, &log, &cancel)
        .unwrap();
        let mut client = new_server.connect(database).unwrap();
        assert_eq!(value(&mut client, "SELECT count(*) FROM public.v"), "0");
    }
    let roles = Psql {
        script: Script::Command("SELECT rolname FROM pg_roles WHERE rolname LIKE 'O%'"),
        ..psql
    };
    let output = roles.run(&programs, &log, &cancel).unwrap();
    assert_eq!(output.stdout, b"O'Hara\n");
    new_server.stop().unwrap();
    old_server.stop().unwrap();
}

#[test]
fn a_failing_program_says_what_it_said() {
    as_server_user("a_failing_program_says_what_it_said", || {
        let cancel = Cancel::new();
        let scratch = tempfile::tempdir().unwrap();
        let log = scratch.path().join("log");
        let programs = find(Side::New, "new-17");
        let error = PgDump {
            conninfo: "host='/nonexistent' user='nobody' dbname='x'",
            database: "x",
            file: &scratch.path().join("dump"),
            snapshot: None,
            lock_wait_timeout: None,
            statistics: false,
            labels: true,
            password: false,
            sync: false,
        }
        .run(&programs, &log, &cancel)
        .unwrap_err();
        assert_eq!(error.code(), Code::DumpFailed);
        assert_eq!(fact(&error, "exit status"), Some("1"));
        assert_eq!(fact(&error, "database"), Some("x"));
        assert!(fact(&error, "output").unwrap().contains("/nonexistent"));
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(
            text.starts_with("command: ") && text.contains("--schema-only"),
            "{text}"
        );

        cancel.request(SIGINT);
        let error = sync_only(&programs, scratch.path(), &log, &cancel).unwrap_err();
        assert_eq!(error.code(), Code::Interrupted);
    });
}

#[test]
fn a_new_cluster_is_what_was_asked_for() {
    as_server_user("a_new_cluster_is_what_was_asked_for", || {
        for version in [15u16, 16, 17, 18] {
            created(version);
        }
    });
}

fn created(version: u16) {
    let cancel = Cancel::new();
    let scratch = tempfile::tempdir().unwrap();
    let (data, wal) = (scratch.path().join("data"), scratch.path().join("wal"));
    let log = scratch.path().join("log");
    let programs = find(Side::New, &format!("new-{version}"));
    let provider = if version >= 17 {
        LocaleProvider::Builtin {
            locale: "C.UTF-8".into(),
        }
    } else {
        LocaleProvider::Libc
    };
    let mut initdb = Initdb {
        data_dir: &data,
        wal_dir: Some(&wal),
        user: "The Owner",
        encoding: "UTF8",
        provider,
        collate: "C",
        ctype: "C.UTF-8",
        lc_messages: "C",
        lc_monetary: "C",
        lc_numeric: "C",
        lc_time: "C",
        text_search_config: Some("german"),
        data_checksums: false,
        wal_segment_size: 4 << 20,
        group_access: true,
        auth_local: "peer",
        auth_host: "scram-sha-256",
        sync: false,
    };
    initdb.run(&programs, &log, &cancel).unwrap();
    sync_only(&programs, &data, &log, &cancel).unwrap();
    let control = ControlFile::read(&data).unwrap();
    assert_eq!(control.wal_segment_size, 4 << 20);
    assert_eq!(control.data_checksum_version, 0);
    assert_eq!(data.metadata().unwrap().mode() & 0o777, 0o750);

    let counters = PgResetwal {
        next_oid: Some(pg_migrator::pg::Oid(123_456)),
        ..PgResetwal::default()
    };
    let said = counters.dry_run(&programs, &data, &log, &cancel).unwrap();
    assert!(said.contains("NextOID"), "{said}");
    assert_eq!(ControlFile::read(&data).unwrap().next_oid, control.next_oid);
    counters.run(&programs, &data, &log, &cancel).unwrap();
    assert_eq!(ControlFile::read(&data).unwrap().next_oid.0, 123_456);

    let datadir = pg_migrator::pg::DataDir::resolve(&data).unwrap();
    let spec = PostmasterSpec::for_new(&programs, &datadir, "The Owner", &log, true, 64);
    let server = Postmaster::start(&spec, &cancel).unwrap();
    let mut client = server.connect("template1").unwrap();
    assert_eq!(
        value(&mut client, "SHOW default_text_search_config"),
        "pg_catalog.german"
    );
    let locale = "SELECT datcollate || ' ' || datctype || ' ' || datlocprovider::text \
                  FROM pg_catalog.pg_database WHERE datname = 'template0'";
    let expected = if version >= 17 {
        "C C.UTF-8 b"
    } else {
        "C C.UTF-8 c"
    };
    assert_eq!(value(&mut client, locale), expected);
    server.stop().unwrap();

    // What is there is never overwritten.
    initdb.wal_dir = None;
    let error = initdb.run(&programs, &log, &cancel).unwrap_err();
    assert_eq!(error.code(), Code::InitdbFailed);
    assert!(data.join("PG_VERSION").is_file());
}

#[test]
fn a_setting_is_asked_of_the_server_program() {
    as_server_user("a_setting_is_asked_of_the_server_program", || {
        let cluster = cluster("old-11", &[]);
        cluster.configure("cluster_name = 'the old one'");
        let installation = find(Side::Old, "old-11");
        let value = installation.setting(&cluster.data, "cluster_name");
        assert_eq!(value.unwrap(), "the old one");
        let error = installation.setting(&cluster.data, "no_such_setting");
        assert_eq!(error.unwrap_err().code(), Code::ProgramFailed);
    });
}
