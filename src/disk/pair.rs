//! For tests: a directory of old, and one of new.

use super::{Area, AreaDir, OldDir};

/// `old` and `new` in a directory that goes with the value.
pub(super) fn pair() -> (tempfile::TempDir, OldDir, AreaDir) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("old")).unwrap();
    let area = Area::new(&dir.path().join("new")).unwrap();
    area.create_dir("", 0o700).unwrap();
    let old = OldDir::open(&dir.path().join("old")).unwrap();
    let new = area.open_dir("").unwrap();
    (dir, old, new)
}
