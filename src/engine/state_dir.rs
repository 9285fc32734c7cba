//! The state directory: made, locked, opened, and cleaned at the end.

use std::path::Path;

use crate::disk::{Area, Lock};
use crate::error::{Code, Error, Remedy, Result};
use crate::journal::{FORMAT, JOURNAL_FILE, Journal, Opened, Standing, State};
use crate::plan::{self, Plan};
use crate::steps::{PLAN_FILE, compared_old};

use super::recorder::EVENTS_FILE;

/// Name of the report in the state directory.
pub const REPORT_FILE: &str = "report.txt";
/// What stays of a state directory when the migration is over.
pub const KEPT: [&str; 2] = [REPORT_FILE, EVENTS_FILE];

/// A state directory one holds the lock of.
pub struct StateDir {
    /// The directory.
    pub area: Area,
    _lock: Lock,
}

impl StateDir {
    /// Makes the directory of a new migration, or takes over that of one that is over.
    ///
    /// One that is not over is refused: it has to be finished, one way or the other.
    pub fn create(path: &Path) -> Result<Self> {
        let area = Area::new(path)?;
        area.create_dir("", 0o700)?;
        refuse_strangers(&area)?;
        let lock = Lock::acquire(&area)?;
        if let Some(state) = Journal::read(&area)? {
            match state.standing() {
                Standing::RolledBack | Standing::Finalized => nothing_untold(&area)?,
                standing => return Err(unfinished(path, standing)),
            }
        }
        clean(&area, &["lock"])?;
        area.create_dir("logs", 0o700)?;
        Ok(Self { area, _lock: lock })
    }

    /// Opens the directory of a migration that was begun.
    pub fn open(path: &Path) -> Result<Self> {
        // Asked before the lock, whose file would be the only thing ever made there.
        if !path.join(JOURNAL_FILE).exists() {
            return Err(missing(path));
        }
        let area = Area::new(path)?;
        let lock = Lock::acquire(&area)?;
        Ok(Self { area, _lock: lock })
    }

    /// Writes the plan and begins the journal, in this order: a journal always has a plan.
    pub fn begin(&self, plan: &Plan) -> Result<Journal> {
        self.save_plan(plan)?;
        Journal::create(
            &self.area,
            Opened {
                format: FORMAT,
                program: plan.program.clone(),
                old: plan.old.data_dir.clone(),
                new: plan.new.data_dir.clone(),
                system_identifier: plan.old.system_identifier.0,
            },
        )
    }

    /// Writes the plan, or a later state of it.
    pub fn save_plan(&self, plan: &Plan) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(plan)
            .map_err(|e| Error::new(Code::Internal, "could not write the plan").caused_by(&e))?;
        self.area.write(PLAN_FILE, &bytes, 0o600)
    }

    /// The journal of a migration that was begun.
    pub fn journal(&self) -> Result<Journal> {
        Journal::open(&self.area)?.ok_or_else(|| missing(self.area.root()))
    }

    /// Removes everything but the report and the events.
    pub fn clean(self) -> Result<()> {
        clean(&self.area, &KEPT)
    }

    /// Reads the plan.
    pub fn plan(&self) -> Result<Plan> {
        read_plan(&self.area)
    }

    /// Looks at a migration without its lock: what the journal says, and the plan.
    pub fn look(path: &Path) -> Result<(State, Plan)> {
        if !path.is_dir() {
            return Err(missing(path));
        }
        let area = Area::new(path)?;
        let state = Journal::read(&area)?.ok_or_else(|| missing(path))?;
        Ok((state, read_plan(&area)?))
    }
}

fn read_plan(area: &Area) -> Result<Plan> {
    let path = area.path(PLAN_FILE)?;
    let bytes = std::fs::read(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => missing(area.root()),
        _ => Error::io(Code::NotReadable, "read", &path, &e),
    })?;
    let unknown = |what: &dyn std::error::Error| {
        Error::new(
            Code::StateFormat,
            "the plan of this migration cannot be read",
        )
        .fact("file", path.display())
        .caused_by(what)
        .remedy(other_release())
    };
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| unknown(&e))?;
    if value["format"] != plan::FORMAT {
        return Err(Error::new(
            Code::StateFormat,
            "the plan has a format this release does not know",
        )
        .fact("file", path.display())
        .fact("format", &value["format"])
        .fact("format known here", plan::FORMAT)
        .remedy(other_release()));
    }
    serde_json::from_value(value).map_err(|e| unknown(&e))
}

fn other_release() -> Remedy {
    Remedy::manual("use the release of pg_migrator that began this migration")
}

/// Everything this program ever puts into a state directory; a file being written has a dot
/// before its name and a suffix behind it.
fn is_ours(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "lock",
        "journal.jsonl",
        "plan.json",
        "events.jsonl",
        "report.txt",
        "logs",
        "dump",
        "again",
        "adopted",
        "adopted.whole",
        "before-carry",
        "resetwal",
        "new-pg_control",
        "old-control.json",
        "old-mark.json",
        "old-manifest.sha256",
        "old-manifest-compared.json",
        "old-large-objects",
        "large-objects.json",
        "down-since.json",
        "old-snapshot.json",
        "new-snapshot.json",
        "new-catalogs.json",
        "new-identity.json",
        "fingerprint.json",
        "inventory.json",
        "everybody.json",
        "released-control.json",
        "given-up-control.json",
        "machine.json",
        "swap.json",
        "first-copies.jsonl",
        "first-copies.jsonl.new",
    ];
    let plain = name
        .strip_prefix('.')
        .and_then(|name| name.strip_suffix(".pgm_new"));
    let name = plain.unwrap_or(name);
    NAMES.contains(&name)
}

/// A directory that holds anything else is somebody's, named by mistake: nothing in it may be
/// removed.
fn refuse_strangers(area: &Area) -> Result<()> {
    let root = area.root();
    let unreadable = |e: &std::io::Error| Error::io(Code::NotReadable, "list", root, e);
    // `logs` or `dump` alone may be anybody's; the lock is the first thing that is made.
    let marks = ["lock", "journal.jsonl", "plan.json", "events.jsonl"];
    let marked = marks.iter().any(|name| root.join(name).is_file());
    for entry in std::fs::read_dir(root).map_err(|e| unreadable(&e))? {
        let name = entry.map_err(|e| unreadable(&e))?.file_name();
        if !marked || !name.to_str().is_some_and(is_ours) {
            return Err(Error::new(
                Code::StateForeign,
                "the directory given for the state of the migration holds something else",
            )
            .fact("directory", root.display())
            .fact("holds", name.to_string_lossy())
            .remedy(Remedy::manual(
                "give an absent or empty directory with --state-dir",
            )));
        }
    }
    Ok(())
}

fn clean(area: &Area, kept: &[&str]) -> Result<()> {
    let root = area.root();
    let entries =
        std::fs::read_dir(root).map_err(|e| Error::io(Code::NotReadable, "list", root, &e))?;
    for entry in entries {
        let name = entry
            .map_err(|e| Error::io(Code::NotReadable, "list", root, &e))?
            .file_name();
        if kept.iter().all(|kept| name != *kept) {
            area.remove_tree(&name)?;
        }
    }
    Ok(())
}

/// What a killed way back has found must not be removed before anybody knows.
fn nothing_untold(area: &Area) -> Result<()> {
    let untold = compared_old(area).filter(|compared| !compared.told);
    let Some(error) = untold.and_then(|compared| compared.error()) else {
        return Ok(());
    };
    let tell = read_plan(area)?.command("rollback");
    Err(error
        .fact("told by", "rollback, once; then prepare again")
        .remedy(Remedy::command(tell)))
}

fn missing(path: &Path) -> Error {
    if path.join(EVENTS_FILE).is_file() && !path.join(JOURNAL_FILE).exists() {
        return Error::new(
            Code::StateMissing,
            "the migration is over, only its events and its report are left",
        )
        .fact("state directory", path.display())
        .remedy(Remedy::manual("pg_migrator log shows what was done"));
    }
    Error::new(Code::StateMissing, "there is no migration here")
        .fact("state directory", path.display())
        .remedy(Remedy::manual(
            "give the new data directory with -D, or the state directory with --state-dir",
        ))
}

fn unfinished(path: &Path, standing: Standing) -> Error {
    Error::new(
        Code::WrongStanding,
        "a migration into this data directory is not finished",
    )
    .fact("state directory", path.display())
    .fact("standing", format!("{standing:?}"))
    .remedy(Remedy::manual(
        "see pg_migrator status; resume it or roll it back",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_somebody_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.tex"), "years of work").unwrap();
        let error = StateDir::create(dir.path()).err().unwrap();
        assert_eq!(error.code(), Code::StateForeign);
        assert!(dir.path().join("thesis.tex").exists());
    }

    #[test]
    fn folders_of_common_names_are_not_taken_for_ours() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["logs", "dump"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join("kept"), "").unwrap();
            let error = StateDir::create(dir.path()).err().unwrap();
            assert_eq!(error.code(), Code::StateForeign);
            assert!(dir.path().join(name).join("kept").exists());
        }
        // The lock says whose they are.
        for name in ["lock", "new-identity.json", "before-carry"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        drop(StateDir::create(dir.path()).unwrap());
        assert!(!dir.path().join("dump").exists());
    }

    #[test]
    fn what_a_killed_run_left_before_its_journal_is_cleaned() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        drop(StateDir::create(&state).unwrap());
        std::fs::write(state.join(".plan.json.pgm_new"), "{").unwrap();
        drop(StateDir::create(&state).unwrap());
        assert!(!state.join(".plan.json.pgm_new").exists());
    }
}
