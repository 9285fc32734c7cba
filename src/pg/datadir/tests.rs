use std::os::unix::fs::symlink;

use super::*;
use tempfile::TempDir;

const FOLDERS: &[&str] = &[
    "base/1",
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
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_tblspc",
    "pg_twophase",
    "pg_wal/archive_status",
    "pg_xact",
];

struct Fake {
    temp: TempDir,
}

impl Fake {
    fn new(version: &str) -> Self {
        let fake = Self {
            temp: tempfile::tempdir().unwrap(),
        };
        for folder in FOLDERS {
            std::fs::create_dir_all(fake.path(folder)).unwrap();
        }
        fake.write("PG_VERSION", &format!("{version}\n"));
        fake
    }

    fn data(&self) -> PathBuf {
        self.temp.path().canonicalize().unwrap().join("data")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.data().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn resolve(&self) -> DataDir {
        DataDir::resolve(&self.data()).unwrap()
    }

    fn problems(&self) -> Vec<String> {
        let problems = self.resolve().layout_problems().unwrap();
        for problem in &problems {
            assert_eq!(problem.code(), Code::DataDirectoryLayout, "{problem}");
            assert!(problem.remedy_text().is_some(), "{problem}");
        }
        problems.iter().map(|e| e.message().to_owned()).collect()
    }
}

fn refusal(path: &Path) -> (Code, String) {
    let error = DataDir::resolve(path).unwrap_err();
    assert!(error.remedy_text().is_some(), "{error}");
    (error.code(), error.message().to_owned())
}

#[test]
fn a_data_directory_is_found_through_links() {
    let fake = Fake::new("15");
    let link = fake.temp.path().join("link");
    symlink(fake.data(), &link).unwrap();
    let dir = DataDir::resolve(&link).unwrap();
    assert_eq!(dir.path, fake.data());
    assert_eq!(dir.config_dir, fake.data());
    assert_eq!(dir.major, MajorVersion(15));
    assert_eq!(fake.problems(), Vec::<String>::new());
}

#[test]
fn a_configuration_directory_leads_to_the_data() {
    let fake = Fake::new("15");
    let etc = fake.temp.path().join("etc");
    std::fs::create_dir_all(etc.join("conf.d")).unwrap();
    std::fs::write(
        etc.join("postgresql.conf"),
        "data_directory = '/nowhere'\ninclude_dir = 'conf.d'\n",
    )
    .unwrap();
    let setting = format!("data_directory = '{}'\n", fake.data().display());
    std::fs::write(etc.join("conf.d/data.conf"), setting).unwrap();
    let dir = DataDir::resolve(&etc).unwrap();
    assert_eq!(dir.path, fake.data());
    assert_eq!(dir.config_dir, etc.canonicalize().unwrap());
}

#[test]
fn what_is_no_data_directory_is_refused_with_the_reason() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    std::fs::write(at("file"), "").unwrap();
    std::fs::create_dir(at("empty")).unwrap();
    let expect = |path: PathBuf, reason: &str| {
        let (code, message) = refusal(&path);
        assert_eq!(code, Code::NotADataDirectory, "{message}");
        assert!(message.contains(reason), "{message}");
    };
    expect(at("absent"), "it does not exist");
    expect(at("file"), "it is not a directory");
    expect(at("file/inside"), "it is not a directory");
    expect(at("empty"), "neither PG_VERSION nor postgresql.conf");

    let conf = |text: &str| std::fs::write(at("empty/postgresql.conf"), text).unwrap();
    conf("port = 5433\n");
    expect(at("empty"), "does not set data_directory");
    conf("data_directory = 'data'\n");
    expect(at("empty"), "relative path");
    conf("data_directory = '/nowhere/at/all'\n");
    expect(
        at("empty"),
        "/nowhere/at/all is not a PostgreSQL data directory: it does not exist",
    );
    conf(&format!("data_directory = '{}'\n", temp.path().display()));
    expect(at("empty"), "it has no file PG_VERSION");
    conf("data_directory = \n");
    assert_eq!(refusal(&at("empty")).0, Code::NotReadable);
}

#[test]
fn unknown_versions_are_refused() {
    for (version, code, reason) in [
        ("9.6", Code::VersionPair, "PostgreSQL 9.6, which is too old"),
        ("9", Code::VersionPair, "too old"),
        ("19", Code::VersionPair, "newer than any version"),
        ("8.4.1", Code::VersionPair, "too old"),
        ("", Code::NotADataDirectory, "does not hold a version"),
        (
            "fifteen",
            Code::NotADataDirectory,
            "does not hold a version",
        ),
    ] {
        let fake = Fake::new(version);
        let (found, message) = refusal(&fake.data());
        assert_eq!(found, code, "{message}");
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn all_layout_problems_are_reported_at_once() {
    let fake = Fake::new("15");
    std::fs::remove_dir_all(fake.path("pg_multixact")).unwrap();
    std::fs::remove_dir_all(fake.path("pg_wal")).unwrap();
    std::fs::remove_dir(fake.path("pg_notify")).unwrap();
    symlink("/nowhere/wal", fake.path("pg_wal")).unwrap();
    fake.write("pg_notify", "");
    std::fs::remove_dir(fake.path("pg_twophase")).unwrap();
    symlink("/nowhere/space", fake.path("pg_tblspc/16400")).unwrap();
    fake.write("standby.signal", "");
    fake.write("backup_label", "");
    assert_eq!(
        fake.problems(),
        [
            "the folder pg_multixact is missing",
            "pg_notify is not a directory",
            "the folder pg_twophase is missing",
            "pg_wal is a link that leads nowhere",
            "standby.signal is present: the directory is a standby",
            "backup_label is present: the directory is a base backup, or one was being taken when the server ended",
            "the link of tablespace 16400 leads nowhere",
        ]
    );
}

#[test]
fn the_remedy_for_a_folder_without_data_brings_it_back() {
    let fake = Fake::new("15");
    for folder in ["pg_notify", "pg_logical/mappings", "pg_serial"] {
        std::fs::remove_dir(fake.path(folder)).unwrap();
    }
    let problems = fake.resolve().layout_problems().unwrap();
    assert_eq!(problems.len(), 3);
    for problem in problems {
        let Some(Remedy::Command(command)) = problem.remedy_text() else {
            panic!("{problem}");
        };
        let mut shell = std::process::Command::new("sh");
        assert!(
            shell
                .args(["-c", command.as_str()])
                .status()
                .unwrap()
                .success()
        );
    }
    assert_eq!(fake.problems(), Vec::<String>::new());
}

#[test]
fn recovery_files_are_judged_by_the_version() {
    let old = Fake::new("11");
    old.write("recovery.signal", "");
    old.write("standby.signal", "");
    assert_eq!(old.problems(), Vec::<String>::new());
    old.write("recovery.conf", "");
    assert!(old.problems()[0].contains("a standby or in the middle of a recovery"));

    let new = Fake::new("12");
    new.write("recovery.conf", "");
    assert!(new.problems()[0].contains("refuse to start"));
    new.write("recovery.signal", "");
    new.write("tablespace_map", "");
    assert_eq!(new.problems().len(), 3);
}

#[test]
fn tablespaces_are_followed() {
    let fake = Fake::new("15");
    let place = fake.temp.path().canonicalize().unwrap().join("space");
    let version_dir = DataDir::tablespace_version_dir(MajorVersion(15), 202_209_061);
    assert_eq!(version_dir, "PG_15_202209061");
    std::fs::create_dir_all(place.join(&version_dir)).unwrap();
    std::fs::create_dir_all(fake.path("pg_tblspc/16402").join(&version_dir)).unwrap();
    symlink(&place, fake.path("pg_tblspc/16401")).unwrap();
    fake.write("pg_tblspc/README", "");
    let links = fake.resolve().tablespaces().unwrap();
    assert_eq!(
        links,
        [
            TablespaceLink {
                oid: Oid(16401),
                target: place.clone(),
                in_place: false
            },
            TablespaceLink {
                oid: Oid(16402),
                target: fake.path("pg_tblspc/16402"),
                in_place: true
            },
        ]
    );
    assert_eq!(fake.problems(), Vec::<String>::new());

    std::fs::rename(place.join(&version_dir), place.join("PG_14_202107181")).unwrap();
    assert_eq!(
        fake.problems(),
        ["the location of tablespace 16401 has no folder of PostgreSQL 15"]
    );
    std::fs::remove_dir_all(&place).unwrap();
    std::fs::write(&place, "").unwrap();
    assert_eq!(
        fake.problems(),
        ["the link of tablespace 16401 does not lead to a directory"]
    );
    let error = fake.resolve().tablespaces().unwrap_err();
    assert_eq!(error.code(), Code::DataDirectoryLayout);
}

#[test]
fn an_external_wal_directory_is_found() {
    let fake = Fake::new("15");
    assert_eq!(fake.resolve().wal_dir_target(), None);
    let outside = fake.temp.path().canonicalize().unwrap().join("wal");
    std::fs::rename(fake.path("pg_wal"), &outside).unwrap();
    symlink(&outside, fake.path("pg_wal")).unwrap();
    assert_eq!(fake.resolve().wal_dir_target(), Some(outside));
    assert_eq!(fake.problems(), Vec::<String>::new());
}

#[test]
fn the_files_of_a_server_are_read() {
    let fake = Fake::new("15");
    let dir = fake.resolve();
    assert_eq!(dir.postmaster_pid().unwrap(), None);
    assert_eq!(dir.postmaster_opts().unwrap(), None);
    fake.write("postmaster.pid", "4711\n/srv/pg15\n");
    fake.write("postmaster.opts", "/bin/postgres \"-D\" \"/srv/pg15\"\n");
    assert_eq!(dir.postmaster_pid().unwrap().map(|p| p.pid), Some(4711));
    assert_eq!(
        dir.postmaster_opts().unwrap().map(|o| o.args.len()),
        Some(2)
    );
    fake.write("postmaster.pid", "");
    let error = dir.postmaster_pid().unwrap_err();
    assert_eq!(error.code(), Code::DataDirectoryLayout);
    assert!(error.remedy_text().is_some());
}
