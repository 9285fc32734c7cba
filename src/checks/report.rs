//! What checks have found.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::check::{Check, REASON, RemedyKind, Scope, Severity};
use super::probe::Row;
use super::template::Use;
use crate::error::{Code, Error, Remedy, Result};
use crate::event::Skipped;

/// Something a check has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Name of the check.
    pub check: String,
    /// How bad it is.
    pub severity: Severity,
    /// The database it was found in, or that it belongs to.
    pub database: Option<String>,
    /// The facts, as the catalogs have them; without those that are null.
    pub columns: BTreeMap<String, String>,
    /// The fact in words, safe for a terminal.
    pub sentence: String,
    /// What to do about it.
    pub remedy: Remedy,
    /// Whether the remedy throws something away.
    pub destructive: bool,
}

/// Everything that was found, and what could not be looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The findings, in the order of the checks, then of the databases.
    pub findings: Vec<Finding>,
    /// How many checks were made in full.
    pub made: usize,
    /// How many apply to these versions.
    pub applicable: usize,
    /// The checks that failed somewhere, and why.
    pub not_made: Vec<(String, Error)>,
    /// Those that apply and that the operator did not want.
    pub skipped: Vec<Skipped>,
    /// The checks that do not apply to these versions.
    pub inapplicable: Vec<String>,
}

impl Report {
    /// Whether the upgrade must not go on; what could not be checked counts as a blocker.
    pub fn blocks(&self) -> bool {
        !self.not_made.is_empty() || self.findings.iter().any(Finding::blocks)
    }
}

impl Finding {
    /// Whether the upgrade would fail because of it.
    pub fn blocks(&self) -> bool {
        self.severity == Severity::Blocker
    }
}

impl Check {
    /// What is to be tried with a row in the new version, if anything is.
    pub(super) fn attempt(&self, row: &Row) -> Result<Option<String>> {
        let Some(trial) = &self.trial else {
            return Ok(None);
        };
        let value = |name: &str| {
            let at = self.columns.iter().position(|column| column == name)?;
            row.get(at)?.as_deref()
        };
        let sql = trial.render(Use::Code, value);
        sql.map(Some).map_err(|column| self.without(&column))
    }

    /// Puts a finding into words.
    ///
    /// `session` is the database the question was asked in; none for the host. A row that was
    /// tried has the reason behind its columns.
    pub(super) fn finding(&self, row: Row, session: Option<&str>) -> Result<Finding> {
        let reason = self.trial.as_ref().map(|_| REASON.to_owned());
        let mut columns: BTreeMap<String, String> = (self.columns.iter().cloned())
            .chain(reason)
            .zip(row)
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        let database = match self.scope {
            Scope::EachDatabase => session.map(str::to_owned),
            Scope::Host | Scope::Cluster => columns.get("database").cloned(),
        };
        if let Some(name) = &database {
            columns.insert("database".to_owned(), name.clone());
        }
        let value = |name: &str| columns.get(name).map(String::as_str);
        let sentence = (self.finding)
            .render(Use::Prose, value)
            .map_err(|column| self.without(&column))?;
        let remedy = self.remedy(value, database.as_deref().or(session))?;
        let manual = matches!(remedy, Remedy::Manual(_));
        Ok(Finding {
            check: self.id.clone(),
            severity: self.severity,
            destructive: self.remedy.destructive && !manual,
            database,
            sentence,
            remedy,
            columns,
        })
    }

    fn remedy<'v>(
        &self,
        value: impl Fn(&str) -> Option<&'v str> + Copy,
        database: Option<&str>,
    ) -> Result<Remedy> {
        let spec = &self.remedy;
        let purpose = match spec.kind {
            RemedyKind::Manual => Use::Prose,
            RemedyKind::Sql | RemedyKind::Command => Use::Code,
        };
        let text = match (spec.text.render(purpose, value), &spec.otherwise) {
            (Ok(text), _) => text,
            (Err(column), None) => return Err(self.without(&column)),
            (Err(_), Some(otherwise)) => {
                let text = otherwise.render(Use::Prose, value);
                return Ok(Remedy::Manual(
                    text.map_err(|column| self.without(&column))?,
                ));
            }
        };
        Ok(match spec.kind {
            RemedyKind::Manual => Remedy::Manual(text),
            RemedyKind::Command => Remedy::Command(text),
            RemedyKind::Sql => Remedy::Sql {
                database: database.unwrap_or_default().to_owned(),
                sql: text,
            },
        })
    }

    fn without(&self, column: &str) -> Error {
        let message = format!("the check {} found something without {column}", self.id);
        Error::new(Code::Internal, message)
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::parse;
    use super::*;

    fn check(scope: &str) -> Check {
        let text = format!(
            r#"
id = "things"
severity = "warning"
scope = "{scope}"
columns = [{} "name", "sql"]
raw = ["sql"]
finding = "thing {{name}}"
why = "w"
query = "q"
remedy = {{ kind = "sql", text = "DROP {{sql}}", otherwise = "look at {{name}}", destructive = true }}
[[example]]
setup = "s"
finds = []
"#,
            if scope == "cluster" {
                "\"database\","
            } else {
                ""
            }
        );
        parse("things", &text).unwrap()
    }

    fn row(values: &[&str]) -> Row {
        values
            .iter()
            .map(|value| (*value != "NULL").then(|| (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_finding_knows_its_database() {
        let found = check("each-database")
            .finding(row(&["a\n", "a b"]), Some("shop"))
            .unwrap();
        assert_eq!(found.database.as_deref(), Some("shop"));
        assert_eq!(found.sentence, "thing a\\n");
        assert_eq!(found.columns["name"], "a\n");
        let (database, sql) = ("shop".to_owned(), "DROP a b".to_owned());
        assert_eq!(found.remedy, Remedy::Sql { database, sql });
        assert!(found.destructive);
    }

    #[test]
    fn a_finding_of_the_cluster_may_name_a_database() {
        let find = |name| check("cluster").finding(row(&[name, "a", "b"]), Some("postgres"));
        let of = |found: &Finding| match &found.remedy {
            Remedy::Sql { database, .. } => database.clone(),
            _ => String::new(),
        };
        let found = find("shop").unwrap();
        assert_eq!(
            (found.database.as_deref(), of(&found)),
            (Some("shop"), "shop".to_owned())
        );
        let found = find("NULL").unwrap();
        assert_eq!(
            (found.database.as_deref(), of(&found)),
            (None, "postgres".to_owned())
        );
    }

    #[test]
    fn where_no_statement_is_known_a_person_must_act() {
        let found = check("each-database")
            .finding(row(&["a", "NULL"]), Some("shop"))
            .unwrap();
        assert_eq!(found.remedy, Remedy::manual("look at a"));
        assert!(!found.destructive);
        let error = check("each-database").finding(row(&["NULL", "b"]), Some("shop"));
        assert!(error.unwrap_err().message().contains("without name"));
    }

    #[test]
    fn what_could_not_be_checked_blocks() {
        let mut report = Report::default();
        assert!(!report.blocks());
        let found = check("each-database")
            .finding(row(&["a", "b"]), Some("shop"))
            .unwrap();
        report.findings.push(found);
        assert!(!report.blocks(), "a warning does not block");
        report
            .not_made
            .push(("x".into(), Error::new(Code::CheckNotMade, "m")));
        assert!(report.blocks());
    }
}
