//! Whether the lock table of a running old server has room for a dump.

use crate::catalog::{self, Snapshot};
use crate::error::{Code, Error, Remedy, Result};
use crate::server::Endpoint;

/// Locks of a dump besides those on tables: catalogs and their indexes.
const BESIDES: u64 = 200;

/// How many times over the locks of a dump must fit: its users need some, too, and run out of
/// them together with it.
const MARGIN: u64 = 2;

/// What one setting says of the lock table, and who uses it.
struct Room {
    locks_per_transaction: u64,
    sharers: u64,
    in_use: u64,
}

/// The problem of a running server that would run out of locks when it is dumped.
///
/// `pg_dump` locks every table of a database in one transaction, and `jobs` databases are
/// dumped at once. The table has room for `max_locks_per_transaction` times the number of all
/// sessions there can be. Mirrors `NLOCKENTS` of `src/backend/storage/lmgr/lock.c`.
pub fn lock_table(old: &Endpoint, snapshot: &Snapshot, jobs: usize) -> Result<Option<Error>> {
    let room = room(old)?;
    let tables = snapshot.databases.iter().map(|database| database.tables);
    let needed = needed(tables.collect(), jobs);
    Ok(too_small(&room, needed))
}

/// Sessions that each have their share, as each version counts them: walsenders are among
/// `max_connections` before 12, the launcher of autovacuum is one more.
const SETTINGS: &str = "
    SELECT pg_catalog.current_setting('max_locks_per_transaction'),
           (SELECT pg_catalog.sum(setting::bigint) + 1 FROM pg_catalog.pg_settings
            WHERE name IN ('max_connections', 'autovacuum_max_workers', 'max_worker_processes',
                           'max_prepared_transactions')
               OR name = 'max_wal_senders'
                  AND pg_catalog.current_setting('server_version_num')::int >= 120000),
           (SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks WHERE NOT fastpath)";

fn room(old: &Endpoint) -> Result<Room> {
    let rows = catalog::connect(old)?.text_rows(SETTINGS)?;
    let number = |column: usize| {
        let value = rows.first()?.get(column)?.as_ref()?;
        value.parse().ok()
    };
    let read = || {
        Some(Room {
            locks_per_transaction: number(0)?,
            sharers: number(1)?,
            in_use: number(2)?,
        })
    };
    read().ok_or_else(|| Error::new(Code::Query, "the server gave no numbers for its settings"))
}

fn needed(mut tables: Vec<u64>, jobs: usize) -> u64 {
    tables.sort_unstable_by(|a, b| b.cmp(a));
    tables.iter().take(jobs).map(|count| count + BESIDES).sum()
}

fn too_small(room: &Room, needed: u64) -> Option<Error> {
    let capacity = room.locks_per_transaction * room.sharers;
    let wanted = needed * MARGIN + room.in_use;
    if wanted <= capacity {
        return None;
    }
    let setting = wanted.div_ceil(room.sharers.max(1));
    Some(
        Error::new(
            Code::LockTable,
            "the lock table of the old server is too small to be dumped while it runs",
        )
        .fact("locks it has room for", capacity)
        .fact("locks in use", room.in_use)
        .fact("locks of the dump", needed)
        .fact("max_locks_per_transaction", room.locks_per_transaction)
        .remedy(Remedy::manual(format!(
            "ALTER SYSTEM SET max_locks_per_transaction = {setting} and restart the server; or \
             stop it and run the command again: a stopped cluster is dumped by a private server \
             with room enough; or give fewer --jobs, if there are many databases"
        ))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Room = Room {
        locks_per_transaction: 64,
        sharers: 122,
        in_use: 8,
    };

    #[test]
    fn as_many_databases_count_as_are_dumped_at_once() {
        assert_eq!(needed(vec![5, 1000, 300], 2), 1700);
        assert_eq!(needed(vec![5], 8), 205);
    }

    #[test]
    fn every_lock_must_fit_twice() {
        assert!(too_small(&DEFAULT, 3900).is_none());
        let error = too_small(&DEFAULT, 3901).unwrap();
        assert_eq!(error.code(), Code::LockTable);
        let remedy = format!("{:?}", error.remedy_text());
        assert!(remedy.contains("= 65 and restart"), "{remedy}");
        let raised = Room {
            locks_per_transaction: 65,
            ..DEFAULT
        };
        assert!(too_small(&raised, 3901).is_none());
    }
}
