//! Whether anything changed that a dumped schema depends on.

mod listing;
pub(super) mod rules;
mod statement;
pub(super) mod subject;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use self::statement::{Catalog, Column};
use super::copy::{Fields, Source};
use super::inventory::{Identity, Objects};
use super::read::{connect, version_num};
use super::snapshot::major;
use crate::error::Result;
use crate::server::{Cancel, Client, Endpoint, in_each_database};

/// Sides of an object's own row that are told apart.
pub(super) const NAME: &str = "name";
/// The same.
pub(super) const OWNER: &str = "owner";
/// The same; privileges on columns count as privileges of their table.
pub(super) const PRIVILEGES: &str = "privileges";
/// The same.
pub(super) const TOAST: &str = "toast table";

/// A hash of every system catalog, for the cluster and for each database.
///
/// Two fingerprints of one cluster differ if and only if a catalog row was made, dropped or
/// changed between them, apart from what the server changes on its own account: file numbers,
/// sizes, horizons, statistics, hints. So it survives restarts, VACUUM (FULL too), ANALYZE,
/// TRUNCATE, REINDEX and everything done to temporary objects, and notices every CREATE, ALTER,
/// DROP, GRANT and COMMENT, also on built-in objects. Rewrites that give a table another toast
/// table (REFRESH MATERIALIZED VIEW) are noticed, because toast pointers hold its OID, and so is
/// REINDEX CONCURRENTLY: it drops the index and leaves another one of the same name, which
/// whoever pairs indexes by name may allow one day.
///
/// Raw columns are hashed. What `pg_get_viewdef` and its like print is made from the newest
/// state of the catalogs, not from the snapshot of the query. One statement, and so one
/// snapshot, reads a whole database.
///
/// How far subscriptions have come (17 and later) is part of it: the dump is what carries that.
/// Large objects are no part: they come and go like rows, and have a digest of their own.
///
/// Hashes of different major versions, or of different releases of this program, say nothing
/// about each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// By catalog, what all databases share.
    pub cluster: BTreeMap<String, String>,
    /// By database and catalog.
    pub databases: BTreeMap<String, BTreeMap<String, String>>,
}

/// Takes the fingerprint of these databases and of what they share.
pub fn fingerprint(
    server: &Endpoint,
    databases: &[String],
    jobs: usize,
    cancel: &Cancel,
) -> Result<Fingerprint> {
    let mut client = connect(server)?;
    let query = FingerprintQuery::new(&mut client)?;
    let cluster = query.cluster(&mut client)?;
    drop(client);
    let each = in_each_database(server, databases, jobs, cancel, |client, _| {
        query.database(client)
    })?;
    Ok(Fingerprint {
        cluster,
        databases: databases.iter().cloned().zip(each).collect(),
    })
}

impl Fingerprint {
    /// What is not the same in a later fingerprint, a clause for each catalog.
    pub fn differences(&self, now: &Fingerprint) -> Vec<String> {
        let mut found = named("cluster", &changed(&self.cluster, &now.cluster));
        let names: BTreeSet<&String> = self.databases.keys().chain(now.databases.keys()).collect();
        for name in names {
            let place = format!("database {name}");
            match (self.databases.get(name), now.databases.get(name)) {
                (Some(then), Some(now)) => found.extend(named(&place, &changed(then, now))),
                (Some(_), None) => found.push(format!("{place}: no longer there")),
                _ => found.push(format!("{place}: was not there")),
            }
        }
        found
    }
}

fn changed<'a>(
    then: &'a BTreeMap<String, String>,
    now: &'a BTreeMap<String, String>,
) -> Vec<&'a str> {
    let catalogs: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    catalogs
        .into_iter()
        .filter(|catalog| then.get(*catalog) != now.get(*catalog))
        .map(String::as_str)
        .collect()
}

/// Dependencies change with nearly everything, so they are named only where they stand alone.
fn named(place: &str, catalogs: &[&str]) -> Vec<String> {
    let follows = |catalog: &str| ["pg_depend", "pg_shdepend"].contains(&catalog);
    let alone = catalogs.iter().all(|catalog| follows(catalog));
    catalogs
        .iter()
        .filter(|catalog| alone || !follows(catalog))
        .map(|catalog| match rules::rule_for(catalog) {
            Some(rule) => format!("{place}: {} ({catalog})", rule.words),
            None => format!("{place}: {catalog}"),
        })
        .collect()
}

/// The statements that take a fingerprint, made once for a cluster.
///
/// What values look like as text depends on settings, which every [`Client`] has pinned.
///
/// For whoever has a session of their own, for example one that shares a dump's snapshot.
#[derive(Debug, Clone)]
pub struct FingerprintQuery {
    cluster: String,
    database: String,
    large_objects: String,
    cluster_objects: String,
    built_in_objects: String,
    other_objects: String,
    /// Objects that came with the cluster, by the hashes of their catalogs.
    built_in: Arc<Mutex<HashMap<String, Arc<Objects>>>>,
}

impl FingerprintQuery {
    /// Learns the columns of the catalogs; they are the same in every database.
    pub fn new(client: &mut Client) -> Result<Self> {
        let mut source = Source::new(client)?;
        let major = major(version_num(&mut source)?);
        let mut catalogs: Vec<Catalog> = Vec::new();
        source.lines(statement::COLUMNS, |fields| {
            let (name, shared) = (fields.text()?, fields.truth()?);
            if catalogs.last().is_none_or(|last| last.name != name) {
                let columns = Vec::new();
                catalogs.push(Catalog {
                    name,
                    shared,
                    columns,
                });
            }
            let column = Column {
                name: fields.text()?,
                is_function: fields.truth()?,
                is_expression: fields.truth()?,
            };
            if let Some(catalog) = catalogs.last_mut() {
                catalog.columns.push(column);
            }
            Ok(())
        })?;
        Ok(Self {
            cluster: statement::for_cluster(&catalogs, major),
            database: statement::for_database(&catalogs, major),
            large_objects: statement::for_large_objects(major),
            cluster_objects: listing::listing(&catalogs, listing::Objects::OfCluster, major),
            built_in_objects: listing::listing(&catalogs, listing::Objects::BuiltIn, major),
            other_objects: listing::listing(&catalogs, listing::Objects::Others, major),
            built_in: Arc::default(),
        })
    }

    /// Lists the objects all databases share.
    pub fn objects_of_cluster(&self, client: &mut Client) -> Result<Objects> {
        objects(client, &self.cluster_objects)
    }

    /// Lists the objects of the database the session is in, whose hashes were just taken.
    ///
    /// Of thousands of objects in a small database nearly all came with the cluster. They are
    /// listed once for all databases in which their catalogs have the same hashes.
    pub fn objects_of_database(
        &self,
        client: &mut Client,
        hashes: &BTreeMap<String, String>,
    ) -> Result<Objects> {
        let mut objects = objects(client, &self.other_objects)?;
        objects.built_in = Some(self.built_in(client, hashes)?);
        Ok(objects)
    }

    fn built_in(
        &self,
        client: &mut Client,
        hashes: &BTreeMap<String, String>,
    ) -> Result<Arc<Objects>> {
        let known = || self.built_in.lock().unwrap_or_else(PoisonError::into_inner);
        let key = format!("{:?}", statement::of_built_in(hashes.iter()));
        if let Some(objects) = known().get(&key) {
            return Ok(Arc::clone(objects));
        }
        // Not under the lock: another session may list them at the same time.
        let listed = Arc::new(objects(client, &self.built_in_objects)?);
        Ok(Arc::clone(known().entry(key).or_insert(listed)))
    }

    /// Hashes what all databases share, by catalog.
    pub fn cluster(&self, client: &mut Client) -> Result<BTreeMap<String, String>> {
        hashes(client, &self.cluster)
    }

    /// Hashes the catalogs of the database the session is in.
    pub fn database(&self, client: &mut Client) -> Result<BTreeMap<String, String>> {
        hashes(client, &self.database)
    }

    /// Number of large objects of the database the session is in, and a hash of their OIDs,
    /// owners, privileges, comments and labels.
    ///
    /// Few databases have any, and planning the statement for them takes longer than to see that.
    pub fn large_objects(&self, client: &mut Client) -> Result<(u64, String)> {
        if !Source::new(client)?.one(statement::HAS_LARGE_OBJECTS, |fields| fields.truth())? {
            return Ok((0, String::new()));
        }
        let (_, digest) = hashes(client, &self.large_objects)?
            .pop_first()
            .unwrap_or_default();
        let count = digest.split(':').next().and_then(|rows| rows.parse().ok());
        Ok((count.unwrap_or(0), digest))
    }
}

fn hashes(client: &mut Client, statement: &str) -> Result<BTreeMap<String, String>> {
    let mut hashes = BTreeMap::new();
    Source::new(client)?.lines(statement, |fields| {
        hashes.insert(fields.text()?, fields.text()?);
        Ok(())
    })?;
    Ok(hashes)
}

fn objects(client: &mut Client, statement: &str) -> Result<Objects> {
    let mut words = HashSet::new();
    let mut objects = Objects::default();
    Source::new(client)?.lines(statement, |fields| object(fields, &mut words, &mut objects))?;
    Ok(objects)
}

/// Adds one row of [`listing::listing`].
fn object(fields: &mut Fields, words: &mut HashSet<Arc<str>>, objects: &mut Objects) -> Result<()> {
    let mut word = |text: String| match words.get(text.as_str()) {
        Some(known) => Arc::clone(known),
        None => {
            let shared: Arc<str> = text.into();
            words.insert(Arc::clone(&shared));
            shared
        }
    };
    let catalog = word(fields.text()?);
    let identity = Identity {
        class: word(fields.text()?),
        oid: fields.number()?,
    };
    let (kind, name) = (word(fields.text()?), fields.text()?);
    let parent = Identity {
        class: word(fields.text()?),
        oid: fields.number()?,
    };
    let object = objects.entry(identity);
    if !kind.is_empty() {
        object.kind = kind;
        object.name = name.into();
    }
    if parent.oid != 0 {
        object.parent = Some(parent);
    }
    let sides = [NAME, OWNER, PRIVILEGES, TOAST].map(|side| word(side.to_owned()));
    for side in std::iter::once(catalog).chain(sides) {
        // The sum of many hashes has more than 64 bits, of which the lower ones will do.
        let hash = fields.number::<i128>()? as u64;
        if hash != 0 {
            object.facets.add(&side, hash);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogs(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(name, hash): &(&str, &str)| ((*name).to_owned(), (*hash).to_owned());
        of.iter().map(owned).collect()
    }

    fn shop(of: &[(&str, &str)]) -> Fingerprint {
        Fingerprint {
            cluster: catalogs(&[("pg_authid", "1:1")]),
            databases: BTreeMap::from([("shop".to_owned(), catalogs(of))]),
        }
    }

    #[test]
    fn equal_fingerprints_have_no_differences() {
        let one = shop(&[("pg_class", "1:5")]);
        assert!(one.differences(&one.clone()).is_empty());
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<Fingerprint>(&text).unwrap(), one);
    }

    #[test]
    fn a_difference_is_named_in_words() {
        let then = shop(&[("pg_class", "1:5"), ("pg_depend", "1:1"), ("pg_new", "")]);
        let mut now = shop(&[("pg_class", "1:6"), ("pg_depend", "1:2")]);
        now.cluster = catalogs(&[("pg_authid", "2:1")]);
        assert_eq!(
            then.differences(&now),
            [
                "cluster: roles (pg_authid)",
                "database shop: tables, indexes, sequences or views (pg_class)",
                "database shop: pg_new",
            ]
        );
    }

    #[test]
    fn dependencies_are_named_where_nothing_else_changed() {
        let then = shop(&[("pg_depend", "1:1")]);
        let now = shop(&[("pg_depend", "1:2")]);
        assert_eq!(
            then.differences(&now),
            ["database shop: dependencies (pg_depend)"]
        );
    }

    #[test]
    fn databases_that_come_and_go_are_named() {
        let then = shop(&[]);
        let mut now = then.clone();
        now.databases = BTreeMap::from([("store".to_owned(), BTreeMap::new())]);
        assert_eq!(
            then.differences(&now),
            [
                "database shop: no longer there",
                "database store: was not there"
            ]
        );
    }
}
