//! Named crash points, active only with the feature `fault`.
//!
//! Points are counted as they are reached: with `PGM_FAULT=N` the process kills itself with
//! SIGKILL at the Nth, as a power cut would. With `PGM_FAULT_LOG=FILE` every point reached is
//! written to a file, so that a test learns how many there are.

/// A place where the process may be killed.
#[cfg(not(feature = "fault"))]
#[inline(always)]
pub fn point(_name: &'static str) {}

#[cfg(feature = "fault")]
pub use active::point;

#[cfg(feature = "fault")]
mod active {
    use std::io::Write;
    use std::sync::atomic::{AtomicU64, Ordering};

    static REACHED: AtomicU64 = AtomicU64::new(0);

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
