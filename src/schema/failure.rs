//! Objects of old that new does not take: each by name, what only follows told apart.

use std::collections::{BTreeMap, HashMap};

use super::archive::Contents;
use super::complaints::Complaint;
use crate::catalog::Role;
use crate::error::{Error, Remedy};
use crate::event::{Advice, EventKind, Found, Severity, Sink};
use crate::pg::literals::veiled;

/// The name of the check whose findings these are.
pub const REHEARSAL: &str = "rehearsal";

/// How much of a statement is shown.
const STATEMENT_SHOWN: usize = 300;

/// How much of a statement stands for an object that has no name of its own.
const NAME_SHOWN: usize = 80;

/// What is said where something failed before, and nothing can be said of this object.
const AFTERMATH: [&str; 4] = [
    "OID value not set when in binary upgrade mode",
    "relfilenumber value not set when in binary upgrade mode",
    "relfilenode value not set when in binary upgrade mode",
    "no connection to the server",
];

/// An object of old that new does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The database it is in; none for what all databases share.
    pub database: Option<String>,
    /// Kind, name and schema.
    pub object: String,
    /// What the server said.
    pub message: String,
    /// What it said besides.
    pub facts: Vec<(String, String)>,
    /// The beginning of the statement, without what every such statement begins with.
    pub statement: String,
    /// The object without which this one cannot be, where that failed.
    pub follows: Option<String>,
}

/// A restore that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrestored {
    /// The failure that ended it.
    pub error: Error,
    /// Every object that fails; none where it was not an object that failed.
    pub failures: Vec<Failure>,
}

impl From<Error> for Unrestored {
    fn from(error: Error) -> Self {
        Self {
            error,
            failures: Vec::new(),
        }
    }
}

impl Unrestored {
    /// Sends a finding for each object; gives back the failure, which then names them.
    pub fn tell(self, sink: &dyn Sink) -> Error {
        if self.failures.is_empty() {
            return self.error;
        }
        let own = self.failures.iter().filter(|one| one.follows.is_none());
        let own = own.count();
        for failure in arranged(self.failures) {
            sink.emit(EventKind::Finding(failure.found()));
        }
        self.error
            .fact("objects that new does not take", own)
            .remedy(Remedy::manual(
                "each of the findings above names an object of old and what is wrong with it: \
                 change it or drop it, and run the command again",
            ))
    }
}

/// What only follows, or belongs to a role that could not be made, comes last.
pub fn arranged(mut failures: Vec<Failure>) -> Vec<Failure> {
    let roles: Vec<(String, String)> = failures
        .iter()
        .filter(|one| one.object.starts_with("ROLE "))
        .map(|one| {
            let name = one.object["ROLE ".len()..].to_owned();
            (
                format!("role \"{name}\" does not exist"),
                one.object.clone(),
            )
        })
        .collect();
    for failure in &mut failures {
        let missing = roles.iter().find(|(said, _)| *said == failure.message);
        if let (None, Some((_, role))) = (&failure.follows, missing) {
            failure.follows = Some(role.clone());
        }
    }
    failures.sort_by_key(|failure| failure.follows.is_some());
    failures
}

impl Failure {
    /// The failure as a finding; what only follows is a notice, since it goes with its reason.
    pub fn found(&self) -> Found {
        let (object, message) = (&self.object, &self.message);
        let (severity, sentence, remedy) = match &self.follows {
            None => (
                Severity::Blocker,
                format!("{object}: {message}"),
                Some(Remedy::manual(
                    "change the object in old to one that new takes, or drop it, and check again",
                )),
            ),
            Some(reason) => (
                Severity::Notice,
                format!("{object} fails only because {reason} does: {message}"),
                None,
            ),
        };
        let mut facts = self.facts.clone();
        if !self.statement.is_empty() {
            facts.push(("statement".to_owned(), self.statement.clone()));
        }
        Found {
            check: REHEARSAL.to_owned(),
            severity,
            database: self.database.clone(),
            sentence,
            columns: self.columns(),
            facts,
            remedy: remedy.map(Advice::from),
        }
    }

    /// What is known of it, for programs.
    fn columns(&self) -> BTreeMap<String, String> {
        let all = [
            ("object", Some(&self.object)),
            ("message", Some(&self.message)),
            ("statement", Some(&self.statement)),
            ("follows", self.follows.as_ref()),
            ("database", self.database.as_ref()),
        ];
        let known = all
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        known
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .collect()
    }

    /// A tablespace that could not be made.
    pub(super) fn of_tablespace(name: &str, error: &Error) -> Self {
        let said = error.facts().iter().find(|(fact, _)| fact == "message");
        Self {
            database: None,
            object: format!("TABLESPACE {name}"),
            message: said.map_or_else(|| error.message().to_owned(), |(_, text)| text.clone()),
            facts: Vec::new(),
            statement: String::new(),
            follows: None,
        }
    }

    /// A statement of the script of globals that failed.
    pub(super) fn of_globals(complaint: Complaint) -> Self {
        let statement = veiled(&complaint.statement).shown;
        let statement = without_secret(&statement).trim_end_matches(';');
        let made = statement
            .strip_prefix("CREATE ROLE ")
            .map(|name| format!("ROLE {}", unquoted(name)));
        Self {
            database: None,
            object: made.unwrap_or_else(|| beginning(statement, NAME_SHOWN)),
            message: complaint.message,
            facts: complaint.facts,
            statement: beginning(statement, STATEMENT_SHOWN),
            follows: None,
        }
    }
}

/// The failures of one database: one an entry of its dump, in the order of restoring.
///
/// What fails although all that it needs is there fails by itself. A complaint that is about no
/// entry says nothing of any object.
pub(super) fn of_database(
    database: &str,
    complaints: Vec<Complaint>,
    contents: &Contents,
    roles: &[Role],
) -> Vec<Failure> {
    let entries: HashMap<u32, _> = contents.entries.iter().map(|it| (it.id, it)).collect();
    let mut failed: HashMap<u32, String> = HashMap::new();
    let mut failures: Vec<Failure> = Vec::new();
    for complaint in complaints {
        let Some(id) = complaint.entry.filter(|id| !failed.contains_key(id)) else {
            continue;
        };
        let entry = entries.get(&id);
        let listed = entry.map(|entry| entry.text.as_str());
        let object = described(listed, &complaint.object, roles);
        let needed = entry.and_then(|entry| entry.needs.iter().find_map(|id| failed.get(id)));
        let aftermath = AFTERMATH
            .iter()
            .any(|said| complaint.message.contains(said));
        let before = failures.iter().rev().find(|one| one.follows.is_none());
        let follows = match needed {
            Some(reason) => Some(reason.clone()),
            None => before.filter(|_| aftermath).map(|one| one.object.clone()),
        };
        failed.insert(id, object.clone());
        failures.push(Failure {
            database: Some(database.to_owned()),
            object,
            message: complaint.message,
            facts: complaint.facts,
            statement: excerpt(&complaint.statement),
            follows,
        });
    }
    failures
}

/// `VIEW v in schema app`, from `VIEW app v postgres` and `VIEW v postgres`.
///
/// The list has the schema, the complaint has not, and both end with the owner: any of them may
/// hold spaces.
fn described(listed: Option<&str>, printed: &str, roles: &[Role]) -> String {
    let object = without_owner(printed, roles);
    match listed.and_then(|listed| schema(listed, printed)) {
        Some(schema) if schema != "-" => format!("{object} in schema {schema}"),
        _ => object.to_owned(),
    }
}

fn without_owner<'t>(text: &'t str, roles: &[Role]) -> &'t str {
    let bare = roles.iter().filter_map(|role| {
        let rest = text.strip_suffix(role.name.as_str())?;
        rest.strip_suffix(' ')
    });
    bare.min_by_key(|rest| rest.len())
        .unwrap_or(text)
        .trim_end()
}

/// What the one text has in one place and the other has not.
fn schema<'t>(listed: &'t str, printed: &str) -> Option<&'t str> {
    let more = listed.len().checked_sub(printed.len())?;
    let kind_ends = listed.match_indices(' ').map(|(at, _)| at);
    kind_ends
        .filter(|at| listed.get(*at + more..).is_some() && more > 1)
        .find(|at| {
            let (kind, rest) = (&listed[..*at], &listed[*at + more..]);
            printed.strip_prefix(kind) == Some(rest)
        })
        .map(|at| &listed[at + 1..at + more])
}

/// The statement without what gives its object the OIDs and horizons of old.
fn excerpt(statement: &str) -> String {
    let own = veiled(statement).shown;
    let own = own
        .lines()
        .take_while(|line| !line.starts_with("UPDATE pg_catalog."))
        .filter(|line| !line.starts_with("--") && !line.contains("pg_catalog.binary_upgrade_"));
    beginning(&own.collect::<Vec<_>>().join("\n"), STATEMENT_SHOWN)
}

/// The first characters, on one line.
fn beginning(text: &str, length: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(length) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line,
    }
}

/// What a role is created with ends with the hash of its password.
fn without_secret(statement: &str) -> &str {
    let end = statement.find(" PASSWORD ").unwrap_or(statement.len());
    &statement[..end]
}

fn unquoted(name: &str) -> String {
    let inside = name.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    inside.map_or_else(|| name.to_owned(), |it| it.replace("\"\"", "\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::Oid;
    use crate::schema::archive::parse;

    fn role(name: &str) -> Role {
        Role {
            oid: Oid(16384),
            name: name.to_owned(),
            superuser: false,
            login: false,
        }
    }

    fn complaint(entry: u32, object: &str, message: &str) -> Complaint {
        Complaint {
            entry: Some(entry),
            object: object.to_owned(),
            message: message.to_owned(),
            ..Complaint::default()
        }
    }

    #[test]
    fn an_object_is_named_with_its_schema_and_without_its_owner() {
        let roles = [role("postgres"), role("b"), role("a b")];
        let named = |listed, printed| described(Some(listed), printed, &roles);
        assert_eq!(
            named("VIEW app v postgres", "VIEW v postgres"),
            "VIEW v in schema app"
        );
        assert_eq!(
            named(
                "MATERIALIZED VIEW my app odd mv a b",
                "MATERIALIZED VIEW odd mv a b"
            ),
            "MATERIALIZED VIEW odd mv in schema my app"
        );
        assert_eq!(named("VIEW v v b", "VIEW v b"), "VIEW v in schema v");
        assert_eq!(
            named("CAST - CAST (a AS b) ", "CAST CAST (a AS b) "),
            "CAST CAST (a AS b)"
        );
        assert_eq!(described(None, "VIEW v postgres", &roles), "VIEW v");
        assert_eq!(named("other", "VIEW v nobody"), "VIEW v nobody");
    }

    #[test]
    fn what_needs_a_failed_object_follows_it() {
        let list = "10; 1259 1 VIEW app v postgres\n;\tdepends on: 3\n\
                    11; 1259 2 VIEW app w postgres\n;\tdepends on: 10 3\n\
                    12; 0 0 COMMENT app VIEW w postgres\n;\tdepends on: 11\n\
                    13; 1259 3 VIEW app x postgres\n;\tdepends on: 3\n\
                    14; 1259 4 TABLE app t postgres\n";
        let complaints = vec![
            complaint(10, "VIEW v postgres", "no such column"),
            complaint(10, "VIEW v postgres", "v does not exist"),
            complaint(11, "VIEW w postgres", "v does not exist"),
            complaint(12, "COMMENT VIEW w postgres", "w does not exist"),
            complaint(13, "VIEW x postgres", "no such function"),
            complaint(14, "TABLE t postgres", &format!("pg_type {}", AFTERMATH[0])),
            Complaint::default(),
        ];
        let found = of_database("db", complaints, &parse(list).unwrap(), &[role("postgres")]);
        let told: Vec<_> = arranged(found)
            .into_iter()
            .map(|one| (one.object, one.follows))
            .collect();
        let (v, w, x) = (
            "VIEW v in schema app",
            "VIEW w in schema app",
            "VIEW x in schema app",
        );
        let wanted = [
            (v, None),
            (x, None),
            (w, Some(v)),
            ("COMMENT VIEW w in schema app", Some(w)),
            ("TABLE t in schema app", Some(x)),
        ];
        let wanted =
            wanted.map(|(object, follows)| (object.to_owned(), follows.map(str::to_owned)));
        assert_eq!(told, wanted);
    }

    #[test]
    fn what_belongs_to_a_failed_role_follows_it() {
        let role = Failure::of_globals(Complaint {
            statement: "CREATE ROLE \"o\"\"h\";".to_owned(),
            message: "no".to_owned(),
            ..Complaint::default()
        });
        assert_eq!(role.object, "ROLE o\"h");
        let owned = Failure {
            database: Some("db".to_owned()),
            object: "TABLE t".to_owned(),
            message: "role \"o\"h\" does not exist".to_owned(),
            ..role.clone()
        };
        let told = arranged(vec![owned, role.clone()]);
        assert_eq!(told[0], role);
        assert_eq!(told[1].follows.as_deref(), Some("ROLE o\"h"));
        let found = told[1].found();
        assert_eq!((found.severity, found.remedy), (Severity::Notice, None));
    }

    #[test]
    fn no_statement_shows_a_hash_or_what_is_numbered_as_in_old() {
        let hashed = "ALTER ROLE \"a\" WITH LOGIN PASSWORD 'SCRAM-SHA-256$4096:x';";
        let failure = Failure::of_globals(Complaint {
            statement: hashed.to_owned(),
            ..Complaint::default()
        });
        assert_eq!(failure.statement, "ALTER ROLE \"a\" WITH LOGIN");
        let statement = "\n-- For binary upgrade, must preserve pg_type oid\n\
            SELECT pg_catalog.binary_upgrade_set_next_pg_type_oid('1'::pg_catalog.oid);\n\n\
            CREATE VIEW \"v\" AS\n  SELECT 1;\n\n\
            UPDATE pg_catalog.pg_class\nSET relfrozenxid = '731';\n";
        assert_eq!(excerpt(statement), "CREATE VIEW \"v\" AS SELECT 1;");
        let secret = "CREATE SUBSCRIPTION s CONNECTION 'password=sesame\n-- no' PUBLICATION p;";
        assert_eq!(
            excerpt(secret),
            "CREATE SUBSCRIPTION s CONNECTION '... ' PUBLICATION p;"
        );
    }
}
