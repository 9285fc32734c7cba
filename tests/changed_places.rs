//! A cluster that was replaced, taken back to earlier, removed, or started out of turn.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::case::Case;
use support::tree;
use support::trip::Trip;
use support::{as_server_user, bindir, cluster, processes_in, unique_cluster, until};

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(done.unwrap().success());
}

/// Puts one directory where another one is, which goes beside it.
fn swap(place: &Path, other: &Path) -> PathBuf {
    let mut asides = (1..).map(|number| place.with_extension(format!("aside{number}")));
    let aside = asides.find(|aside| !aside.exists()).unwrap();
    fs::rename(place, &aside).unwrap();
    fs::rename(other, place).unwrap();
    aside
}

#[test]
fn an_old_cluster_restored_from_a_backup_is_not_taken_for_the_one_prepared() {
    as_server_user(
        "an_old_cluster_restored_from_a_backup_is_not_taken_for_the_one_prepared",
        || {
            for mode in ["link", "copy"] {
                let case = Case::new(mode);
                let trip = &case.trip;
                let backup = case.stock.cluster.scratch().join("backup");
                copy(&trip.old, &backup);
                let server = case.stock.cluster.start();
                let mut client = server.connect("postgres");
                for _ in 0..100 {
                    client.batch_execute("SELECT txid_current()").unwrap();
                }
                drop(client);
                server.stop();
                trip.prepare();

                swap(&trip.old, &backup);
                for _ in 0..2 {
                    trip.run(&["cutover"]).refused(
                        3,
                        "PGM-6001",
                        &[
                            "earlier state",
                            "NextXID",
                            "when prepared",
                            "waits for the cutover",
                            "roll back and prepare again",
                        ],
                    );
                    case.demand_prepared();
                }
                let started = trip.old_starts();
                assert!(started.status.success(), "{started:?}");
                trip.rollback();
                trip.prepare();
                trip.cutover();
                case.demand_arrived(&case.stock.dump);
            }
        },
    );
}

#[test]
fn another_cluster_in_olds_place_ends_the_cutover() {
    as_server_user("another_cluster_in_olds_place_ends_the_cutover", || {
        let case = Case::new("copy");
        let trip = &case.trip;
        trip.prepare();
        let other = unique_cluster("old-14", &[]);
        let before = tree::contents(&other.data);
        let aside = swap(&trip.old, &other.data);
        trip.run(&["cutover"]).refused(
            3,
            "PGM-6001",
            &[
                "not the one that was prepared",
                "Database system identifier",
            ],
        );
        case.demand_prepared();
        let other = swap(&trip.old, &aside);
        let after = tree::contents(&other).into_values();
        assert!(after.eq(before.into_values()));
        trip.cutover();
        case.demand_arrived(&case.stock.dump);
    });
}

/// No schema shows it, and new could not read a page.
#[test]
fn checksums_that_were_enabled_since_prepare_end_the_cutover() {
    as_server_user(
        "checksums_that_were_enabled_since_prepare_end_the_cutover",
        || {
            let old = cluster("old-15", &[]);
            let trip = Trip::new(&old, "new-17", "copy");
            trip.prepare();
            let enabled = Command::new(bindir("new-15").join("pg_checksums"))
                .args(["--enable", "-D"])
                .arg(&old.data)
                .output()
                .unwrap();
            assert!(enabled.status.success(), "{enabled:?}");
            trip.run(&["cutover"])
                .refused(3, "PGM-6001", &["Data page checksum version"]);
            trip.rollback();
            trip.prepare();
            trip.cutover();
            trip.run(&["verify"]).demand(0);
        },
    );
}

#[test]
fn another_cluster_in_news_place_is_left_alone() {
    as_server_user("another_cluster_in_news_place_is_left_alone", || {
        let case = Case::new("copy");
        let trip = &case.trip;
        trip.prepare();
        let other = unique_cluster("new-17", &[]);
        let aside = swap(&trip.new, &other.data);
        let before = tree::whole(&trip.new);
        for command in ["cutover", "rollback"] {
            trip.run(&[command]).refused(
                4,
                "PGM-1210",
                &["another cluster lies", "move that cluster"],
            );
            case.demand_prepared();
            tree::demand_same(command, &before, &tree::whole(&trip.new));
        }
        swap(&trip.new, &aside);
        trip.rollback();
        case.demand_untouched("another cluster in new's place");
    });
}

#[test]
fn nobody_knows_what_a_new_cluster_that_is_gone_wrote_to_shared_files() {
    as_server_user(
        "nobody_knows_what_a_new_cluster_that_is_gone_wrote_to_shared_files",
        || {
            let case = Case::new("link");
            let trip = &case.trip;
            trip.prepare();
            trip.cutover();
            fs::remove_dir_all(&trip.new).unwrap();
            trip.run(&["rollback"]).refused(
                4,
                "PGM-2008",
                &["gone or is another one", "pg_control.old"],
            );
            // What the refusal says may be done where one is certain.
            let control = trip.old.join("global/pg_control");
            fs::rename(control.with_extension("old"), &control).unwrap();
            let started = trip.old_starts();
            assert!(started.status.success(), "{started:?}");
        },
    );
}

#[test]
fn a_new_cluster_that_is_gone_with_files_of_old_is_asked_for() {
    let name = "a_new_cluster_that_is_gone_with_files_of_old_is_asked_for";
    as_server_user(name, || {
        let case = Case::new("swap");
        let trip = &case.trip;
        trip.prepare();
        trip.cutover();
        let away = trip.new.with_extension("away");
        fs::rename(&trip.new, &away).unwrap();
        trip.run(&["rollback"]).refused(
            4,
            "PGM-2008",
            &["move the new cluster back", "from a backup"],
        );
        case.demand_old_does_not_start();
        // What the refusal says leads back.
        fs::rename(&away, &trip.new).unwrap();
        trip.rollback();
        case.demand_back("a new cluster that was moved away");
    });
}

#[test]
fn a_copied_new_cluster_that_is_gone_is_no_loss() {
    as_server_user("a_copied_new_cluster_that_is_gone_is_no_loss", || {
        let case = Case::new("copy");
        let trip = &case.trip;
        trip.prepare();
        trip.cutover();
        fs::remove_dir_all(&trip.new).unwrap();
        trip.rollback();
        case.demand_back("a new cluster that was removed");
    });
}

/// A killed prepare leaves new's control file where its private server had it.
#[test]
fn new_started_before_its_release_is_noticed() {
    as_server_user("new_started_before_its_release_is_noticed", || {
        let case = Case::new("copy");
        let trip = &case.trip;
        trip.frozen_prepare("step_intended", "restore-schemas")
            .kill();
        until(|| processes_in(&trip.new).is_empty());
        let started = trip.new_starts();
        assert!(started.status.success(), "{started:?}");
        trip.run(&["resume"]).refused(
            6,
            "PGM-1210",
            &["before it was complete", "--discard-new-writes"],
        );
        trip.run(&["rollback"]).refused(4, "PGM-2008", &[]);
        trip.run(&["rollback", "--discard-new-writes"]).demand(0);
        case.demand_back("a new cluster that was started too soon");
    });
}
