//! Directories among temporary files.

use tempfile::TempDir;

use crate::error::{Code, Error, Result};

/// A new directory among temporary files, which goes with this value; its name begins so.
pub fn temporary(prefix: &str) -> Result<TempDir> {
    let made = tempfile::Builder::new().prefix(prefix).tempdir();
    made.map_err(|error| {
        let parent = std::env::temp_dir();
        Error::io(Code::NotWritable, "make a directory in", &parent, &error)
    })
}
