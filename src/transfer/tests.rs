use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::*;
use crate::event::Stream;
use crate::pg::{RelFile, RelFileNumber};
use crate::plan::{FileMap, Pair};

/// A directory of old and one of new, with two relations: 1 becomes 11, 2 becomes 12.
struct Dirs {
    dir: tempfile::TempDir,
    map: FileMap,
    stream: Stream,
    cancel: Cancel,
}

impl Dirs {
    fn new(of_old: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["old", "new"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        for name in of_old {
            fs::write(dir.path().join("old").join(name), name).unwrap();
        }
        let pair = |old, new| Pair {
            old: RelFileNumber(old),
            new: RelFileNumber(new),
            wal: None,
        };
        let root = dir.path().canonicalize().unwrap();
        let map = FileMap {
            folders: vec![Folder {
                database: "shop".into(),
                old_dir: root.join("old"),
                new_root: root,
                new_dir: "new".into(),
                pairs: vec![pair(1, 11), pair(2, 12)],
            }],
        };
        Self {
            dir,
            map,
            stream: Stream::default(),
            cancel: Cancel::new(),
        }
    }

    fn path(&self, rel: &str) -> std::path::PathBuf {
        self.dir.path().join(rel)
    }

    fn link(&self) -> Mended {
        link(&self.map, &self.work()).unwrap().remove(0)
    }

    fn work(&self) -> Work<'_> {
        Work {
            jobs: 2,
            checksums: None,
            cancel: &self.cancel,
            sink: &self.stream,
            step: "test",
        }
    }

    fn names(&self, dir: &str) -> Vec<String> {
        self.inodes(dir).into_iter().map(|(name, _)| name).collect()
    }

    fn inodes(&self, dir: &str) -> Vec<(String, u64)> {
        let entries = fs::read_dir(self.path(dir)).unwrap().map(Result::unwrap);
        let mut found: Vec<_> = entries
            .map(|entry| {
                (
                    entry.file_name().into_string().unwrap(),
                    entry.metadata().unwrap().ino(),
                )
            })
            .collect();
        found.sort();
        found
    }

    /// Names of new, each with what old calls the same file.
    fn linked(&self) -> Vec<String> {
        let inode = |path: &Path| path.metadata().unwrap().ino();
        let list = |name| fs::read_dir(self.path(name)).unwrap().map(|e| e.unwrap());
        let mut found: Vec<String> = list("new")
            .map(|entry| {
                let same = list("old").find(|old| inode(&old.path()) == inode(&entry.path()));
                let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
                format!("{}={}", name(entry), same.map(name).unwrap_or_default())
            })
            .collect();
        found.sort();
        found
    }
}

fn file(name: &str) -> RelFile {
    RelFile::parse(name).unwrap()
}

#[test]
fn only_what_differs_is_mended() {
    let dirs = Dirs::new(&["1", "1_fsm", "1.1", "2", "3", "pg_filenode.map"]);
    fs::write(dirs.path("new/99"), "a catalog of new").unwrap();
    let mended = dirs.link();
    assert_eq!((mended.kept, mended.made.len()), (0, 4));
    let wanted = ["11.1=1.1", "11=1", "11_fsm=1_fsm", "12=2", "99="];
    assert_eq!(dirs.linked(), wanted);
    assert_eq!(
        dirs.link(),
        Mended {
            kept: 4,
            ..Mended::default()
        }
    );

    // One too many, one missing, and a foreign file of the right name and contents.
    fs::write(dirs.path("new/12_vm"), "").unwrap();
    fs::remove_file(dirs.path("new/11_fsm")).unwrap();
    fs::remove_file(dirs.path("new/12")).unwrap();
    fs::write(dirs.path("new/12"), "2").unwrap();
    assert_eq!(
        dirs.link(),
        Mended {
            kept: 2,
            removed: vec![file("12_vm")],
            made: vec![(file("11_fsm"), file("1_fsm")), (file("12"), file("2"))],
        }
    );
    assert_eq!(dirs.linked(), wanted);
    assert_eq!(fs::read(dirs.path("new/99")).unwrap(), b"a catalog of new");
}

/// A rewrite in old gives a relation another number, and maybe one that another relation had.
#[test]
fn files_that_change_places_are_told_apart() {
    let mut dirs = Dirs::new(&["1", "2"]);
    dirs.link();
    dirs.map.folders[0].pairs[0].old = RelFileNumber(2);
    dirs.map.folders[0].pairs[1].old = RelFileNumber(1);
    assert_eq!(dirs.link().made.len(), 2);
    assert_eq!(dirs.linked(), ["11=2", "12=1"]);
}

#[test]
fn a_relation_without_a_file_ends_it_before_anything_is_changed() {
    let dirs = Dirs::new(&["1", "2_fsm"]);
    fs::write(dirs.path("new/12_vm"), "").unwrap();
    let error = link(&dirs.map, &dirs.work()).unwrap_err();
    assert_eq!(error.code(), Code::FileVanished);
    assert!(error.facts().contains(&("file".into(), "2".into())));
    assert_eq!(dirs.linked(), ["12_vm="]);
    // Beside a server it may have been dropped.
    assert_eq!(sum(&link_beside(&dirs.map, &dirs.work()).unwrap()).files, 2);
    assert_eq!(dirs.linked(), ["11=1", "12_fsm=2_fsm"]);
}

/// Where listings do not tell which file a name stands for, each is looked at.
#[test]
fn names_are_looked_at_where_listings_tell_nothing() {
    let dirs = Dirs::new(&["1", "2"]);
    dirs.link();
    fs::remove_file(dirs.path("new/12")).unwrap();
    fs::write(dirs.path("new/12"), "2").unwrap();
    for telling in [false, true] {
        let mut pending = pending(&dirs.map.folders[0]).unwrap();
        pending.telling &= telling;
        let right: Vec<bool> = pending
            .names()
            .map(|name| match name {
                Name::There(wanted, listed) => pending.is_linked(&wanted, &listed).unwrap(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(right, [true, false]);
    }
}

#[test]
fn files_of_the_relations_moved_are_removed_and_no_others() {
    let dirs = Dirs::new(&["1", "1.1", "2"]);
    fs::write(dirs.path("new/99"), "").unwrap();
    fs::write(dirs.path("new/2"), "not moved").unwrap();
    dirs.link();
    assert_eq!(remove(&dirs.map, &dirs.work()).unwrap(), 3);
    assert_eq!(dirs.linked(), ["2=", "99="]);
    assert!(dirs.path("old/1.1").exists());
}

/// From each state that a crash may leave, on and back.
#[test]
fn files_are_moved_and_moved_back_from_everywhere() {
    let names = ["1", "1_fsm", "1.1", "2"];
    for (stopped_at, on) in (0..=names.len()).flat_map(|at| [(at, true), (at, false)]) {
        let dirs = Dirs::new(&[&names[..], &["3"]].concat());
        fs::write(dirs.path("new/99"), "a catalog of new").unwrap();
        fs::write(dirs.path("new/11"), "empty, as it was restored").unwrap();
        let before = dirs.inodes("old");
        let list = moves(&dirs.map, &dirs.work()).unwrap();
        assert!(!dirs.path("new/11").exists());
        for (old, new, _) in &list.folders[0].files[..stopped_at] {
            let (old, new) = (dirs.path("old").join(old), dirs.path("new").join(new));
            fs::rename(old, new).unwrap();
        }
        if on {
            for again in [4 - stopped_at as u64, 0] {
                let moved = swap(&list, &dirs.work()).unwrap();
                assert_eq!((moved.files, moved.kept), (again, 4 - again));
            }
            assert_eq!(dirs.names("old"), ["3"]);
            assert_eq!(dirs.names("new"), ["11", "11.1", "11_fsm", "12", "99"]);
            assert_eq!(fs::read(dirs.path("new/11.1")).unwrap(), b"1.1");
        }
        for _ in 0..2 {
            swap_back(&list, &dirs.work()).unwrap();
            assert_eq!(dirs.inodes("old"), before);
            assert_eq!(dirs.names("new"), ["99"]);
        }
    }
}

#[test]
fn what_is_not_where_it_should_be_is_neither_moved_nor_replaced() {
    let dirs = Dirs::new(&["1", "2"]);
    let list = moves(&dirs.map, &dirs.work()).unwrap();
    fs::write(dirs.path("new/12"), "somebody's").unwrap();
    let error = swap(&list, &dirs.work()).unwrap_err();
    assert_eq!(error.code(), Code::TransferFailed);
    assert_eq!(fs::read(dirs.path("new/12")).unwrap(), b"somebody's");
    assert_eq!(fs::read(dirs.path("old/2")).unwrap(), b"2");
    fs::remove_file(dirs.path("old/2")).unwrap();
    let error = swap_back(&list, &dirs.work()).unwrap_err();
    assert_eq!(error.code(), Code::TransferFailed);
    fs::remove_file(dirs.path("new/12")).unwrap();
    for moved in [swap(&list, &dirs.work()), swap_back(&list, &dirs.work())] {
        assert_eq!(moved.unwrap_err().code(), Code::FileVanished);
    }
    // Both names of one file, as a file system without a journal may leave it.
    let dirs = Dirs::new(&["1", "2"]);
    let list = moves(&dirs.map, &dirs.work()).unwrap();
    fs::hard_link(dirs.path("old/1"), dirs.path("new/11")).unwrap();
    swap(&list, &dirs.work()).unwrap();
    assert_eq!(dirs.names("old"), [""; 0]);
    fs::hard_link(dirs.path("new/11"), dirs.path("old/1")).unwrap();
    swap_back(&list, &dirs.work()).unwrap();
    assert_eq!(
        (dirs.names("old"), dirs.names("new")),
        (vec!["1".into(), "2".into()], vec![])
    );
}

#[test]
fn a_folder_of_new_that_is_gone_is_missed_if_a_file_of_old_was_in_it() {
    let dirs = Dirs::new(&["1", "2"]);
    let before = dirs.inodes("old");
    let list = moves(&dirs.map, &dirs.work()).unwrap();
    fs::rename(dirs.path("old/1"), dirs.path("new/11")).unwrap();
    fs::rename(dirs.path("new"), dirs.path("away")).unwrap();
    for moved in [swap(&list, &dirs.work()), swap_back(&list, &dirs.work())] {
        let error = moved.unwrap_err();
        assert_eq!(error.code(), Code::FileVanished);
        let files = error.facts().iter().find(|(name, _)| name == "files");
        assert_eq!(files.unwrap().1, "1");
    }
    fs::rename(dirs.path("away"), dirs.path("new")).unwrap();
    swap_back(&list, &dirs.work()).unwrap();
    assert_eq!(dirs.inodes("old"), before);
    // With all of them at home, nothing of old is missed.
    fs::remove_dir_all(dirs.path("new")).unwrap();
    swap_back(&list, &dirs.work()).unwrap();
    assert_eq!(dirs.inodes("old"), before);
}

/// So many are waited for together, where the file system allows it.
#[test]
fn a_thousand_small_files_are_copied() {
    let mut dirs = Dirs::new(&[]);
    let numbers = 1..=1000;
    dirs.map.folders[0].pairs = numbers
        .clone()
        .map(|number| Pair {
            old: RelFileNumber(number),
            new: RelFileNumber(2000 + number),
            wal: None,
        })
        .collect();
    for number in numbers.clone() {
        fs::write(dirs.path(&format!("old/{number}")), number.to_string()).unwrap();
    }
    let moved = copy(&dirs.map, &dirs.work()).unwrap();
    assert_eq!(moved.files, 1000);
    for number in numbers {
        let copied = fs::read_to_string(dirs.path(&format!("new/{}", 2000 + number)));
        assert_eq!(copied.unwrap(), number.to_string());
    }
}

/// Old is whole then, and what new has made under the name is new's.
#[test]
fn a_file_that_is_back_already_is_not_in_the_way_of_another_one_of_new() {
    let dirs = Dirs::new(&["1", "2"]);
    let before = dirs.inodes("old");
    let list = moves(&dirs.map, &dirs.work()).unwrap();
    fs::rename(dirs.path("old/1"), dirs.path("new/11")).unwrap();
    fs::write(dirs.path("new/12"), "made by a server of new").unwrap();
    swap_back(&list, &dirs.work()).unwrap();
    assert_eq!(dirs.inodes("old"), before);
    assert_eq!(dirs.names("new"), ["12"]);
}
