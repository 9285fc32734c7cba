//! The SQL that lists every object with hashes of what it is made of; one statement a scope.

use super::rules::REPLICATION_PROGRESS;
use super::statement::{self, Catalog, Column, Scope};
use super::subject::{self, INDEXES, Subject};
use crate::pg::{MajorVersion, quote};

/// Whose objects a statement lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Objects {
    /// Those all databases share.
    OfCluster,
    /// Those of a database that came with the cluster.
    BuiltIn,
    /// All others of a database.
    Others,
}

impl Objects {
    fn scope(self) -> Scope {
        match self {
            Objects::OfCluster => Scope::Cluster,
            Objects::BuiltIn | Objects::Others => Scope::Database,
        }
    }

    /// What must hold for a row of this catalog to be about one of them; none where no row is.
    fn conditions(self, catalog: &Catalog) -> Option<Vec<String>> {
        let mut conditions = statement::conditions(catalog, self.scope());
        match (self, statement::built_in(catalog)) {
            (Objects::BuiltIn, None) => return None,
            (Objects::BuiltIn, Some(built_in)) => conditions.push(built_in),
            (Objects::Others, Some(built_in)) => {
                conditions.push(format!("({built_in}) IS NOT TRUE"))
            }
            (Objects::Others, None) | (Objects::OfCluster, _) => {}
        }
        Some(conditions)
    }
}

/// What a column of an object's own row says, where that is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Name,
    Owner,
    Privileges,
    Toast,
    Rest,
}

fn side(column: &str) -> Side {
    match column {
        "datdba" => Side::Owner,
        "reltoastrelid" => Side::Toast,
        "subslotname" => Side::Rest,
        _ if column.ends_with("owner") => Side::Owner,
        _ if column.ends_with("acl") => Side::Privileges,
        _ if column.ends_with("name") || column.ends_with("namespace") => Side::Name,
        _ => Side::Rest,
    }
}

/// A row for each object and catalog: catalog, catalog of the object, its OID, kind, name,
/// catalog and OID of what it is a part of, and hashes of the rest, name, owner, privileges and
/// toast table. Kind and name are empty where the row only adds to an object.
pub(super) fn listing(catalogs: &[Catalog], objects: Objects, major: MajorVersion) -> String {
    let mut parts: Vec<String> = statement::of_scope(catalogs, objects.scope())
        .filter_map(|catalog| Some((catalog, from(catalog, &objects.conditions(catalog)?))))
        .map(|(catalog, from)| match subject::subject_of(&catalog.name) {
            Subject::Named { kind, name, parent } => {
                named(catalog, kind, name, parent, &from, major)
            }
            Subject::PartOf(class, column) => {
                let class = quote::literal(class);
                let object = format!("t.{column}::pg_catalog.oid");
                added(catalog, &class, &object, &[column], &from, major)
            }
            Subject::Object(class, object) => {
                let shown = format!("t.{class}::pg_catalog.regclass::pg_catalog.text");
                added(
                    catalog,
                    &shown,
                    &format!("t.{object}"),
                    &[class, object],
                    &from,
                    major,
                )
            }
            Subject::By(class, object) => added(catalog, class, object, &[], &from, major),
            Subject::Together => {
                let class = quote::literal(&catalog.name);
                added(catalog, &class, "0::pg_catalog.oid", &[], &from, major)
            }
        })
        .collect();
    match objects {
        Objects::OfCluster => {
            if major >= MajorVersion(17) {
                parts.push(replication_progress(major));
            }
            parts.join("\nUNION ALL\n")
        }
        Objects::BuiltIn | Objects::Others => {
            let sign = if objects == Objects::BuiltIn {
                "<"
            } else {
                ">="
            };
            parts.push(format!("{MEMBERS} AND t.objid {sign} 16384"));
            format!(
                "{}, index_key (oid, key) AS (
SELECT i.indexrelid, pg_catalog.concat('index ', c.relname, ' of ', i.indrelid)
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
WHERE i.indexrelid >= 16384
)
{}",
                statement::temporary_objects(catalogs).trim_end(),
                parts.join("\nUNION ALL\n")
            )
        }
    }
}

/// What an extension brought is a part of it.
const MEMBERS: &str = "
SELECT 'pg_extension'::pg_catalog.text, t.classid::pg_catalog.regclass::pg_catalog.text, t.objid,
       '', '', 'pg_extension', t.refobjid, 0, 0, 0, 0, 0
FROM pg_catalog.pg_depend t
WHERE t.deptype = 'e' AND t.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass";

fn replication_progress(major: MajorVersion) -> String {
    let hash = statement::hash("ROW(t.external_id, t.remote_lsn)", major);
    let name = quote::literal(REPLICATION_PROGRESS);
    format!(
        "SELECT {name}::pg_catalog.text, {name}::pg_catalog.text, 0::pg_catalog.oid, '', '', '', \
         0::pg_catalog.oid, COALESCE(pg_catalog.sum({hash}), 0), 0, 0, 0, 0 \
         FROM pg_catalog.pg_show_replication_origin_status() t"
    )
}

/// The rows of a catalog that are objects.
fn named(
    catalog: &Catalog,
    kind: &str,
    name: &str,
    parent: Option<(&str, &str)>,
    from: &str,
    major: MajorVersion,
) -> String {
    let one = |wanted| {
        let columns = catalog.lasting();
        let values: Vec<String> = columns
            .filter(|column| column.name != "oid" && side(&column.name) == wanted)
            .map(|column| value(catalog, column))
            .collect();
        match values.as_slice() {
            [] => "0".to_owned(),
            // No privileges granted is no row that could be hashed.
            [acl] if wanted == Side::Privileges => format!(
                "CASE WHEN {acl} IS NULL THEN 0 ELSE {} END",
                statement::hash(&format!("ROW({acl})"), major)
            ),
            _ => statement::hash(&statement::row_of(values.into_iter()), major),
        }
    };
    let (parent_class, parent) = parent.unwrap_or(("''", "0"));
    let class = quote::literal(&catalog.name);
    format!(
        "SELECT {class}::pg_catalog.text, {class}::pg_catalog.text, t.oid, {kind}, \
         COALESCE(({name})::pg_catalog.text, ''), {parent_class}, \
         COALESCE({parent}, 0)::pg_catalog.oid, {}, {}, {}, {}, {}{from}",
        one(Side::Rest),
        one(Side::Name),
        one(Side::Owner),
        one(Side::Privileges),
        one(Side::Toast)
    )
}

/// The rows of a catalog that add to objects of this or another one.
fn added(
    catalog: &Catalog,
    class: &str,
    object: &str,
    keys: &[&str],
    from: &str,
    major: MajorVersion,
) -> String {
    // The OIDs of labels are kept by an upgrade; those of other parts mean nothing to it.
    let counts = |column: &&Column| {
        !keys.contains(&column.name.as_str()) && (column.name != "oid" || catalog.name == "pg_enum")
    };
    let (mut values, mut privileges) = (Vec::new(), "0".to_owned());
    for column in catalog.lasting().filter(counts) {
        let value = value(catalog, column);
        if side(&column.name) == Side::Privileges {
            let position = catalog
                .columns
                .iter()
                .find(|column| column.name == "attname");
            let which = position.map_or_else(String::new, |column| format!("{}, ", column.value()));
            privileges = format!(
                "COALESCE(pg_catalog.sum(CASE WHEN {value} IS NULL THEN 0 ELSE {} END), 0)",
                statement::hash(&format!("ROW({which}{value})"), major)
            );
        } else {
            values.push(value);
        }
    }
    let rest = statement::hash(&statement::row_of(values.into_iter()), major);
    let facet = quote::literal(&catalog.name);
    format!(
        "SELECT {facet}::pg_catalog.text, ({class})::pg_catalog.text, {object}, '', '', '', 0::pg_catalog.oid, \
         COALESCE(pg_catalog.sum({rest}), 0), 0, 0, {privileges}, 0{from} GROUP BY 2, 3"
    )
}

/// An OID of an index is replaced by what identifies it: REINDEX CONCURRENTLY gives another one.
///
/// Before 13 it also forgets where in the text of the statement an expression was; that means
/// nothing to anybody.
fn value(catalog: &Catalog, column: &Column) -> String {
    match index_column(catalog) {
        Some((name, _)) if column.name == name => {
            format!("COALESCE(k.key, t.{name}::pg_catalog.text)")
        }
        _ if column.is_expression => format!(
            "pg_catalog.regexp_replace({}::pg_catalog.text, \
             ':(stmt_)?(location|len) -?[0-9]+', '', 'g')",
            column.value()
        ),
        _ => column.value(),
    }
}

fn index_column(catalog: &Catalog) -> Option<(&'static str, &'static str)> {
    let known = INDEXES.iter().find(|(name, _, _)| *name == catalog.name);
    known.map(|(_, column, condition)| (*column, *condition))
}

fn from(catalog: &Catalog, conditions: &[String]) -> String {
    let mut sql = format!(" FROM pg_catalog.{} t", quote::ident(&catalog.name));
    if let Some((column, condition)) = index_column(catalog) {
        sql.push_str(&format!(
            " LEFT JOIN index_key k ON k.oid = t.{column} AND {condition}"
        ));
    }
    if !conditions.is_empty() {
        sql.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
    }
    sql
}
