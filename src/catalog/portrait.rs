//! Everything that is read of a cluster nobody else uses, each database in one session, or, if it
//! is large, in two.

use std::collections::BTreeMap;

use super::fingerprint::{Fingerprint, FingerprintQuery};
use super::inventory::{Inventory, Objects};
use super::read::{connect, read_and_with_help};
use super::snapshot::{Database, Snapshot};
use crate::error::Result;
use crate::server::{Alone, Cancel, Client, Endpoint, Help, in_each_database};

/// From so many relations on, reading what a database will be recognised by takes so long that a
/// session of its own, beside the dump, is worth it: a dump keeps one processor busy, and the
/// server waits for it.
const WORTH_A_SESSION: usize = 2000;

/// What a cluster holds, and what will show whether a later state is the same.
#[derive(Debug)]
pub struct Portrait {
    /// Its catalog.
    pub snapshot: Snapshot,
    /// What it will be recognised by; nothing where no later state will be looked at.
    pub sketch: Option<Sketch>,
}

/// What will show whether a later state of a cluster is the same.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Likeness {
    /// Quick, and says only that something changed.
    pub fingerprint: Fingerprint,
    /// Says what it was.
    pub inventory: Inventory,
}

/// A likeness in which large databases may still be missing.
#[derive(Debug)]
pub struct Sketch {
    /// What has been read of it.
    pub likeness: Likeness,
    query: FingerprintQuery,
}

/// Reads a cluster that nobody else uses, but of its large databases only the snapshot where
/// there are several `jobs`: what is left [`Likeness::complete`] reads.
///
/// Its parts are of one moment only because nothing changes in between.
pub fn portray(server: &Endpoint, jobs: usize, cancel: &Cancel) -> Result<Portrait> {
    let (portrait, _) = portray_and(server, jobs, cancel, |_, _| Ok(()), &Alone)?;
    Ok(portrait)
}

/// The same, and in the session that has read a database does some work there.
pub fn portray_and<T: Send>(
    server: &Endpoint,
    jobs: usize,
    cancel: &Cancel,
    work: impl Fn(&mut Client, &Database) -> Result<T> + Sync,
    help: &dyn Help,
) -> Result<(Portrait, Vec<T>)> {
    let mut client = connect(server)?;
    let query = FingerprintQuery::new(&mut client)?;
    let mut likeness = Likeness::default();
    likeness.fingerprint.cluster = query.cluster(&mut client)?;
    likeness.inventory.cluster = query.objects_of_cluster(&mut client)?;
    drop(client);
    let later = |database: &Database| jobs > 1 && database.relations.len() >= WORTH_A_SESSION;
    let read = |client: &mut Client, database: &Database| {
        let part = match later(database) {
            true => None,
            false => Some(draw(&query, client)?),
        };
        Ok((part, work(client, database)?))
    };
    let (snapshot, parts) = read_and_with_help(server, jobs, cancel, read, help)?;
    let mut answers = Vec::with_capacity(parts.len());
    for (name, (part, answer)) in snapshot.connectable().into_iter().zip(parts) {
        if let Some(part) = part {
            likeness.add(name, part);
        }
        answers.push(answer);
    }
    let sketch = Some(Sketch { likeness, query });
    Ok((Portrait { snapshot, sketch }, answers))
}

impl Sketch {
    /// Reads the databases that were left out; nothing may have changed since.
    pub fn complete(
        self,
        server: &Endpoint,
        snapshot: &Snapshot,
        jobs: usize,
        cancel: &Cancel,
    ) -> Result<Likeness> {
        let Self {
            mut likeness,
            query,
        } = self;
        let mut missing = snapshot.connectable();
        missing.retain(|name| !likeness.fingerprint.databases.contains_key(name));
        let parts = in_each_database(server, &missing, jobs, cancel, |client, _| {
            draw(&query, client)
        })?;
        for (name, part) in missing.into_iter().zip(parts) {
            likeness.add(name, part);
        }
        Ok(likeness)
    }
}

impl Likeness {
    fn add(&mut self, name: String, (hashes, objects): Part) {
        self.fingerprint.databases.insert(name.clone(), hashes);
        self.inventory.databases.insert(name, objects);
    }
}

/// The hashes of one database, and its objects.
type Part = (BTreeMap<String, String>, Objects);

fn draw(query: &FingerprintQuery, client: &mut Client) -> Result<Part> {
    let hashes = query.database(client)?;
    let objects = query.objects_of_database(client, &hashes)?;
    Ok((hashes, objects))
}
