//! A change of a database that is nothing but tables and indexes that came or went.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::{Comparison, Raw};
use crate::catalog::fingerprint::PRIVILEGES;
use crate::catalog::inventory::{Identity, Inventory, Object, Objects};

/// Objects that came and objects that went, each wholly, where no other object is another one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// Those that came.
    pub added: Vec<Part>,
    /// Those that went.
    pub gone: Vec<Part>,
}

/// One object, in words of an [`Inventory`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Part {
    /// Its catalog, `pg_class`.
    pub class: String,
    /// Its OID.
    pub oid: u32,
    /// `table`, `index`.
    pub kind: String,
    /// Its name, as SQL has it.
    pub name: String,
    /// Catalog and OID of what it is a part of.
    pub parent: Option<(String, u32)>,
    /// The catalogs that say something about it.
    said: Vec<String>,
}

/// What is said of an object by rows of which each dump has an entry of its own.
const SAID_APART: &[&str] = &[PRIVILEGES, "pg_description", "pg_inherits", "pg_seclabel"];

/// Triggers of constraints; before 15 also those of partitions.
const FOREIGN_KEY: &str = "foreign key triggers";

/// Objects whose entries belong to a table and to nothing else.
const OF_TABLES: &[(&str, &str)] = &[
    ("pg_class", "toast table"),
    ("pg_constraint", "constraint"),
    ("pg_attrdef", "column defaults"),
    ("pg_policy", "policy"),
    ("pg_rewrite", "rule"),
    ("pg_trigger", "trigger"),
    // Those that a partition has from its parent, before 15.
    ("pg_trigger", FOREIGN_KEY),
    ("pg_type", "row type"),
];

/// The difference of one database, where it consists of whole tables and indexes.
///
/// None where anything else differs, or where those cannot be told from the rest: what belongs
/// to an extension, and everything where event triggers would see it.
pub fn parts(then: &Inventory, now: &Inventory, database: &str) -> Option<Parts> {
    let then = then.databases.get(database)?.together();
    let now = now.databases.get(database)?.together();
    if [&then, &now]
        .iter()
        .any(|all| all.any_of("pg_event_trigger"))
    {
        return None;
    }
    let comparison = Comparison::new(&then, &now);
    let mut parts = Parts::default();
    for (identity, raw) in &comparison.raw {
        match raw {
            Raw::Created | Raw::MadeAnew => parts.added.push(Part::of(identity, &now)?),
            Raw::Dropped => parts.gone.push(Part::of(identity, &then)?),
            Raw::Changed(_) => return None,
        }
    }
    for identity in &comparison.replaced {
        parts.gone.push(Part::of(identity, &then)?);
    }
    parts.gone.sort();
    let whole =
        Whole::new(&parts.added, &now).is_whole() && Whole::new(&parts.gone, &then).is_whole();
    (whole && parts != Parts::default()).then_some(parts)
}

impl Part {
    fn of(identity: &Identity, objects: &Objects) -> Option<Self> {
        let object = objects.all.get(identity)?;
        let parent = object.parent.as_ref();
        Some(Self {
            class: identity.class.to_string(),
            oid: identity.oid,
            kind: object.kind.to_string(),
            name: object.name.to_string(),
            parent: parent.map(|parent| (parent.class.to_string(), parent.oid)),
            said: object
                .facets
                .iter()
                .map(|(facet, _)| facet.to_string())
                .collect(),
        })
    }

    fn is(&self, class: &str, kind: &str) -> bool {
        self.class == class && self.kind == kind
    }

    /// Whether it is an ordinary or a partitioned table.
    pub fn is_table(&self) -> bool {
        self.is("pg_class", "table")
    }

    /// Whether it is a sequence.
    pub fn is_sequence(&self) -> bool {
        self.is("pg_class", "sequence")
    }

    /// Whether it is an index of a table or of a materialized view.
    pub fn is_index(&self) -> bool {
        self.is("pg_class", "index")
    }
}

/// Parts on one side, with the database they are in.
struct Whole<'a> {
    parts: &'a [Part],
    by_identity: HashMap<(&'a str, u32), &'a Part>,
    objects: &'a Objects,
}

impl<'a> Whole<'a> {
    fn new(parts: &'a [Part], objects: &'a Objects) -> Self {
        let identified = parts.iter().map(|part| ((&*part.class, part.oid), part));
        Self {
            parts,
            by_identity: identified.collect(),
            objects,
        }
    }

    fn is_whole(&self) -> bool {
        self.parts.iter().all(|part| self.has_its_place(part))
    }

    fn parent(&self, part: &Part) -> Option<&'a Part> {
        let (class, oid) = part.parent.as_ref()?;
        self.by_identity.get(&(&**class, *oid)).copied()
    }

    fn has_its_place(&self, part: &Part) -> bool {
        // A member of an extension has that for a parent.
        if part.is_table() || part.is_sequence() {
            return part.parent.is_none();
        }
        if part.is_index() {
            return self.parent(part).is_some_and(Part::is_table)
                || self.kept_table(part).is_some();
        }
        let parent = self.parent(part);
        match (&*part.class, &*part.kind) {
            ("pg_class", "toast index") => parent.is_some_and(|p| p.is("pg_class", "toast table")),
            ("pg_type", "array type") => parent.is_some_and(|p| p.is("pg_type", "row type")),
            ("pg_type", "row type") => parent.is_some_and(|p| p.class == "pg_class"),
            ("pg_trigger", FOREIGN_KEY) if parent.is_some_and(|p| p.class == "pg_constraint") => {
                true
            }
            of_table if OF_TABLES.contains(&of_table) => {
                parent.is_some_and(Part::is_table) || self.is_of_an_index(part)
            }
            _ => false,
        }
    }

    /// The table or materialized view that stayed what it is.
    fn kept_table(&self, part: &Part) -> Option<&'a Object> {
        let (class, oid) = part.parent.as_ref()?;
        let identity = Identity {
            class: class.as_str().into(),
            oid: *oid,
        };
        let kept = self
            .objects
            .all
            .get(&identity)
            .filter(|_| class == "pg_class");
        kept.filter(|object| ["table", "materialized view"].contains(&&*object.kind))
    }

    /// A constraint of a table that stayed, which came or went with the index of its name.
    fn is_of_an_index(&self, part: &Part) -> bool {
        let Some(table) = self
            .kept_table(part)
            .filter(|_| part.class == "pg_constraint")
        else {
            return false;
        };
        let name = part.name.strip_suffix(&format!(" of {}", table.name));
        let suffix = name.map(|name| format!(".{name}"));
        suffix.is_some_and(|suffix| {
            let mut indexes = self.parts.iter().filter(|index| index.is_index());
            indexes.any(|index| index.parent == part.parent && index.name.ends_with(&suffix))
        })
    }
}

/// What a part is called in both clusters.
type Key<'a> = (&'a str, &'a str, &'a str, u32);

impl Parts {
    /// What is not the same in the parts of another cluster of a later version, that went
    /// through the same change; nothing where it did.
    ///
    /// Later versions have constraints, and internal triggers, where earlier ones have none.
    pub fn difference(&self, later: &Self) -> Option<String> {
        difference(&self.gone, &later.gone, false)
            .map(|name| format!("{name} went differently"))
            .or_else(|| {
                let name = difference(&self.added, &later.added, true)?;
                Some(format!("{name} came differently"))
            })
    }

    /// Whether foreign keys came, which are checked when they are made.
    pub fn have_foreign_keys(&self) -> bool {
        self.added.iter().any(|part| part.kind == FOREIGN_KEY)
    }

    /// How many tables and indexes of other tables came and went, in words.
    pub fn told(&self) -> String {
        let counts = [
            (Part::is_table as fn(&Part) -> bool, "table", "tables"),
            (Part::is_index, "index", "indexes"),
            (Part::is_sequence, "sequence", "sequences"),
        ];
        let mut told: Vec<String> = Vec::new();
        for (is, one, many) in counts {
            let (added, gone) = (alone(&self.added, is), alone(&self.gone, is));
            // Sequences mostly come and go with a table.
            if one == "sequence" && !told.is_empty() {
                break;
            }
            let word = |count| if count == 1 { one } else { many };
            match (added, gone) {
                (0, 0) => {}
                (added, 0) => told.push(format!("{added} {} added", word(added))),
                (0, gone) => told.push(format!("{gone} {} dropped", word(gone))),
                (added, gone) => {
                    told.push(format!("{added} {} added, {gone} dropped", word(added)));
                }
            }
        }
        told.join(", ")
    }
}

fn tables(parts: &[Part]) -> BTreeSet<u32> {
    let tables = parts.iter().filter(|part| part.is_table());
    tables.map(|part| part.oid).collect()
}

/// How many there are of a kind that did not come or go with something else.
fn alone(parts: &[Part], is: fn(&Part) -> bool) -> usize {
    let tables = tables(parts);
    let of_one_of_them = |part: &Part| {
        part.parent
            .as_ref()
            .is_some_and(|(_, oid)| tables.contains(oid))
    };
    parts
        .iter()
        .filter(|part| is(part) && !of_one_of_them(part))
        .count()
}

/// The name of something that is not the same on both sides.
fn difference<'a>(mine: &'a [Part], theirs: &'a [Part], said: bool) -> Option<&'a str> {
    if triggers(mine) != triggers(theirs) {
        return Some("a trigger");
    }
    let (mine, theirs) = (keyed(mine), keyed(theirs));
    for (key, part) in &mine {
        let other = theirs.get(key);
        if other.is_none_or(|other| said && said_apart(part) != said_apart(other)) {
            return Some(&part.name);
        }
    }
    let more = theirs
        .iter()
        .find(|(key, part)| part.class != "pg_constraint" && !mine.contains_key(*key));
    more.map(|(_, part)| &*part.name)
}

/// Those that both clusters have, by what they are called in both.
///
/// The OID of an index that was made anew by REINDEX CONCURRENTLY is another one, those of
/// constraints and the like always are. Only tables have row types in all versions; what a
/// partition has from its parent's trigger is called otherwise in each.
fn keyed(parts: &[Part]) -> BTreeMap<Key<'_>, &Part> {
    let tables = tables(parts);
    let types: BTreeSet<u32> = parts
        .iter()
        .filter(|part| part.is("pg_type", "row type"))
        .filter(|part| {
            part.parent
                .as_ref()
                .is_some_and(|(_, oid)| tables.contains(oid))
        })
        .map(|part| part.oid)
        .collect();
    let counts = |part: &&Part| match (&*part.class, &*part.kind) {
        ("pg_trigger", _) => false,
        ("pg_type", "row type") => types.contains(&part.oid),
        ("pg_type", _) => part
            .parent
            .as_ref()
            .is_some_and(|(_, oid)| types.contains(oid)),
        _ => true,
    };
    let mut keyed: BTreeMap<Key<'_>, &Part> = BTreeMap::new();
    for part in parts.iter().filter(counts) {
        let keeps_oid = ["pg_class", "pg_type"].contains(&&*part.class)
            && !["index", "toast index"].contains(&&*part.kind);
        let oid = if keeps_oid { part.oid } else { 0 };
        keyed.insert((&part.class, &part.kind, &part.name, oid), part);
    }
    keyed
}

/// How many triggers each table has; those of constraints are what the version makes of them.
fn triggers(parts: &[Part]) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for part in parts.iter().filter(|part| part.class == "pg_trigger") {
        if let Some(("pg_class", table)) = part.parent.as_ref().map(|(class, oid)| (&**class, *oid))
        {
            *counts.entry(table).or_default() += 1;
        }
    }
    counts
}

/// What is said of it that dumps have entries of their own for.
fn said_apart(part: &Part) -> BTreeSet<&str> {
    let said = part.said.iter().map(String::as_str);
    said.filter(|catalog| SAID_APART.contains(catalog))
        .collect()
}

#[cfg(test)]
mod tests;
