//! Private servers, as tests start them.

use std::path::PathBuf;

use pg_migrator::error::Error;
use pg_migrator::pg::MajorVersion;
use pg_migrator::server::{Cancel, Client, Endpoint, Installation, PostmasterSpec, Side};

use super::{Cluster, bindir};

/// Ctrl-C.
pub const SIGINT: i32 = 2;

/// An installation of the toolchain.
pub fn find(side: Side, name: &str) -> Installation {
    Installation::find(side, &bindir(name), &Cancel::new()).unwrap()
}

/// Where the messages of private servers of a cluster go.
pub fn log(cluster: &Cluster) -> PathBuf {
    cluster.scratch().join("private.log")
}

/// The server of an old cluster that a test has started by itself.
pub fn operators(cluster: &Cluster, major: u16) -> Endpoint {
    Endpoint {
        side: Side::Old,
        major: MajorVersion(major),
        data_dir: cluster.data.clone(),
        host: cluster.scratch().to_owned(),
        port: 5432,
        user: "postgres".to_owned(),
        log: None,
        private: false,
    }
}

/// How a private server of an old cluster is started.
pub fn old(cluster: &Cluster, name: &str) -> PostmasterSpec {
    let installation = find(Side::Old, name);
    let datadir = cluster.datadir();
    PostmasterSpec::for_old(
        &installation,
        &datadir,
        "postgres",
        &log(cluster),
        Some(128),
    )
}

/// How a private server of a new cluster is started.
pub fn new(cluster: &Cluster, name: &str) -> PostmasterSpec {
    let installation = find(Side::New, name);
    let datadir = cluster.datadir();
    PostmasterSpec::for_new(
        &installation,
        &datadir,
        "postgres",
        &log(cluster),
        false,
        128,
    )
}

/// The first value a query gives, as text.
pub fn value(client: &mut Client, sql: &str) -> String {
    client.text_rows(sql).unwrap()[0][0].clone().unwrap()
}

/// The first fact of this name.
pub fn fact<'a>(error: &'a Error, name: &str) -> Option<&'a str> {
    let found = error.facts().iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str())
}
