//! What `--manifest` has recorded of old is compared on the way back.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use support::case::Case;
use support::shop::{COUNT, Shop};
use support::trip::Trip;
use support::{as_server_user, until};

const AGREES: &str = "agree with the manifest";
/// The length of a file of nothing that takes longer to read than any test waits.
const ENDLESS: u64 = 1 << 40;

fn manifest(trip: &Trip) -> PathBuf {
    trip.state().join("old-manifest.sha256")
}

/// Whether coreutils find what is written down.
fn sums_are_right(trip: &Trip) -> bool {
    let mut check = Command::new("sha256sum");
    check
        .args(["--check", "--quiet", "--strict"])
        .arg(manifest(trip));
    check.output().unwrap().status.success()
}

/// A relation file with rows in this tree.
fn relation_file(tree: &Path) -> PathBuf {
    let files = walkdir::WalkDir::new(tree).sort_by_file_name();
    let mut files = files.into_iter().map(|entry| entry.unwrap().into_path());
    let of_a_user = |path: &PathBuf| {
        let number: Option<u32> = path.file_name().unwrap().to_str().unwrap().parse().ok();
        path.is_file() && number >= Some(16_384) && path.metadata().unwrap().len() > 0
    };
    files.find(of_a_user).unwrap()
}

/// There and back, which agrees; then with changes somebody makes meanwhile.
fn there_and_back(mode: &str) {
    let case = Case::of("old-15", "new-17", mode);
    let trip = &case.trip;
    trip.prepare();
    let ran = trip.run(&["cutover", "--manifest"]);
    ran.demand(0);
    assert!(ran.stdout.contains("record-manifest"), "{}", ran.stdout);
    let recorded = fs::read_to_string(manifest(trip)).unwrap();
    assert!(recorded.contains("#   postmaster.pid: while the cutover works"));
    for part in [
        "/global/pg_control",
        "/pg_tblspc/",
        "/pg_wal/",
        "/PG_VERSION",
    ] {
        let mut lines = recorded.lines().filter(|line| !line.starts_with('#'));
        assert!(lines.any(|line| line.contains(part)), "{part} {recorded}");
    }
    assert_eq!(sums_are_right(trip), mode == "copy");
    let verified = trip.run(&["verify", "--manifest"]);
    verified.demand(if mode == "swap" { 4 } else { 0 });
    let ran = trip.run(&["rollback"]);
    ran.demand(0);
    assert!(ran.stdout.contains(AGREES), "{}", ran.stdout);
    assert!(sums_are_right(trip));
    trip.run(&["verify", "--manifest"]).demand(0);
    case.demand_back("a manifest");
    let started = trip.run(&["verify", "--manifest"]);
    started.refused(4, "PGM-2006", &["started since"]);

    trip.prepare();
    trip.run(&["cutover", "--manifest"]).demand(0);
    // By swap the file is in new meanwhile, where it has the same number.
    let place = match mode {
        "swap" => &trip.new,
        _ => &trip.old,
    };
    let file = relation_file(&place.join("base"));
    let mut bytes = fs::read(&file).unwrap();
    bytes[100] ^= 1;
    fs::write(&file, bytes).unwrap();
    fs::write(trip.old.join("global/77777"), "").unwrap();
    fs::remove_file(trip.old.join("pg_ident.conf")).unwrap();
    let ran = trip.run(&["rollback"]);
    let name = file.file_name().unwrap().to_str().unwrap();
    let said = [
        "not what they were before the cutover",
        &format!("/{name}: is another"),
        "global/77777: was not there",
        "pg_ident.conf: gone",
    ];
    ran.refused(3, "PGM-6006", &said);
    let standing = "not all of its files are what its manifest says";
    assert!(ran.stderr.contains(standing) || ran.stdout.contains(standing));
    trip.demand_standing("everything was undone");
    trip.demand_standing(standing);
    assert!(!sums_are_right(trip));
    let verified = trip.run(&["verify", "--manifest"]);
    verified.refused(3, "PGM-6006", &["pg_ident.conf: gone"]);
}

#[test]
fn by_copy_old_is_what_it_was() {
    as_server_user("by_copy_old_is_what_it_was", || there_and_back("copy"));
}

#[test]
fn by_link_old_is_what_it_was() {
    as_server_user("by_link_old_is_what_it_was", || there_and_back("link"));
}

#[test]
fn by_swap_old_is_what_it_was() {
    as_server_user("by_swap_old_is_what_it_was", || there_and_back("swap"));
}

/// Where old was serving it is compared before it serves again, also after a kill.
#[test]
fn it_is_compared_before_old_serves_again() {
    as_server_user("it_is_compared_before_old_serves_again", || {
        let shop = Shop::new("old-15", "new-18", "link");
        let trip = &shop.trip;
        let server = shop.prepared();
        let before = shop.in_old(COUNT);
        let killed = |moment| trip.frozen_cutover_with(&["--manifest"], moment).kill();
        killed(("step_intended", "carry-transaction-state"));
        let ran = trip.run(&["rollback"]);
        ran.demand(0);
        assert!(ran.stdout.contains(AGREES), "{}", ran.stdout);
        assert_eq!(shop.in_old(COUNT), before);

        // Nothing is said of a manifest that an earlier cutover has recorded.
        trip.prepare();
        trip.cutover();
        let ran = trip.run(&["rollback"]);
        ran.demand(0);
        assert!(!ran.stdout.contains("manifest"), "{}", ran.stdout);
        assert_eq!(shop.in_old(COUNT), before);

        // A killed cutover is gone on with as it was begun.
        trip.prepare();
        killed(("step_intended", "stop-old-server"));
        let ran = trip.run(&["resume"]);
        ran.demand(0);
        let ran = trip.run(&["rollback"]);
        ran.demand(0);
        assert!(ran.stdout.contains(AGREES), "{}", ran.stdout);
        assert_eq!(shop.in_old(COUNT), before);
        drop(server);
    });
}

/// A difference is named, and keeps nobody from service.
#[test]
fn old_serves_again_whatever_differs() {
    as_server_user("old_serves_again_whatever_differs", || {
        let shop = Shop::new("old-15", "new-18", "copy");
        let trip = &shop.trip;
        let server = shop.prepared();
        let before = shop.in_old(COUNT);
        trip.run(&["cutover", "--manifest"]).demand(0);
        fs::write(trip.old.join("base/77777"), "").unwrap();
        let ran = trip.run(&["rollback"]);
        ran.refused(3, "PGM-6006", &["base/77777: was not there"]);
        assert_eq!(shop.in_old(COUNT), before);
        drop(server);
    });
}

#[test]
fn nothing_is_compared_where_nothing_was_recorded() {
    as_server_user("nothing_is_compared_where_nothing_was_recorded", || {
        let case = Case::new("copy");
        case.trip.prepare();
        case.trip.cutover();
        let ran = case.trip.run(&["verify", "--manifest"]);
        ran.refused(4, "PGM-2006", &["no manifest", "cutover --manifest"]);
        case.trip.rollback();
        case.demand_back("no manifest");
    });
}

/// What could not be compared is a finding, and keeps nobody from service.
#[test]
fn what_could_not_be_compared_is_a_finding() {
    as_server_user("what_could_not_be_compared_is_a_finding", || {
        let shop = Shop::new("old-15", "new-18", "copy");
        let trip = &shop.trip;
        let server = shop.prepared();
        let before = shop.in_old(COUNT);
        type Spoil = fn(&Path);
        let spoilt: [(Spoil, &str); 2] = [
            (|file| fs::write(file, "torn").unwrap(), "cannot be read"),
            (
                |file| fs::remove_file(file).unwrap(),
                "its manifest is gone",
            ),
        ];
        for (spoil, said) in spoilt {
            trip.run(&["cutover", "--manifest"]).demand(0);
            spoil(&manifest(trip));
            let ran = trip.run(&["rollback"]);
            ran.refused(3, "PGM-6004", &["was not compared with its manifest", said]);
            assert_eq!(shop.in_old(COUNT), before);
            // Once is enough.
            trip.run(&["rollback"]).demand(0);
            trip.prepare();
        }

        // A recording that was killed leaves nothing to compare with, also of one before.
        trip.run(&["cutover", "--manifest"]).demand(0);
        trip.prepare_anew();
        let stopping = ("step_intended", "stop-old-server");
        let mut recording = trip.frozen_cutover_with(&["--manifest"], stopping);
        // So much that it is not read to its end.
        let endless = fs::File::create(trip.old.join("base/77777")).unwrap();
        endless.set_len(ENDLESS).unwrap();
        recording.signal(Signal::SIGCONT);
        assert!(recording.reaches("step_intended", "record-manifest"));
        until(|| fs::read(manifest(trip)).is_ok_and(|text| text.starts_with(b"# no ")));
        recording.kill();
        fs::remove_file(trip.old.join("base/77777")).unwrap();
        let ran = trip.run(&["rollback"]);
        ran.demand(0);
        let said = "no manifest had been recorded yet";
        assert!(ran.stdout.contains(said), "{}", ran.stdout);
        assert_eq!(shop.in_old(COUNT), before);
        drop(server);
    });
}

/// Users need not wait for the end of a comparison.
#[test]
fn a_comparison_may_be_interrupted() {
    as_server_user("a_comparison_may_be_interrupted", || {
        let shop = Shop::new("old-15", "new-18", "copy");
        let trip = &shop.trip;
        let server = shop.prepared();
        let before = shop.in_old(COUNT);
        trip.run(&["cutover", "--manifest"]).demand(0);
        let endless = fs::File::create(trip.old.join("base/77777")).unwrap();
        endless.set_len(ENDLESS).unwrap();
        let mut back = trip.begin(trip.command(&["rollback"]));
        assert!(back.reaches("undo_begun", "record-manifest"));
        until(|| {
            back.signal(Signal::SIGINT);
            back.has_written("undo_done", "record-manifest")
        });
        let ran = back.wait();
        ran.refused(
            3,
            "PGM-6004",
            &["not compared with its manifest", "interrupted"],
        );
        assert_eq!(shop.in_old(COUNT), before);
        drop(server);
    });
}

/// What a killed way back has found is told by whatever comes next, once.
#[test]
fn what_was_found_is_told_after_a_kill() {
    as_server_user("what_was_found_is_told_after_a_kill", || {
        let case = Case::of("old-15", "new-17", "copy");
        let trip = &case.trip;
        trip.prepare();
        trip.run(&["cutover", "--manifest"]).demand(0);
        fs::write(trip.old.join("base/77777"), "").unwrap();
        let differs = ["base/77777: was not there"];
        trip.run(&["rollback"]).refused(3, "PGM-6006", &differs);
        let found = trip.state().join("old-manifest-compared.json");
        let told = fs::read_to_string(&found).unwrap();
        // As it is when the telling is reached by nobody.
        let untold = told.replace("\"told\":true", "\"told\":false");
        assert_ne!(told, untold);
        let forget = || fs::write(&found, &untold).unwrap();

        forget();
        trip.demand_standing("warning: [PGM-6006] files of the old cluster");
        trip.run_first(&["prepare"])
            .refused(3, "PGM-6006", &differs);
        trip.run(&["resume"]).refused(3, "PGM-6006", &differs);
        trip.run(&["resume"])
            .refused(4, "PGM-2006", &["nothing to resume"]);
        forget();
        trip.run(&["rollback"]).refused(3, "PGM-6006", &differs);
        trip.run(&["rollback"]).demand(0);
        trip.prepare();

        forget();
        trip.run(&["cutover"]).refused(3, "PGM-6006", &differs);
        forget();
        trip.run(&["prepare"]).refused(3, "PGM-6006", &differs);
        trip.run(&["cutover"]).demand(0);
        assert!(!found.exists());
        trip.rollback();
    });
}

/// A cutover that failed says with its own error what differs.
#[test]
fn a_cutover_that_failed_says_what_differs() {
    as_server_user("a_cutover_that_failed_says_what_differs", || {
        let shop = Shop::new("old-15", "new-18", "copy");
        let trip = &shop.trip;
        let server = shop.prepared();
        let spoil = format!("touch '{}'; false", trip.old.join("base/77777").display());
        let start = ["cutover", "--manifest", "--start-new-command", &spoil];
        let said = [
            "old compared with its manifest",
            "base/77777: was not there",
            "not all of its files are what its manifest says",
        ];
        let ran = trip.run(&start);
        ran.demand(5);
        let all = format!("{}{}", ran.stdout, ran.stderr);
        for text in said {
            assert!(all.contains(text), "no {text:?} in {all}");
        }
        drop(server);
    });
}

/// Who asks for a manifest too late is told so.
#[test]
fn a_manifest_that_comes_too_late_is_refused_aloud() {
    as_server_user("a_manifest_that_comes_too_late_is_refused_aloud", || {
        let case = Case::of("old-15", "new-17", "copy");
        let trip = &case.trip;
        trip.prepare();
        let underway = trip.frozen_cutover("step_intended", "carry-transaction-state");
        underway.kill();
        let ran = trip.run(&["resume", "--manifest"]);
        ran.demand(0);
        let all = format!("{}{}", ran.stdout, ran.stderr);
        assert!(all.contains("no manifest can be recorded now"), "{all}");
        trip.rollback();
    });
}
