//! Servers that are running where we did not expect one, ours or not.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::command::Pauses;
use super::spec::CLUSTER_NAME;
use crate::disk;
use crate::error::{Code, Error, Remedy, Result};
use crate::pg::datadir::DataDir;
use crate::pg::postmaster::{PostmasterOpts, PostmasterPid};

/// The server that is alive in a data directory, whoever started it.
///
/// A `postmaster.pid` with our own process number is no server, but what keeps servers away
/// during a cutover.
pub fn running(datadir: &DataDir) -> Result<Option<PostmasterPid>> {
    let ourselves = i32::try_from(std::process::id()).ok();
    let file = datadir.postmaster_pid()?;
    Ok(file
        .filter(|file| Some(file.process()) != ourselves && alive(file.process(), &datadir.path)))
}

/// The process of a private server that a killed run has left behind and that still lives.
pub fn leftover(datadir: &DataDir) -> Result<Option<i32>> {
    let Some(file) = running(datadir)?.filter(|file| !file.standalone()) else {
        return Ok(None);
    };
    // Written anew by every server that starts.
    Ok(datadir.postmaster_opts()?.filter(ours).map(|_| file.pid))
}

/// How long a private server that was left behind may take to stop.
pub const LEFTOVER_LIMIT: Duration = Duration::from_secs(600);

/// Stops what [`leftover`] finds, in fast mode, and removes the directory of its socket.
///
/// Nothing happens to a server that is not ours, and none is needed: where the kernel has
/// stopped it already, only the directory goes.
///
/// # Errors
///
/// `ServerStop` if it takes longer than the limit; it is never killed.
pub fn stop_leftover(datadir: &DataDir, timeout: Duration) -> Result<()> {
    if let Some(pid) = leftover(datadir)? {
        // Gone between the two looks is as good.
        let _ = kill(Pid::from_raw(pid), Signal::SIGINT);
        let asked = Instant::now();
        let mut pauses = Pauses::new();
        while alive(pid, &datadir.path) {
            if asked.elapsed() > timeout {
                return Err(still_there(datadir, pid, timeout));
            }
            pauses.pause();
        }
    }
    if running(datadir)?.is_some() {
        return Ok(());
    }
    if let Some(opts) = datadir.postmaster_opts()?.filter(ours)
        && let Some(directory) = opts.setting("unix_socket_directories")
    {
        disk::sweep_one(Path::new(directory.trim_matches('"')), |_| false);
    }
    Ok(())
}

/// Whether the last server that started there was a private one of ours, or none ever did.
pub fn last_start_was_ours(datadir: &DataDir) -> Result<bool> {
    Ok(datadir.postmaster_opts()?.is_none_or(|opts| ours(&opts)))
}

pub(super) fn ours(opts: &PostmasterOpts) -> bool {
    opts.setting("cluster_name") == Some(CLUSTER_NAME)
}

/// Whether the process lives and works in this data directory.
///
/// Every server makes its data directory its working directory, which tells it from a process
/// that was given the same number later. A zombie has none, and is dead. Where the system does
/// not say, a process with that number is taken for the server: refusing is the safe side.
pub(super) fn alive(pid: i32, datadir: &Path) -> bool {
    if kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
        return false;
    }
    working_directory_fits(pid, datadir)
}

#[cfg(target_os = "linux")]
fn working_directory_fits(pid: i32, datadir: &Path) -> bool {
    match identity(Path::new(&format!("/proc/{pid}/cwd"))) {
        Ok(directory) => identity(datadir).is_ok_and(|datadir| datadir == directory),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

#[cfg(not(target_os = "linux"))]
fn working_directory_fits(_pid: i32, _datadir: &Path) -> bool {
    true
}

/// By this, not by name: a data directory may be named by a symbolic link or a bind mount.
#[cfg(target_os = "linux")]
fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    path.metadata().map(|found| (found.dev(), found.ino()))
}

/// How many processes of a server an error names.
const NAMED: usize = 8;

/// Adds to an error what works in a data directory besides its server: a server that does not stop
/// waits for one of these.
pub fn name_those_at_work(error: Error, server: i32, datadir: &Path) -> Error {
    let others = at_work(datadir)
        .into_iter()
        .filter(|(pid, _)| *pid != server);
    others.take(NAMED).fold(error, |error, (pid, title)| {
        error.fact("still there", format!("process {pid}, {title}"))
    })
}

/// Processes of a server that is dead itself and at work in a data directory all the same: as
/// long as one is, no other server starts there. They end by themselves, each when it looks up.
pub fn orphans(datadir: &Path) -> Vec<String> {
    at_work(datadir)
        .into_iter()
        .filter(|(_, title)| title.starts_with("postgres: "))
        .map(|(pid, title)| format!("process {pid}, {title},"))
        .collect()
}

#[cfg(target_os = "linux")]
fn at_work(datadir: &Path) -> Vec<(i32, String)> {
    let (Ok(all), Ok(wanted)) = (std::fs::read_dir("/proc"), identity(datadir)) else {
        return Vec::new();
    };
    let mut found: Vec<(i32, String)> = all
        .flatten()
        .filter(|process| identity(&process.path().join("cwd")).is_ok_and(|it| it == wanted))
        .filter_map(|process| {
            let pid = process.file_name().to_str()?.parse().ok()?;
            let title = std::fs::read(process.path().join("cmdline")).ok()?;
            let title = String::from_utf8_lossy(&title).replace('\0', " ");
            Some((pid, title.trim().to_owned()))
        })
        .collect();
    found.sort();
    found
}

#[cfg(not(target_os = "linux"))]
fn at_work(_datadir: &Path) -> Vec<(i32, String)> {
    Vec::new()
}

fn still_there(datadir: &DataDir, pid: i32, timeout: Duration) -> Error {
    Error::new(
        Code::ServerStop,
        format!(
            "the private server that an earlier run left behind did not stop within {} s",
            timeout.as_secs()
        ),
    )
    .fact("data directory", datadir.path.display())
    .fact("process", pid)
    .remedy(Remedy::command(format!("kill -INT {pid}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::MajorVersion;

    fn datadir(pid: &str) -> (tempfile::TempDir, DataDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        std::fs::write(
            path.join("postmaster.pid"),
            format!("{pid}\n{}\n", path.display()),
        )
        .unwrap();
        let datadir = DataDir {
            config_dir: path.clone(),
            path,
            major: MajorVersion(15),
        };
        (dir, datadir)
    }

    #[test]
    fn a_number_that_belongs_to_another_process_now_is_no_server() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .current_dir("/")
            .spawn()
            .unwrap();
        let (_dir, datadir) = datadir(&child.id().to_string());
        let found = running(&datadir).unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found, !cfg!(target_os = "linux"));
    }

    #[test]
    fn a_process_that_works_in_the_directory_is_a_server_but_not_ours() {
        let (_dir, datadir) = datadir("1");
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .current_dir(&datadir.path)
            .spawn()
            .unwrap();
        let text = format!("{}\n{}\n", child.id(), datadir.path.display());
        std::fs::write(datadir.path.join("postmaster.pid"), text).unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert_eq!(running(&datadir).unwrap().map(|file| file.pid), Some(pid));
        assert_eq!(leftover(&datadir).unwrap(), None);
        let opts = "/bin/postgres \"-D\" \"/x\" \"-c\" \"cluster_name=pg_migrator\"\n";
        std::fs::write(datadir.path.join("postmaster.opts"), opts).unwrap();
        assert_eq!(leftover(&datadir).unwrap(), Some(pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(leftover(&datadir).unwrap(), None);
    }
    #[test]
    fn a_server_is_found_by_any_name_of_its_directory() {
        let place = tempfile::tempdir().unwrap();
        let (real, alias) = (place.path().join("real"), place.path().join("alias"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &alias).unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .current_dir(&real)
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let found = [&real, &alias].map(|name| alive(pid, name));
        let elsewhere = alive(pid, place.path());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found, [true, true]);
        assert_eq!(elsewhere, !cfg!(target_os = "linux"));
    }

    #[test]
    fn the_last_start_is_known_by_what_the_server_wrote_down() {
        let (_dir, datadir) = datadir("1");
        let opts = datadir.path.join("postmaster.opts");
        assert!(last_start_was_ours(&datadir).unwrap());
        std::fs::write(&opts, "/bin/postgres \"-D\" \"/x\"\n").unwrap();
        assert!(!last_start_was_ours(&datadir).unwrap());
        let ours = "/bin/postgres \"-D\" \"/x\" \"-c\" \"cluster_name=pg_migrator\"\n";
        std::fs::write(&opts, ours).unwrap();
        assert!(last_start_was_ours(&datadir).unwrap());
    }
}
