//! The operator's own server: found, stopped, and started again as it was.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pg_migrator::error::Code;
use pg_migrator::pg::ClusterState;
use pg_migrator::server::{
    Cancel, Endpoint, Installation, Postmaster, Running, Side, StartSpec, StopSpec,
};
use support::private::{find, old, value};
use support::{Cluster, as_server_user, cluster};

const STOP: StopSpec = StopSpec {
    timeout: Duration::from_secs(60),
};

fn running(cluster: &Cluster, installation: &Installation) -> Option<Running> {
    Running::find(&cluster.datadir(), installation, "postgres").unwrap()
}

fn setting(endpoint: &Endpoint, name: &str) -> String {
    let mut client = endpoint.connect("postgres").unwrap();
    value(&mut client, &format!("SHOW {name}"))
}

/// Stops what a test leaves running, however it ends.
struct Stopped<'a>(&'a Cluster);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        let _ = Command::new(self.0.bindir.join("pg_ctl"))
            .args(["stop", "-m", "fast", "-D"])
            .arg(&self.0.data)
            .output();
    }
}

#[test]
fn a_server_of_every_version_is_stopped_and_started_as_it_was() {
    as_server_user(
        "a_server_of_every_version_is_stopped_and_started_as_it_was",
        || {
            for major in 10..=17 {
                let name = format!("old-{major}");
                let cluster = cluster(&name, &[]);
                comes_back(&cluster, &find(Side::Old, &name));
            }
        },
    );
}

fn comes_back(cluster: &Cluster, installation: &Installation) {
    let cancel = Cancel::new();
    assert_eq!(running(cluster, installation), None);
    let _end = Stopped(cluster);
    let server = cluster.start_with(&["work_mem=7MB", "cluster_name=it's $HOME"]);
    let found = running(cluster, installation).unwrap();
    assert_eq!(found.pid.pid, server.pid());
    assert_eq!(found.endpoint.host, cluster.scratch());
    assert_eq!(setting(&found.endpoint, "work_mem"), "7MB");
    assert_eq!(
        setting(&found.endpoint, "transaction_read_only"),
        "on",
        "nothing is changed in old"
    );
    // A session that does nothing holds nobody up.
    let idle = server.connect("postgres");
    let control = found.stop(&STOP, &cancel).unwrap();
    assert_eq!(control.state, ClusterState::ShutDown);
    assert_eq!(running(cluster, installation), None);
    drop((idle, server));

    let log = cluster.scratch().join("again.log");
    let data_dir = cluster.datadir();
    let spec = StartSpec {
        installation,
        data_dir: &data_dir,
        user: "postgres",
        opts: &found.opts,
        log: &log,
        timeout: Duration::from_secs(60),
    };
    let again = Running::start_again(&spec, &cancel).unwrap();
    assert_eq!(again.endpoint, found.endpoint);
    assert_eq!(again.opts, found.opts);
    assert_eq!(setting(&again.endpoint, "work_mem"), "7MB");
    assert_eq!(setting(&again.endpoint, "cluster_name"), "it's $HOME");
    assert_eq!(Running::start_again(&spec, &cancel).unwrap().pid, again.pid);
    again.stop(&STOP, &cancel).unwrap();
}

#[test]
fn a_server_without_a_socket_is_reached_by_its_address() {
    as_server_user(
        "a_server_without_a_socket_is_reached_by_its_address",
        || {
            let cluster = cluster("old-15", &[]);
            let installation = find(Side::Old, "old-15");
            let port = free_port();
            let settings = [
                "listen_addresses=127.0.0.1".to_owned(),
                format!("port={port}"),
            ];
            let server = start_elsewhere(&cluster, &settings);
            let found = running(&cluster, &installation).unwrap();
            assert_eq!(found.endpoint.host, Path::new("127.0.0.1"));
            assert_eq!(setting(&found.endpoint, "port"), port.to_string());
            found.stop(&STOP, &Cancel::new()).unwrap();
            drop(server);
        },
    );
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A server without a socket, which the usual start of the tests would wait for in vain.
fn start_elsewhere<'a>(cluster: &'a Cluster, settings: &[String]) -> Stopped<'a> {
    let words: Vec<String> = settings
        .iter()
        .map(|setting| format!("-c {setting}"))
        .collect();
    let options = format!(
        "-c unix_socket_directories= -c fsync=off {}",
        words.join(" ")
    );
    let started = Command::new(cluster.bindir.join("pg_ctl"))
        .args(["start", "-w", "-o", &options, "-D"])
        .arg(&cluster.data)
        .arg("-l")
        .arg(cluster.scratch().join("server.log"))
        .output()
        .unwrap();
    assert!(started.status.success(), "{}", cluster.server_log());
    Stopped(cluster)
}

#[test]
fn a_private_server_is_not_the_operators() {
    as_server_user("a_private_server_is_not_the_operators", || {
        let cluster = cluster("old-15", &[]);
        let server = Postmaster::start(&old(&cluster, "old-15"), &Cancel::new()).unwrap();
        assert_eq!(running(&cluster, &find(Side::Old, "old-15")), None);
        server.stop().unwrap();
    });
}

#[test]
fn a_server_that_refuses_says_how_one_gets_in() {
    as_server_user("a_server_that_refuses_says_how_one_gets_in", || {
        let cluster = cluster("old-14", &[]);
        let installation = find(Side::Old, "old-14");
        let server = cluster.start();
        let said = |rule: &str| {
            let hba = format!("{rule}\nlocal template1 postgres trust\n");
            std::fs::write(cluster.data.join("pg_hba.conf"), hba).unwrap();
            server.sql("template1", "SELECT pg_reload_conf()");
            let endpoint = running(&cluster, &installation).unwrap().endpoint;
            let mut tries = 0..100;
            loop {
                match endpoint.connect("postgres") {
                    Err(error) => return error,
                    Ok(_) => assert!(tries.next().is_some(), "{rule} lets everybody in"),
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        let rejected = said("local postgres all reject");
        assert_eq!(rejected.code(), Code::Connection);
        assert!(
            format!("{:?}", rejected.remedy_text()).contains("local all postgres peer"),
            "{rejected:?}"
        );
        let asked = said("local postgres all md5");
        assert_eq!(asked.code(), Code::Connection);
        assert!(
            format!("{:?}", asked.remedy_text()).contains("PGPASSWORD"),
            "{asked:?}"
        );
        server.stop();
    });
}
