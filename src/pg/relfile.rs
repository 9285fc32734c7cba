//! The names of relation files: `16384`, `16384_fsm`, `16384.1`, `16384_vm.2`.

use std::fmt;

use super::RelFileNumber;

/// Which of a relation's files it is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Fork {
    /// The rows or the index itself.
    Main,
    /// The free space map.
    Fsm,
    /// The visibility map.
    Vm,
    /// The empty form an unlogged relation is reset to after a crash.
    Init,
}

impl Fork {
    /// Every fork, main first.
    pub const ALL: [Fork; 4] = [Fork::Main, Fork::Fsm, Fork::Vm, Fork::Init];

    fn suffix(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Fsm => "_fsm",
            Self::Vm => "_vm",
            Self::Init => "_init",
        }
    }
}

/// One relation file: one segment of one fork of one relation.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct RelFile {
    /// `pg_relation_filenode` of the relation.
    pub number: RelFileNumber,
    /// The fork.
    pub fork: Fork,
    /// 0 for the first gigabyte.
    pub segment: u32,
}

impl RelFile {
    /// The first segment of a fork.
    pub fn first(number: RelFileNumber, fork: Fork) -> Self {
        Self {
            number,
            fork,
            segment: 0,
        }
    }

    /// Reads a file name; `None` for every name that PostgreSQL would not write.
    ///
    /// Files of temporary relations (`t3_16384`) are none either: they belong to a session and
    /// are removed when the server starts. Mirrors `parse_filename_for_nontemp_relation` of
    /// `src/backend/storage/file/reinit.c`.
    pub fn parse(name: &str) -> Option<Self> {
        let (base, segment) = match name.split_once('.') {
            Some((base, segment)) => (base, positive(segment)?),
            None => (name, 0),
        };
        let fork = [Fork::Fsm, Fork::Vm, Fork::Init]
            .into_iter()
            .find(|fork| base.ends_with(fork.suffix()))
            .unwrap_or(Fork::Main);
        let number = positive(base.strip_suffix(fork.suffix())?)?;
        Some(Self {
            number: RelFileNumber(number),
            fork,
            segment,
        })
    }

    /// The name on disk.
    pub fn file_name(&self) -> String {
        self.to_string()
    }

    /// The same segment of the same fork under another number.
    #[must_use]
    pub fn renumbered(self, number: RelFileNumber) -> Self {
        Self { number, ..self }
    }
}

impl fmt::Display for RelFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.number, self.fork.suffix())?;
        if self.segment > 0 {
            write!(f, ".{}", self.segment)?;
        }
        Ok(())
    }
}

/// A number above zero without sign or leading zeroes.
fn positive(digits: &str) -> Option<u32> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(number: u32, fork: Fork, segment: u32) -> Option<RelFile> {
        Some(RelFile {
            number: RelFileNumber(number),
            fork,
            segment,
        })
    }

    #[test]
    fn names_are_read() {
        assert_eq!(RelFile::parse("16384"), file(16384, Fork::Main, 0));
        assert_eq!(RelFile::parse("16384.12"), file(16384, Fork::Main, 12));
        assert_eq!(RelFile::parse("16384_fsm"), file(16384, Fork::Fsm, 0));
        assert_eq!(
            RelFile::parse("4294967295_vm.3"),
            file(u32::MAX, Fork::Vm, 3)
        );
        assert_eq!(RelFile::parse("2619_init"), file(2619, Fork::Init, 0));
    }

    #[test]
    fn other_names_are_not_relation_files() {
        for name in [
            "",
            "0",
            "016384",
            "+1",
            "16384.",
            "16384.0",
            "16384.01",
            "16384_",
            "16384_main",
            "16384_fsm_vm",
            "_fsm",
            "t3_16384",
            "4294967296",
            "16384.1.2",
            "pg_filenode.map",
            "PG_VERSION",
            "pg_internal.init",
            "16384.1_fsm",
            " 16384",
        ] {
            assert_eq!(RelFile::parse(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_read_as_it_is_written(number in 1u32.., fork in 0usize..4, segment: u32) {
            let written = RelFile { number: RelFileNumber(number), fork: Fork::ALL[fork], segment };
            prop_assert_eq!(RelFile::parse(&written.file_name()), Some(written));
        }

        #[test]
        fn only_its_own_name_is_read(name in "[0-9_.a-z]{0,14}") {
            if let Some(file) = RelFile::parse(&name) {
                prop_assert_eq!(file.file_name(), name);
            }
        }
    }
}
