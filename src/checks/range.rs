//! Ranges of major versions, as the files write them: `..11`, `14..`, `12..15`, `17`, `..`.

use std::fmt;

use crate::pg::MajorVersion;

/// A range of major versions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VersionRange {
    from: Option<MajorVersion>,
    to: Option<MajorVersion>,
}

impl VersionRange {
    /// Reads what the files write; an empty range is refused.
    pub fn parse(text: &str) -> Option<Self> {
        let end = |digits: &str| match digits {
            "" => Some(None),
            _ => MajorVersion::parse(digits).map(Some),
        };
        let (from, to) = match text.split_once("..") {
            Some((from, to)) => (end(from)?, end(to)?),
            None => {
                let only = Some(MajorVersion::parse(text)?);
                (only, only)
            }
        };
        let empty = from.zip(to).is_some_and(|(from, to)| from > to);
        (!empty).then_some(Self { from, to })
    }

    /// Whether the version lies in it.
    pub fn contains(self, version: MajorVersion) -> bool {
        self.from.is_none_or(|from| from <= version) && self.to.is_none_or(|to| version <= to)
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.to) {
            (None, None) => f.write_str("every version"),
            (Some(from), None) => write!(f, "{from} and newer"),
            (None, Some(to)) => write!(f, "{to} and older"),
            (Some(from), Some(to)) if from == to => write!(f, "{from}"),
            (Some(from), Some(to)) => write!(f, "{from} to {to}"),
        }
    }
}

impl<'de> serde::Deserialize<'de> for VersionRange {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("not a range of versions: {text:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_belong_to_a_range() {
        let members = |text| {
            let range = VersionRange::parse(text).unwrap();
            (10..=18)
                .filter(|v| range.contains(MajorVersion(*v)))
                .collect::<Vec<_>>()
        };
        assert_eq!(members("..11"), [10, 11]);
        assert_eq!(members("17.."), [17, 18]);
        assert_eq!(members("12..13"), [12, 13]);
        assert_eq!(members("14"), [14]);
        assert_eq!(members("..").len(), 9);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "x", "11..10", "1.2..", "9.6", "..x"] {
            assert_eq!(VersionRange::parse(text), None, "{text}");
        }
    }
}
