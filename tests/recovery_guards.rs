//! What stops the commands of `docs/recovery.md` where they would do harm: they are pasted into a
//! shell that goes on after a failure, and leave everything as it was.

#![cfg(feature = "fault")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};
use support::as_server_user;
use support::case::Case;
use support::page::{FIRST, blocks, commands, demand_stopped, follow, paste};
use support::tree::{self, Tree};

const BACK: [&str; 7] = [
    FIRST,
    "no server of ours",
    "new cannot be started",
    "files come home",
    "old can be started",
    "new goes",
    "the state goes",
];
const REMOVED: [&str; 4] = [FIRST, "no server of ours", "new goes", "the state goes"];
const GONE: &str = "the state directory is gone";

/// One part alone, with what it asks.
fn alone(part: &str) -> String {
    commands(&[FIRST, part])
}

/// Old is as it was and its programs start it; nothing of ours is left.
fn demand_old(case: &Case, after: &str) {
    let trip = &case.trip;
    pg_ctl(&trip.old_bindir, &trip.old, &["stop", "-m", "fast"]);
    assert!(!trip.state().exists(), "{after}");
    case.demand_untouched_old(after);
    let started = trip.old_starts();
    assert!(started.status.success(), "{after}: {started:?}");
}

fn pg_ctl(bindir: &Path, data: &Path, words: &[&str]) -> bool {
    let output = Command::new(bindir.join("pg_ctl"))
        .args(words)
        .args(["-w", "-D"])
        .arg(data)
        .output()
        .unwrap();
    output.status.success()
}

/// What somebody has done to a file, until it is undone.
struct Changed(PathBuf, Vec<u8>);

impl Changed {
    fn taken_away(path: PathBuf) -> Self {
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        Self(path, bytes)
    }

    /// Another system identifier.
    fn of_a_stranger(path: PathBuf) -> Self {
        let bytes = fs::read(&path).unwrap();
        let mut other = bytes.clone();
        other[0] ^= 1;
        fs::write(&path, other).unwrap();
        Self(path, bytes)
    }

    fn undone(self) {
        fs::write(self.0, self.1).unwrap();
    }
}

#[test]
fn in_a_wrong_place_nothing_is_done() {
    as_server_user("in_a_wrong_place_nothing_is_done", || {
        let case = Case::new("link");
        let trip = &case.trip;
        trip.prepare();
        trip.cutover();
        let nowhere = trip.new.with_extension("nowhere");
        let all = commands(&BACK) + &commands(&["old goes", "the state goes"]);
        let empty = trip.new.with_extension("empty");
        fs::create_dir(&empty).unwrap();
        for state in [&nowhere, &empty, &trip.new] {
            demand_stopped(
                &case,
                &all,
                &[("STATE", state)],
                "is not the state directory",
            );
        }
        for (name, wrong) in [("OLD", &trip.new), ("NEW", &trip.old), ("OLD", &nowhere)] {
            demand_stopped(&case, &all, &[(name, wrong)], "is not the state directory");
        }
        for name in ["OLDBIN", "NEWBIN"] {
            demand_stopped(&case, &all, &[(name, &nowhere)], "there is no pg_ctl");
        }
        let unasked = commands(&BACK[1..]) + &commands(&["old goes"]);
        demand_stopped(&case, &unasked, &[], "nothing was removed");
        let plan = Changed::taken_away(trip.state().join("plan.json"));
        demand_stopped(&case, &all, &[], "there is no");
        plan.undone();

        // Each part alone, where what comes before it was left out.
        for (part, why) in [
            ("old goes", "new was never started"),
            ("files come home", "new can still be started"),
            ("old can be started", "new can still be started"),
            ("new goes", "old has not got its control file back"),
            ("the state goes", "old has not got its control file back"),
            (GONE, "old must not be started"),
        ] {
            demand_stopped(&case, &alone(part), &[], why);
        }
        let released = trip.new.join("global/pg_control");
        let control = Changed::taken_away(released.clone());
        demand_stopped(&case, &all, &[], "the control file of new is gone");
        control.undone();
        let stranger = Changed::of_a_stranger(released);
        demand_stopped(&case, &commands(&BACK), &[], "another cluster lies in");
        stranger.undone();

        case.demand_arrived(&case.stock.dump);
        let stranger = Changed::of_a_stranger(trip.old.join("global/pg_control.old"));
        demand_stopped(&case, &alone("old goes"), &[], "another cluster lies in");
        stranger.undone();
        let known = Changed::taken_away(trip.state().join("released-control.json"));
        demand_stopped(&case, &alone("old goes"), &[], "new is not complete");
        known.undone();
    });
}

#[test]
fn without_a_file_of_old_nothing_goes() {
    as_server_user("without_a_file_of_old_nothing_goes", || {
        let case = Case::new("swap");
        case.trip.prepare();
        case.trip.cutover();
        follow(&case, &BACK[..3]);
        let rest = [&BACK[..1], &BACK[3..]].concat();
        demand_stopped(&case, &alone(GONE), &[], "old must not be started");
        let unmoved = [&BACK[..1], &BACK[4..]].concat();
        demand_stopped(&case, &commands(&unmoved), &[], "is still in new");
        let file = case.trip.a_file_that_was_swapped();
        let hidden = file.with_extension("hidden");
        fs::rename(&file, &hidden).unwrap();
        demand_stopped(&case, &commands(&rest), &[], "is in neither place");
        fs::write(&file, "another").unwrap();
        demand_stopped(&case, &commands(&rest), &[], "is in neither place");
        fs::rename(&hidden, &file).unwrap();
        // It says where it is wanted, and somebody else has put a file there.
        let said = paste(&case, &commands(&unmoved), &[]);
        let home = said
            .split("STOP: ")
            .find(|text| text.contains(" is still in new"));
        let home = PathBuf::from(home.unwrap().split(" is still").next().unwrap());
        fs::write(&home, "another").unwrap();
        demand_stopped(&case, &commands(&rest), &[], "is another file");
        fs::remove_file(&home).unwrap();
        // The version of new is asked of its programs.
        let old_bindir: &Path = &case.trip.old_bindir;
        follow(&case, &rest[..3]);
        let wrong = [("NEWBIN", old_bindir)];
        assert!(paste(&case, &alone("new goes"), &wrong).contains("is not of the version of new"));
        assert!(case.trip.new.join("PG_VERSION").exists());
        follow(&case, &rest);
        demand_old(&case, "swap");
        assert!(!case.trip.new.exists());
    });
}

#[test]
fn a_program_that_lives_is_ended_first() {
    as_server_user("a_program_that_lives_is_ended_first", || {
        let case = Case::new("link");
        let trip = &case.trip;
        trip.prepare();
        let lock = File::open(trip.state().join("lock")).unwrap();
        let held = Flock::lock(lock, FlockArg::LockExclusiveNonblock).unwrap();
        demand_stopped(&case, &commands(&BACK), &[], "is not pg_migrator");
        drop(held);
        let point = "engine.step.applied apply retire-old-control";
        let underway = trip.stands_still(trip.command(&["cutover"]), point);
        let hold = fs::read_to_string(trip.old.join("postmaster.pid")).unwrap();
        assert!(hold.starts_with('-'), "{hold}");
        let asks = blocks(FIRST).pop().unwrap();
        let rest = asks + &commands(&BACK[1..]) + &commands(&["old goes"]);
        demand_stopped(&case, &rest, &[], "a program holds");
        follow(&case, &BACK);
        underway.kill();
        demand_old(&case, point);
        assert!(!trip.new.exists());
    });
}

#[test]
fn nobody_elses_server_is_stopped() {
    as_server_user("nobody_elses_server_is_stopped", || {
        let case = Case::new("link");
        let trip = &case.trip;
        let control = trip.new.join("global/pg_control");
        let in_place = || {
            trip.prepare();
            fs::rename(trip.state().join("new-pg_control"), &control).unwrap();
        };
        in_place();
        let new = trip.new_cluster();
        let server = new.start();
        let said = paste(&case, &commands(&REMOVED), &[]);
        assert!(said.contains("started before it was complete"), "{said}");
        assert!(pg_ctl(&trip.new_bindir, &trip.new, &["status"]));
        demand_stopped(&case, &alone("exit status 7"), &[], "cannot be known");
        server.stop();
        // Whoever started it may have written to what both have.
        demand_stopped(
            &case,
            &commands(&BACK),
            &[],
            "started before it was complete",
        );
        let written = a_shared_file(&trip.new);
        let was = written.metadata().unwrap().modified().unwrap();
        let file = File::open(&written).unwrap();
        let set = |time| file.set_modified(time).unwrap();
        set(SystemTime::now());
        demand_stopped(&case, &alone("exit status 7"), &[], "written since");
        // A table that is dropped is truncated, and only old has a name for it then.
        fs::remove_file(&written).unwrap();
        demand_stopped(&case, &alone("exit status 7"), &[], "written since");
        set(was);
        follow(&case, &[FIRST, "exit status 7"]);
        assert!(!control.exists());
        follow(&case, &BACK);
        demand_old(&case, "new was started early and has written nothing");
        assert!(!trip.new.exists());

        in_place();
        let server = trip.new_cluster();
        let server = server.start_with(&["cluster_name=pg_migrator"]);
        let said = paste(&case, &commands(&REMOVED), &[]);
        assert!(!said.contains("STOP"), "{said}");
        assert!(!trip.new.exists());
        drop(server);
        demand_old(&case, "a server of ours");
    });
}

fn a_shared_file(new: &Path) -> PathBuf {
    use std::os::unix::fs::MetadataExt;
    let entries = walkdir::WalkDir::new(new.join("base"))
        .into_iter()
        .flatten();
    let mut files = entries.filter(|entry| entry.file_type().is_file());
    let shared = files.find(|entry| entry.metadata().unwrap().nlink() > 1);
    shared.unwrap().into_path()
}

#[test]
fn an_adopted_cluster_is_never_removed() {
    as_server_user("an_adopted_cluster_is_never_removed", || {
        let case = Case::new("link");
        let trip = &case.trip;
        let adopted = support::unique_cluster("new-17", &[]);
        fs::rename(&adopted.data, &trip.new).unwrap();
        let before = as_made(&trip.new);
        for point in [
            "engine.step.before-apply apply create-new-cluster",
            "disk.sync_tree.begin apply create-new-cluster",
            "disk.rename.begin apply create-new-cluster",
        ] {
            let command = trip.first_command(&["prepare"]);
            trip.stands_still(command, point).kill();
            follow(&case, &REMOVED);
            assert_eq!(as_made(&trip.new), before, "{point}");
            demand_old(&case, point);
        }
        trip.prepare();
        demand_stopped(&case, &alone("the state goes"), &[], "is not back");
        let copy = trip.state().join("adopted");
        let hidden = trip.new.with_extension("hidden");
        let whole = Changed::taken_away(trip.state().join("adopted.whole"));
        fs::rename(&copy, &hidden).unwrap();
        demand_stopped(
            &case,
            &commands(&REMOVED),
            &[],
            "the copy of your cluster is gone",
        );
        fs::rename(&hidden, &copy).unwrap();
        whole.undone();
        follow(&case, &REMOVED);
        assert_eq!(as_made(&trip.new), before);
        demand_old(&case, "prepared");
        // On its way back only what makes it startable is missing.
        trip.prepare();
        let point = "disk.write.begin undo create-new-cluster";
        trip.stands_still(trip.command(&["rollback"]), point).kill();
        assert_ne!(as_made(&trip.new), before);
        follow(&case, &BACK);
        assert_eq!(as_made(&trip.new), before, "{point}");
        demand_old(&case, point);
    });
}

/// What whoever made a cluster sees of it.
fn as_made(dir: &Path) -> Tree {
    let mut tree = tree::whole(dir);
    for entry in tree.values_mut() {
        (entry.inode, entry.links) = (0, 0);
    }
    tree
}

#[test]
fn old_starts_whatever_became_of_its_copy() {
    as_server_user("old_starts_whatever_became_of_its_copy", || {
        let case = Case::new("copy");
        let trip = &case.trip;
        trip.prepare();
        trip.cutover();
        case.demand_arrived(&case.stock.dump);
        demand_stopped(&case, &alone("new goes"), &[], "new has been started");
        // The second time it runs already.
        for _ in 0..2 {
            let said = paste(&case, &alone("old can be started"), &[]);
            assert!(!said.contains("STOP"), "{said}");
            assert!(pg_ctl(&trip.old_bindir, &trip.old, &["status"]));
        }
        let said = paste(&case, &alone("old goes"), &[]);
        assert!(said.contains("STOP: a server runs in old"), "{said}");
        assert!(pg_ctl(&trip.old_bindir, &trip.old, &["stop", "-m", "fast"]));
        case.demand_untouched_files("a copy");
    });
}

#[test]
fn without_a_state_directory_old_comes_back_by_link() {
    as_server_user("without_a_state_directory_old_comes_back_by_link", || {
        let case = Case::new("link");
        let trip = &case.trip;
        trip.prepare();
        let point = "engine.step.applied apply retire-old-control";
        trip.stands_still(trip.command(&["cutover"]), point).kill();
        fs::remove_dir_all(trip.state()).unwrap();
        let gone = commands(&[GONE]);
        for name in ["global/pg_control", "global/pg_control.aside"] {
            fs::write(trip.new.join(name), "").unwrap();
            demand_stopped(&case, &gone, &[], "old must not be started");
            fs::remove_file(trip.new.join(name)).unwrap();
        }
        let opts = trip.new.join("postmaster.opts");
        let ours = fs::read(&opts).unwrap();
        fs::write(&opts, "/usr/bin/postgres \"-D\" \"new\"\n").unwrap();
        demand_stopped(&case, &gone, &[], "old must not be started");
        fs::write(&opts, ours).unwrap();
        assert!(!trip.old_starts().status.success());
        let said = paste(&case, &gone, &[]);
        assert!(!said.contains("STOP"), "{said}");
        fs::remove_dir_all(&trip.new).unwrap();
        for folder in fs::read_dir(&case.stock.space).unwrap() {
            let folder = folder.unwrap().path();
            if folder.ends_with("PG_17_202406281") {
                fs::remove_dir_all(folder).unwrap();
            }
        }
        demand_old(&case, point);
    });
}
