//! Comparison of old and new, file by file, and of old with what it was; nothing is ever
//! repaired here.
//!
//! Tables are not read through a server: in link mode even reading would stamp old's pages.

mod extra;
mod files;
mod manifest;
mod pages;
mod quiet;
mod swapped;
mod wal;

pub use extra::{Contents, nothing_else};
pub use files::{Compared, contents, mended, names_and_sizes};
pub use manifest::Manifest;
pub use pages::{CheckedPages, Fault, WrongPage, checked_pages};
pub use quiet::{Since, Wal, since};
pub use swapped::swapped;
