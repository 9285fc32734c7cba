//! File systems of a test's own, where root can mount one.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{SERVER_USER, demand_passed, run_again, say, show_told};

const MOUNTED: &str = "PGM_TEST_MOUNTED";
const ELSEWHERE: &str = "PGM_TEST_ELSEWHERE";

/// What is mounted, until the value goes.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        if !run("umount", &[&self.0]) {
            run("umount", &[Path::new("-l"), &self.0]);
        }
    }
}

fn run(program: &str, words: &[&Path]) -> bool {
    let output = Command::new(program).args(words).output();
    let output = output.unwrap_or_else(|e| panic!("{program}: {e}"));
    output.status.success()
}

/// Runs the body of a test as a user who may run servers, with all temporary files on a file
/// system of this kind (`btrfs`, `xfs`, `overlay`).
///
/// `test` is the name of the test as the harness knows it. Only root can mount such a one.
pub fn on_file_system(kind: &str, test: &str, body: impl FnOnce()) {
    on_file_system_in(&std::env::temp_dir(), kind, test, body);
}

/// The same, and the disk itself lies in memory where that is possible: for trials of the order
/// of acts, which no disk makes better.
pub fn on_file_system_in_memory(kind: &str, test: &str, body: impl FnOnce()) {
    on_file_system_in(&memory(), kind, test, body);
}

/// Runs the body of a test as a user who may run servers, with temporary files in memory where
/// that is possible.
pub fn in_memory(test: &str, body: impl FnOnce()) {
    const MOVED: &str = "PGM_TEST_IN_MEMORY";
    if std::env::var_os(MOVED).is_some() {
        return body();
    }
    let user: &[&str] = match nix::unistd::geteuid().is_root() {
        true => &[
            "--reuid",
            SERVER_USER,
            "--regid",
            SERVER_USER,
            "--clear-groups",
        ],
        false => &["--pdeathsig", "KILL"],
    };
    let (memory, shelf) = (memory(), std::env::temp_dir());
    let environment = [
        (MOVED, "1"),
        ("TMPDIR", memory.to_str().unwrap()),
        // What is kept is not kept in memory.
        (super::SHELF, shelf.to_str().unwrap()),
    ];
    let output = run_again(test, user, &environment);
    demand_passed(test, &output);
    show_told(&output);
}

/// A directory in memory with room for some clusters, or that for temporary files.
fn memory() -> PathBuf {
    const ROOM: u64 = 2 << 30;
    let memory = PathBuf::from("/dev/shm");
    let room = nix::sys::statvfs::statvfs(&memory)
        .map_or(0, |found| found.blocks_available() * found.fragment_size());
    match room > ROOM {
        true => memory,
        false => std::env::temp_dir(),
    }
}

fn on_file_system_in(disk: &Path, kind: &str, test: &str, body: impl FnOnce()) {
    if std::env::var_os(MOUNTED).is_some_and(|mounted| mounted == kind) {
        return body();
    }
    let skipped = "SKIPPED: no file system can be mounted here by a user";
    if !nix::unistd::geteuid().is_root() {
        return say(skipped);
    }
    let place = tempfile::Builder::new()
        .prefix("pgm-mount-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir_in(disk)
        .unwrap();
    let dir = |name: &str| {
        let dir = place.path().join(name);
        fs::create_dir(&dir).unwrap();
        dir
    };
    let (mounted, elsewhere) = (dir("t"), dir("elsewhere"));
    let possible = match kind {
        "overlay" => mount_overlay([dir("lower"), dir("upper"), dir("work")], &mounted),
        _ => mount_image(&place.path().join("image"), kind, &mounted),
    };
    if !possible {
        return say(skipped);
    }
    let guard = Mounted(mounted.clone());
    fs::set_permissions(&mounted, Permissions::from_mode(0o1777)).unwrap();
    let user = nix::unistd::User::from_name(SERVER_USER).unwrap().unwrap();
    chown(&elsewhere, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    let output = run_again(
        test,
        &[
            "--reuid",
            SERVER_USER,
            "--regid",
            SERVER_USER,
            "--clear-groups",
        ],
        &[
            (MOUNTED, kind),
            (ELSEWHERE, elsewhere.to_str().unwrap()),
            ("TMPDIR", mounted.to_str().unwrap()),
        ],
    );
    drop(guard);
    demand_passed(test, &output);
    show_told(&output);
}

fn mount_image(image: &Path, kind: &str, to: &Path) -> bool {
    let file = fs::File::create(image).unwrap();
    file.set_len(4 << 30).unwrap();
    let made = run(&format!("mkfs.{kind}"), &[Path::new("-q"), image]);
    assert!(made, "mkfs.{kind}");
    run("mount", &[Path::new("-o"), Path::new("loop"), image, to])
}

fn mount_overlay(parts: [PathBuf; 3], to: &Path) -> bool {
    let [lower, upper, work] = parts.map(|path| path.display().to_string());
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let words = ["-t", "overlay", "overlay", "-o", &options].map(Path::new);
    run("mount", &[&words[..], &[to]].concat())
}

/// A directory on another file system than this one, in memory or among temporary files.
pub fn apart_from(here: &Path) -> tempfile::TempDir {
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev());
    let here = device(here).unwrap();
    let places = ["/dev/shm", "/run/shm", "/tmp", "/var/tmp"].map(Path::new);
    places
        .into_iter()
        .filter(|path| device(path).is_ok_and(|device| device != here))
        .find_map(|path| tempfile::tempdir_in(path).ok())
        .expect("there is a second file system")
}

/// A directory on another file system than the temporary files, within [`on_file_system`].
pub fn elsewhere() -> PathBuf {
    PathBuf::from(std::env::var_os(ELSEWHERE).unwrap())
}
