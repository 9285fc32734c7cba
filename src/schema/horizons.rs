//! Horizons: how far back each relation of new has unfrozen rows.
//!
//! A user table of new gets old's rows, so it must have old's horizons. pg_dump writes them
//! into the dump; here they are compared with old's catalog and mended where they differ, and
//! each database is shown to have no relation older than the database says.

use std::collections::HashMap;

use super::freeze::{self, refreeze_horizons};
use crate::catalog::{self, Database, RelKind, Relation, Snapshot};
use crate::error::{Code, Error, Result};
use crate::pg::{MultiXid, Oid, Xid};
use crate::server::{Cancel, Client, Endpoint};

/// What [`mend`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mended {
    /// Relations whose horizons were compared.
    pub compared: u64,
    /// Relations whose horizons were changed.
    pub relations: u64,
    /// Databases whose horizons were changed.
    pub databases: u64,
}

/// Gives every user table of new, and `pg_largeobject`, the horizons it has in old.
///
/// The catalog it gives back is new's as it is afterwards.
pub fn mend(
    new: &Endpoint,
    old: &Snapshot,
    jobs: usize,
    cancel: &Cancel,
) -> Result<(Mended, Snapshot)> {
    let (now, parts) = catalog::read_and(new, jobs, cancel, |client, now| {
        let old = old.database(&now.name).ok_or_else(|| {
            Error::new(Code::CatalogPairing, "a database is in one cluster only")
                .fact("database", &now.name)
        })?;
        let mended = mend_database(client, old, now)?;
        assert_covered(client, &now.name)?;
        Ok(mended)
    })?;
    let mended = parts
        .into_iter()
        .fold(Mended::default(), |sum, part| Mended {
            compared: sum.compared + part.compared,
            relations: sum.relations + part.relations,
            databases: sum.databases + part.databases,
        });
    if mended.relations + mended.databases == 0 {
        return Ok((mended, now));
    }
    refreeze_horizons(new, &now.connectable(), jobs, cancel)?;
    Ok((mended, catalog::read(new, jobs, cancel)?))
}

fn has_horizon(relation: &Relation) -> bool {
    matches!(
        relation.kind,
        RelKind::Table | RelKind::MaterializedView | RelKind::Toast
    )
}

fn mend_database(client: &mut Client, old: &Database, now: &Database) -> Result<Mended> {
    let wanted: HashMap<Oid, (Xid, MultiXid)> = old
        .relations
        .iter()
        .filter(|relation| has_horizon(relation))
        .map(|relation| (relation.oid, (relation.frozen_xid, relation.min_multi)))
        .collect();
    let (mut compared, mut wrong) = (0, Vec::new());
    for relation in now
        .relations
        .iter()
        .filter(|relation| has_horizon(relation))
    {
        compared += 1;
        match wanted.get(&relation.oid) {
            Some(horizon) if *horizon == (relation.frozen_xid, relation.min_multi) => {}
            Some(horizon) => wrong.push((relation.oid, *horizon)),
            None => {
                return Err(Error::new(Code::CatalogPairing, "a table is in new only")
                    .fact("database", &now.name)
                    .fact("table", relation.display_name()));
            }
        }
    }
    set_relations(client, &wrong)?;
    let databases = set_database(client, &now.name)?;
    Ok(Mended {
        compared,
        relations: wrong.len() as u64,
        databases,
    })
}

fn set_relations(client: &mut Client, wrong: &[(Oid, (Xid, MultiXid))]) -> Result<()> {
    for part in wrong.chunks(10_000) {
        let rows: Vec<String> = part
            .iter()
            .map(|(oid, (xid, multi))| format!("({oid}::oid, '{xid}'::xid, '{multi}'::xid)"))
            .collect();
        client.run_script(&freeze::set_relations(&rows))?;
    }
    Ok(())
}

/// The oldest horizons among the relations of the database one is connected to.
const OLDEST: &str = "SELECT \
     (SELECT relfrozenxid FROM pg_catalog.pg_class WHERE relkind IN ('r', 'm', 't') \
      ORDER BY pg_catalog.age(relfrozenxid) DESC LIMIT 1) AS x, \
     (SELECT relminmxid FROM pg_catalog.pg_class WHERE relkind IN ('r', 'm', 't') \
      ORDER BY pg_catalog.mxid_age(relminmxid) DESC LIMIT 1) AS m";

/// Lowers the database's horizons where a relation is older than they say.
fn set_database(client: &mut Client, name: &str) -> Result<u64> {
    client.execute(
        &format!(
            "UPDATE pg_catalog.pg_database d SET \
             datfrozenxid = CASE WHEN pg_catalog.age(o.x) > pg_catalog.age(d.datfrozenxid) \
                            OR pg_catalog.age(d.datfrozenxid) < 0 THEN o.x ELSE d.datfrozenxid END, \
             datminmxid = CASE WHEN pg_catalog.mxid_age(o.m) > pg_catalog.mxid_age(d.datminmxid) \
                          OR pg_catalog.mxid_age(d.datminmxid) < 0 THEN o.m ELSE d.datminmxid END \
             FROM ({OLDEST}) o WHERE d.datname = $1 AND ( \
             pg_catalog.age(o.x) > pg_catalog.age(d.datfrozenxid) \
             OR pg_catalog.mxid_age(o.m) > pg_catalog.mxid_age(d.datminmxid) \
             OR pg_catalog.age(d.datfrozenxid) < 0 OR pg_catalog.mxid_age(d.datminmxid) < 0)"
        ),
        &[&name],
    )
}

/// No relation may be older than its database says, and none newer than the next transaction.
fn assert_covered(client: &mut Client, name: &str) -> Result<()> {
    let bad = client.rows(
        "SELECT c.oid::pg_catalog.regclass::text, c.relfrozenxid::text, c.relminmxid::text, \
         d.datfrozenxid::text, d.datminmxid::text \
         FROM pg_catalog.pg_class c, pg_catalog.pg_database d \
         WHERE d.datname = $1 AND c.relkind IN ('r', 'm', 't') AND ( \
         pg_catalog.age(c.relfrozenxid) > pg_catalog.age(d.datfrozenxid) \
         OR pg_catalog.mxid_age(c.relminmxid) > pg_catalog.mxid_age(d.datminmxid) \
         OR pg_catalog.age(c.relfrozenxid) < 0 OR pg_catalog.mxid_age(c.relminmxid) < 0) LIMIT 1",
        &[&name],
    )?;
    match bad.first() {
        None => Ok(()),
        Some(row) => Err(
            Error::new(Code::HorizonWrong, "a horizon of the new cluster is wrong")
                .fact("database", name)
                .fact("relation", row.get::<_, String>(0))
                .fact("relfrozenxid", row.get::<_, String>(1))
                .fact("relminmxid", row.get::<_, String>(2))
                .fact("datfrozenxid", row.get::<_, String>(3))
                .fact("datminmxid", row.get::<_, String>(4)),
        ),
    }
}
