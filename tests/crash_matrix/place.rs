//! A small cluster that a real `prepare` has prepared, and what it was at several moments.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use pg_migrator::journal::Phase;
use pg_migrator::pg::RelFile;
use pg_migrator::steps::registry;
use serde_json::Value;

use crate::act::Act;
use crate::support::stock::copy;
use crate::support::trip::{Trip, finish};
use crate::support::{Cluster, lint, unique_cluster, write_program};

const JOURNAL: &str = "new.migration/journal.jsonl";
const PLAN: &str = "new.migration/plan.json";
/// What a place is made of.
pub const PARTS: [&str; 4] = ["data", "new", "space", "new.migration"];

/// Old, new, a tablespace and the state directory, in a directory of their own.
pub struct Place {
    cluster: Cluster,
    /// How the migration is done.
    pub mode: String,
}

impl Place {
    /// Prepares by swap, which leaves the files of old for later.
    pub fn new() -> Self {
        let cluster = unique_cluster("old-14", &["--wal-segsize=1"]);
        let space = cluster.scratch().join("space");
        fs::create_dir(&space).unwrap();
        let server = cluster.start();
        let place = space.display();
        server.sql(
            "postgres",
            &format!("CREATE TABLESPACE side LOCATION '{place}'"),
        );
        server.sql("postgres", "CREATE DATABASE app");
        server.sql(
            "app",
            "CREATE TABLE item (id int PRIMARY KEY, story text); \
             INSERT INTO item SELECT n, repeat('x', 90) FROM generate_series(1, 400) n; \
             CREATE TABLE aside (id int) TABLESPACE side; INSERT INTO aside VALUES (7); \
             SELECT lo_from_bytea(800001, 'a picture')",
        );
        server.stop();
        let (trip, dirty) = prepare(&cluster, "");
        assert!(dirty.is_empty(), "prepare: {dirty:#?}");
        let place = Self {
            cluster,
            mode: "swap".to_owned(),
        };
        // One thing after the other: points have the same numbers each time.
        place.edit_plan(|plan| plan["jobs"] = 1.into());
        place.shrink();
        place.stand_in_programs(&trip);
        place.keep("by-swap");
        place
    }

    /// Where everything is.
    pub fn dir(&self) -> &Path {
        self.cluster.scratch()
    }

    /// A part of it.
    pub fn path(&self, rel: &str) -> PathBuf {
        self.dir().join(rel)
    }

    /// From now on the state directory lies there, and a link where it was.
    pub fn put_state_apart(&self, to: &Path) {
        let to = to.join("state");
        let was = self.path("new.migration");
        let device = |path: &Path| fs::metadata(path).unwrap().dev();
        assert_ne!(device(to.parent().unwrap()), device(&was));
        copy_tree(&was, &to, &mut HashMap::new());
        fs::remove_dir_all(&was).unwrap();
        symlink(&to, &was).unwrap();
        self.edit_plan(|plan| plan["state_dir"] = to.to_str().unwrap().into());
        self.keep("by-swap");
    }

    fn image(&self, name: &str) -> PathBuf {
        self.path("images").join(name)
    }

    /// Catalogs are read by servers only, and WAL by nobody here.
    fn shrink(&self) {
        for data in ["data", "new"] {
            let dir = self.path(data);
            for entry in walkdir::WalkDir::new(&dir) {
                let entry = entry.unwrap();
                let name = entry.file_name().to_str().unwrap();
                let of_catalog =
                    RelFile::parse(name).is_some_and(|file| !is_carried(file.number.0));
                let of_wal = entry.path().starts_with(dir.join("pg_wal"));
                if entry.file_type().is_file() && (of_catalog || of_wal) {
                    fs::remove_file(entry.path()).unwrap();
                }
            }
        }
    }

    /// No server starts, and initdb gives what there was.
    fn stand_in_programs(&self, trip: &Trip) {
        let fresh = self.path("fresh");
        copy(&self.path("new"), &fresh);
        fs::copy(
            self.path("new.migration/new-pg_control"),
            fresh.join("global/pg_control"),
        )
        .unwrap();
        let initdb = format!(
            "#!/bin/sh\nfor word; do case $word in --pgdata=*) to=${{word#--pgdata=}};; esac; \
             done\nmkdir -p \"$to\" && cp -a '{}'/. \"$to\"\n",
            fresh.display()
        );
        for (side, real) in [("old", &trip.old_bindir), ("new", &trip.new_bindir)] {
            let bindir = self.path(&format!("bin-{side}"));
            fs::create_dir(&bindir).unwrap();
            for entry in fs::read_dir(real).unwrap() {
                let entry = entry.unwrap();
                symlink(entry.path(), bindir.join(entry.file_name())).unwrap();
            }
            for (program, script) in [("postgres", "#!/bin/sh\nexit 1\n"), ("initdb", &initdb)] {
                let path = bindir.join(program);
                fs::remove_file(&path).unwrap();
                write_program(&path, script);
            }
            self.edit_plan(|plan| plan[side]["bindir"] = bindir.to_str().unwrap().into());
        }
    }

    fn edit_plan(&self, edit: impl FnOnce(&mut Value)) {
        let path = self.path(PLAN);
        let mut plan: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        edit(&mut plan);
        fs::write(&path, serde_json::to_vec_pretty(&plan).unwrap()).unwrap();
    }

    /// Keeps what there is now.
    pub fn keep(&self, name: &str) {
        let image = self.image(name);
        let _ = fs::remove_dir_all(&image);
        fs::create_dir_all(&image).unwrap();
        copy_parts(self.dir(), &image);
    }

    /// Makes it what it was.
    pub fn restore(&self, name: &str) {
        // By swap the inodes of the files are written down, and each copy of them has others.
        if name == "upgraded" && self.mode == "swap" {
            self.restore("prepared");
            return Act::new("cutover")
                .perform(self)
                .demand_standing("Upgraded");
        }
        let image = self.image(name);
        for part in PARTS {
            let _ = fs::remove_dir_all(real(&self.path(part)));
        }
        copy_parts(&image, self.dir());
    }

    /// Goes on as a migration in this mode, prepared.
    pub fn become_prepared(&mut self, mode: &str) {
        self.restore("by-swap");
        mode.clone_into(&mut self.mode);
        self.edit_plan(|plan| plan["mode"] = mode.replace('-', "_").into());
        if ["link", "copy"].contains(&mode) {
            self.cut_journal("place-files");
            Act::new("prepare")
                .perform(self)
                .demand_standing("Prepared");
        }
        self.keep("prepared");
        Act::new("cutover")
            .perform(self)
            .demand_standing("Upgraded");
        self.keep("upgraded");
        self.restore("prepared");
    }

    /// Makes it what a kill before this step of prepare would have left, as far as the journal
    /// tells.
    pub fn become_begun_at(&self, step: &str) {
        self.restore("prepared");
        self.cut_journal(step);
        if step == "create-new-cluster" {
            fs::remove_dir_all(self.path("new")).unwrap();
            for name in ["new-pg_control", "new-identity.json"] {
                fs::remove_file(self.path("new.migration").join(name)).unwrap();
            }
        }
        if ["create-new-cluster", "dump-old-schema"].contains(&step) {
            let _ = fs::remove_dir_all(self.path("new.migration/dump"));
        }
        if step == "place-files" {
            let _ = fs::remove_file(self.path("new.migration/first-copies.jsonl"));
        }
        let globals_are_there = prepare_steps()
            .iter()
            .position(|name| name == "restore-globals")
            < prepare_steps().iter().position(|name| name == step);
        if !globals_are_there {
            for entry in fs::read_dir(self.path("space")).unwrap() {
                let entry = entry.unwrap();
                if entry.file_name().to_str().unwrap().starts_with("PG_17") {
                    fs::remove_dir_all(entry.path()).unwrap();
                }
            }
        }
    }

    /// Makes it what a prepare finds that is to take a fresh cluster for new.
    pub fn become_adopting(&self) {
        self.become_begun_at("create-new-cluster");
        copy(&self.path("fresh"), &self.path("new"));
        // Its operator has started it once, and has his certificate where the others are.
        let opts = "/usr/lib/postgresql/17/bin/postgres \"-D\" \"new\"\n";
        fs::write(self.path("new/postmaster.opts"), opts).unwrap();
        symlink("/etc/ssl/certs/server.crt", self.path("new/server.crt")).unwrap();
        self.edit_plan(|plan| plan["new"]["origin"] = "adopted".into());
        self.keep("adopting");
    }

    fn cut_journal(&self, step: &str) {
        let path = self.path(JOURNAL);
        let text = fs::read_to_string(&path).unwrap();
        let before = text.lines().take_while(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["record"]["kind"] != "step_intended" || line["record"]["step"] != step
        });
        let kept: String = before.map(|line| format!("{line}\n")).collect();
        fs::write(&path, kept).unwrap();
    }
}

/// A prepare by real programs that makes this mistake, and what is wrong in its trace.
pub fn prepare(cluster: &Cluster, mistake: &str) -> (Trip, Vec<String>) {
    let trip = Trip::new(cluster, "new-17", "swap");
    trip.begin_trace();
    let mut prepare = trip.first_command(&["prepare"]);
    prepare.env("PGM_PLANT", mistake);
    finish(prepare).demand(0);
    let dirty = lint::of(&trip.trace());
    (trip, dirty)
}

/// The steps of prepare that a first run has, in order.
pub fn prepare_steps() -> Vec<String> {
    registry()
        .iter()
        .filter(|step| step.phase() == Phase::Prepare && step.name() != "reopen-new-cluster")
        .map(|step| step.name().to_owned())
        .collect()
}

fn is_carried(number: u32) -> bool {
    number >= 16384 || [2613, 2683].contains(&number)
}

/// Where a part is, also one that is not there now.
pub fn real(part: &Path) -> PathBuf {
    fs::read_link(part).unwrap_or_else(|_| part.to_owned())
}

/// Copies all parts; two names of one file stay that.
fn copy_parts(from: &Path, to: &Path) {
    let mut names = HashMap::new();
    for part in PARTS {
        if from.join(part).exists() {
            copy_tree(&real(&from.join(part)), &real(&to.join(part)), &mut names);
        }
    }
}

fn copy_tree(from: &Path, to: &Path, names: &mut HashMap<u64, PathBuf>) {
    let meta = fs::symlink_metadata(from).unwrap();
    if meta.is_dir() {
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            copy_tree(&from.join(&name), &to.join(&name), names);
        }
        fs::set_permissions(to, meta.permissions()).unwrap();
    } else if meta.is_symlink() {
        symlink(fs::read_link(from).unwrap(), to).unwrap();
    } else if let Some(name) = names.get(&meta.ino()) {
        fs::hard_link(name, to).unwrap();
    } else {
        fs::copy(from, to).unwrap();
        if meta.nlink() > 1 {
            names.insert(meta.ino(), to.to_owned());
        }
    }
}
