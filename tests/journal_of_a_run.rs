//! What a run writes down, and what is there when it is interrupted.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use nix::sys::signal::Signal;
use serde_json::Value;
use support::case::Case;
use support::trip::Ran;
use support::{as_server_user, processes_in};

fn events(ran: &Ran) -> Vec<Value> {
    let lines = ran.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// One run: begun once, ended once, with nothing left out.
fn demand_whole(events: &[Value], command: &str, status: u64) {
    let count = |kind: &str| events.iter().filter(|event| event["event"] == kind).count();
    let (first, last) = (&events[0], &events[events.len() - 1]);
    assert_eq!(first["event"], "run_started", "{first}");
    assert_eq!(first["command"], command, "{first}");
    assert_eq!(last["event"], "run_finished", "{last}");
    assert_eq!(last["status"], status, "{last}");
    assert!(last["standing"].as_str().unwrap().len() > 20, "{last}");
    assert_eq!((count("run_started"), count("run_finished")), (1, 1));
    for (event, wanted) in events.iter().zip(1..) {
        assert_eq!(event["seq"], wanted, "{event}");
    }
}

fn steps<'a>(events: &'a [Value], kind: &str) -> Vec<&'a str> {
    let of_kind = events.iter().filter(|event| event["event"] == kind);
    of_kind
        .map(|event| event["step"].as_str().unwrap())
        .collect()
}

#[test]
fn events_and_journal_tell_the_same() {
    as_server_user("events_and_journal_tell_the_same", || {
        let case = Case::new("link");
        let trip = &case.trip;
        let upgraded = events(trip.run_first(&["upgrade", "--yes", "--json"]).demand(0));
        demand_whole(&upgraded, "upgrade", 0);
        assert_eq!(kept(&upgraded), trip.events());

        let announced: Vec<&str> = upgraded[0]["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|label| label["step"].as_str().unwrap())
            .collect();
        let begun = steps(&upgraded, "step_started");
        assert_eq!(begun, steps(&upgraded, "step_finished"));
        // The order is that of the announcement; what is not needed is left out.
        let mut rest = announced.iter();
        assert!(
            begun.iter().all(|step| rest.any(|known| known == step)),
            "{begun:?}"
        );
        demand_intents_first(&trip.journal(), &begun);

        let before = trip.events().len();
        let back = events(trip.run(&["rollback", "--json"]).demand(0));
        demand_whole(&back, "rollback", 0);
        assert_eq!(kept(&back), trip.events()[before..]);
        let undone: Vec<&str> = begun.iter().rev().copied().collect();
        assert_eq!(steps(&back, "step_undone"), undone);

        let refused = events(trip.run(&["cutover", "--json"]).demand(4));
        demand_whole(&refused, "cutover", 4);
        assert_eq!(refused[refused.len() - 1]["error"]["code"], "PGM-2006");
        let log = trip.run(&["log", "--json"]);
        assert_eq!(events(log.demand(0)), trip.events());
    });
}

/// What a file of events has: only progress is left out.
fn kept(events: &[Value]) -> Vec<Value> {
    let all = events.iter();
    all.filter(|event| event["event"] != "progress")
        .cloned()
        .collect()
}

/// Each step's intent is there before its end, and nothing comes between.
fn demand_intents_first(journal: &[Value], begun: &[&str]) {
    for (line, wanted) in journal.iter().zip(1..) {
        assert_eq!(line["seq"], wanted, "{line}");
        assert!(line["crc"].is_string(), "{line}");
    }
    let told: Vec<(String, String)> = journal
        .iter()
        .map(|line| &line["record"])
        .filter(|record| record["step"].is_string())
        .map(|record| (text(&record["kind"]), text(&record["step"])))
        .collect();
    let wanted: Vec<(String, String)> = begun
        .iter()
        .flat_map(|step| ["step_intended", "step_done"].map(|kind| (kind.into(), (*step).into())))
        .collect();
    assert_eq!(told, wanted);
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn an_interrupted_prepare_stops_cleanly_and_goes_on() {
    as_server_user("an_interrupted_prepare_stops_cleanly_and_goes_on", || {
        let case = Case::new("link");
        let trip = &case.trip;
        for (step, signal, code, error) in [
            ("dump-old-schema", Signal::SIGINT, 130, "PGM-7001"),
            ("seed-transaction-state", Signal::SIGTERM, 143, "PGM-7002"),
            ("restore-schemas", Signal::SIGINT, 130, "PGM-7001"),
        ] {
            let underway = trip.frozen_prepare("step_intended", step);
            let ran = underway.go_on_with(signal);
            ran.refused(code, error, &["standing: ", "half built"]);
            assert_eq!(processes_in(case.stock.cluster.scratch()), [0; 0]);
            assert!(!trip.new.join("global/pg_control").exists(), "{step}");
            trip.demand_standing("half built");
            if step == "restore-schemas" {
                trip.run(&["resume"]).demand(0);
                case.demand_prepared();
                trip.cutover();
                trip.run(&["verify"]).demand(0);
            }
            trip.rollback();
            case.demand_untouched(step);
        }
    });
}

#[test]
fn an_interrupted_cutover_leaves_what_was_prepared() {
    as_server_user("an_interrupted_cutover_leaves_what_was_prepared", || {
        for mode in ["link", "copy"] {
            let case = Case::new(mode);
            let trip = &case.trip;
            trip.prepare();
            for step in ["stop-old-server", "carry-transaction-state"] {
                let underway = trip.frozen_cutover("step_intended", step);
                let ran = underway.go_on_with(Signal::SIGINT);
                ran.refused(130, "PGM-7001", &["standing: ", "waits for the cutover"]);
                assert_eq!(processes_in(case.stock.cluster.scratch()), [0; 0]);
                case.demand_prepared();
                assert!(!trip.new.join("global/pg_control").exists(), "{step}");
                assert!(!trip.old.join("postmaster.pid").exists(), "{step}");
            }
            let started = trip.old_starts();
            assert!(started.status.success(), "{started:?}");
            trip.cutover();
            case.demand_arrived(&case.stock.dump);
        }
    });
}

#[test]
fn a_second_run_is_refused_and_does_not_disturb_the_first() {
    as_server_user(
        "a_second_run_is_refused_and_does_not_disturb_the_first",
        || {
            let case = Case::new("copy");
            let trip = &case.trip;
            let first = trip.frozen_prepare("step_intended", "dump-old-schema");
            let holder = first.pid().to_string();
            for second in [
                trip.run_first(&["prepare"]),
                trip.run_first(&["check"]),
                trip.run(&["rollback"]),
                trip.run(&["resume"]),
                trip.run(&["cutover"]),
                trip.run(&["finalize", "--yes"]),
            ] {
                let said = ["another run", "standing: ", "changed", "remedy: "];
                second.refused(4, "PGM-2002", &said);
            }
            trip.run(&["rollback"]).refused(4, "PGM-2002", &[&holder]);
            trip.demand_standing(&format!(
                "a run is at work on this migration now, process {holder}"
            ));
            // Into another directory it is the same old.
            let elsewhere = support::trip::Trip {
                new: trip.new.with_extension("elsewhere"),
                ..support::trip::Trip::new(&case.stock.cluster, "new-17", "link")
            };
            elsewhere
                .run_first(&["prepare"])
                .refused(4, "PGM-2002", &["at work on this cluster"]);
            assert!(!elsewhere.new.exists() && !elsewhere.state().exists());
            trip.demand_standing("half built");
            first.go_on().demand(0);
            trip.cutover();
            case.demand_arrived(&case.stock.dump);
        },
    );
}
