//! How work is done: several things at once, until somebody asks to stop.

mod cancel;
mod each;

pub use cancel::{Cancel, install_signal_handlers};
pub use each::{both, each, lock, usual_jobs};
