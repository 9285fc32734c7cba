//! Comparison of old and new, file by file, and of old with what it was; nothing is ever
//! repaired here.
//!
//! Tables are not read through a server: in link mode even reading would stamp old's pages.

mod files;
mod quiet;
mod wal;

pub use files::{Compared, contents, mended, names_and_sizes};
pub use quiet::{Since, Wal, since};
