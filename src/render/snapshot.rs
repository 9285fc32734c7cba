//! Whole outputs compared with files; `UPDATE_SNAPSHOTS=1` writes them anew.

use std::path::Path;

/// Compares with `tests/data/render/NAME.txt`.
#[track_caller]
pub fn compare(name: &str, text: &str) {
    compare_file(&format!("tests/data/render/{name}.txt"), text);
}

/// Compares with a file of the source tree.
#[track_caller]
pub fn compare_file(relative: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(relative);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some_and(|value| value == "1") {
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = kept
        .lines()
        .zip(text.lines())
        .position(|(kept, now)| kept != now);
    assert!(
        kept == text,
        "{relative} is not what is rendered now, first in line {:?}; \
         UPDATE_SNAPSHOTS=1 writes it anew. Rendered:\n{text}",
        differs.map(|at| at + 1)
    );
}
