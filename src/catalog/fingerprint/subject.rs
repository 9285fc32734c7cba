//! Which object each row of a catalog belongs to, and what that object is called.

use super::rules::{self, Temporary};

/// The object a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// The row is the object: expressions for its kind, its name, and what it is a part of.
    Named {
        kind: &'static str,
        name: &'static str,
        parent: Option<(&'static str, &'static str)>,
    },
    /// The object of this catalog whose OID is in this column.
    PartOf(&'static str, &'static str),
    /// The object named by two columns, OIDs of a catalog and of an object in it.
    Object(&'static str, &'static str),
    /// The object two expressions give: the name of a catalog and an OID in it.
    By(&'static str, &'static str),
    /// All rows are taken together.
    Together,
}

/// Kinds that come and go with what they are a part of and have no life of their own.
pub(in crate::catalog) const PARTS: &[&str] = &[
    "toast table",
    "toast index",
    "row type",
    "array type",
    "query",
    "foreign key triggers",
    "column defaults",
];

/// Catalogs whose OIDs rows of users or file names may hold, and which an upgrade keeps.
///
/// Anything else that was dropped and made again just as it was is the same to a dump.
pub(in crate::catalog) const KEEP_OIDS: &[&str] = &[
    "pg_class",
    "pg_type",
    "pg_authid",
    "pg_database",
    "pg_tablespace",
];

/// Columns that may hold the OID of an index, with what must hold for them to do so.
pub(super) const INDEXES: &[(&str, &str, &str)] = &[
    ("pg_constraint", "conindid", "true"),
    ("pg_trigger", "tgconstrindid", "true"),
    ("pg_inherits", "inhparent", "true"),
    (
        "pg_depend",
        "refobjid",
        "t.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass",
    ),
];

const fn named(kind: &'static str, name: &'static str) -> Subject {
    let parent = None;
    Subject::Named { kind, name, parent }
}

const fn part(
    kind: &'static str,
    name: &'static str,
    class: &'static str,
    parent: &'static str,
) -> Subject {
    Subject::Named {
        kind,
        name,
        parent: Some((class, parent)),
    }
}

/// A name in a schema.
macro_rules! in_schema {
    ($schema:literal, $name:literal) => {
        concat!(
            "pg_catalog.concat(t.",
            $schema,
            "::pg_catalog.regnamespace, '.', pg_catalog.quote_ident(t.",
            $name,
            "))"
        )
    };
}

/// A name that is unique within a relation.
macro_rules! of_relation {
    ($name:literal, $relation:literal) => {
        concat!(
            "pg_catalog.concat(pg_catalog.quote_ident(t.",
            $name,
            "), ' of ', t.",
            $relation,
            "::pg_catalog.regclass)"
        )
    };
}

macro_rules! alone {
    ($name:literal) => {
        concat!("pg_catalog.quote_ident(t.", $name, ")")
    };
}

/// What the rows of each catalog are about.
///
/// The names are for people: functions like `regprocedure` look them up in the newest state and
/// give a number for what is gone.
const SUBJECTS: &[(&str, Subject)] = &[
    (
        "pg_class",
        part(
            "CASE WHEN t.relkind IN ('r', 'p') THEN 'table' WHEN t.relkind = 't' THEN 'toast table' \
             WHEN t.relkind = 'i' AND t.relnamespace = 'pg_toast'::pg_catalog.regnamespace \
             THEN 'toast index' WHEN t.relkind IN ('i', 'I') THEN 'index' \
             WHEN t.relkind = 'S' THEN 'sequence' WHEN t.relkind = 'v' THEN 'view' \
             WHEN t.relkind = 'm' THEN 'materialized view' WHEN t.relkind = 'f' THEN 'foreign table' \
             WHEN t.relkind = 'c' THEN 'composite type' ELSE 'relation' END",
            in_schema!("relnamespace", "relname"),
            "'pg_class'",
            "CASE WHEN t.relkind IN ('i', 'I') THEN (SELECT i.indrelid FROM pg_catalog.pg_index i \
             WHERE i.indexrelid = t.oid) \
             WHEN t.relkind = 't' AND t.relname ~ '^pg_toast_[0-9]{1,9}$' \
             THEN pg_catalog.substr(t.relname::pg_catalog.text, 10)::pg_catalog.oid END",
        ),
    ),
    (
        "pg_type",
        part(
            "CASE WHEN t.typrelid <> 0 THEN 'row type' WHEN t.typlen = -1 AND t.typelem <> 0 \
             THEN 'array type' WHEN t.typtype = 'd' THEN 'domain' ELSE 'type' END",
            in_schema!("typnamespace", "typname"),
            "CASE WHEN t.typrelid <> 0 THEN 'pg_class' ELSE 'pg_type' END",
            "CASE WHEN t.typrelid <> 0 THEN t.typrelid WHEN t.typlen = -1 THEN t.typelem END",
        ),
    ),
    (
        "pg_proc",
        named("'function'", "t.oid::pg_catalog.regprocedure"),
    ),
    (
        "pg_operator",
        named("'operator'", "t.oid::pg_catalog.regoperator"),
    ),
    (
        "pg_constraint",
        part(
            "'constraint'",
            "pg_catalog.concat(pg_catalog.quote_ident(t.conname), ' of ', CASE WHEN t.conrelid <> 0 \
             THEN t.conrelid::pg_catalog.regclass::pg_catalog.text \
             ELSE t.contypid::pg_catalog.regtype::pg_catalog.text END)",
            "CASE WHEN t.conrelid <> 0 THEN 'pg_class' ELSE 'pg_type' END",
            "CASE WHEN t.conrelid <> 0 THEN t.conrelid ELSE t.contypid END",
        ),
    ),
    (
        "pg_trigger",
        part(
            "CASE WHEN t.tgisinternal THEN 'foreign key triggers' ELSE 'trigger' END",
            of_relation!("tgname", "tgrelid"),
            "CASE WHEN t.tgconstraint <> 0 AND t.tgisinternal THEN 'pg_constraint' ELSE 'pg_class' END",
            "CASE WHEN t.tgconstraint <> 0 AND t.tgisinternal THEN t.tgconstraint ELSE t.tgrelid END",
        ),
    ),
    (
        "pg_rewrite",
        part(
            "CASE WHEN t.rulename = '_RETURN' THEN 'query' ELSE 'rule' END",
            of_relation!("rulename", "ev_class"),
            "'pg_class'",
            "t.ev_class",
        ),
    ),
    (
        "pg_policy",
        part(
            "'policy'",
            of_relation!("polname", "polrelid"),
            "'pg_class'",
            "t.polrelid",
        ),
    ),
    (
        "pg_attrdef",
        part(
            "'column defaults'",
            of_relation!("adnum::pg_catalog.text", "adrelid"),
            "'pg_class'",
            "t.adrelid",
        ),
    ),
    ("pg_namespace", named("'schema'", alone!("nspname"))),
    ("pg_extension", named("'extension'", alone!("extname"))),
    ("pg_language", named("'language'", alone!("lanname"))),
    ("pg_am", named("'access method'", alone!("amname"))),
    (
        "pg_event_trigger",
        named("'event trigger'", alone!("evtname")),
    ),
    ("pg_publication", named("'publication'", alone!("pubname"))),
    (
        "pg_subscription",
        named("'subscription'", alone!("subname")),
    ),
    (
        "pg_foreign_data_wrapper",
        named("'foreign-data wrapper'", alone!("fdwname")),
    ),
    ("pg_foreign_server", named("'server'", alone!("srvname"))),
    (
        "pg_collation",
        named("'collation'", in_schema!("collnamespace", "collname")),
    ),
    (
        "pg_conversion",
        named("'conversion'", in_schema!("connamespace", "conname")),
    ),
    (
        "pg_opclass",
        named("'operator class'", in_schema!("opcnamespace", "opcname")),
    ),
    (
        "pg_opfamily",
        named("'operator family'", in_schema!("opfnamespace", "opfname")),
    ),
    (
        "pg_statistic_ext",
        named("'statistics'", in_schema!("stxnamespace", "stxname")),
    ),
    (
        "pg_ts_config",
        named(
            "'text search configuration'",
            in_schema!("cfgnamespace", "cfgname"),
        ),
    ),
    (
        "pg_ts_dict",
        named(
            "'text search dictionary'",
            in_schema!("dictnamespace", "dictname"),
        ),
    ),
    (
        "pg_ts_parser",
        named(
            "'text search parser'",
            in_schema!("prsnamespace", "prsname"),
        ),
    ),
    (
        "pg_ts_template",
        named(
            "'text search template'",
            in_schema!("tmplnamespace", "tmplname"),
        ),
    ),
    (
        "pg_cast",
        named(
            "'cast'",
            "pg_catalog.concat(pg_catalog.format_type(t.castsource, NULL), ' AS ', \
             pg_catalog.format_type(t.casttarget, NULL))",
        ),
    ),
    (
        "pg_transform",
        named(
            "'transform'",
            "pg_catalog.concat('for ', pg_catalog.format_type(t.trftype, NULL), ' language ', \
             (SELECT l.lanname FROM pg_catalog.pg_language l WHERE l.oid = t.trflang))",
        ),
    ),
    (
        "pg_default_acl",
        named(
            "'default privileges'",
            "pg_catalog.concat('of role ', t.defaclrole::pg_catalog.regrole, CASE WHEN \
             t.defaclnamespace <> 0 THEN pg_catalog.concat(' in schema ', \
             t.defaclnamespace::pg_catalog.regnamespace) END, ' (', t.defaclobjtype, ')')",
        ),
    ),
    (
        "pg_user_mapping",
        named(
            "'user mapping'",
            "pg_catalog.concat('of ', CASE WHEN t.umuser = 0 THEN 'PUBLIC' ELSE \
             t.umuser::pg_catalog.regrole::pg_catalog.text END, ' on server ', (SELECT \
             pg_catalog.quote_ident(s.srvname) FROM pg_catalog.pg_foreign_server s \
             WHERE s.oid = t.umserver))",
        ),
    ),
    ("pg_authid", named("'role'", alone!("rolname"))),
    ("pg_database", named("'database'", alone!("datname"))),
    ("pg_tablespace", named("'tablespace'", alone!("spcname"))),
    ("pg_parameter_acl", named("'parameter'", "t.parname")),
    ("pg_amop", Subject::PartOf("pg_opfamily", "amopfamily")),
    ("pg_amproc", Subject::PartOf("pg_opfamily", "amprocfamily")),
    ("pg_auth_members", Subject::PartOf("pg_authid", "roleid")),
    (
        "pg_publication_rel",
        Subject::PartOf("pg_publication", "prpubid"),
    ),
    (
        "pg_publication_namespace",
        Subject::PartOf("pg_publication", "pnpubid"),
    ),
    ("pg_range", Subject::PartOf("pg_type", "rngtypid")),
    ("pg_foreign_table", Subject::PartOf("pg_class", "ftrelid")),
    (
        "pg_subscription_rel",
        Subject::PartOf("pg_subscription", "srsubid"),
    ),
    (
        "pg_ts_config_map",
        Subject::PartOf("pg_ts_config", "mapcfg"),
    ),
    (
        "pg_db_role_setting",
        Subject::By(
            "CASE WHEN t.setdatabase <> 0 THEN 'pg_database' ELSE 'pg_authid' END",
            "CASE WHEN t.setdatabase <> 0 THEN t.setdatabase ELSE t.setrole END",
        ),
    ),
    ("pg_shdescription", Subject::Object("classoid", "objoid")),
    ("pg_shseclabel", Subject::Object("classoid", "objoid")),
];

/// An expression for the OID of the object a row is about, where objects that came with the
/// cluster can be told from others by it in the same way in every database.
///
/// Rows of `pg_shdepend` hold the OID of their database.
pub(super) fn object_of(catalog: &str) -> Option<String> {
    if catalog == "pg_shdepend" {
        return None;
    }
    match subject_of(catalog) {
        Subject::Named { .. } => Some("t.oid".to_owned()),
        Subject::PartOf(_, object) => Some(format!("t.{object}::pg_catalog.oid")),
        Subject::Object(_, object) => Some(format!("t.{object}")),
        Subject::By(_, object) => Some(format!("({object})")),
        Subject::Together => None,
    }
}

/// What the rows of this catalog are about.
pub(super) fn subject_of(catalog: &str) -> Subject {
    let known = SUBJECTS.iter().find(|(name, _)| *name == catalog);
    match (known, rules::rule_for(catalog).map(|rule| rule.temporary)) {
        (Some((_, subject)), _) => *subject,
        (None, Some(Temporary::Relation(column))) => Subject::PartOf("pg_class", column),
        (None, Some(Temporary::In(column, class))) => Subject::PartOf(class, column),
        (None, Some(Temporary::Object(class, object))) => Subject::Object(class, object),
        (None, _) => Subject::Together,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_catalogs_are_taken_as_a_whole() {
        let together: Vec<&str> = rules::RULES
            .iter()
            .map(|rule| rule.catalog)
            .filter(|catalog| subject_of(catalog) == Subject::Together)
            .collect();
        assert_eq!(together, ["pg_pltemplate", rules::REPLICATION_PROGRESS]);
        assert_eq!(subject_of("pg_unheard_of"), Subject::Together);
    }

    #[test]
    fn parts_follow_the_rules() {
        assert_eq!(
            subject_of("pg_enum"),
            Subject::PartOf("pg_type", "enumtypid")
        );
        assert_eq!(
            subject_of("pg_attribute"),
            Subject::PartOf("pg_class", "attrelid")
        );
        assert_eq!(subject_of("pg_depend"), Subject::Object("classid", "objid"));
    }
}
