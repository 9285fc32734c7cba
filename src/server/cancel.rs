//! The wish to stop, as the rooms that talk to servers see it.

pub use crate::work::{Cancel, install_signal_handlers};
