//! Directories among temporary files, and what killed runs have left of them.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::area::Area;
use super::lock::Lock;
use crate::error::{Code, Error, Result};

/// How each of them begins.
const PREFIX: &str = "pg_migrator-";
/// What it is made with, and keeps until it is held: whoever finds one like this, and held by
/// nobody, may be about to be quicker than who has made it.
const UNHELD: u32 = 0o500;
/// What it has from then on: one like this that nobody holds has lost who held it.
const HELD: u32 = 0o700;
/// Whoever makes one holds it a moment later; what was never held after this is nobody's.
const MOMENT: Duration = Duration::from_secs(60);

/// A directory for its owner alone, which goes with this value and is held as long.
#[derive(Debug)]
pub struct Temporary {
    dir: TempDir,
    _held: Lock,
}

impl Temporary {
    /// Makes one in this directory.
    pub fn in_dir(parent: &Path) -> Result<Self> {
        let unmade = |error: &std::io::Error| {
            Error::io(Code::NotWritable, "make a directory in", parent, error)
        };
        let dir = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(UNHELD))
            .tempdir_in(parent)
            .map_err(|error| unmade(&error))?;
        let held = Lock::on_directory(dir.path())?;
        std::fs::set_permissions(dir.path(), Permissions::from_mode(HELD))
            .map_err(|error| unmade(&error))?;
        Ok(Self { dir, _held: held })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// A new directory among temporary files.
pub fn temporary() -> Result<Temporary> {
    Temporary::in_dir(&std::env::temp_dir())
}

/// Removes what runs have left here that were killed: directories of our name and our user that
/// were held and are not any more, unless a server still uses them.
///
/// The kernel gives a lock back with its holder and not before, so nobody's is taken who lives.
///
/// A wish: what cannot be removed is left for the next one.
pub fn sweep(parent: &Path, used: impl Fn(&Path) -> bool) {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if !is_forsaken(&path, &entry.file_name()) {
            continue;
        }
        if let Ok(_held) = Lock::on_directory(&path)
            && !used(&path)
        {
            let _ = Area::new(&path).and_then(|area| area.remove_tree(""));
        }
    }
}

/// Whether it is one of ours that is forsaken unless somebody holds it. One that was not yet held is
/// not even tried: whoever has made it would find it taken.
fn is_forsaken(path: &Path, name: &OsStr) -> bool {
    // One of a time to come was made before the clock was set back.
    let old = |modified: SystemTime| match modified.elapsed() {
        Ok(age) => age > MOMENT,
        Err(ahead) => ahead.duration() > MOMENT,
    };
    name.as_bytes().starts_with(PREFIX.as_bytes())
        && path.symlink_metadata().is_ok_and(|found| {
            found.is_dir()
                && found.uid() == nix::unistd::geteuid().as_raw()
                && found.mode() & 0o077 == 0
                && (found.mode() & 0o777 != UNHELD || found.modified().is_ok_and(old))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File, FileTimes};

    const HOUR: Duration = Duration::from_secs(3600);

    fn aged(path: &Path) {
        dated(path, SystemTime::now() - HOUR);
    }

    fn dated(path: &Path, modified: SystemTime) {
        let times = FileTimes::new().set_modified(modified);
        File::open(path).unwrap().set_times(times).unwrap();
    }

    #[test]
    fn only_what_nobody_holds_or_uses_is_swept() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str, mode: u32| {
            let dir = parent.path().join(name);
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("file"), "").unwrap();
            fs::set_permissions(&dir, Permissions::from_mode(mode)).unwrap();
            aged(&dir);
            dir
        };
        let forsaken = make("pg_migrator-1", 0o700);
        let of_tomorrow = make("pg_migrator-6", 0o700);
        dated(&of_tomorrow, SystemTime::now() + HOUR);
        let used = make("pg_migrator-2", 0o700);
        let open = make("pg_migrator-3", 0o755);
        let precious = make("precious", 0o700);
        let young = make("pg_migrator-4", 0o700);
        fs::write(young.join("another"), "").unwrap();
        let made_now = make("pg_migrator-7", UNHELD);
        dated(&made_now, SystemTime::now());
        let never_held = make("pg_migrator-8", UNHELD);
        let held = Temporary::in_dir(parent.path()).unwrap();
        aged(held.path());
        fs::write(held.path().join("file"), "").unwrap();
        let link = parent.path().join("pg_migrator-5");
        std::os::unix::fs::symlink(&precious, &link).unwrap();

        sweep(parent.path(), |path| path == used);
        for gone in [&forsaken, &of_tomorrow, &young, &never_held] {
            assert!(!gone.exists(), "{}", gone.display());
        }
        for kept in [&used, &open, &precious, &made_now, &link, held.path()] {
            assert!(kept.join("file").exists(), "{}", kept.display());
        }
    }
}
