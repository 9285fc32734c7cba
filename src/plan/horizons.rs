//! Whether the horizons that prepare wrote into new are still true.

use std::collections::HashMap;

use crate::catalog::Snapshot;
use crate::pg::{ControlFile, MultiXid, Xid};

/// What is known of the horizons in new, as far as it takes the catalogs of both clusters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Horizons {
    /// Those of new's databases.
    databases: Vec<(Xid, MultiXid)>,
    /// Whether a relation of old is older than what new says of it.
    older: bool,
}

impl Horizons {
    /// Compares what both catalogs say.
    pub fn compare(old: &Snapshot, new: &Snapshot) -> Self {
        let databases = new.databases.iter();
        let older = old.databases.iter().any(|database| {
            let now: HashMap<_, _> = database
                .relations
                .iter()
                .map(|relation| (relation.oid, (relation.frozen_xid, relation.min_multi)))
                .collect();
            new.database(&database.name).is_some_and(|prepared| {
                prepared.relations.iter().any(|relation| {
                    now.get(&relation.oid).is_some_and(|(xid, multi)| {
                        xid.precedes(relation.frozen_xid) || multi.precedes(relation.min_multi)
                    })
                })
            })
        });
        Self {
            databases: databases
                .map(|database| (database.frozen_xid, database.min_multi))
                .collect(),
            older,
        }
    }

    /// Whether they have to be written anew for old's final state.
    pub fn outdated(&self, old: &ControlFile) -> bool {
        self.older
            || self.databases.iter().any(|(xid, multi)| {
                xid.precedes(old.oldest_xid) || multi.precedes(old.oldest_multi)
            })
    }
}
