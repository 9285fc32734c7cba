//! An upgrade at one go reads of old only what it moves, and never guesses about the rest.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::as_server_user;
use support::case::Case;
use support::stock::dump;

/// An upgrade whose cutover fails when everything is prepared; old was down all the time.
fn half_done(mode: &str) -> Case {
    let mut case = Case::new(mode);
    let journal = case.trip.state().join("journal.jsonl");
    let mended = case.trip.new.with_extension("mended");
    let script = format!(
        "test -e '{}' || ! grep -q carry-transaction-state '{}' || exit 1\nexec \"$real\" \"$@\"",
        mended.display(),
        journal.display()
    );
    case.trip.script("pg_resetwal", &script);
    case.trip.run_first(&["upgrade", "--yes"]).demand(5);
    std::fs::write(mended, "").unwrap();
    case.demand_prepared();
    case
}

#[test]
fn it_goes_on_where_nobody_started_old() {
    as_server_user("it_goes_on_where_nobody_started_old", || {
        let case = half_done("link");
        case.trip.cutover();
        case.demand_arrived(&case.stock.dump);
    });
}

#[test]
fn it_is_prepared_again_where_old_was_started() {
    as_server_user("it_is_prepared_again_where_old_was_started", || {
        for mode in ["link", "copy"] {
            let case = half_done(mode);
            let (trip, old) = (&case.trip, &case.stock.cluster);
            let server = old.start();
            server.sql("app", "CREATE TABLE later (id int)");
            let prepare = format!("pg_migrator prepare -D {}", trip.new.display());
            let status = trip.run(&["status"]);
            for clause in ["nothing was kept to tell", "will be refused", &prepare] {
                assert!(status.stdout.contains(clause), "{}", status.stdout);
            }
            let wanted = dump(old);
            let told = ["nothing was kept to tell", &prepare];
            trip.run(&["cutover"]).refused(3, "PGM-6001", &told);
            server.stop();
            trip.run(&["cutover"]).refused(3, "PGM-6001", &told);
            case.demand_prepared();
            let again = trip.run(&["prepare"]);
            again.demand(0);
            assert!(again.stdout.contains("prepared anew"), "{}", again.stdout);
            trip.cutover();
            case.demand_arrived(&wanted);
        }
    });
}
