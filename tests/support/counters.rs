//! Clusters whose transaction and multixact counters are anywhere one likes.

use std::fs;
use std::path::Path;
use std::process::Command;

use pg_migrator::pg::{ControlFile, FullXid, MultiXid, Xid, slru};

use super::{Cluster, Running, bindir};

/// Counters, as `pg_resetwal` sets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// The next transaction ID, with its epoch.
    pub xid: FullXid,
    /// The next multixact ID.
    pub multi: MultiXid,
    /// The next member of one.
    pub member: u32,
}

impl Counters {
    /// Those of a cluster that is down.
    pub fn of(data: &Path) -> Self {
        let control = ControlFile::read(data).unwrap();
        Self {
            xid: control.next_xid,
            multi: control.next_multi,
            member: control.next_multi_offset as u32,
        }
    }

    /// An epoch, a transaction ID, a multixact ID and a member.
    pub fn new(epoch: u32, xid: u32, multi: u32, member: u32) -> Self {
        Self {
            xid: FullXid::new(epoch, Xid(xid)),
            multi: MultiXid(multi),
            member,
        }
    }
}

/// Moves the counters of a cluster that is down. Nothing is frozen, nothing is forgotten.
///
/// Only a whole installation of the same major version has the program for it.
pub fn set(cluster: &Cluster, installation: &str, to: Counters) {
    let control = ControlFile::read(&cluster.data).unwrap();
    // With none in use the oldest one is the next.
    let oldest_multi = if control.oldest_multi == control.next_multi {
        to.multi
    } else {
        control.oldest_multi
    };
    let words = [
        "-x".to_owned(),
        to.xid.xid().to_string(),
        "-e".to_owned(),
        to.xid.epoch().to_string(),
        "-u".to_owned(),
        control.oldest_xid.to_string(),
        "-m".to_owned(),
        format!("{},{oldest_multi}", to.multi),
        "-O".to_owned(),
        to.member.to_string(),
    ];
    let output = Command::new(bindir(installation).join("pg_resetwal"))
        .args(words)
        .arg("-D")
        .arg(&cluster.data)
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    // What a server that had come this far would have written. The page of a number that is the
    // first of its page is made when the number is used.
    let before = |number: u32| number.wrapping_sub(1);
    let (xid, multi, member) = (to.xid.xid(), to.multi, to.member);
    for (dir, at, last) in [
        (
            "pg_xact",
            slru::xact_position(xid),
            slru::xact_position(Xid(before(xid.0))),
        ),
        (
            "pg_multixact/offsets",
            slru::offset_position(multi),
            slru::offset_position(MultiXid(before(multi.0))),
        ),
        (
            "pg_multixact/members",
            slru::member_position(member),
            slru::member_position(before(member)),
        ),
    ] {
        let segment = cluster.data.join(dir).join(at.segment_name());
        if at.page == last.page {
            let file = fs::File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(segment);
            let whole = u64::from(slru::PAGES_PER_SEGMENT) * slru::PAGE_SIZE as u64;
            file.unwrap().set_len(whole).unwrap();
        }
    }
}

/// Freezes every row of every database, so that the counters may go on by two billions.
pub fn freeze(server: &Running<'_>) {
    let allow = |yes: bool| {
        server.sql(
            "postgres",
            &format!("UPDATE pg_database SET datallowconn = {yes} WHERE datname = 'template0'"),
        );
    };
    allow(true);
    for database in ["template0", "template1", "postgres"] {
        server.sql(database, "VACUUM (FREEZE)");
    }
    allow(false);
    server.sql("postgres", "VACUUM (FREEZE) pg_database");
}
