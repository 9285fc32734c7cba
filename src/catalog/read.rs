//! The reading of a [`Snapshot`].

use std::collections::HashSet;
use std::sync::Arc;

use super::copy::{Fields, Source};
use super::fingerprint::FingerprintQuery;
use super::relation::{Persistence, RelKind, Relation};
use super::snapshot::{self, Database, Role, Snapshot, Tablespace};
use super::template;
use crate::error::{Code, Error, Result};
use crate::pg::{MultiXid, Oid, RelFileNumber, Xid};
use crate::server::{Alone, Cancel, Client, Endpoint, Help, in_each_database_with_help};

/// Reads everything a plan needs to know about a cluster.
///
/// Databases that let nobody in are listed without contents.
pub fn read(server: &Endpoint, jobs: usize, cancel: &Cancel) -> Result<Snapshot> {
    let (snapshot, _) = read_and(server, jobs, cancel, |_, _| Ok(()))?;
    Ok(snapshot)
}

/// Reads it, and in the session that has read a database does some work there.
///
/// With hundreds of databases the opening of sessions is what takes the time. The answers come
/// in the order of the databases one can connect to.
pub fn read_and<T: Send>(
    server: &Endpoint,
    jobs: usize,
    cancel: &Cancel,
    work: impl Fn(&mut Client, &Database) -> Result<T> + Sync,
) -> Result<(Snapshot, Vec<T>)> {
    read_and_with_help(server, jobs, cancel, work, &Alone)
}

/// The same, where sessions that have no database left help with that work.
pub fn read_and_with_help<T: Send>(
    server: &Endpoint,
    jobs: usize,
    cancel: &Cancel,
    work: impl Fn(&mut Client, &Database) -> Result<T> + Sync,
    help: &dyn Help,
) -> Result<(Snapshot, Vec<T>)> {
    let mut client = connect(server)?;
    let query = FingerprintQuery::new(&mut client)?;
    let mut snapshot = read_cluster(&mut Source::new(&mut client)?)?;
    drop(client);
    let names = snapshot.connectable();
    let read = |client: &mut Client, name: &str| {
        let database = snapshot
            .database(name)
            .ok_or_else(|| Error::new(Code::Internal, "a database went missing"))?;
        let database = read_contents(client, &query, database)?;
        let answer = work(client, &database)?;
        Ok((database, answer))
    };
    let read = in_each_database_with_help(server, &names, jobs, cancel, read, help)?;
    let mut answers = Vec::with_capacity(read.len());
    let connectable = snapshot
        .databases
        .iter_mut()
        .filter(|database| database.connectable());
    for (place, (database, answer)) in connectable.zip(read) {
        *place = database;
        answers.push(answer);
    }
    Ok((snapshot, answers))
}

/// Reads what all databases share, in the transaction of a session; no contents.
pub fn read_shared(client: &mut Client) -> Result<Snapshot> {
    read_cluster(&mut Source::new(client)?)
}

/// Opens the first session: `template1`, since `postgres` may have been dropped, else that one.
pub fn connect(server: &Endpoint) -> Result<Client> {
    server
        .connect("template1")
        .or_else(|error| server.connect("postgres").map_err(|_| error))
}

/// `server_version_num` of the server behind this session.
pub(super) fn version_num(source: &mut Source) -> Result<u32> {
    let sql = "SELECT pg_catalog.current_setting('server_version_num')";
    source.one(sql, |fields| fields.number())
}

fn read_cluster(source: &mut Source) -> Result<Snapshot> {
    let version_num = version_num(source)?;
    let roles = source.all(ROLES, |fields| {
        Ok(Role {
            oid: fields.number()?,
            name: fields.text()?,
            superuser: fields.truth()?,
            login: fields.truth()?,
        })
    })?;
    let installer = roles
        .iter()
        .find(|role| role.oid == Oid::BOOTSTRAP_SUPERUSER);
    let install_user = installer.map(|role| role.name.clone()).ok_or_else(|| {
        Error::new(
            Code::Query,
            "the cluster has no role with OID 10, the one initdb made",
        )
    })?;
    Ok(Snapshot {
        version_num,
        install_user,
        current_user: source.one(CURRENT_USER, |fields| fields.number())?,
        settings: template::read(source, snapshot::major(version_num))?,
        tablespaces: source.all(TABLESPACES, |fields| {
            Ok(Tablespace {
                oid: fields.number()?,
                name: fields.text()?,
                location: fields.text()?,
            })
        })?,
        roles,
        databases: source.all(DATABASES, read_database_row)?,
    })
}

const ROLES: &str = "
    SELECT oid, rolname, rolsuper, rolcanlogin FROM pg_catalog.pg_roles
    WHERE oid = 10 OR oid >= 16384 ORDER BY oid";

const CURRENT_USER: &str = "SELECT oid FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER";

const TABLESPACES: &str = "
    SELECT oid, spcname, pg_catalog.pg_tablespace_location(oid) FROM pg_catalog.pg_tablespace
    WHERE spcname NOT IN ('pg_default', 'pg_global') ORDER BY oid";

const DATABASES: &str = "
    SELECT oid, datname, dattablespace, pg_catalog.pg_encoding_to_char(encoding), datallowconn,
           datconnlimit, datistemplate, datfrozenxid, datminmxid
    FROM pg_catalog.pg_database ORDER BY oid";

fn read_database_row(fields: &mut Fields) -> Result<Database> {
    Ok(Database {
        oid: fields.number()?,
        name: fields.text()?,
        tablespace: fields.number()?,
        encoding: fields.text()?,
        allow_connections: fields.truth()?,
        connection_limit: fields.number()?,
        is_template: fields.truth()?,
        frozen_xid: fields.number()?,
        min_multi: fields.number()?,
        relations: Vec::new(),
        tables: 0,
        pages: 0,
        large_objects: 0,
        large_objects_digest: String::new(),
        extensions: Vec::new(),
        labelled: true,
    })
}

/// Adds what only a session inside a database can read, in its transaction.
pub fn read_contents(
    client: &mut Client,
    query: &FingerprintQuery,
    database: &Database,
) -> Result<Database> {
    let mut source = Source::in_encoding(client, &database.encoding);
    let mut reader = RelationReader::default();
    source.lines(RELATIONS, |fields| reader.row(fields))?;
    let (relations, pages) = reader.finish();
    let (tables, labelled, has_large_objects, several, one) = source.one(IN_SHORT, |fields| {
        let tables = fields.number()?;
        let [labelled, large, several] = [fields.truth()?, fields.truth()?, fields.truth()?];
        Ok((tables, labelled, large, several, fields.text()?))
    })?;
    let extensions = match several {
        true => source.all(EXTENSIONS, |fields| fields.text())?,
        false => Some(one)
            .filter(|name| !name.is_empty())
            .into_iter()
            .collect(),
    };
    let (large_objects, large_objects_digest) = match has_large_objects {
        true => query.large_objects(client)?,
        false => Default::default(),
    };
    Ok(Database {
        relations,
        tables,
        pages,
        large_objects,
        large_objects_digest,
        extensions,
        labelled,
        ..database.clone()
    })
}

const EXTENSIONS: &str = "SELECT extname FROM pg_catalog.pg_extension ORDER BY extname";

/// How many tables there are, whether anything has a security label, whether there are large
/// objects, whether there are several extensions, and the name of the only one: mostly there is
/// one, `plpgsql`.
const IN_SHORT: &str = "
    SELECT (SELECT pg_catalog.count(*) FROM pg_catalog.pg_class
            WHERE relkind IN ('r', 'p', 'm') AND oid >= 16384 AND relpersistence <> 't'),
           EXISTS (SELECT FROM pg_catalog.pg_seclabel)
           OR EXISTS (SELECT FROM pg_catalog.pg_shseclabel),
           EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata),
           x.several, x.one
    FROM (SELECT pg_catalog.count(*) > 1 AS several,
                 COALESCE(pg_catalog.min(extname::pg_catalog.text), '') AS one
          FROM pg_catalog.pg_extension) x";

/// `pg_relation_filenode` is asked only where the column does not say it (catalogs that are
/// mapped): once for each of a hundred thousand rows it takes longer than all the rest.
/// Before 12 tables have no access method in the catalog.
const RELATIONS: &str = "
    SELECT * FROM (
        SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence,
               CASE WHEN c.relfilenode <> 0 THEN c.relfilenode
                    ELSE pg_catalog.pg_relation_filenode(c.oid::pg_catalog.regclass) END AS file,
               c.reltablespace,
               COALESCE(m.amname::pg_catalog.text,
                        CASE WHEN c.relkind = 'S' THEN '' ELSE 'heap' END),
               c.reltoastrelid, COALESCE(i.indrelid, 0),
               COALESCE(i.indisvalid AND i.indisready AND i.indislive, true),
               c.relfrozenxid, c.relminmxid, c.relpages
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_catalog.pg_am m ON m.oid = c.relam
        LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
        WHERE c.relkind IN ('r', 'm', 't', 'i', 'S')
          AND (c.oid >= 16384 OR c.oid IN (2613, 2683))
          AND c.relpersistence <> 't' AND n.nspname !~ '^pg_(toast_)?temp_'
    ) r
    WHERE r.file <> 0
    ORDER BY r.oid";

/// Tables initdb makes by script: made again by a superuser they have OIDs of users, but every
/// cluster has its own.
const INFORMATION_SCHEMA: &[&str] = &[
    "sql_features",
    "sql_implementation_info",
    "sql_languages",
    "sql_packages",
    "sql_parts",
    "sql_sizing",
    "sql_sizing_profiles",
];

/// Gathers relations, then keeps those whose files are moved.
#[derive(Default)]
struct RelationReader {
    relations: Vec<(Relation, u64)>,
    names: HashSet<Arc<str>>,
}

impl RelationReader {
    fn row(&mut self, fields: &mut Fields) -> Result<()> {
        let relation = Relation {
            oid: fields.number()?,
            schema: self.name(&fields.text()?),
            name: fields.text()?.into_boxed_str(),
            kind: fields.word(RelKind::from_catalog)?,
            persistence: fields.word(Persistence::from_catalog)?,
            file: RelFileNumber(fields.number()?),
            tablespace: fields.number()?,
            access: self.name(&fields.text()?),
            toast: fields.number()?,
            index_of: fields.number()?,
            valid: fields.truth()?,
            frozen_xid: Xid(fields.number()?),
            min_multi: MultiXid(fields.number()?),
        };
        let pages = fields.number::<i64>()?.try_into().unwrap_or(0);
        self.relations.push((relation, pages));
        Ok(())
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let shared: Arc<str> = name.into();
        self.names.insert(Arc::clone(&shared));
        shared
    }

    /// The relations to be moved, and the pages they have.
    ///
    /// Toast tables follow their table and indexes follow theirs, whatever their own OIDs are:
    /// REINDEX gives a catalog's toast index an OID of users, and a superuser may put an index
    /// on a catalog. Neither is in a dump.
    fn finish(self) -> (Vec<Relation>, u64) {
        let heaps = self
            .relations
            .iter()
            .map(|(relation, _)| relation)
            .filter(|relation| {
                matches!(relation.kind, RelKind::Table | RelKind::MaterializedView)
                    && !(&*relation.schema == "information_schema"
                        && INFORMATION_SCHEMA.contains(&&*relation.name))
            });
        let mut tables: HashSet<Oid> = HashSet::new();
        for heap in heaps {
            tables.insert(heap.oid);
            if heap.toast != Oid(0) {
                tables.insert(heap.toast);
            }
        }
        let mut pages = 0;
        let mut relations = Vec::with_capacity(self.relations.len());
        for (relation, size) in self.relations {
            let moved = match relation.kind {
                RelKind::Table | RelKind::MaterializedView | RelKind::Toast => {
                    tables.contains(&relation.oid)
                }
                RelKind::Index => tables.contains(&relation.index_of),
                RelKind::Sequence => true,
            };
            if moved {
                pages += size;
                relations.push(relation);
            }
        }
        (relations, pages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_rows(rows: &[&str]) -> (Vec<String>, u64) {
        let mut reader = RelationReader::default();
        for row in rows {
            reader.row(&mut Fields::new(row.as_bytes())).unwrap();
        }
        let (relations, pages) = reader.finish();
        (
            relations.iter().map(Relation::display_name).collect(),
            pages,
        )
    }

    #[test]
    fn toast_and_indexes_follow_their_table() {
        let (names, pages) = read_rows(&[
            "2613\tpg_catalog\tpg_largeobject\tr\tp\t2613\t0\theap\t0\t0\tt\t700\t1\t2",
            "2683\tpg_catalog\tpg_largeobject_loid_pn_index\ti\tp\t2683\t0\tbtree\t0\t2613\tt\t0\t0\t3",
            "16384\tshop\titem\tr\tp\t16384\t0\theap\t16387\t0\tt\t700\t1\t-1",
            "16387\tpg_toast\tpg_toast_16384\tt\tp\t16387\t0\theap\t0\t0\tt\t700\t1\t5",
            "16388\tpg_toast\tpg_toast_16384_index\ti\tp\t16388\t0\tbtree\t0\t16387\tt\t0\t0\t1",
            "16390\tinformation_schema\tsql_parts\tr\tp\t16390\t0\theap\t16393\t0\tt\t700\t1\t9",
            "16393\tpg_toast\tpg_toast_16390\tt\tp\t16393\t0\theap\t0\t0\tt\t700\t1\t9",
            "16394\tpg_toast\tpg_toast_16390_index\ti\tp\t16394\t0\tbtree\t0\t16393\tt\t0\t0\t9",
            "16395\tpg_catalog\ton_a_catalog\ti\tp\t16395\t0\tbtree\t0\t1259\tt\t0\t0\t9",
            "16396\tinformation_schema\tmine\tS\tp\t16396\t0\t\t0\t0\tt\t0\t0\t1",
        ]);
        assert_eq!(
            names,
            [
                "pg_catalog.pg_largeobject",
                "pg_catalog.pg_largeobject_loid_pn_index",
                "shop.item",
                "pg_toast.pg_toast_16384",
                "pg_toast.pg_toast_16384_index",
                "information_schema.mine",
            ]
        );
        assert_eq!(pages, 12);
    }

    #[test]
    fn a_kind_that_is_not_known_is_an_error() {
        let row = b"16384\ta\tb\tZ\tp\t1\t0\theap\t0\t0\tt\t700\t1\t0";
        let error = RelationReader::default()
            .row(&mut Fields::new(row))
            .unwrap_err();
        assert_eq!(error.code(), Code::Query);
    }
}
