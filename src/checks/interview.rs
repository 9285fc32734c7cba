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
    ///
    /// # Errors
    ///
    /// Where the session breaks. A question that takes the server down ends the sessions of all
    /// others too, so nobody knows here which it was.
    pub fn ask(&self, client: &mut Client) -> Result<Asked> {
        let interview = self.of(client.database());
        interview.ask(client, self.cancel)?;
        Ok(Asked(interview.answers()))
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
/// Where the first session breaks, another may go on behind the question it was at; or with it, where
/// the session was ended because something else had crashed.
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
    /// Those at which something elsewhere crashed. That it is so twice is no accident.
    unlucky: BTreeSet<usize>,
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
                unlucky: BTreeSet::new(),
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
    /// The limits of its time stay with the session, which has no more use.
    ///
    /// # Errors
    ///
    /// Where the session broke, with what it was answered last.
    pub(super) fn ask(&self, client: &mut Client, cancel: &Cancel) -> Result<()> {
        let empty = self.begin(client)?;
        while let Some(index) = self.next() {
            let answer = self.question(index, client, &empty, cancel);
            let failure = answer.as_ref().err().cloned();
            let broken = failure.filter(|_| !cancel.requested() && !is_alive(client));
            match broken {
                Some(error) if client.was_ended_by_a_crash_elsewhere() && self.pardons(index) => {
                    return Err(error);
                }
                Some(error) => {
                    self.answered(index, answer);
                    return Err(error);
                }
                None => self.answered(index, answer),
            }
        }
        Ok(())
    }

    /// Whether every question has its answer.
    pub(super) fn is_over(&self) -> bool {
        lock(&self.progress).answers.iter().all(Option::is_some)
    }

    /// The answers, with this one to what nobody could ask.
    pub(super) fn answers_or(&self, error: &Error) -> Answers {
        let answers = std::mem::take(&mut lock(&self.progress).answers);
        let answers = answers.into_iter();
        answers
            .map(|answer| answer.unwrap_or_else(|| Err(error.clone())))
            .collect()
    }

    pub(super) fn answers(&self) -> Answers {
        self.answers_or(&Error::new(Code::Internal, "a question was left out"))
    }

    /// Whether it is worth a second session; says so once.
    fn wants_help(&self) -> bool {
        let mut progress = lock(&self.progress);
        let wanted = !progress.helped && progress.next * 2 < self.checks.len();
        progress.helped |= wanted;
        wanted
    }

    fn help(&self, client: &mut Client, cancel: &Cancel) {
        let Ok(empty) = self.begin(client) else {
            return;
        };
        while let Some(taken) = self.take() {
            match self.question(taken.index, client, &empty, cancel) {
                Ok(rows) => self.answered(taken.index, Ok(rows)),
                // The other session would be refused the same, after as long a time.
                Err(error) if !cancel.requested() && is_alive(client) => {
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

    /// Gives a question back where something elsewhere crashed, unless that happens at it again.
    fn pardons(&self, index: usize) -> bool {
        let mut progress = lock(&self.progress);
        let first = progress.unlucky.insert(index);
        if first {
            progress.returned.push(index);
        }
        first
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

    /// Limits the time of each question, and says which checks can find nothing in this database.
    ///
    /// Where that cannot be found out, each is asked, and says itself why it cannot be; so it is
    /// after a session that broke over it.
    fn begin(&self, client: &mut Client) -> Result<BTreeSet<String>> {
        let mut known = lock(&self.empty);
        if let Some(empty) = &*known {
            client.run_script(&limits())?;
            return Ok(empty.clone());
        }
        *known = Some(BTreeSet::new());
        match empty(client, &self.checks) {
            Ok(empty) => {
                *known = Some(empty.clone());
                Ok(empty)
            }
            Err(_) => {
                client.run_script(&limits())?;
                Ok(BTreeSet::new())
            }
        }
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

fn limits() -> String {
    format!(
        "SET statement_timeout = {}; SET lock_timeout = {};",
        STATEMENT_TIMEOUT.as_millis(),
        LOCK_TIMEOUT.as_millis(),
    )
}

fn is_alive(client: &mut Client) -> bool {
    client.run_script("SELECT 1").is_ok()
}

/// The checks whose condition does not hold, by one message for all; it limits what is asked, too.
///
/// Many have the same condition, which is asked once.
fn empty(client: &mut Client, checks: &[&Check]) -> Result<BTreeSet<String>> {
    let mut conditions: Vec<(&str, Vec<&str>)> = Vec::new();
    for check in checks {
        let Some(condition) = check.only_where.as_deref().map(str::trim) else {
            continue;
        };
        match conditions.iter_mut().find(|(known, _)| *known == condition) {
            Some((_, ids)) => ids.push(&check.id),
            None => conditions.push((condition, vec![&check.id])),
        }
    }
    let columns: Vec<String> = (conditions.iter())
        .map(|(condition, _)| format!("({condition}\n) IS NOT TRUE"))
        .collect();
    let rows = client.text_rows(&format!("{} SELECT {}", limits(), columns.join(",\n")))?;
    let held = rows.into_iter().flatten();
    let empty = held
        .zip(conditions)
        .filter(|(empty, _)| empty.as_deref() == Some("t"));
    let ids = empty.flat_map(|(_, (_, ids))| ids);
    Ok(ids.map(str::to_owned).collect())
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
