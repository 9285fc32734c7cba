//! Comparison of old and new, file by file; nothing is ever repaired here.
//!
//! Tables are not read through a server: in link mode even reading would stamp old's pages.

mod files;

pub use files::{Compared, contents, names_and_sizes};
