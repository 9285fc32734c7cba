//! Directories among temporary files, and what killed runs have left of them.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::area::Area;
use super::lock::Lock;
use crate::error::{Code, Error, Result};

/// How the name of each of them begins; six letters follow.
pub const PREFIX: &str = "pg_migrator-";
/// What it is made with, and keeps until it is held: whoever finds one like this, and held by
/// nobody, may be about to be quicker than who has made it.
const UNHELD: u32 = 0o500;
/// What it has from then on: one like this that nobody holds has lost who held it.
const HELD: u32 = 0o700;
/// What each of them has in it. A name and a mode are anybody's: without this it may be somebody's
/// cluster, whose name begins as ours do.
const MARK: &str = ".pg_migrator";
const WHAT_IT_IS: &[u8] =
    b"A temporary directory of pg_migrator; it removes what it has left itself.\n";
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
            .and_then(|()| mark(dir.path()))
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

/// Removes what runs have left here that were killed: directories of our name, our user and our
/// mark that were held and are not any more, unless a server still uses them.
///
/// The kernel gives a lock back with its holder and not before, so nobody's is taken who lives.
///
/// A wish: what cannot be removed is left for the next one.
pub fn sweep(parent: &Path, used: impl Fn(&Path) -> bool) {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        sweep_one(&entry.path(), &used);
    }
}

/// The same of one directory, if it is such a one.
pub fn sweep_one(path: &Path, used: impl Fn(&Path) -> bool) {
    let named = path
        .file_name()
        .is_some_and(|name| name.as_bytes().starts_with(PREFIX.as_bytes()));
    let Ok(found) = path.symlink_metadata() else {
        return;
    };
    if !named || !found.is_dir() || found.uid() != nix::unistd::geteuid().as_raw() {
        return;
    }
    match found.mode() & 0o777 {
        // It is not even tried before: whoever has made it would find it taken.
        UNHELD if found.modified().is_ok_and(is_old) => _ = std::fs::remove_dir(path),
        HELD if is_marked(path) => {
            if let Ok(_held) = Lock::on_directory(path)
                && !used(path)
            {
                let _ = remove(path);
            }
        }
        _ => {}
    }
}

/// One of a time to come was made before the clock was set back.
fn is_old(modified: SystemTime) -> bool {
    match modified.elapsed() {
        Ok(age) => age > MOMENT,
        Err(ahead) => ahead.duration() > MOMENT,
    }
}

fn mark(dir: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600);
    file.open(dir.join(MARK))?.write_all(WHAT_IT_IS)
}

fn is_marked(dir: &Path) -> bool {
    let mark = dir.join(MARK);
    mark.symlink_metadata().is_ok_and(|found| found.is_file())
        && std::fs::read(mark).is_ok_and(|text| text == WHAT_IT_IS)
}

/// The mark goes last: what is left by a kill is known as ours.
fn remove(dir: &Path) -> Result<()> {
    let area = Area::new(dir)?;
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if let Some(name) = entry.file_name().to_str().filter(|name| *name != MARK) {
            area.remove_tree(name)?;
        }
    }
    area.remove_tree("")
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
            mark(&dir).unwrap();
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
        let never_held = parent.path().join("pg_migrator-8");
        fs::create_dir(&never_held).unwrap();
        fs::set_permissions(&never_held, Permissions::from_mode(UNHELD)).unwrap();
        aged(&never_held);
        // Clusters and state directories of somebody who likes our name.
        let theirs = make("pg_migrator-old", 0o700);
        fs::remove_file(theirs.join(MARK)).unwrap();
        let almost = make("pg_migrator-new", 0o700);
        fs::write(almost.join(MARK), "another").unwrap();
        let held = Temporary::in_dir(parent.path()).unwrap();
        aged(held.path());
        fs::write(held.path().join("file"), "").unwrap();
        let link = parent.path().join("pg_migrator-5");
        std::os::unix::fs::symlink(&precious, &link).unwrap();

        sweep(parent.path(), |path| path == used);
        for gone in [&forsaken, &of_tomorrow, &young, &never_held] {
            assert!(!gone.exists(), "{}", gone.display());
        }
        for kept in [
            &used,
            &open,
            &precious,
            &made_now,
            &link,
            &theirs,
            &almost,
            held.path(),
        ] {
            assert!(kept.join("file").exists(), "{}", kept.display());
        }
    }
}
