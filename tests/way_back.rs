//! The way back, from every state, on a small real cluster.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;

use serde_json::Value;
use support::as_server_user;
use support::case::Case;
use support::stock::dump;

const MODES: [&str; 3] = ["link", "copy", "swap"];

#[test]
fn old_is_what_it_was_after_prepare_and_after_the_cutover() {
    as_server_user(
        "old_is_what_it_was_after_prepare_and_after_the_cutover",
        || {
            for mode in MODES {
                let case = Case::new(mode);
                case.trip.prepare();
                case.demand_prepared();
                case.trip.rollback();
                case.demand_untouched("rollback after prepare");
                // Twice is once.
                case.trip.rollback();
                case.demand_untouched("the second rollback");

                case.trip.prepare();
                case.trip.cutover();
                case.trip.demand_standing("is complete and may be started");
                case.trip.rollback();
                case.demand_back("rollback after the cutover");
            }
        },
    );
}

/// When the restore fails, a private server of ours still runs in new.
#[test]
fn a_prepare_that_fails_is_undone() {
    as_server_user("a_prepare_that_fails_is_undone", || {
        let mut case = Case::new("link");
        let place = case.stock.cluster.scratch().to_owned();
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = --version ] && exec '{}' --version\n\
             echo 'pg_restore: error: not today' >&2\nexit 1\n",
            case.trip.new_bindir.join("pg_restore").display()
        );
        case.trip.replace_program(&place, "pg_restore", &script);
        case.trip.run_first(&["prepare"]).refused(
            5,
            "PGM-4002",
            &["pg_restore: error: not today", "everything was undone"],
        );
        case.demand_back("a prepare that failed");
    });
}

/// Killed where the journal says so, rolled back, and old is what it was.
#[test]
fn old_is_what_it_was_after_a_killed_prepare() {
    as_server_user("old_is_what_it_was_after_a_killed_prepare", || {
        let case = Case::new("link");
        for (kind, step) in [
            ("step_intended", "create-new-cluster"),
            ("step_intended", "dump-old-schema"),
            ("step_done", "dump-old-schema"),
            ("step_intended", "seed-transaction-state"),
            ("step_intended", "restore-globals"),
            ("step_intended", "restore-schemas"),
            ("step_intended", "freeze-new-catalogs"),
            ("step_intended", "set-horizons"),
            ("step_intended", "place-files"),
        ] {
            case.trip.frozen_prepare(kind, step).kill();
            case.trip.demand_standing("half built");
            case.trip.rollback();
            case.demand_untouched(step);
        }
        case.demand_back("nine killed prepares");
    });
}

/// Prepare begins anew, and what it makes then is whole.
#[test]
fn a_killed_prepare_is_resumed() {
    as_server_user("a_killed_prepare_is_resumed", || {
        let case = Case::new("link");
        let trip = &case.trip;
        let killed = || {
            trip.frozen_prepare("step_intended", "restore-schemas")
                .kill()
        };
        killed();
        let resume = || trip.command(&["resume"]);
        let again = || {
            trip.rollback();
            killed();
        };
        trip.frozen(("step_intended", "place-files"), resume, again)
            .kill();
        trip.run(&["resume"]).demand(0);
        case.demand_prepared();
        case.trip.cutover();
        case.trip.run(&["verify"]).demand(0);
        case.demand_arrived(&case.stock.dump);
    });
}

/// Killed where the journal says so, in both modes: either way out is open, and both are right.
#[test]
fn both_ways_are_open_after_a_killed_cutover_by_link() {
    as_server_user("both_ways_are_open_after_a_killed_cutover_by_link", || {
        killed_cutovers(
            "link",
            &[
                ("step_intended", "read-final-catalog", Way::Back),
                ("step_intended", "stop-old-server", Way::On),
                ("step_intended", "carry-transaction-state", Way::Back),
                ("step_intended", "transfer-files", Way::On),
                ("step_intended", "retire-old-control", Way::Back),
                ("step_done", "retire-old-control", Way::On),
                ("step_intended", "release-new-cluster", Way::Back),
            ],
        );
    });
}

#[test]
fn both_ways_are_open_after_a_killed_cutover_by_copy() {
    as_server_user("both_ways_are_open_after_a_killed_cutover_by_copy", || {
        killed_cutovers(
            "copy",
            &[
                ("step_intended", "carry-transaction-state", Way::On),
                ("step_intended", "transfer-files", Way::Back),
                ("step_intended", "transfer-files", Way::On),
                ("step_done", "verify-new-cluster", Way::Back),
                ("step_intended", "release-new-cluster", Way::On),
            ],
        );
    });
}

/// What is done after the program has been killed.
enum Way {
    Back,
    On,
}

fn killed_cutovers(mode: &str, moments: &[(&str, &str, Way)]) {
    let case = Case::new(mode);
    for (kind, step, way) in moments {
        case.trip.prepare();
        case.trip.frozen_cutover(kind, step).kill();
        case.trip.demand_standing("resume or roll back");
        match way {
            Way::Back => {}
            Way::On => {
                case.trip.run(&["resume"]).demand(0);
                case.trip.demand_standing("is complete and may be started");
                case.trip.run(&["verify"]).demand(0);
            }
        }
        case.trip.rollback();
        case.demand_untouched(step);
    }
    case.trip.prepare();
    case.trip.cutover();
    case.demand_arrived(&case.stock.dump);
    if mode == "copy" {
        case.trip
            .run(&["rollback", "--discard-new-writes"])
            .demand(0);
        case.demand_back("killed cutovers");
    }
}

/// The reading of a cutover that failed may name what never had a partner in new.
#[test]
fn the_way_back_asks_nothing_of_olds_catalog() {
    as_server_user("the_way_back_asks_nothing_of_olds_catalog", || {
        for mode in MODES {
            let case = Case::new(mode);
            case.trip.prepare();
            let file = case.trip.state().join("old-snapshot.json");
            let mut snapshot: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            let databases = snapshot["databases"].as_array_mut().unwrap();
            let rows = databases
                .iter_mut()
                .find_map(|one| one["relations"]["rows"].as_array_mut())
                .unwrap();
            let mut vanished = rows[0].clone();
            vanished[0] = 999_999.into();
            vanished[2] = "staging".into();
            rows.push(vanished);
            fs::write(&file, serde_json::to_vec(&snapshot).unwrap()).unwrap();
            case.trip.rollback();
            case.demand_back("a catalog without partner");
        }
    });
}

/// Rows change, the catalog does not: they arrive, whatever became of the files.
const NEW_ROWS: [&str; 12] = [
    "INSERT INTO items (story) SELECT repeat('late ', 900) FROM generate_series(1, 40)",
    "UPDATE items SET feeling = 'calm' WHERE id % 3 = 0",
    "DELETE FROM elsewhere WHERE id < 20",
    "TRUNCATE moved",
    "INSERT INTO moved SELECT generate_series(1, 700)",
    "UPDATE scratchpad SET note = 'later' WHERE id > 100",
    "VACUUM FULL elsewhere",
    "REINDEX TABLE items",
    "SELECT lo_put(800002, 3, repeat('grown', 2000)::bytea)",
    "SELECT nextval('items_id_seq') FROM generate_series(1, 100)",
    "BEGIN; DELETE FROM items; ROLLBACK",
    "VACUUM items",
];

#[test]
fn rows_written_between_prepare_and_cutover_arrive() {
    as_server_user("rows_written_between_prepare_and_cutover_arrive", || {
        for mode in MODES {
            let case = Case::new(mode);
            case.trip.prepare();
            let served = write_rows(&case);
            case.trip.cutover();
            case.trip.run(&["verify"]).demand(0);
            case.demand_arrived(&served);
        }
    });
}

/// What old serves after more rows were written.
fn write_rows(case: &Case) -> String {
    let server = case.stock.cluster.start();
    let mut app = server.connect("app");
    for statement in NEW_ROWS {
        app.batch_execute(statement).unwrap();
    }
    drop(app);
    let served = dump(&case.stock.cluster);
    server.stop();
    served
}

#[test]
fn a_changed_schema_ends_the_cutover_and_is_not_forgotten() {
    as_server_user(
        "a_changed_schema_ends_the_cutover_and_is_not_forgotten",
        || {
            for mode in MODES {
                let case = Case::new(mode);
                case.trip.prepare();
                let server = case.stock.cluster.start();
                server.sql("app", "CREATE TABLE late AS SELECT 1 AS id");
                server.stop();
                for _ in 0..2 {
                    let ran = case.trip.run(&["cutover"]);
                    ran.refused(
                        3,
                        "PGM-6001",
                        &["the schema of the old cluster changed", "database app"],
                    );
                    assert!(!ran.stderr.contains("database postgres"), "{}", ran.stderr);
                    case.demand_prepared();
                }
                let started = case.trip.old_starts();
                assert!(started.status.success(), "{started:?}");
                // What the refusal says to do works.
                case.trip.rollback();
                case.trip.prepare();
                let server = case.stock.cluster.start();
                let served = dump(&case.stock.cluster);
                server.stop();
                case.trip.cutover();
                assert!(served.contains("CREATE TABLE public.late"));
                case.demand_arrived(&served);
            }
        },
    );
}

/// The process that held old is dead, and so old can be started in the middle of the cutover.
#[test]
fn rows_written_after_a_killed_cutover_are_noticed() {
    as_server_user("rows_written_after_a_killed_cutover_are_noticed", || {
        let case = Case::new("copy");
        case.trip.prepare();
        case.trip
            .frozen_cutover("step_done", "verify-new-cluster")
            .kill();
        let served = write_rows(&case);
        case.trip.run(&["resume"]).refused(
            5,
            "PGM-2010",
            &["the old cluster was started after its catalog had been read"],
        );
        case.demand_prepared();
        case.trip.cutover();
        case.demand_arrived(&served);
    });
}
