//! A relation that has files, and its compact written form.

use std::sync::Arc;

use crate::pg::{MultiXid, Oid, RelFileNumber, Xid};

/// A relation whose files are moved.
///
/// Names are shown to people and, for indexes, used to find the partner in the other cluster.
/// Bytes that are not UTF-8 (a database in `SQL_ASCII`) are replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Its OID.
    pub oid: Oid,
    /// Its schema; shared between the relations of a database.
    pub schema: Arc<str>,
    /// Its name.
    pub name: Box<str>,
    /// What it is.
    pub kind: RelKind,
    /// Whether its changes are logged.
    pub persistence: Persistence,
    /// The number its files are named by (`pg_relation_filenode`).
    pub file: RelFileNumber,
    /// Its tablespace; 0 is that of the database.
    pub tablespace: Oid,
    /// Name of its access method; empty for a sequence.
    pub access: Arc<str>,
    /// Its toast table, or 0.
    pub toast: Oid,
    /// For an index its table, else 0.
    pub index_of: Oid,
    /// False for an index that is not valid, ready and live; pg_dump leaves those out.
    pub valid: bool,
    /// `relfrozenxid`; 0 for what has none.
    pub frozen_xid: Xid,
    /// `relminmxid`; 0 for what has none.
    pub min_multi: MultiXid,
}

macro_rules! letters {
    ($(#[$doc:meta])* $name:ident { $( $letter:literal $(#[$item:meta])* $variant:ident ),* $(,)? }) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord,
            serde::Serialize, serde::Deserialize,
        )]
        pub enum $name {
            $( $(#[$item])* #[serde(rename = $letter)] $variant, )*
        }

        impl $name {
            /// Reads the letter of `pg_class`.
            pub fn from_catalog(letter: &str) -> Option<Self> {
                match letter {
                    $( $letter => Some(Self::$variant), )*
                    _ => None,
                }
            }
        }
    };
}

letters! {
    /// Kinds of relations that have files of their own.
    RelKind {
        "r" /// An ordinary table, or a partition.
        Table,
        "m" /// A materialized view.
        MaterializedView,
        "t" /// A toast table.
        Toast,
        "i" /// An index.
        Index,
        "S" /// A sequence.
        Sequence,
    }
}

letters! {
    /// Whether changes of a relation are logged; temporary ones never appear here.
    Persistence {
        "p" /// Logged.
        Permanent,
        "u" /// Not logged: it has an init fork.
        Unlogged,
    }
}

impl Relation {
    /// `pg_largeobject`, the one relation of initdb whose rows are the user's.
    pub const LARGE_OBJECT: Oid = Oid(2613);
    /// The index of `pg_largeobject`.
    pub const LARGE_OBJECT_INDEX: Oid = Oid(2683);

    /// Schema and name for people to read; SQL needs `pg::quote::qualified`.
    pub fn display_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// One array a relation, with schemas and access methods written once.
///
/// The state directory keeps the list of every relation: written field by field with names, a
/// hundred thousand of them would take four times the space.
pub(super) mod compact {
    use std::collections::HashMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    use super::{Arc, MultiXid, Oid, Persistence, RelFileNumber, RelKind, Relation, Xid};

    type Row<Name> = (
        Oid,
        usize,
        Name,
        RelKind,
        Persistence,
        RelFileNumber,
        Oid,
        usize,
        Oid,
        Oid,
        bool,
        Xid,
        MultiXid,
    );

    #[derive(Serialize)]
    struct Written<'a> {
        names: Vec<&'a str>,
        rows: Vec<Row<&'a str>>,
    }

    #[derive(Deserialize)]
    struct Read {
        names: Vec<String>,
        rows: Vec<Row<Box<str>>>,
    }

    #[derive(Default)]
    struct Names<'a> {
        list: Vec<&'a str>,
        places: HashMap<&'a str, usize>,
    }

    impl<'a> Names<'a> {
        fn place(&mut self, name: &'a str) -> usize {
            *self.places.entry(name).or_insert_with(|| {
                self.list.push(name);
                self.list.len() - 1
            })
        }
    }

    pub fn serialize<S: Serializer>(relations: &[Relation], to: S) -> Result<S::Ok, S::Error> {
        let mut names = Names::default();
        let mut rows = Vec::with_capacity(relations.len());
        for relation in relations {
            rows.push((
                relation.oid,
                names.place(&relation.schema),
                &*relation.name,
                relation.kind,
                relation.persistence,
                relation.file,
                relation.tablespace,
                names.place(&relation.access),
                relation.toast,
                relation.index_of,
                relation.valid,
                relation.frozen_xid,
                relation.min_multi,
            ));
        }
        let names = names.list;
        Written { names, rows }.serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Relation>, D::Error> {
        let read = Read::deserialize(from)?;
        let names: Vec<Arc<str>> = read.names.into_iter().map(Arc::from).collect();
        let name = |place: usize| {
            let found = names.get(place).cloned();
            found.ok_or_else(|| de::Error::custom(format!("there is no name {place}")))
        };
        read.rows
            .into_iter()
            .map(|row| {
                Ok(Relation {
                    oid: row.0,
                    schema: name(row.1)?,
                    name: row.2,
                    kind: row.3,
                    persistence: row.4,
                    file: row.5,
                    tablespace: row.6,
                    access: name(row.7)?,
                    toast: row.8,
                    index_of: row.9,
                    valid: row.10,
                    frozen_xid: row.11,
                    min_multi: row.12,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Holder {
        #[serde(with = "compact")]
        relations: Vec<Relation>,
    }

    fn relation(oid: u32, schema: &str, name: &str) -> Relation {
        Relation {
            oid: Oid(oid),
            schema: schema.into(),
            name: name.into(),
            kind: RelKind::Index,
            persistence: Persistence::Unlogged,
            file: RelFileNumber(oid + 7),
            tablespace: Oid(1),
            access: "btree".into(),
            toast: Oid(2),
            index_of: Oid(3),
            valid: false,
            frozen_xid: Xid(4),
            min_multi: MultiXid(5),
        }
    }

    #[test]
    fn relations_survive_being_written() {
        let relations = vec![
            relation(16384, "shop", "line \"1\"\n"),
            relation(16390, "shop", "ü"),
            relation(u32::MAX - 7, "btree", ""),
        ];
        let text = serde_json::to_string(&Holder {
            relations: relations.clone(),
        })
        .unwrap();
        assert!(text.starts_with(r#"{"relations":{"names":["shop","btree"],"rows":[[16384,0,"#));
        let back: Holder = serde_json::from_str(&text).unwrap();
        assert_eq!(back.relations, relations);
    }

    #[test]
    fn a_name_that_is_not_there_is_refused() {
        let text = r#"{"relations":{"names":["a"],"rows":[[1,9,"n","r","p",1,0,0,0,0,true,3,1]]}}"#;
        let error = serde_json::from_str::<Holder>(text)
            .map(|_| ())
            .unwrap_err();
        assert!(error.to_string().contains("there is no name 9"), "{error}");
    }
}
