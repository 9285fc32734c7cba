//! The SQL that hashes catalogs: one statement, and so one snapshot, for each database.

use std::fmt::Write;

use super::super::large_objects::ABOUT_LARGE_OBJECTS;
use super::rules::{self, LEFT_OUT, REPLICATION_PROGRESS, Rule, Temporary};
use super::subject::object_of;
use crate::pg::{MajorVersion, quote};

/// What is between the two parts of a digest.
const OTHERS: char = '+';

/// Columns of every system catalog, a row each; a hidden `oid` (10 and 11) comes first.
///
/// Tables a superuser made in `pg_catalog` have OIDs of users: their rows are data.
pub(super) const COLUMNS: &str = "
    SELECT c.relname::pg_catalog.text, c.relisshared, a.attname::pg_catalog.text,
           a.atttypid = 'pg_catalog.regproc'::pg_catalog.regtype,
           a.atttypid = 'pg_catalog.pg_node_tree'::pg_catalog.regtype
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace
      AND c.relkind = 'r' AND c.oid < 16384
      AND (a.attnum > 0 OR a.attname = 'oid') AND NOT a.attisdropped
    ORDER BY c.relname::pg_catalog.text COLLATE pg_catalog.\"C\", a.attnum";

/// A catalog as the server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Catalog {
    pub(super) name: String,
    pub(super) shared: bool,
    pub(super) columns: Vec<Column>,
}

/// A column of a catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    /// `regproc` prints names it looks up elsewhere; its OID is what the row holds.
    pub(super) is_function: bool,
    /// An expression, with the places its parts had in the text it was made from.
    pub(super) is_expression: bool,
}

impl Catalog {
    fn has_oid(&self) -> bool {
        self.columns.iter().any(|column| column.name == "oid")
    }

    pub(super) fn rule(&self) -> Option<&'static Rule> {
        rules::rule_for(&self.name)
    }

    fn temporary(&self) -> Temporary {
        self.rule().map_or(Temporary::Never, |rule| rule.temporary)
    }

    /// The columns that are hashed.
    pub(super) fn lasting(&self) -> impl Iterator<Item = &Column> {
        let moving = self.rule().map_or(&[][..], |rule| rule.moving);
        let columns = self.columns.iter();
        columns.filter(|column| !moving.contains(&column.name.as_str()))
    }

    fn row(&self) -> String {
        row_of(self.lasting().map(Column::value))
    }
}

impl Column {
    /// Its value in a row `t`.
    pub(super) fn value(&self) -> String {
        let cast = match self.is_function {
            true => "::pg_catalog.oid",
            false => "",
        };
        format!("t.{}{cast}", quote::ident(&self.name))
    }
}

/// Values as one row value.
pub(super) fn row_of(values: impl Iterator<Item = String>) -> String {
    format!("ROW({})", values.collect::<Vec<_>>().join(", "))
}

/// Number of rows and a hash of the set of rows, as one text; the order of rows has no part in it.
///
/// Row by row at least 64 bits, summed up in `numeric`, so that equal rows do not cancel out.
/// `hashtextextended` came with 11 and takes half the time of `md5`.
fn digest(row: &str, major: MajorVersion) -> String {
    let hash = hash(row, major);
    format!("pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum({hash}))")
}

/// The same in two parts: of rows about objects that came with the cluster, and of all others.
fn digest_in_parts(row: &str, built_in: &str, major: MajorVersion) -> String {
    let hash = hash(row, major);
    let sums = ["IS TRUE", "IS NOT TRUE"].map(|truth| {
        let filter = format!("FILTER (WHERE ({built_in}) {truth})");
        format!("pg_catalog.count(*) {filter}, ':', pg_catalog.sum({hash}) {filter}")
    });
    format!(
        "pg_catalog.concat({})",
        sums.join(&format!(", '{OTHERS}', "))
    )
}

/// The hashes of catalogs that say something about objects which came with the cluster.
///
/// Where they are equal in two databases, those objects are the same in every respect.
pub(super) fn of_built_in<'a>(
    hashes: impl Iterator<Item = (&'a String, &'a String)>,
) -> Vec<(&'a str, &'a str)> {
    hashes
        .filter_map(|(catalog, hash)| Some((catalog.as_str(), hash.split_once(OTHERS)?.0)))
        .collect()
}

/// True for rows about objects that came with the cluster; none for a catalog that is not told
/// apart by them.
///
/// The cast hides the column from statistics: those of a catalog that has grown since would make
/// the planner expect no other rows, and join thousands of them in nested loops.
pub(super) fn built_in(catalog: &Catalog) -> Option<String> {
    object_of(&catalog.name).map(|object| format!("{object}::pg_catalog.int8 < 16384"))
}

/// 64 bits that change with the row.
pub(super) fn hash(row: &str, major: MajorVersion) -> String {
    if major >= MajorVersion(11) {
        format!("pg_catalog.hashtextextended({row}::pg_catalog.text COLLATE pg_catalog.\"C\", 0)")
    } else {
        format!(
            "('x' || pg_catalog.substr(pg_catalog.md5({row}::pg_catalog.text), 1, 16))::pg_catalog.bit(64)::pg_catalog.int8"
        )
    }
}

/// The statement for the catalogs all databases share.
pub(super) fn for_cluster(catalogs: &[Catalog], major: MajorVersion) -> String {
    let mut parts: Vec<String> = of_scope(catalogs, Scope::Cluster)
        .map(|catalog| {
            let digest = digest(&catalog.row(), major);
            part(catalog, &conditions(catalog, Scope::Cluster), &digest)
        })
        .collect();
    if major >= MajorVersion(17) {
        let digest = digest("ROW(t.external_id, t.remote_lsn)", major);
        parts.push(format!(
            "SELECT {}::pg_catalog.text, {digest} FROM pg_catalog.pg_show_replication_origin_status() t",
            quote::literal(REPLICATION_PROGRESS)
        ));
    }
    parts.join("\nUNION ALL\n")
}

/// The statement for the database it is run in.
pub(super) fn for_database(catalogs: &[Catalog], major: MajorVersion) -> String {
    let parts: Vec<String> = of_scope(catalogs, Scope::Database)
        .map(|catalog| {
            let digest = match built_in(catalog) {
                Some(built_in) => digest_in_parts(&catalog.row(), &built_in, major),
                None => digest(&catalog.row(), major),
            };
            part(catalog, &conditions(catalog, Scope::Database), &digest)
        })
        .collect();
    format!(
        "{}{}",
        temporary_objects(catalogs),
        parts.join("\nUNION ALL\n")
    )
}

/// Whether the database has large objects.
pub(super) const HAS_LARGE_OBJECTS: &str =
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata)";

/// The statement for the large objects of one database alone: their number, and a digest of
/// everything catalogs say of them. Owners and privileges say what `pg_shdepend` says.
pub(super) fn for_large_objects(major: MajorVersion) -> String {
    let parts = ABOUT_LARGE_OBJECTS.map(|about| {
        let digest = digest(&format!("ROW({})", about.columns), major);
        format!(
            "(SELECT {digest} FROM pg_catalog.{} WHERE {})",
            about.catalog, about.rows
        )
    });
    format!(
        "SELECT 'large objects'::pg_catalog.text, pg_catalog.concat_ws(' ', {})",
        parts.join(", ")
    )
}

/// Whose catalogs a statement reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those all databases share.
    Cluster,
    /// Those of one database, with its part of `pg_shdepend`.
    Database,
}

/// The catalogs that count, of one scope.
pub(super) fn of_scope(catalogs: &[Catalog], scope: Scope) -> impl Iterator<Item = &Catalog> {
    catalogs.iter().filter(move |catalog| {
        let in_scope = match scope {
            Scope::Cluster => catalog.shared,
            Scope::Database => !catalog.shared || catalog.name == "pg_shdepend",
        };
        in_scope && !LEFT_OUT.contains(&catalog.name.as_str())
    })
}

/// What must hold for a row of this catalog to count.
pub(super) fn conditions(catalog: &Catalog, scope: Scope) -> Vec<String> {
    let mut conditions =
        Vec::from_iter(catalog.rule().and_then(|rule| rule.only).map(str::to_owned));
    if scope == Scope::Database {
        conditions.extend(not_temporary(catalog.temporary()));
    }
    if catalog.name == "pg_shdepend" {
        let of = match scope {
            Scope::Cluster => "t.dbid = 0",
            Scope::Database => {
                "t.dbid = (SELECT d.oid FROM pg_catalog.pg_database d \
                 WHERE d.datname = pg_catalog.current_database())"
            }
        };
        conditions.push(of.to_owned());
    }
    conditions
}

fn part(catalog: &Catalog, conditions: &[String], digest: &str) -> String {
    let mut sql = format!(
        "SELECT {}::pg_catalog.text, {digest} FROM pg_catalog.{} t",
        quote::literal(&catalog.name),
        quote::ident(&catalog.name)
    );
    if !conditions.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(sql, " WHERE {}", conditions.join(" AND "));
    }
    sql
}

fn not_temporary(temporary: Temporary) -> Option<String> {
    match temporary {
        Temporary::Never => None,
        Temporary::Itself => Some("t.oid NOT IN (SELECT s.oid FROM temporary_schema s)".to_owned()),
        Temporary::Schema(column) => Some(format!(
            "t.{column} NOT IN (SELECT s.oid FROM temporary_schema s)"
        )),
        Temporary::Relation(column) => Some(format!(
            "t.{column} NOT IN (SELECT r.oid FROM temporary_relation r)"
        )),
        Temporary::In(column, catalog) => Some(format!(
            "t.{column}::pg_catalog.oid NOT IN (SELECT o.object FROM temporary_object o \
             WHERE o.class = 'pg_catalog.{catalog}'::pg_catalog.regclass)"
        )),
        Temporary::Object(class, object) => Some(format!(
            "(t.{class}, t.{object}) NOT IN (SELECT o.class, o.object FROM temporary_object o)"
        )),
    }
}

/// Common table expressions that name everything temporary in this database.
pub(super) fn temporary_objects(catalogs: &[Catalog]) -> String {
    let named = catalogs.iter().filter(|catalog| catalog.has_oid());
    let objects: Vec<String> = named
        .filter_map(|catalog| {
            let (column, set) = match catalog.temporary() {
                Temporary::Itself => ("oid", "temporary_schema"),
                Temporary::Schema(column) => (column, "temporary_schema"),
                Temporary::Relation(column) => (column, "temporary_relation"),
                _ => return None,
            };
            Some(format!(
                "SELECT {}::pg_catalog.regclass::pg_catalog.oid, t.oid FROM pg_catalog.{} t \
                 WHERE t.{column} IN (SELECT s.oid FROM {set} s)",
                quote::literal(&format!("pg_catalog.{}", catalog.name)),
                quote::ident(&catalog.name)
            ))
        })
        .collect();
    format!(
        "WITH temporary_schema (oid) AS (
SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname ~ '^pg_(toast_)?temp_[0-9]+$'
), temporary_relation (oid) AS (
SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relnamespace IN (SELECT s.oid FROM temporary_schema s)
UNION ALL
SELECT i.indexrelid FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class p ON p.oid = i.indrelid
WHERE NOT i.indisready OR (NOT i.indisvalid AND p.relkind <> 'p')
), temporary_object (class, object) AS (
{}
)
",
        objects.join("\nUNION ALL\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(name: &str, shared: bool, columns: &[&str]) -> Catalog {
        let columns = columns.iter().map(|column| Column {
            name: column.trim_start_matches('*').to_owned(),
            is_function: column.starts_with('*'),
            is_expression: false,
        });
        Catalog {
            name: name.to_owned(),
            shared,
            columns: columns.collect(),
        }
    }

    fn catalogs() -> Vec<Catalog> {
        vec![
            catalog("pg_authid", true, &["oid", "rolname"]),
            catalog("pg_class", false, &["oid", "relnamespace", "relpages"]),
            catalog("pg_largeobject_metadata", false, &["oid", "lomowner"]),
            catalog("pg_shdepend", true, &["dbid", "classid", "objid"]),
            catalog("pg_statistic", false, &["starelid"]),
            catalog("pg_type", false, &["oid", "typnamespace", "*typinput"]),
            catalog("pg_unheard_of", false, &["oid", "x\"y"]),
        ]
    }

    #[test]
    fn what_moves_by_itself_is_not_hashed() {
        let sql = for_database(&catalogs(), MajorVersion(17));
        assert!(sql.contains("ROW(t.\"oid\", t.\"relnamespace\")"), "{sql}");
        assert!(!sql.contains("relpages") && !sql.contains("pg_statistic"));
        assert!(!sql.contains("pg_authid"));
    }

    #[test]
    fn functions_are_hashed_by_oid_and_names_are_quoted() {
        let sql = for_database(&catalogs(), MajorVersion(17));
        assert!(sql.contains("t.\"typinput\"::pg_catalog.oid)"), "{sql}");
        assert!(sql.contains("t.\"x\"\"y\")"), "{sql}");
    }

    #[test]
    fn dependencies_on_roles_belong_to_their_database() {
        let own = for_database(&catalogs(), MajorVersion(17));
        assert!(own.contains("t.dbid = (SELECT d.oid"), "{own}");
        let shared = for_cluster(&catalogs(), MajorVersion(17));
        assert!(shared.contains("t.dbid = 0") && shared.contains("pg_authid"));
        assert!(!shared.contains("pg_class") && !shared.contains("temporary"));
    }

    #[test]
    fn what_came_with_the_cluster_is_hashed_apart() {
        let sql = for_database(&catalogs(), MajorVersion(17));
        let part = |name: &str| {
            let start = format!("SELECT '{name}'::pg_catalog.text, ");
            let (_, after) = sql.split_once(&start).unwrap();
            after.lines().next().unwrap().to_owned()
        };
        assert!(
            part("pg_type").contains("FILTER (WHERE (t.oid::pg_catalog.int8 < 16384) IS TRUE)")
        );
        assert!(
            part("pg_type").contains("FILTER (WHERE (t.oid::pg_catalog.int8 < 16384) IS NOT TRUE)")
        );
        // Its rows name their database, and so are never the same in two.
        assert!(!part("pg_shdepend").contains("FILTER"));
        assert!(!part("pg_unheard_of").contains("FILTER"));
        let hashes = [("pg_shdepend", "1:5"), ("pg_type", "9:-3+2:8")]
            .map(|(catalog, hash)| (catalog.to_owned(), hash.to_owned()));
        let hashes = std::collections::BTreeMap::from(hashes);
        assert_eq!(of_built_in(hashes.iter()), [("pg_type", "9:-3")]);
    }

    #[test]
    fn each_version_has_a_hash() {
        let hashes = |major| {
            let sql = for_cluster(&catalogs(), MajorVersion(major));
            let positions = sql.contains(REPLICATION_PROGRESS);
            (
                sql.contains("md5"),
                sql.contains("hashtextextended"),
                positions,
            )
        };
        assert_eq!(hashes(10), (true, false, false));
        assert_eq!(hashes(11), (false, true, false));
        assert_eq!(hashes(17), (false, true, true));
    }

    #[test]
    fn large_objects_are_hashed_apart() {
        let sql = for_large_objects(MajorVersion(14));
        assert!(sql.contains("lomowner") && sql.contains("classoid = 2613"));
        assert!(!for_database(&catalogs(), MajorVersion(14)).contains("lomowner"));
    }
}
