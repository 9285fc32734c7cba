//! Every row of new's catalogs becomes independent of new's transaction status.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result};
use crate::pg::{MultiXid, Xid};
use crate::server::{Cancel, Client, Endpoint, in_each_database};

/// The catalogs of initdb that are this database's own, without `pg_largeobject` and its index:
/// these come with old's files.
const OWN_CATALOGS: &str = "c.relisshared = false AND c.oid NOT IN (2613, 2683)";
/// Those of `template0`, to which nothing of old comes.
const CATALOGS_OF_TEMPLATE0: &str = "c.relisshared = false";
/// The catalogs all databases share.
const SHARED_CATALOGS: &str = "c.relisshared";

/// The files of new's own catalogs, relative to the data directory, or leading through
/// `pg_tblspc`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogFiles {
    /// Those whose rows must be frozen: of catalogs and of their toast tables.
    pub heaps: Vec<PathBuf>,
    /// Those of their indexes.
    pub indexes: Vec<PathBuf>,
}

/// Freezes every catalog of every database, `template0` included, and names their files.
///
/// User tables are left alone: their files are empty and about to be replaced, and a VACUUM
/// would move their horizons. [`super::scan`] proves with the heaps, when the server is stopped,
/// that nothing was held back.
pub fn freeze(
    new: &Endpoint,
    databases: &[String],
    jobs: usize,
    cancel: &Cancel,
) -> Result<CatalogFiles> {
    let mut template1 = new.connect("template1")?;
    allow_template0(&mut template1, true)?;
    vacuum_freeze(&mut template1, SHARED_CATALOGS)?;
    let shared = horizons_of_shared(&mut template1)?;
    let mut everywhere: Vec<String> = databases.to_vec();
    everywhere.push("template0".to_owned());
    let files = in_each_database(new, &everywhere, jobs, cancel, |client, name| {
        let own = match name {
            "template0" => CATALOGS_OF_TEMPLATE0,
            _ => OWN_CATALOGS,
        };
        client.run_script(&shared)?;
        vacuum_freeze(client, own)?;
        catalog_files(client, own)
    });
    allow_template0(&mut template1, false)?;
    let mut files = files?;
    template1.run_script("VACUUM (FREEZE) pg_catalog.pg_database")?;
    files.push(catalog_files(&mut template1, SHARED_CATALOGS)?);
    let mut all = CatalogFiles::default();
    for some in files {
        all.heaps.extend(some.heaps);
        all.indexes.extend(some.indexes);
    }
    Ok(all)
}

/// Gives another database the horizons that the shared catalogs have here.
///
/// Each database has rows of its own about them in pg_class, which a VACUUM elsewhere leaves as
/// they are, and which would hold back the horizons of the whole database.
fn horizons_of_shared(client: &mut Client) -> Result<String> {
    let rows = client.text_rows(&format!(
        "SELECT pg_catalog.format('(%s::oid, %L::xid, %L::xid)', c.oid, c.relfrozenxid, \
         c.relminmxid) \
         FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'm', 't') AND {SHARED_CATALOGS}"
    ))?;
    let rows: Vec<String> = rows.into_iter().flatten().flatten().collect();
    Ok(set_relations(&rows))
}

/// The statement that gives relations these horizons, `(OID::oid, XID::xid, MULTIXACT::xid)` each.
pub(super) fn set_relations(rows: &[String]) -> String {
    format!(
        "UPDATE pg_catalog.pg_class c SET relfrozenxid = v.x, relminmxid = v.m \
         FROM (VALUES {}) v(o, x, m) WHERE c.oid = v.o \
         AND (c.relfrozenxid, c.relminmxid) IS DISTINCT FROM (v.x, v.m)",
        rows.join(", ")
    )
}

/// Lets the horizons of a fresh cluster begin where its counters now do.
///
/// Its rows are frozen, so nothing in it is older. What initdb left as horizons are the young
/// XIDs of its own making: seen from old's counters they may lie in the future, and VACUUM
/// would then take the rows of the restore for corruption. Mirrors `set_frozenxids` of
/// `src/bin/pg_upgrade/pg_upgrade.c`.
pub fn begin_horizons(new: &Endpoint, next: (Xid, MultiXid), cancel: &Cancel) -> Result<()> {
    let (xid, multi) = next;
    let mut template1 = new.connect("template1")?;
    allow_template0(&mut template1, true)?;
    let everywhere = ["template0", "template1", "postgres"].map(str::to_owned);
    let set = in_each_database(new, &everywhere, 1, cancel, |client, _| {
        client.run_script(&format!(
            "UPDATE pg_catalog.pg_class SET relfrozenxid = '{xid}', relminmxid = '{multi}' \
             WHERE relkind IN ('r', 'm', 't')"
        ))
    });
    // The first session of a database makes the file the others begin with, and databases that
    // are made of template0 file by file have it from there.
    let begun = set.and_then(|_| new.connect("template0").map(drop));
    allow_template0(&mut template1, false)?;
    begun?;
    template1.run_script(&format!(
        "UPDATE pg_catalog.pg_database SET datfrozenxid = '{xid}', datminmxid = '{multi}'"
    ))
}

/// Freezes these catalogs, in which rows were written.
pub(super) fn refreeze(
    client: &mut Client,
    catalogs: impl Iterator<Item = &'static str>,
) -> Result<()> {
    let names: Vec<String> = catalogs.map(|name| format!("pg_catalog.{name}")).collect();
    client.run_script(&format!("VACUUM (FREEZE) {}", names.join(", ")))
}

/// Freezes the rows that changing horizons wrote: those of pg_class and pg_database.
pub(super) fn refreeze_horizons(
    new: &Endpoint,
    databases: &[String],
    jobs: usize,
    cancel: &Cancel,
) -> Result<()> {
    in_each_database(new, databases, jobs, cancel, |client, _| {
        client.run_script("VACUUM (FREEZE) pg_catalog.pg_class")
    })?;
    new.connect("template1")?
        .run_script("VACUUM (FREEZE) pg_catalog.pg_database")
}

fn allow_template0(client: &mut Client, allow: bool) -> Result<()> {
    let changed = client.execute(
        "UPDATE pg_catalog.pg_database SET datallowconn = $1 WHERE datname = 'template0'",
        &[&allow],
    )?;
    if changed == 1 {
        return Ok(());
    }
    Err(Error::new(
        Code::Internal,
        "the new cluster has no template0",
    ))
}

fn vacuum_freeze(client: &mut Client, which: &str) -> Result<()> {
    let names = client.text_rows(&format!(
        "SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.oid < 16384 AND c.relkind IN ('r', 'm') AND {which} ORDER BY c.oid"
    ))?;
    let names: Vec<String> = names.into_iter().flatten().flatten().collect();
    client.run_script(&format!("VACUUM (FREEZE) {}", names.join(", ")))
}

fn catalog_files(client: &mut Client, which: &str) -> Result<CatalogFiles> {
    let rows = client.text_rows(&format!(
        "SELECT pg_catalog.pg_relation_filepath(c.oid), c.relkind = 'i' \
         FROM pg_catalog.pg_class c \
         WHERE c.oid < 16384 AND c.relkind IN ('r', 'm', 't', 'i') AND {which}"
    ))?;
    let mut files = CatalogFiles::default();
    for row in rows {
        let [Some(path), Some(is_index)] = row.as_slice() else {
            continue;
        };
        match is_index.as_str() {
            "t" => files.indexes.push(path.into()),
            _ => files.heaps.push(path.into()),
        }
    }
    Ok(files)
}
