//! An application that writes to a running server and keeps its own book of what it did.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Running, bindir};

/// Whose pgbench there is.
const PGBENCH: &str = "new-17";

/// What the application has been told by the server.
#[derive(Debug, Default, Clone)]
pub struct Book {
    /// Rows whose COMMIT was confirmed.
    pub committed: Vec<i64>,
    /// Rows of which nobody knows: the session ended before the answer.
    pub unknown: Vec<i64>,
    /// The longest time one transaction took.
    pub longest: Duration,
    /// How many TRUNCATEs were done.
    pub truncated: u64,
}

/// Threads that write until they are stopped, or until the server goes.
#[derive(Debug)]
pub struct Application {
    over: Arc<AtomicBool>,
    book: Arc<Mutex<Book>>,
    threads: Vec<JoinHandle<()>>,
}

impl Application {
    /// Makes its tables in this database.
    pub fn make(server: &Running<'_>, database: &str) {
        server.sql(
            database,
            "CREATE TABLE ledger (id bigint PRIMARY KEY, note text); \
             CREATE TABLE scratch (id bigserial, note text)",
        );
    }

    /// Begins to write: one session of rows, one that also empties a table again and again.
    pub fn begin(sockets: &Path, database: &str, first: i64) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let book = Arc::new(Mutex::new(Book::default()));
        let connect = {
            let (sockets, database) = (sockets.to_owned(), database.to_owned());
            move || {
                postgres::Config::new()
                    .host_path(&sockets)
                    .port(5432)
                    .user("postgres")
                    .dbname(&database)
                    .application_name("the application")
                    .connect(postgres::NoTls)
            }
        };
        let writer = {
            let (over, book, connect) = (Arc::clone(&over), Arc::clone(&book), connect.clone());
            std::thread::spawn(move || write(&over, &book, &connect, first))
        };
        let emptier = {
            let (over, book) = (Arc::clone(&over), Arc::clone(&book));
            std::thread::spawn(move || empty(&over, &book, &connect))
        };
        Self {
            over,
            book,
            threads: vec![writer, emptier],
        }
    }

    /// How many rows are known to be committed by now.
    pub fn committed(&self) -> usize {
        self.book.lock().unwrap().committed.len()
    }

    /// Waits until so many more rows are committed.
    pub fn goes_on(&self, rows: usize) {
        let from = self.committed();
        let begun = Instant::now();
        while self.committed() < from + rows {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "the application stands still"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it, and gives its book.
    pub fn end(mut self) -> Book {
        self.over.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        self.book.lock().unwrap().clone()
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

impl Book {
    /// Demands that a server holds every row whose commit was confirmed, and none it never
    /// heard of.
    pub fn demand_kept(&self, server: &Running<'_>, database: &str) {
        self.demand_kept_by(&mut server.connect(database), "in the end");
    }

    /// The same by a session, after something.
    pub fn demand_kept_by(&self, client: &mut postgres::Client, after: &str) {
        let rows = client.query("SELECT id FROM ledger ORDER BY id", &[]);
        let held: Vec<i64> = rows.unwrap().iter().map(|row| row.get(0)).collect();
        let lost: Vec<_> = self
            .committed
            .iter()
            .filter(|id| held.binary_search(id).is_err())
            .collect();
        assert!(
            lost.is_empty(),
            "{after}: {} rows lost: {lost:?}",
            lost.len()
        );
        let invented: Vec<_> = held
            .iter()
            .filter(|id| !self.committed.contains(id) && !self.unknown.contains(id))
            .collect();
        assert!(invented.is_empty(), "{after}: invented: {invented:?}");
    }

    /// Adds what a later application wrote to the same table.
    pub fn and(mut self, later: Book) -> Book {
        self.committed.extend(later.committed);
        self.unknown.extend(later.unknown);
        self
    }
}

type Connect = dyn Fn() -> Result<postgres::Client, postgres::Error>;

fn write(over: &AtomicBool, book: &Mutex<Book>, connect: &Connect, first: i64) {
    let Ok(mut client) = connect() else { return };
    for id in first.. {
        if over.load(Ordering::SeqCst) {
            return;
        }
        let begun = Instant::now();
        let done = client.execute(
            "INSERT INTO ledger VALUES ($1::bigint, repeat('x', ($1::bigint % 4000)::int))",
            &[&id],
        );
        let mut book = book.lock().unwrap();
        book.longest = book.longest.max(begun.elapsed());
        match done {
            Ok(_) => book.committed.push(id),
            Err(_) => {
                book.unknown.push(id);
                return;
            }
        }
    }
}

fn empty(over: &AtomicBool, book: &Mutex<Book>, connect: &Connect) {
    let Ok(mut client) = connect() else { return };
    while !over.load(Ordering::SeqCst) {
        let begun = Instant::now();
        let done = client.batch_execute(
            "TRUNCATE scratch; INSERT INTO scratch (note) SELECT 'n' FROM generate_series(1, 50)",
        );
        if done.is_err() {
            return;
        }
        let mut book = book.lock().unwrap();
        book.longest = book.longest.max(begun.elapsed());
        book.truncated += 1;
        drop(book);
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A pgbench that runs until it is dropped or its server goes.
#[derive(Debug)]
pub struct Pgbench(Child);

impl Pgbench {
    /// Makes the tables of pgbench.
    pub fn make(sockets: &Path, database: &str, scale: u32) {
        let made = command(sockets)
            .args(["-i", "-q", "-s", &scale.to_string(), database])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
    }

    /// Begins its usual transactions in some sessions.
    pub fn begin(sockets: &Path, database: &str, clients: u32) -> Self {
        let child = command(sockets)
            .args(["-n", "-T", "600", "-c", &clients.to_string(), database])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Pgbench {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(sockets: &Path) -> Command {
    let program: PathBuf = bindir(PGBENCH).join("pgbench");
    let mut command = Command::new(program);
    command
        .args(["-U", "postgres", "-p", "5432", "-h"])
        .arg(sockets)
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null());
    command
}
