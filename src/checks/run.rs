//! Making checks.

use super::check::{Check, Question, Scope};
use super::interview::{Answers, Asked, Interview, Interviews};
use super::probe::Row;
use super::report::Report;
use super::selection::Selection;
use super::trial::Trials;
use crate::catalog::Snapshot;
use crate::error::{Code, Error, Family, Result};
use crate::event::{SkipOption, Skipped};
use crate::pg::{MajorVersion, quote};
use crate::server::{Cancel, Endpoint, in_each_database};

/// What is checked.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The old server.
    pub old: &'a Endpoint,
    /// What it holds; none where that could not be read, and then only the shared catalogs
    /// are asked: what they say may be the reason.
    pub snapshot: Option<&'a Snapshot>,
    /// The new version, also for what only its own server can answer.
    pub new: &'a Trials,
    /// Whether this migration has linked old's files already.
    pub linked_before: bool,
    /// Whether pages are given checksums on their way to new.
    pub enables_checksums: bool,
    /// The wish to stop.
    pub cancel: &'a Cancel,
}

/// The checks of an upgrade from one version to another.
#[derive(Debug)]
pub struct Applicable<'c> {
    wanted: Vec<&'c Check>,
    skipped: Vec<(&'c Check, SkipOption)>,
    others: Vec<&'c Check>,
}

impl<'c> Applicable<'c> {
    /// Chooses those that apply.
    pub fn new(checks: &'c [Check], old: MajorVersion, new: MajorVersion) -> Self {
        let (wanted, others) = checks
            .iter()
            .partition(|check| check.applies.old.contains(old) && check.applies.new.contains(new));
        Self {
            wanted,
            skipped: Vec::new(),
            others,
        }
    }

    /// Leaves out what the operator does not want; the report says so.
    #[must_use]
    pub fn chosen(mut self, selection: &Selection) -> Self {
        let skipped = &mut self.skipped;
        self.wanted.retain(|check| {
            let reason = selection.leaves_out(check);
            skipped.extend(reason.map(|reason| (*check, reason)));
            reason.is_none()
        });
        self
    }

    /// The checks of each database, to be made there by whoever has a session in it.
    pub fn interviews<'a>(&self, cancel: &'a Cancel) -> Interviews<'c, 'a> {
        Interviews::new(of(&self.wanted, Scope::EachDatabase), cancel)
    }
}

/// Makes all checks that apply and are wanted, and stops at no finding.
///
/// A check that fails in some place is reported as not made; what it found elsewhere is
/// reported too. The databases have been `asked` before, in the order in which one can connect to
/// them; or, where a session broke meanwhile, they are asked now, one after the other.
///
/// # Errors
///
/// Only where the operator asked to stop, or no database can be connected to.
pub fn run(
    checks: &Applicable<'_>,
    subject: &Subject<'_>,
    asked: Option<Vec<Asked>>,
) -> Result<Report> {
    let possible = |check: &&&Check| subject.snapshot.is_some() || check.scope == Scope::Cluster;
    let wanted: Vec<&Check> = checks.wanted.iter().filter(possible).copied().collect();
    let mut answers = ask_all(&wanted, subject, asked)?;
    try_in_new(&mut answers, subject)?;

    let skipped = checks.skipped.iter().map(|(check, option)| Skipped {
        check: check.id.clone(),
        severity: check.severity,
        option: *option,
    });
    let mut report = Report {
        applicable: checks.wanted.len() + checks.skipped.len(),
        skipped: skipped.collect(),
        inapplicable: checks.others.iter().map(|check| check.id.clone()).collect(),
        ..Report::default()
    };
    for check in &wanted {
        let mut failed = false;
        for (_, answer) in answers.iter().filter(|(of, _)| of.id == check.id) {
            failed |= !report.add(check, answer);
        }
        report.made += usize::from(!failed);
    }
    Ok(report)
}

fn of<'c>(checks: &[&'c Check], scope: Scope) -> Vec<&'c Check> {
    let checks = checks.iter().copied();
    checks.filter(|check| check.scope == scope).collect()
}

fn ask_all<'c>(
    wanted: &[&'c Check],
    subject: &Subject<'_>,
    asked: Option<Vec<Asked>>,
) -> Result<Vec<(&'c Check, Answer)>> {
    let databases = match subject.snapshot {
        Some(snapshot) => snapshot.connectable(),
        None => some_door(subject.old),
    };
    let first = front_door(&databases)?;
    let mut answers: Vec<(&Check, Answer)> = of(wanted, Scope::Host)
        .into_iter()
        .map(|check| (check, host(check, subject)))
        .collect();
    answers.extend(ask_one_by_one(
        &of(wanted, Scope::Cluster),
        &[first],
        subject,
    )?);
    let each = of(wanted, Scope::EachDatabase);
    answers.extend(match asked {
        Some(asked) => of_databases(&each, &databases, asked.into_iter().map(Asked::answers)),
        None => ask_one_by_one(&each, &databases, subject)?,
    });
    Ok(answers)
}

/// Takes away what the new version does not refuse, and adds its reason to the rest.
fn try_in_new(answers: &mut [(&Check, Answer)], subject: &Subject<'_>) -> Result<()> {
    for (check, answer) in answers {
        let Ok(rows) = &mut answer.rows else { continue };
        let refused = refused(check, std::mem::take(rows), subject);
        match refused {
            Err(error) if stops(&error) => return Err(error),
            refused => answer.rows = refused,
        }
    }
    Ok(())
}

fn refused(check: &Check, rows: Vec<Row>, subject: &Subject<'_>) -> Result<Vec<Row>> {
    let mut left = Vec::with_capacity(rows.len());
    for mut row in rows {
        if let Some(sql) = check.attempt(&row)? {
            match subject.new.refusal(&sql, subject.cancel)? {
                Some(reason) => row.push(Some(reason)),
                None => continue,
            }
        }
        left.push(row);
    }
    Ok(left)
}

/// What a check found in one place.
struct Answer {
    database: Option<String>,
    rows: Result<Vec<Row>>,
}

impl Report {
    /// False if the check could not be made there.
    fn add(&mut self, check: &Check, answer: &Answer) -> bool {
        let database = answer.database.as_deref();
        let found = answer.rows.clone().and_then(|rows| {
            let findings = rows.into_iter().map(|row| check.finding(row, database));
            findings.collect::<Result<Vec<_>>>()
        });
        match found {
            Ok(findings) => {
                self.findings.extend(findings);
                true
            }
            Err(error) => {
                let error = not_made(check, database, &error);
                self.not_made.push((check.id.clone(), error));
                false
            }
        }
    }
}

fn not_made(check: &Check, database: Option<&str>, cause: &Error) -> Error {
    let message = format!("the check {} could not be made", check.id);
    let mut error = Error::new(Code::CheckNotMade, message).caused_by(cause);
    if let Some(database) = database {
        error = error.fact("database", quote::terminal_safe(database));
    }
    for (name, value) in cause.facts() {
        if name != "database" {
            error = error.fact(name, value);
        }
    }
    error
}

/// A database one can connect to, where no list of them could be had.
fn some_door(old: &Endpoint) -> Vec<String> {
    let usual = ["postgres", "template1"].into_iter();
    let mut open = usual.filter(|name| old.connect(name).is_ok());
    open.next().map(str::to_owned).into_iter().collect()
}

/// The database for questions about the whole cluster.
fn front_door(databases: &[String]) -> Result<String> {
    ["postgres", "template1"]
        .into_iter()
        .find_map(|usual| databases.iter().find(|name| *name == usual))
        .or(databases.first())
        .cloned()
        .ok_or_else(|| Error::new(Code::Connection, "no database of old accepts connections"))
}

fn host(check: &Check, subject: &Subject<'_>) -> Answer {
    let rows = match &check.question {
        Question::Probe(probe) => probe.ask(subject),
        Question::Query(_) | Question::StoredType(_) => {
            Err(Error::new(Code::Internal, "the host knows no SQL"))
        }
    };
    Answer {
        database: None,
        rows,
    }
}

fn of_databases<'c>(
    checks: &[&'c Check],
    databases: &[String],
    answers: impl IntoIterator<Item = Answers>,
) -> Vec<(&'c Check, Answer)> {
    let mut all = Vec::new();
    for (database, answers) in databases.iter().zip(answers) {
        all.extend(checks.iter().zip(answers).map(|(check, rows)| {
            let database = Some(database.clone());
            (*check, Answer { database, rows })
        }));
    }
    all
}

/// Every check in every database, one after the other.
///
/// So it shows which question it was that broke a session, or took the server down; and a
/// database that cannot be connected to takes nothing from the others.
fn ask_one_by_one<'c>(
    checks: &[&'c Check],
    databases: &[String],
    subject: &Subject<'_>,
) -> Result<Vec<(&'c Check, Answer)>> {
    let asked: Result<Vec<Answers>> = (databases.iter())
        .map(|database| ask_alone(checks, database, subject))
        .collect();
    Ok(of_databases(checks, databases, asked?))
}

/// In as many sessions as break, each of which goes on behind what broke the one before.
fn ask_alone(checks: &[&Check], database: &String, subject: &Subject<'_>) -> Result<Answers> {
    let (old, cancel) = (subject.old, subject.cancel);
    let interview = Interview::new(checks);
    let mut failure = Error::new(Code::Internal, "a question was left out");
    // A server that has just crashed, or recovers, may let nobody in.
    let mut refusals = 2;
    // One for each question, one for what is asked of all of them before.
    for _ in 0..=checks.len() {
        let session = in_each_database(
            old,
            std::slice::from_ref(database),
            1,
            cancel,
            |client, _| Ok(interview.ask(client, cancel)),
        );
        match session.map(|mut broken| broken.pop()) {
            Ok(Some(Err(error))) if !interview.is_over() => failure = error,
            Ok(_) => break,
            Err(error) if stops(&error) => return Err(error),
            Err(error) => {
                failure = error;
                if refusals == 0 {
                    break;
                }
                refusals -= 1;
            }
        }
        old.await_recovery(database, cancel)?;
    }
    Ok(interview.answers_or(&failure))
}

fn stops(error: &Error) -> bool {
    error.code().family() == Family::Signal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_cluster_is_asked_where_one_can_connect() {
        let front = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            front_door(&names)
        };
        assert_eq!(front(&["a", "template1", "postgres"]).unwrap(), "postgres");
        assert_eq!(front(&["a", "template1"]).unwrap(), "template1");
        assert_eq!(front(&["a", "b"]).unwrap(), "a");
        assert_eq!(front(&[]).unwrap_err().code(), Code::Connection);
    }

    #[test]
    fn the_reason_is_told_with_a_check_that_was_not_made() {
        let checks = super::super::all().unwrap();
        let cause = Error::new(Code::Query, "no")
            .fact("sqlstate", "57014")
            .fact("database", "a");
        let error = not_made(&checks[0], Some("a\n"), &cause);
        assert_eq!(error.code(), Code::CheckNotMade);
        assert_eq!(error.causes(), ["[PGM-3004] no"]);
        let facts = [("database", "a\\n"), ("sqlstate", "57014")];
        let facts = facts.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(error.facts(), facts);
    }
}
