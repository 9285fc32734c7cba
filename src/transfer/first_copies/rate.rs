//! How fast a live server's files are read.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::work::Cancel;

/// What was not used of the rate counts no longer than this.
const SAVED: Duration = Duration::from_millis(100);

/// A limit for all workers together; none where no number is given.
pub(super) struct Rate {
    bytes_in_a_second: Option<u64>,
    /// When all that was read so far may have been read.
    earned: Mutex<Instant>,
}

impl Rate {
    pub fn new(bytes_in_a_second: Option<u64>) -> Self {
        Self {
            bytes_in_a_second,
            earned: Mutex::new(Instant::now()),
        }
    }

    /// Waits until so many bytes more may have been read.
    pub fn spend(&self, bytes: u64, cancel: &Cancel) -> Result<()> {
        let Some(rate) = self.bytes_in_a_second else {
            return cancel.check();
        };
        let cost = Duration::from_micros(bytes.saturating_mul(1_000_000) / rate.max(1));
        let until = {
            let mut earned = self.earned.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            *earned = (*earned).max(now.checked_sub(SAVED).unwrap_or(now)) + cost;
            *earned
        };
        loop {
            cancel.check()?;
            match until.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => {
                    std::thread::sleep(left.min(Duration::from_millis(50)));
                }
                _ => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_workers_share_one_rate() {
        let (rate, cancel) = (Rate::new(Some(10 << 20)), Cancel::new());
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        rate.spend(256 << 10, &cancel).unwrap();
                    }
                });
            }
        });
        let took = begun.elapsed();
        assert!(took > Duration::from_millis(380), "{took:?}");
        let begun = Instant::now();
        Rate::new(None).spend(1 << 40, &cancel).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(60));
        cancel.request(2);
        assert!(rate.spend(1 << 40, &cancel).is_err());
    }
}
