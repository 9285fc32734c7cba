//! What an upgrade takes grows with the number of tables, not with its square.
//!
//! A query that PostgreSQL answers by nested loops is fast on every small cluster of the other
//! tests. Here times are compared with what making and dumping the same tables takes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
            let tables = timed(|| {
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
            });
            server.stop();

            let trip = Trip::new(&old, "new-17", "link");
            let check = timed(|| {
                trip.run_first(&["check"]).demand(0);
            });
            let prepare = timed(|| trip.prepare());
            let cutover = timed(|| trip.cutover());
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

fn timed(act: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    act();
    begun.elapsed()
}
