//! The program started by root: it works as the owner of old, from the first act on.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use support::trip::{Trip, bare, finish};
use support::{SERVER_USER, bindir};

/// Everything below belongs to this user.
fn demand_owned(dir: &Path, owner: u32) {
    for entry in walkdir::WalkDir::new(dir) {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().uid(),
            owner,
            "{}",
            entry.path().display()
        );
    }
}

/// Runs one of PostgreSQL's programs as the owner of the clusters.
fn as_owner(program: PathBuf, words: &[&str]) {
    let mut command = if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", SERVER_USER, "--regid", SERVER_USER])
            .arg("--clear-groups")
            .arg(program);
        command
    } else {
        Command::new(program)
    };
    let output = command
        .args(words)
        .env("LC_ALL", "C")
        .current_dir("/")
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn root_works_as_the_owner_of_old() {
    let place = tempfile::Builder::new().prefix("pgm-").tempdir().unwrap();
    if nix::unistd::geteuid().is_root() {
        let user = nix::unistd::User::from_name(SERVER_USER).unwrap().unwrap();
        chown(
            place.path(),
            Some(user.uid.as_raw()),
            Some(user.gid.as_raw()),
        )
        .unwrap();
    }
    let owner = fs::metadata(place.path()).unwrap().uid();
    let data = place.path().join("data");
    let trip = Trip {
        old_bindir: bindir("old-13"),
        new_bindir: bindir("new-18"),
        new: place.path().join("new"),
        mode: "link".to_owned(),
        user: "postgres".to_owned(),
        old: data.clone(),
    };
    let initdb = trip.old_bindir.join("initdb");
    let words = ["-U", "postgres", "-A", "trust", "-N", "-E", "UTF8"];
    let target = ["--locale=C", "-D", data.to_str().unwrap()];
    as_owner(initdb, &[&words[..], &target].concat());

    trip.run_first(&["check"]).demand(0);
    demand_owned(place.path(), owner);
    trip.prepare();
    trip.cutover();
    trip.run(&["status"]).demand(0);
    demand_owned(place.path(), owner);
    trip.rollback();
    trip.run_first(&["upgrade", "--yes"]).demand(0);
    demand_owned(place.path(), owner);
    let pg_ctl = trip.new_bindir.join("pg_ctl");
    let new = trip.new.to_str().unwrap();
    let options = format!(
        "-c listen_addresses= -c unix_socket_directories={}",
        place.path().display()
    );
    let log = place.path().join("log");
    let start = ["-w", "-o", &options, "-l", log.to_str().unwrap(), "start"];
    as_owner(pg_ctl.clone(), &[&["-D", new][..], &start].concat());
    as_owner(pg_ctl, &["-D", new, "-w", "-m", "fast", "stop"]);
    trip.run(&["finalize", "--yes"]).demand(0);
    demand_owned(place.path(), owner);
    assert!(!data.exists());
}

/// Whoever else starts the program is told as whom to start it.
#[test]
fn data_of_somebody_else_is_refused() {
    const STRANGER: &str = "nobody";
    if !nix::unistd::geteuid().is_root() {
        // One user has no data of another one; tests of `survey` ask with another number.
        return;
    }
    let place = directory(0o755);
    let data = place.path().join("data");
    fs::create_dir_all(data.join("global")).unwrap();
    fs::write(data.join("PG_VERSION"), "14\n").unwrap();
    let owner = nix::unistd::User::from_name(SERVER_USER).unwrap().unwrap();
    for entry in walkdir::WalkDir::new(&data) {
        let (uid, gid) = (owner.uid.as_raw(), owner.gid.as_raw());
        chown(entry.unwrap().path(), Some(uid), Some(gid)).unwrap();
    }
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    let program = place.path().join("pg_migrator");
    support::copy_program(&support::program(), &program);
    let (data, new) = (data.to_str().unwrap(), place.path().join("new"));
    let (old_bindir, new_bindir) = (bindir("old-14"), bindir("new-17"));
    for command in ["check", "prepare", "upgrade"] {
        let mut asked = Command::new("setpriv");
        asked
            .args(["--reuid", STRANGER, "--regid", "nogroup", "--clear-groups"])
            .arg(&program)
            .args([command, "--yes", "-d", data, "-U", "postgres", "-b"])
            .arg(&old_bindir)
            .arg("-B")
            .arg(&new_bindir)
            .arg("-D")
            .arg(&new)
            .current_dir("/");
        finish(asked).refused(
            4,
            "PGM-1207",
            &[
                &format!("belongs to {SERVER_USER}, not to you"),
                "standing: nothing has been changed",
                &format!("sudo -u {SERVER_USER}"),
            ],
        );
    }
    assert!(!new.exists());
}

#[test]
fn data_of_root_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        // Something of root's is everywhere; that it is no data directory is not looked at.
        let mut command = bare(&["check", "-d", "/", "-b", "/usr/bin", "-B", "/usr/bin"]);
        command.env("HOME", "/");
        let ran = finish(command);
        assert_eq!(ran.code, 4, "{}", ran.stderr);
        return;
    }
    let place = tempfile::Builder::new().prefix("pgm-").tempdir().unwrap();
    let data = place.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::create_dir(data.join("global")).unwrap();
    fs::write(data.join("PG_VERSION"), "14\n").unwrap();
    let trip = Trip {
        old_bindir: bindir("old-14"),
        new_bindir: bindir("new-17"),
        new: place.path().join("new"),
        mode: "copy".to_owned(),
        user: "postgres".to_owned(),
        old: data.clone(),
    };
    for words in [&["check"][..], &["prepare"], &["upgrade", "--yes"]] {
        trip.run_first(words).refused(
            4,
            "PGM-1208",
            &[
                "belongs to root",
                "standing: nothing has been changed",
                "chown -R",
                data.to_str().unwrap(),
            ],
        );
    }
    assert!(!trip.new.exists() && !trip.state().exists());
}

/// A directory of the owner of clusters, who may put into it what he likes.
fn belonging_to_the_owner() -> tempfile::TempDir {
    let place = tempfile::Builder::new().prefix("pgm-").tempdir().unwrap();
    give_to_the_owner(place.path());
    place
}

fn directory(mode: u32) -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("pgm-")
        .permissions(fs::Permissions::from_mode(mode))
        .tempdir()
        .unwrap()
}

fn give_to_the_owner(path: &Path) {
    let user = nix::unistd::User::from_name(SERVER_USER).unwrap().unwrap();
    let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
    std::os::unix::fs::lchown(path, Some(uid), Some(gid)).unwrap();
}

/// What the owner of a cluster makes root look at, root does not look at.
#[test]
fn root_reads_nothing_before_it_is_the_owner() {
    if !nix::unistd::geteuid().is_root() {
        // Nobody else has anything to give up.
        return;
    }
    let closed = directory(0o700);
    let (conf, kept) = (closed.path().join("conf"), closed.path().join("kept"));
    fs::write(&kept, "7.4\n").unwrap();
    fs::write(&conf, "data_directory = '/nowhere/secret'\n").unwrap();
    let place = belonging_to_the_owner();
    let path = place.path().to_str().unwrap();
    let bindirs = (bindir("old-14"), bindir("new-17"));
    let (old, new) = (bindirs.0.to_str().unwrap(), bindirs.1.to_str().unwrap());
    let commands: [&[&str]; 3] = [
        &["check", "-d", path, "-b", old, "-B", new],
        &[
            "prepare",
            "-d",
            path,
            "-b",
            old,
            "-B",
            new,
            "-D",
            "/nowhere/new",
        ],
        &["verify", "--checksums", "-d", path],
    ];
    for name in ["PG_VERSION", "postgresql.conf"] {
        let file = place.path().join(name);
        for words in commands {
            let told = [&kept, &conf, &closed.path().join("absent")].map(|target| {
                std::os::unix::fs::symlink(target, &file).unwrap();
                give_to_the_owner(&file);
                let ran = finish(bare(words));
                fs::remove_file(&file).unwrap();
                ran.demand(4);
                let output = ran.stdout + &ran.stderr;
                assert!(output.contains("could not read"), "{output}");
                assert!(
                    !output.contains("7.4") && !output.contains("secret"),
                    "{output}"
                );
                output
            });
            assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
            nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
            give_to_the_owner(&file);
            let ran = finish(bare(words));
            fs::remove_file(&file).unwrap();
            ran.demand(4);
            let output = ran.stdout + &ran.stderr;
            assert!(output.contains("could not read"), "{output}");
        }
    }
}

/// A configuration directory of root's says by its `postgresql.conf` who is to read it.
#[test]
fn a_configuration_directory_is_read_as_its_owner() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let etc = directory(0o755);
    let data = belonging_to_the_owner();
    fs::write(data.path().join("PG_VERSION"), "14\n").unwrap();
    fs::set_permissions(
        data.path().join("PG_VERSION"),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    let conf = etc.path().join("postgresql.conf");
    let setting = format!("data_directory = '{}'\n", data.path().display());
    fs::write(&conf, setting).unwrap();
    let run = || {
        finish(bare(&[
            "verify",
            "--checksums",
            "-d",
            etc.path().to_str().unwrap(),
        ]))
    };
    run().refused(4, "PGM-1208", &["give the data directory itself"]);
    fs::set_permissions(&conf, fs::Permissions::from_mode(0o600)).unwrap();
    give_to_the_owner(&conf);
    // It came as far as the data, which is none.
    let ran = run();
    ran.demand(4);
    assert!(ran.stderr.contains("global/pg_control"), "{ran:?}");
}
