//! What is on disk, so that before and after can be compared.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use pg_migrator::pg::RelFile;
use sha2::{Digest, Sha256};

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its type and what it holds: bytes of a file, target of a link.
    pub what: String,
    /// Its permissions.
    pub mode: u32,
    /// Its number in the file system; of files only, a directory may be made anew.
    pub inode: u64,
    /// How many names it has; of files only.
    pub links: u64,
}

/// Entries by path.
pub type Tree = BTreeMap<PathBuf, Entry>;

/// Everything below a directory, byte for byte; nothing if it does not exist.
pub fn whole(dir: &Path) -> Tree {
    collect(dir, |_| true)
}

/// What an upgrade must leave alone in a data directory or a folder of a tablespace: the files
/// of user relations and large objects, settings, links, and the names of all directories.
///
/// The rest (WAL, control file, statistics, hint bits in catalogs) changes with every start.
pub fn kept(dir: &Path) -> Tree {
    collect(dir, |path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let link = path.is_symlink();
        link || (path.is_dir() && !passing(name)) || is_setting(name) || is_user_file(name)
    })
}

/// Of files: their bytes alone.
pub fn contents(dir: &Path) -> BTreeMap<PathBuf, String> {
    let entries = whole(dir).into_iter();
    entries.map(|(path, entry)| (path, entry.what)).collect()
}

/// Whether a file has a name below each of these directories.
pub fn have_one_file(one: &Path, other: &Path) -> bool {
    let files = |dir: &Path| -> HashSet<(u64, u64)> {
        let entries = walkdir::WalkDir::new(dir).into_iter().flatten();
        entries
            .filter(|entry| entry.file_type().is_file())
            .filter_map(|entry| entry.metadata().ok())
            .map(|meta| (meta.dev(), meta.ino()))
            .collect()
    };
    !files(one).is_disjoint(&files(other))
}

/// Demands that nothing changed, and names what did.
pub fn demand_same(what: &str, before: &Tree, after: &Tree) {
    let mut differences = Vec::new();
    for (path, entry) in before {
        match after.get(path) {
            None => differences.push(format!("gone: {}", path.display())),
            Some(now) if now != entry => {
                differences.push(format!("{}: {entry:?} became {now:?}", path.display()));
            }
            Some(_) => {}
        }
    }
    let added = after.keys().filter(|path| !before.contains_key(*path));
    differences.extend(added.map(|path| format!("new: {}", path.display())));
    assert!(
        differences.is_empty(),
        "{what}:\n{}",
        differences.join("\n")
    );
}

fn passing(name: &str) -> bool {
    name.starts_with("pgsql_tmp")
}

fn is_setting(name: &str) -> bool {
    name.ends_with(".conf") || name == "PG_VERSION"
}

/// Catalogs keep the numbers initdb gave them in the clusters of these tests.
fn is_user_file(name: &str) -> bool {
    const LARGE_OBJECTS: [u32; 2] = [2613, 2683];
    RelFile::parse(name)
        .is_some_and(|file| file.number.0 >= 16384 || LARGE_OBJECTS.contains(&file.number.0))
}

fn collect(dir: &Path, wanted: impl Fn(&Path) -> bool) -> Tree {
    let entries = walkdir::WalkDir::new(dir).into_iter();
    entries
        .filter_map(Result::ok)
        .filter(|entry| wanted(entry.path()))
        .map(|entry| (entry.path().to_owned(), look(entry.path())))
        .collect()
}

fn look(path: &Path) -> Entry {
    let meta = fs::symlink_metadata(path).unwrap();
    let what = if meta.is_symlink() {
        format!("link to {}", fs::read_link(path).unwrap().display())
    } else if meta.is_dir() {
        "directory".to_owned()
    } else if meta.is_file() {
        let digest = Sha256::digest(fs::read(path).unwrap());
        format!("{} bytes, {digest:x}", meta.len())
    } else {
        format!("{:?}", meta.file_type())
    };
    let file = meta.is_file();
    Entry {
        what,
        mode: meta.permissions().mode(),
        inode: if file { meta.ino() } else { 0 },
        links: if file { meta.nlink() } else { 0 },
    }
}
