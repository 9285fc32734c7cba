//! The folders, links and files a data directory must or must not have.

use std::io::ErrorKind;
use std::path::PathBuf;

use super::{DataDir, TablespaceLink, unreadable};
use crate::error::{Code, Error, Remedy, Result};
use crate::pg::quote::shell_path;
use crate::pg::{MajorVersion, Oid};

/// The folders every server from 10 to 18 demands, at its start or as soon as it needs them.
///
/// Those a server makes anew itself are left out: `pg_wal/archive_status`, `pg_wal/summaries`
/// and, because many keep it in memory, `pg_stat_tmp`. Starts from `check_data_dir` of
/// `src/bin/pg_upgrade/exec.c`, which demands only a part.
const REQUIRED: &[(&str, Holds)] = &[
    ("base", Holds::Data),
    ("global", Holds::Data),
    ("pg_commit_ts", Holds::Data),
    ("pg_dynshmem", Holds::Nothing),
    ("pg_logical", Holds::Data),
    ("pg_logical/mappings", Holds::Nothing),
    ("pg_logical/snapshots", Holds::Nothing),
    ("pg_multixact", Holds::Data),
    ("pg_multixact/members", Holds::Data),
    ("pg_multixact/offsets", Holds::Data),
    ("pg_notify", Holds::Nothing),
    ("pg_replslot", Holds::Data),
    ("pg_serial", Holds::Nothing),
    ("pg_snapshots", Holds::Nothing),
    ("pg_stat", Holds::Nothing),
    ("pg_subtrans", Holds::Nothing),
    ("pg_tblspc", Holds::Data),
    ("pg_twophase", Holds::Data),
    ("pg_wal", Holds::Data),
    ("pg_xact", Holds::Data),
];

/// Whether a folder holds anything that is missed after a clean shutdown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Data,
    Nothing,
}

pub(super) fn folder_problems(dir: &DataDir) -> Vec<Error> {
    let missing = REQUIRED
        .iter()
        .filter_map(|(name, holds)| missing_folder(dir, name, *holds));
    let stray = stray_files(dir.major).filter_map(|stray| stray.found(dir));
    missing.chain(stray).collect()
}

pub(super) fn tablespace_problems(dir: &DataDir) -> Result<Vec<Error>> {
    // A missing pg_tblspc has been reported as a missing folder.
    if !dir.path.join("pg_tblspc").is_dir() {
        return Ok(Vec::new());
    }
    let entries = tablespace_entries(dir)?;
    let problems = entries
        .iter()
        .filter_map(|entry| tablespace_problem(dir, entry));
    Ok(problems.collect())
}

fn layout_error(dir: &DataDir, message: String) -> Error {
    Error::new(Code::DataDirectoryLayout, message).fact("data directory", dir.path.display())
}

fn missing_folder(dir: &DataDir, name: &str, holds: Holds) -> Option<Error> {
    let path = dir.path.join(name);
    // Where its parent is missing too, that is the problem to report.
    if name.contains('/') && path.parent().is_some_and(|parent| !parent.is_dir()) {
        return None;
    }
    let restore = || {
        Remedy::manual(format!(
            "Bring {} back from a backup; a data directory must be copied with all its folders.",
            shell_path(&path)
        ))
    };
    let make = || Remedy::command(format!("mkdir -m 0700 {}", shell_path(&path)));
    let error = match path.metadata() {
        Ok(metadata) if metadata.is_dir() => return None,
        Ok(_) => layout_error(dir, format!("{name} is not a directory")).remedy(restore()),
        Err(e) if e.kind() == ErrorKind::NotFound => match path.read_link() {
            Ok(target) => layout_error(dir, format!("{name} is a link that leads nowhere"))
                .fact("link target", target.display())
                .remedy(Remedy::manual(
                    "Mount the file system the link leads to, or mend the link.",
                )),
            Err(_) => layout_error(dir, format!("the folder {name} is missing")).remedy(
                if holds == Holds::Nothing {
                    make()
                } else {
                    restore()
                },
            ),
        },
        Err(e) => unreadable("open", &path, &e).fact("data directory", dir.path.display()),
    };
    Some(error)
}

/// An entry of `pg_tblspc` that is named like a tablespace.
pub(super) struct TablespaceEntry {
    oid: Oid,
    path: PathBuf,
    is_link: bool,
}

/// Other names are ignored, as the server ignores them.
pub(super) fn tablespace_entries(dir: &DataDir) -> Result<Vec<TablespaceEntry>> {
    let folder = dir.path.join("pg_tblspc");
    let fail = |e| unreadable("read", &folder, &e);
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name();
        let Some(oid) = name.to_str().and_then(tablespace_oid) else {
            continue;
        };
        let is_link = entry.file_type().map_err(fail)?.is_symlink();
        entries.push(TablespaceEntry {
            oid,
            path: entry.path(),
            is_link,
        });
    }
    entries.sort_by_key(|entry| entry.oid);
    Ok(entries)
}

fn tablespace_oid(name: &str) -> Option<Oid> {
    let digits = name.bytes().all(|b| b.is_ascii_digit()) && !name.starts_with('0');
    digits.then(|| name.parse().ok()).flatten()
}

impl TablespaceEntry {
    /// Where it leads.
    pub(super) fn follow(&self) -> Result<TablespaceLink> {
        let broken = |reason: String| {
            Error::new(
                Code::DataDirectoryLayout,
                format!("the link of tablespace {} {reason}", self.oid),
            )
            .fact("link", self.path.display())
        };
        let target = self.path.canonicalize().map_err(|e| match e.kind() {
            ErrorKind::NotFound => {
                let error = broken("leads nowhere".into());
                let error = match self.path.read_link() {
                    Ok(target) => error.fact("link target", target.display()),
                    Err(_) => error,
                };
                error.remedy(Remedy::manual(
                    "Mount the file system the link leads to, or mend the link.",
                ))
            }
            _ => broken("cannot be followed".into())
                .caused_by(&e)
                .remedy(Remedy::manual(
                    "Let the owner of the data directory search every directory on the way to the link's target.",
                )),
        })?;
        if !target.is_dir() {
            return Err(broken("does not lead to a directory".into())
                .fact("link target", target.display())
                .remedy(Remedy::manual("Mend the link.")));
        }
        Ok(TablespaceLink {
            oid: self.oid,
            target,
            in_place: !self.is_link,
        })
    }
}

fn tablespace_problem(dir: &DataDir, entry: &TablespaceEntry) -> Option<Error> {
    let link = match entry.follow() {
        Ok(link) => link,
        Err(error) => return Some(error.fact("data directory", dir.path.display())),
    };
    let present = match DataDir::version_folders(&link.target, dir.major) {
        Ok(folders) => !folders.is_empty(),
        Err(e) => {
            let error = unreadable("read", &link.target, &e).fact("tablespace", entry.oid);
            return Some(error.fact("data directory", dir.path.display()));
        }
    };
    (!present).then(|| {
        layout_error(
            dir,
            format!(
                "the location of tablespace {} has no folder of PostgreSQL {}",
                entry.oid, dir.major
            ),
        )
        .fact("location", link.target.display())
        .fact("missing", format!("PG_{}_*", dir.major))
        .remedy(Remedy::manual(
            "Mount the file system that holds the tablespace, or mend the link.",
        ))
    })
}

/// A file whose presence means that the directory is not that of an ordinary primary.
struct Stray {
    name: &'static str,
    meaning: &'static str,
    remedy: fn(&DataDir) -> Remedy,
}

fn stray_files(major: MajorVersion) -> impl Iterator<Item = Stray> {
    let signals = MajorVersion(12);
    let recovery_conf = if major < signals {
        Stray {
            name: "recovery.conf",
            meaning: "the directory is a standby or in the middle of a recovery",
            remedy: promote,
        }
    } else {
        Stray {
            name: "recovery.conf",
            meaning: "servers of this version refuse to start while this file of older versions is there",
            remedy: remove_recovery_conf,
        }
    };
    let standby = Stray {
        name: "standby.signal",
        meaning: "the directory is a standby",
        remedy: promote,
    };
    let recovery = Stray {
        name: "recovery.signal",
        meaning: "the directory is in the middle of a recovery",
        remedy: promote,
    };
    let label = Stray {
        name: "backup_label",
        meaning: "the directory is a base backup, or one was being taken when the server ended",
        remedy: finish_backup,
    };
    let map = Stray {
        name: "tablespace_map",
        meaning: "the directory is a base backup that has not been started yet",
        remedy: finish_backup,
    };
    [standby, recovery, recovery_conf, label, map]
        .into_iter()
        .filter(move |stray| major >= signals || !stray.name.ends_with(".signal"))
}

impl Stray {
    fn found(&self, dir: &DataDir) -> Option<Error> {
        let path = dir.path.join(self.name);
        match path.symlink_metadata() {
            Ok(_) => Some(
                layout_error(dir, format!("{} is present: {}", self.name, self.meaning))
                    .fact("file", path.display())
                    .remedy((self.remedy)(dir)),
            ),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => Some(unreadable("open", &path, &e)),
        }
    }
}

fn promote(dir: &DataDir) -> Remedy {
    let path = shell_path(&dir.path);
    Remedy::manual(format!(
        "Upgrade the primary instead; or, where this shall become one, start it and promote it: pg_ctl start -w -D {path} && pg_ctl promote -w -D {path}"
    ))
}

fn remove_recovery_conf(dir: &DataDir) -> Remedy {
    Remedy::command(format!(
        "mv {path} {path}.unused",
        path = shell_path(&dir.path.join("recovery.conf"))
    ))
}

fn finish_backup(dir: &DataDir) -> Remedy {
    Remedy::manual(format!(
        "Start the server with its own programs, let it finish its recovery and every base backup, and stop it again: pg_ctl start -w -D {path} && pg_ctl stop -D {path}",
        path = shell_path(&dir.path)
    ))
}
