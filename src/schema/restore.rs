//! The restore of schemas into the private new server.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::archive;
use super::dump::DumpFiles;
use super::failure::Unrestored;
use super::schedule::{self, Stage};
use super::watch;
use crate::catalog::{Database, Snapshot};
use crate::disk::Area;
use crate::error::{Code, Error, Result};
use crate::server::pg_restore::{self, PgRestore, Transactions};
use crate::server::{Cancel, Endpoint, Installation};
use crate::work::each;

/// Entries of one transaction; each holds the locks of its objects until it ends.
const ENTRIES_PER_TRANSACTION: u32 = 1000;
/// So many large objects take as long as one table.
const LARGE_OBJECTS_PER_ENTRY: usize = 10;
/// From so many entries on, one database is restored over several sessions.
const WORTH_SPREADING: usize = 1500;

/// The restore of every database.
pub struct Restore<'a> {
    /// The private new server, in binary-upgrade mode.
    pub new: &'a Endpoint,
    /// Its programs.
    pub installation: &'a Installation,
    /// The dump.
    pub files: &'a DumpFiles,
    /// The directory of the dump, for the lists of entries.
    pub area: &'a Area,
    /// Where the messages of the programs go.
    pub logs: &'a Path,
    /// How many sessions work at once.
    pub jobs: usize,
    /// The request to stop.
    pub cancel: &'a Cancel,
    /// The databases that are restored; every one if there is no list.
    pub only: Option<&'a [String]>,
}

impl Restore<'_> {
    /// Restores the databases of the snapshot.
    ///
    /// `template1` is dropped and made anew, alone and first; so is `postgres`. A `postgres`
    /// that old does not have is dropped. `progress` is told how many objects
    /// are made, of about how many.
    ///
    /// # Errors
    ///
    /// Where new does not take an object, every object that it does not take: what was not
    /// restored is then tried once more, object by object, and `note` is told so. Nothing of
    /// use is left in new.
    pub fn run(
        &self,
        old: &Snapshot,
        progress: &(dyn Fn(u64, u64) + Sync),
        note: &dyn Fn(&str),
    ) -> Result<(), Unrestored> {
        let done = Mutex::new(BTreeSet::new());
        let restored = self.restore_all(old, progress, &done);
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        restored.map_err(|error| self.explained(error, old, &done, note))
    }

    /// The databases of old that are to be restored.
    pub(super) fn wanted<'d>(&self, old: &'d Snapshot) -> Vec<&'d Database> {
        let databases = old.databases.iter();
        databases
            .filter(|database| database.connectable())
            .filter(|database| self.only.is_none_or(|only| only.contains(&database.name)))
            .collect()
    }

    fn restore_all(
        &self,
        old: &Snapshot,
        progress: &(dyn Fn(u64, u64) + Sync),
        done: &Mutex<BTreeSet<String>>,
    ) -> Result<()> {
        let databases = self.wanted(old);
        let restore = |plan: &DatabasePlan<'_>| -> Result<()> {
            self.restore(plan)?;
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.insert(plan.database.name.clone());
            Ok(())
        };
        let plans = self.plans(&databases)?;
        let total: u64 = plans.iter().map(|plan| plan.entries).sum();
        let (first, others): (Vec<_>, Vec<_>) = plans
            .iter()
            .partition(|plan| plan.database.name == "template1");
        let (large, small): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|plan| plan.stages.is_some());
        watch::while_watching(
            self.logs,
            &|lines| progress(lines.min(total), total),
            || {
                for plan in first.into_iter().chain(large) {
                    restore(plan)?;
                }
                each(self.jobs, &small, self.cancel, |plan| restore(plan))
            },
        )?;
        if old.database("postgres").is_none() {
            self.new
                .connect("template1")?
                .run_script("DROP DATABASE IF EXISTS postgres")?;
        }
        Ok(())
    }

    fn plans<'d>(&self, databases: &[&'d Database]) -> Result<Vec<DatabasePlan<'d>>> {
        let slots: Vec<std::sync::OnceLock<DatabasePlan<'d>>> = databases
            .iter()
            .map(|_| std::sync::OnceLock::new())
            .collect();
        let numbered: Vec<(usize, &'d Database)> = databases.iter().copied().enumerate().collect();
        each(self.jobs, &numbered, self.cancel, |(at, database)| {
            let plan = self.plan(database)?;
            slots[*at]
                .set(plan)
                .map_err(|_| Error::new(Code::Internal, "a database twice"))
        })?;
        Ok(slots
            .into_iter()
            .filter_map(std::sync::OnceLock::into_inner)
            .collect())
    }

    /// Small databases are restored by one program each, several at once; for those the list
    /// is not even read.
    fn plan<'d>(&self, database: &'d Database) -> Result<DatabasePlan<'d>> {
        let relations = database.relations.len();
        let weight = relations + database.large_objects as usize / LARGE_OBJECTS_PER_ENTRY;
        if self.jobs < 2 || weight < WORTH_SPREADING / 3 {
            return Ok(DatabasePlan {
                database,
                stages: None,
                entries: relations as u64 + 1,
            });
        }
        let log = self.log(database, "list");
        let file = self.files.database(database.oid);
        let text = pg_restore::list(self.installation, &file, &log, self.cancel)?;
        let contents = archive::parse(&text)?;
        let entries = contents.entries.len();
        let stages = (entries.max(weight) >= WORTH_SPREADING)
            .then(|| schedule::schedule(&contents, self.jobs).stages);
        Ok(DatabasePlan {
            database,
            stages,
            entries: entries as u64,
        })
    }

    fn restore(&self, plan: &DatabasePlan<'_>) -> Result<()> {
        match &plan.stages {
            None => self.restore_whole(plan.database),
            Some(stages) => stages
                .iter()
                .enumerate()
                .try_for_each(|(number, stage)| self.restore_stage(plan.database, number, stage)),
        }
    }

    fn restore_whole(&self, database: &Database) -> Result<()> {
        PgRestore {
            file: &self.files.database(database.oid),
            conninfo: &self.new.conninfo(maintenance(database)),
            database: &database.name,
            clean: exists_in_fresh_cluster(database),
            create: true,
            use_list: None,
            transactions: Transactions::Of(ENTRIES_PER_TRANSACTION),
            jobs: 1,
        }
        .run(
            self.installation,
            &self.log(database, "restore"),
            self.cancel,
        )
    }

    fn restore_stage(&self, database: &Database, number: usize, stage: &Stage) -> Result<()> {
        let first = number == 0;
        let lists = self.write_lists(database, stage)?;
        let target = if first {
            maintenance(database)
        } else {
            database.name.as_str()
        };
        let conninfo = self.new.conninfo(target);
        let file = self.files.database(database.oid);
        let numbered: Vec<(usize, PathBuf)> = lists.into_iter().enumerate().collect();
        each(self.jobs, &numbered, self.cancel, |(session, list)| {
            PgRestore {
                file: &file,
                conninfo: &conninfo,
                database: &database.name,
                clean: first && exists_in_fresh_cluster(database),
                create: first,
                use_list: Some(list),
                transactions: if first {
                    Transactions::Of(ENTRIES_PER_TRANSACTION)
                } else {
                    self.spread_transactions()
                },
                jobs: 1,
            }
            .run(
                self.installation,
                &self.log(database, &format!("{}-{session}", stage.name)),
                self.cancel,
            )
        })
    }

    /// Before 17 the choice is one transaction or one a statement; the private server's lock
    /// table is made for one.
    pub(super) fn spread_transactions(&self) -> Transactions {
        if self.installation.version.major.0 >= 17 {
            Transactions::Of(ENTRIES_PER_TRANSACTION)
        } else {
            Transactions::Single
        }
    }

    fn write_lists(&self, database: &Database, stage: &Stage) -> Result<Vec<PathBuf>> {
        stage
            .lists
            .iter()
            .enumerate()
            .map(|(session, ids)| {
                self.write_list(database, &format!("{}-{session}", stage.name), ids)
            })
            .collect()
    }

    /// Entries by their numbers, as `pg_restore` reads them.
    pub(super) fn write_list(
        &self,
        database: &Database,
        what: &str,
        ids: &[u32],
    ) -> Result<PathBuf> {
        let name = format!("database-{}-{what}.list", database.oid);
        let text: String = ids.iter().map(|id| format!("{id};\n")).collect();
        self.area.write(&name, text.as_bytes(), 0o600)?;
        Ok(self.files.directory().join(name))
    }

    pub(super) fn log(&self, database: &Database, what: &str) -> PathBuf {
        self.logs
            .join(format!("pg_restore-{}-{what}.log", database.oid))
    }
}

/// One database and how it is restored; without stages by one program.
struct DatabasePlan<'d> {
    database: &'d Database,
    stages: Option<Vec<Stage>>,
    entries: u64,
}

/// Where to connect while the database is dropped and made.
pub(super) fn maintenance(database: &Database) -> &'static str {
    if database.name == "template1" {
        "postgres"
    } else {
        "template1"
    }
}

fn exists_in_fresh_cluster(database: &Database) -> bool {
    matches!(database.name.as_str(), "template1" | "postgres")
}
