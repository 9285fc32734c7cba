//! The files in `checks/`, which are part of the program.

use std::path::Path;

use include_dir::{Dir, include_dir};
use serde::Deserialize;

use super::check::{Applies, Check, Question, RemedyKind, RemedySpec, Scope, Severity};
use super::probe::Probe;
use super::range::VersionRange;
use super::stored_type::StoredType;
use super::template::Template;
use crate::error::{Code, Error, Result};

static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/checks");

/// A case the tests carry out in a database called `example`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// What is done before the check is made.
    #[serde(deserialize_with = "statements")]
    pub setup: Vec<Statement>,
    /// What is then done in sessions of others, one each, which stay open until the example ends.
    #[serde(default, deserialize_with = "statements")]
    pub sessions: Vec<Statement>,
    /// The sentences the check must then find, in order; `*` stands for any text.
    pub finds: Vec<String>,
    /// Those of `finds` that the remedies leave, because a person must act.
    #[serde(default)]
    pub by_hand: Vec<String>,
    /// What is done at the end, where neither the remedy nor dropping the database is enough.
    #[serde(default, deserialize_with = "statements")]
    pub cleanup: Vec<Statement>,
    /// The role sessions of the check are opened as, instead of the install user.
    pub user: Option<String>,
    /// On which of the versions the check applies to.
    #[serde(default)]
    pub old: VersionRange,
}

/// SQL that is sent at once, as one transaction if it has several statements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The database; `example` if none is named.
    pub database: Option<String>,
    /// The text.
    pub sql: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    id: String,
    severity: Severity,
    scope: Scope,
    #[serde(default)]
    applies: Applies,
    columns: Vec<String>,
    /// Columns that are SQL already.
    #[serde(default)]
    raw: Vec<String>,
    finding: String,
    why: String,
    /// What must hold for the question to find anything.
    only_where: Option<String>,
    query: Option<String>,
    /// A query for the OIDs of types no table may store.
    stored_type: Option<String>,
    probe: Option<String>,
    /// What is tried in a new cluster with each row.
    trial: Option<String>,
    remedy: RemedyFile,
    #[serde(rename = "example")]
    examples: Vec<Example>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemedyFile {
    kind: RemedyKind,
    text: String,
    otherwise: Option<String>,
    #[serde(default)]
    destructive: bool,
}

/// Every check, by severity and name.
///
/// # Errors
///
/// `Internal`, for a file that was built in although it is wrong.
pub fn all() -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for file in FILES.files() {
        let name = stem(file.path());
        let text = file
            .contents_utf8()
            .ok_or_else(|| refused(name, "it is not UTF-8".to_owned()))?;
        checks.push(parse(name, text)?);
    }
    checks.sort_by(|a, b| (a.severity, &a.id).cmp(&(b.severity, &b.id)));
    Ok(checks)
}

/// Reads the file of the check with this name.
///
/// # Errors
///
/// `Internal`, with what is wrong.
pub fn parse(name: &str, text: &str) -> Result<Check> {
    let file: File = toml::from_str(text).map_err(|e| refused(name, e.to_string()))?;
    let raw = file.raw.clone();
    let check = file
        .understood()
        .map_err(|problem| refused(name, problem))?;
    let wrong = if check.id == name {
        check.problem(&raw)
    } else {
        Some(format!("it calls itself {}", check.id))
    };
    match wrong {
        None => Ok(check),
        Some(problem) => Err(refused(name, problem)),
    }
}

impl File {
    fn understood(self) -> Result<Check, String> {
        let question = match (self.query, self.stored_type, self.probe) {
            (Some(query), None, None) => Question::Query(query),
            (None, Some(types), None) => Question::StoredType(StoredType::new(types)),
            (None, None, Some(name)) => Question::Probe(
                Probe::named(&name).ok_or_else(|| format!("there is no probe {name}"))?,
            ),
            _ => return Err("it needs one of query, stored_type and probe".to_owned()),
        };
        if self.examples.is_empty() {
            return Err("it has no example".to_owned());
        }
        let only_where = match &question {
            Question::StoredType(_) if self.only_where.is_none() => {
                Some(StoredType::ONLY_WHERE.to_owned())
            }
            _ => self.only_where,
        };
        let otherwise = self.remedy.otherwise.as_deref().map(Template::parse);
        Ok(Check {
            id: self.id,
            severity: self.severity,
            scope: self.scope,
            applies: self.applies,
            columns: self.columns,
            finding: Template::parse(&self.finding)?,
            why: self.why,
            remedy: RemedySpec {
                kind: self.remedy.kind,
                text: Template::parse(&self.remedy.text)?,
                otherwise: otherwise.transpose()?,
                destructive: self.remedy.destructive,
            },
            only_where,
            question,
            trial: self.trial.as_deref().map(Template::parse).transpose()?,
            examples: self.examples,
        })
    }
}

fn stem(path: &Path) -> &str {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or("")
}

fn refused(name: &str, problem: String) -> Error {
    Error::new(
        Code::Internal,
        format!("the check {name} is wrong: {problem}"),
    )
}

/// One text, or a list of texts and `{ database, sql }`.
fn statements<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<Statement>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Item {
        Here(String),
        There(Elsewhere),
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Elsewhere {
        database: String,
        sql: String,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        One(String),
        Many(Vec<Item>),
    }
    let here = |sql| Statement {
        database: None,
        sql,
    };
    Ok(match Written::deserialize(from)? {
        Written::One(sql) => vec![here(sql)],
        Written::Many(items) => items
            .into_iter()
            .map(|item| match item {
                Item::Here(sql) => here(sql),
                Item::There(Elsewhere { database, sql }) => Statement {
                    database: Some(database),
                    sql,
                },
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
id = "things"
severity = "blocker"
scope = "each-database"
applies = { old = "..13" }
columns = ["name", "statement"]
raw = ["statement"]
finding = "thing {name} in {database}"
why = "Things are gone."
query = "SELECT 1"

[remedy]
kind = "sql"
text = "DROP THING {name:ident}; {statement}"

[[example]]
setup = ["CREATE THING a", { database = "postgres", sql = "CREATE THING b" }]
finds = ["thing a"]
"#;

    fn problem(replace: &str, with: &str) -> String {
        let text = GOOD.replacen(replace, with, 1);
        assert_ne!(text, GOOD, "{replace}");
        parse("things", &text).unwrap_err().message().to_owned()
    }

    #[test]
    fn a_file_is_understood() {
        let check = parse("things", GOOD).unwrap();
        assert_eq!(check.severity, Severity::Blocker);
        assert!(check.applies.new.contains(crate::pg::MajorVersion(18)));
        assert!(!check.applies.old.contains(crate::pg::MajorVersion(14)));
        assert_eq!(check.examples[0].setup[0].database, None);
        assert_eq!(
            check.examples[0].setup[1].database.as_deref(),
            Some("postgres")
        );
    }

    #[test]
    fn a_file_must_be_called_as_its_check() {
        let error = parse("other", GOOD).unwrap_err();
        assert!(
            error.message().contains("it calls itself things"),
            "{error}"
        );
    }

    #[test]
    fn what_is_not_quoted_is_refused() {
        assert!(problem("{name:ident}", "{name}").contains("{name} is not quoted"));
        assert!(problem("{name:ident}", "{name:shell}").contains("{name} is not quoted"));
        assert!(problem("raw = [\"statement\"]", "").contains("{statement} is not quoted"));
        assert!(problem("kind = \"sql\"", "kind = \"command\"").contains("{name} is not quoted"));
        assert!(problem("{name} in", "{name:ident} in").contains("{name} is not quoted"));
    }

    #[test]
    fn every_column_must_be_declared() {
        assert!(problem("{name} in", "{nome} in").contains("{nome} is not a column"));
        assert!(problem("{name:ident}", "{nome:ident}").contains("{nome} is not a column"));
        assert!(problem("each-database", "cluster").contains("{database} is not a column"));
        assert!(problem("[\"name\"", "[\"database\"").contains("implied by the scope"));
        assert!(problem("raw = [\"s", "raw = [\"x").contains("raw names x"));
    }

    #[test]
    fn one_question_is_asked() {
        assert!(problem("query = \"SELECT 1\"", "").contains("it needs one of"));
        let both = problem("query =", "stored_type = \"x\"\nquery =");
        assert!(both.contains("it needs one of"), "{both}");
        assert!(problem("query = \"SELECT 1\"", "probe = \"x\"").contains("there is no probe x"));
        assert!(problem("each-database", "host").contains("a probe, and nothing else"));
    }

    #[test]
    fn a_slip_of_the_pen_is_refused() {
        assert!(problem("severity", "severety").contains("severety"));
        assert!(problem("finds", "found").contains("found"));
        assert!(problem("..13", "13..10").contains("not a range of versions"));
        assert!(problem("[[example]]", "[other]").contains("other"));
    }

    #[test]
    fn an_explanation_says_why_what_is_asked_and_what_can_be_done() {
        for check in all().unwrap() {
            let text = check.explanation();
            let asked = match &check.question {
                Question::Query(query) => query.trim().to_owned(),
                Question::StoredType(types) => types.query().trim().to_owned(),
                Question::Probe(probe) => format!("{probe:?}"),
            };
            let otherwise = check.remedy.otherwise.iter().map(Template::to_string);
            let trial = check.trial.iter().map(Template::to_string);
            let parts = [check.why.clone(), asked, check.remedy.text.to_string()];
            for part in parts.into_iter().chain(otherwise).chain(trial) {
                assert!(text.contains(part.trim()), "{} without {part}", check.id);
            }
            let marked = text.contains(", destructive):");
            assert_eq!(marked, check.remedy.destructive, "{text}");
        }
    }

    #[test]
    fn the_files_that_are_built_in_are_right() {
        let checks = all().unwrap();
        assert!(
            checks
                .iter()
                .any(|check| check.id == "prepared-transactions")
        );
        for check in &checks {
            assert!(!check.why.is_empty(), "{}", check.id);
            if check.remedy.kind == RemedyKind::Sql {
                let text = check.remedy.text.to_string();
                let code = text.split("--").next().unwrap();
                assert!(code.trim_end().ends_with(';'), "{}: {text}", check.id);
            }
        }
        let there = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/checks"));
        assert_eq!(
            there.unwrap().count(),
            checks.len(),
            "a file is added or removed: touch src/checks/file.rs"
        );
    }
}
