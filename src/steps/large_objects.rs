//! Which large objects new knows, and what old's catalogs say of those it does not.

use std::collections::{BTreeMap, BTreeSet};

use super::context::load;
use crate::catalog::{ABOUT_LARGE_OBJECTS, Database, LargeObjects, Snapshot};
use crate::disk::Area;
use crate::error::{Code, Error, Result};
use crate::server::Endpoint;

/// By database, the digest of the large objects new was given.
const HELD: &str = "large-objects.json";
/// What old said of its large objects in databases where that was something else.
const WANTED: &str = "old-large-objects";

/// Writes down that new knows the large objects of this catalog.
pub(super) fn hold(state: &Area, old: &Snapshot) -> Result<()> {
    let digests: BTreeMap<&str, &str> = old
        .databases
        .iter()
        .map(|database| (&*database.name, &*database.large_objects_digest))
        .collect();
    write(state, &digests)?;
    state.remove_tree(WANTED)
}

/// Writes down that new knows the large objects of those databases of this catalog that were
/// restored anew; of the others it knows what it knew.
pub(super) fn hold_anew(state: &Area, old: &Snapshot, restored: &BTreeSet<String>) -> Result<()> {
    let held: BTreeMap<String, String> = load(state, HELD)?;
    let digests = old.databases.iter().filter_map(|database| {
        let digest = match restored.contains(&database.name) {
            true => &database.large_objects_digest,
            false => held.get(&database.name)?,
        };
        Some((&*database.name, &**digest))
    });
    write(state, &digests.collect())?;
    match unknown(state, old)?.is_empty() {
        true => state.remove_tree(WANTED),
        false => Ok(()),
    }
}

fn write(state: &Area, digests: &BTreeMap<&str, &str>) -> Result<()> {
    let text = serde_json::to_vec(digests)
        .map_err(|e| Error::new(Code::Internal, "digests could not be written").caused_by(&e))?;
    state.write(HELD, &text, 0o600)
}

/// Whether anything was kept; asked while service is down, so no catalog is loaded for it.
pub(super) fn any_kept(state: &Area) -> Result<bool> {
    Ok(state.path(WANTED)?.exists())
}

/// The databases of this catalog whose large objects new does not know.
pub(super) fn unknown<'a>(state: &Area, old: &'a Snapshot) -> Result<Vec<&'a Database>> {
    let held: BTreeMap<String, String> = load(state, HELD)?;
    let databases = old.databases.iter().filter(|database| {
        let digest = held.get(&database.name);
        database.connectable() && digest != Some(&database.large_objects_digest)
    });
    Ok(databases.collect())
}

/// Keeps what old says of the large objects new does not know.
pub(super) fn keep(state: &Area, old: &Snapshot, server: &Endpoint) -> Result<()> {
    state.remove_tree(WANTED)?;
    let unknown = unknown(state, old)?;
    if unknown.is_empty() {
        return Ok(());
    }
    state.create_dir(WANTED, 0o700)?;
    for database in unknown {
        let said = LargeObjects::read(&mut server.connect(&database.name)?)?;
        for place in 0..ABOUT_LARGE_OBJECTS.len() {
            state.write(file(database, place), &said.text(place, None), 0o600)?;
        }
    }
    Ok(())
}

/// What was kept of one database.
pub(super) fn kept(state: &Area, database: &Database) -> Result<LargeObjects> {
    let read = |place| {
        let path = state.path(file(database, place))?;
        std::fs::read(&path).map_err(|e| Error::io(Code::StateMissing, "read", &path, &e))
    };
    let [one, two, three] = [read(0)?, read(1)?, read(2)?];
    LargeObjects::parse([&one, &two, &three])
}

fn file(database: &Database, place: usize) -> String {
    let catalog = ABOUT_LARGE_OBJECTS[place].catalog;
    format!("{WANTED}/{}-{catalog}", database.oid)
}
