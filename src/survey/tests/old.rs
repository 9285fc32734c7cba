use super::super::*;
use super::fake::{
    IN_PRODUCTION, SHUT_DOWN_IN_RECOVERY, STATE, World, changed, control, fact, one_says, remedy,
    says,
};
use crate::error::{Code, Remedy};

#[test]
fn the_old_directory_must_be_one() {
    let mut world = World::new();
    world.request.old_datadir = world.folder("empty");
    assert_eq!(world.only_problem().code(), Code::NotADataDirectory);
    world.write("empty/PG_VERSION", "9.6\n");
    let error = world.only_problem();
    assert_eq!(error.code(), Code::VersionPair);
    assert!(
        error
            .message()
            .contains("holds PostgreSQL 9.6, which is too old"),
        "{error}"
    );
}

#[test]
fn a_damaged_control_file_is_refused() {
    let world = World::new();
    let whole = control(15);
    let mut flipped = whole.clone();
    flipped[100] ^= 1;
    for bytes in [&whole[..80], &[][..], &flipped] {
        world.old_control(bytes);
        assert_eq!(world.only_problem().code(), Code::ControlFile);
    }
    world.old_control(&control(17));
    says(
        &world.only_problem(),
        Code::ControlFile,
        "pg_control was not written by PostgreSQL 15",
    );
    std::fs::remove_file(world.path("old/global/pg_control")).unwrap();
    let error = world.only_problem();
    assert_eq!(error.code(), Code::ControlFile);
    assert!(error.message().ends_with("is missing"), "{error}");
}

#[test]
fn old_must_have_been_shut_down() {
    let world = World::new();
    world.old_control(&changed(control(15), STATE, IN_PRODUCTION));
    let error = world.only_problem();
    says(
        &error,
        Code::NotShutDown,
        "the old cluster was not shut down cleanly",
    );
    assert_eq!(fact(&error, "state"), Some("in production"));
    let (pg_ctl, data) = (world.path("bin15/pg_ctl"), world.path("old"));
    let (pg_ctl, data) = (pg_ctl.display(), data.display());
    assert_eq!(
        error.remedy_text(),
        Some(&Remedy::command(format!(
            "{pg_ctl} start -w -D {data} && {pg_ctl} stop -D {data}"
        )))
    );
    world.old_control(&changed(control(15), STATE, SHUT_DOWN_IN_RECOVERY));
    world.write("old/standby.signal", "");
    let problems = world.problems();
    one_says(&problems, Code::NotShutDown, "the old cluster is a standby");
    one_says(
        &problems,
        Code::DataDirectoryLayout,
        "standby.signal is present: the directory is a standby",
    );
}

#[test]
fn a_running_old_server_is_found_and_one_that_is_not_ready_is_told() {
    let world = World::new();
    world.old_control(&changed(control(15), STATE, IN_PRODUCTION));
    let server = world.server("old", "postgres \"-D\" \"x\"\n");
    let pid = server.0.id();
    let says_of_itself = |status: &str| {
        let old = world.path("old");
        let text = format!(
            "{pid}\n{}\n1763721000\n5433\n/tmp\n*\n  1 2\n{status}\n",
            old.display()
        );
        world.write("old/postmaster.pid", text);
    };
    says_of_itself("ready   ");
    let found = world.sound().serving.unwrap();
    assert_eq!(found.endpoint.host, std::path::Path::new("/tmp"));
    assert_eq!(found.endpoint.port, 5433);
    assert_eq!(found.opts.args, ["-D", "x"]);
    for (status, message) in [
        (
            "starting",
            "the old server is starting and does not accept sessions yet",
        ),
        ("stopping", "the old server is being stopped"),
        ("standby ", "the old server is a standby"),
    ] {
        says_of_itself(status);
        let error = world.only_problem();
        says(&error, Code::OldServerNotReady, message);
        assert_eq!(fact(&error, "process"), Some(pid.to_string().as_str()));
    }
    let text = format!("-{pid}\n{}\n", world.path("old").display());
    world.write("old/postmaster.pid", text);
    says(
        &world.only_problem(),
        Code::OldServerRunning,
        "a standalone backend (postgres --single) is at work in the old data directory",
    );
}

#[test]
fn a_leftover_of_ours_is_given_back() {
    let world = World::new();
    let production = changed(control(15), STATE, IN_PRODUCTION);
    world.old_control(&production);
    let server = world.server("old", "postgres \"-c\" \"cluster_name=pg_migrator\"\n");
    let found = world.sound();
    let pid = i32::try_from(server.0.id()).unwrap();
    assert_eq!(found.running.map(|file| file.pid), Some(pid));
    let bindir = &found.old_installation.bindir;
    let error = not_shut_down(&found.old, bindir, &found.old_control).unwrap();
    assert_eq!(error.code(), Code::NotShutDown);
}

#[test]
fn tablespaces_are_followed() {
    let mut world = World::new();
    let fast = world.tablespace(16400, "fast");
    world.folder("fast/PG_17_202406281");
    world.link(16401, &world.path("gone"));
    world.folder("old/pg_tblspc/16402/PG_15_202209061");
    let problems = world.problems();
    one_says(
        &problems,
        Code::DataDirectoryLayout,
        "the link of tablespace 16401 leads nowhere",
    );
    std::fs::remove_file(world.path("old/pg_tblspc/16401")).unwrap();
    world.request.new_datadir = Some(fast.join("new"));
    let problems = world.problems();
    assert_eq!(problems.len(), 2, "{problems:#?}");
    for what in ["new data directory", "state directory"] {
        let message = format!("the {what} lies inside the location of tablespace 16400");
        one_says(&problems, Code::SameDirectory, &message);
    }
    world.request.new_datadir = Some(world.path("new"));
    std::fs::remove_dir_all(world.path("old/pg_tblspc/16402")).unwrap();
    let error = world.only_problem();
    says(
        &error,
        Code::NewNotFresh,
        "a tablespace of the old cluster already holds files of PostgreSQL 17",
    );
    let folder = world.path("fast/PG_17_202406281");
    assert!(remedy(&error).ends_with(&format!("rm -rf {}", folder.display())));
}

#[test]
fn a_tablespace_belongs_to_the_owner_and_to_this_cluster() {
    let world = World::new();
    let fast = world.tablespace(16400, "fast");
    std::fs::rename(fast.join("PG_15_202209061"), fast.join("PG_15_202209062")).unwrap();
    says(
        &world.only_problem(),
        Code::DataDirectoryLayout,
        "the location of tablespace 16400 has no folder of the old cluster",
    );
    world.link(16401, Path::new("/usr"));
    one_says(
        &world.problems(),
        Code::WrongOwner,
        "the location of tablespace 16401 belongs to another user than the old data directory",
    );
}

#[test]
fn the_owner_of_old_must_be_us() {
    let mut world = World::new();
    world.us = Uid::from_raw(world.us.as_raw() - 1);
    let problems = world.problems();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert_eq!(problems[0].code(), Code::WrongOwner);
    assert!(problems[0].message().ends_with(", not to you"));
    let root = owner::cluster_owner_problem(Path::new("/srv/old"), Uid::from_raw(0), world.us);
    let error = root.unwrap();
    says(
        &error,
        Code::OwnedByRoot,
        "the old data directory belongs to root",
    );
    assert!(remedy(&error).ends_with("chown -R USER /srv/old"));
}

#[test]
fn permissions_of_old_are_those_a_server_demands() {
    let world = World::new();
    world.mode("old", 0o750);
    world.sound();
    world.mode("old", 0o755);
    let error = world.only_problem();
    assert_eq!(error.code(), Code::DataDirectoryLayout);
    assert_eq!(fact(&error, "permissions"), Some("0755"));
    world.mode("old", 0o500);
    says(
        &world.only_problem(),
        Code::NotWritable,
        "the old data directory cannot be written to",
    );
    world.mode("old", 0o700);
    world.mode("old/base/5", 0);
    let error = world.only_problem();
    assert_eq!(error.code(), Code::NotReadable);
    assert!(remedy(&error).starts_with("chmod u+rwX"));
}
