mod fake;
mod new;
mod old;

use std::os::unix::fs::symlink;

use super::*;
use crate::error::Code;
use crate::pg::Oid;
use fake::{IN_PRODUCTION, STATE, World, changed, control, fact, remedy, says};

#[test]
fn a_sound_pair_is_described() {
    let world = World::new();
    world.write("old/base/5/16390", vec![1; 100_000]);
    world.write("old/base/5/16390_fsm", vec![1; 10]);
    world.write("old/base/16384/2619", "");
    world.write("old/base/5/PG_VERSION", "15\n");
    world.write("old/base/5/t3_16391", "x");
    world.folder("old/base/pgsql_tmp");
    world.write("old/base/pgsql_tmp/1", "x");
    let location = world.tablespace(16400, "spaces/fast");
    world.write("spaces/fast/PG_15_202209061/5/16401", "x");
    let found = world.sound();
    assert_eq!(found.old.path, world.path("old"));
    assert_eq!(found.old_installation.version.text, "15.18");
    assert_eq!(found.new_installation.version.text, "17.10");
    assert_eq!(found.old_control.catalog_version, 202_209_061);
    assert_eq!(found.new_dir, Some(world.path("new")));
    assert_eq!(found.state_dir, Some(world.path("new.migration")));
    assert_eq!(found.origin, Some(Origin::Absent));
    assert_eq!((found.wal_dir, found.running), (None, None));
    let places = [TablespacePlace {
        oid: Oid(16400),
        location: location.clone(),
        in_place: false,
    }];
    assert_eq!(found.tablespaces, places);
    let [base, fast] = found.inventory.as_slice() else {
        panic!("{:?}", found.inventory);
    };
    assert_eq!((base.files, fast.files, found.relation_files), (3, 1, 4));
    assert_eq!(
        (&base.new_place, &fast.new_place),
        (&world.path("new/base"), &location)
    );
    assert!((100_000..300_000).contains(&base.bytes), "{}", base.bytes);
    assert!(!found.user.is_empty());
}

/// Each cluster has one of its own, so that new's goes with new and old's with old.
#[test]
fn a_tablespace_made_in_place_goes_along_with_the_data_directory() {
    let mut world = World::new();
    world.request.mode = Some(Mode::Link);
    world.folder("old/pg_tblspc/16402/PG_15_202209061/5");
    world.write("old/pg_tblspc/16402/PG_15_202209061/5/16401", "x");
    let found = world.sound();
    let old = world.path("old/pg_tblspc/16402");
    let [place] = found.tablespaces.as_slice() else {
        panic!("{:?}", found.tablespaces);
    };
    assert!(place.in_place);
    assert_eq!(place.location_in(&found.old.path), old);
    let new = world.path("new/pg_tblspc/16402");
    assert_eq!(place.location_in(&world.path("new")), new);
    let [_, counted] = found.inventory.as_slice() else {
        panic!("{:?}", found.inventory);
    };
    assert_eq!((&counted.old_place, &counted.new_place), (&old, &new));
    assert_eq!(counted.files, 1);
    let [_, passage] = found.passages.as_slice() else {
        panic!("{:?}", found.passages);
    };
    assert_eq!(
        (&passage.old, &passage.new),
        (&old.join("PG_15_202209061"), &new)
    );
    assert_eq!(passage.refuses(Mode::Link), None);
}

#[test]
fn what_is_given_is_used() {
    let mut world = World::new();
    world.folder("states");
    world.folder("wal");
    std::fs::remove_dir(world.path("old/pg_wal")).unwrap();
    symlink(world.path("wal"), world.path("old/pg_wal")).unwrap();
    world.request.state_dir = Some(world.path("states/../states/a"));
    world.request.username = Some("boss".to_owned());
    world.request.mode = Some(Mode::Copy);
    let found = world.sound();
    assert_eq!(found.state_dir, Some(world.path("states/a")));
    assert_eq!(found.wal_dir, Some(world.path("wal")));
    assert_eq!(found.user, "boss");
}

#[test]
fn a_check_needs_no_new_directory() {
    let mut world = World::new();
    world.request.new_datadir = None;
    world.link_mode();
    let found = world.sound();
    assert_eq!(
        (&found.new_dir, &found.origin, &found.state_dir),
        (&None, &None, &None)
    );
    assert_eq!(
        space_problems(&found, Mode::Copy, u64::MAX >> 40, 0).unwrap(),
        []
    );
}

/// Only where nothing else is wrong, so that all that is wrong is told at once.
#[test]
fn sizes_may_be_known_later() {
    let mut world = World::new();
    world.write("old/base/5/16390", vec![1; 100_000]);
    world.write("old/base/5/16391", vec![1; 100_000]);
    world.tablespace(16400, "spaces/fast");
    world.write("spaces/fast/PG_15_202209061/5/16401", "x");
    world.request.mode = Some(Mode::Copy);
    let now = world.sound();
    world.request.sizes_later = true;
    let later = survey_as(&world.request, world.us, &Cancel::new());
    let found = later.surveyed.unwrap();
    assert_eq!((found.relation_files, later.problems), (3, Vec::new()));
    assert!(found.inventory.iter().all(|place| place.bytes == 0));
    let sized = later.sizing.unwrap().wait().unwrap();
    let databases = std::fs::read_dir(world.path("old/base")).unwrap().count() as u64;
    assert_eq!(sized, (now.inventory.clone(), databases, Vec::new()));

    world.request.socket_dir = Some(world.path("nowhere"));
    let hindered = survey_as(&world.request, world.us, &Cancel::new());
    assert!(hindered.sizing.is_none() && !hindered.problems.is_empty());
    world.request.socket_dir = None;
    symlink(world.path("nowhere"), world.path("old/base/7")).unwrap();
    let unreadable = survey_as(&world.request, world.us, &Cancel::new());
    assert!(unreadable.sizing.is_none());
    assert_eq!(unreadable.problems.len(), 1, "{:?}", unreadable.problems);
}

#[test]
fn a_configuration_directory_names_the_old_one() {
    let mut world = World::new();
    world.folder("etc");
    world.write(
        "etc/postgresql.conf",
        format!("data_directory = '{}'\n", world.path("old").display()),
    );
    world.request.old_datadir = world.path("etc");
    let found = world.sound();
    assert_eq!(
        (found.old.path, found.old.config_dir),
        (world.path("old"), world.path("etc"))
    );
}

#[test]
fn programs_and_versions_must_fit() {
    let mut world = World::new();
    world.installation("bin16", "16.14");
    world.request.old_bindir = world.path("bin16");
    let error = world.only_problem();
    says(
        &error,
        Code::ProgramVersion,
        "the old data directory is of PostgreSQL 15, but the programs given for it are of 16.14",
    );
    assert!(remedy(&error).contains("PostgreSQL 15 with -b"));
    world.request.old_bindir = world.path("nothing");
    std::fs::remove_file(world.path("bin17/pg_dump")).unwrap();
    let problems = world.problems();
    assert!(
        problems
            .iter()
            .all(|error| error.code() == Code::ProgramMissing)
    );
    assert_eq!(problems.len(), 2, "{problems:#?}");
}

#[test]
fn a_minor_release_is_no_upgrade() {
    let mut world = World::new();
    world.installation("bin15.20", "15.20");
    world.request.new_bindir = world.path("bin15.20");
    let error = world.only_problem();
    says(
        &error,
        Code::VersionPair,
        "old and new are both PostgreSQL 15: another release of it is a minor release",
    );
    assert!(remedy(&error).contains("install PostgreSQL 15.20 and restart the server"));
    assert_eq!(fact(&error, "old"), Some("15.18"));
}

#[test]
fn sockets_need_a_short_path() {
    let mut world = World::new();
    let long = world.folder(&"x".repeat(100));
    world.request.socket_dir = Some(long.clone());
    let error = world.only_problem();
    let message = format!(
        "the path of a socket in {} would be too long",
        long.display()
    );
    says(&error, Code::SocketPath, &message);
    assert_eq!(fact(&error, "limit"), Some("107 bytes"));
    world.request.socket_dir = Some(world.path("s"));
    let message = format!("there is no directory {}", world.path("s").display());
    says(&world.only_problem(), Code::NotWritable, &message);
    world.folder("s");
    world.sound();
    world.mode("s", 0o500);
    let error = world.only_problem();
    assert_eq!(error.code(), Code::NotWritable);
    assert!(
        error.message().contains("cannot make a socket in"),
        "{error}"
    );
}

#[test]
fn space_is_asked_of_the_file_system() {
    let world = World::new();
    let mut found = world.sound();
    assert_eq!(space_problems(&found, Mode::Copy, 0, 0).unwrap(), []);
    found.inventory[0].bytes = 1 << 60;
    assert_eq!(space_problems(&found, Mode::Link, 0, 0).unwrap(), []);
    let problems = space_problems(&found, Mode::Copy, 0, 0).unwrap();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    says(
        &problems[0],
        Code::NoSpace,
        "the file system has too little space",
    );
    assert!(fact(&problems[0], "needed").unwrap().ends_with(" TB"));
    assert!(remedy(&problems[0]).contains("--link"));
}

#[test]
fn links_need_one_file_system() {
    let mut world = World::new();
    world.link_mode();
    world.sound();
    let elsewhere = Path::new("/dev/shm");
    let device = |path: &Path| crate::disk::space(path).unwrap().device;
    let crossing = device(elsewhere) != device(&world.path("old"));
    let name = world
        .path("")
        .components()
        .next_back()
        .unwrap()
        .as_os_str()
        .to_owned();
    world.request.new_datadir = Some(elsewhere.join(name));
    let found = world.survey().err().unwrap_or_default();
    let refused = found.iter().any(|error| error.code() == Code::FileSystems);
    assert_eq!(refused, crossing, "{found:#?}");
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let mut world = World::new();
    std::fs::remove_file(world.path("bin17/psql")).unwrap();
    std::fs::remove_dir(world.path("old/pg_twophase")).unwrap();
    world.write("old/backup_label", "");
    world.write("old/tablespace_map", "");
    world.old_control(&changed(control(15), STATE, IN_PRODUCTION));
    world.link(16401, &world.path("gone"));
    world.folder("new");
    world.write("new/precious", "");
    world.request.state_dir = Some(world.path("new/state"));
    world.request.socket_dir = Some(world.path("nowhere"));
    let problems = world.problems();
    let codes: Vec<_> = problems.iter().map(|error| error.code()).collect();
    for (code, count) in [
        (Code::ProgramMissing, 1),
        (Code::DataDirectoryLayout, 4),
        (Code::NotShutDown, 1),
        (Code::SameDirectory, 1),
        (Code::NotWritable, 1),
    ] {
        let found = codes.iter().filter(|found| **found == code).count();
        assert_eq!(found, count, "{code}: {problems:#?}");
    }
    assert_eq!(codes.len(), 8, "{problems:#?}");
}
