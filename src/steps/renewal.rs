//! What is restored anew where `prepare` is repeated, and the reading that decides it.
//!
//! Nothing here changes what was prepared: a reading or a dump that fails leaves it standing.
//! What was read and dumped lies in a directory of its own until new is opened for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::context::Remembered;
use super::prepare::{DUMP, DUMP_STEP, EVERYBODY, FINGERPRINT, INVENTORY};
use super::{Context, drift, large_objects};
use crate::catalog::{self, Change, Inventory, Likeness, Parts, Portrait, Snapshot};
use crate::disk::Area;
use crate::error::{Code, Error, Result};
use crate::pg::amount::counted;
use crate::schema::{self, Dump, DumpFiles, Dumped, Known};

/// The step whose work a reading repeats; events tell it by this name.
pub const READ_AGAIN: &str = DUMP_STEP;

/// Where everything lies until new is opened.
const PLACE: &str = "again";
/// The decision; where it is, the rest is whole.
const DECISION: &str = "again/renewal.json";
const SNAPSHOT: &str = "again/old-snapshot.json";
const CONTROL: &str = "again/old-control.json";

/// Databases every cluster is made with, and in which restores keep house.
const MAINTENANCE: [&str; 2] = ["template1", "postgres"];

/// A shared catalog: with a subscription in it a database cannot be dropped without talking to
/// the publisher.
const SUBSCRIPTIONS: &str = "pg_subscription";

/// How many databases are named.
const NAMED: usize = 5;

/// What has to be done about the drift since prepare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Again {
    /// Nothing; of so many databases.
    Nothing(usize),
    /// Some databases are restored anew, and their dump is there.
    Databases(Renewal, usize),
    /// What all databases share is another: nothing that was restored can be kept.
    Everything,
    /// The same, because nobody knows what it was: an upgrade at one go keeps nothing.
    Unknown,
}

/// Which databases are not kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// Those that are not what they were, and are there.
    pub restored: Vec<String>,
    /// Those that old no longer has.
    pub dropped: Vec<String>,
    /// Of the first, those in which it is enough to drop and to restore some tables and indexes.
    pub parts: BTreeMap<String, Parts>,
}

impl Renewal {
    /// Those that are restored as a whole.
    pub fn wholly(&self) -> Vec<String> {
        let all = self.restored.iter();
        all.filter(|name| !self.parts.contains_key(*name))
            .cloned()
            .collect()
    }

    /// What became of the databases, as a clause.
    pub(super) fn told(&self, all: usize) -> String {
        let whole = self.wholly();
        let parts: Vec<String> = self
            .parts
            .iter()
            .map(|(name, parts)| format!("{name}: {}", parts.told()))
            .collect();
        let of = format!("of {}", counted(all as u64, "database"));
        let anew = format!("restored anew{}", named(&whole, ", "));
        let in_part = format!("repaired in part{}", named(&parts, "; "));
        let done = match (whole.len(), parts.len()) {
            (0, some) if some > 0 => format!("{some} {of} {in_part}"),
            (some, 0) => format!("{some} {of} {anew}"),
            (some, others) => format!("{some} {of} {anew}, {others} {in_part}"),
        };
        format!("{done}, {} kept", all - self.restored.len())
    }
}

impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing(all) => {
                let all = counted(*all as u64, "database");
                write!(f, "{all} read again; nothing changed since prepare")
            }
            Self::Databases(renewal, all) => write!(
                f,
                "{} of {} dumped again",
                renewal.restored.len(),
                counted(*all as u64, "database")
            ),
            Self::Everything => f.write_str(
                "roles, tablespaces or something else that all databases share changed since \
                 prepare",
            ),
            Self::Unknown => f.write_str("nothing was kept to tell what changed"),
        }
    }
}

/// The first of these, in parentheses.
fn named(names: &[String], between: &str) -> String {
    match names.len() {
        0 => String::new(),
        some if some <= NAMED => format!(" ({})", names.join(between)),
        some => {
            let shown = names[..NAMED].join(between);
            format!(" ({shown} and {} more)", some - NAMED)
        }
    }
}

impl Again {
    /// What became of the databases when everything was done.
    pub fn done(&self) -> String {
        match self {
            Self::Nothing(all) => format!("nothing to repair: {}", Renewal::default().told(*all)),
            Self::Databases(renewal, all) => {
                let gone = match renewal.dropped.as_slice() {
                    [] => String::new(),
                    gone => format!(", {} dropped ({})", gone.len(), gone.join(", ")),
                };
                format!("{}{gone}", renewal.told(*all))
            }
            Self::Everything | Self::Unknown => "everything was prepared anew".to_owned(),
        }
    }

    /// Those in which tables and indexes could not be done alone were restored as a whole.
    pub fn spoilt(&mut self, databases: &BTreeSet<String>) {
        if let Self::Databases(renewal, _) = self {
            renewal.parts.retain(|name, _| !databases.contains(name));
        }
    }
}

/// Reads old again, compares it with what was dumped, and dumps the databases that are not what
/// they were.
pub fn read_again(cx: &mut Context<'_>) -> Result<Again> {
    forget(&cx.state)?;
    let Some(then) = drift::kept(&cx.state)? else {
        return Ok(Again::Unknown);
    };
    let (installation, logs) = (cx.new_installation(), cx.logs());
    let (state, jobs, cancel) = (cx.state.clone(), cx.plan.jobs, cx.cancel);
    let progress = cx.progress(READ_AGAIN, "databases");
    let seen = cx.before_reading_old()?;
    let files = DumpFiles::new(state.root().join(PLACE));
    let portrait = cx.take_portrait();
    let work = Dump {
        old: cx.old_server()?,
        new: &installation,
        files: &files,
        tablespaces: true,
        logs: &logs,
        jobs,
        cancel,
    };
    state.create_dir(PLACE, 0o700)?;
    let read = if work.old.private {
        read_private(&work, &then, portrait, &progress)?
    } else {
        read_live(&work, &then, &progress)?
    };
    let Some((dumped, now)) = read else {
        cx.stop_old_server()?;
        return Ok(Again::Everything);
    };
    let everybody: Vec<String> = super::context::load(&state, EVERYBODY)?;
    let renewal = renewal(&then.inventory, &now.inventory, &dumped.snapshot);
    let Some(renewal) = renewal.filter(|_| everybody == dumped.everybody) else {
        cx.stop_old_server()?;
        return Ok(Again::Everything);
    };
    if let Some(name) = renewal
        .restored
        .iter()
        .find(|n| !dumped.written.contains(*n))
    {
        return Err(Error::new(Code::Internal, "a database was not dumped").fact("database", name));
    }
    // New knows the large objects of the databases it keeps as they were then.
    large_objects::keep(&state, &dumped.snapshot, work.old)?;
    cx.stop_old_server()?;
    let control = cx.after_reading_old(seen)?;
    let all = dumped.snapshot.connectable().len();
    if renewal == Renewal::default() {
        cx.save_old_snapshot(&dumped.snapshot)?;
        cx.remember_old_control_as(&control)?;
        forget(&state)?;
        return Ok(Again::Nothing(all));
    }
    store(cx, &dumped, &now, &control)?;
    cx.save(DECISION, &renewal)?;
    Ok(Again::Databases(renewal, all))
}

fn read_private(
    work: &Dump<'_>,
    then: &Likeness,
    portrait: Option<Portrait>,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Option<(Dumped, Likeness)>> {
    let Portrait { snapshot, sketch } = match portrait {
        Some(portrait) => portrait,
        None => catalog::portray(work.old, work.jobs, work.cancel)?,
    };
    let Some(sketch) = sketch else {
        return Ok(None);
    };
    let likeness = sketch.complete(work.old, &snapshot, work.jobs, work.cancel)?;
    let Some(renewal) = renewal(&then.inventory, &likeness.inventory, &snapshot) else {
        return Ok(None);
    };
    let everybody = schema::settings_of_everybody(&mut catalog::connect(work.old)?)?;
    let mut some = snapshot.clone();
    some.databases
        .retain(|database| renewal.restored.contains(&database.name));
    if !some.databases.is_empty() {
        schema::dump(work, &some, progress)?;
    }
    let dumped = Dumped {
        written: renewal.restored.into_iter().collect(),
        snapshot,
        everybody,
        repeated: 0,
        gave_way: 0,
    };
    Ok(Some((dumped, likeness)))
}

/// What is found by a first look is only read once more; whatever changes after it is dumped.
fn read_live(
    work: &Dump<'_>,
    then: &Likeness,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Option<(Dumped, Likeness)>> {
    let snapshot = catalog::read(work.old, work.jobs, work.cancel)?;
    let names = snapshot.connectable();
    let now = catalog::fingerprint(work.old, &names, work.jobs, work.cancel)?;
    let mut known = Known {
        cluster: now.cluster.clone(),
        databases: now.databases.clone(),
    };
    if now != then.fingerprint {
        let listed = catalog::inventory(work.old, &names, work.jobs, work.cancel)?;
        let Some(renewal) = renewal(&then.inventory, &listed, &snapshot) else {
            return Ok(None);
        };
        known
            .databases
            .retain(|name, _| !renewal.restored.contains(name));
    }
    schema::dump_live(work, &known, progress).map(Some)
}

/// The databases that are not what they were; nothing where none can be kept.
fn renewal(then: &Inventory, now: &Inventory, snapshot: &Snapshot) -> Option<Renewal> {
    let changes = catalog::changes_with_unnamed(then, now);
    let names = |inventory: &Inventory| -> BTreeSet<String> {
        inventory.databases.keys().cloned().collect()
    };
    let (before, after) = (names(then), names(now));
    let dropped: Vec<String> = before.difference(&after).cloned().collect();
    let added: BTreeSet<String> = after.difference(&before).cloned().collect();
    if MAINTENANCE
        .iter()
        .any(|name| before.contains(*name) != after.contains(*name))
    {
        return None;
    }
    let mut restored = added.clone();
    let mut by_itself = added;
    for change in &changes {
        let name = concerned(change, snapshot)?;
        if change.database.is_none() {
            by_itself.extend(name.clone());
        }
        restored.extend(name);
    }
    // It is made anew through the other one.
    if restored.contains("template1") && !after.contains("postgres") {
        return None;
    }
    let some_go = !dropped.is_empty() || restored.iter().any(|name| before.contains(name));
    let subscribed = || then.cluster.any_of(SUBSCRIPTIONS) || now.cluster.any_of(SUBSCRIPTIONS);
    if some_go && subscribed() {
        return None;
    }
    let parts = restored
        .iter()
        .filter(|name| !by_itself.contains(*name) && !MAINTENANCE.contains(&name.as_str()))
        .filter_map(|name| Some((name.clone(), catalog::parts(then, now, name)?)))
        .collect();
    Some(Renewal {
        restored: restored.into_iter().collect(),
        dropped,
        parts,
    })
}

/// The database a change is one of, where there still is one; nothing where it is one of what
/// all of them share.
fn concerned(change: &Change, snapshot: &Snapshot) -> Option<Option<String>> {
    if let Some(name) = &change.database {
        return Some(Some(name.clone()));
    }
    if change.class != "pg_database" {
        return None;
    }
    let mut all = snapshot.databases.iter();
    match all.find(|database| database.oid.0 == change.oid) {
        Some(database) if database.connectable() => Some(Some(database.name.clone())),
        // template0, which is in no dump.
        Some(_) => None,
        None => Some(None),
    }
}

fn store(
    cx: &Context<'_>,
    dumped: &Dumped,
    likeness: &Likeness,
    control: &Remembered,
) -> Result<()> {
    let staged = |name: &str| format!("{PLACE}/{name}");
    cx.save(SNAPSHOT, &dumped.snapshot)?;
    cx.save(CONTROL, control)?;
    cx.save(&staged(EVERYBODY), &dumped.everybody)?;
    cx.save(&staged(FINGERPRINT), &likeness.fingerprint)?;
    cx.save(&staged(INVENTORY), &likeness.inventory)
}

/// What was decided, where new is to be opened for it.
pub(super) fn decided(state: &Area) -> Result<Option<Renewal>> {
    match state.path(DECISION)?.exists() {
        true => super::context::load(state, DECISION).map(Some),
        false => Ok(None),
    }
}

/// Puts what was read and dumped where the restore and the cutover look for it.
pub(super) fn take_over(cx: &Context<'_>, renewal: &Renewal) -> Result<()> {
    let snapshot: Snapshot = cx.load(SNAPSHOT)?;
    let restored: BTreeSet<String> = renewal.restored.iter().cloned().collect();
    for database in &snapshot.databases {
        if restored.contains(&database.name) {
            let dump = DumpFiles::new("").database(database.oid);
            let (from, to) = [PLACE, DUMP]
                .map(|place| std::path::Path::new(place).join(&dump))
                .into();
            cx.state.rename(&from, &cx.state, &to)?;
        }
    }
    for name in [EVERYBODY, FINGERPRINT, INVENTORY] {
        cx.state
            .rename(format!("{PLACE}/{name}"), &cx.state, name)?;
    }
    cx.save_old_snapshot(&snapshot)?;
    let wholly = renewal.wholly().into_iter().collect();
    large_objects::hold_anew(&cx.state, &snapshot, &wholly)?;
    cx.remember_old_control_as(&cx.load(CONTROL)?)
}

/// Removes what was read again and is of no use, or of none any more.
pub(super) fn forget(state: &Area) -> Result<()> {
    state.remove_tree(PLACE)
}
