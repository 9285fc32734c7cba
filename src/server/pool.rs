//! The same work once in each database, in several sessions at a time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use postgres::{CancelToken, NoTls};

use super::client::Client;
use super::endpoint::Endpoint;
use crate::error::{Code, Error, Result};
use crate::work::{Cancel, lock};

/// How soon a statement that is running learns of a requested stop.
const WATCH: Duration = Duration::from_millis(50);

/// What sessions without a database of their own can do for those at work in one.
pub trait Help: Sync {
    /// Whether there is something for another session in this database.
    fn wanted(&self, database: &str) -> bool;
    /// Does it. Whatever it leaves undone the session at work there does itself.
    fn give(&self, client: &mut Client);
}

/// Nobody is helped.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl Help for Alone {
    fn wanted(&self, _: &str) -> bool {
        false
    }

    fn give(&self, _: &mut Client) {}
}

/// Does the work in every database, in up to `jobs` sessions at a time.
///
/// The answers come in the order of the databases. After the first error no more work is
/// begun, and that error is the answer. When the function returns every session has been
/// closed, because an idle one holds back freezing. A requested stop cancels what is running.
pub fn in_each_database<T: Send>(
    server: &Endpoint,
    databases: &[String],
    jobs: usize,
    cancel: &Cancel,
    work: impl Fn(&mut Client, &str) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    in_each_database_with_help(server, databases, jobs, cancel, work, &Alone)
}

/// The same, where sessions that have no database left help in those that are worked in.
///
/// So a large database among small ones keeps more than one processor busy.
pub fn in_each_database_with_help<T: Send>(
    server: &Endpoint,
    databases: &[String],
    jobs: usize,
    cancel: &Cancel,
    work: impl Fn(&mut Client, &str) -> Result<T> + Sync,
    help: &dyn Help,
) -> Result<Vec<T>> {
    cancel.check()?;
    let workers = jobs.clamp(1, databases.len().max(1));
    let shared = Shared {
        next: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        answers: Mutex::new(databases.iter().map(|_| None).collect()),
        error: Mutex::new(None),
        running: (0..workers).map(|_| Mutex::new(None)).collect(),
    };
    std::thread::scope(|scope| {
        let (alive, ended) = mpsc::channel::<()>();
        for worker in 0..workers {
            let (shared, work, alive) = (&shared, &work, alive.clone());
            scope.spawn(move || {
                // Dropped when the worker ends, by a panic too.
                let _alive = alive;
                shared.run(worker, server, databases, cancel, work);
                shared.help(worker, server, databases, cancel, help);
            });
        }
        drop(alive);
        while ended.recv_timeout(WATCH) == Err(RecvTimeoutError::Timeout) {
            if cancel.requested() {
                shared.interrupt();
            }
        }
    });
    cancel.check()?;
    if let Some(error) = lock(&shared.error).take() {
        return Err(error);
    }
    let answers = std::mem::take(&mut *lock(&shared.answers));
    answers
        .into_iter()
        .map(|answer| answer.ok_or_else(|| Error::new(Code::Internal, "a database was left out")))
        .collect()
}

struct Shared<T> {
    next: AtomicUsize,
    stop: AtomicBool,
    answers: Mutex<Vec<Option<T>>>,
    error: Mutex<Option<Error>>,
    running: Vec<Mutex<Option<CancelToken>>>,
}

impl<T> Shared<T> {
    fn run(
        &self,
        worker: usize,
        server: &Endpoint,
        databases: &[String],
        cancel: &Cancel,
        work: &impl Fn(&mut Client, &str) -> Result<T>,
    ) {
        while !self.stop.load(Ordering::SeqCst) && !cancel.requested() {
            let index = self.next.fetch_add(1, Ordering::SeqCst);
            let Some(database) = databases.get(index) else {
                return;
            };
            match self.run_one(worker, server, database, work) {
                Ok(answer) => {
                    if let Some(place) = lock(&self.answers).get_mut(index) {
                        *place = Some(answer);
                    }
                }
                Err(error) => {
                    self.stop.store(true, Ordering::SeqCst);
                    lock(&self.error).get_or_insert(error);
                }
            }
        }
    }

    fn help(
        &self,
        worker: usize,
        server: &Endpoint,
        databases: &[String],
        cancel: &Cancel,
        help: &dyn Help,
    ) {
        // What was begun last is least done.
        for database in databases.iter().rev() {
            if self.stop.load(Ordering::SeqCst) || cancel.requested() {
                return;
            }
            if help.wanted(database) {
                let _ = self.run_one(worker, server, database, &|client: &mut Client, _: &str| {
                    help.give(client);
                    Ok(())
                });
            }
        }
    }

    fn run_one<U>(
        &self,
        worker: usize,
        server: &Endpoint,
        database: &str,
        work: &impl Fn(&mut Client, &str) -> Result<U>,
    ) -> Result<U> {
        let mut client = server.connect(database)?;
        *lock(&self.running[worker]) = Some(client.cancel_token());
        let answer = work(&mut client, database);
        *lock(&self.running[worker]) = None;
        client.close();
        answer
    }

    fn interrupt(&self) {
        for running in &self.running {
            if let Some(token) = &*lock(running) {
                // A statement that cannot be cancelled now is tried again at the next look.
                let _ = token.cancel_query(NoTls);
            }
        }
    }
}
