//! `postgresql.conf` as this crate reads and writes it, compared with what a server reads.

// A test says what went wrong by failing there.
#![allow(clippy::unwrap_used)]

mod real_cluster;

use pg_migrator::pg::conf;
use real_cluster::{Cluster, program, run, toolchain};

const LINES: &[&str] = &[
    r"x.escapes = 'it''s \'q\' \101\7\\ \n \x z' # comment",
    "x.unquoted 12MB#comment",
    "x.path = a:b/c-d.e",
    "X.Case='spaces  inside '",
    "x.twice = 1",
    "x.twice = 2",
    "include_dir 'more'",
    "x.after = 'main'",
];

const MORE: &[&str] = &["x.twice = 3", "x.after = 'more'", "x.negative = -1.5"];

const WRITTEN: &[&str] = &[
    "",
    "plain",
    "it's",
    "a\\b\\",
    "two\nlines\r\n",
    "ünï",
    "'",
    "#no",
    "\t",
];

fn agree(installation: &str) {
    let cluster = Cluster::create(installation, &[]);
    let file = cluster.data().join("postgresql.conf");
    let mut text = std::fs::read_to_string(&file).unwrap();
    for line in LINES {
        text += &format!("{line}\n");
    }
    for (number, value) in WRITTEN.iter().enumerate() {
        text += &format!("w.w{number} = {}\n", conf::quote_value(value));
    }
    std::fs::create_dir(cluster.data().join("more")).unwrap();
    std::fs::write(cluster.data().join("more/a.conf"), MORE.join("\n")).unwrap();
    std::fs::write(&file, text).unwrap();

    let settings = conf::read(&file).unwrap();
    let names = settings.iter().filter(|setting| setting.name.contains('.'));
    let mut asked = 0;
    for name in names.map(|setting| &setting.name) {
        let mut postgres = program(
            toolchain(installation).join("postgres"),
            cluster.directory(),
        );
        let said = run(postgres
            .arg("-D")
            .arg(cluster.data())
            .args(["-C", name.as_str()]));
        let read = conf::last(&settings, name).unwrap();
        assert_eq!(said.strip_suffix('\n').unwrap(), read, "{name}");
        asked += 1;
    }
    assert_eq!(asked, LINES.len() - 1 + MORE.len() + WRITTEN.len());
    for (number, value) in WRITTEN.iter().enumerate() {
        assert_eq!(conf::last(&settings, &format!("w.w{number}")), Some(*value));
    }
}

#[test]
fn version_10() {
    agree("old-10");
}

#[test]
fn version_18() {
    agree("new-18");
}
