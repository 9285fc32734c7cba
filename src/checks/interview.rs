//! The questions of all checks in one database, which several sessions may ask.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::check::{Check, Question};
use super::probe::Row;
use super::stored_type::Held;
use crate::error::{Code, Error, Result};
use crate::pg::quote;
use crate::server::{Cancel, Client, Help};
use crate::work::lock;

/// How long one question may take in one database.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(300);

/// How long a question may wait for a lock that somebody else holds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// The answers to some checks in one database.
pub(super) type Answers = Vec<Result<Vec<Row>>>;

/// What the checks of each database were answered in one.
#[derive(Debug)]
pub struct Asked(Answers);

impl Asked {
    pub(super) fn answers(self) -> Answers {
        self.0
    }
}

/// The checks of each database, by database.
#[derive(Debug)]
pub struct Interviews<'c, 'a> {
    checks: Vec<&'c Check>,
    cancel: &'a Cancel,
    begun: Mutex<BTreeMap<String, Arc<Interview<'c>>>>,
}

impl<'c, 'a> Interviews<'c, 'a> {
    pub(super) fn new(checks: Vec<&'c Check>, cancel: &'a Cancel) -> Self {
        Self {
            checks,
            cancel,
            begun: Mutex::default(),
        }
    }

    /// Makes the checks in the database the session is in; whoever helps has made some of them.
    pub fn ask(&self, client: &mut Client) -> Asked {
        let interview = self.of(client.database());
        Asked(interview.ask(client, self.cancel))
    }

    fn of(&self, database: &str) -> Arc<Interview<'c>> {
        let mut begun = lock(&self.begun);
        if let Some(interview) = begun.get(database) {
            return Arc::clone(interview);
        }
        let interview = Arc::new(Interview::new(&self.checks));
        begun.insert(database.to_owned(), Arc::clone(&interview));
        interview
    }
}

impl Help for Interviews<'_, '_> {
    fn wanted(&self, database: &str) -> bool {
        self.of(database).wants_help()
    }

    fn give(&self, client: &mut Client) {
        self.of(client.database()).help(client, self.cancel);
    }
}

/// What is asked in one database.
///
/// One session asks until all is answered. Another one may take questions from it. What that one
/// was refused is the answer; what it could not ask because its session broke it gives back.
#[derive(Debug)]
pub(super) struct Interview<'c> {
    checks: Vec<&'c Check>,
    empty: Mutex<Option<BTreeSet<String>>>,
    held: Mutex<Held>,
    progress: Mutex<Progress>,
    moved: Condvar,
}

#[derive(Debug)]
struct Progress {
    /// The first question nobody has taken.
    next: usize,
    /// Questions that were given back.
    returned: Vec<usize>,
    /// How many the helper is at.
    away: usize,
    helped: bool,
    answers: Vec<Option<Result<Vec<Row>>>>,
}

impl<'c> Interview<'c> {
    pub(super) fn new(checks: &[&'c Check]) -> Self {
        Self {
            checks: checks.to_vec(),
            empty: Mutex::default(),
            held: Mutex::default(),
            progress: Mutex::new(Progress {
                next: 0,
                returned: Vec::new(),
                away: 0,
                helped: false,
                answers: checks.iter().map(|_| None).collect(),
            }),
            moved: Condvar::new(),
        }
    }

    /// Asks what nobody else asks, and waits for the rest.
    ///
    /// A question is a transaction of its own, and read-only as every one of a session in old.
    pub(super) fn ask(&self, client: &mut Client, cancel: &Cancel) -> Answers {
        let limited = limit(client);
        // Where that cannot be found out, each is asked, and says itself why it cannot be.
        let empty = limited.clone().and_then(|()| self.empty(client));
        let empty = empty.unwrap_or_default();
        while let Some(index) = self.next() {
            let answer = limited.clone();
            let answer = answer.and_then(|()| self.question(index, client, &empty, cancel));
            self.answered(index, answer);
        }
        // What else the session is for has no such limits; a session that is broken has no more
        // use.
        let _ = client.run_script("SET statement_timeout = 0; SET lock_timeout = 0");
        let answers = std::mem::take(&mut lock(&self.progress).answers);
        let left_out = || Err(Error::new(Code::Internal, "a question was left out"));
        let answers = answers.into_iter();
        answers
            .map(|answer| answer.unwrap_or_else(left_out))
            .collect()
    }

    /// Whether it is worth a second session; says so once.
    fn wants_help(&self) -> bool {
        let mut progress = lock(&self.progress);
        let wanted = !progress.helped && progress.next * 2 < self.checks.len();
        progress.helped |= wanted;
        wanted
    }

    fn help(&self, client: &mut Client, cancel: &Cancel) {
        let empty = limit(client).and_then(|()| self.empty(client));
        let Ok(empty) = empty else { return };
        while let Some(taken) = self.take() {
            match self.question(taken.index, client, &empty, cancel) {
                Ok(rows) => self.answered(taken.index, Ok(rows)),
                // The other session would be refused the same, after as long a time.
                Err(error) if !cancel.requested() && client.run_script("SELECT 1").is_ok() => {
                    self.answered(taken.index, Err(error));
                }
                Err(_) => return,
            }
        }
    }

    /// The next question; nothing when all are answered.
    fn next(&self) -> Option<usize> {
        let mut progress = lock(&self.progress);
        loop {
            if let Some(index) = progress.returned.pop() {
                return Some(index);
            }
            if progress.next < self.checks.len() {
                progress.next += 1;
                return Some(progress.next - 1);
            }
            if progress.away == 0 {
                return None;
            }
            let waited = self.moved.wait(progress);
            progress = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next question for whoever helps.
    fn take(&self) -> Option<Taken<'_, 'c>> {
        let mut progress = lock(&self.progress);
        if progress.next >= self.checks.len() {
            return None;
        }
        progress.next += 1;
        progress.away += 1;
        Some(Taken {
            interview: self,
            index: progress.next - 1,
        })
    }

    fn answered(&self, index: usize, answer: Result<Vec<Row>>) {
        if let Some(place) = lock(&self.progress).answers.get_mut(index) {
            *place = Some(answer);
        }
    }

    fn question(
        &self,
        index: usize,
        client: &mut Client,
        empty: &BTreeSet<String>,
        cancel: &Cancel,
    ) -> Result<Vec<Row>> {
        cancel.check()?;
        match self.checks.get(index) {
            Some(check) if !empty.contains(&check.id) => question(client, check, &self.held),
            _ => Ok(Vec::new()),
        }
    }

    /// The checks that can find nothing in this database, by one statement for all.
    fn empty(&self, client: &mut Client) -> Result<BTreeSet<String>> {
        let mut known = lock(&self.empty);
        if let Some(empty) = &*known {
            return Ok(empty.clone());
        }
        let found = empty(client, &self.checks)?;
        *known = Some(found.clone());
        Ok(found)
    }
}

/// A question that somebody who helps is at; given back when this is dropped without an answer.
struct Taken<'i, 'c> {
    interview: &'i Interview<'c>,
    index: usize,
}

impl Drop for Taken<'_, '_> {
    fn drop(&mut self) {
        let mut progress = lock(&self.interview.progress);
        progress.away -= 1;
        if matches!(progress.answers.get(self.index), Some(None)) {
            progress.returned.push(self.index);
        }
        drop(progress);
        self.interview.moved.notify_one();
    }
}

fn limit(client: &mut Client) -> Result<()> {
    client.run_script(&format!(
        "SET statement_timeout = {}; SET lock_timeout = {}",
        STATEMENT_TIMEOUT.as_millis(),
        LOCK_TIMEOUT.as_millis(),
    ))
}

fn empty(client: &mut Client, checks: &[&Check]) -> Result<BTreeSet<String>> {
    let conditions = checks.iter().filter_map(|check| {
        let condition = check.only_where.as_ref()?;
        Some(format!(
            "SELECT {} WHERE ({condition}\n) IS NOT TRUE",
            quote::literal(&check.id)
        ))
    });
    let conditions: Vec<String> = conditions.collect();
    if conditions.is_empty() {
        return Ok(BTreeSet::new());
    }
    let rows = client.text_rows(&conditions.join(" UNION ALL\n"))?;
    Ok(rows.into_iter().flatten().flatten().collect())
}

fn question(client: &mut Client, check: &Check, held: &Mutex<Held>) -> Result<Vec<Row>> {
    let query = match &check.question {
        Question::Query(query) => query,
        Question::StoredType(types) if lock(held).has(types, client)? => types.query(),
        Question::StoredType(_) => return Ok(Vec::new()),
        Question::Probe(_) => {
            return Err(Error::new(Code::Internal, "a probe asks no database"));
        }
    };
    client.text_rows(&select(&check.columns, query))
}

/// Puts the columns into the order in which they are declared.
fn select(columns: &[String], query: &str) -> String {
    let list = match columns {
        [] => "NULL".to_owned(),
        _ => (columns.iter())
            .map(|column| format!("q.{}", quote::ident(column)))
            .collect::<Vec<_>>()
            .join(", "),
    };
    format!("SELECT {list} FROM (\n{query}\n) AS q")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_asked_for_by_name() {
        let columns = ["kind".to_owned(), "column".to_owned()];
        assert_eq!(
            select(&columns, "SELECT 1 -- one"),
            "SELECT q.\"kind\", q.\"column\" FROM (\nSELECT 1 -- one\n) AS q"
        );
        assert_eq!(
            select(&[], "SELECT 1"),
            "SELECT NULL FROM (\nSELECT 1\n) AS q"
        );
    }

    #[test]
    fn what_a_helper_cannot_answer_is_asked_by_the_first_session() {
        let checks = super::super::all().unwrap();
        let checks: Vec<&Check> = checks.iter().take(5).collect();
        let interview = Interview::new(&checks);
        assert!(interview.wants_help() && !interview.wants_help());
        assert_eq!(interview.next(), Some(0));
        let answered = interview.take().unwrap();
        interview.answered(answered.index, Ok(vec![vec![None]]));
        let given_up = interview.take().unwrap();
        let slow = interview.take().unwrap();
        assert_eq!((answered.index, given_up.index, slow.index), (1, 2, 3));
        drop(answered);
        drop(given_up);
        assert_eq!(interview.next(), Some(2));
        assert_eq!(interview.next(), Some(4));
        assert!(interview.take().is_none());
        std::thread::scope(|scope| {
            let first = scope.spawn(|| (interview.next(), interview.next()));
            std::thread::sleep(Duration::from_millis(20));
            drop(slow);
            assert_eq!(first.join().unwrap(), (Some(3), None));
        });
    }

    #[test]
    fn nobody_helps_where_most_is_asked() {
        let checks = super::super::all().unwrap();
        let checks: Vec<&Check> = checks.iter().take(4).collect();
        let interview = Interview::new(&checks);
        assert_eq!((interview.next(), interview.next()), (Some(0), Some(1)));
        assert!(!interview.wants_help());
    }
}
