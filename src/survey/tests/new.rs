use std::os::unix::fs::symlink;

use super::super::*;
use super::fake::{
    IN_PRODUCTION, NEXT_OID, STATE, World, changed, control, fact, one_says, remedy, says,
};
use crate::error::Code;

#[test]
fn an_empty_directory_and_a_fresh_cluster_are_taken() {
    let world = World::new();
    world.folder("new");
    assert_eq!(world.sound().origin, Some(Origin::Empty));
    world.fresh(17);
    assert_eq!(world.sound().origin, Some(Origin::Adopted));
}

#[test]
fn nothing_may_run_in_new() {
    let world = World::new();
    world.fresh(17);
    let _server = world.server("new", "postgres\n");
    let error = world.only_problem();
    says(
        &error,
        Code::NewServerRunning,
        "a server is running in the new data directory",
    );
    assert!(remedy(&error).ends_with(&format!(
        "bin17/pg_ctl stop -D {}",
        world.path("new").display()
    )));
}

#[test]
fn new_must_not_hold_anything_else() {
    let mut world = World::new();
    world.folder("new");
    for name in ["a", "b", "c", "d", "e", "f"] {
        world.write(&format!("new/{name}"), "");
    }
    let error = world.only_problem();
    says(
        &error,
        Code::NewNotFresh,
        "the new data directory is not empty and holds no cluster",
    );
    assert_eq!(
        (fact(&error, "found"), fact(&error, "and more")),
        (Some("a"), Some("1"))
    );
    world.folder("mount/lost+found");
    world.request.new_datadir = Some(world.path("mount"));
    assert!(remedy(&world.only_problem()).contains("the root of a file system"));
    world.folder("etc");
    world.write("etc/postgresql.conf", "");
    world.request.new_datadir = Some(world.path("etc"));
    assert!(remedy(&world.only_problem()).contains("not a directory with its settings"));
    world.write("file", "");
    world.request.new_datadir = Some(world.path("file"));
    let message = "the new data directory is not a directory";
    says(&world.only_problem(), Code::NewNotFresh, message);
    symlink(world.path("gone"), world.path("link")).unwrap();
    world.request.new_datadir = Some(world.path("link"));
    let message = "the new data directory is a link that leads nowhere";
    says(&world.only_problem(), Code::NewNotFresh, message);
}

#[test]
fn a_cluster_in_use_is_not_adopted() {
    let world = World::new();
    world.cluster("new", 16, &["1", "4", "16384", "16385"]);
    world.write(
        "new/global/pg_control",
        changed(control(16), NEXT_OID, 24_576),
    );
    world.write("new/pg_tblspc/16400", "");
    let error = world.only_problem();
    says(
        &error,
        Code::NewNotFresh,
        "the new data directory holds a cluster that is not fresh",
    );
    let found: Vec<_> = error
        .facts()
        .iter()
        .skip(1)
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(
        found,
        [
            "a database: base/16384",
            "a database: base/16385",
            "a database was dropped: base/5",
            "a tablespace: pg_tblspc/16400",
            "a cluster of PostgreSQL 16; the new programs are of 17.10",
            "1",
        ]
    );
}

#[test]
fn objects_of_users_show_in_the_next_oid() {
    let world = World::new();
    world.fresh(17);
    world.write(
        "new/global/pg_control",
        changed(control(17), NEXT_OID, 16_384),
    );
    assert_eq!(world.sound().origin, Some(Origin::Adopted));
    world.write(
        "new/global/pg_control",
        changed(control(17), NEXT_OID, 16_385),
    );
    let error = world.only_problem();
    assert_eq!(error.code(), Code::NewNotFresh);
    assert_eq!(
        fact(&error, "found"),
        Some("objects of users: the next OID is 16385")
    );
}

#[test]
fn a_fresh_cluster_must_be_at_rest_and_whole() {
    let world = World::new();
    world.fresh(17);
    world.write(
        "new/global/pg_control",
        changed(control(17), STATE, IN_PRODUCTION),
    );
    std::fs::remove_file(world.path("new/postgresql.conf")).unwrap();
    std::fs::remove_dir(world.path("new/pg_notify")).unwrap();
    world.mode("new", 0o755);
    let problems = world.problems();
    assert_eq!(problems.len(), 4, "{problems:#?}");
    one_says(
        &problems,
        Code::NewNotFresh,
        "the fresh cluster was not shut down cleanly",
    );
    one_says(
        &problems,
        Code::DataDirectoryLayout,
        "the folder pg_notify is missing",
    );
    one_says(
        &problems,
        Code::NewNotFresh,
        "the fresh cluster keeps its settings in another directory",
    );
    let message = format!(
        "{} is open to others; its server refuses to start like that",
        world.path("new").display()
    );
    one_says(&problems, Code::DataDirectoryLayout, &message);
}

#[test]
fn both_control_files_must_have_one_format() {
    let mut world = World::new();
    world.installation("bin18", "18.6");
    world.request.new_bindir = world.path("bin18");
    world.fresh(18);
    let error = world.only_problem();
    says(
        &error,
        Code::ControlMismatch,
        "the new cluster was made with other properties than the old one",
    );
    assert_eq!(
        fact(&error, "Data page checksum version"),
        Some("old 0, new 1")
    );
}

#[test]
fn overlapping_directories_are_not_called_unfresh() {
    let mut world = World::new();
    world.request.new_datadir = Some(world.path("x/../old/"));
    let problems = world.problems();
    assert!(
        problems
            .iter()
            .all(|error| error.code() == Code::SameDirectory),
        "{problems:#?}"
    );
    one_says(
        &problems,
        Code::SameDirectory,
        "the old data directory and the new data directory are the same directory",
    );
    world.request.new_datadir = Some(world.path(""));
    world.request.state_dir = Some(world.path("old/pg_wal/state"));
    let problems = world.problems();
    assert!(
        problems
            .iter()
            .all(|error| error.code() == Code::SameDirectory),
        "{problems:#?}"
    );
    assert_eq!(problems.len(), 3);
}

#[test]
fn new_and_its_state_must_be_possible_where_they_are_wanted() {
    let mut world = World::new();
    world.folder("closed");
    world.mode("closed", 0o555);
    world.request.new_datadir = Some(world.path("closed/new"));
    let problems = world.problems();
    assert_eq!(problems.len(), 2, "{problems:#?}");
    assert!(
        problems
            .iter()
            .all(|error| error.code() == Code::NotWritable)
    );
    let state = world.path("closed/new.migration");
    assert!(
        problems[0]
            .message()
            .starts_with("the new data directory cannot be made, because ")
    );
    assert!(remedy(&problems[1]).starts_with("install -d -o "));
    assert!(remedy(&problems[1]).ends_with(&format!("-m 0700 {}", state.display())));
    world.request.new_datadir = Some(world.path("absent/new"));
    let error = world.only_problem();
    assert_eq!(error.code(), Code::NotWritable);
    let absent = world.path("absent");
    assert!(
        error
            .message()
            .ends_with(&format!("{} does not exist", absent.display()))
    );
    assert!(remedy(&error).ends_with(&format!("-m 0700 {}", absent.display())));
    world.request.new_datadir = Some(world.path("old/PG_VERSION/new"));
    world.request.state_dir = Some(world.path("state"));
    assert!(
        world
            .problems()
            .iter()
            .any(|error| error.message().ends_with("is not a directory"))
    );
}

#[test]
fn an_existing_state_directory_must_be_usable() {
    let world = World::new();
    world.write("new.migration", "");
    says(
        &world.only_problem(),
        Code::NotWritable,
        "the state directory is not a directory",
    );
    std::fs::remove_file(world.path("new.migration")).unwrap();
    world.folder("new.migration");
    world.sound();
    world.mode("new.migration", 0o500);
    says(
        &world.only_problem(),
        Code::NotWritable,
        "the state directory cannot be written to",
    );
}

#[test]
fn a_begun_migration_is_not_an_unfresh_cluster() {
    let world = World::new();
    world.tablespace(16400, "fast");
    world.folder("fast/PG_17_202406281");
    world.fresh(17);
    std::fs::remove_file(world.path("new/global/pg_control")).unwrap();
    world.folder("new.migration");
    world.write("new.migration/journal.jsonl", "");
    let error = world.only_problem();
    says(
        &error,
        Code::WrongStanding,
        "a migration into this data directory is not finished",
    );
    assert!(remedy(&error).starts_with("pg_migrator status --state-dir "));
}
