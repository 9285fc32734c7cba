//! Paths that need not exist, made comparable.

use std::path::{Component, Path, PathBuf};

/// Where a path leads: absolute, the part of it that exists without symbolic links.
pub(super) fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut existing = absolute.as_path();
    let mut rest = Vec::new();
    let start = loop {
        if let Ok(found) = existing.canonicalize() {
            break found;
        }
        match (existing.parent(), existing.components().next_back()) {
            (Some(parent), Some(last)) => {
                rest.push(last);
                existing = parent;
            }
            _ => break existing.to_owned(),
        }
    };
    let mut found = start;
    for component in rest.into_iter().rev() {
        match component {
            // Below what does not exist there are no links that could make this wrong.
            Component::ParentDir => {
                found.pop();
            }
            other => found.push(other),
        }
    }
    found
}

/// The path as the state directory keeps it: absolute, its parent without symbolic links.
///
/// The last component stays as it is given, so that a link of that name keeps its meaning.
pub(super) fn named(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => real(parent).join(name),
        _ => real(&absolute),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_as_far_as_they_exist() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("disk")).unwrap();
        symlink(root.join("disk"), root.join("link")).unwrap();
        assert_eq!(real(&root.join("link")), root.join("disk"));
        assert_eq!(real(&root.join("link/a/../b/")), root.join("disk/b"));
        assert_eq!(real(&root.join("link/..")), root);
        assert_eq!(named(&root.join("link/a/./")), root.join("disk/a"));
        assert_eq!(named(&root.join("link/")), root.join("link"));
        assert_eq!(named(&root.join("link/..")), root);
    }
}
