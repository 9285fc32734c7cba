//! Named crash points, active only with the feature `fault`.
//!
//! Points are counted as they are reached: with `PGM_FAULT=N` the process kills itself with
//! SIGKILL at the Nth, as a power cut would. With `PGM_FAULT_LOG=FILE` every point reached is
//! written to a file, so that a test learns how many there are. With `PGM_FAULT_ERROR=NAME:N:ERRNO`
//! the Nth act of that name fails with that error, as of a disk that is full or broken.

/// A place where the process may be killed.
#[cfg(not(feature = "fault"))]
#[inline(always)]
pub fn point(_name: &'static str) {}

/// The error an act is to fail with, in place of being done.
#[cfg(not(feature = "fault"))]
#[inline(always)]
pub fn error(_name: &'static str) -> std::io::Result<()> {
    Ok(())
}

#[cfg(feature = "fault")]
pub use active::{error, point};

#[cfg(feature = "fault")]
mod active {
    use std::io::Write;
    use std::sync::atomic::{AtomicU64, Ordering};

    static REACHED: AtomicU64 = AtomicU64::new(0);

    static ASKED: AtomicU64 = AtomicU64::new(0);

    /// The error an act is to fail with, in place of being done.
    pub fn error(name: &'static str) -> std::io::Result<()> {
        let Ok(text) = std::env::var("PGM_FAULT_ERROR") else {
            return Ok(());
        };
        let mut parts = text.split(':');
        if parts.next() != Some(name) {
            return Ok(());
        }
        let number = ASKED.fetch_add(1, Ordering::SeqCst) + 1;
        let mut numbers = parts.filter_map(|part| part.parse::<u64>().ok());
        match (numbers.next(), numbers.next()) {
            (Some(at), Some(errno)) if at == number => Err(std::io::Error::from_raw_os_error(
                i32::try_from(errno).unwrap_or_default(),
            )),
            _ => Ok(()),
        }
    }

    fn wanted() -> Option<u64> {
        std::env::var("PGM_FAULT").ok()?.parse().ok()
    }

    /// A place where the process may be killed.
    pub fn point(name: &'static str) {
        let number = REACHED.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(path) = std::env::var_os("PGM_FAULT_LOG") {
            let line = format!("{number} {name}\n");
            let opened = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path);
            if let Ok(mut file) = opened {
                // A lost line only makes the matrix shorter, which the test that reads it sees.
                let _ = file.write_all(line.as_bytes());
            }
        }
        if wanted() == Some(number) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::SIGKILL);
        }
    }
}
