//! A rate as it is typed.

/// A rate with a unit as PostgreSQL's settings have them; 1 kB is 1024 bytes.
///
/// Less than a megabyte in a second would not end.
pub fn parse(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text[digits.len()..].trim() {
        "" | "B" => 1,
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return Err("the units are B, kB, MB and GB".to_owned()),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "not a number of bytes".to_owned())?;
    match number.checked_mul(unit) {
        Some(rate) if rate >= 1 << 20 => Ok(rate),
        Some(_) => Err("less than 1MB in a second".to_owned()),
        None => Err("too many bytes".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_a_unit_and_an_end_in_sight() {
        assert_eq!(parse("100MB"), Ok(100 << 20));
        assert_eq!(parse("2 GB"), Ok(2 << 30));
        assert_eq!(parse("1048576"), Ok(1 << 20));
        for wrong in ["", "MB", "1kB", "1.5GB", "-1MB", "10mb", "99999999999GB"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
