//! Everything that is read of a cluster nobody else uses, each database in one session.

use super::fingerprint::{Fingerprint, FingerprintQuery};
use super::inventory::Inventory;
use super::read::{connect, read_and};
use super::snapshot::Snapshot;
use crate::error::Result;
use crate::server::{Cancel, Endpoint};

/// What a cluster holds, and what will show whether a later state is the same.
#[derive(Debug)]
pub struct Portrait {
    /// Its catalog.
    pub snapshot: Snapshot,
    /// What it will be recognised by.
    pub likeness: Likeness,
}

/// What will show whether a later state of a cluster is the same.
#[derive(Debug, Default)]
pub struct Likeness {
    /// Quick, and says only that something changed.
    pub fingerprint: Fingerprint,
    /// Says what it was.
    pub inventory: Inventory,
}

/// Reads a cluster that nobody else uses.
///
/// Its parts are of one moment only because nothing changes in between.
pub fn portray(server: &Endpoint, jobs: usize, cancel: &Cancel) -> Result<Portrait> {
    let mut client = connect(server)?;
    let query = FingerprintQuery::new(&mut client)?;
    let mut likeness = Likeness::default();
    likeness.fingerprint.cluster = query.cluster(&mut client)?;
    likeness.inventory.cluster = query.objects_of_cluster(&mut client)?;
    drop(client);
    let (snapshot, parts) = read_and(server, jobs, cancel, |client, _| {
        let hashes = query.database(client)?;
        let objects = query.objects_of_database(client, &hashes)?;
        Ok((hashes, objects))
    })?;
    for (name, (hashes, objects)) in snapshot.connectable().into_iter().zip(parts) {
        likeness.fingerprint.databases.insert(name.clone(), hashes);
        likeness.inventory.databases.insert(name, objects);
    }
    Ok(Portrait { snapshot, likeness })
}
