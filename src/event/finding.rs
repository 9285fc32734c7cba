//! What checks found, and what is said about the checks themselves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Remedy;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The upgrade would fail.
    Blocker,
    /// Something will be different or lost.
    Warning,
    /// Good to know.
    Notice,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Blocker => "blocker",
            Self::Warning => "warning",
            Self::Notice => "notice",
        })
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Name of the check, or the code of a precondition (`PGM-1301`).
    pub check: String,
    /// How much it matters.
    pub severity: Severity,
    /// The database it was found in.
    pub database: Option<String>,
    /// The sentence.
    pub sentence: String,
    /// What the check knows of it, as the catalogs have it; without what is null.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
    /// What a failure says besides its sentence, in order.
    pub facts: Vec<(String, String)>,
    /// What to do.
    pub remedy: Option<Advice>,
}

/// The option that left a check out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipOption {
    /// `--skip` named it.
    Skip,
    /// `--only` named others.
    Only,
}

/// A check that applies and was not made, because the operator did not want it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Its name.
    pub check: String,
    /// How much its findings would have mattered.
    pub severity: Severity,
    /// Because of what.
    pub option: SkipOption,
}

/// What a run of the checks came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// How many were made in full.
    pub made: usize,
    /// How many apply to these versions.
    #[serde(default)]
    pub applicable: usize,
    /// How many of these the operator did not want.
    #[serde(default)]
    pub skipped: usize,
    /// How many findings block.
    pub blockers: usize,
    /// How many warn.
    pub warnings: usize,
    /// How many only notice.
    pub notices: usize,
    /// How long it took.
    pub seconds: f64,
}

/// A check as such, whatever it would find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedCheck {
    /// Its name.
    pub check: String,
    /// How much its findings matter.
    pub severity: Severity,
    /// The versions of old it applies to, as a clause.
    pub old: String,
    /// The same of new.
    pub new: String,
    /// The sentence of a finding, with its columns in braces.
    pub finding: String,
    /// What kind of remedy it knows: `sql`, `command` or `manual`.
    pub remedy: String,
    /// Whether that throws something away.
    pub destructive: bool,
}

/// A remedy as a finding has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// What to do.
    #[serde(flatten)]
    pub remedy: Remedy,
    /// Whether that throws something away.
    #[serde(default)]
    pub destructive: bool,
}

impl From<Remedy> for Advice {
    fn from(remedy: Remedy) -> Self {
        Self {
            remedy,
            destructive: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::EventKind;
    use super::*;

    #[test]
    fn a_finding_has_its_columns_and_its_remedy_as_objects() {
        let kind = EventKind::Finding(Found {
            check: "things".into(),
            severity: Severity::Blocker,
            database: Some("shop".into()),
            sentence: "thing a".into(),
            columns: [("name".to_owned(), "a\n".to_owned())].into(),
            facts: Vec::new(),
            remedy: Some(Advice {
                remedy: Remedy::Sql {
                    database: "shop".into(),
                    sql: "DROP THING a;".into(),
                },
                destructive: true,
            }),
        });
        let text = serde_json::to_string(&kind).unwrap();
        assert_eq!(
            text,
            r#"{"event":"finding","check":"things","severity":"blocker","database":"shop","#
                .to_owned()
                + r#""sentence":"thing a","columns":{"name":"a\n"},"facts":[],"#
                + r#""remedy":{"kind":"sql","text":"DROP THING a;","database":"shop","destructive":true}}"#
        );
        assert_eq!(serde_json::from_str::<EventKind>(&text).unwrap(), kind);
    }
}
