//! What `docs/recovery.md` says for each standing is done, on real clusters, by its commands.

#![cfg(feature = "fault")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pg_migrator::journal::Standing;
use support::case::Case;
use support::trip::finish;
use support::{as_server_user, processes_in};

const PAGE: &str = include_str!("../docs/recovery.md");
const STANDINGS: [Standing; 8] = [
    Standing::Preparing,
    Standing::Prepared,
    Standing::CuttingOver,
    Standing::Upgraded,
    Standing::RollingBack,
    Standing::RolledBack,
    Standing::Finalizing,
    Standing::Finalized,
];

/// The name of a standing as the page has it; a new one is not forgotten, for this does not
/// compile without it.
fn title(standing: Standing) -> &'static str {
    match standing {
        Standing::Preparing => "preparing",
        Standing::Prepared => "prepared",
        Standing::CuttingOver => "cutting over",
        Standing::Upgraded => "upgraded",
        Standing::RollingBack => "rolling back",
        Standing::RolledBack => "rolled back",
        Standing::Finalizing => "finalizing",
        Standing::Finalized => "finalized",
    }
}

/// The text of a section.
fn section(title: &str) -> String {
    let lines = PAGE
        .lines()
        .skip_while(|line| *line != format!("## {title}"));
    let found: Vec<_> = lines
        .skip(1)
        .take_while(|line| !line.starts_with("## ") && *line != "# By hand")
        .collect();
    assert!(!found.is_empty(), "no section {title}");
    found.join("\n")
}

/// The parts a paragraph of a section leads to.
fn parts(text: &str) -> Vec<String> {
    text.split("](#")
        .skip(1)
        .map(|rest| rest.split(')').next().unwrap().replace('-', " "))
        .collect()
}

/// The paragraph of a standing that begins so.
fn way(standing: Standing, beginning: &str) -> Vec<String> {
    let text = section(title(standing));
    let mut paragraphs = text.split("\n\n");
    let paragraph = paragraphs.find(|text| text.trim_start().starts_with(beginning));
    parts(paragraph.unwrap_or_else(|| panic!("{}: {beginning}", title(standing))))
}

/// The commands of a part.
fn commands(part: &str) -> String {
    let mut letters = part.chars();
    let first: String = letters.next().unwrap().to_uppercase().collect();
    let text = section(&format!("{first}{}", letters.as_str()));
    let blocks = text.split("```sh\n").skip(1);
    let blocks: Vec<_> = blocks
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(!blocks.is_empty(), "{part} has no commands");
    blocks.concat()
}

fn follow(case: &Case, parts: &[String]) {
    let trip = &case.trip;
    wait_for_servers(case);
    // Old is started as it would be by its operator, on a port of its own.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let port = free.unwrap().port();
    for part in parts {
        let output = Command::new("sh")
            .args(["-eu", "-c", &commands(part)])
            .env("OLD", &trip.old)
            .env("NEW", &trip.new)
            .env("OLDBIN", &trip.old_bindir)
            .env("NEWBIN", &trip.new_bindir)
            .env("STATE", trip.state())
            .env("PGPORT", port.to_string())
            .current_dir("/")
            .output()
            .unwrap();
        assert!(output.status.success(), "{part}: {output:?}");
    }
}

/// Those of a killed run end with it, a moment later.
fn wait_for_servers(case: &Case) {
    let begun = Instant::now();
    let busy = |dir: &Path| dir.exists() && !processes_in(dir).is_empty();
    while busy(&case.trip.old) || busy(&case.trip.new) {
        assert!(begun.elapsed() < support::trip::LIMIT, "still running");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Old serves what it served, and nothing of ours is left.
fn demand_old(case: &Case, after: &str) {
    let stop = Command::new(case.trip.old_bindir.join("pg_ctl"))
        .args(["stop", "-w", "-m", "fast", "-D"])
        .arg(&case.trip.old)
        .output()
        .unwrap();
    drop(stop);
    assert!(!case.trip.state().exists(), "{after}");
    case.demand_untouched(after);
    let server = case.stock.cluster.start();
    let now = support::stock::dump(&case.stock.cluster);
    server.stop();
    support::case::demand_same_text(&case.stock.dump, &now);
}

/// Kills a command at this point of a step.
fn kill_at(case: &Case, command: &str, point: &str) {
    let trip = &case.trip;
    trip.stands_still(trip.command(&[command]), point).kill();
}

#[test]
fn every_standing_has_a_section() {
    let titles: BTreeSet<&str> = STANDINGS.iter().map(|standing| title(*standing)).collect();
    let before = PAGE.split("\n# By hand\n").next().unwrap();
    let sections: BTreeSet<&str> = before
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    assert_eq!(titles, sections);
    for standing in STANDINGS {
        let text = section(title(standing));
        assert!(text.contains("The program:"), "{}", title(standing));
        for part in parts(&text) {
            commands(&part);
        }
    }
}

#[test]
fn by_hand_back_from_what_was_prepared() {
    as_server_user("by_hand_back_from_what_was_prepared", || {
        let case = Case::new("link");
        let mut killed = case.trip.first_command(&["prepare"]);
        killed.env("PGM_FAULT", "300");
        finish(killed).demand(-9);
        follow(&case, &way(Standing::Preparing, "By hand"));
        demand_old(&case, "preparing");
        case.trip.prepare();
        follow(&case, &way(Standing::Prepared, "By hand"));
        demand_old(&case, "prepared");
        case.trip.prepare();
        case.trip.rollback();
        follow(&case, &way(Standing::RolledBack, "By hand"));
        demand_old(&case, "rolled back");
    });
}

#[test]
fn by_hand_back_from_a_cutover_by_link() {
    as_server_user("by_hand_back_from_a_cutover_by_link", || back_from("link"));
}

#[test]
fn by_hand_back_from_a_cutover_by_swap() {
    as_server_user("by_hand_back_from_a_cutover_by_swap", || back_from("swap"));
}

/// As for clone and copy-file-range: old has lost nothing, and nothing of it is given back.
#[test]
fn by_hand_back_from_a_cutover_by_copy() {
    as_server_user("by_hand_back_from_a_cutover_by_copy", || back_from("copy"));
}

fn back_from(mode: &str) {
    let (on, back) = match mode {
        "swap" => (
            "disk.take.done apply transfer-files",
            "disk.take.done undo transfer-files",
        ),
        "copy" => (
            "engine.step.applied apply transfer-files",
            "disk.rename.renamed undo release-new-cluster",
        ),
        _ => (
            "engine.step.applied apply transfer-files",
            "disk.rename.renamed undo retire-old-control",
        ),
    };
    let case = Case::new(mode);
    case.trip.prepare();
    kill_at(&case, "cutover", on);
    follow(&case, &way(Standing::CuttingOver, "By hand, back"));
    demand_old(&case, "cutting over");
    case.trip.prepare();
    case.trip.cutover();
    follow(&case, &way(Standing::Upgraded, "By hand, back"));
    demand_old(&case, "upgraded");
    case.trip.prepare();
    case.trip.cutover();
    kill_at(&case, "rollback", back);
    follow(&case, &way(Standing::RollingBack, "By hand, unless"));
    demand_old(&case, "rolling back");
}

/// Killed while new's control file is copied to another file system.
#[test]
fn by_hand_back_with_the_control_file_on_its_way() {
    as_server_user("by_hand_back_with_the_control_file_on_its_way", || {
        let case = Case::new("link");
        let _apart = case.state_apart();
        case.trip.prepare();
        case.trip.cutover();
        let point = "disk.rename.copied undo release-new-cluster";
        kill_at(&case, "rollback", point);
        let on_its_way = case.trip.new.join("global/pg_control.aside");
        assert!(on_its_way.exists());
        // New had been started before it was taken away.
        let released = fs::read(&on_its_way).unwrap();
        fs::write(&on_its_way, [released.as_slice(), b"x"].concat()).unwrap();
        let back = way(Standing::RollingBack, "By hand, unless");
        let refused = catch_unwind(AssertUnwindSafe(|| follow(&case, &back)));
        assert!(refused.is_err(), "a way back over what new has written");
        fs::write(&on_its_way, released).unwrap();
        follow(&case, &back);
        demand_old(&case, point);
    });
}

#[test]
fn by_hand_on_with_new() {
    as_server_user("by_hand_on_with_new", || {
        for standing in [
            Standing::Upgraded,
            Standing::Finalizing,
            Standing::Finalized,
        ] {
            let case = Case::new("link");
            case.trip.prepare();
            case.trip.cutover();
            case.demand_arrived(&case.stock.dump);
            // New has been started: the commands of the way back refuse it.
            let back = way(Standing::Upgraded, "By hand, back");
            let refused = catch_unwind(AssertUnwindSafe(|| follow(&case, &back)));
            assert!(refused.is_err(), "a way back over what new has written");
            if standing != Standing::Upgraded {
                let mut finalize = case.trip.command(&["finalize", "--yes"]);
                if standing == Standing::Finalizing {
                    finalize.env("PGM_FAULT", "60");
                }
                finish(finalize);
            }
            let beginning = match standing {
                Standing::Upgraded => "By hand, on",
                _ => "By hand",
            };
            follow(&case, &way(standing, beginning));
            assert!(!case.trip.old.exists() && !case.trip.state().exists());
            case.demand_arrived(&case.stock.dump);
        }
    });
}
