//! What went wrong, as facts a program can read and a remedy a person can carry out.
//!
//! Every [`Error`] is born with a [`Code`]; the constructor takes no other way. The site that
//! fails says what happened; what state the clusters are in is said by the engine, from the
//! journal; what to do is the [`Remedy`].

mod code;

pub use code::{Code, Exit, Family};

use std::fmt;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the operator can do about an error or a finding.
///
/// Events have it as one object with `kind`, `text` and, where it is SQL, `database`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub enum Remedy {
    /// A shell command, ready to be pasted.
    Command(String),
    /// SQL, and the database it is to be run in.
    Sql {
        /// Name of the database.
        database: String,
        /// One or more statements.
        sql: String,
    },
    /// A sentence, where no command can be given.
    Manual(String),
}

impl Remedy {
    /// A shell command.
    pub fn command(text: impl Into<String>) -> Self {
        Self::Command(text.into())
    }

    /// A sentence.
    pub fn manual(text: impl Into<String>) -> Self {
        Self::Manual(text.into())
    }
}

/// A remedy as events have it.
#[derive(serde::Serialize, serde::Deserialize)]
struct Written {
    kind: Kind,
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    database: Option<String>,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Command,
    Sql,
    Manual,
}

impl From<Remedy> for Written {
    fn from(remedy: Remedy) -> Self {
        let (kind, text, database) = match remedy {
            Remedy::Command(text) => (Kind::Command, text, None),
            Remedy::Sql { database, sql } => (Kind::Sql, sql, Some(database)),
            Remedy::Manual(text) => (Kind::Manual, text, None),
        };
        Self {
            kind,
            text,
            database,
        }
    }
}

impl TryFrom<Written> for Remedy {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        Ok(match (written.kind, written.database) {
            (Kind::Command, _) => Self::Command(written.text),
            (Kind::Manual, _) => Self::Manual(written.text),
            (Kind::Sql, Some(database)) => Self::Sql {
                database,
                sql: written.text,
            },
            (Kind::Sql, None) => return Err("a remedy in SQL names its database"),
        })
    }
}

/// A failure: a code, a sentence, facts and, where one is known, a remedy.
///
/// The message is a lower-case clause without a full stop. Causes are kept as text in the
/// order outermost first, so that an error can be sent through the event stream unchanged.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Error(Box<Body>);

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Body {
    code: Code,
    message: String,
    facts: Vec<(String, String)>,
    remedy: Option<Remedy>,
    causes: Vec<String>,
}

impl Error {
    /// An error with this code and this sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Box::new(Body {
            code,
            message: message.into(),
            facts: Vec::new(),
            remedy: None,
            causes: Vec::new(),
        }))
    }

    /// An operating-system error about one path.
    pub fn io(code: Code, doing: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(code, format!("could not {doing} {}", path.display())).caused_by(error)
    }

    /// Adds a named fact; facts are printed in the order they were added.
    #[must_use]
    pub fn fact(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.0.facts.push((name.to_owned(), value.to_string()));
        self
    }

    /// Takes back all facts of this name: what they name is going to be gone.
    #[must_use]
    pub fn without_fact(mut self, name: &str) -> Self {
        self.0.facts.retain(|(known, _)| known != name);
        self
    }

    /// Sets what the operator can do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: Remedy) -> Self {
        self.0.remedy = Some(remedy);
        self
    }

    /// Records the cause and everything behind it.
    #[must_use]
    pub fn caused_by(mut self, cause: &dyn std::error::Error) -> Self {
        let mut next = Some(cause);
        while let Some(error) = next {
            let text = error.to_string();
            // Some libraries repeat their source in their own text: once is enough.
            if !self.0.causes.iter().any(|seen| seen.contains(&text)) {
                self.0.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The facts, in order.
    pub fn facts(&self) -> &[(String, String)] {
        &self.0.facts
    }

    /// What to do, where that is known here.
    pub fn remedy_text(&self) -> Option<&Remedy> {
        self.0.remedy.as_ref()
    }

    /// The causes, outermost first.
    pub fn causes(&self) -> &[String] {
        &self.0.causes
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.0.code, self.0.message)?;
        for cause in &self.0.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_kept_once_and_in_order() {
        let io = std::io::Error::new(std::io::ErrorKind::NotFound, "gone");
        let error = Error::new(Code::DiskOperation, "could not read x").caused_by(&io);
        assert_eq!(error.causes(), ["gone"]);
        assert_eq!(error.to_string(), "[PGM-5001] could not read x: gone");
    }

    #[test]
    fn a_remedy_is_one_flat_object() {
        let sql = Remedy::Sql {
            database: "shop".to_owned(),
            sql: "DROP TABLE t;".to_owned(),
        };
        for (remedy, wanted) in [
            (
                sql,
                r#"{"kind":"sql","text":"DROP TABLE t;","database":"shop"}"#,
            ),
            (Remedy::manual("look"), r#"{"kind":"manual","text":"look"}"#),
            (
                Remedy::command("pg_ctl"),
                r#"{"kind":"command","text":"pg_ctl"}"#,
            ),
        ] {
            let text = serde_json::to_string(&remedy).unwrap();
            assert_eq!(text, wanted);
            assert_eq!(serde_json::from_str::<Remedy>(&text).unwrap(), remedy);
        }
        let homeless = serde_json::from_str::<Remedy>(r#"{"kind":"sql","text":"x"}"#);
        assert!(homeless.unwrap_err().to_string().contains("its database"));
    }

    #[test]
    fn an_error_survives_the_event_stream() {
        let error = Error::new(Code::OldServerRunning, "the old server is still running")
            .fact("data directory", "/srv/old")
            .remedy(Remedy::command("pg_ctl stop"));
        let text = serde_json::to_string(&error).unwrap();
        assert_eq!(serde_json::from_str::<Error>(&text).unwrap(), error);
    }
}
