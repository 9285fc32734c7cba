//! What would make an upgrade fail, or surprise somebody: one file a check in `checks/`.
//!
//! A check says what it looks for, why that matters and what to do about it. [`run`] makes all
//! that apply to a pair of versions and stops at no finding: the operator learns everything at
//! once. What only the new version can answer is tried in a throw-away cluster of it, which is
//! made when the first such question comes up. A [`Rehearsal`] has a cluster of its own, in which
//! it restores the whole schema. The examples in the files are carried out by the tests on real
//! servers, remedies included.

mod access_rules;
mod check;
mod file;
mod interview;
mod lock_table;
mod page;
mod probe;
mod range;
mod rehearsal;
mod report;
mod run;
mod second_names;
mod selection;
mod settings_in_files;
mod stored_type;
mod template;
mod trial;

pub use check::{Applies, Check, Question, RemedyKind, RemedySpec, Scope, Severity};
pub use file::{Example, Statement, all, parse};
pub use interview::{Asked, Interviews};
pub use lock_table::lock_table;
pub use page::page;
pub use probe::Probe;
pub use range::VersionRange;
pub use rehearsal::{EXPLANATION, REHEARSAL, Rehearsal, Rehearsed, Watcher};
pub use report::{Finding, Report};
pub use run::{Applicable, Subject, run};
pub use selection::{Selection, nearest};
pub use template::Template;
pub use trial::{NewVersion, Trials};
