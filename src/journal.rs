//! What has been done to the clusters, written down before and after each act.
//!
//! The journal is the only source of the standing. It is append-only, every line carries a
//! sequence number and a CRC, and one transition table decides which line may follow which,
//! when writing as well as when reading back.

mod record;
mod standing;
mod store;

pub use record::{FORMAT, Milestone, Opened, Phase, Record, Target};
pub use standing::{Standing, State, StepEntry, StepState};
pub use store::{JOURNAL_FILE, Journal};
