//! The wish to stop: set by a signal, looked at between acts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::{Code, Error, Result};

/// A flag that asks everything which waits to end soon; clones share it.
///
/// It holds the number of the signal that set it, because the exit status depends on it.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicUsize>);

impl Cancel {
    /// A flag nobody has set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets it, as if this signal had come.
    pub fn request(&self, signal: i32) {
        self.0
            .store(usize::try_from(signal).unwrap_or(0), Ordering::SeqCst);
    }

    /// Whether somebody has asked to stop.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst) != 0
    }

    /// Takes the wish as fulfilled: from here on a later one counts.
    pub fn answered(&self) {
        self.0.store(0, Ordering::SeqCst);
    }

    /// An error if somebody has asked to stop.
    pub fn check(&self) -> Result<()> {
        match i32::try_from(self.0.load(Ordering::SeqCst)) {
            Ok(0) => Ok(()),
            Ok(SIGINT) => Err(Error::new(Code::Interrupted, "interrupted")),
            _ => Err(Error::new(Code::Terminated, "asked to terminate")),
        }
    }
}

/// Lets SIGINT, SIGTERM and SIGHUP set the flag, and do nothing else from now on.
///
/// A second Ctrl-C has no other effect than the first: what must be undone is undone in order.
pub fn install_signal_handlers(cancel: &Cancel) -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let value = usize::try_from(signal).unwrap_or(0);
        signal_hook::flag::register_usize(signal, Arc::clone(&cancel.0), value).map_err(
            |error| {
                Error::new(Code::Internal, "could not install a signal handler").caused_by(&error)
            },
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signal_decides_the_code() {
        let cancel = Cancel::new();
        assert!(cancel.check().is_ok());
        cancel.clone().request(SIGINT);
        assert!(cancel.requested());
        assert_eq!(cancel.check().unwrap_err().code(), Code::Interrupted);
        cancel.request(SIGTERM);
        assert_eq!(cancel.check().unwrap_err().code(), Code::Terminated);
    }

    #[test]
    fn a_signal_sets_the_flag() {
        let cancel = Cancel::new();
        install_signal_handlers(&cancel).unwrap();
        signal_hook::low_level::raise(SIGHUP).unwrap();
        assert_eq!(cancel.check().unwrap_err().code(), Code::Terminated);
    }
}
