use super::*;
use std::os::unix::fs::symlink;
use std::process::Command;

const VERSION: &str = "PG_15_202209061";

fn record(dir: &Path) -> Manifest {
    let cancel = Cancel::new();
    Manifest::record(dir, VERSION, (2, &cancel), &|_, _| {}).unwrap()
}

/// A data directory with a tablespace and WAL elsewhere.
fn cluster() -> (tempfile::TempDir, PathBuf) {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().canonicalize().unwrap();
    let data = root.join("da\nta");
    for dir in ["base/5", "global", "pg_tblspc", "log"] {
        fs::create_dir_all(data.join(dir)).unwrap();
    }
    for dir in [
        format!("space/{VERSION}/5"),
        "space/PG_17_1/5".into(),
        "wal".into(),
    ] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    symlink(root.join("space"), data.join("pg_tblspc/16390")).unwrap();
    symlink(root.join("wal"), data.join("pg_wal")).unwrap();
    symlink(&data, data.join("base/round")).unwrap();
    symlink("itself", data.join("base/itself")).unwrap();
    symlink("nowhere", data.join("base/nowhere")).unwrap();
    symlink("no -> where", data.join("base/this ->")).unwrap();
    fs::create_dir(data.join("pg_notify")).unwrap();
    fs::create_dir(root.join("backups")).unwrap();
    fs::write(root.join("backups/all"), "of them").unwrap();
    symlink(root.join("backups"), data.join("backups")).unwrap();
    for name in [
        "base/5/16384",
        "base/5/back\\slash",
        "global/pg_control",
        "log/today",
        "start.log",
        "postmaster.pid",
        "pg_wal/1",
        "pg_tblspc/16390/PG_17_1/5/1",
    ] {
        fs::write(data.join(name), name).unwrap();
    }
    fs::write(data.join(format!("pg_tblspc/16390/{VERSION}/5/1")), "rows").unwrap();
    (scratch, data)
}

#[test]
fn what_was_recorded_is_compared_and_nothing_else() {
    let (_scratch, data) = cluster();
    let was = record(&data);
    assert_eq!(was.differences(&record(&data)), [""; 0]);
    for name in [
        "log/today",
        "start.log",
        "postmaster.pid",
        "pg_tblspc/16390/PG_17_1/5/1",
        "backups/all",
    ] {
        fs::write(data.join(name), "another").unwrap();
    }
    assert_eq!(was.differences(&record(&data)), [""; 0]);
    fs::write(data.join("base/5/16384"), "base/5/16385").unwrap();
    fs::write(data.join("base/5/9"), "").unwrap();
    fs::remove_file(data.join("pg_wal/1")).unwrap();
    fs::write(data.join(format!("pg_tblspc/16390/{VERSION}/5/1")), "").unwrap();
    fs::remove_file(data.join("base/round")).unwrap();
    symlink("5", data.join("base/round")).unwrap();
    fs::remove_file(data.join("backups")).unwrap();
    symlink("base", data.join("backups")).unwrap();
    fs::remove_dir(data.join("pg_notify")).unwrap();
    let found = was.differences(&record(&data));
    let begins = [
        "backups: leads to base, led to ",
        "base/5/16384: is another",
        "base/5/9: was not there",
        "base/round: leads to 5, led to ",
        "pg_notify: gone",
        "pg_tblspc/16390/PG_15_202209061/5/1: is another",
        "pg_wal/1: gone",
    ];
    assert_eq!(found.len(), begins.len(), "{found:#?}");
    for (found, begin) in found.iter().zip(begins) {
        assert!(found.starts_with(begin), "{found} {begin}");
    }
}

/// What cannot be looked at is no file less.
#[test]
fn what_cannot_be_looked_at_is_an_error() {
    let (_scratch, data) = cluster();
    symlink("a".repeat(300), data.join("base/6")).unwrap();
    let failed = Manifest::record(&data, VERSION, (2, &Cancel::new()), &|_, _| {});
    assert_eq!(failed.unwrap_err().code(), Code::NotReadable);
}

#[test]
fn it_is_read_as_it_was_written_and_by_sha256sum() {
    let (scratch, data) = cluster();
    let was = record(&data);
    let text = was.text(&data, "of a test");
    let read = Manifest::parse(&text, &data).unwrap();
    assert_eq!(
        read,
        Manifest {
            bytes: 0,
            ..was.clone()
        }
    );
    assert!(Manifest::parse(&text[..text.len() - 9], &data).is_none());
    assert!(Manifest::parse(b"# something\n", &data).is_none());
    assert!(Manifest::parse(&text, Path::new("/elsewhere")).is_none());

    let file = scratch.path().join("manifest");
    fs::write(&file, &text).unwrap();
    let check = || {
        let mut sha256sum = Command::new("sha256sum");
        let output = sha256sum
            .args(["--check", "--quiet", "--strict"])
            .arg(&file);
        output.output().unwrap().status.success()
    };
    assert!(check());
    fs::write(data.join("base/5/back\\slash"), "another").unwrap();
    assert!(!check());
}
