//! A check, understood and found to be consistent.

use crate::event::ListedCheck;
pub use crate::event::Severity;
use serde::{Deserialize, Serialize};

use super::file::Example;
use super::probe::Probe;
use super::range::VersionRange;
use super::stored_type::StoredType;
use super::template::{Form, Template};

/// One thing that is looked for before an upgrade.
#[derive(Debug, Clone)]
pub struct Check {
    /// Its name, which is that of its file.
    pub id: String,
    /// How bad a finding is.
    pub severity: Severity,
    /// How often it is made.
    pub scope: Scope,
    /// For which versions it is made.
    pub applies: Applies,
    /// What is known of a finding. A `database` among them is the one the finding belongs to.
    pub columns: Vec<String>,
    /// The sentence that reports a finding.
    pub finding: Template,
    /// What changed in PostgreSQL, or why it matters.
    pub why: String,
    /// What to do about a finding.
    pub remedy: RemedySpec,
    /// SQL that must be true of a database for the question to find anything there.
    ///
    /// Planning a long query takes as long as running it, and most databases have nothing that it
    /// is about.
    pub only_where: Option<String>,
    /// How findings are found.
    pub question: Question,
    /// SQL for a throw-away cluster of the new version: what works there is not a finding.
    ///
    /// Why the new server refused it is known as `reason`.
    pub trial: Option<Template>,
    /// Cases the tests carry out on real servers.
    pub examples: Vec<Example>,
}

/// How often a check is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Once, on this machine.
    Host,
    /// Once, in any database: it asks shared catalogs.
    Cluster,
    /// Once in each database one can connect to.
    EachDatabase,
}

/// For which versions a check is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Applies {
    /// Versions of old.
    #[serde(default)]
    pub old: VersionRange,
    /// Versions of new.
    #[serde(default)]
    pub new: VersionRange,
}

/// What to do about a finding.
#[derive(Debug, Clone)]
pub struct RemedySpec {
    /// Who does it.
    pub kind: RemedyKind,
    /// The statements, the command or the sentence.
    pub text: Template,
    /// The sentence for a finding in which a column that `text` needs is null.
    pub otherwise: Option<Template>,
    /// Whether it throws something away.
    pub destructive: bool,
}

/// Who carries a remedy out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemedyKind {
    /// The old server.
    Sql,
    /// A shell.
    Command,
    /// A person.
    Manual,
}

impl std::fmt::Display for RemedyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sql => "sql",
            Self::Command => "command",
            Self::Manual => "manual",
        })
    }
}

/// How findings are found.
#[derive(Debug, Clone)]
pub enum Question {
    /// A query; each row is a finding.
    Query(String),
    /// The query for what stores some types, which is asked only where something may.
    StoredType(StoredType),
    /// A function of this program.
    Probe(Probe),
}

/// What is known of a finding although the question does not say it.
const IMPLIED_DATABASE: &str = "database";
pub(super) const REASON: &str = "reason";

impl Check {
    /// What `check --list` says of it.
    pub fn listed(&self) -> ListedCheck {
        ListedCheck {
            check: self.id.clone(),
            severity: self.severity,
            old: self.applies.old.to_string(),
            new: self.applies.new.to_string(),
            finding: self.finding.to_string(),
            remedy: self.remedy.kind.to_string(),
            destructive: self.remedy.destructive,
        }
    }

    /// What `explain` prints: why it matters, what is asked, what can be done.
    pub fn explanation(&self) -> String {
        let asked = match &self.question {
            Question::Query(query) => query.trim().to_owned(),
            Question::StoredType(types) => types.query().trim().to_owned(),
            Question::Probe(probe) => format!("{probe:?}"),
        };
        let remedy = match (self.remedy.kind, self.remedy.destructive) {
            (RemedyKind::Manual, _) => "remedy",
            (RemedyKind::Sql, false) => "remedy (SQL)",
            (RemedyKind::Sql, true) => "remedy (SQL, destructive)",
            (RemedyKind::Command, false) => "remedy (command)",
            (RemedyKind::Command, true) => "remedy (command, destructive)",
        };
        let otherwise = self
            .remedy
            .otherwise
            .as_ref()
            .map_or_else(String::new, |text| {
                format!(
                    "\n\nwhere that cannot be said:\n{}",
                    text.to_string().trim()
                )
            });
        let first = self.only_where.as_ref().map_or_else(String::new, |only| {
            format!("\n\nasked only where this is true:\n{}", only.trim())
        });
        let tried = self.trial.as_ref().map_or_else(String::new, |trial| {
            format!(
                "\n\ntried in a throw-away new cluster:\n{}",
                trial.to_string().trim()
            )
        });
        format!(
            "{} ({})\nold: {}; new: {}\n\n{}\n\nasked:\n{asked}{first}{tried}\n\n{remedy}:\n{}{otherwise}\n",
            self.id,
            self.severity,
            self.applies.old,
            self.applies.new,
            self.why.trim(),
            self.remedy.text.to_string().trim()
        )
    }

    /// What is wrong with it, if anything is.
    pub(super) fn problem(&self, raw: &[String]) -> Option<String> {
        let by_scope = (self.scope == Scope::EachDatabase).then_some(IMPLIED_DATABASE);
        if by_scope.is_some() && self.columns.iter().any(|c| c == IMPLIED_DATABASE) {
            return Some("the column database is implied by the scope".to_owned());
        }
        let by_trial = self.trial.as_ref().map(|_| REASON);
        if by_trial.is_some() && self.columns.iter().any(|c| c == REASON) {
            return Some("the column reason is implied by the trial".to_owned());
        }
        let implied: Vec<&str> = by_scope.into_iter().chain(by_trial).collect();
        if let Some(column) = raw.iter().find(|column| !self.columns.contains(column)) {
            return Some(format!("raw names {column}, which is not a column"));
        }
        if self.only_where.is_some() && self.scope != Scope::EachDatabase {
            return Some("only_where is asked of each database".to_owned());
        }
        if matches!(self.question, Question::Probe(_)) != (self.scope == Scope::Host) {
            return Some("a probe, and nothing else, asks the host".to_owned());
        }
        let prose = Some((&[Form::Plain][..], &self.columns[..]));
        let sql = Some((&[Form::Ident, Form::Literal][..], raw));
        let remedy = match self.remedy.kind {
            RemedyKind::Sql => sql,
            RemedyKind::Command => Some((&[Form::Shell][..], &[][..])),
            RemedyKind::Manual => None,
        };
        let texts = [
            ("finding", Some(&self.finding), prose, &implied[..]),
            ("remedy", Some(&self.remedy.text), remedy, &implied),
            ("otherwise", self.remedy.otherwise.as_ref(), None, &implied),
            ("trial", self.trial.as_ref(), sql, &[]),
        ];
        texts
            .into_iter()
            .find_map(|(name, text, forms, implied)| {
                Some((name, self.misuse(text?, implied, forms)?))
            })
            .map(|(name, problem)| format!("{name}: {problem}"))
    }

    /// `forms`: the quotings that are right here, and the columns that need none.
    fn misuse(
        &self,
        text: &Template,
        implied: &[&str],
        forms: Option<(&[Form], &[String])>,
    ) -> Option<String> {
        text.columns().find_map(|(name, form)| {
            let implied = implied.contains(&name);
            let declared = self.columns.iter().any(|column| column == name);
            if !declared && !implied {
                return Some(format!("{{{name}}} is not a column"));
            }
            let (right, free) = forms?;
            let free = free.iter().any(|column| column == name) || right.contains(&Form::Plain);
            let fits = right.contains(&form) || (form == Form::Plain && free);
            (!fits).then(|| format!("{{{name}}} is not quoted as it must be here"))
        })
    }
}
