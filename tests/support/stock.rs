//! A small old cluster with something of most kinds in it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Cluster, Running, bindir, cluster, place_for, shelf};

/// What is done in database `app`.
const CONTENTS: &str = include_str!("stock.sql");
/// A database whose name must be quoted everywhere.
pub const SECOND: &str = "second 'db';";
/// Who knows how to dump every version.
const DUMPER: &str = "new-17";

/// A cluster with contents, and what it looked like when it was last stopped.
#[derive(Debug)]
pub struct Stock {
    /// The cluster.
    pub cluster: Cluster,
    /// The location of its tablespace.
    pub space: PathBuf,
    /// Schema and rows, as text.
    pub dump: String,
}

/// A cluster with two databases of contents, a tablespace, a role and large objects.
///
/// A copy of a template, like [`cluster`].
pub fn stock(installation: &str) -> Stock {
    let template = template(installation);
    let cluster = place_for(installation);
    let space = cluster.scratch().join("space");
    copy(&template.join("data"), &cluster.data);
    copy(&template.join("space"), &space);
    lead_to(&cluster.data, &space);
    // The server that stocked the template may have kept its place in mind.
    let dump = fs::read_to_string(template.join("dump.sql")).unwrap();
    let placed = space.to_str().unwrap();
    let was = fs::read_to_string(template.join("place")).unwrap();
    Stock {
        dump: dump.replace(&was, placed),
        cluster,
        space,
    }
}

fn template(installation: &str) -> PathBuf {
    let mark = super::mark(installation, &[CONTENTS, SECOND]);
    let finished = shelf().join(format!("stock-{installation}-{mark:016x}"));
    if finished.is_dir() {
        return finished;
    }
    let draft = tempfile::tempdir_in(shelf()).unwrap();
    let made = cluster(installation, &[]);
    let space = made.scratch().join("space");
    fs::create_dir(&space).unwrap();
    let server = made.start();
    fill(&server, &space);
    let dump = dump(&made);
    server.stop();
    copy(&made.data, &draft.path().join("data"));
    copy(&space, &draft.path().join("space"));
    fs::write(draft.path().join("dump.sql"), dump).unwrap();
    fs::write(draft.path().join("place"), space.to_str().unwrap()).unwrap();
    let whole = draft.keep();
    // Another test may have been faster; its template is as good.
    if let Err(error) = fs::rename(&whole, &finished) {
        assert!(finished.is_dir(), "{error}");
        fs::remove_dir_all(whole).unwrap();
    }
    finished
}

fn fill(server: &Running<'_>, space: &Path) {
    server.sql("postgres", "CREATE ROLE reader");
    server.sql(
        "postgres",
        &format!("CREATE TABLESPACE side LOCATION '{}'", space.display()),
    );
    server.sql("postgres", "CREATE DATABASE app");
    server.sql(
        "postgres",
        &format!("CREATE DATABASE \"{SECOND}\" TABLESPACE side"),
    );
    let mut app = server.connect("app");
    // One by one: VACUUM does not run among others.
    for statement in CONTENTS.split_inclusive(";\n") {
        let done = app.batch_execute(statement);
        done.unwrap_or_else(|error| panic!("{statement}: {:?}", error.as_db_error()));
    }
    server.sql(
        SECOND,
        "CREATE TABLE \"odd \"\" name\" (id serial PRIMARY KEY, flag bool); \
         INSERT INTO \"odd \"\" name\" (flag) SELECT n % 2 = 0 FROM generate_series(1, 400) n",
    );
    server.sql("template1", "CREATE TABLE in_template (id int)");
}

/// Schema and rows of a running cluster, as text.
pub fn dump(cluster: &Cluster) -> String {
    dump_by(DUMPER, cluster, &[])
}

/// Rows, sequences and large objects of a running cluster, the same text in every version.
pub fn rows(cluster: &Cluster, dumper: &str) -> String {
    let text = dump_by(dumper, cluster, &["--data-only"]);
    let lines = text.lines().filter(|line| !line.starts_with("SET "));
    lines.collect::<Vec<_>>().join("\n")
}

/// What another version's program dumps of a running cluster.
pub fn dump_by(dumper: &str, cluster: &Cluster, options: &[&str]) -> String {
    let output = Command::new(bindir(dumper).join("pg_dumpall"))
        .args(["-U", "postgres", "-h"])
        .arg(cluster.scratch())
        .args(options)
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "pg_dumpall: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    // Comments name the version; the guards against injection are random in each dump.
    let passing = ["--", "\\restrict", "\\unrestrict"];
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !passing.iter().any(|start| line.starts_with(start)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Lets the links of a cluster with one tablespace lead there.
pub fn lead_to(data: &Path, space: &Path) {
    for entry in fs::read_dir(data.join("pg_tblspc")).unwrap() {
        let link = entry.unwrap().path();
        fs::remove_file(&link).unwrap();
        symlink(space, &link).unwrap();
    }
}

/// Copies a tree as it is.
pub fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .args(["-a", "--reflink=auto"])
        .args([from, to])
        .status()
        .unwrap();
    assert!(status.success(), "cp -a {}", from.display());
}
