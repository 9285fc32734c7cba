//! The dump of a server that others use: consistent, and never in their way for long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::dump::{Dump, dump_database, dump_globals};
use super::everybody::settings_of_everybody;
use crate::catalog::{
    self, Database, Fingerprint, FingerprintQuery, Inventory, Likeness, Objects, Snapshot,
};
use crate::error::{Code, Error, Remedy, Result};
use crate::pg::MajorVersion;
use crate::server::{Cancel, Client, Endpoint};
use crate::work::{each, lock};

/// How often what changed meanwhile is read and dumped again.
const ROUNDS: u32 = 6;

/// How often one database is begun again because locks stood in the way.
const ATTEMPTS: u32 = 6;

/// How long we wait for a lock, and how long others wait for one of ours.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// How often it is looked whether somebody waits for us.
const WATCH: Duration = Duration::from_millis(200);

/// How many differences, or statements in the way, an error names.
const NAMED: usize = 20;

/// What was dumped, as it was at the time of the dump.
#[derive(Debug)]
pub struct Dumped {
    /// The catalog, each database as its dump saw it.
    pub snapshot: Snapshot,
    /// The settings of all roles together, which no dump holds.
    pub everybody: Vec<String>,
    /// The databases that were dumped, where others were only read.
    pub written: BTreeSet<String>,
    /// How often something was dumped again, because it had changed.
    pub repeated: u32,
    /// How often a dump gave way to a lock of somebody else.
    pub gave_way: u64,
}

/// What need not be dumped again, by hashes of a [`Fingerprint`].
#[derive(Debug, Default)]
pub struct Known {
    /// What all databases share; where that is another, nothing is known.
    pub cluster: BTreeMap<String, String>,
    /// Databases that are only read while their hashes are these.
    pub databases: BTreeMap<String, BTreeMap<String, String>>,
}

impl Known {
    fn holds(&self, shared: &Shared, name: &str, hashes: &BTreeMap<String, String>) -> bool {
        self.cluster == shared.hashes && self.databases.get(name) == Some(hashes)
    }
}

/// Dumps a server that others go on using, but for what is known.
///
/// Each database is read, for the likeness too, and dumped in one exported snapshot. Afterwards
/// all fingerprints are taken once more: `pg_dump` prints many things from the newest state of the
/// catalogs and not from its snapshot, so what changed meanwhile is dumped again. The dump of what
/// all share has no snapshot at all, so even what was changed back begins it again.
///
/// `pg_dump` holds a lock on every table, behind which a TRUNCATE or ALTER of the application
/// would wait, and everybody behind that. When somebody waits for us longer than a moment, the
/// dump ends, lets them pass, and begins again.
///
/// # Errors
///
/// `Drift` where the schema changes faster than it can be dumped, `DumpFailed` where locks of
/// others always stood in the way; both name what it was.
pub fn dump_live(
    work: &Dump<'_>,
    known: &Known,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<(Dumped, Likeness)> {
    let gave_way = AtomicU64::new(0);
    let mut parts: BTreeMap<String, Part> = BTreeMap::new();
    let mut shared: Option<Shared> = None;
    let mut differences = Vec::new();
    for round in 0..ROUNDS {
        let now = Shared::read(work.old)?;
        if shared.as_ref().is_none_or(|then| then.hashes != now.hashes) {
            // What a dump says of owners, settings and privileges lies in what all share.
            parts.clear();
            dump_globals(work, Some(LOCK_WAIT))?;
            let mut client = catalog::connect(work.old)?;
            if rows_of_globals(work.old, &mut client)? != now.rows_of_globals {
                differences = vec!["roles, tablespaces or what was granted or set of them".into()];
                shared = None;
                continue;
            }
        }
        let wanted: Vec<&Database> = now
            .snapshot
            .databases
            .iter()
            .filter(|database| database.connectable() && !parts.contains_key(&database.name))
            .collect();
        let all = now.snapshot.connectable().len() as u64;
        let done = AtomicU64::new(all - wanted.len() as u64);
        let made = Mutex::new(Vec::new());
        each(work.jobs, &wanted, work.cancel, |database| {
            let part = dump_patiently(work, (&now, known), database, &gave_way)?;
            lock(&made).push((database.name.clone(), part));
            progress(done.fetch_add(1, Ordering::SeqCst) + 1, all);
            Ok(())
        })?;
        parts.extend(std::mem::take(&mut *lock(&made)));
        let after = catalog::fingerprint(
            work.old,
            &now.snapshot.connectable(),
            work.jobs,
            work.cancel,
        )?;
        let fingerprint = fingerprint(&now, &parts);
        differences = fingerprint.differences(&after);
        if differences.is_empty() {
            return Ok(assemble(
                now,
                parts,
                fingerprint,
                round,
                gave_way.into_inner(),
            ));
        }
        parts.retain(|name, part| after.databases.get(name) == Some(&part.hashes));
        // What all share may have been something else while a part was dumped.
        shared = (after.cluster == now.hashes).then_some(now);
    }
    Err(restless(&differences))
}

/// One database as its dump saw it.
struct Part {
    contents: Database,
    hashes: BTreeMap<String, String>,
    objects: Objects,
    /// Whether it was dumped, not only read.
    written: bool,
}

/// What all databases share, as it was before a round.
struct Shared {
    query: FingerprintQuery,
    snapshot: Snapshot,
    everybody: Vec<String>,
    hashes: BTreeMap<String, String>,
    objects: Objects,
    rows_of_globals: Vec<Vec<Option<String>>>,
}

impl Shared {
    fn read(old: &Endpoint) -> Result<Self> {
        let mut client = catalog::connect(old)?;
        let query = FingerprintQuery::new(&mut client)?;
        client.run_script(ONE_SNAPSHOT)?;
        let hashes = query.cluster(&mut client)?;
        let objects = query.objects_of_cluster(&mut client)?;
        let snapshot = catalog::read_shared(&mut client)?;
        let everybody = settings_of_everybody(&mut client)?;
        let rows_of_globals = rows_of_globals(old, &mut client)?;
        Ok(Self {
            query,
            snapshot,
            everybody,
            hashes,
            objects,
            rows_of_globals,
        })
    }
}

/// Which versions of rows `pg_dumpall` reads.
///
/// It reads each catalog in a snapshot of its own, so it may see what was changed and changed
/// back between two readings of ours, which would then be the same.
fn rows_of_globals(old: &Endpoint, client: &mut Client) -> Result<Vec<Vec<Option<String>>>> {
    let parameters = (old.major >= MajorVersion(15)).then_some("pg_parameter_acl");
    let catalogs = GLOBALS.into_iter().chain(parameters);
    let rows =
        catalogs.map(|catalog| format!("SELECT '{catalog}', ctid, xmin FROM pg_catalog.{catalog}"));
    let rows = rows.collect::<Vec<_>>().join(" UNION ALL ");
    client.text_rows(&format!("{rows} ORDER BY 1, 2"))
}

/// What a dump of globals is made from in every version.
const GLOBALS: [&str; 6] = [
    "pg_authid",
    "pg_auth_members",
    "pg_db_role_setting",
    "pg_tablespace",
    "pg_shdescription",
    "pg_shseclabel",
];

const ONE_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

fn fingerprint(shared: &Shared, parts: &BTreeMap<String, Part>) -> Fingerprint {
    let databases = parts.iter();
    Fingerprint {
        cluster: shared.hashes.clone(),
        databases: databases
            .map(|(name, part)| (name.clone(), part.hashes.clone()))
            .collect(),
    }
}

fn assemble(
    shared: Shared,
    parts: BTreeMap<String, Part>,
    fingerprint: Fingerprint,
    repeated: u32,
    gave_way: u64,
) -> (Dumped, Likeness) {
    let mut snapshot = shared.snapshot;
    let mut databases = BTreeMap::new();
    let mut written = BTreeSet::new();
    for (name, part) in parts {
        if part.written {
            written.insert(name.clone());
        }
        let mut all = snapshot.databases.iter_mut();
        if let Some(database) = all.find(|database| database.name == name) {
            *database = part.contents;
        }
        databases.insert(name, part.objects);
    }
    let dumped = Dumped {
        snapshot,
        everybody: shared.everybody,
        written,
        repeated,
        gave_way,
    };
    let likeness = Likeness {
        fingerprint,
        inventory: Inventory {
            cluster: shared.objects,
            databases,
        },
    };
    (dumped, likeness)
}

/// Why a dump of one database came to nothing.
enum Failed {
    /// A lock of ours or of theirs stood in the way.
    Lock,
    /// Anything else.
    Other(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// Dumps one database, again and again while locks stand in the way or it changes under us.
fn dump_patiently(
    work: &Dump<'_>,
    (shared, known): (&Shared, &Known),
    database: &Database,
    gave_way: &AtomicU64,
) -> Result<Part> {
    for attempt in 1..=ATTEMPTS {
        let mut hashes = None;
        match dump_once(work, (shared, known), database, &mut hashes) {
            Ok(part) => return Ok(part),
            Err(Failed::Lock) => {
                gave_way.fetch_add(1, Ordering::SeqCst);
            }
            Err(Failed::Other(error)) => {
                // A table that was dropped before it could be locked, for instance.
                let changed = error.code() == Code::DumpFailed
                    && hashes.is_some_and(|then| {
                        let now = work.old.connect(&database.name);
                        now.and_then(|mut client| shared.query.database(&mut client))
                            .is_ok_and(|now| now != then)
                    });
                if !changed {
                    return Err(error);
                }
            }
        }
        pause(LOCK_WAIT * attempt.min(3) / 2, work.cancel)?;
    }
    Err(in_the_way(work.old, &database.name))
}

fn dump_once(
    work: &Dump<'_>,
    (shared, known): (&Shared, &Known),
    database: &Database,
    seen: &mut Option<BTreeMap<String, String>>,
) -> Result<Part, Failed> {
    let query = &shared.query;
    let mut client = work.old.connect(&database.name)?;
    client.run_script(ONE_SNAPSHOT)?;
    let exported = client.text_rows("SELECT pg_catalog.pg_export_snapshot()")?;
    let name = exported
        .first()
        .and_then(|row| row.first().cloned().flatten());
    let name = name.ok_or_else(|| Error::new(Code::Query, "the server exported no snapshot"))?;
    let hashes = query.database(&mut client)?;
    *seen = Some(hashes.clone());
    let objects = query.objects_of_database(&mut client, &hashes)?;
    let contents = catalog::read_contents(&mut client, query, database)?;
    if known.holds(shared, &database.name, &hashes) {
        return Ok(Part {
            contents,
            hashes,
            objects,
            written: false,
        });
    }
    let mut watcher = work.old.connect(&database.name)?;
    let watch = Watch::default();
    let dumped = std::thread::scope(|scope| {
        scope.spawn(|| watch.look(&mut watcher, work.cancel));
        let dumped = dump_database(work, database, Some((&name, LOCK_WAIT)), &watch.stop);
        watch.over.store(true, Ordering::SeqCst);
        dumped
    });
    work.cancel.check()?;
    match dumped {
        Ok(()) => Ok(Part {
            contents,
            hashes,
            objects,
            written: true,
        }),
        Err(_) if watch.waited.load(Ordering::SeqCst) => Err(Failed::Lock),
        Err(error) if timed_out(&error) => Err(Failed::Lock),
        Err(error) => Err(Failed::Other(error)),
    }
}

/// `pg_dump` takes its locks under a statement timeout; messages of the server are in English
/// for our sessions.
fn timed_out(error: &Error) -> bool {
    error.facts().iter().any(|(_, value)| {
        value.contains("due to statement timeout") || value.contains("due to lock timeout")
    })
}

/// Looks whether somebody waits for a lock that a session of ours holds.
#[derive(Default)]
struct Watch {
    stop: Cancel,
    over: AtomicBool,
    waited: AtomicBool,
}

/// Somebody who waits for us; ourselves waiting for us would be no reason to give way.
const WAITING: &str = "
    SELECT 1 FROM pg_catalog.pg_stat_activity w
    WHERE w.wait_event_type = 'Lock' AND w.application_name <> 'pg_migrator'
      AND EXISTS (SELECT FROM pg_catalog.pg_stat_activity o
                  WHERE o.application_name = 'pg_migrator'
                    AND o.pid = ANY (pg_catalog.pg_blocking_pids(w.pid)))
    LIMIT 1";

impl Watch {
    fn look(&self, client: &mut Client, cancel: &Cancel) {
        let mut since: Option<Instant> = None;
        while !self.over.load(Ordering::SeqCst) {
            if cancel.requested() {
                self.stop.request(TERMINATE);
            }
            // Who cannot look gives way: somebody may be waiting.
            let waiting = client
                .text_rows(WAITING)
                .map_or(true, |rows| !rows.is_empty());
            let now = Instant::now();
            since = waiting.then(|| since.unwrap_or(now));
            // One look may come just before, so half the time is for the ending of the dump.
            if since.is_some_and(|since| now - since >= LOCK_WAIT / 2) {
                self.waited.store(true, Ordering::SeqCst);
                self.stop.request(TERMINATE);
            }
            std::thread::sleep(WATCH);
        }
    }
}

/// The signal by whose number a program is asked to end.
const TERMINATE: i32 = 15;

fn pause(how_long: Duration, cancel: &Cancel) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < how_long {
        cancel.check()?;
        std::thread::sleep(WATCH.min(how_long));
    }
    Ok(())
}

fn restless(differences: &[String]) -> Error {
    let error = Error::new(
        Code::Drift,
        format!("the schema of the old cluster changed in each of {ROUNDS} readings"),
    );
    let named = differences.iter().take(NAMED);
    named
        .fold(error, |error, difference| error.fact("changed", difference))
        .remedy(Remedy::manual(
            "prepare at a time when nobody changes the schema, or hold back what changes it",
        ))
}

/// Who holds or waits for the locks that a dump cannot be made beside.
const HOLDERS: &str = "
    SELECT DISTINCT pg_catalog.format('process %s (%s, %s), %s: %s', a.pid, a.usename,
           a.application_name, l.mode, pg_catalog.left(a.query, 100))
    FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
      AND l.database = (SELECT oid FROM pg_catalog.pg_database
                        WHERE datname = pg_catalog.current_database())
    ORDER BY 1";

fn in_the_way(old: &Endpoint, database: &str) -> Error {
    let error = Error::new(
        Code::DumpFailed,
        format!("locks of other sessions stood in the way of the dump {ATTEMPTS} times"),
    )
    .fact("database", database)
    .remedy(Remedy::manual(
        "wait for the end of the transactions that hold exclusive locks on tables (LOCK, \
         TRUNCATE, ALTER, VACUUM FULL), or prepare at a quieter time",
    ));
    let holders = old
        .connect(database)
        .and_then(|mut client| client.text_rows(HOLDERS))
        .unwrap_or_default();
    holders
        .into_iter()
        .filter_map(|mut row| row.pop().flatten())
        .take(NAMED)
        .fold(error, |error, holder| error.fact("session", holder))
}
