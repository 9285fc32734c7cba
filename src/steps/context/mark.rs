//! Behind which mark the catalog of an old cluster in use was read.

use super::Context;
use crate::catalog::Mark;
use crate::error::Result;

/// What the reading of an old cluster in use is confirmed by.
const MARK: &str = "old-mark.json";

impl Context<'_> {
    /// Writes down what a reading is to be confirmed by.
    pub fn save_mark(&self, mark: &Mark) -> Result<()> {
        self.save(MARK, mark)
    }

    /// What the reading is to be confirmed by; nothing where old was down when it was read.
    pub fn mark(&self) -> Result<Option<Mark>> {
        match self.state.path(MARK)?.exists() {
            true => self.load(MARK).map(Some),
            false => Ok(None),
        }
    }

    /// What was read is confirmed, or not worth confirming any more.
    pub fn forget_mark(&self) -> Result<()> {
        self.state.remove_file(MARK)
    }
}
