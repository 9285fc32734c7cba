//! Every file that was to be moved is in new, is the one it was, and old has none of them.

use std::collections::BTreeSet;

use super::files::{Compared, compare_all};
use crate::disk::{Area, AreaDir, OldDir};
use crate::error::Result;
use crate::pg::{RelFile, RelFileNumber};
use crate::transfer::{FolderMoves, Moves};
use crate::work::Cancel;

/// Looks at every file of the list, and for files of the same relations that are not on it.
pub fn swapped(moves: &Moves, jobs: usize, cancel: &Cancel) -> Result<Compared> {
    compare_all(&moves.folders, jobs, cancel, |folder| look(folder, cancel))
}

fn look(folder: &FolderMoves, cancel: &Cancel) -> Result<Compared> {
    let old = OldDir::open(&folder.old_dir)?;
    let new = Area::new(&folder.new_root)?.open_dir(&folder.new_dir)?;
    let mut found = Compared::default();
    for (number, (_, name, inode)) in folder.files.iter().enumerate() {
        if number % 1024 == 0 {
            cancel.check()?;
        }
        found.files += 1;
        match new.identity(name)? {
            Some(file) if file.inode == *inode => {}
            Some(_) => found.add(new.path(), name, "is not the file that old had"),
            None => found.add(new.path(), name, "missing"),
        }
    }
    let of_old = folder.files.iter().map(|(name, _, _)| name);
    let of_new = folder.files.iter().map(|(_, name, _)| name);
    let left = too_many(of_old, &[], |visit| old.entries(visit))?;
    for name in &left {
        found.add(old.path(), name, "left in old");
    }
    let listed: BTreeSet<&str> = of_new.clone().map(String::as_str).collect();
    let listed: Vec<&str> = listed.into_iter().collect();
    for name in too_many(of_new, &listed, |visit| entries(&new, visit))? {
        found.add(new.path(), &name, "in new only");
    }
    Ok(found)
}

fn entries(dir: &AreaDir, visit: &mut Visit<'_>) -> Result<()> {
    dir.entries(visit)
}

type Visit<'a> = dyn FnMut(&std::ffi::OsStr, u64) + 'a;

/// Files of the relations named, but for those that are allowed, which are in order.
fn too_many<'a>(
    of: impl Iterator<Item = &'a String>,
    allowed: &[&str],
    list: impl FnOnce(&mut Visit<'_>) -> Result<()>,
) -> Result<Vec<String>> {
    let relations: BTreeSet<RelFileNumber> = of
        .filter_map(|name| RelFile::parse(name))
        .map(|file| file.number)
        .collect();
    let mut found = Vec::new();
    list(&mut |name, _| {
        let Some(name) = name.to_str() else { return };
        let moved = RelFile::parse(name).is_some_and(|file| relations.contains(&file.number));
        if moved && allowed.binary_search(&name).is_err() {
            found.push(name.to_owned());
        }
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn what_is_not_as_it_was_moved_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for name in ["old", "new"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        let mut files = Vec::new();
        for (old, new) in [("1", "11"), ("1_fsm", "11_fsm"), ("2", "12")] {
            fs::write(root.join("new").join(new), "rows").unwrap();
            let inode = fs::metadata(root.join("new").join(new)).unwrap().ino();
            files.push((old.to_owned(), new.to_owned(), inode));
        }
        let moves = Moves {
            v: 1,
            folders: vec![FolderMoves {
                database: "shop".into(),
                old_dir: root.join("old"),
                new_root: root.clone(),
                new_dir: "new".into(),
                files,
            }],
        };
        let found = || swapped(&moves, 1, &Cancel::new()).unwrap();
        assert_eq!((found().files, found().differences), (3, Vec::new()));
        fs::write(root.join("old/1.1"), "").unwrap();
        fs::write(root.join("old/3"), "a catalog").unwrap();
        fs::write(root.join("new/12_vm"), "").unwrap();
        fs::write(root.join("new/99"), "a catalog").unwrap();
        fs::remove_file(root.join("new/11_fsm")).unwrap();
        fs::write(root.join("new/draft"), "rows").unwrap();
        fs::rename(root.join("new/draft"), root.join("new/11")).unwrap();
        let short = |text: &String| text.rsplit_once('/').unwrap().1.to_owned();
        let differences: Vec<String> = found().differences.iter().map(short).collect();
        assert_eq!(
            differences,
            [
                "11: is not the file that old had",
                "11_fsm: missing",
                "12_vm: in new only",
                "1.1: left in old",
            ]
        );
    }
}
