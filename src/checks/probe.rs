//! What no query can find out.

use std::path::Path;

use super::access_rules;
use super::run::Subject;
use super::second_names;
use super::settings_in_files;
use crate::error::{Code, Error, Result};
use crate::pg::{ControlFile, MajorVersion, release_round};

/// A function of this program that looks for findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Checksums that new would have but for those that old has not.
    ChecksumsOff,
    /// Names in access rules that newer versions take for patterns.
    NamesReadAsPatterns,
    /// A new version that came out before the minor release of old.
    OlderMinorRelease,
    /// Access rules that a new server may refuse.
    RefusedAccessRules,
    /// Lines of configuration files with which a new server would not start.
    RefusedSettingsInFiles,
    /// Relation files that are shared with another directory.
    SecondNamesOfFiles,
    /// Tablespaces whose real place is below the old data directory.
    TablespacesInsideDataDirectory,
}

/// A finding before it is put into words: a value for each column, in order.
pub(super) type Row = Vec<Option<String>>;

impl Probe {
    /// The probe of this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "checksums-off" => Some(Self::ChecksumsOff),
            "names-read-as-patterns" => Some(Self::NamesReadAsPatterns),
            "older-minor-release" => Some(Self::OlderMinorRelease),
            "refused-access-rules" => Some(Self::RefusedAccessRules),
            "refused-settings-in-files" => Some(Self::RefusedSettingsInFiles),
            "second-names-of-files" => Some(Self::SecondNamesOfFiles),
            "tablespaces-inside-data-directory" => Some(Self::TablespacesInsideDataDirectory),
            _ => None,
        }
    }

    pub(super) fn ask(self, subject: &Subject<'_>) -> Result<Vec<Row>> {
        match self {
            Self::ChecksumsOff => checksums_off(subject),
            Self::NamesReadAsPatterns => access_rules::patterns(subject),
            Self::OlderMinorRelease => Ok(older_release(subject).into_iter().collect()),
            Self::RefusedAccessRules => access_rules::doubtful(subject),
            Self::RefusedSettingsInFiles => settings_in_files::refused(subject),
            Self::SecondNamesOfFiles => second_names::second_names(subject),
            Self::TablespacesInsideDataDirectory => tablespaces_inside(subject),
        }
    }
}

/// Where they are to be written, new has them.
fn checksums_off(subject: &Subject<'_>) -> Result<Vec<Row>> {
    if subject.enables_checksums {
        return Ok(Vec::new());
    }
    let control = ControlFile::read(&subject.old.data_dir)?;
    Ok(match control.data_checksums() {
        true => Vec::new(),
        false => vec![Row::new()],
    })
}

/// Where the round of either is not known, nothing is said.
fn older_release(subject: &Subject<'_>) -> Option<Row> {
    let num = subject.snapshot?.version_num;
    let (major, minor) = (num / 10_000, num % 10_000);
    let old = release_round(MajorVersion(major.try_into().ok()?), minor.try_into().ok()?)?;
    let version = subject.new.version();
    let new = release_round(version.major, version.minor)?;
    (new < old).then(|| vec![Some(format!("{major}.{minor}")), Some(version.text.clone())])
}

/// Compared by their real paths: the data directory or the tablespace may be reached through
/// symbolic links, which the server does not look behind.
fn tablespaces_inside(subject: &Subject<'_>) -> Result<Vec<Row>> {
    let data_dir = real(&subject.old.data_dir)?;
    let mut rows = Vec::new();
    let tablespaces = subject.snapshot.iter().flat_map(|s| &s.tablespaces);
    for tablespace in tablespaces {
        // One that was made in place is made in place in new, too.
        if Path::new(&tablespace.location).is_relative() {
            continue;
        }
        let location = real(Path::new(&tablespace.location))?;
        if location.starts_with(&data_dir) {
            let location = location.to_string_lossy().into_owned();
            rows.push(vec![Some(tablespace.name.clone()), Some(location)]);
        }
    }
    Ok(rows)
}

fn real(path: &Path) -> Result<std::path::PathBuf> {
    path.canonicalize()
        .map_err(|error| Error::io(Code::NotReadable, "look up", path, &error))
}
