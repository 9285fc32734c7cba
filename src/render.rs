//! What people and programs get to read: human text, progress, JSON Lines and the report.
//!
//! Everything here is a function of the event stream, so that the terminal, `--json`, the
//! report and `log` can never tell different stories. Nothing here prints: whoever builds a
//! renderer hands it the places to write to. A place that cannot be written to is passed
//! over, because an upgrade must not end where somebody closes a terminal.
//!
//! Whatever comes from a catalog, a file or another program goes through
//! [`terminal_safe`](crate::pg::quote::terminal_safe) on its way to a person.

mod amount;
mod block;
mod codes;
mod findings;
mod json;
mod layout;
mod line;
mod list;
mod look;
mod progress;
mod replay;
mod report;
#[cfg(test)]
mod sample;
mod script;
#[cfg(test)]
mod snapshot;
mod standing;
mod terminal;

pub use codes::{error_table, explain};
pub use findings::{MANY, listing};
pub use json::JsonLines;
pub use layout::Show;
pub use list::list;
pub use look::Look;
pub use replay::{Filter, replay};
pub use report::report;
pub use script::{Script, script};
pub use standing::{Clusters, Left, sentence_without_state, standing_sentence};
pub use terminal::Terminal;
