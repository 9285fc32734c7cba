//! What `docs/recovery.md` says for each standing is done, on real clusters, by its commands.

#![cfg(feature = "fault")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use pg_migrator::journal::Standing;
use support::as_server_user;
use support::case::Case;
use support::mount::on_file_system;
use support::page::{PAGE, commands, demand_stopped, follow, parts, section};
use support::trip::finish;

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

/// The paragraph of a standing that begins so.
fn way(standing: Standing, beginning: &str) -> Vec<String> {
    let text = section(title(standing));
    let mut paragraphs = text.split("\n\n");
    let paragraph = paragraphs.find(|text| text.trim_start().starts_with(beginning));
    parts(paragraph.unwrap_or_else(|| panic!("{}: {beginning}", title(standing))))
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
        let parts = parts(&text);
        assert!(!commands(&parts).is_empty(), "{}", title(standing));
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

/// Old has lost nothing, and nothing of it is given back.
#[test]
fn by_hand_back_from_a_cutover_by_copy() {
    as_server_user("by_hand_back_from_a_cutover_by_copy", || back_from("copy"));
}

#[test]
fn by_hand_back_from_a_cutover_by_copies_of_the_file_system() {
    let test = "by_hand_back_from_a_cutover_by_copies_of_the_file_system";
    on_file_system("btrfs", test, || {
        for mode in ["clone", "copy-file-range"] {
            back_from_half_a_cutover(&Case::new(mode), COPIED);
        }
    });
}

/// All files of old are in new, too.
const COPIED: &str = "engine.step.applied apply transfer-files";

fn back_from_half_a_cutover(case: &Case, point: &str) {
    case.trip.prepare();
    kill_at(case, "cutover", point);
    follow(case, &way(Standing::CuttingOver, "By hand, back"));
    demand_old(case, "cutting over");
}

/// The damaged line is neither the first nor the last: what is behind it was written.
#[test]
fn by_hand_back_with_a_damaged_journal() {
    as_server_user("by_hand_back_with_a_damaged_journal", || {
        let case = Case::new("link");
        case.trip.prepare();
        assert!(!damage_journal(&case).contains("stop-old-server"));
        follow(&case, &way(Standing::Prepared, "By hand"));
        demand_old(&case, "prepared, the journal damaged");
        case.trip.prepare();
        kill_at(&case, "cutover", COPIED);
        assert!(damage_journal(&case).contains("stop-old-server"));
        follow(&case, &way(Standing::CuttingOver, "By hand, back"));
        demand_old(&case, "cutting over, the journal damaged");
    });
}

/// Its text; the program does not go on with it.
fn damage_journal(case: &Case) -> String {
    let path = case.trip.state().join("journal.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let line = text.lines().nth(3).unwrap();
    fs::write(
        &path,
        text.replacen(line, &line.replace("\"time\"", "\"tame\""), 1),
    )
    .unwrap();
    for command in ["status", "resume", "rollback"] {
        let refused = case.trip.run(&[command]);
        refused.demand(7);
        assert!(refused.stderr.contains("PGM-2005"), "{refused:?}");
    }
    text
}

fn back_from(mode: &str) {
    let (on, back) = match mode {
        "swap" => (
            "disk.take.done apply transfer-files",
            "disk.take.done undo transfer-files",
        ),
        "copy" => (COPIED, "disk.rename.renamed undo release-new-cluster"),
        _ => (COPIED, "disk.rename.renamed undo retire-old-control"),
    };
    let case = Case::new(mode);
    back_from_half_a_cutover(&case, on);
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
        demand_stopped(&case, &commands(&back), &[], "new has been started");
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
            demand_stopped(&case, &commands(&back), &[], "new has been started");
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
