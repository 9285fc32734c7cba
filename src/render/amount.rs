//! Durations and progress as people read them.

use std::time::{Duration, SystemTime};

use crate::pg::amount::{count, size};

/// A duration: `0.2 s`, `31.4 s`, `1 min 52 s`, `2 h 03 min`.
pub fn duration(seconds: f64) -> String {
    let seconds = if seconds.is_finite() {
        seconds.max(0.0)
    } else {
        0.0
    };
    // From here on one decimal would print as 60.0.
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    if whole < 3600 {
        return format!("{} min {:02} s", whole / 60, whole % 60);
    }
    let minutes = (seconds / 60.0).round() as u64;
    format!("{} h {:02} min", minutes / 60, minutes % 60)
}

/// A count of what the unit of a progress says; `bytes` become a size.
pub(super) fn amount(number: u64, unit: &str) -> String {
    if unit == "bytes" {
        size(number)
    } else {
        count(number)
    }
}

/// The time of an event; `None` where it is not one.
pub(super) fn instant(time: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339(time).ok()
}

/// How long after one event another came; nothing where a clock went backwards.
pub(super) fn between(from: &str, to: &str) -> Option<Duration> {
    instant(to)?.duration_since(instant(from)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_change_their_unit_without_a_seam() {
        let cases = [
            (-1.0, "0.0 s"),
            (f64::NAN, "0.0 s"),
            (0.04, "0.0 s"),
            (0.2, "0.2 s"),
            (31.44, "31.4 s"),
            (59.94, "59.9 s"),
            (59.96, "1 min 00 s"),
            (112.3, "1 min 52 s"),
            (3599.4, "59 min 59 s"),
            (3599.6, "1 h 00 min"),
            (7380.0, "2 h 03 min"),
            (360_000.0, "100 h 00 min"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn a_clock_that_goes_back_measures_nothing() {
        let (early, late) = ("2026-01-01T00:00:00.000Z", "2026-01-01T00:00:01.500Z");
        assert_eq!(between(early, late), Some(Duration::from_millis(1500)));
        assert_eq!(between(late, early), None);
        assert_eq!(between("yesterday", late), None);
    }
}
