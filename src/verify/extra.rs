//! New has the files of its own catalogs and those that came from old, and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::files::Compared;
use crate::error::{Code, Error, Result};
use crate::pg::amount::counted;
use crate::pg::page::PageLayout;
use crate::pg::{Fork, RelFile, RelFileNumber};
use crate::plan::FileMap;
use crate::work::{Cancel, each, lock};

/// Where new has relation files, and which of them did not come from old.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// First files of new's own catalogs.
    pub heaps: Vec<PathBuf>,
    /// Those of their indexes.
    pub indexes: Vec<PathBuf>,
    /// Directories with a folder for each database.
    pub folders: Vec<PathBuf>,
    /// The folder of what all databases share.
    pub shared: PathBuf,
}

/// What a file of new's own is the first file of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Heap,
    Index,
}

/// What may be in one folder.
#[derive(Default)]
struct Known {
    own: BTreeMap<RelFileNumber, Kind>,
    carried: BTreeSet<RelFileNumber>,
}

/// Looks at every folder of new: each catalog must have its file, and there may be no relation
/// file that neither a catalog nor the file map explains.
///
/// Files of relations that came from old are compared with old's elsewhere, segment by segment.
/// What is named like no relation file, no server would take for one. A catalog may get further
/// forks and segments as long as they are such as a server makes.
///
/// # Errors
///
/// `NotReadable`.
pub fn nothing_else(
    contents: &Contents,
    map: &FileMap,
    layout: PageLayout,
    (jobs, cancel): (usize, &Cancel),
) -> Result<Compared> {
    let mut known: BTreeMap<PathBuf, Known> = BTreeMap::new();
    let heaps = contents.heaps.iter().map(|path| (path, Kind::Heap));
    let indexes = contents.indexes.iter().map(|path| (path, Kind::Index));
    for (path, kind) in heaps.chain(indexes) {
        let name = path.file_name().and_then(|name| name.to_str());
        let file = name.and_then(RelFile::parse);
        if let (Some(dir), Some(file)) = (path.parent(), file) {
            let known = known.entry(dir.to_owned()).or_default();
            known.own.insert(file.number, kind);
        }
    }
    for folder in &map.folders {
        let dir = folder.new_root.join(&folder.new_dir);
        let carried = folder.pairs.iter().map(|pair| pair.new);
        known.entry(dir).or_default().carried.extend(carried);
    }
    for place in &contents.folders {
        for dir in folders(place)? {
            known.entry(dir).or_default();
        }
    }
    known.entry(contents.shared.clone()).or_default();
    let known: Vec<(PathBuf, Known)> = known.into_iter().collect();
    let sum = std::sync::Mutex::new(Compared::default());
    each(jobs, &known, cancel, |(dir, known)| {
        let found = look(dir, known, layout)?;
        let mut sum = lock(&sum);
        sum.files += found.files;
        sum.differences.extend(found.differences);
        Ok(())
    })?;
    let mut sum = lock(&sum).clone();
    sum.differences.sort_unstable();
    Ok(sum)
}

/// The folders of databases in a directory; a tablespace that has none has no directory for them.
fn folders(place: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |e: &std::io::Error| Error::io(Code::NotReadable, "read", place, e);
    let entries = match fs::read_dir(place) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| unreadable(&e))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| unreadable(&e))?;
        let path = entry.path();
        // It may be a link to another disk. What a file system keeps at its root is no database's.
        if entry.file_name().as_bytes().iter().all(u8::is_ascii_digit) && path.is_dir() {
            found.push(path);
        }
    }
    Ok(found)
}

fn look(dir: &Path, known: &Known, layout: PageLayout) -> Result<Compared> {
    let unreadable = |e: &std::io::Error| Error::io(Code::NotReadable, "read", dir, e);
    let mut found = Compared::default();
    let mut own: BTreeMap<RelFile, PathBuf> = BTreeMap::new();
    let mut unknown = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| unreadable(&e))? {
        let entry = entry.map_err(|e| unreadable(&e))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        match RelFile::parse(name) {
            Some(file) if known.own.contains_key(&file.number) => {
                own.insert(file, entry.path());
            }
            Some(file) if known.carried.contains(&file.number) => {}
            None if !is_temporary(name) => {}
            _ => unknown.push(name.to_owned()),
        }
    }
    match known.own.is_empty() && known.carried.is_empty() {
        true if !unknown.is_empty() => {
            let files = counted(unknown.len() as u64, "relation file");
            let what = format!("a folder of no database, with {files}");
            found.differences.push(format!("{}: {what}", dir.display()));
        }
        _ => (unknown.iter()).for_each(|name| found.add(dir, name, "belongs to no relation")),
    }
    for number in known.own.keys() {
        let first = RelFile::first(*number, Fork::Main);
        if !own.contains_key(&first) {
            found.add(dir, &first.file_name(), "missing: the file of a catalog");
        }
    }
    found.files += own.len() as u64;
    for file in own.keys() {
        let kind = known.own.get(&file.number);
        if !kind.is_some_and(|kind| kind.may_have(file.fork)) || !follows(*file, &own, layout)? {
            found.add(
                dir,
                &file.file_name(),
                "a fork or segment that no catalog has",
            );
        }
    }
    Ok(found)
}

impl Kind {
    /// Nothing of a catalog is unlogged, and only of tables it is known which pages everybody sees.
    fn may_have(self, fork: Fork) -> bool {
        match fork {
            Fork::Main | Fork::Fsm => true,
            Fork::Vm => self == Self::Heap,
            Fork::Init => false,
        }
    }
}

/// Whether a segment is the first, or comes after a full one, or is one that `mdtruncate` of
/// `src/backend/storage/smgr/md.c` has left: it empties segments, and removes none.
fn follows(file: RelFile, own: &BTreeMap<RelFile, PathBuf>, layout: PageLayout) -> Result<bool> {
    let Some(segment) = file.segment.checked_sub(1) else {
        return Ok(true);
    };
    let Some(path) = own.get(&RelFile { segment, ..file }) else {
        return Ok(false);
    };
    let full = u64::from(layout.block_size) * u64::from(layout.segment_blocks);
    Ok(len(path)? == full || own.get(&file).map_or(Ok(1), |own| len(own))? == 0)
}

fn len(path: &Path) -> Result<u64> {
    let found = fs::metadata(path);
    Ok(found
        .map_err(|e| Error::io(Code::NotReadable, "examine", path, &e))?
        .len())
}

/// Whether it is named like a file of a session's temporary relation.
fn is_temporary(name: &str) -> bool {
    name.strip_prefix('t')
        .and_then(|rest| rest.split_once('_'))
        .is_some_and(|(session, file)| {
            session.parse::<u32>().is_ok() && RelFile::parse(file).is_some()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Folder, Pair};

    const LAYOUT: PageLayout = PageLayout {
        block_size: 8192,
        segment_blocks: 1,
    };

    /// Catalogs 1 and 2, an index 6 and what has come as 11 in one database, catalog 3 for all.
    struct Dirs {
        dir: tempfile::TempDir,
        contents: Contents,
        map: FileMap,
    }

    impl Dirs {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().to_owned();
            for name in ["base/5", "global"] {
                fs::create_dir_all(root.join(name)).unwrap();
            }
            let heaps = ["base/5/1", "base/5/2", "global/3"].map(|name| root.join(name));
            let dirs = Self {
                contents: Contents {
                    heaps: heaps.to_vec(),
                    indexes: vec![root.join("base/5/6")],
                    folders: vec![root.join("base"), root.join("space/PG_17")],
                    shared: root.join("global"),
                },
                map: FileMap {
                    folders: vec![Folder {
                        database: "shop".into(),
                        old_dir: root.join("old"),
                        new_root: root,
                        new_dir: "base/5".into(),
                        pairs: vec![Pair {
                            old: RelFileNumber(7),
                            new: RelFileNumber(11),
                            wal: None,
                        }],
                    }],
                },
                dir,
            };
            for name in [
                "base/5/1_vm",
                "base/5/1.1",
                "base/5/2",
                "base/5/6",
                "base/5/6_fsm",
                "base/5/11",
                "global/3",
            ] {
                dirs.write(name, 0);
            }
            dirs.write("base/5/1", 8192);
            for name in [
                "base/5/PG_VERSION",
                "base/5/pg_filenode.map",
                "global/pg_control",
            ] {
                dirs.write(name, 4);
            }
            dirs
        }

        fn write(&self, name: &str, len: usize) {
            fs::write(self.dir.path().join(name), vec![0; len]).unwrap();
        }

        fn found(&self) -> Vec<String> {
            let found = nothing_else(&self.contents, &self.map, LAYOUT, (1, &Cancel::new()));
            let root = format!("{}/", self.dir.path().display());
            let differences = found.unwrap().differences.into_iter();
            differences.map(|text| text.replace(&root, "")).collect()
        }
    }

    /// Servers leave empty segments; a file system has folders of its own at its root.
    #[test]
    fn nothing_is_found_in_what_is_as_it_should_be() {
        let dirs = Dirs::new();
        for name in ["base/5/2.1", "base/5/2.2"] {
            dirs.write(name, 0);
        }
        fs::create_dir(dirs.dir.path().join("base/lost+found")).unwrap();
        dirs.write("base/lost+found/12", 1);
        assert_eq!(dirs.found(), [""; 0]);
    }

    #[test]
    fn what_nothing_explains_is_found() {
        let dirs = Dirs::new();
        assert_eq!(dirs.found(), [""; 0]);
        for (name, len) in [
            ("base/5/99", 0),
            ("base/5/t3_12", 0),
            ("base/5/2.1", 1),
            ("base/5/2_init", 0),
            ("base/5/6_vm", 0),
            ("global/4_fsm", 0),
            ("base/5/notes.txt", 0),
            ("base/5/tidy_77", 0),
        ] {
            dirs.write(name, len);
        }
        fs::create_dir_all(dirs.dir.path().join("space/PG_17/6")).unwrap();
        fs::create_dir_all(dirs.dir.path().join("base/pgsql_tmp")).unwrap();
        dirs.write("space/PG_17/6/1", 0);
        fs::remove_file(dirs.dir.path().join("global/3")).unwrap();
        assert_eq!(
            dirs.found(),
            [
                "base/5/2.1: a fork or segment that no catalog has",
                "base/5/2_init: a fork or segment that no catalog has",
                "base/5/6_vm: a fork or segment that no catalog has",
                "base/5/99: belongs to no relation",
                "base/5/t3_12: belongs to no relation",
                "global/3: missing: the file of a catalog",
                "global/4_fsm: belongs to no relation",
                "space/PG_17/6: a folder of no database, with 1 relation file",
            ]
        );
    }
}
