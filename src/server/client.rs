//! A session of ours: settings pinned, errors with their facts.

use std::error::Error as _;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postgres::error::SqlState;
use postgres::types::ToSql;
use postgres::{CancelToken, NoTls, Row, SimpleQueryMessage};

use super::endpoint::{APPLICATION, Endpoint};
use super::installation::Side;
use super::password::password;
use crate::error::{Code, Error, Remedy, Result};
use crate::pg::MajorVersion;
use crate::pg::literals::veiled;

/// How much of a statement an error shows.
const STATEMENT_SHOWN: usize = 300;

/// A session in one database of a server.
///
/// What a database or a role may have set for its sessions is overridden, so that a query means
/// the same everywhere: nothing is found without naming its schema, nothing times out, output
/// is in one format. Sessions in old are read-only.
pub struct Client {
    inner: postgres::Client,
    database: String,
    side: Side,
    /// Whether the server ended it because another session had crashed.
    victim: Arc<AtomicBool>,
}

/// A role that does not exist, or is no superuser as `-b` demands, is a mistake in the options,
/// not a failure of a private server; the operator's server may refuse for many more reasons.
fn refused(endpoint: &Endpoint, database: &str, error: &postgres::Error) -> Error {
    let state = error.code();
    let wrong_user = endpoint.private
        && (state == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
            || state == Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    let whose = if endpoint.private {
        "private"
    } else {
        "running"
    };
    let message = format!(
        "could not connect to database \"{database}\" of the {whose} {} server",
        endpoint.side
    );
    let code = if wrong_user {
        Code::WrongUser
    } else {
        Code::Connection
    };
    let mut described =
        with_server_facts(Error::new(code, message), error).fact("user", &endpoint.user);
    if let Some(log) = &endpoint.log {
        described = described.fact("log", log.display());
    }
    if wrong_user {
        return described.remedy(Remedy::manual(
            "give the name of the superuser that initdb made with --username (-U)",
        ));
    }
    if endpoint.private {
        return described;
    }
    described
        .fact("host", endpoint.host.display())
        .fact("port", endpoint.port)
        .remedy(Remedy::manual(way_in(endpoint, error)))
}

/// What lets a session of ours into the operator's server.
fn way_in(endpoint: &Endpoint, error: &postgres::Error) -> String {
    let user = &endpoint.user;
    let state = error.code();
    let no_password = error.source().is_some_and(|source| {
        // The crate has no other sign for it.
        source.to_string() == "password missing"
    });
    if no_password || state == Some(&SqlState::INVALID_PASSWORD) {
        return format!(
            "give the password of {user} with PGPASSWORD, or in the file PGPASSFILE or ~/.pgpass \
             of the user who owns the data directory"
        );
    }
    if state == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) {
        let rule = if endpoint.is_socket() {
            format!("local all {user} peer")
        } else {
            format!("host all {user} {} scram-sha-256", endpoint.host.display())
        };
        return format!(
            "{user} must be the superuser that initdb made (--username gives another name), and \
             the access rules of the server must let it in: put the line \"{rule}\" first in its \
             pg_hba.conf, and reload the server"
        );
    }
    if state == Some(&SqlState::TOO_MANY_CONNECTIONS) {
        return "give fewer --jobs, or end sessions that are not needed".to_owned();
    }
    "mend what the server says, or stop it: a stopped cluster is read by a private server"
        .to_owned()
}

impl Client {
    /// Opens a session and pins its settings.
    pub(super) fn connect(endpoint: &Endpoint, database: &str) -> Result<Client> {
        let mut config = postgres::Config::new();
        if endpoint.is_socket() {
            config.host_path(&endpoint.host);
        } else {
            config.host(&endpoint.host.to_string_lossy());
        }
        if !endpoint.private
            && let Some(password) = password(endpoint, database)
        {
            config.password(password);
        }
        let victim = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&victim);
        let inner = config
            .port(endpoint.port)
            .user(&endpoint.user)
            .dbname(database)
            .application_name(APPLICATION)
            .options(&(endpoint.session_options() + &pinned(endpoint.side, endpoint.major)))
            .connect_timeout(Duration::from_secs(60))
            // Notices must go somewhere other than the terminal.
            .notice_callback(move |notice| {
                if *notice.code() == SqlState::CRASH_SHUTDOWN {
                    told.store(true, Ordering::SeqCst);
                }
            })
            .connect(NoTls)
            .map_err(|error| refused(endpoint, database, &error))?;
        Ok(Client {
            inner,
            database: database.to_owned(),
            side: endpoint.side,
            victim,
        })
    }

    /// Whether the server has ended it because something else had crashed.
    ///
    /// The session that crashes itself is told nothing (`quickdie` of `src/backend/tcop/postgres.c`).
    pub fn was_ended_by_a_crash_elsewhere(&self) -> bool {
        self.victim.load(Ordering::SeqCst)
    }

    /// The database it is in.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The side its server belongs to.
    pub fn side(&self) -> Side {
        self.side
    }

    /// The rows of one statement with parameters.
    pub fn rows(&mut self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        let answer = self.inner.query(sql, params);
        answer.map_err(|error| self.failed(sql, &error))
    }

    /// Runs one statement with parameters; gives the number of rows it touched.
    pub fn execute(&mut self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64> {
        let answer = self.inner.execute(sql, params);
        answer.map_err(|error| self.failed(sql, &error))
    }

    /// Runs any number of statements and throws their rows away.
    ///
    /// Together they are one transaction, unless they contain BEGIN and COMMIT.
    pub fn run_script(&mut self, sql: &str) -> Result<()> {
        let answer = self.inner.batch_execute(sql);
        answer.map_err(|error| self.failed(sql, &error))
    }

    /// The rows of all statements with every value as the server prints it.
    pub fn text_rows(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        let answer = self.inner.simple_query(sql);
        let messages = answer.map_err(|error| self.failed(sql, &error))?;
        let mut rows = Vec::with_capacity(messages.len());
        for message in messages {
            if let SimpleQueryMessage::Row(row) = message {
                let values: Result<Vec<_>, _> = (0..row.len())
                    .map(|column| row.try_get(column).map(|v| v.map(str::to_owned)))
                    .collect();
                rows.push(values.map_err(|error| self.failed(sql, &error))?);
            }
        }
        Ok(rows)
    }

    /// Sends everything of a source to a `COPY ... FROM STDIN`; gives the number of rows.
    pub fn copy_in(&mut self, sql: &str, source: &mut dyn Read) -> Result<u64> {
        let answer = self.inner.copy_in(sql).map_err(std::io::Error::other);
        let copied = answer.and_then(|mut writer| {
            std::io::copy(source, &mut writer)?;
            writer.finish().map_err(std::io::Error::other)
        });
        copied.map_err(|error| self.copy_failed(sql, &error))
    }

    /// Writes everything a `COPY ... TO STDOUT` gives to a sink; gives the number of bytes.
    pub fn copy_out(&mut self, sql: &str, sink: &mut dyn Write) -> Result<u64> {
        let answer = self.inner.copy_out(sql).map_err(std::io::Error::other);
        let copied = answer.and_then(|mut reader| std::io::copy(&mut reader, sink));
        copied.map_err(|error| self.copy_failed(sql, &error))
    }

    /// What another thread needs to cancel a statement.
    pub(super) fn cancel_token(&self) -> CancelToken {
        self.inner.cancel_token()
    }

    /// Ends the session and waits until the server knows.
    pub(super) fn close(self) {
        // A session that is broken already is closed too.
        let _ = self.inner.close();
    }

    fn failed(&self, sql: &str, error: &postgres::Error) -> Error {
        let said = match error.as_db_error() {
            Some(db) => db.message().to_owned(),
            None => error.to_string(),
        };
        let message = format!("a query in the {} cluster failed: {said}", self.side);
        with_server_facts(Error::new(Code::Query, message), error)
            .fact("database", &self.database)
            .fact("statement", shown(sql))
    }

    fn copy_failed(&self, sql: &str, error: &std::io::Error) -> Error {
        let inner = error.get_ref().and_then(|e| e.downcast_ref());
        match inner {
            Some(error) => self.failed(sql, error),
            None => Error::new(Code::Query, "data could not be copied")
                .fact("database", &self.database)
                .fact("statement", shown(sql))
                .caused_by(error),
        }
    }
}

/// What makes all sessions alike, beside what programs ask for, too.
///
/// Said when one connects: that comes after what a database or a role has set, as a statement
/// would, and takes none.
fn pinned(side: Side, major: MajorVersion) -> String {
    let read_only = match side {
        Side::Old => "on",
        Side::New => "off",
    };
    let since = |version| major >= MajorVersion(version);
    let settings = [
        ("search_path", "\"\"", true),
        ("default_transaction_read_only", read_only, true),
        ("quote_all_identifiers", "off", true),
        ("standard_conforming_strings", "on", true),
        ("transform_null_equals", "off", true),
        ("row_security", "off", true),
        ("datestyle", "ISO,YMD", true),
        ("intervalstyle", "postgres", true),
        ("timezone", "UTC", true),
        ("bytea_output", "hex", true),
        ("extra_float_digits", "3", true),
        ("client_min_messages", "warning", true),
        ("vacuum_cost_delay", "0", true),
        ("jit", "off", since(11)),
        // There is none for a short question, and where one crashed, it would not show whose it was.
        ("max_parallel_workers_per_gather", "0", true),
        // What we read is not what the operator's statistics are about, and to count it takes time.
        ("track_counts", "off", side == Side::Old),
    ];
    settings
        .iter()
        .filter(|(_, _, known)| *known)
        .map(|(name, value, _)| format!(" -c {name}={value}"))
        .collect()
}

fn with_server_facts(error: Error, from: &postgres::Error) -> Error {
    let Some(db) = from.as_db_error() else {
        // The outermost text only repeats what its sources say.
        return match from.source() {
            Some(source) => error.caused_by(source),
            None => error.caused_by(from),
        };
    };
    let mut error = error
        .fact("sqlstate", db.code().code())
        .fact("message", db.message());
    for (name, value) in [
        ("detail", db.detail()),
        ("hint", db.hint()),
        ("context", db.where_()),
    ] {
        if let Some(value) = value {
            error = error.fact(name, value);
        }
    }
    error
}

/// What changes something may set what nobody is to see; what asks names its objects in literals.
fn shown(sql: &str) -> String {
    let asks = ["SELECT", "WITH"];
    let asks = asks.iter().any(|word| sql.trim_start().starts_with(word));
    let sql = match asks {
        true => sql.to_owned(),
        false => veiled(sql).shown,
    };
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(STATEMENT_SHOWN) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_is_read_only() {
        assert!(
            pinned(Side::Old, MajorVersion(10)).contains(" -c default_transaction_read_only=on ")
        );
        assert!(
            pinned(Side::New, MajorVersion(17)).contains(" -c default_transaction_read_only=off ")
        );
    }

    #[test]
    fn settings_are_pinned_only_where_they_exist() {
        assert!(!pinned(Side::New, MajorVersion(10)).contains("jit"));
        assert!(pinned(Side::New, MajorVersion(11)).contains(" -c jit=off"));
    }

    #[test]
    fn a_long_statement_is_shortened_between_characters() {
        let text = shown(&format!("SELECT\n  '{}'", "ä".repeat(400)));
        assert!(text.starts_with("SELECT 'ä") && text.ends_with(" ..."));
        assert_eq!(shown("SELECT  1"), "SELECT 1");
        assert_eq!(
            shown("ALTER ROLE ALL SET a TO 'b'"),
            "ALTER ROLE ALL SET a TO '...'"
        );
    }
}
