//! Every relation file of old has its counterpart in new, and new has nothing else.

use std::fs::File;
use std::path::Path;
use std::sync::Mutex;

use sha2::{Digest, Sha256};

use super::pages::{READ, fill};
use crate::disk::{Area, FileId, OldDir};
use crate::error::{Code, Error, Result};
use crate::pg::RelFile;
use crate::pg::page::PageLayout;
use crate::plan::{FileMap, Folder, Mode};
use crate::transfer::{Mended, Name, pending};
use crate::work::{Cancel, each};

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// Files compared.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// One clause a difference, sorted.
    pub differences: Vec<String>,
}

/// Compares names and sizes; in link mode it must be the same file, as the listings of both
/// directories say it.
pub fn names_and_sizes(
    map: &FileMap,
    mode: Mode,
    jobs: usize,
    cancel: &Cancel,
) -> Result<Compared> {
    compare(map, mode, jobs, cancel, None)
}

/// Compares names, sizes and, where they are not the same file, every byte by its SHA-256.
///
/// Nothing is taken from a listing but names: every file is looked at. Where copies were given
/// checksums, each must be what old's file is with the checksums its pages then have.
pub fn contents(
    map: &FileMap,
    (mode, checksums): (Mode, Option<PageLayout>),
    jobs: usize,
    cancel: &Cancel,
) -> Result<Compared> {
    let deeper = |paths: [&Path; 2], file| same_bytes(paths, checksums.zip(Some(file)), cancel);
    compare(map, mode, jobs, cancel, Some(&deeper))
}

/// Looks at what [`crate::transfer::link`] changed, folder by folder of the same map; the rest it
/// has found right.
pub fn mended(map: &FileMap, folders: &[Mended], jobs: usize, cancel: &Cancel) -> Result<Compared> {
    let folders: Vec<(&Folder, &Mended)> = map.folders.iter().zip(folders).collect();
    compare_all(&folders, jobs, cancel, |(folder, mended)| {
        compare_mended(folder, mended)
    })
}

type Deeper<'a> = dyn Fn([&Path; 2], RelFile) -> Result<Option<String>> + Sync + 'a;

fn same_bytes(
    [old, new]: [&Path; 2],
    checksums: Option<(PageLayout, RelFile)>,
    cancel: &Cancel,
) -> Result<Option<String>> {
    let (a, b) = (digest(old, checksums, cancel)?, digest(new, None, cancel)?);
    Ok((a != b).then(|| "contents differ".to_owned()))
}

fn compare(
    map: &FileMap,
    mode: Mode,
    jobs: usize,
    cancel: &Cancel,
    deeper: Option<&Deeper<'_>>,
) -> Result<Compared> {
    compare_all(&map.folders, jobs, cancel, |folder| {
        compare_folder(folder, mode, deeper)
    })
}

pub(super) fn compare_all<I: Sync>(
    items: &[I],
    jobs: usize,
    cancel: &Cancel,
    compare: impl Fn(&I) -> Result<Compared> + Sync,
) -> Result<Compared> {
    let sum = Mutex::new(Compared::default());
    each(jobs, items, cancel, |item| {
        let found = compare(item)?;
        let mut sum = sum
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        sum.files += found.files;
        sum.bytes += found.bytes;
        sum.differences.extend(found.differences);
        Ok(())
    })?;
    let mut sum = sum
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    sum.differences.sort_unstable();
    Ok(sum)
}

fn compare_folder(folder: &Folder, mode: Mode, deeper: Option<&Deeper<'_>>) -> Result<Compared> {
    let pending = pending(folder)?;
    let mut found = Compared::default();
    for name in pending.names() {
        let (wanted, listed) = match name {
            Name::TooMany(file) => {
                found.say(folder, file, "in new only");
                continue;
            }
            Name::Missing(wanted) => (wanted, None),
            Name::There(wanted, listed) => (wanted, Some(listed)),
        };
        found.files += 1;
        if let (Mode::Link, None, Some(listed), true) = (mode, deeper, listed, pending.telling)
            && pending.is_linked(&wanted, &listed)?
        {
            continue;
        }
        let (old_name, new_name) = (wanted.old.file_name(), wanted.new.file_name());
        let ids = (
            pending.old.identity(&old_name)?,
            pending.new.identity(&new_name)?,
        );
        match compare_file(ids, mode) {
            Verdict::Same => {}
            Verdict::Differs(what) => found.say(folder, wanted.new, &what),
            Verdict::SameSize(len) => {
                found.bytes += len;
                let (old, new) = (pending.old.path(), pending.new.path());
                if let Some(deeper) = deeper
                    && let Some(what) =
                        deeper([&old.join(old_name), &new.join(new_name)], wanted.new)?
                {
                    found.say(folder, wanted.new, &what);
                }
            }
        }
    }
    Ok(found)
}

fn compare_mended(folder: &Folder, mended: &Mended) -> Result<Compared> {
    let mut found = Compared {
        files: mended.kept,
        ..Compared::default()
    };
    if mended.removed.is_empty() && mended.made.is_empty() {
        return Ok(found);
    }
    let old = OldDir::open(&folder.old_dir)?;
    let new = Area::new(&folder.new_root)?.open_dir(&folder.new_dir)?;
    for file in &mended.removed {
        if new.identity(file.file_name())?.is_some() {
            found.say(folder, *file, "in new only");
        }
    }
    for (of_new, of_old) in &mended.made {
        found.files += 1;
        let ids = (
            old.identity(of_old.file_name())?,
            new.identity(of_new.file_name())?,
        );
        if let Verdict::Differs(what) = compare_file(ids, Mode::Link) {
            found.say(folder, *of_new, &what);
        }
    }
    Ok(found)
}

impl Compared {
    fn say(&mut self, folder: &Folder, file: RelFile, what: &str) {
        let dir = folder.new_root.join(&folder.new_dir);
        self.add(&dir, &file.file_name(), what);
    }

    pub(super) fn add(&mut self, dir: &Path, name: &str, what: &str) {
        let path = dir.join(name);
        self.differences.push(format!("{}: {what}", path.display()));
    }
}

enum Verdict {
    Same,
    SameSize(u64),
    Differs(String),
}

fn compare_file((old, new): (Option<FileId>, Option<FileId>), mode: Mode) -> Verdict {
    match (old, new) {
        (_, None) => Verdict::Differs("missing".to_owned()),
        (None, _) => Verdict::Differs("gone from old".to_owned()),
        (Some(old), Some(new)) if old.same_file(&new) => match mode {
            Mode::Link => Verdict::Same,
            _ => Verdict::Differs("is the same file as in old".to_owned()),
        },
        (Some(_), Some(_)) if mode == Mode::Link => {
            Verdict::Differs("is another file than in old".to_owned())
        }
        (Some(old), Some(new)) if old.len != new.len => {
            Verdict::Differs(format!("{} bytes in new, {} in old", new.len, old.len))
        }
        (Some(old), Some(_)) => Verdict::SameSize(old.len),
    }
}

/// The SHA-256 of a file, or of what it would be with checksums.
pub(super) fn digest(
    path: &Path,
    checksums: Option<(PageLayout, RelFile)>,
    cancel: &Cancel,
) -> Result<[u8; 32]> {
    let unreadable = |e: &std::io::Error| Error::io(Code::NotReadable, "read", path, e);
    let mut file = File::open(path).map_err(|e| unreadable(&e))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; READ];
    let mut at = 0;
    loop {
        cancel.check()?;
        let read = fill(&mut file, &mut buffer).map_err(|e| unreadable(&e))?;
        if let Some((layout, file)) = checksums {
            layout.write_checksums(file, at, &mut buffer[..read]);
        }
        hash.update(&buffer[..read]);
        at += read as u64;
        if read < buffer.len() {
            return Ok(hash.finalize().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::RelFileNumber;
    use crate::plan::Pair;
    use std::fs;

    /// Relation 1 of old, with a map, linked or copied as 11.
    struct Dirs {
        dir: tempfile::TempDir,
        map: FileMap,
    }

    impl Dirs {
        fn new(mode: Mode) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().canonicalize().unwrap();
            for (old, new) in [("old/1", "new/11"), ("old/1_fsm", "new/11_fsm")] {
                let (old, new) = (root.join(old), root.join(new));
                for path in [&old, &new] {
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                }
                fs::write(&old, "rows").unwrap();
                match mode {
                    Mode::Link => fs::hard_link(old, new).unwrap(),
                    _ => fs::copy(old, new).map(|_| ()).unwrap(),
                }
            }
            let folder = Folder {
                database: "shop".into(),
                old_dir: root.join("old"),
                new_root: root,
                new_dir: "new".into(),
                pairs: vec![Pair {
                    old: RelFileNumber(1),
                    new: RelFileNumber(11),
                    wal: None,
                }],
            };
            let folders = vec![folder];
            Self {
                dir,
                map: FileMap { folders },
            }
        }

        /// What both comparisons find, without directories.
        fn found(&self, mode: Mode) -> Vec<String> {
            let quick = names_and_sizes(&self.map, mode, 1, &Cancel::new()).unwrap();
            let thorough = contents(&self.map, (mode, None), 1, &Cancel::new()).unwrap();
            assert_eq!(quick.differences, thorough.differences);
            self.short(quick)
        }

        fn mended(&self, mended: Mended) -> Vec<String> {
            self.short(super::mended(&self.map, &[mended], 1, &Cancel::new()).unwrap())
        }

        fn short(&self, found: Compared) -> Vec<String> {
            let short = |text: &String| text.rsplit_once('/').unwrap().1.to_owned();
            found.differences.iter().map(short).collect()
        }

        fn path(&self, rel: &str) -> std::path::PathBuf {
            self.dir.path().join(rel)
        }
    }

    #[test]
    fn every_difference_of_names_is_found() {
        for mode in [Mode::Link, Mode::Copy] {
            let dirs = Dirs::new(mode);
            assert_eq!(dirs.found(mode), [""; 0]);
            fs::write(dirs.path("new/11.1"), "").unwrap();
            fs::write(dirs.path("new/99"), "of a catalog").unwrap();
            fs::remove_file(dirs.path("new/11_fsm")).unwrap();
            assert_eq!(
                dirs.found(mode),
                ["11.1: in new only", "11_fsm: missing"],
                "{mode:?}"
            );
        }
    }

    #[test]
    fn a_foreign_file_of_the_right_name_is_found() {
        let dirs = Dirs::new(Mode::Link);
        fs::remove_file(dirs.path("new/11")).unwrap();
        fs::write(dirs.path("new/11"), "rows").unwrap();
        assert_eq!(dirs.found(Mode::Link), ["11: is another file than in old"]);

        let dirs = Dirs::new(Mode::Copy);
        fs::remove_file(dirs.path("new/11")).unwrap();
        fs::hard_link(dirs.path("old/1"), dirs.path("new/11")).unwrap();
        assert_eq!(dirs.found(Mode::Copy), ["11: is the same file as in old"]);
        fs::remove_file(dirs.path("new/11")).unwrap();
        fs::write(dirs.path("new/11"), "row").unwrap();
        assert_eq!(dirs.found(Mode::Copy), ["11: 3 bytes in new, 4 in old"]);
    }

    #[test]
    fn what_was_mended_is_looked_at() {
        let dirs = Dirs::new(Mode::Link);
        let file = |name| RelFile::parse(name).unwrap();
        let mended = || Mended {
            kept: 0,
            removed: vec![file("11.1")],
            made: vec![(file("11"), file("1")), (file("11_fsm"), file("1_fsm"))],
        };
        assert_eq!(dirs.mended(mended()), [""; 0]);
        fs::write(dirs.path("new/11.1"), "").unwrap();
        fs::remove_file(dirs.path("new/11")).unwrap();
        fs::remove_file(dirs.path("new/11_fsm")).unwrap();
        fs::write(dirs.path("new/11_fsm"), "rows").unwrap();
        assert_eq!(
            dirs.mended(mended()),
            [
                "11.1: in new only",
                "11: missing",
                "11_fsm: is another file than in old",
            ]
        );
    }
}
