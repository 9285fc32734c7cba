//! Counters anywhere on their circles: every row is as visible in new as it was in old.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::process::Command;

use pg_migrator::pg::ControlFile;
use postgres::Client;
use support::counters::{Counters, freeze, set};
use support::trip::Trip;
use support::{Cluster, Running, as_server_user, cluster};

/// A new installation, and whether it brings the modules that look for damage.
const NEW: [(&str, bool); 4] = [
    ("new-15", true),
    ("new-16", false),
    ("new-17", true),
    ("new-18", true),
];

/// Everything a user sees.
const SEEN: &str = "SELECT \
    (SELECT count(*) || ' ' || coalesce(string_agg(id || note, ',' ORDER BY id), '') FROM history) \
    || ' ' || (SELECT coalesce(string_agg(oid || encode(lo_get(oid), 'hex'), ',' ORDER BY oid), '') \
               FROM pg_largeobject_metadata)";

/// Rows of every fate. Nothing reads them afterwards, so no hint says what became of them.
fn write_history(server: &Running<'_>, burn: u32) {
    let (mut one, mut two) = (server.connect("postgres"), server.connect("postgres"));
    let run = |client: &mut Client, statements: &str| {
        let done = client.batch_execute(statements);
        done.unwrap_or_else(|error| panic!("{statements}: {:?}", error.as_db_error()));
    };
    run(
        &mut one,
        "INSERT INTO history SELECT n, 'first' FROM generate_series(1, 400) n",
    );
    run(
        &mut one,
        "BEGIN; INSERT INTO history SELECT n, 'aborted' FROM generate_series(1001, 1300) n; \
         DELETE FROM history WHERE id < 300; ROLLBACK",
    );
    run(
        &mut one,
        &format!(
            "DO $$ BEGIN FOR n IN 2001..{} LOOP BEGIN \
             INSERT INTO history VALUES (n, 'in a subtransaction'); \
             IF n % 2 = 0 THEN RAISE division_by_zero; END IF; \
             EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$",
            2001 + burn
        ),
    );
    run(
        &mut two,
        "DELETE FROM history WHERE id BETWEEN 301 AND 320; \
         UPDATE history SET note = 'updated' WHERE id BETWEEN 321 AND 340",
    );
    // Two at once hold or change the same rows: these become multixacts, each another one.
    for round in 0..20 {
        let rows = format!("id BETWEEN {} AND {}", 1 + 6 * round, 6 + 6 * round);
        let changed = format!("id BETWEEN {} AND {}", 1 + 6 * round, 3 + 6 * round);
        run(
            &mut one,
            &format!("BEGIN; SELECT FROM history WHERE {rows} FOR KEY SHARE"),
        );
        run(
            &mut two,
            &format!("BEGIN; SELECT FROM history WHERE {rows} FOR KEY SHARE"),
        );
        run(
            &mut two,
            &format!("UPDATE history SET note = 'held {round}' WHERE {changed}"),
        );
        run(&mut two, if round % 3 == 0 { "ROLLBACK" } else { "COMMIT" });
        run(&mut one, "COMMIT");
    }
    run(
        &mut one,
        "SELECT lo_from_bytea(70001, decode(repeat('0badcafe', 1500), 'hex'))",
    );
    run(
        &mut one,
        "BEGIN; SELECT lo_put(70001, 0, 'lost'); SELECT lo_create(70002); ROLLBACK",
    );
    run(&mut two, "SELECT lo_put(70001, 2000, 'kept')");
}

fn seen(server: &Running<'_>) -> String {
    server
        .connect("postgres")
        .query_one(SEEN, &[])
        .unwrap()
        .get(0)
}

/// What old would show, asked of a copy: reading leaves hints, and old is to have none.
fn seen_in_a_copy(old: &Cluster) -> String {
    let mut copy = support::place(&old.bindir);
    copy.data = copy.scratch().join("copy");
    let status = Command::new("cp")
        .arg("-a")
        .args([&old.data, &copy.data])
        .status();
    assert!(status.unwrap().success());
    let server = copy.start_with(&["autovacuum=off"]);
    let text = seen(&server);
    server.stop();
    text
}

/// Upgrades an old cluster, and uses new hard.
fn survives(old: &Cluster, new: &str, mode: &str) {
    let wanted = seen_in_a_copy(old);
    let before = ControlFile::read(&old.data).unwrap();
    let trip = Trip::new(old, new, mode);
    trip.run_first(&["upgrade", "--yes"]).demand(0);
    trip.run(&["verify"]).demand(0);
    serves(&trip, new, &wanted, &before);
}

/// New shows what old had, goes on with its numbers, and stands being used hard.
fn serves(trip: &Trip, new: &str, wanted: &str, before: &ControlFile) {
    demand_counters(before, &ControlFile::read(&trip.new).unwrap());

    let cluster = trip.new_cluster();
    let server = cluster.start_with(&["autovacuum=off"]);
    assert_eq!(seen(&server), wanted);
    // Old's pages are written to for the first time, and the crash leaves them to recovery.
    server.sql(
        "postgres",
        "UPDATE history SET note = note || ', new' WHERE id < 100; \
         INSERT INTO history SELECT n, 'new' FROM generate_series(900001, 900200) n; \
         SELECT lo_from_bytea(70003, 'new')",
    );
    let written = seen(&server);
    server.crash();
    let server = cluster.start_with(&["autovacuum=off"]);
    assert_eq!(seen(&server), written);
    look_for_damage(&server, new);
    freeze_everything(&server);
    look_for_damage(&server, new);
    assert_eq!(seen(&server), written);
    server.stop();

    let after = ControlFile::read(&trip.new).unwrap();
    assert!(after.oldest_xid.precedes(after.next_xid.xid()));
    let age = after.next_xid.0 - u64::from(after.next_xid.epoch()) * (1 << 32);
    let age = (age as u32).wrapping_sub(after.oldest_xid.0);
    assert!(age < 10_000, "{after:?}");
    let server = cluster.start();
    assert_eq!(seen(&server), written);
    server.stop();
    let log = cluster.server_log();
    let bad = log.lines().find(|line| {
        line.contains("ERROR:") || line.contains("PANIC:") || line.contains("WARNING:")
    });
    assert_eq!(bad, None, "{log}");
}

/// What is older than old's oldest transaction asks for transaction status that is not there.
fn nothing_is_older_than(server: &Running<'_>, old: &ControlFile) {
    let (xid, multi) = (old.oldest_xid, old.oldest_multi);
    let older = server.connect("postgres").query(
        &format!(
            "SELECT datname::text, datfrozenxid::text, datminmxid::text FROM pg_database \
             WHERE age(datfrozenxid) > age('{xid}'::xid) \
             OR mxid_age(datminmxid) > mxid_age('{multi}'::xid)"
        ),
        &[],
    );
    let older: Vec<String> = older
        .unwrap()
        .iter()
        .map(|row| {
            let [name, xid, multi]: [String; 3] = [row.get(0), row.get(1), row.get(2)];
            format!("{name}: {xid}, {multi}")
        })
        .collect();
    assert!(older.is_empty(), "older than {xid}, {multi}: {older:?}");
}

/// New goes on where old ended, and its WAL begins after old's.
fn demand_counters(old: &ControlFile, new: &ControlFile) {
    assert!(new.next_xid >= old.next_xid, "{old:?}\n{new:?}");
    assert!(new.next_xid.0 < old.next_xid.0 + 1000, "{old:?}\n{new:?}");
    assert!(!new.next_multi.precedes(old.next_multi), "{old:?}\n{new:?}");
    let ahead = new.next_multi.0.wrapping_sub(old.next_multi.0);
    assert!(ahead < 100, "{old:?}\n{new:?}");
    assert_eq!(new.oldest_xid, old.oldest_xid);
    assert_eq!(new.oldest_multi, old.oldest_multi);
    assert!(new.next_oid >= old.next_oid);
    assert!(new.checkpoint_lsn > old.checkpoint_lsn, "{old:?}\n{new:?}");
}

fn freeze_everything(server: &Running<'_>) {
    freeze(server);
    let ages = server.connect("postgres").query(
        "SELECT datname::text, age(datfrozenxid), mxid_age(datminmxid) FROM pg_database",
        &[],
    );
    for row in ages.unwrap() {
        let (name, xids, multis): (String, i32, i32) = (row.get(0), row.get(1), row.get(2));
        assert!((0..10_000).contains(&xids), "{name}: {xids}");
        assert!((0..10_000).contains(&multis), "{name}: {multis}");
    }
}

const DAMAGE: &str = "DO $$ DECLARE r record; found text; BEGIN \
    FOR r IN SELECT c.oid::regclass AS name FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid \
        JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'btree' AND i.indisvalid LOOP \
        PERFORM bt_index_check(r.name, true); END LOOP; \
    FOR r IN SELECT c.oid::regclass AS name FROM pg_class c JOIN pg_am a ON a.oid = c.relam \
        WHERE c.relkind IN ('r', 'm', 't') AND a.amname = 'heap' LOOP \
        SELECT string_agg(msg, '; ') INTO found FROM verify_heapam(r.name, check_toast := true); \
        IF found IS NOT NULL THEN RAISE 'table %: %', r.name, found; END IF; END LOOP; END $$";

fn look_for_damage(server: &Running<'_>, new: &str) {
    let (_, modules) = NEW.iter().find(|(name, _)| *name == new).unwrap();
    if *modules {
        server.sql("postgres", "CREATE EXTENSION IF NOT EXISTS amcheck");
        server.sql("postgres", DAMAGE);
    }
}

/// An old cluster with an empty table.
fn old(installation: &str) -> Cluster {
    let cluster = cluster(installation, &[]);
    let server = cluster.start();
    server.sql(
        "postgres",
        "CREATE TABLE history (id int PRIMARY KEY, note text)",
    );
    server.stop();
    cluster
}

/// Writes rows and uses up this many transaction IDs.
fn work(cluster: &Cluster, burn: u32) {
    let server = cluster.start_with(&["autovacuum=off"]);
    write_history(&server, burn);
    server.stop();
}

/// Moves the counters through these positions, freezing everything in between.
fn go(cluster: &Cluster, whole: &str, positions: &[Counters]) {
    for (number, position) in positions.iter().enumerate() {
        if number > 0 {
            let server = cluster.start_with(&["autovacuum=off"]);
            freeze(&server);
            server.stop();
        }
        set(cluster, whole, *position);
    }
}

#[test]
fn counters_that_nobody_used_since_initdb() {
    as_server_user("counters_that_nobody_used_since_initdb", || {
        survives(&old("old-10"), "new-18", "link");
        survives(&old("old-17"), "new-18", "copy");
    });
}

#[test]
fn transactions_past_a_page_of_a_version_without_other_means() {
    as_server_user(
        "transactions_past_a_page_of_a_version_without_other_means",
        || {
            let old = old("old-11");
            work(&old, 33_000);
            let xid = Counters::of(&old.data).xid.0;
            assert!((32_768..34_500).contains(&xid), "{xid}");
            survives(&old, "new-16", "link");
        },
    );
}

/// The next number is the first of a page that is not there yet.
#[test]
fn counters_exactly_at_the_end_of_a_page() {
    as_server_user("counters_exactly_at_the_end_of_a_page", || {
        let old = old("old-15");
        work(&old, 30);
        go(&old, "new-15", &[Counters::new(0, 65_536, 2048, 1636)]);
        survives(&old, "new-17", "link");
    });
}

#[test]
fn counters_exactly_at_the_end_of_a_segment() {
    as_server_user("counters_exactly_at_the_end_of_a_segment", || {
        let old = old("old-16");
        work(&old, 30);
        let at = Counters::new(0, 3 * 1_048_576, 3 * 65_536, 3 * 52_352);
        go(&old, "new-16", &[at]);
        survives(&old, "new-17", "copy");
    });
}

#[test]
fn counters_that_pass_a_segment() {
    as_server_user("counters_that_pass_a_segment", || {
        let old = old("old-15");
        let at = Counters::new(0, 1_048_576 - 40, 65_536 - 5, 52_352 - 9);
        go(&old, "new-15", &[at]);
        work(&old, 100);
        let after = Counters::of(&old.data);
        assert!(after.xid.0 > 1_048_576 && after.multi.0 > 65_536 && after.member > 52_352);
        survives(&old, "new-16", "link");
    });
}

/// Past half way round, where a smaller number may be the newer one.
#[test]
fn counters_in_the_third_billion() {
    as_server_user("counters_in_the_third_billion", || {
        let old = old("old-17");
        let positions =
            [1_500_000_000, 3_000_000_000].map(|number| Counters::new(0, number, number, number));
        go(&old, "new-17", &positions);
        work(&old, 100);
        survives(&old, "new-18", "link");
    });
}

/// All three pass the end of their circle, and an epoch ends.
#[test]
fn counters_that_begin_anew() {
    as_server_user("counters_that_begin_anew", || {
        let old = old("old-15");
        go(&old, "new-15", &to_the_end_of_an_epoch(0));
        work(&old, 400);
        let after = Counters::of(&old.data);
        assert_eq!(after.xid.epoch(), 1);
        assert!(after.multi.0 < 1000 && after.member < 1000, "{after:?}");
        survives(&old, "new-18", "copy");
    });
}

/// The counters are behind those of a cluster fresh from initdb, in a later epoch.
#[test]
fn a_young_transaction_in_a_late_epoch() {
    as_server_user("a_young_transaction_in_a_late_epoch", || {
        let old = old("old-15");
        let mut positions = to_the_end_of_an_epoch(6).to_vec();
        positions.push(Counters::new(7, 50, 100, 200));
        go(&old, "new-15", &positions);
        work(&old, 60);
        let after = Counters::of(&old.data);
        assert_eq!(after.xid.epoch(), 7);
        assert!(after.xid.xid().0 < 600, "{after:?}");
        survives(&old, "new-17", "link");
    });
}

fn to_the_end_of_an_epoch(epoch: u32) -> [Counters; 3] {
    [
        Counters::new(epoch, 1_500_000_000, 1_500_000_000, 1_500_000_000),
        Counters::new(epoch, 3_000_000_000, 3_000_000_000, 3_000_000_000),
        Counters::new(epoch, u32::MAX - 300, u32::MAX - 8, u32::MAX - 12),
    ]
}

/// Old has given up the transaction status that prepare's horizons ask for.
#[test]
fn horizons_that_moved_since_prepare() {
    as_server_user("horizons_that_moved_since_prepare", || {
        for (mode, ways) in [("link", &["rollback", "resume"][..]), ("copy", &["resume"])] {
            let old = old("old-13");
            work(&old, 30);
            let trip = Trip::new(&old, "new-17", mode);
            trip.prepare();
            move_on(&old);
            let wanted = seen_in_a_copy(&old);

            // The only step of the cutover that starts new, killed, taken back, gone on with.
            for way in ways {
                let cutover = || trip.command(&["cutover"]);
                let again = || {
                    trip.prepare_anew();
                    move_on(&old);
                };
                let refreshing = ("step_intended", "refresh-horizons");
                trip.frozen(refreshing, cutover, again).kill();
                if *way == "resume" {
                    trip.run(&["resume"]).demand(0);
                } else {
                    again();
                }
            }
            let last = if mode == "link" {
                "global/pg_control.old"
            } else {
                "global/pg_control"
            };
            let before = ControlFile::read_file(&old.data.join(last)).unwrap();
            trip.run(&["verify"]).demand(0);
            serves(&trip, "new-17", &wanted, &before);
        }
    });
}

/// Where old froze everything after prepare, nothing of new may hold on to what was before.
#[test]
fn no_database_of_new_is_older_than_old() {
    as_server_user("no_database_of_new_is_older_than_old", || {
        let old = old("old-13");
        work(&old, 30);
        let trip = Trip::new(&old, "new-17", "copy");
        trip.prepare();
        move_on(&old);
        trip.cutover();
        let before = ControlFile::read(&old.data).unwrap();
        let server = trip.new_cluster();
        let server = server.start_with(&["autovacuum=off"]);
        nothing_is_older_than(&server, &before);
        server.stop();
    });
}

/// Uses up numbers and freezes everything, so that the oldest ones are forgotten.
fn move_on(old: &Cluster) {
    let before = ControlFile::read(&old.data).unwrap();
    let server = old.start_with(&["autovacuum=off"]);
    let mut client = server.connect("postgres");
    for _ in 0..200 {
        client.batch_execute("SELECT txid_current()").unwrap();
    }
    drop(client);
    freeze(&server);
    server.stop();
    let after = ControlFile::read(&old.data).unwrap();
    assert!(before.next_xid.xid().precedes(after.oldest_xid));
}
