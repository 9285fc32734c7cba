//! Types that tables may not store, also inside of domains, arrays, composites, ranges and
//! multiranges.

use super::probe::Row;
use crate::error::Result;
use crate::server::Client;

/// The types of columns, each with all its parts.
const HELD: &str = include_str!("stored_type/held.sql");

/// Every column, expression index and materialized view that stores one of some types.
const FOUND: &str = include_str!("stored_type/found.sql");

/// Some types that tables may not store.
#[derive(Debug, Clone)]
pub struct StoredType {
    /// A query for their OIDs.
    types: String,
    query: String,
}

impl StoredType {
    /// Where no column has any but the most usual types, none of those asked for is stored.
    pub(super) const ONLY_WHERE: &str = include_str!("stored_type/only_where.sql");

    /// Those whose OIDs a query gives.
    pub fn new(types: String) -> Self {
        let query = FOUND.replace("/*held*/", HELD).replace("/*types*/", &types);
        Self { types, query }
    }

    /// The query for what stores them.
    pub fn query(&self) -> &str {
        &self.query
    }
}

/// What the tables of one database store, which is asked once for all checks.
#[derive(Debug, Default)]
pub struct Held(Option<String>);

impl Held {
    /// Whether something may store one of these types.
    ///
    /// Planning the whole query takes many times as long as this, and mostly there is nothing.
    pub fn has(&mut self, wanted: &StoredType, client: &mut Client) -> Result<bool> {
        let held = match &self.0 {
            Some(held) => held,
            None => self.0.insert(parts(client)?),
        };
        let any = client.text_rows(&format!(
            "SELECT 1 FROM (\n{}\n) AS t (oid) WHERE t.oid = ANY ('{held}'::pg_catalog.oid[]) LIMIT 1",
            wanted.types
        ))?;
        Ok(!any.is_empty())
    }
}

/// As an array of OIDs.
fn parts(client: &mut Client) -> Result<String> {
    let rows: Vec<Row> = client.text_rows(&format!(
        "WITH RECURSIVE\n{HELD} SELECT DISTINCT h.part FROM held h"
    ))?;
    let oids: Vec<String> = rows.into_iter().flatten().flatten().collect();
    Ok(format!("{{{}}}", oids.join(",")))
}
