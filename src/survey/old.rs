//! The old cluster: its directory, its control file, its tablespaces, and who serves it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

use crate::error::{Code, Error, Remedy};
use crate::pg::quote::shell_path;
use crate::pg::{ClusterState, ControlFile, DataDir, MajorVersion, PostmasterPid};
use crate::plan::TablespacePlace;
use crate::server::{self, Installation, Running, Side};

use super::Request;
use super::owner::{self, Owner};
use super::path;
use super::problems::{Problems, flatten};

/// What is known of the old cluster, as far as it could be read.
pub(super) struct Old {
    pub(super) dir: DataDir,
    pub(super) control: Option<ControlFile>,
    pub(super) tablespaces: Vec<TablespacePlace>,
    pub(super) wal_dir: Option<PathBuf>,
    /// Whether folders and links are all where they must be.
    pub(super) sound: bool,
    /// A private server that a killed run has left behind.
    pub(super) leftover: Option<PostmasterPid>,
    /// The operator's server.
    pub(super) serving: Option<Running>,
}

/// Looks at the old cluster; nothing is returned only where there is no data directory.
pub(super) fn examine(
    request: &Request,
    owner: &Owner,
    installation: Option<&Installation>,
    problems: &mut Problems,
) -> Option<Old> {
    let dir = match DataDir::resolve(&request.old_datadir) {
        Ok(dir) => dir,
        Err(error) => {
            problems.push(unresolved(error, &request.old_datadir, owner));
            return None;
        }
    };
    let bindir = installation.map_or(&request.old_bindir, |installation| &installation.bindir);
    let mut at_rest = owner::cluster_problems(&dir.path, owner, forbidden_mode(dir.major));
    let folders = dir.folder_problems();
    let broken = flatten(dir.tablespace_problems());
    let sound = folders.is_empty() && broken.is_empty();
    at_rest.extend(folders);
    let tablespaces = tablespaces(&dir, owner, problems);
    problems.beside(broken);
    let read = ControlFile::read(&dir.path);
    let control =
        problems.keep(read.map_err(|error| error.fact("data directory", dir.path.display())));
    if let Some(control) = &control {
        problems.extend(foreign_control(&dir, control));
    }
    let user = request.username.as_deref().unwrap_or(&owner.name);
    let seen = Seen {
        dir: &dir,
        bindir,
        installation,
        control: control.as_ref(),
        user,
    };
    let (leftover, serving) = server_in(&seen, problems);
    // Whatever keeps a server from being started, one that runs has been.
    match serving {
        Some(_) => problems.beside(at_rest),
        None => problems.extend(at_rest),
    }
    let wal_dir = dir
        .wal_dir_target()
        .filter(|target| !target.starts_with(&dir.path));
    Some(Old {
        dir,
        control,
        tablespaces,
        wal_dir,
        sound,
        leftover,
        serving,
    })
}

/// What a directory of somebody else hides is not the problem: its owner is.
fn unresolved(error: Error, given: &Path, owner: &Owner) -> Error {
    let found = given.metadata().map(|found| Uid::from_raw(found.uid()));
    match found {
        Ok(uid) if error.code() == Code::NotReadable => {
            owner::cluster_owner_problem(given, uid, owner.us()).unwrap_or(error)
        }
        _ => error,
    }
}

/// The permissions with which a server of this version refuses to start.
pub(super) fn forbidden_mode(major: MajorVersion) -> u32 {
    // Since 11 the group may read.
    if major >= MajorVersion(11) {
        0o027
    } else {
        0o077
    }
}

/// The tablespaces that are there; the others have been told with the layout.
fn tablespaces(dir: &DataDir, owner: &Owner, problems: &mut Problems) -> Vec<TablespacePlace> {
    let links = dir.tablespaces_there().unwrap_or_default();
    for link in &links {
        let what = format!("the location of tablespace {}", link.oid);
        problems.beside(owner::directory_problem(&what, &link.target, owner));
    }
    links
        .into_iter()
        .map(|link| TablespacePlace {
            oid: link.oid,
            location: link.target,
            in_place: link.in_place,
        })
        .collect()
}

/// The control file of another version than `PG_VERSION` says.
fn foreign_control(dir: &DataDir, control: &ControlFile) -> Option<Error> {
    let expected = match dir.major.0 {
        10 => 1002,
        11 => 1100,
        12 => 1201,
        13..=16 => 1300,
        17 => 1700,
        18 => 1800,
        _ => return None,
    };
    (control.control_version != expected).then(|| {
        Error::new(
            Code::ControlFile,
            format!("pg_control was not written by PostgreSQL {}", dir.major),
        )
        .fact("control file", dir.control_path().display())
        .fact("its version", control.control_version)
        .fact(&format!("that of PostgreSQL {}", dir.major), expected)
        .remedy(Remedy::manual(
            "files of two clusters have been mixed: bring the whole data directory back from a \
             backup",
        ))
    })
}

/// What decides whether a server may be there.
struct Seen<'a> {
    dir: &'a DataDir,
    bindir: &'a Path,
    installation: Option<&'a Installation>,
    control: Option<&'a ControlFile>,
    user: &'a str,
}

/// The server that is at work there: one of ours, which the caller stops, or the operator's.
/// Where there is none, the cluster must have been shut down.
fn server_in(seen: &Seen<'_>, problems: &mut Problems) -> (Option<PostmasterPid>, Option<Running>) {
    let Seen { dir, bindir, .. } = *seen;
    let Some(server) = problems.keep(server::running(dir)) else {
        return (None, None);
    };
    let Some(server) = server else {
        problems.extend(
            seen.control
                .and_then(|control| not_shut_down(dir, bindir, control)),
        );
        return (None, None);
    };
    match problems.keep(server::leftover(dir)) {
        Some(Some(_)) => return (Some(server), None),
        Some(None) => {}
        None => return (None, None),
    }
    if server.standalone() {
        problems.push(still_running(Side::Old, dir, bindir, &server));
        return (None, None);
    }
    let find = |installation| Running::find(dir, installation, seen.user);
    let serving = seen
        .installation
        .and_then(|installation| problems.keep(find(installation)).flatten());
    (None, serving)
}

/// A server where none may be, and how to stop it.
pub(super) fn still_running(
    side: Side,
    dir: &DataDir,
    bindir: &Path,
    server: &PostmasterPid,
) -> Error {
    let code = match side {
        Side::Old => Code::OldServerRunning,
        Side::New => Code::NewServerRunning,
    };
    let path = &dir.path;
    if server.standalone() {
        return Error::new(
            code,
            format!(
                "a standalone backend (postgres --single) is at work in the {side} data directory"
            ),
        )
        .fact("data directory", path.display())
        .fact("process", server.process())
        .remedy(Remedy::manual("end that session"));
    }
    let message = match side {
        Side::Old => "the old server is still running",
        Side::New => "a server is running in the new data directory",
    };
    Error::new(code, message)
        .fact("data directory", path.display())
        .fact("process", server.pid)
        .fact("port", server.port)
        .remedy(Remedy::command(format!(
            "{} stop -D {}",
            shell_path(&program(bindir, "pg_ctl")),
            shell_path(path)
        )))
}

/// The problem of an old cluster that did not end with a shutdown checkpoint as a primary.
///
/// No server may be running in it when its control file is read.
pub fn not_shut_down(dir: &DataDir, bindir: &Path, control: &ControlFile) -> Option<Error> {
    let pg_ctl = shell_path(&program(bindir, "pg_ctl"));
    let (config, data) = (shell_path(&dir.config_dir), shell_path(&dir.path));
    let (message, remedy) = match control.state {
        ClusterState::ShutDown => return None,
        ClusterState::ShutDownInRecovery => (
            "the old cluster is a standby",
            Remedy::manual(format!(
                "upgrade the primary instead; or, where this shall become one, start it, promote \
                 it and stop it: {pg_ctl} start -w -D {config} && {pg_ctl} promote -w -D {data} \
                 && {pg_ctl} stop -D {data}"
            )),
        ),
        _ => (
            "the old cluster was not shut down cleanly",
            Remedy::command(format!(
                "{pg_ctl} start -w -D {config} && {pg_ctl} stop -D {data}"
            )),
        ),
    };
    Some(
        Error::new(Code::NotShutDown, message)
            .fact("data directory", dir.path.display())
            .fact("state", control.state)
            .remedy(remedy),
    )
}

fn program(bindir: &Path, name: &str) -> PathBuf {
    path::named(bindir).join(name)
}
