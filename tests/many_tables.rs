//! What an upgrade takes grows with the number of tables, not with its square.
//!
//! A query that PostgreSQL answers by nested loops is fast on every small cluster of the other
//! tests. Here the work of processors is compared with what making and dumping the same tables
//! takes: unlike times it is the same on a machine that has other things to do, and in a loop it
//! is all there is.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};
use support::trip::Trip;
use support::{as_server_user, bindir, cluster, say};

/// With this many a join in nested loops takes many times as long as a dump.
const TABLES: u32 = 5000;

#[test]
fn nothing_takes_many_times_as_long_as_the_tables_took() {
    as_server_user(
        "nothing_takes_many_times_as_long_as_the_tables_took",
        || {
            let old = cluster("old-15", &["--no-sync"]);
            old.configure("fsync = off\nmax_locks_per_transaction = 512\nautovacuum = off\n");
            let server = old.start();
            let tables = worked(|| {
                server.sql(
                    "postgres",
                    &format!(
                        "DO $$ BEGIN FOR n IN 1..{TABLES} LOOP
                         EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, word text)', n);
                     END LOOP; END $$"
                    ),
                );
                let status = Command::new(bindir("new-17").join("pg_dump"))
                    .args(["--schema-only", "-U", "postgres", "-h"])
                    .arg(old.scratch())
                    .arg("postgres")
                    .stdout(Stdio::null())
                    .status();
                assert!(status.unwrap().success());
                // What it has worked is counted when it has ended.
                server.stop();
            });

            let trip = Trip::new(&old, "new-17", "link");
            let check = worked(|| {
                trip.run_first(&["check"]).demand(0);
            });
            let prepare = worked(|| trip.prepare());
            let cutover = worked(|| trip.cutover());
            let told = format!(
                "TOOK tables {tables:?}, check {check:?}, prepare {prepare:?}, cutover {cutover:?}"
            );
            say(&told);
            for (what, took, times) in [
                ("check", check, 1),
                ("prepare", prepare, 6),
                ("cutover", cutover, 1),
            ] {
                assert!(took < tables * times, "{what} is slow: {told}");
            }
        },
    );
}

/// How long processors worked for programs that were begun and have ended meanwhile, and for
/// whatever those have waited for.
fn worked(act: impl FnOnce()) -> Duration {
    let before = worked_so_far();
    act();
    worked_so_far() - before
}

fn worked_so_far() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    // The name of the program stands in parentheses and may hold blanks.
    let behind = stat.rsplit(')').next().unwrap().split_whitespace();
    let ticks = behind
        .skip(13)
        .take(2)
        .map(|one| one.parse::<u64>().unwrap());
    let second = sysconf(SysconfVar::CLK_TCK).unwrap().unwrap();
    Duration::from_millis(ticks.sum::<u64>() * 1000 / u64::try_from(second).unwrap())
}
