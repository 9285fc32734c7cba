//! Durations, counts and sizes as people read them.

use std::time::{Duration, SystemTime};

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

/// A count with its thousands separated: `20,114`.
pub fn count(number: u64) -> String {
    separate(&number.to_string())
}

/// A size in the units of PostgreSQL: 1 kB is 1024 bytes, 1 MB is 1024 kB, and so on.
///
/// The same numbers as `pg_size_pretty` and `\l+`, with which an operator will compare them.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would print as 1024.0 in one unit or the other.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 99.95 {
        format!("{value:.1} {}", UNITS[unit])
    } else {
        format!("{value:.0} {}", UNITS[unit])
    }
}

/// A count of what the unit of a progress says; `bytes` become a size.
pub(super) fn amount(number: u64, unit: &str) -> String {
    if unit == "bytes" {
        size(number)
    } else {
        count(number)
    }
}

/// Separates the thousands of every number in a clause: `3 databases, 20114 tables`.
///
/// Only whole words of digits are numbers; a path or a version stays as it is.
pub fn grouped(clause: &str) -> String {
    clause
        .split(' ')
        .map(grouped_word)
        .collect::<Vec<_>>()
        .join(" ")
}

fn grouped_word(word: &str) -> String {
    let bare = word.trim_end_matches([',', ';', '.']);
    if bare.is_empty() || !bare.bytes().all(|byte| byte.is_ascii_digit()) {
        return word.to_owned();
    }
    format!("{}{}", separate(bare), &word[bare.len()..])
}

fn separate(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 warning`, `2,000 warnings`.
pub(super) fn counted(number: usize, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {one}{plural}", count(number as u64))
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
    fn thousands_are_separated() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (20_114, "20,114"),
            (1_234_567, "1,234,567"),
        ];
        for (number, text) in cases {
            assert_eq!(count(number), text);
        }
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn sizes_are_those_of_postgresql() {
        let cases = [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 kB"),
            (10 << 20, "10.0 MB"),
            ((1 << 20) - 1, "1.0 MB"),
            (812 << 30, "812 GB"),
            (5_368_709_120, "5.0 GB"),
            (u64::MAX, "16384 PB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn only_whole_words_are_numbers() {
        assert_eq!(
            grouped("stopped, 3 databases, 20114 tables, 1234567; in /srv/20114 v15.1800"),
            "stopped, 3 databases, 20,114 tables, 1,234,567; in /srv/20114 v15.1800"
        );
    }

    #[test]
    fn a_clock_that_goes_back_measures_nothing() {
        let (early, late) = ("2026-01-01T00:00:00.000Z", "2026-01-01T00:00:01.500Z");
        assert_eq!(between(early, late), Some(Duration::from_millis(1500)));
        assert_eq!(between(late, early), None);
        assert_eq!(between("yesterday", late), None);
    }
}
