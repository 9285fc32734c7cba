//! Installations and clusters made of scripts, folders and real control files.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use nix::unistd::{Uid, setfsuid};
use tempfile::TempDir;

use crate::error::{Code, Error, Remedy};
use crate::pg::ControlFile;
use crate::plan::Mode;
use crate::server::Cancel;
use crate::survey::{Request, Surveyed, survey_as};

const FOLDERS: &[&str] = &[
    "global",
    "pg_commit_ts",
    "pg_dynshmem",
    "pg_logical/mappings",
    "pg_logical/snapshots",
    "pg_multixact/members",
    "pg_multixact/offsets",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat",
    "pg_subtrans",
    "pg_tblspc",
    "pg_twophase",
    "pg_wal",
    "pg_xact",
];

const PROGRAMS: &[&str] = &[
    "postgres",
    "initdb",
    "pg_ctl",
    "pg_dump",
    "pg_dumpall",
    "pg_restore",
    "psql",
    "pg_resetwal",
];

/// What names the fields a test changes: their offsets are the same from 12 to 18.
pub const STATE: usize = 16;
pub const NEXT_OID: usize = 72;

/// The numbers of `DBState` in `src/include/catalog/pg_control.h`.
pub const SHUT_DOWN_IN_RECOVERY: u32 = 2;
pub const IN_PRODUCTION: u32 = 6;

/// A control file that initdb of this version has written.
pub fn control(major: u16) -> Vec<u8> {
    let bytes: &[u8] = match major {
        15 => include_bytes!("../../../tests/data/pg_control/15"),
        16 => include_bytes!("../../../tests/data/pg_control/16"),
        17 => include_bytes!("../../../tests/data/pg_control/17"),
        18 => include_bytes!("../../../tests/data/pg_control/18"),
        _ => panic!("no control file of {major} is used here"),
    };
    bytes.to_vec()
}

/// The same file with another number at this offset.
pub fn changed(mut bytes: Vec<u8>, offset: usize, value: u32) -> Vec<u8> {
    let stored = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let crc = (64..508)
        .step_by(4)
        .find(|at| stored(*at) == crc32c::crc32c(&bytes[..*at]))
        .unwrap();
    bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    let sum = crc32c::crc32c(&bytes[..crc]).to_le_bytes();
    bytes[crc..crc + 4].copy_from_slice(&sum);
    bytes
}

/// Old 15 with two databases and new 17 to be made, all well.
pub struct World {
    temp: TempDir,
    pub us: Uid,
    pub request: Request,
}

impl World {
    pub fn new() -> Self {
        let us = ordinary_user();
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap();
        set_mode(&root, 0o755);
        let request = Request {
            old_bindir: root.join("bin15"),
            new_bindir: root.join("bin17"),
            old_datadir: root.join("old"),
            new_datadir: Some(root.join("new")),
            ..Request::default()
        };
        let world = Self { temp, us, request };
        world.installation("bin15", "15.18");
        world.installation("bin17", "17.10");
        world.cluster("old", 15, &["1", "4", "5", "16384"]);
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().canonicalize().unwrap().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    pub fn mode(&self, name: &str, mode: u32) {
        set_mode(&self.path(name), mode);
    }

    /// A directory of programs that say they are of this version.
    pub fn installation(&self, dir: &str, version: &str) {
        let bindir = self.folder(dir);
        set_mode(&bindir, 0o777);
        let draft = bindir.join("draft");
        std::fs::write(
            &draft,
            format!("#!/bin/sh\necho 'x (PostgreSQL) {version}'\n"),
        )
        .unwrap();
        set_mode(&draft, 0o755);
        for program in PROGRAMS {
            // What this process has open for writing cannot be executed, and a child that
            // another test forks at that moment holds it open: another process writes it.
            let status = Command::new("cp")
                .arg("-p")
                .arg(&draft)
                .arg(bindir.join(program))
                .status();
            assert!(status.unwrap().success());
        }
    }

    /// A data directory as initdb makes it, with these databases.
    pub fn cluster(&self, dir: &str, major: u16, databases: &[&str]) {
        for folder in FOLDERS {
            self.folder(&format!("{dir}/{folder}"));
        }
        for database in databases {
            self.folder(&format!("{dir}/base/{database}"));
        }
        self.write(&format!("{dir}/PG_VERSION"), format!("{major}\n"));
        self.write(&format!("{dir}/postgresql.conf"), "");
        self.write(&format!("{dir}/global/pg_control"), control(major));
        self.mode(dir, 0o700);
    }

    /// A fresh new cluster that the user made.
    pub fn fresh(&self, major: u16) {
        self.cluster("new", major, &["1", "4", "5"]);
    }

    /// A tablespace of old with its folder.
    pub fn tablespace(&self, oid: u32, location: &str) -> PathBuf {
        let target = self.folder(location);
        self.folder(&format!("{location}/PG_15_202209061/5"));
        self.link(oid, &target);
        target
    }

    pub fn link(&self, oid: u32, target: &Path) {
        symlink(target, self.path(&format!("old/pg_tblspc/{oid}"))).unwrap();
    }

    /// A process that works in a data directory as a server would.
    pub fn server(&self, dir: &str, opts: &str) -> Server {
        let path = self.path(dir);
        let child = Command::new("sleep")
            .arg("60")
            .current_dir(&path)
            .spawn()
            .unwrap();
        let text = format!(
            "{}\n{}\n1763721000\n5433\n/tmp\n",
            child.id(),
            path.display()
        );
        self.write(&format!("{dir}/postmaster.pid"), text);
        self.write(&format!("{dir}/postmaster.opts"), opts);
        Server(child)
    }

    pub fn old_control(&self, bytes: &[u8]) {
        self.write("old/global/pg_control", bytes);
    }

    pub fn survey(&self) -> Result<Surveyed, Vec<Error>> {
        survey_as(&self.request, self.us, &Cancel::new()).sound()
    }

    pub fn sound(&self) -> Surveyed {
        self.survey().unwrap_or_else(|errors| panic!("{errors:#?}"))
    }

    /// The only problem, which has a remedy.
    pub fn only_problem(&self) -> Error {
        let mut found = self.problems();
        assert_eq!(found.len(), 1, "{found:#?}");
        found.remove(0)
    }

    /// All problems, each with facts and a remedy.
    pub fn problems(&self) -> Vec<Error> {
        let found = self.survey().unwrap_err();
        for error in &found {
            assert!(error.remedy_text().is_some(), "{error:?}");
            assert!(!error.facts().is_empty(), "{error:?}");
        }
        found
    }

    pub fn link_mode(&mut self) {
        self.request.mode = Some(Mode::Link);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A folder that was closed would keep the temporary directory from being removed.
        let status = Command::new("chmod")
            .arg("-R")
            .arg("u+rwx")
            .arg(self.temp.path())
            .status();
        assert!(status.is_ok() || std::thread::panicking());
    }
}

pub struct Server(pub Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Root may write everywhere: its tests make and reach files as somebody else.
///
/// Only this thread changes, and each test has its own.
fn ordinary_user() -> Uid {
    let us = Uid::effective();
    if !us.is_root() {
        return us;
    }
    let nobody = Uid::from_raw(65_534);
    setfsuid(nobody);
    nobody
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The error is of this code and says this.
#[track_caller]
pub fn says(error: &Error, code: Code, message: &str) {
    assert_eq!(
        (error.code(), error.message()),
        (code, message),
        "{error:?}"
    );
}

/// One of the errors is of this code and says this.
#[track_caller]
pub fn one_says(errors: &[Error], code: Code, message: &str) {
    let found = errors
        .iter()
        .any(|error| error.code() == code && error.message() == message);
    assert!(found, "{code} {message}\n{errors:#?}");
}

pub fn fact<'a>(error: &'a Error, name: &str) -> Option<&'a str> {
    error
        .facts()
        .iter()
        .find(|(found, _)| found == name)
        .map(|(_, value)| value.as_str())
}

pub fn remedy(error: &Error) -> String {
    match error.remedy_text() {
        Some(Remedy::Command(text) | Remedy::Manual(text)) => text.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_offsets_are_those_of_the_fields() {
    for major in [15, 16, 17, 18] {
        let parse =
            |offset, value| ControlFile::parse(&changed(control(major), offset, value)).unwrap();
        assert_eq!(parse(NEXT_OID, 77_777).next_oid.0, 77_777);
        assert_ne!(parse(STATE, 6).state, parse(STATE, 1).state);
    }
}
