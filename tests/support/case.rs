//! One old cluster with contents, its migration, and what a way back must give back.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::Cluster;
use super::stock::{Stock, copy, dump, lead_to, stock};
use super::tree::{self, Tree};
use super::trip::Trip;

const OLD: &str = "old-14";
const NEW: &str = "new-17";

/// An old cluster, the way from it, and what must be there again after a way back.
#[derive(Debug)]
pub struct Case {
    /// Old.
    pub stock: Stock,
    /// The migration.
    pub trip: Trip,
    before: Tree,
}

impl Case {
    /// A fresh case in this mode.
    pub fn new(mode: &str) -> Self {
        Self::of(OLD, NEW, mode)
    }

    /// The same between other versions.
    pub fn of(old: &str, new: &str, mode: &str) -> Self {
        let stock = stock(old);
        let trip = Trip::new(&stock.cluster, new, mode);
        let before = kept(&stock);
        Self {
            stock,
            trip,
            before,
        }
    }

    /// Puts the state directory on another file system, for as long as the value is there.
    pub fn state_apart(&self) -> tempfile::TempDir {
        let apart = super::mount::apart_from(self.stock.cluster.scratch());
        symlink(apart.path(), self.trip.state()).unwrap();
        apart
    }

    /// Moves the tablespace to another place, as an operator could.
    pub fn move_space(&mut self, to: &Path) {
        let from = std::mem::replace(&mut self.stock.space, to.to_owned());
        copy(&from, to);
        fs::remove_dir_all(&from).unwrap();
        lead_to(&self.stock.cluster.data, to);
        let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
        self.stock.dump = self.stock.dump.replace(from, to);
        self.before = kept(&self.stock);
    }

    /// Serves old, and runs this in it.
    pub fn use_old(&self, sql: &str) {
        let server = self.stock.cluster.start();
        server.sql("app", sql);
        server.stop();
    }

    /// Files, settings and links of old are what they were.
    pub fn demand_untouched_old(&self, after: &str) {
        tree::demand_same(after, &self.before, &kept(&self.stock));
    }

    /// The same of files alone: the location of a tablespace may have new's folder.
    pub fn demand_untouched_files(&self, after: &str) {
        let mut now = kept(&self.stock);
        now.retain(|path, _| self.before.contains_key(path));
        tree::demand_same(after, &self.before, &now);
    }

    /// Old's own programs refuse to start it.
    pub fn demand_old_does_not_start(&self) {
        let started = self.trip.old_starts();
        assert!(!started.status.success(), "{started:?}");
    }

    /// The same, and nothing of new is left.
    pub fn demand_untouched(&self, after: &str) {
        self.demand_untouched_old(after);
        assert!(!self.trip.new.exists(), "{after}: new is still there");
    }

    /// The same, and old serves what it served before.
    pub fn demand_back(&self, after: &str) {
        self.trip.demand_standing("everything was undone");
        self.demand_untouched(after);
        let started = self.trip.old_starts();
        assert!(started.status.success(), "{after}: {started:?}");
        let server = self.stock.cluster.start();
        demand_same_text(&self.stock.dump, &dump(&self.stock.cluster));
        server.stop();
    }

    /// New serves this schema and these rows.
    pub fn demand_arrived(&self, wanted: &str) {
        let new = self.trip.new_cluster();
        let server = new.start();
        let served = dump(&new);
        server.stop();
        demand_same_text(wanted, &served);
    }

    /// A copy of old serves the schema and the rows it always had.
    pub fn demand_old_serves(&self) {
        self.demand_serves(&self.trip.old_bindir, &self.trip.old);
    }

    /// A copy of new serves the schema and the rows of old; new itself is not started, so that the
    /// way back stays open.
    pub fn demand_new_serves(&self) {
        self.demand_serves(&self.trip.new_bindir, &self.trip.new);
    }

    fn demand_serves(&self, bindir: &Path, data: &Path) {
        let double = self.double(bindir, data);
        let server = double.start();
        let served = dump(&double);
        server.stop();
        let (there, here) = (double.scratch().join("space"), &self.stock.space);
        let served = served.replace(there.to_str().unwrap(), here.to_str().unwrap());
        demand_same_text(&self.stock.dump, &served);
    }

    /// The same cluster and its tablespace once more.
    fn double(&self, bindir: &Path, data: &Path) -> Cluster {
        let double = super::place(bindir);
        let space = double.scratch().join("space");
        copy(data, &double.data);
        copy(&self.stock.space, &space);
        lead_to(&double.data, &space);
        fs::write(double.data.join("pg_hba.conf"), "local all all trust\n").unwrap();
        double
    }

    /// Whether prepare is done and the cutover is not begun.
    pub fn is_prepared(&self) -> bool {
        let ran = self.trip.run(&["status"]);
        ran.stdout.contains("waits for the cutover")
    }

    /// The same, demanded.
    pub fn demand_prepared(&self) {
        self.trip.demand_standing("waits for the cutover");
    }
}

fn kept(stock: &Stock) -> Tree {
    let mut tree = tree::kept(&stock.cluster.data);
    tree.extend(tree::kept(&stock.space));
    tree
}

/// Demands the same lines, and shows the first that is another one.
pub fn demand_same_text(wanted: &str, found: &str) {
    let same = wanted
        .lines()
        .zip(found.lines())
        .take_while(|(a, b)| a == b);
    let from = same.count().saturating_sub(3);
    let part = |text: &str| {
        text.lines()
            .skip(from)
            .take(8)
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert!(
        wanted == found,
        "{}\n--- became\n{}",
        part(wanted),
        part(found)
    );
}
