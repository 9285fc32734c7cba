//! What changed in old since its schema was dumped.

use super::context::load;
use super::{FINGERPRINT, INVENTORY};
use crate::catalog::{self, Change, Fingerprint, Inventory, Snapshot};
use crate::disk::Area;
use crate::error::{Code, Error, Remedy, Result};
use crate::server::{Cancel, Endpoint};

/// How many changes an error names.
const NAMED: usize = 20;

/// Everything that is in old's catalogs now and not in the dump, or the other way round; `now`
/// is the fingerprint just taken.
///
/// Fingerprints that are equal are quick and leave nothing to ask. Where they differ, the
/// objects decide: an index made anew under its name is another row and the same schema.
pub fn drift(
    state: &Area,
    now: &Fingerprint,
    server: &Endpoint,
    jobs: usize,
    cancel: &Cancel,
) -> Result<Vec<Change>> {
    let dumped: Fingerprint = load(state, FINGERPRINT)?;
    if dumped == *now {
        return Ok(Vec::new());
    }
    let dumped: Inventory = load(state, INVENTORY)?;
    let databases: Vec<String> = now.databases.keys().cloned().collect();
    let now = catalog::inventory(server, &databases, jobs, cancel)?;
    Ok(catalog::changes(&dumped, &now))
}

/// The catalog as it is, and what changed in it; of a server others use it is true for the
/// moment, and no promise for the next.
pub fn read_and_compare(
    state: &Area,
    server: &Endpoint,
    jobs: usize,
    cancel: &Cancel,
) -> Result<(Snapshot, Vec<Change>)> {
    let snapshot = catalog::read(server, jobs, cancel)?;
    let now = catalog::fingerprint(server, &snapshot.connectable(), jobs, cancel)?;
    let changes = drift(state, &now, server, jobs, cancel)?;
    Ok((snapshot, changes))
}

/// The error that names what changed, if anything did.
pub fn drifted(changes: &[Change]) -> Option<Error> {
    if changes.is_empty() {
        return None;
    }
    let error = Error::new(
        Code::Drift,
        "the schema of the old cluster changed since prepare",
    );
    let mut error = changes
        .iter()
        .take(NAMED)
        .fold(error, |error, change| error.fact("changed", change));
    if changes.len() > NAMED {
        error = error.fact("further objects", changes.len() - NAMED);
    }
    Some(error.remedy(Remedy::manual("roll back and prepare again")))
}
