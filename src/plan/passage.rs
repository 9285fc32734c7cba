//! Which folder of old gets to new by which mode.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Mode, Plan};

/// A folder of old with relation files, and how they get to new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// The folder; those of databases in it go the same way unless they have a passage of their
    /// own.
    pub old: PathBuf,
    /// Never [`Mode::Auto`].
    pub mode: Mode,
}

/// What becomes of the mode that was asked for, given which folders can be cloned.
///
/// Only where the folders differ, `Auto` remains: otherwise the mode is the one that they have in
/// common.
pub fn decide(asked: Mode, folders: &[(PathBuf, bool)]) -> (Mode, Vec<Passage>) {
    let passages: Vec<Passage> = folders
        .iter()
        .map(|(old, cloneable)| Passage {
            old: old.clone(),
            mode: match (asked, cloneable) {
                (Mode::Auto, true) => Mode::Clone,
                (Mode::Auto, false) => Mode::Copy,
                (asked, _) => asked,
            },
        })
        .collect();
    let mut modes = passages.iter().map(|passage| passage.mode);
    let mode = match (asked, modes.next()) {
        (Mode::Auto, None) => Mode::Copy,
        (Mode::Auto, Some(first)) if modes.all(|mode| mode == first) => first,
        (asked, _) => asked,
    };
    (mode, passages)
}

impl Plan {
    /// How the files of this directory of old get to new; never [`Mode::Auto`].
    pub fn mode_of(&self, old_dir: &Path) -> Mode {
        if self.mode != Mode::Auto {
            return self.mode;
        }
        let above = self.passages.iter();
        above
            .filter(|passage| old_dir.starts_with(&passage.old))
            .max_by_key(|passage| passage.old.components().count())
            .map_or(Mode::Copy, |passage| passage.mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(cloneable: [bool; 3]) -> Vec<(PathBuf, bool)> {
        let folders = ["/srv/old/base", "/srv/old/base/5", "/ts/PG_15_2"].map(PathBuf::from);
        folders.into_iter().zip(cloneable).collect()
    }

    #[test]
    fn what_was_asked_for_is_done_everywhere() {
        for asked in [Mode::Link, Mode::Copy, Mode::Clone, Mode::CopyFileRange] {
            let (mode, passages) = decide(asked, &folders([true, false, true]));
            assert_eq!(mode, asked);
            assert!(passages.iter().all(|passage| passage.mode == asked));
        }
    }

    #[test]
    fn auto_clones_what_can_be_cloned() {
        assert_eq!(decide(Mode::Auto, &folders([true; 3])).0, Mode::Clone);
        assert_eq!(decide(Mode::Auto, &folders([false; 3])).0, Mode::Copy);
        assert_eq!(decide(Mode::Auto, &[]).0, Mode::Copy);
        let (mode, passages) = decide(Mode::Auto, &folders([true, false, false]));
        assert_eq!(mode, Mode::Auto);
        let modes: Vec<Mode> = passages.iter().map(|passage| passage.mode).collect();
        assert_eq!(modes, [Mode::Clone, Mode::Copy, Mode::Copy]);
    }
}
