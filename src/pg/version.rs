//! Versions of PostgreSQL: which exist, which are supported, what their programs print.

use std::fmt;

/// A major version: 10, 11, ... 18.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct MajorVersion(pub u16);

impl MajorVersion {
    /// The oldest version that can be upgraded from.
    pub const OLDEST_OLD: MajorVersion = MajorVersion(10);
    /// The newest version that can be upgraded from.
    pub const NEWEST_OLD: MajorVersion = MajorVersion(17);
    /// The oldest version that can be upgraded to.
    pub const OLDEST_NEW: MajorVersion = MajorVersion(15);
    /// The newest version that can be upgraded to.
    pub const NEWEST_NEW: MajorVersion = MajorVersion(18);

    /// Reads the contents of `PG_VERSION`; versions before 10 have two numbers and give `None`.
    pub fn parse(text: &str) -> Option<Self> {
        text.trim().parse().ok().map(Self)
    }
}

impl fmt::Display for MajorVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// With which round of minor releases one came out; none for a major version nobody knows.
///
/// Since all supported versions have their minor releases on the same days, the numbers of two
/// versions keep their distance: 17.6, 16.10 and 15.14 are one round, here that of 17.6. Of a
/// version that is no longer supported the last release keeps its place. A few releases that
/// only one version had (14.4) make the older ones of it look a round older than they are.
pub fn release_round(major: MajorVersion, minor: u16) -> Option<i32> {
    let ahead = match major.0 {
        10 => 30,
        11 => 25,
        12 => 20,
        13 => 16,
        14 => 13,
        15 => 8,
        16 => 4,
        17 => 0,
        18 => -6,
        _ => return None,
    };
    Some(i32::from(minor) - ahead)
}

/// A release as a program prints it: `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Version {
    /// The major version.
    pub major: MajorVersion,
    /// The minor release; 0 for betas and release candidates.
    pub minor: u16,
    /// `15.18`, `18beta1`: as printed.
    pub text: String,
}

impl Version {
    /// Reads what a program prints for `--version`.
    pub fn parse(output: &str) -> Option<Self> {
        let text = output
            .split_whitespace()
            .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?
            .to_owned();
        let digits = |s: &str| {
            s.chars()
                .take_while(char::is_ascii_digit)
                .collect::<String>()
        };
        let major: u16 = digits(&text).parse().ok()?;
        let rest = &text[digits(&text).len()..];
        let minor = rest
            .strip_prefix('.')
            .and_then(|m| digits(m).parse().ok())
            .unwrap_or(0);
        Some(Self {
            major: MajorVersion(major),
            minor,
            text,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_one_day_are_one_round() {
        let rounds = |releases: &[(u16, u16)]| {
            let each = releases
                .iter()
                .map(|(major, minor)| release_round(MajorVersion(*major), *minor).unwrap());
            each.collect::<Vec<_>>()
        };
        for (day, releases) in [
            (
                "2022-11-10",
                &[(10, 23), (11, 18), (12, 13), (13, 9), (14, 6), (15, 1)][..],
            ),
            (
                "2023-11-09",
                &[(11, 22), (12, 17), (13, 13), (14, 10), (15, 5), (16, 1)],
            ),
            (
                "2024-11-21",
                &[(12, 22), (13, 18), (14, 15), (15, 10), (16, 6), (17, 2)],
            ),
            (
                "2025-11-13",
                &[(13, 23), (14, 20), (15, 15), (16, 11), (17, 7), (18, 1)],
            ),
        ] {
            let rounds = rounds(releases);
            assert!(
                rounds.iter().all(|round| *round == rounds[0]),
                "{day}: {rounds:?}"
            );
        }
        let in_order = rounds(&[(10, 23), (16, 1), (12, 22), (17, 6), (18, 1), (15, 20)]);
        assert!(in_order.is_sorted_by(|a, b| a < b), "{in_order:?}");
        assert_eq!(release_round(MajorVersion(19), 0), None);
    }

    #[test]
    fn program_versions_are_read() {
        let read = |text: &str| Version::parse(text).map(|v| (v.major.0, v.minor, v.text));
        assert_eq!(
            read("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some((15, 18, "15.18".into()))
        );
        assert_eq!(
            read("pg_dump (PostgreSQL) 18beta1"),
            Some((18, 0, "18beta1".into()))
        );
        assert_eq!(
            read("postgres (EnterpriseDB) 17.2.0"),
            Some((17, 2, "17.2.0".into()))
        );
        assert_eq!(read("no number"), None);
    }
}
