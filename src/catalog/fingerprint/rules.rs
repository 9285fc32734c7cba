//! What is known about each system catalog: its name for people, and what of it is not hashed.

/// How a row is recognised as one of a temporary object.
///
/// Temporary objects come and go with sessions, and no dump holds them. Nor does it hold indexes
/// that are not finished: those are relations that count as temporary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Temporary {
    /// Never, or too rarely to matter.
    Never,
    /// The row is a schema.
    Itself,
    /// By this column, an OID of a schema.
    Schema(&'static str),
    /// By this column, an OID of a relation.
    Relation(&'static str),
    /// By this column, an OID in the given catalog.
    In(&'static str, &'static str),
    /// By these two columns, OIDs of a catalog and of an object in it.
    Object(&'static str, &'static str),
}

/// One catalog.
#[derive(Debug)]
pub(in crate::catalog) struct Rule {
    pub(super) catalog: &'static str,
    pub(in crate::catalog) words: &'static str,
    pub(super) temporary: Temporary,
    pub(super) moving: &'static [&'static str],
    /// A further condition on the rows, with `t` as the catalog.
    pub(super) only: Option<&'static str>,
}

/// Catalogs that are not hashed at all.
///
/// `pg_largeobject` is data, and what other catalogs say of large objects is carried apart.
/// Statistics are carried apart and change by themselves. The origins
/// of subscriptions follow `pg_subscription`; others come and go with the first copy of a
/// replicated table, and no dump holds them.
pub(super) const LEFT_OUT: &[&str] = &[
    "pg_largeobject",
    "pg_largeobject_metadata",
    "pg_statistic",
    "pg_statistic_ext_data",
    "pg_replication_origin",
];

use Temporary::{In, Itself, Never, Object, Relation, Schema};

const fn rule(catalog: &'static str, words: &'static str, temporary: Temporary) -> Rule {
    Rule {
        catalog,
        words,
        temporary,
        moving: &[],
        only: None,
    }
}

const fn moving(rule: Rule, moving: &'static [&'static str]) -> Rule {
    Rule { moving, ..rule }
}

const fn only(only: &'static str, rule: Rule) -> Rule {
    Rule {
        only: Some(only),
        ..rule
    }
}

/// Every catalog of 10 to 18 that is hashed.
///
/// The columns left out are those the server changes without being told to. VACUUM clears the
/// `relhas...` columns long after the last index, rule or trigger was dropped, and ANALYZE
/// `relhassubclass`; the catalogs they stand for are hashed, and so are those whose rows
/// `relnatts` and `relchecks` count. A rewrite fills in what
/// `attmissingval` stands for. A login clears `dathasloginevt`. A worker clears `subskiplsn`.
///
/// Of what initdb makes only privileges can ever be dumped. So its functions and system columns
/// count where they have some, its operators and the definitions of its views not at all: these
/// are half the work in a small database.
pub(super) const RULES: &[Rule] = &[
    rule("pg_aggregate", "aggregates", In("aggfnoid", "pg_proc")),
    rule("pg_am", "access methods", Never),
    rule("pg_amop", "operators of operator families", Never),
    rule("pg_amproc", "functions of operator families", Never),
    rule("pg_attrdef", "column defaults", Relation("adrelid")),
    only(
        "(t.attnum > 0 OR t.attacl IS NOT NULL)",
        moving(
            rule("pg_attribute", "columns", Relation("attrelid")),
            &["atthasmissing", "attmissingval"],
        ),
    ),
    rule("pg_auth_members", "role memberships", Never),
    rule("pg_authid", "roles", Never),
    rule("pg_cast", "casts", Never),
    moving(
        rule(
            "pg_class",
            "tables, indexes, sequences or views",
            Relation("oid"),
        ),
        &[
            "relfilenode",
            "relpages",
            "reltuples",
            "relallvisible",
            "relallfrozen",
            "relfrozenxid",
            "relminmxid",
            "relhasindex",
            "relhaspkey",
            "relhasrules",
            "relhastriggers",
            "relhassubclass",
            "relnatts",
            "relchecks",
        ],
    ),
    rule("pg_collation", "collations", Schema("collnamespace")),
    rule("pg_constraint", "constraints", Schema("connamespace")),
    rule("pg_conversion", "conversions", Schema("connamespace")),
    moving(
        rule("pg_database", "databases", Never),
        &["datfrozenxid", "datminmxid", "dathasloginevt"],
    ),
    rule("pg_db_role_setting", "settings", Never),
    rule("pg_default_acl", "default privileges", Never),
    rule("pg_depend", "dependencies", Object("classid", "objid")),
    only(
        "t.classoid <> 2613",
        rule("pg_description", "comments", Object("classoid", "objoid")),
    ),
    rule(
        "pg_enum",
        "values of enumerations",
        In("enumtypid", "pg_type"),
    ),
    rule("pg_event_trigger", "event triggers", Never),
    rule("pg_extension", "extensions", Never),
    rule("pg_foreign_data_wrapper", "foreign-data wrappers", Never),
    rule("pg_foreign_server", "foreign servers", Never),
    rule("pg_foreign_table", "foreign tables", Never),
    moving(
        rule("pg_index", "indexes", Relation("indexrelid")),
        &["indcheckxmin"],
    ),
    rule(
        "pg_inherits",
        "inheritance or partitions",
        Relation("inhrelid"),
    ),
    rule(
        "pg_init_privs",
        "initial privileges",
        Object("classoid", "objoid"),
    ),
    rule("pg_language", "languages", Never),
    rule("pg_namespace", "schemas", Itself),
    rule("pg_opclass", "operator classes", Schema("opcnamespace")),
    only(
        "t.oid >= 16384",
        rule("pg_operator", "operators", Schema("oprnamespace")),
    ),
    rule("pg_opfamily", "operator families", Schema("opfnamespace")),
    rule("pg_parameter_acl", "privileges on parameters", Never),
    rule(
        "pg_partitioned_table",
        "partitioned tables",
        Relation("partrelid"),
    ),
    rule("pg_pltemplate", "language templates", Never),
    rule("pg_policy", "row security policies", Relation("polrelid")),
    only(
        "(t.oid >= 16384 OR t.proacl IS NOT NULL)",
        rule("pg_proc", "functions", Schema("pronamespace")),
    ),
    rule("pg_publication", "publications", Never),
    rule("pg_publication_namespace", "schemas of publications", Never),
    rule("pg_publication_rel", "tables of publications", Never),
    rule("pg_range", "range types", Never),
    only(
        "t.oid >= 16384",
        rule("pg_rewrite", "views or rules", Relation("ev_class")),
    ),
    only(
        "t.classoid <> 2613",
        rule(
            "pg_seclabel",
            "security labels",
            Object("classoid", "objoid"),
        ),
    ),
    rule("pg_sequence", "sequences", Relation("seqrelid")),
    only(
        "t.classid <> 2613",
        rule(
            "pg_shdepend",
            "dependencies on roles or tablespaces",
            Object("classid", "objid"),
        ),
    ),
    rule("pg_shdescription", "comments", Never),
    rule("pg_shseclabel", "security labels", Never),
    moving(
        rule(
            "pg_statistic_ext",
            "extended statistics",
            Schema("stxnamespace"),
        ),
        &["stxndistinct", "stxdependencies"],
    ),
    moving(
        rule("pg_subscription", "subscriptions", Never),
        &["subskiplsn"],
    ),
    rule("pg_subscription_rel", "tables of subscriptions", Never),
    rule("pg_tablespace", "tablespaces", Never),
    rule("pg_transform", "transforms", Never),
    rule("pg_trigger", "triggers", Relation("tgrelid")),
    rule(
        "pg_ts_config",
        "text search configurations",
        Schema("cfgnamespace"),
    ),
    rule("pg_ts_config_map", "text search configurations", Never),
    rule(
        "pg_ts_dict",
        "text search dictionaries",
        Schema("dictnamespace"),
    ),
    rule(
        "pg_ts_parser",
        "text search parsers",
        Schema("prsnamespace"),
    ),
    rule(
        "pg_ts_template",
        "text search templates",
        Schema("tmplnamespace"),
    ),
    rule("pg_type", "types", Schema("typnamespace")),
    rule("pg_user_mapping", "user mappings", Never),
    rule(REPLICATION_PROGRESS, "positions of subscriptions", Never),
];

/// Not a catalog but a view: how far each subscription has come. From 17 on the dump holds it.
pub(super) const REPLICATION_PROGRESS: &str = "pg_replication_origin_status";

/// The rule for a catalog; one that is not known is hashed whole.
pub(in crate::catalog) fn rule_for(catalog: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.catalog == catalog)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_catalog_has_two_rules() {
        for (place, rule) in RULES.iter().enumerate() {
            assert!(!rule.words.is_empty());
            assert!(!LEFT_OUT.contains(&rule.catalog), "{}", rule.catalog);
            assert!(
                RULES[place + 1..]
                    .iter()
                    .all(|other| other.catalog != rule.catalog),
                "{}",
                rule.catalog
            );
        }
    }
}
