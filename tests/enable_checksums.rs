//! A cluster without data checksums arrives with them, by copy.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::process::Command;

use support::as_server_user;
use support::case::Case;
use support::shop::Shop;
use support::trip::Trip;

const ENABLE: &str = "--enable-checksums";

/// Stirs pages of most kinds: rows, maps, an index, a file in the place of another.
const CHANGES: &str = "CREATE TABLE IF NOT EXISTS stirred (id serial PRIMARY KEY, note text); \
                       INSERT INTO stirred (note) SELECT repeat('x', n % 700) \
                       FROM generate_series(1, 9000) n; \
                       DELETE FROM stirred WHERE id % 3 = 0";

fn prepare(trip: &Trip) {
    trip.run_first(&["prepare", ENABLE]).demand(0);
}

/// Of a stopped cluster at one go, and back; then in two goes, beside a server that writes.
fn arrives_with_checksums(old: &str, new: &str) {
    let case = Case::of(old, new, "copy");
    let trip = &case.trip;
    trip.run_first(&["check", ENABLE]).demand(0);
    let only = ["check", "--only", "checksums-off"];
    let tells = |words: &[&str]| {
        let ran = trip.run_first(words);
        ran.demand(0);
        ran.stdout
            .contains("data checksums are off in the old cluster")
    };
    assert_eq!(tells(&only), new == "new-18");
    assert!(!tells(&[&only[..], &[ENABLE]].concat()));
    let ran = trip.run_first(&["upgrade", "--yes", ENABLE]);
    ran.demand(0);
    assert!(
        ran.stdout.contains("checksums on (written"),
        "{}",
        ran.stdout
    );
    trip.demand_checksums();
    let verified = trip.run(&["verify"]);
    verified.demand(0);
    assert!(verified.stdout.contains("but for the checksums"));
    trip.rollback();
    case.demand_back("checksums in new");

    let cluster = &case.stock.cluster;
    let server = cluster.start();
    server.sql("app", CHANGES);
    prepare(trip);
    server.sql("app", CHANGES);
    server.sql("app", "VACUUM stirred");
    server.sql("app", "VACUUM FULL items");
    trip.cutover();
    drop(server);
    trip.demand_checksums();
    trip.run(&["verify"]).demand(0);

    // New reads all of it with checksums on, and writes.
    let arrived = trip.new_cluster();
    let served = arrived.start();
    let count = "SELECT count(*)::text || current_setting('data_checksums') FROM stirred";
    let row = served.connect("app").query_one(count, &[]).unwrap();
    assert_eq!(row.get::<_, String>(0), "12000on");
    served.sql("app", CHANGES);
    served.sql("app", "VACUUM (FREEZE, ANALYZE)");
    served.stop();
    trip.demand_checksums();
}

#[test]
fn checksums_are_written_from_15_to_17() {
    as_server_user("checksums_are_written_from_15_to_17", || {
        arrives_with_checksums("old-15", "new-17");
    });
}

#[test]
fn checksums_are_written_from_15_to_18() {
    as_server_user("checksums_are_written_from_15_to_18", || {
        arrives_with_checksums("old-15", "new-18");
    });
}

#[test]
fn checksums_are_written_from_10_to_17() {
    as_server_user("checksums_are_written_from_10_to_17", || {
        arrives_with_checksums("old-10", "new-17");
    });
}

/// Also where first copies or their mending are killed, and where prepare is repeated.
#[test]
fn checksums_are_right_after_kills_and_drift() {
    as_server_user("checksums_are_right_after_kills_and_drift", || {
        let case = Case::of("old-15", "new-18", "copy");
        let trip = &case.trip;
        let prepare = || trip.first_command(&["prepare", ENABLE]);
        let placing = ("step_intended", "place-files");
        trip.frozen(placing, prepare, || trip.rollback()).kill();
        trip.run(&["resume"]).demand(0);

        let server = case.stock.cluster.start();
        server.sql("app", CHANGES);
        let drift = trip.run(&["cutover"]);
        drift.refused(3, "PGM-6001", &["stirred"]);
        trip.run(&["prepare"]).demand(0);
        trip.run_first(&["prepare", ENABLE]).demand(0);
        server.sql("app", CHANGES);
        server.stop();
        let cutover = || trip.command(&["cutover"]);
        let again = || {
            trip.rollback();
            trip.run_first(&["prepare", ENABLE]).demand(0);
        };
        let mending = ("step_intended", "transfer-files");
        trip.frozen(mending, cutover, again).kill();
        trip.run(&["resume"]);
        trip.demand_standing("complete and may be started");
        trip.demand_checksums();
        trip.run(&["verify"]).demand(0);
        a_wrong_checksum_is_found(trip);
    });
}

/// A page that is damaged from then on would get the right checksum of wrong contents.
#[test]
fn checksums_that_old_was_given_since_prepare_are_not_written_anew() {
    let test = "checksums_that_old_was_given_since_prepare_are_not_written_anew";
    as_server_user(test, || {
        let case = Case::of("full-15.18", "new-17", "copy");
        let trip = &case.trip;
        prepare(trip);
        let mut enable = Command::new(trip.old_bindir.join("pg_checksums"));
        let enabled = enable.arg("--enable").arg("-D").arg(&trip.old).output();
        assert!(enabled.unwrap().status.success());
        trip.run(&["cutover"])
            .refused(3, "PGM-6001", &["Data page checksum version"]);
    });
}

/// One that differs is a difference, though old has none.
fn a_wrong_checksum_is_found(trip: &Trip) {
    let files = walkdir::WalkDir::new(trip.new.join("base")).sort_by_file_name();
    let mut files = files.into_iter().map(|entry| entry.unwrap().into_path());
    let of_a_user = |path: &std::path::PathBuf| {
        let number: Option<u32> = path.file_name().unwrap().to_str().unwrap().parse().ok();
        path.is_file() && number >= Some(16_384) && path.metadata().unwrap().len() > 0
    };
    let file = files.find(of_a_user).unwrap();
    let sound = fs::read(&file).unwrap();
    let page = OpenOptions::new().write(true).open(&file).unwrap();
    page.write_all_at(&[sound[8] ^ 1], 8).unwrap();
    let ran = trip.run(&["verify"]);
    ran.refused(3, "PGM-6003", &["differ", file.to_str().unwrap()]);
    page.write_all_at(&sound[8..9], 8).unwrap();
    trip.run(&["verify"]).demand(0);
}

/// Where files are not copied it is refused, and said what to do.
#[test]
fn other_modes_are_refused() {
    as_server_user("other_modes_are_refused", || {
        let mut case = Case::of("old-15", "new-18", "link");
        for mode in ["link", "clone", "copy-file-range", "swap", "auto"] {
            case.trip.mode = mode.to_owned();
            for command in ["check", "prepare"] {
                let ran = case.trip.run_first(&[command, ENABLE]);
                let said = ["needs --copy", mode, "pg_checksums --enable"];
                ran.refused(2, "PGM-1001", &said);
            }
        }
        case.demand_untouched("refused modes");
        case.trip.mode = "copy".to_owned();
        case.trip.prepare();
        let ran = case.trip.run_first(&["prepare", ENABLE]);
        ran.refused(2, "PGM-1001", &[ENABLE, "not given when prepared"]);
    });
}

#[test]
fn what_has_checksums_is_copied_as_it_is() {
    as_server_user("what_has_checksums_is_copied_as_it_is", || {
        let shop = Shop::with("old-15", &["--data-checksums"], "new-17", "copy");
        let server = shop.serving_with(support::shop::QUIET);
        let ran = shop.trip.run_first(&["prepare", ENABLE]);
        ran.demand(0);
        assert!(ran.stdout.contains("nothing to enable"), "{}", ran.stdout);
        shop.trip.run_first(&["prepare", ENABLE]).demand(0);
        shop.trip.cutover();
        drop(server);
        shop.trip.demand_checksums();
        let verified = shop.trip.run(&["verify"]);
        verified.demand(0);
        assert!(!verified.stdout.contains("but for"), "{}", verified.stdout);
    });
}

/// A fresh cluster must have what is asked for.
#[test]
fn an_adopted_cluster_has_them_or_is_refused() {
    as_server_user("an_adopted_cluster_has_them_or_is_refused", || {
        let case = Case::of("old-15", "new-17", "copy");
        let make = |options: &[&str]| {
            let _ = fs::remove_dir_all(&case.trip.new);
            let mut initdb = Command::new(case.trip.new_bindir.join("initdb"));
            let common = [
                "-U",
                "postgres",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "-N",
                "-D",
            ];
            initdb.args(options).args(common).arg(&case.trip.new);
            assert!(initdb.output().unwrap().status.success());
        };
        make(&[]);
        let ran = case.trip.run_first(&["prepare", ENABLE]);
        ran.refused(4, "PGM-1302", &["made without", "initdb --data-checksums"]);
        make(&["--data-checksums"]);
        let ran = case.trip.run_first(&["prepare"]);
        ran.refused(4, "PGM-1302", &["--copy and --enable-checksums"]);
        prepare(&case.trip);
        case.trip.cutover();
        case.trip.demand_checksums();
        case.demand_arrived(&case.stock.dump);
    });
}
