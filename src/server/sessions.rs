//! Who else is at work in the operator's server.

use super::client::Client;
use crate::error::Result;
use crate::pg::MajorVersion;

/// A session of somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its process.
    pub pid: i32,
    /// The sentence about it: user, database, application, what it does and since when.
    pub description: String,
}

/// The sessions whose work a stop would throw away: those in the middle of a transaction.
pub fn at_work(client: &mut Client) -> Result<Vec<Session>> {
    sessions(
        client,
        "SELECT pid, pg_catalog.concat_ws(' ', 'process', pid, 'of', usename, 'in', datname, \
                '(' || nullif(application_name, '') || ')', state, 'for', \
                pg_catalog.date_trunc('second', \
                  pg_catalog.clock_timestamp() - xact_start)::pg_catalog.text) \
         FROM pg_catalog.pg_stat_activity \
         WHERE backend_type = 'client backend' AND xact_start IS NOT NULL \
           AND pid <> pg_catalog.pg_backend_pid() \
         ORDER BY xact_start",
    )
}

/// The backups a stop would end, so that they are of no use: those taken by pg_basebackup, and up
/// to version 14 one that was begun for all sessions with pg_start_backup. Of one that was begun
/// for its own session alone no server tells.
pub fn backups(client: &mut Client, major: MajorVersion) -> Result<Vec<Session>> {
    let mut found = sessions(
        client,
        "SELECT pid, pg_catalog.concat_ws(' ', 'process', pid, 'takes a base backup for', \
                COALESCE(nullif(application_name, ''), usename), 'at', \
                coalesce(client_addr::pg_catalog.text, 'this machine')) \
         FROM pg_catalog.pg_stat_replication WHERE state = 'backup' ORDER BY pid",
    )?;
    if major < MajorVersion(15) {
        found.extend(sessions(
            client,
            "SELECT 0, 'a backup that was begun with pg_start_backup at ' || \
                    pg_catalog.pg_backup_start_time()::pg_catalog.text \
             WHERE pg_catalog.pg_is_in_backup()",
        )?);
    }
    Ok(found)
}

/// The receivers of WAL that a stop waits for, because they have not confirmed all of it.
pub fn behind(client: &mut Client) -> Result<Vec<Session>> {
    sessions(
        client,
        "SELECT pid, pg_catalog.concat_ws(' ', 'process', pid, 'sends WAL to', \
                COALESCE(nullif(application_name, ''), usename), 'at', \
                coalesce(client_addr::pg_catalog.text, 'this machine') || ',', \
                pg_catalog.pg_size_pretty(pg_catalog.pg_wal_lsn_diff( \
                  pg_catalog.pg_current_wal_lsn(), flush_lsn)), 'behind') \
         FROM pg_catalog.pg_stat_replication \
         WHERE state <> 'backup' AND (flush_lsn IS NULL \
            OR pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), flush_lsn) > 16777216) \
         ORDER BY pid",
    )
}

fn sessions(client: &mut Client, sql: &str) -> Result<Vec<Session>> {
    let rows = client.text_rows(sql)?;
    let sessions = rows.into_iter().filter_map(|row| match row.as_slice() {
        [Some(pid), Some(description)] => Some(Session {
            pid: pid.parse().ok()?,
            description: description.clone(),
        }),
        _ => None,
    });
    Ok(sessions.collect())
}
