//! The ways files get from the old cluster to the new one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How relation files get to the new cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// They get a second name: both clusters share them.
    Link,
    /// They are copied: each cluster has its own.
    Copy,
    /// Each cluster has its own, which share their blocks until one of them is written to.
    Clone,
    /// They are copied by copy_file_range(2), and by nothing else.
    CopyFileRange,
    /// They are moved, and moved back on the way back.
    Swap,
    /// Cloned where the file systems can do it, and copied elsewhere. What that is for each
    /// folder is decided before anything is built; see [`Plan::mode_of`](super::Plan::mode_of).
    Auto,
}

impl Mode {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 6] = [
        Self::Link,
        Self::Clone,
        Self::Copy,
        Self::CopyFileRange,
        Self::Swap,
        Self::Auto,
    ];

    /// Whether new has files of old afterwards, so that old must never start again once new has
    /// run.
    pub fn shares_files(self) -> bool {
        match self {
            Self::Link | Self::Swap => true,
            Self::Copy | Self::Clone | Self::CopyFileRange | Self::Auto => false,
        }
    }

    /// Until when the way back is open, as a clause.
    pub fn way_back(self) -> &'static str {
        match self.shares_files() {
            true => "the way back ends when new is first started",
            false => "the way back is open until finalize",
        }
    }

    /// Its name, which is also that of its option.
    pub fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Copy => "copy",
            Self::Clone => "clone",
            Self::CopyFileRange => "copy-file-range",
            Self::Swap => "swap",
            Self::Auto => "auto",
        }
    }

    /// What it does to files, as a participle.
    pub fn done(self) -> &'static str {
        match self {
            Self::Link => "linked",
            Self::Copy => "copied",
            Self::Clone => "cloned",
            Self::CopyFileRange => "copied by copy_file_range",
            Self::Swap => "moved",
            Self::Auto => "cloned or copied",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
