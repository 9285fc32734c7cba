//! The place of the new cluster: absent, empty, or a fresh cluster that can be adopted.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::disk;
use crate::error::{Code, Error, Remedy};
use crate::pg::quote::shell_path;
use crate::pg::{DataDir, MajorVersion};
use crate::plan::Origin;
use crate::server::Installation;

use super::fresh;
use super::old::Old;
use super::owner::{self, Owner};
use super::path;
use super::problems::Problems;

/// How many names of what should not be there an error gives.
pub(super) const NAMED: usize = 5;
/// The record that a begun migration keeps in its state directory.
const JOURNAL: &str = "journal.jsonl";

/// What is known when the new side is looked at.
pub(super) struct Facts<'a> {
    pub(super) given: &'a Path,
    pub(super) bindir: &'a Path,
    pub(super) installation: Option<&'a Installation>,
    pub(super) state_dir: Option<&'a Path>,
    pub(super) owner: &'a Owner,
    pub(super) old: Option<&'a Old>,
    pub(super) checksums: bool,
}

/// Looks at the new data directory and at what new will need in old's tablespaces; says how it
/// was found, where it can be used.
///
/// What a migration that was begun has made of them is told in one sentence.
pub(super) fn examine(facts: &Facts<'_>, problems: &mut Problems) -> Option<Origin> {
    let dir = path::named(facts.given);
    let mut found = Problems::default();
    if let (Some(old), Some(installation)) = (facts.old, facts.installation) {
        let major = installation.version.major;
        for place in old.tablespaces.iter().filter(|place| !place.in_place) {
            let folders = leftovers(&place.location, major);
            found.extend(folders.iter().map(|folder| used(folder, major)));
        }
    }
    let origin = origin(facts, &dir, &mut found);
    if let Err(errors) = found.none() {
        match facts
            .state_dir
            .filter(|state_dir| state_dir.join(JOURNAL).exists())
        {
            // A server that is started in old might take that migration its way on.
            Some(state_dir) => problems.push(not_finished(&dir, state_dir)),
            None => problems.beside(errors),
        }
        return None;
    }
    origin
}

fn origin(facts: &Facts<'_>, dir: &Path, problems: &mut Problems) -> Option<Origin> {
    match dir.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Some(Origin::Absent),
        // Its parent is reported with the permissions.
        Err(error) if error.kind() == ErrorKind::NotADirectory => return None,
        _ => {}
    }
    let entries = match entries(dir) {
        Ok(entries) => entries,
        Err(problem) => {
            let hidden = problem.code() == Code::NotReadable;
            let stranger = owner::directory_problem("the new data directory", dir, facts.owner);
            problems.push(stranger.filter(|_| hidden).unwrap_or(problem));
            return None;
        }
    };
    problems.extend(owner::directory_problem(
        "the new data directory",
        dir,
        facts.owner,
    ));
    if entries.is_empty() {
        return Some(Origin::Empty);
    }
    if !entries.iter().any(|name| name == "PG_VERSION") {
        problems.push(foreign_contents(dir, &entries));
        return None;
    }
    match DataDir::resolve(dir) {
        Ok(cluster) => fresh::examine(&cluster, facts, problems).then_some(Origin::Adopted),
        Err(error) => {
            problems.push(
                not_fresh(
                    dir,
                    "the new data directory holds a cluster that cannot be used",
                )
                .caused_by(&error),
            );
            None
        }
    }
}

/// The error of a directory that is neither empty nor fresh; reasons are added as facts.
pub(super) fn not_fresh(dir: &Path, message: &str) -> Error {
    Error::new(Code::NewNotFresh, message)
        .fact("new data directory", dir.display())
        .remedy(Remedy::manual(
            "give another directory with -D/--new-datadir, one that is absent or empty; or, where \
             nothing in this one is needed any more, remove what is in it",
        ))
}

fn entries(dir: &Path) -> Result<Vec<String>, Error> {
    let read = || -> std::io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            // What a run that was killed has left there is ours, and goes with the next trial.
            if !disk::is_trial(&entry.path()) {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    };
    read().map_err(|error| match error.kind() {
        ErrorKind::NotADirectory => not_fresh(dir, "the new data directory is not a directory"),
        ErrorKind::NotFound => {
            not_fresh(dir, "the new data directory is a link that leads nowhere")
        }
        _ => Error::io(Code::NotReadable, "read", dir, &error)
            .fact("new data directory", dir.display())
            .remedy(Remedy::command(format!("chmod u+rwx {}", shell_path(dir)))),
    })
}

fn foreign_contents(dir: &Path, entries: &[String]) -> Error {
    let mut error = not_fresh(
        dir,
        "the new data directory is not empty and holds no cluster",
    );
    for name in entries.iter().take(NAMED) {
        error = error.fact("found", name);
    }
    if entries.len() > NAMED {
        error = error.fact("and more", entries.len() - NAMED);
    }
    if entries.iter().any(|name| name == "lost+found") {
        return error.remedy(Remedy::manual(
            "the root of a file system is no place for a data directory: give a directory below it \
             with -D/--new-datadir",
        ));
    }
    if entries.iter().any(|name| name == "postgresql.conf") {
        return error.remedy(Remedy::manual(
            "give the data directory that the new cluster is to have, not a directory with its \
             settings",
        ));
    }
    error
}

fn not_finished(dir: &Path, state_dir: &Path) -> Error {
    Error::new(
        Code::WrongStanding,
        "a migration into this data directory is not finished",
    )
    .fact("new data directory", dir.display())
    .fact("state directory", state_dir.display())
    .remedy(Remedy::command(format!(
        "pg_migrator status --state-dir {}",
        shell_path(state_dir)
    )))
}

/// Folders of new's version in the location of one of old's tablespaces.
///
/// The catalog version is part of their names and not known before initdb has run, but no two
/// clusters of one major version share a location.
fn leftovers(location: &Path, major: MajorVersion) -> Vec<PathBuf> {
    // What cannot be read has been reported with the layout of old.
    DataDir::version_folders(location, major).unwrap_or_default()
}

fn used(folder: &Path, major: MajorVersion) -> Error {
    Error::new(
        Code::NewNotFresh,
        format!("a tablespace of the old cluster already holds files of PostgreSQL {major}"),
    )
    .fact("folder", folder.display())
    .remedy(Remedy::manual(format!(
        "an earlier upgrade left it behind, or a cluster of PostgreSQL {major} uses it: make sure \
         that none does, and remove it: rm -rf {}",
        shell_path(folder)
    )))
}
