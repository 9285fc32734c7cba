//! Every way to move files, on the file systems that know it and on those that do not.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use support::case::Case;
use support::mount::{elsewhere, on_file_system};
use support::trip::{Ran, finish};
use support::{as_server_user, say};

const OLD: &str = "old-15";
const NEW: &str = "new-17";

/// There and back, there again with writes that are given up, and there for good.
fn whole_trip(case: &Case) {
    let mode = &case.trip.mode;
    case.trip.run_first(&["check"]).demand(0);
    case.trip.prepare();
    case.trip.cutover();
    case.trip.run(&["verify"]).demand(0);
    case.trip.rollback();
    case.demand_back(&format!("{mode}: there and back"));

    case.trip.prepare();
    case.trip.cutover();
    write_everywhere(case);
    case.trip
        .run(&["rollback", "--discard-new-writes"])
        .demand(0);
    case.demand_back(&format!("{mode}: writes in new are none in old"));

    case.trip.prepare();
    case.trip.cutover();
    case.demand_arrived(&case.stock.dump);
    case.trip.run(&["finalize", "--yes"]).demand(0);
    case.demand_arrived(&case.stock.dump);
}

/// The same where the way back ends with new's first start.
fn trip_until_the_start(case: &Case) {
    let mode = &case.trip.mode;
    case.trip.run_first(&["check"]).demand(0);
    case.trip.prepare();
    case.demand_untouched_files(&format!("{mode}: prepared"));
    case.trip.cutover();
    case.trip.run(&["verify"]).demand(0);
    case.demand_old_does_not_start();
    case.trip.rollback();
    case.demand_back(&format!("{mode}: there and back"));

    case.trip.prepare();
    case.trip.cutover();
    case.demand_arrived(&case.stock.dump);
    case.trip
        .run(&["rollback", "--discard-new-writes"])
        .refused(4, "PGM-2008", &["has been started"]);
    case.demand_arrived(&case.stock.dump);
    case.trip.run(&["finalize", "--yes"]).demand(0);
    case.demand_arrived(&case.stock.dump);
}

#[test]
fn files_are_moved_and_moved_back() {
    as_server_user("files_are_moved_and_moved_back", || {
        trip_until_the_start(&Case::of(OLD, NEW, "swap"));
    });
}

#[test]
fn files_are_moved_on_each_file_system() {
    on_file_system("xfs", "files_are_moved_on_each_file_system", || {
        let mut case = Case::of(OLD, NEW, "swap");
        case.move_space(&elsewhere().join("space"));
        trip_until_the_start(&case);
    });
}

/// Before the first file goes, all are written down, and old cannot be started.
#[test]
fn a_file_that_is_missing_keeps_the_rest_of_new() {
    as_server_user("a_file_that_is_missing_keeps_the_rest_of_new", || {
        let case = Case::of(OLD, NEW, "swap");
        case.trip.prepare();
        case.trip.cutover();
        let file = case.trip.a_file_that_was_swapped();
        let aside = case.stock.cluster.scratch().join("aside");
        fs::rename(&file, &aside).unwrap();
        case.trip
            .run(&["verify"])
            .refused(3, "PGM-6003", &["missing", file.to_str().unwrap()]);
        // What is not found cannot be given back, and nothing is thrown away meanwhile.
        case.trip.run(&["rollback"]).demand(6);
        case.demand_old_does_not_start();
        fs::rename(&aside, &file).unwrap();
        let (list, aside) = (
            case.trip.state().join("swap.json"),
            aside.with_extension("list"),
        );
        fs::rename(&list, &aside).unwrap();
        case.trip
            .run(&["rollback"])
            .refused(6, "PGM-5004", &["put swap.json back"]);
        fs::rename(&aside, &list).unwrap();
        case.trip.rollback();
        case.demand_back("a file that was missing");
    });
}

/// New changes the pages of its tables.
fn write_everywhere(case: &Case) {
    let new = case.trip.new_cluster();
    let server = new.start();
    for database in ["app", support::stock::SECOND] {
        server.sql(
            database,
            "DO $$ DECLARE one regclass; BEGIN \
               FOR one IN SELECT oid FROM pg_class WHERE relkind = 'r' AND relpersistence = 'p' \
                 AND oid >= 16384 LOOP \
                 EXECUTE format('DELETE FROM %s', one); \
               END LOOP; END $$; CHECKPOINT",
        );
    }
    server.stop();
}

/// The file systems that lie under a data directory.
fn device(path: &Path) -> u64 {
    fs::metadata(path).unwrap().dev()
}

fn events(ran: &Ran, kind: &str) -> Vec<serde_json::Value> {
    let lines = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter(|event: &serde_json::Value| event["event"] == kind)
        .collect()
}

#[test]
fn clones_on_btrfs() {
    on_file_system("btrfs", "clones_on_btrfs", clones);
}

#[test]
fn clones_on_xfs() {
    on_file_system("xfs", "clones_on_xfs", clones);
}

fn clones() {
    let mut case = Case::of(OLD, NEW, "clone");
    whole_trip(&case);
    case = Case::of(OLD, NEW, "auto");
    let ran = case.trip.run_first(&["prepare"]);
    ran.demand(0);
    let base = case.trip.old.join("base");
    let chosen = format!("mode for {}: clone\n", base.display());
    assert!(ran.stdout.contains(&chosen), "{}", ran.stdout);
    // What auto has come to is decided, and may be asked for again.
    case.trip.run_first(&["prepare"]).demand(0);
    let ran = case.trip.run(&["cutover"]);
    ran.demand(0);
    assert!(ran.stdout.contains(" cloned"), "{}", ran.stdout);
    case.demand_arrived(&case.stock.dump);
    case = Case::of(OLD, NEW, "copy-file-range");
    whole_trip(&case);
}

#[test]
fn a_tablespace_elsewhere_is_copied_where_the_rest_is_cloned() {
    let test = "a_tablespace_elsewhere_is_copied_where_the_rest_is_cloned";
    on_file_system("btrfs", test, || {
        let mut case = Case::of(OLD, NEW, "clone");
        case.move_space(&elsewhere().join("space"));
        let space = case.stock.space.clone();
        assert_ne!(device(&space), device(&case.trip.old));
        let named = space.to_str().unwrap().to_owned();
        let said = [
            "PGM-1402",
            "cannot be cloned",
            "reason",
            &named,
            "--mode auto",
        ];
        case.trip
            .run_first(&["check"])
            .refused(3, "PGM-6002", &said);
        case.trip
            .run_first(&["prepare"])
            .refused(4, "PGM-1402", &said);
        case.demand_untouched("clones that are not possible");
        assert_eq!(fs::read_dir(&space).unwrap().count(), 1);

        case.trip.mode = "auto".to_owned();
        let ran = case.trip.run_first(&["check", "--json"]);
        ran.demand(0);
        let modes: Vec<String> = events(&ran, "passage")
            .iter()
            .map(|event| event["mode"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(modes, ["clone", "copy"]);
        let ran = case.trip.run_first(&["prepare"]);
        ran.demand(0);
        assert!(ran.stdout.contains(": clone\n"), "{}", ran.stdout);
        assert!(ran.stdout.contains(": copy; not clone ("), "{}", ran.stdout);
        case.trip.rollback();
        case.demand_untouched("auto, prepared");
        whole_trip(&case);
    });
}

#[test]
fn what_file_systems_cannot_do_is_found_before_anything_is_built() {
    let test = "what_file_systems_cannot_do_is_found_before_anything_is_built";
    as_server_user(test, || {
        let mut case = Case::of(OLD, NEW, "copy");
        let mut command = case.trip.first_command(&["check"]);
        command = without(&command, "--copy");
        let ran = finish(command);
        ran.demand(0);
        let base = case.trip.old.join("base");
        let told = format!("modes possible for {}: link, ", base.display());
        assert!(ran.stdout.contains(&told), "{}", ran.stdout);
        let cloned = ran.stdout.contains(": link, clone, copy");
        case.trip.mode = "clone".to_owned();
        let ran = case.trip.run_first(&["prepare"]);
        match cloned {
            true => {
                ran.demand(0);
            }
            false => {
                let base = base.to_str().unwrap();
                ran.refused(4, "PGM-1402", &["cannot be cloned", "reason", base]);
                case.demand_untouched("clones that are not possible");
            }
        }
    });
}

#[test]
fn copies_by_copy_file_range() {
    as_server_user("copies_by_copy_file_range", || {
        whole_trip(&Case::of(OLD, NEW, "copy-file-range"));
    });
}

#[test]
fn auto_where_nothing_can_be_cloned_is_copy() {
    as_server_user("auto_where_nothing_can_be_cloned_is_copy", || {
        whole_trip(&Case::of(OLD, NEW, "auto"));
    });
}

/// A folder of a single database may be mounted on its own.
#[test]
fn a_database_that_is_mounted_on_its_own_is_tried_by_itself() {
    let test = "a_database_that_is_mounted_on_its_own_is_tried_by_itself";
    as_server_user(test, || {
        let mut case = Case::of(OLD, NEW, "link");
        let folders = fs::read_dir(case.trip.old.join("base")).unwrap();
        let mut folders: Vec<_> = folders.map(|entry| entry.unwrap().path()).collect();
        folders.sort_by_key(|path| path.file_name().unwrap().len());
        let folder = folders.pop().unwrap();
        if !mounted_over(&folder, Command::new("true")).status.success() {
            return say("SKIPPED: no file system can be mounted here by a user");
        }
        let named = folder.to_str().unwrap().to_owned();
        for (mode, said) in [
            ("link", &[named.as_str(), "different file systems"][..]),
            ("clone", &[]),
        ] {
            case.trip.mode = mode.to_owned();
            let ran = Ran::from(mounted_over(&folder, case.trip.first_command(&["prepare"])));
            ran.refused(4, "PGM-1402", said);
        }
        case.demand_untouched("a database mounted on its own");
    });
}

/// Runs a command that sees another file system on this directory.
fn mounted_over(dir: &Path, command: Command) -> std::process::Output {
    let script = "mount -t tmpfs tmpfs \"$1\" || exit 1; shift; exec \"$@\"";
    let mut within = Command::new("unshare");
    within
        .args(["--user", "--map-current-user", "--mount", "--keep-caps"])
        .args(["sh", "-c", script, "sh"])
        .arg(dir)
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir("/");
    within.output().unwrap()
}

/// The same command without one of its words.
fn without(command: &Command, word: &str) -> Command {
    let mut other = Command::new(command.get_program());
    other.args(command.get_args().filter(|found| *found != word));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    other
}
