//! Counts and sizes as people read them.

/// A count with its thousands separated: `20,114`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count of things whose plural ends in s: `1 file`, `20,114 files`.
pub fn counted(number: u64, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {one}{plural}", count(number))
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn one_thing_is_not_many() {
        assert_eq!(counted(0, "table"), "0 tables");
        assert_eq!(counted(1, "table"), "1 table");
        assert_eq!(counted(20_114, "table"), "20,114 tables");
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
}
