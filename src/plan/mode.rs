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
}

impl Mode {
    /// Whether both clusters share files afterwards, so that old must never start again once
    /// new has run.
    pub fn shares_files(self) -> bool {
        match self {
            Self::Link => true,
            Self::Copy => false,
        }
    }

    /// Until when the way back is open, as a clause.
    pub fn way_back(self) -> &'static str {
        match self {
            Self::Link => "the way back ends when new is first started",
            Self::Copy => "the way back is open until finalize",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Link => "link",
            Self::Copy => "copy",
        })
    }
}
