//! Every way to move files, with every layout of tablespaces.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::case::demand_same_text;
use support::mount::{elsewhere, on_file_system};
use support::stock::dump_by;
use support::tree::{self, Tree};
use support::trip::Trip;
use support::{Cluster, Running, as_server_user, unique_cluster};

const OLD: &str = "old-15";

/// A tablespace: its name, and where it lies; nothing where it is made in place.
type Space = (&'static str, Option<PathBuf>);

/// An old cluster with tables in each of its tablespaces, and the way from it.
struct Layout {
    cluster: Cluster,
    trip: Trip,
    spaces: Vec<Space>,
    dumper: &'static str,
    dump: String,
    before: Tree,
}

impl Layout {
    fn new(old: &str, new: &'static str, mode: &str, place: Spaces) -> Self {
        let cluster = unique_cluster(old, &[]);
        let spaces = place(cluster.scratch());
        let server = cluster.start();
        for space in &spaces {
            make(&server, space);
        }
        server.sql("postgres", "CREATE DATABASE app");
        server.sql("app", &contents("pg_default"));
        for (name, _) in &spaces {
            server.sql("app", &contents(name));
            let own = format!("CREATE DATABASE \"all in {name}\" TABLESPACE \"{name}\"");
            server.sql("postgres", &own);
            server.sql(&format!("all in {name}"), &contents("pg_default"));
        }
        let dump = dumped(new, &cluster);
        server.stop();
        let before = kept(&cluster, &spaces);
        Self {
            trip: Trip::new(&cluster, new, mode),
            dumper: new,
            cluster,
            spaces,
            dump,
            before,
        }
    }

    /// There and back, and there for good.
    fn whole_trip(&self, what: &str) {
        let trip = &self.trip;
        trip.run_first(&["check"]).demand(0);
        trip.prepare();
        self.demand_files(&format!("{what}: prepared"));
        trip.cutover();
        trip.run(&["verify"]).demand(0);
        trip.rollback();
        self.demand_back(&format!("{what}: there and back"));

        trip.prepare();
        trip.cutover();
        self.demand_arrived();
        trip.run(&["finalize", "--yes"]).demand(0);
        self.demand_only_new_is_left();
        self.demand_arrived();
    }

    /// Old's files are what they were; by link each has one more name, and the locations have a
    /// folder of new.
    fn demand_files(&self, after: &str) {
        let mut now = kept(&self.cluster, &self.spaces);
        now.retain(|path, _| self.before.contains_key(path));
        let alone = |tree: &Tree| -> Tree {
            let mut tree = tree.clone();
            tree.values_mut().for_each(|entry| entry.links = 1);
            tree
        };
        tree::demand_same(after, &alone(&self.before), &alone(&now));
    }

    fn demand_back(&self, after: &str) {
        assert!(!self.trip.new.exists(), "{after}");
        tree::demand_same(after, &self.before, &kept(&self.cluster, &self.spaces));
        let server = self.cluster.start();
        demand_same_text(&self.dump, &dumped(self.dumper, &self.cluster));
        server.stop();
    }

    fn demand_arrived(&self) {
        let new = self.trip.new_cluster();
        let server = new.start();
        demand_same_text(&self.dump, &dumped(self.dumper, &new));
        server.stop();
    }

    fn demand_only_new_is_left(&self) {
        assert!(!self.trip.old.exists());
        let version = format!("PG_{}_", self.dumper.trim_start_matches("new-"));
        let made_in_place = fs::read_dir(self.trip.new.join("pg_tblspc")).unwrap();
        let made_in_place = made_in_place.map(|entry| entry.unwrap().path());
        let made_in_place = made_in_place.filter(|path| !path.is_symlink());
        let places = self.spaces.iter().filter_map(|(_, place)| place.clone());
        let all: Vec<PathBuf> = places.chain(made_in_place).collect();
        assert_eq!(all.len(), self.spaces.len());
        for place in all {
            let mut folders = fs::read_dir(&place)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let folder = folders.find(|name| name.starts_with("PG_")).unwrap();
            assert!(folder.starts_with(&version), "{folder}");
            assert!(!folders.any(|name| name.starts_with("PG_")), "{place:?}");
        }
    }
}

/// Schema and rows, without what old versions do not know.
fn dumped(dumper: &str, cluster: &Cluster) -> String {
    let text = dump_by(dumper, cluster, &[]);
    let lines = text.lines();
    let lines = lines.filter(|line| !line.starts_with("SET default_table_access_method"));
    lines.collect::<Vec<_>>().join("\n")
}

fn make(server: &Running<'_>, (name, place): &Space) {
    let location = match place {
        Some(place) => {
            fs::create_dir_all(place).unwrap();
            place.to_str().unwrap().replace('\'', "''")
        }
        None => String::new(),
    };
    // One by one: it cannot be done in a transaction.
    let mut client = server.connect("postgres");
    if place.is_none() {
        client
            .batch_execute("SET allow_in_place_tablespaces = on")
            .unwrap();
    }
    let sql = format!("CREATE TABLESPACE \"{name}\" LOCATION '{location}'");
    client.batch_execute(&sql).unwrap();
}

/// A table of more than one kind of file, with an index, a sequence and toast.
fn contents(space: &str) -> String {
    format!(
        "CREATE TABLE \"in {space}\" (id serial PRIMARY KEY, note text) TABLESPACE \"{space}\"; \
         CREATE INDEX ON \"in {space}\" (note) TABLESPACE \"{space}\"; \
         ALTER TABLE \"in {space}\" ALTER note SET STORAGE EXTERNAL; \
         INSERT INTO \"in {space}\" (note) \
             SELECT n || ' of {space}' FROM generate_series(1, 2000) n; \
         ALTER TABLE \"in {space}\" ADD long text; \
         UPDATE \"in {space}\" SET long = repeat('long ', 3000) WHERE id = 7; \
         SELECT lo_create(0) FROM generate_series(1, 3)"
    )
}

fn kept(cluster: &Cluster, spaces: &[Space]) -> Tree {
    let mut tree = tree::kept(&cluster.data);
    for place in spaces.iter().filter_map(|(_, place)| place.as_ref()) {
        tree.extend(tree::kept(place));
    }
    tree
}

/// Which tablespaces there are, given a directory for theirs.
type Spaces = fn(&Path) -> Vec<Space>;

/// Two in one parent, one in the location of another, and names that must be quoted.
fn outside(place: &Path) -> Vec<Space> {
    let parent = place.join("two of  them");
    vec![
        ("a", Some(parent.join("a"))),
        ("b, its own", Some(parent.join("b \"own\"; x"))),
        ("within a", Some(parent.join("a/deep/er within"))),
    ]
}

fn in_place(_: &Path) -> Vec<Space> {
    vec![("here", None), ("and here", None)]
}

fn both(place: &Path) -> Vec<Space> {
    [outside(place), in_place(place)].concat()
}

/// With one on another file system.
fn everywhere(place: &Path) -> Vec<Space> {
    let mut all = both(place);
    all.push(("elsewhere", Some(elsewhere().join("space"))));
    all
}

/// Those beside the cluster and those within it, which is what all layouts come to; with
/// `PGM_EACH_LAYOUT=1` none, and each kind without the other, too.
fn by(mode: &str, new: &'static str) {
    let mut layouts: Vec<(&str, Spaces)> = vec![("both", both)];
    if std::env::var_os("PGM_EACH_LAYOUT").is_some() {
        layouts.extend([
            ("none", (|_| Vec::new()) as Spaces),
            ("outside", outside),
            ("in place", in_place),
        ]);
    }
    for (what, spaces) in layouts {
        Layout::new(OLD, new, mode, spaces).whole_trip(&format!("{mode}, {what}"));
    }
}

#[test]
fn tablespaces_by_link() {
    as_server_user("tablespaces_by_link", || by("link", "new-18"));
}

#[test]
fn tablespaces_by_copy() {
    as_server_user("tablespaces_by_copy", || by("copy", "new-17"));
}

#[test]
fn tablespaces_by_copy_file_range() {
    as_server_user("tablespaces_by_copy_file_range", || {
        by("copy-file-range", "new-18");
    });
}

#[test]
fn tablespaces_by_swap() {
    as_server_user("tablespaces_by_swap", || by("swap", "new-17"));
}

#[test]
fn tablespaces_on_several_file_systems() {
    on_file_system("xfs", "tablespaces_on_several_file_systems", || {
        by_on_several("link", "new-17");
        by_on_several("swap", "new-18");
        by_on_several("copy", "new-18");
    });
}

fn by_on_several(mode: &str, new: &'static str) {
    let layout = Layout::new(OLD, new, mode, everywhere);
    layout.whole_trip(&format!("{mode}, on several file systems"));
    fs::remove_dir_all(elsewhere().join("space")).unwrap();
}

/// Where some can be cloned and some cannot, only `auto` does both.
#[test]
fn tablespaces_that_can_be_cloned_in_part() {
    on_file_system("xfs", "tablespaces_that_can_be_cloned_in_part", || {
        by_on_several("auto", "new-17");
        Layout::new(OLD, "new-18", "clone", both).whole_trip("clone, both");
        let layout = Layout::new(OLD, "new-17", "clone", everywhere);
        let said = ["cannot be cloned", "the file system cannot share blocks"];
        let ran = layout.trip.run_first(&["prepare"]);
        ran.refused(4, "PGM-1402", &said);
        layout.demand_back("clones that are not possible");
    });
}

/// Minor releases brought them to older versions, too.
#[test]
fn tablespaces_made_in_place_by_older_versions() {
    as_server_user("tablespaces_made_in_place_by_older_versions", || {
        for (old, new) in [("old-10", "new-17"), ("old-14", "new-18")] {
            let layout = Layout::new(old, new, "link", in_place);
            layout.trip.run_first(&["check", "--rehearse"]).demand(0);
            layout.whole_trip(&format!("{old} to {new}"));
        }
    });
}

/// An upgrade that is killed leaves both clusters their own.
#[test]
fn tablespaces_made_in_place_after_a_killed_prepare() {
    let test = "tablespaces_made_in_place_after_a_killed_prepare";
    as_server_user(test, || {
        for mode in ["link", "swap"] {
            let layout = Layout::new(OLD, "new-17", mode, both);
            let trip = &layout.trip;
            trip.frozen_prepare("step_done", "restore-globals").kill();
            layout.trip.run(&["resume"]).demand(0);
            layout.trip.cutover();
            layout.trip.run(&["verify"]).demand(0);
            layout.trip.rollback();
            layout.demand_back("killed, resumed and rolled back");
        }
    });
}
