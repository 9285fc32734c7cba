//! Counters and status pass into new: new cannot be started meanwhile, and all can be put back.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use support::as_server_user;
use support::case::Case;
use support::tree;

/// A prepared case whose pg_resetwal does something else from now on.
struct Spoiled {
    case: Case,
    act: PathBuf,
    exposed: PathBuf,
}

/// `act` is a piece of shell; `$real "$@"` in it is what the program would have done.
fn spoiled(mode: &str, act: &str) -> Spoiled {
    let mut case = Case::new(mode);
    let scratch = case.stock.cluster.scratch();
    let (file, exposed) = (scratch.join("act"), scratch.join("exposed"));
    let control = case.trip.new.join("global/pg_control");
    let text = format!(
        "if [ -e '{act}' ]; then [ ! -e '{control}' ] || touch '{exposed}'; . '{act}'; fi\n\
         exec \"$real\" \"$@\"",
        act = file.display(),
        control = control.display(),
        exposed = exposed.display()
    );
    case.trip.script("pg_resetwal", &text);
    case.trip.prepare();
    fs::write(&file, act).unwrap();
    Spoiled {
        case,
        act: file,
        exposed,
    }
}

/// New byte for byte, and its control file, which waits beside it.
fn everything(case: &Case) -> BTreeMap<PathBuf, String> {
    let mut all = tree::contents(&case.trip.new);
    all.extend(tree::contents(&case.trip.state().join("new-pg_control")));
    all
}

fn demand_nothing_left(case: &Case) {
    for name in ["before-carry", "resetwal"] {
        assert!(!case.trip.state().join(name).exists(), "{name}");
    }
}

#[test]
fn new_cannot_be_started_while_its_counters_are_set() {
    as_server_user("new_cannot_be_started_while_its_counters_are_set", || {
        for (mode, act) in [
            ("link", "kill -9 $PPID; exit 1"),
            ("copy", "\"$real\" \"$@\"; kill -9 $PPID; exit 1"),
        ] {
            let spoiled = spoiled(mode, act);
            let trip = &spoiled.case.trip;
            let ran = trip.run(&["cutover"]);
            assert_eq!(ran.code, -9, "{}{}", ran.stdout, ran.stderr);
            assert!(!spoiled.exposed.exists());
            let started = trip.new_starts();
            assert!(!started.status.success(), "{started:?}");

            // Once more, for what is begun twice must still end right.
            assert_eq!(trip.run(&["resume"]).code, -9);
            fs::remove_file(&spoiled.act).unwrap();
            trip.run(&["resume"]).demand(0);
            trip.run(&["verify"]).demand(0);
            spoiled.case.demand_arrived(&spoiled.case.stock.dump);
        }
    });
}

#[test]
fn what_was_carried_is_put_back_byte_for_byte() {
    as_server_user("what_was_carried_is_put_back_byte_for_byte", || {
        for act in ["exit 1", "\"$real\" \"$@\"; exit 1"] {
            let spoiled = spoiled("link", act);
            let case = &spoiled.case;
            let before = everything(case);
            case.trip.run(&["cutover"]).refused(
                5,
                "PGM-3005",
                &["pg_resetwal", "waits for the cutover"],
            );
            case.demand_prepared();
            assert_eq!(everything(case), before);
            demand_nothing_left(case);

            // Killed in it, and then undone by the failure of the next attempt.
            fs::write(&spoiled.act, "\"$real\" \"$@\"; kill -9 $PPID; exit 1").unwrap();
            assert_eq!(case.trip.run(&["cutover"]).code, -9);
            fs::write(&spoiled.act, act).unwrap();
            case.trip.run(&["resume"]).refused(5, "PGM-3005", &[]);
            assert_eq!(everything(case), before);
            demand_nothing_left(case);

            fs::remove_file(&spoiled.act).unwrap();
            case.trip.cutover();
            case.trip.rollback();
            case.demand_back("a cutover that had failed twice");
            demand_nothing_left(case);
        }
    });
}
