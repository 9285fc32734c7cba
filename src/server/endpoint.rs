//! Where a server is reached, and as whom.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use postgres::error::SqlState;

use super::client::Client;
use super::installation::Side;
use super::quiet;
use crate::error::{Error, Result};
use crate::pg::{MajorVersion, quote};
use crate::work::Cancel;

/// The name by which sessions of ours are known in the server.
pub(super) const APPLICATION: &str = "pg_migrator";

/// Programs print what the server says to them, and some of it is kept in reports. Not for
/// sessions of ours: they ask for this very setting.
const ENGLISH: &str = " -c lc_messages=C";

/// `pg_dump` asks tens of thousands of small questions, most of them once for each relation, and
/// planning takes longer than answering. There is an index for everything it joins by, so what
/// is left of the planner's choices are nested loops in the order they were written in; that
/// halves the time the server needs, and no answer depends on it.
const PLAINLY_PLANNED: &str = " -c join_collapse_limit=1 -c enable_hashjoin=off \
     -c enable_mergejoin=off -c enable_bitmapscan=off -c enable_material=off \
     -c max_parallel_workers_per_gather=0";

/// How long a server may take to recover from a crash.
const RECOVERY: Duration = Duration::from_secs(60);

/// How often it is asked.
const RECOVERY_LOOK: Duration = Duration::from_millis(50);

/// Whether a server said that it lets nobody in yet.
fn is_kept_out(error: &Error) -> bool {
    let state = SqlState::CANNOT_CONNECT_NOW.code();
    let said = ("sqlstate".to_owned(), state.to_owned());
    error.facts().contains(&said)
}

/// All that sessions and programs need to connect to a server, whoever started it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Whose server it is.
    pub side: Side,
    /// Its major version.
    pub major: MajorVersion,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// The directory of its socket, or the name of a host.
    pub host: PathBuf,
    /// The number in the socket's name, or the port of that host.
    pub port: u16,
    /// The install user, as whom every session connects.
    pub user: String,
    /// Where its messages are, as far as we know.
    pub log: Option<PathBuf>,
    /// Whether it is a private server, whose access rules are ours.
    pub private: bool,
}

impl Endpoint {
    /// Opens a session in a database, as the install user.
    pub fn connect(&self, database: &str) -> Result<Client> {
        Client::connect(self, database)
    }

    /// Waits until a server in which something has crashed lets sessions in again.
    ///
    /// It ends all sessions then, and recovers (`HandleChildCrash` of
    /// `src/backend/postmaster/postmaster.c`). Whatever else keeps sessions out, the next one
    /// will say.
    ///
    /// # Errors
    ///
    /// A requested stop.
    pub fn await_recovery(&self, database: &str, cancel: &Cancel) -> Result<()> {
        let begun = Instant::now();
        loop {
            // The session that broke knows of it a moment before the postmaster does.
            std::thread::sleep(RECOVERY_LOOK);
            cancel.check()?;
            let refused = self.connect(database).err();
            let waits = refused.is_some_and(|error| is_kept_out(&error));
            if !waits || begun.elapsed() > RECOVERY {
                return Ok(());
            }
        }
    }

    /// A connection string for PostgreSQL's programs.
    ///
    /// Names from catalogs reach them only in this form: a database may be called `-x`, `a=b`
    /// or `postgres://c`.
    pub fn conninfo(&self, database: &str) -> String {
        format!(
            "{} dbname={}",
            self.server_conninfo(),
            quote::conninfo(database)
        )
    }

    /// The same for `pg_dump`.
    pub fn conninfo_of_dump(&self, database: &str) -> String {
        format!(
            "{} dbname={}",
            self.described(PLAINLY_PLANNED),
            quote::conninfo(database)
        )
    }

    /// The same without a database, for `pg_dumpall`, which finds one itself.
    pub fn server_conninfo(&self) -> String {
        self.described("")
    }

    fn described(&self, more_options: &str) -> String {
        format!(
            "host={} port={} user={} application_name={APPLICATION} options={}",
            quote::conninfo(&self.host.to_string_lossy()),
            self.port,
            quote::conninfo(&self.user),
            quote::conninfo(&(self.session_options() + ENGLISH + more_options)),
        )
    }

    /// Whether it is reached through a socket of this machine.
    pub fn is_socket(&self) -> bool {
        Path::new(&self.host).is_absolute()
    }

    /// What every session and every program asks for when it connects.
    ///
    /// Databases and roles may have settings of their own, which come before those of the
    /// server's command line but after these: a read-only database could not be filled, a
    /// library that new lacks would end every session, another role could not read all.
    pub(super) fn session_options(&self) -> String {
        let mut options = String::from(
            "-c default_transaction_read_only=off -c default_transaction_isolation=read\\ committed \
             -c default_transaction_deferrable=off -c role=none -c session_preload_libraries= \
             -c local_preload_libraries= -c statement_timeout=0 -c lock_timeout=0 \
             -c idle_in_transaction_session_timeout=0",
        );
        if self.major >= MajorVersion(14) {
            options.push_str(" -c idle_session_timeout=0");
        }
        if self.major >= MajorVersion(17) {
            options.push_str(" -c event_triggers=off -c transaction_timeout=0");
        }
        // What the operator's server writes into its log is for the operator to say.
        if self.private {
            // An error is told to us; it may repeat what the log must not hold.
            options.push_str(" -c log_min_messages=log");
            for (name, value) in quiet::log_settings(self.major) {
                options.push_str(&format!(" -c {name}={value}"));
            }
        }
        options
    }
}
