//! What stands in old's files, and what is around old: configuration, access rules, standbys.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::trip::{Ran, Trip};
use support::{Cluster, as_server_user, cluster, place};

/// The sentences of some checks, which are the only ones made.
fn found(trip: &Trip, checks: &str) -> Vec<String> {
    let ran: Ran = trip.run_first(&["check", "--json", "--only", checks]);
    ran.demand(0);
    let events = ran.stdout.lines();
    let events = events.map(|line| serde_json::from_str::<Value>(line).unwrap());
    events
        .filter(|event| event["event"] == "finding")
        .map(|event| event["sentence"].as_str().unwrap().to_owned())
        .collect()
}

/// A copy of a stopped cluster, as a standby of it.
fn standby_of(primary: &Cluster, name: &str) -> Cluster {
    let standby = place(&primary.bindir);
    let copied = Command::new("cp")
        .arg("-a")
        .args([&primary.data, &standby.data])
        .status();
    assert!(copied.unwrap().success());
    fs::write(standby.data.join("standby.signal"), "").unwrap();
    let sockets = primary.scratch().display();
    standby.configure(&format!(
        "primary_conninfo = 'host={sockets} port=5432 user=postgres application_name={name}'"
    ));
    standby
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
}

#[test]
fn files_and_standbys_are_seen_wherever_they_are() {
    as_server_user("files_and_standbys_are_seen_wherever_they_are", || {
        let old = cluster("old-12", &[]);
        old.configure("include_dir 'conf.d'\ninclude_if_exists 'absent.conf'");
        fs::create_dir(old.data.join("conf.d")).unwrap();
        write(
            &old.data.join("conf.d/10-mine.conf"),
            "# ours\nwal_keep_segments = 4\nwork_mem = '8MB'\nmy.own = 1\nWAL_keep_segments = 8\n",
        );
        let mut trip = Trip::new(&old, "new-17", "copy");
        of_a_running_server(&old, &trip);
        of_a_stopped_one_with_its_settings_elsewhere(&old, &mut trip);
    });
}

fn of_a_running_server(old: &Cluster, trip: &Trip) {
    let near = standby_of(old, "near");
    let server = old.start();
    let follower = near.start();
    let streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
    let mut session = server.connect("postgres");
    while session.query_one(streaming, &[]).unwrap().get::<_, i64>(0) == 0 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let file = old.data.join("conf.d/10-mine.conf");
    let refused = |line: u8, value: &str| {
        format!(
            "line {line} of {} sets {value}, which the new version refuses: unrecognized \
             configuration parameter \"wal_keep_segments\"",
            file.display()
        )
    };
    assert_eq!(
        found(trip, "refused-settings-in-files,standbys"),
        [
            refused(2, "wal_keep_segments = 4"),
            refused(5, "WAL_keep_segments = 8").replace("\"wal_", "\"WAL_"),
            "standby near at this machine follows the old server (async)".to_owned(),
        ]
    );
    drop(session);
    follower.stop();
    server.stop();
}

/// This version has OpenSSL, so that a rule for it is none to speak of.
fn of_a_stopped_one_with_its_settings_elsewhere(old: &Cluster, trip: &mut Trip) {
    let conf = old.scratch().join("etc");
    fs::create_dir(&conf).unwrap();
    for name in ["postgresql.conf", "pg_ident.conf", "conf.d"] {
        fs::rename(old.data.join(name), conf.join(name)).unwrap();
    }
    fs::remove_file(old.data.join("pg_hba.conf")).unwrap();
    let settings = fs::read_to_string(conf.join("postgresql.conf")).unwrap();
    let place = format!("\ndata_directory = '{}'\n", old.data.display());
    write(&conf.join("postgresql.conf"), &(settings + &place));
    write(
        &conf.join("pg_hba.conf"),
        "local all all trust\n\
         hostssl \"all\",@dbs,sameuser all samenet scram-sha-256 clientcert=verify-full\n\
         hostssl all \\\n  +staff all md5 clientcert=1 # as it was\n\
         host all all 10.0.0.1 255.255.255.255 ldap ldapbindpasswd=secret\n",
    );
    trip.old = conf.clone();
    let hba = conf.join("pg_hba.conf");
    let (hba, mine) = (hba.display(), conf.join("conf.d/10-mine.conf"));
    let all = found(trip, "refused-settings-in-files,refused-access-rules");
    let expected = [
        format!("line 3 of {hba} (hostssl, md5) is a rule the new version refuses: "),
        format!("line 5 of {hba} (host, ldap) is a rule the new version refuses: "),
        format!("line 2 of {} sets wal_keep_segments = 4", mine.display()),
        format!("line 5 of {} sets WAL_keep_segments = 8", mine.display()),
    ];
    assert_eq!(all.len(), expected.len(), "{all:#?}");
    for (said, begins) in all.iter().zip(&expected) {
        assert!(said.starts_with(begins), "{said}\n{begins}");
    }
    assert!(!all.concat().contains("secret"), "{all:#?}");
}
