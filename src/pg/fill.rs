//! Reading as much of a file as there is.

use std::fs::File;
use std::io::{ErrorKind, Result};
use std::os::unix::fs::FileExt;

/// Reads from a position on; gives how much there was.
///
/// # Errors
///
/// Those of read(2), but for an interruption, after which it reads on.
pub fn fill_at(file: &File, chunk: &mut [u8], from: u64) -> Result<usize> {
    let mut filled = 0;
    while filled < chunk.len() {
        match file.read_at(&mut chunk[filled..], from + filled as u64) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
