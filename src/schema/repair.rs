//! A database that is kept, in which tables and indexes are dropped and made.
//!
//! Everything that could be found wrong here leaves a database that is restored as a whole, so
//! nothing is undone.

use std::collections::{BTreeMap, BTreeSet};

use super::restore::Restore;
use super::{archive, excerpt::excerpt};
use crate::catalog::{self, Database, Inventory, Part, Parts};
use crate::error::{Code, Error, Family, Result};
use crate::pg::Oid;
use crate::server::Client;
use crate::server::pg_restore::{self, PgRestore};

/// What became of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repaired {
    /// It went through the change that old's went through.
    Done,
    /// It did not, for this reason; it may be anything by now.
    Spoilt(String),
}

/// Privileges that would be granted on what the install user makes: in a dump they come last.
const DEFAULT_PRIVILEGES: &str = "SELECT 1 FROM pg_catalog.pg_default_acl \
     WHERE defaclrole = pg_catalog.quote_ident(CURRENT_USER)::pg_catalog.regrole";

/// Default partitions, or those of theirs that have rows.
const DEFAULT_PARTITIONS: &str = "SELECT l.relid::pg_catalog.oid \
     FROM pg_catalog.pg_partitioned_table p, pg_catalog.pg_partition_tree(p.partdefid) l \
     WHERE p.partdefid <> 0 AND l.isleaf";

/// A relation whose files another one has too: old may have given a number that it gave before.
const SHARED_FILES: &str = "SELECT pg_catalog.min(relname::pg_catalog.text) \
     FROM pg_catalog.pg_class WHERE relfilenode <> 0 \
     GROUP BY reltablespace, relfilenode HAVING pg_catalog.count(*) > 1 LIMIT 1";

impl Restore<'_> {
    /// Drops what went and restores what came, where nothing else is another in the database.
    ///
    /// The proof is new's own inventory: between before and after it must differ by the same
    /// parts as old's, and by nothing else. Every table that is read must have a file, if only an
    /// empty one.
    pub fn repair(&self, database: &Database, parts: &Parts) -> Result<Repaired> {
        match self.try_to_repair(database, parts) {
            Ok(None) => Ok(Repaired::Done),
            Ok(Some(reason)) => Ok(Repaired::Spoilt(reason)),
            Err(error) if error.code().family() == Family::Signal => Err(error),
            Err(error) => Ok(Repaired::Spoilt(error.to_string())),
        }
    }

    /// The tables that stay and that a server reads while it makes what came, but for foreign
    /// keys: those that get an index, and default partitions where another one is attached.
    pub fn tables_read(&self, database: &Database, parts: &Parts) -> Result<BTreeSet<Oid>> {
        let mut client = self.new.connect(&database.name)?;
        let defaults = column(client.text_rows(DEFAULT_PARTITIONS)?);
        let indexes = parts.added.iter().filter(|part| part.is_index());
        let indexed = indexes.filter_map(|part| part.parent.as_ref().map(|(_, oid)| *oid));
        let defaults = defaults.iter().filter_map(|oid| oid.parse().ok());
        Ok(indexed.chain(defaults).map(Oid).collect())
    }

    fn try_to_repair(&self, database: &Database, parts: &Parts) -> Result<Option<String>> {
        let file = self.files.database(database.oid);
        let log = self.log(database, "list");
        let text = pg_restore::list(self.installation, &file, &log, self.cancel)?;
        let list = match excerpt(&archive::parse(&text)?, &parts.added) {
            Ok(list) => list,
            Err(reason) => return Ok(Some(reason)),
        };
        let mut client = self.new.connect(&database.name)?;
        if !client.text_rows(DEFAULT_PRIVILEGES)?.is_empty() {
            let reason = "there are default privileges of the install user";
            return Ok(Some(reason.to_owned()));
        }
        let before = self.inventory(database)?;
        drop_parts(&mut client, &parts.gone)?;
        if !list.is_empty() {
            let list = self.write_list(database, "parts", &list)?;
            PgRestore {
                file: &file,
                conninfo: &self.new.conninfo(&database.name),
                database: &database.name,
                clean: false,
                create: false,
                use_list: Some(&list),
                transactions: self.spread_transactions(),
                jobs: 1,
            }
            .run(self.installation, &self.log(database, "parts"), self.cancel)?;
        }
        let after = self.inventory(database)?;
        let Some(went_through) = catalog::parts(&before, &after, &database.name) else {
            return Ok(Some("something else became another in new".to_owned()));
        };
        if let Some(row) = client.text_rows(SHARED_FILES)?.first() {
            let name = row.first().cloned().flatten().unwrap_or_default();
            return Ok(Some(format!("the files of {name} have a number twice")));
        }
        Ok(parts.difference(&went_through))
    }

    fn inventory(&self, database: &Database) -> Result<Inventory> {
        let names = [database.name.clone()];
        catalog::inventory(self.new, &names, 1, self.cancel)
    }
}

/// Drops these objects, and what belongs to them; never what only depends on them.
fn drop_parts(client: &mut Client, gone: &[Part]) -> Result<()> {
    // A foreign key of one of these may need an index that went.
    let tables = drop_by_oid(client, "TABLE", gone.iter().filter(|part| part.is_table()))?;
    if tables != gone.iter().filter(|part| part.is_table()).count() {
        return Err(Error::new(Code::CatalogPairing, "a table is in old only")
            .fact("database", client.database()));
    }
    drop_indexes(client, gone)?;
    // Those that a table owned went with it.
    drop_by_oid(
        client,
        "SEQUENCE",
        gone.iter().filter(|part| part.is_sequence()),
    )
    .map(|_| ())
}

/// Drops those of these relations that are there, and says how many were.
fn drop_by_oid<'a>(
    client: &mut Client,
    kind: &str,
    parts: impl Iterator<Item = &'a Part>,
) -> Result<usize> {
    let names = column(client.text_rows(&format!(
        "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.oid = ANY ({}) ORDER BY c.oid",
        oids(parts.map(|part| part.oid))
    ))?);
    if !names.is_empty() {
        client.run_script(&format!("DROP {kind} {}", names.join(", ")))?;
    }
    Ok(names.len())
}

/// Drops indexes of tables that stay, by their constraint where they have one.
///
/// Those of partitions go with those of the parent.
fn drop_indexes(client: &mut Client, gone: &[Part]) -> Result<()> {
    let tables: BTreeSet<u32> = gone
        .iter()
        .filter(|part| part.is_table())
        .map(|part| part.oid)
        .collect();
    let indexes: BTreeMap<&str, u32> = gone
        .iter()
        .filter(|part| part.is_index())
        .filter_map(|part| Some((&*part.name, part.parent.as_ref()?.1)))
        .filter(|(_, table)| !tables.contains(table))
        .collect();
    let rows = client.text_rows(&format!(
        "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), i.indrelid, \
         CASE WHEN k.oid IS NOT NULL THEN pg_catalog.format('ALTER TABLE %I.%I DROP CONSTRAINT %I', \
         tn.nspname, t.relname, k.conname) END \
         FROM pg_catalog.pg_index i \
         JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_catalog.pg_class t ON t.oid = i.indrelid \
         JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace \
         LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = i.indexrelid \
         AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x') \
         WHERE i.indrelid = ANY ({}) AND NOT c.relispartition ORDER BY c.oid",
        oids(indexes.values().copied()),
    ))?;
    let mut alone = Vec::new();
    for row in rows {
        let [Some(name), Some(table), constraint] = row.as_slice() else {
            continue;
        };
        let gone = indexes.get(&**name).map(u32::to_string);
        match constraint {
            _ if gone.as_ref() != Some(table) => {}
            Some(statement) => client.run_script(statement)?,
            None => alone.push(name.clone()),
        }
    }
    if alone.is_empty() {
        return Ok(());
    }
    client.run_script(&format!("DROP INDEX {}", alone.join(", ")))
}

/// OIDs as an array in a statement.
fn oids(oids: impl Iterator<Item = u32>) -> String {
    let oids: Vec<String> = oids.map(|oid| oid.to_string()).collect();
    format!("'{{{}}}'::pg_catalog.oid[]", oids.join(","))
}

/// The values of rows with one column.
fn column(rows: Vec<Vec<Option<String>>>) -> Vec<String> {
    rows.into_iter().flatten().flatten().collect()
}
