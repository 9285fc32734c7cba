//! Whether these two versions make an upgrade.

use crate::error::{Code, Error, Remedy};
use crate::pg::{MajorVersion, Version};
use crate::server::Installation;

use super::old::Old;
use super::problems::Problems;

/// Compares the programs of old with its data directory, and old with new.
///
/// The version of a data directory counts more than that of the programs given for it.
pub(super) fn examine(
    old: Option<&Old>,
    old_installation: Option<&Installation>,
    new_installation: Option<&Installation>,
    problems: &mut Problems,
) {
    if let (Some(old), Some(installation)) = (old, old_installation) {
        problems.extend(wrong_programs(old, installation));
    }
    let cluster = old.map(|old| old.dir.major);
    let programs = old_installation.map(|installation| &installation.version);
    let Some(major) = cluster.or_else(|| programs.map(|version| version.major)) else {
        return;
    };
    if let Some(new) = new_installation {
        let printed = programs.filter(|version| version.major == major);
        problems.extend(refusal(major, printed, &new.version));
    }
}

fn wrong_programs(old: &Old, installation: &Installation) -> Option<Error> {
    let major = old.dir.major;
    (installation.version.major != major).then(|| {
        Error::new(
            Code::ProgramVersion,
            format!(
                "the old data directory is of PostgreSQL {major}, but the programs given for it are of {}",
                installation.version
            ),
        )
        .fact("data directory", old.dir.path.display())
        .fact("programs", installation.bindir.display())
        .remedy(Remedy::manual(format!(
            "give the directory with the programs of PostgreSQL {major} with -b/--old-bindir"
        )))
    })
}

/// Why this pair is refused; `printed` is the exact version of old where it is known.
fn refusal(old: MajorVersion, printed: Option<&Version>, new: &Version) -> Option<Error> {
    let old_text = printed.map_or_else(|| old.to_string(), ToString::to_string);
    let (message, remedy) = if old < MajorVersion::OLDEST_OLD {
        (
            format!("PostgreSQL {old_text} is too old to be upgraded by this program"),
            "upgrade it to PostgreSQL 10 or newer by other means first, for instance with \
             pg_upgrade of PostgreSQL 15"
                .to_owned(),
        )
    } else if old == new.major {
        (
            format!(
                "old and new are both PostgreSQL {old}: another release of it is a minor release"
            ),
            format!(
                "a minor release needs no upgrade: install PostgreSQL {} and restart the server \
                 with it; for a new major version give its programs with -B/--new-bindir",
                new.text
            ),
        )
    } else if old > new.major {
        (
            format!("the new version, {new}, is older than the old one, {old_text}"),
            "a cluster cannot go back to an older version: give the programs of a newer one with \
             -B/--new-bindir, or exchange the two sides if they were mistaken for each other"
                .to_owned(),
        )
    } else if new.major > MajorVersion::NEWEST_NEW {
        (
            format!("PostgreSQL {new} is newer than any version this program knows"),
            "use a newer release of this program, or give the programs of PostgreSQL 15 to 18 \
             with -B/--new-bindir"
                .to_owned(),
        )
    } else if new.major < MajorVersion::OLDEST_NEW {
        (
            format!("PostgreSQL {new} is too old to be upgraded to"),
            "give the programs of PostgreSQL 15 to 18 with -B/--new-bindir".to_owned(),
        )
    } else {
        return None;
    };
    Some(
        Error::new(Code::VersionPair, message)
            .fact("old", old_text)
            .fact("new", new)
            .fact("supported", "old 10 to 17, new 15 to 18")
            .remedy(Remedy::manual(remedy)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(old: u16, new: &str) -> Option<String> {
        let new = Version::parse(new).unwrap();
        refusal(MajorVersion(old), None, &new).map(|error| {
            assert_eq!(error.code(), Code::VersionPair);
            assert!(error.remedy_text().is_some());
            error.message().to_owned()
        })
    }

    #[test]
    fn every_newer_version_is_taken() {
        for old in 10..=17 {
            for new in 15..=18 {
                let taken = refused(old, &format!("{new}.1")).is_none();
                assert_eq!(taken, old < new, "{old} to {new}");
            }
        }
    }

    #[test]
    fn each_refusal_says_why() {
        let says = |old, new, part: &str| {
            let message = refused(old, new).unwrap();
            assert!(message.contains(part), "{message}");
        };
        says(15, "15.20", "minor release");
        says(
            17,
            "16.4",
            "the new version, 16.4, is older than the old one, 17",
        );
        says(9, "17.1", "PostgreSQL 9 is too old to be upgraded by");
        says(
            15,
            "19beta1",
            "PostgreSQL 19beta1 is newer than any version",
        );
        says(10, "14.3", "PostgreSQL 14.3 is too old to be upgraded to");
        says(18, "18.6", "minor release");
        says(18, "19.0", "newer than any");
    }
}
