//! Trying every object of a dump that could not be restored, so that all that fail are known.

use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::archive;
use super::complaints;
use super::dump::DumpFiles;
use super::failure::{self, Failure, Unrestored};
use super::restore::{Restore, maintenance};
use crate::catalog::{Database, Snapshot};
use crate::error::{Code, Error, Family, Result};
use crate::pg::literals::veiled;
use crate::server::pg_restore::{self, PgRestore, Transactions};
use crate::server::psql::Script;
use crate::server::{Cancel, Endpoint, Installation, Psql};
use crate::work::each;

impl Restore<'_> {
    /// What failed, and all else that fails in the databases that are not `done`.
    ///
    /// Each of them is dropped and restored once more, now with a transaction for each object
    /// and without an end at the first error.
    pub(super) fn explained(
        &self,
        error: Error,
        old: &Snapshot,
        done: &BTreeSet<String>,
        note: &dyn Fn(&str),
    ) -> Unrestored {
        if error.code() != Code::RestoreFailed {
            return error.into();
        }
        note("not everything can be restored: every object is tried, to name all that fail");
        unrestored(error, self.failures(old, done))
    }

    fn failures(&self, old: &Snapshot, done: &BTreeSet<String>) -> Result<Vec<Failure>> {
        let left = self.wanted(old).into_iter();
        let left = left.filter(|database| !done.contains(&database.name));
        let (first, others): (Vec<_>, Vec<_>) =
            left.partition(|database| database.name == "template1");
        let found = Mutex::new(Vec::new());
        let try_one = |(at, database): &(usize, &Database)| -> Result<()> {
            let failures = self.try_each_object(old, database)?;
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.push((*at, failures));
            Ok(())
        };
        for database in first {
            try_one(&(0, database))?;
        }
        let numbered: Vec<(usize, &Database)> = (1..).zip(others).collect();
        each(self.jobs, &numbered, self.cancel, try_one)?;
        let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.sort_by_key(|(at, _)| *at);
        Ok(found
            .into_iter()
            .flat_map(|(_, failures)| failures)
            .collect())
    }

    fn try_each_object(&self, old: &Snapshot, database: &Database) -> Result<Vec<Failure>> {
        let file = self.files.database(database.oid);
        let log = self.logs.join(format!("objects-{}.log", database.oid));
        let from = length(&log);
        let tried = PgRestore {
            file: &file,
            conninfo: &self.new.conninfo(maintenance(database)),
            database: &database.name,
            clean: true,
            create: true,
            use_list: None,
            transactions: Transactions::Each,
            jobs: 1,
        }
        .try_all(self.installation, &log, self.cancel);
        match tried {
            Ok(()) => return Ok(Vec::new()),
            Err(error) if error.code() != Code::RestoreFailed => return Err(error),
            Err(_) => {}
        }
        let complaints = complaints::of_pg_restore(&written(&log, from)?);
        if complaints.is_empty() {
            return Ok(Vec::new());
        }
        let list = self.log(database, "list");
        let contents = pg_restore::list(self.installation, &file, &list, self.cancel)
            .and_then(|text| archive::parse(&text))
            // Without the list nothing is known to follow.
            .unwrap_or_default();
        let (name, roles) = (&database.name, &old.roles);
        Ok(failure::of_database(name, complaints, &contents, roles))
    }
}

/// Restores roles and tablespaces.
///
/// # Errors
///
/// Where a statement fails, all that fail; those after it have been run all the same.
pub fn restore_globals(
    new: &Endpoint,
    installation: &Installation,
    files: &DumpFiles,
    logs: &Path,
    cancel: &Cancel,
) -> Result<(), Unrestored> {
    let conninfo = new.conninfo("template1");
    let script = files.globals();
    let psql = Psql {
        conninfo: &conninfo,
        script: Script::File(&script),
        failure: Code::RestoreFailed,
    };
    let log = logs.join("restore-globals.log");
    let from = length(&log);
    let Err(error) = psql.run(installation, &log, cancel) else {
        return Ok(());
    };
    if error.code() != Code::RestoreFailed {
        return Err(error.into());
    }
    let named = || -> Result<Vec<Failure>> {
        // The line that failed may begin within a literal.
        let text = veiled(&written(&script, 0)?).shown;
        let stopped = complaints::of_psql(&written(&log, from)?, &script, &text);
        // What comes before has been done, and would be there already.
        let Some(first) = stopped.first().map(|(line, _)| *line) else {
            return Ok(Vec::new());
        };
        let from = length(&log);
        psql.try_all(installation, &log, cancel)?;
        let all = complaints::of_psql(&written(&log, from)?, &script, &text);
        let all = all.into_iter().filter(|(line, _)| *line >= first);
        Ok(all
            .map(|(_, complaint)| Failure::of_globals(complaint))
            .collect())
    };
    Err(unrestored(error, named()))
}

/// An interruption counts for itself; whatever else went wrong says less than what failed first.
fn unrestored(error: Error, named: Result<Vec<Failure>>) -> Unrestored {
    match named {
        Ok(failures) => Unrestored { error, failures },
        Err(second) if second.code().family() == Family::Signal => second.into(),
        Err(_) => error.into(),
    }
}

/// The length of a log, which earlier runs may have written to.
fn length(log: &Path) -> u64 {
    std::fs::metadata(log).map_or(0, |found| found.len())
}

/// What stands in a file behind this place.
fn written(log: &Path, from: u64) -> Result<String> {
    let unreadable = |error: &std::io::Error| Error::io(Code::NotReadable, "read", log, error);
    let mut file = std::fs::File::open(log).map_err(|error| unreadable(&error))?;
    file.seek(SeekFrom::Start(from))
        .map_err(|error| unreadable(&error))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .map_err(|error| unreadable(&error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
