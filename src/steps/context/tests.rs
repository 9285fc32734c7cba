mod service;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::*;
use crate::catalog::TemplateSettings;
use crate::event::Stream;
use crate::pg::{ControlFile, MajorVersion, SystemIdentifier, Version};
use crate::plan::{self, Mode, Origin};

const OLD: &[u8] = include_bytes!("../../../tests/data/pg_control/14");
const NEW: &[u8] = include_bytes!("../../../tests/data/pg_control/17");
/// Of another cluster than both.
const OTHER: &[u8] = include_bytes!("../../../tests/data/pg_control/16");

/// Two data directories with their control files, and the state directory between them.
struct Pair {
    dir: tempfile::TempDir,
    plan: Plan,
    stream: Stream,
    cancel: Cancel,
}

impl Pair {
    fn new(mode: Mode) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, version, control) in [("old", "14\n", OLD), ("new", "17\n", NEW)] {
            let data = dir.path().join(name);
            fs::create_dir_all(data.join("global")).unwrap();
            fs::write(data.join("PG_VERSION"), version).unwrap();
            fs::write(data.join(CONTROL), control).unwrap();
        }
        fs::create_dir(dir.path().join("state")).unwrap();
        let plan = plan(&dir.path().canonicalize().unwrap(), mode);
        Self {
            dir,
            plan,
            stream: Stream::new(Vec::new()),
            cancel: Cancel::new(),
        }
    }

    fn context(&self) -> Context<'_> {
        let state = Area::new(&self.plan.state_dir).unwrap();
        Context::new(&self.plan, &self.stream, &self.cancel, state, None)
    }

    fn path(&self, rel: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(rel)
    }

    fn bytes(&self, rel: &str) -> Option<Vec<u8>> {
        fs::read(self.path(rel)).ok()
    }
}

fn plan(dir: &Path, mode: Mode) -> Plan {
    let version = |major| Version {
        major: MajorVersion(major),
        minor: 1,
        text: String::new(),
    };
    let old = ControlFile::parse(OLD).unwrap();
    Plan {
        format: plan::FORMAT,
        program: String::new(),
        mode,
        passages: Vec::new(),
        jobs: 1,
        nice: false,
        max_rate: None,
        checksums: None,
        socket_dir: None,
        state_dir: dir.join("state"),
        install_user: "postgres".into(),
        locks_per_transaction: 64,
        old: plan::Old {
            data_dir: dir.join("old"),
            config_dir: dir.join("old"),
            bindir: dir.join("nowhere"),
            version: version(14),
            catalog_version: old.catalog_version,
            system_identifier: old.system_identifier,
            port: 50432,
            options: Vec::new(),
            tablespaces: Vec::new(),
            wal_dir: None,
            raise_locks: false,
            running: None,
        },
        new: plan::New {
            data_dir: dir.join("new"),
            bindir: dir.join("nowhere"),
            version: version(17),
            port: 50432,
            options: Vec::new(),
            origin: Origin::Absent,
        },
        template: TemplateSettings {
            encoding: "UTF8".into(),
            collate: "C".into(),
            ctype: "C".into(),
            provider: crate::catalog::LocaleProvider::Libc,
            locale: None,
            icu_rules: None,
            lc_messages: "C".into(),
            lc_monetary: "C".into(),
            lc_numeric: "C".into(),
            lc_time: "C".into(),
            default_text_search_config: "pg_catalog.simple".into(),
            data_checksums: false,
            wal_segment_size: 16 << 20,
            group_access: false,
        },
    }
}

#[test]
fn pg_ctl_sends_no_signal_to_the_process_that_holds_old() {
    let pair = Pair::new(Mode::Link);
    let cx = pair.context();
    cx.hold_old().unwrap();
    let held = fs::read_to_string(pair.path("old/postmaster.pid")).unwrap();
    let us = std::process::id().to_string();
    assert_eq!(held.lines().next(), Some(&*format!("-{us}")));
    // A second name that stayed would be taken for another draft.
    assert_eq!(
        fs::metadata(pair.path("old/postmaster.pid"))
            .unwrap()
            .nlink(),
        1
    );
    cx.let_go_of_old().unwrap();
    assert_eq!(pair.bytes("old/postmaster.pid"), None);
    cx.let_go_of_old().unwrap();
}

#[test]
fn what_a_server_wrote_is_not_taken_for_the_hold() {
    let pair = Pair::new(Mode::Link);
    let cx = pair.context();
    let of_a_server = "4194000\n/old\n1700000000\n5432\n/tmp\n\n";
    fs::write(pair.path("old/postmaster.pid"), of_a_server).unwrap();
    cx.let_go_of_old().unwrap();
    assert_eq!(
        pair.bytes("old/postmaster.pid"),
        Some(of_a_server.as_bytes().to_vec())
    );
}

/// A crash of a move to another file system leaves both names; the one in place is whole.
#[test]
fn of_two_control_files_the_one_in_place_stays() {
    let pair = Pair::new(Mode::Copy);
    let cx = pair.context();
    cx.remember_new_identity().unwrap();
    cx.put_control_aside().unwrap();
    assert_eq!(pair.bytes("new/global/pg_control"), None);
    fs::write(pair.path("new/global/pg_control"), NEW).unwrap();
    cx.put_control_in_place().unwrap();
    assert_eq!(pair.bytes("new/global/pg_control").as_deref(), Some(NEW));
    assert_eq!(pair.bytes("state/new-pg_control"), None);
}

/// A crash on the way to another file system leaves it beside itself, and perhaps an older one
/// where it was going.
#[test]
fn a_control_file_on_its_way_is_the_newest() {
    let in_place = "new/global/pg_control";
    let (on_its_way, aside) = ("new/global/pg_control.aside", "state/new-pg_control");
    let mut older = NEW.to_vec();
    *older.last_mut().unwrap() ^= 1;
    let pair = Pair::new(Mode::Copy);
    let cx = pair.context();
    cx.remember_new_identity().unwrap();
    let crash = || {
        fs::rename(pair.path(in_place), pair.path(on_its_way)).unwrap();
        fs::write(pair.path(aside), &older).unwrap();
    };
    crash();
    assert!(cx.new_is_out_of_reach().unwrap());
    cx.put_control_aside().unwrap();
    cx.put_control_aside().unwrap();
    assert_eq!(pair.bytes(aside).as_deref(), Some(NEW));
    assert_eq!((pair.bytes(in_place), pair.bytes(on_its_way)), (None, None));

    cx.put_control_in_place().unwrap();
    crash();
    fs::remove_file(pair.path(aside)).unwrap();
    assert!(cx.new_is_out_of_reach().unwrap());
    cx.put_control_in_place().unwrap();
    cx.put_control_in_place().unwrap();
    assert_eq!(pair.bytes(in_place).as_deref(), Some(NEW));
    assert_eq!((pair.bytes(aside), pair.bytes(on_its_way)), (None, None));

    // What is in place is newer than anything else.
    fs::write(pair.path(on_its_way), &older).unwrap();
    cx.put_control_aside().unwrap();
    assert_eq!(pair.bytes(aside).as_deref(), Some(NEW));
    assert_eq!(pair.bytes(on_its_way), None);
}

#[test]
fn another_cluster_in_news_place_is_never_taken_for_new() {
    let pair = Pair::new(Mode::Copy);
    let cx = pair.context();
    cx.remember_new_identity().unwrap();
    cx.new_is_ours().unwrap();
    fs::write(pair.path("new/global/pg_control"), OTHER).unwrap();
    for refused in [cx.new_is_ours(), cx.put_control_aside()] {
        assert_eq!(refused.unwrap_err().code(), Code::NewWithoutControl);
    }
    assert_eq!(pair.bytes("new/global/pg_control").as_deref(), Some(OTHER));
    let state = new_state(&pair.plan, &cx.state).unwrap();
    assert_eq!(state, NewState::Missing);
}

/// New was made and handed over.
fn release(cx: &Context<'_>) {
    cx.remember_new_identity().unwrap();
    cx.put_control_aside().unwrap();
    cx.release_new().unwrap();
}

/// Between the question whether new was started and the undoing somebody may start it.
#[test]
fn new_is_taken_back_only_if_it_still_was_not_started() {
    for mode in [Mode::Link, Mode::Swap, Mode::Copy] {
        taken_back_only_if_not_started(mode);
    }
    // Where the rows may be lost, it is.
    let pair = Pair::new(Mode::Copy);
    let mut cx = pair.context();
    release(&cx);
    let mut started = NEW.to_vec();
    *started.last_mut().unwrap() ^= 1;
    fs::write(pair.path("new/global/pg_control"), &started).unwrap();
    cx.giving_up_writes = true;
    cx.take_new_back().unwrap();
    assert_eq!(pair.bytes("new/global/pg_control"), None);
}

fn taken_back_only_if_not_started(mode: Mode) {
    let pair = Pair::new(mode);
    let cx = pair.context();
    release(&cx);
    let mut started = NEW.to_vec();
    // After the CRC nothing is looked at but by the digest.
    *started.last_mut().unwrap() ^= 1;
    fs::write(pair.path("new/global/pg_control"), &started).unwrap();
    let refused = cx.take_new_back().unwrap_err();
    assert_eq!(refused.code(), Code::WayBackGone);
    assert_eq!(pair.bytes("new/global/pg_control"), Some(started));

    fs::write(pair.path("new/global/pg_control"), NEW).unwrap();
    cx.take_new_back().unwrap();
    assert_eq!(pair.bytes("new/global/pg_control"), None);
    assert_eq!(pair.bytes("state/released-control.json"), None);
}

#[test]
fn another_cluster_in_olds_place_is_not_removed() {
    let mut pair = Pair::new(Mode::Copy);
    fs::write(pair.path("old/global/pg_control"), OTHER).unwrap();
    let refused = pair.context().remove_old_cluster().unwrap_err();
    assert_eq!(refused.code(), Code::StateForeign);
    fs::remove_file(pair.path("old/global/pg_control")).unwrap();
    let refused = pair.context().remove_old_cluster().unwrap_err();
    assert_eq!(refused.code(), Code::StateForeign);
    assert!(pair.path("old/PG_VERSION").exists());

    // What is left of a removal that was killed has no version any more.
    fs::write(pair.path("old/global/pg_control"), OLD).unwrap();
    fs::remove_file(pair.path("old/PG_VERSION")).unwrap();
    pair.context().remove_old_cluster().unwrap();
    assert!(!pair.path("old").exists());
    pair.plan.old.system_identifier = SystemIdentifier(1);
    pair.context().remove_old_cluster().unwrap();
}

#[test]
fn a_list_of_moves_of_another_format_is_not_read() {
    let pair = Pair::new(Mode::Swap);
    let mut moves = Moves {
        v: Moves::FORMAT,
        folders: Vec::new(),
    };
    let save = |moves: &Moves| pair.context().save_swap_list(&Arc::new(moves.clone()));
    save(&moves).unwrap();
    assert_eq!(pair.context().swap_list().unwrap(), moves);
    moves.v += 1;
    save(&moves).unwrap();
    let error = pair.context().swap_list_if_any().unwrap_err();
    assert_eq!(error.code(), Code::StateFormat);
}

/// Somebody started new after the look and before the file was moved; the run that moved it may
/// have been killed before it could look again.
#[test]
fn a_start_between_the_look_and_the_taking_back_is_seen() {
    let aside = ["state/new-pg_control", "new/global/pg_control.aside"];
    for (mode, lies_in) in [Mode::Link, Mode::Copy]
        .into_iter()
        .flat_map(|mode| aside.map(|lies_in| (mode, lies_in)))
    {
        let pair = Pair::new(mode);
        let cx = pair.context();
        release(&cx);
        assert!(cx.new_is_released().unwrap());
        let mut started = NEW.to_vec();
        *started.last_mut().unwrap() ^= 1;
        fs::remove_file(pair.path("new/global/pg_control")).unwrap();
        fs::write(pair.path(lies_in), &started).unwrap();
        assert!(!cx.new_is_released().unwrap());
        let refused = cx.take_new_back().unwrap_err();
        assert_eq!(refused.code(), Code::WayBackGone);
        let back = pair.bytes("new/global/pg_control");
        assert_eq!(back.as_deref(), Some(&*started), "it serves, or can");
        assert_eq!(new_state(&pair.plan, &cx.state).unwrap(), NewState::Started);
    }
}

/// A start that failed before it wrote anything is no early start of what is prepared again.
#[test]
fn a_start_that_failed_is_forgotten_when_new_is_taken_back() {
    let pair = Pair::new(Mode::Link);
    let cx = pair.context();
    release(&cx);
    let opts = pair.path("new/postmaster.opts");
    fs::write(
        &opts,
        "/usr/lib/postgresql/17/bin/postgres \"-D\" \"new\"\n",
    )
    .unwrap();
    cx.take_new_back().unwrap();
    // Killed before the private server that gets the file has written what it was started with.
    cx.put_control_in_place().unwrap();
    assert_eq!(
        new_state(&pair.plan, &cx.state).unwrap(),
        NewState::Untouched
    );
    assert!(!opts.exists());
}

/// What was given up once need not be given up again after a crash, and nothing is taken back before
/// that is written down.
#[test]
fn what_was_given_up_stays_given_up() {
    let pair = Pair::new(Mode::Copy);
    let mut cx = pair.context();
    release(&cx);
    let mut started = NEW.to_vec();
    *started.last_mut().unwrap() ^= 1;
    fs::write(pair.path("new/global/pg_control"), &started).unwrap();
    cx.giving_up_writes = true;

    let in_the_way = pair.path("state/given-up-control.json");
    fs::create_dir(&in_the_way).unwrap();
    cx.take_new_back().unwrap_err();
    let in_place = pair.bytes("new/global/pg_control");
    assert_eq!(in_place.as_deref(), Some(&*started));
    fs::remove_dir(&in_the_way).unwrap();

    // It ends between the taking back and the forgetting, as where it is killed.
    let in_the_way = pair.path("new/postmaster.opts");
    fs::create_dir(&in_the_way).unwrap();
    let ended = cx.take_new_back().unwrap_err();
    assert_ne!(ended.code(), Code::WayBackGone, "{ended}");
    assert_eq!(pair.bytes("new/global/pg_control"), None);
    assert!(pair.bytes("state/released-control.json").is_some());
    fs::remove_dir(&in_the_way).unwrap();

    // Who goes on was not told to give anything up.
    pair.context().take_new_back().unwrap();
    assert_eq!(pair.bytes("state/new-pg_control"), Some(started));
    for gone in ["released-control.json", "given-up-control.json"] {
        assert_eq!(pair.bytes(&format!("state/{gone}")), None);
    }
}

/// A crash while a private server had the control file leaves it in place, and new is not released.
#[test]
fn where_the_control_file_lies_does_not_say_that_new_was_released() {
    let pair = Pair::new(Mode::Copy);
    let cx = pair.context();
    assert!(pair.bytes("new/global/pg_control").is_some());
    assert!(!cx.new_is_released().unwrap());
}

/// The hold of a process that died is none, and one of ours stays.
#[test]
fn old_is_held_anew_where_the_holder_died() {
    let pair = Pair::new(Mode::Copy);
    let cx = pair.context();
    let pid = |text: Option<Vec<u8>>| {
        let text = String::from_utf8(text.unwrap()).unwrap();
        text.lines().next().unwrap().to_owned()
    };
    cx.hold_old().unwrap();
    let ours = pair.bytes("old/postmaster.pid").unwrap();
    let dead = String::from_utf8(ours.clone()).unwrap();
    let dead = dead.replacen(&std::process::id().to_string(), "4194000", 1);
    fs::write(pair.path("old/postmaster.pid"), dead).unwrap();
    cx.keep_hold_of_old().unwrap();
    let held = pid(pair.bytes("old/postmaster.pid"));
    assert_eq!(held, format!("-{}", std::process::id()));
}

/// Who has moved files knows what goes back, also where the list was removed.
#[test]
fn what_was_moved_is_known_without_its_list() {
    let pair = Pair::new(Mode::Swap);
    let cx = pair.context();
    assert!(cx.swap_list_if_any().unwrap().is_none());
    let moves = Arc::new(Moves {
        v: Moves::FORMAT,
        folders: Vec::new(),
    });
    cx.save_swap_list(&moves).unwrap();
    fs::remove_dir_all(pair.path("state")).unwrap();
    assert_eq!(cx.swap_list_if_any().unwrap(), Some(moves));
    cx.forget_swap_list().unwrap();
    assert!(cx.swap_list_if_any().unwrap().is_none());
}

/// An earlier release knew the heaps alone, and wrote a list of them.
#[test]
fn a_document_of_another_form_is_refused_with_a_way_on() {
    let pair = Pair::new(Mode::Link);
    fs::write(pair.path("state/new-catalogs.json"), "[\"base/1/1259\"]").unwrap();
    let error = pair.context().new_catalogs().unwrap_err();
    assert_eq!(error.code(), Code::StateFormat);
    assert!(error.remedy_text().is_some());
}
