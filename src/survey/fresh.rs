//! Whether a cluster that the user made is as initdb leaves it, and fits the old one.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::{Code, Error, Remedy};
use crate::pg::quote::shell_path;
use crate::pg::{ClusterState, ControlFile, DataDir, Oid};
use crate::server::{self, Installation, Side};

use super::new::{Facts, NAMED, not_fresh};
use super::old::{forbidden_mode, still_running};
use super::owner::open_to_others;
use super::problems::{Problems, flatten};

/// The folders of template1, template0 and postgres: these numbers are fixed since 15.
const DATABASES: [&str; 3] = ["1", "4", "5"];
/// The first OID that initdb does not use, `FirstNormalObjectId`.
const FIRST_OF_USERS: Oid = Oid(16_384);

/// Whether the cluster can be adopted; if not, why.
pub(super) fn examine(cluster: &DataDir, facts: &Facts<'_>, problems: &mut Problems) -> bool {
    let dir = &cluster.path;
    let mut found = Problems::default();
    let control = if at_rest(cluster, facts, &mut found) {
        let read = ControlFile::read(dir);
        found.keep(read.map_err(|error| error.fact("new data directory", dir.display())))
    } else {
        None
    };
    let mut reasons = strange_databases(dir);
    if cluster.wal_dir_target().is_some() {
        reasons.push("a WAL directory outside the data directory".to_owned());
    }
    reasons.extend(tablespaces(dir));
    if let Some(installation) = facts.installation {
        reasons.extend(other_version(cluster, installation));
    }
    if let Some(control) = control
        .as_ref()
        .filter(|control| control.next_oid > FIRST_OF_USERS)
    {
        reasons.push(format!(
            "objects of users: the next OID is {}",
            control.next_oid
        ));
    }
    if reasons.is_empty() {
        found.extend(flatten(cluster.layout_problems()));
        found.extend(elsewhere(cluster));
        found.extend(
            control
                .as_ref()
                .and_then(|control| not_shut_down(cluster, facts, control)),
        );
        found.extend(mismatch(cluster, facts, control.as_ref()));
        found.extend(dir.metadata().ok().and_then(|metadata| {
            open_to_others(dir, metadata.mode(), forbidden_mode(cluster.major))
        }));
    } else {
        found.push(not_as_made(dir, &reasons));
    }
    match found.none() {
        Ok(()) => true,
        Err(errors) => {
            problems.extend(errors);
            false
        }
    }
}

/// Whether no server runs in it; a private one of ours is stopped by the caller.
fn at_rest(cluster: &DataDir, facts: &Facts<'_>, found: &mut Problems) -> bool {
    let Some(server) = found.keep(server::running(cluster)) else {
        return false;
    };
    let Some(server) = server else {
        return true;
    };
    if found.keep(server::leftover(cluster)).flatten().is_none() {
        found.push(still_running(Side::New, cluster, facts.bindir, &server));
    }
    false
}

fn other_version(cluster: &DataDir, installation: &Installation) -> Option<String> {
    (cluster.major != installation.version.major).then(|| {
        format!(
            "a cluster of PostgreSQL {}; the new programs are of {}",
            cluster.major, installation.version
        )
    })
}

fn strange_databases(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir.join("base")) else {
        // A missing folder is reported with the layout.
        return Vec::new();
    };
    let names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .collect();
    let added = names
        .iter()
        .filter(|name| !DATABASES.contains(&name.as_str()));
    let mut reasons: Vec<String> = added
        .map(|name| format!("a database: base/{name}"))
        .collect();
    reasons.sort();
    let dropped = DATABASES
        .iter()
        .filter(|name| !names.iter().any(|found| found == *name));
    reasons.extend(dropped.map(|name| format!("a database was dropped: base/{name}")));
    reasons
}

fn tablespaces(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir.join("pg_tblspc")) else {
        return Vec::new();
    };
    let mut reasons: Vec<String> = entries
        .flatten()
        .map(|entry| {
            format!(
                "a tablespace: pg_tblspc/{}",
                entry.file_name().to_string_lossy()
            )
        })
        .collect();
    reasons.sort();
    reasons
}

fn not_as_made(dir: &Path, reasons: &[String]) -> Error {
    let mut error = not_fresh(
        dir,
        "the new data directory holds a cluster that is not fresh",
    );
    for reason in reasons.iter().take(NAMED) {
        error = error.fact("found", reason);
    }
    if reasons.len() > NAMED {
        error = error.fact("and more", reasons.len() - NAMED);
    }
    error
}

/// A cluster whose settings lie in a directory of their own cannot be started from its data
/// directory alone.
fn elsewhere(cluster: &DataDir) -> Option<Error> {
    (!cluster.path.join("postgresql.conf").exists()).then(|| {
        not_fresh(
            &cluster.path,
            "the fresh cluster keeps its settings in another directory",
        )
        .fact("missing", "postgresql.conf")
        .remedy(Remedy::manual(
            "let this program make the new cluster: give a directory that is absent or empty",
        ))
    })
}

fn not_shut_down(cluster: &DataDir, facts: &Facts<'_>, control: &ControlFile) -> Option<Error> {
    let pg_ctl = shell_path(&std::path::absolute(facts.bindir).ok()?.join("pg_ctl"));
    let dir = shell_path(&cluster.path);
    (control.state != ClusterState::ShutDown).then(|| {
        Error::new(
            Code::NewNotFresh,
            "the fresh cluster was not shut down cleanly",
        )
        .fact("new data directory", cluster.path.display())
        .fact("state", control.state)
        .remedy(Remedy::command(format!(
            "{pg_ctl} start -w -D {dir} && {pg_ctl} stop -D {dir}"
        )))
    })
}

/// The settings that initdb fixed otherwise than in old.
fn mismatch(cluster: &DataDir, facts: &Facts<'_>, new: Option<&ControlFile>) -> Option<Error> {
    let (old, new) = (facts.old?.control.as_ref()?, new?);
    if facts.checksums && !new.data_checksums() {
        return Some(without_checksums(cluster));
    }
    let old = match facts.checksums {
        true => &old.with_checksums(),
        false => old,
    };
    let differences = old.format_differences(new);
    if differences.is_empty() {
        return None;
    }
    let error = Error::new(
        Code::ControlMismatch,
        "the new cluster was made with other properties than the old one",
    )
    .fact("new data directory", cluster.path.display());
    let error = differences.iter().fold(error, |error, (name, old, new)| {
        error.fact(name, format!("old {old}, new {new}"))
    });
    if !old.data_checksums() && new.data_checksums() && differences.len() == 1 {
        return Some(error.remedy(Remedy::manual(
            "give --copy and --enable-checksums, which writes checksums while it copies; or let \
             this program make the new cluster without: give a directory that is absent or empty",
        )));
    }
    Some(error.remedy(Remedy::manual(
        "let this program make the new cluster with the properties of the old one: give a \
         directory that is absent or empty; a difference that remains then comes from how the \
         programs were built, and others are needed",
    )))
}

fn without_checksums(cluster: &DataDir) -> Error {
    Error::new(
        Code::ControlMismatch,
        "pages are to be given checksums, and the new cluster was made without",
    )
    .fact("new data directory", cluster.path.display())
    .remedy(Remedy::manual(
        "make it with initdb --data-checksums, or let this program make it: give a directory that \
         is absent or empty",
    ))
}
