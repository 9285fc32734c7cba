//! What changed between two inventories, named for people.

mod parts;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use super::fingerprint::rules::rule_for;
use super::fingerprint::subject::{KEEP_OIDS, PARTS};
use super::fingerprint::{NAME, OWNER, TOAST};
use super::inventory::{Identity, Inventory, Object, Objects};

pub use parts::{Part, Parts, parts};

/// How far up an object's parents are looked for: toast index, toast table, table.
const DEPTH: usize = 4;

/// The words for what the catalogs keep of their own accord.
const DEPENDENCIES: &[&str] = &["dependencies on roles or tablespaces", "dependencies"];

const MATERIALIZED_VIEW: &str = "materialized view";

/// What a refresh that is not CONCURRENTLY does to a view with large values.
const REFRESHED: &str = "toast table, which REFRESH MATERIALIZED VIEW made anew and its rows \
                         name by OID";

/// One object that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its database; none for what all databases share.
    pub database: Option<String>,
    /// Its catalog, `pg_class`.
    pub class: String,
    /// Its OID, the later one where it has two.
    pub oid: u32,
    /// Kind and name.
    pub object: String,
    /// What happened to it.
    pub what: What,
}

/// What happened to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It was not there.
    Created,
    /// It is no longer there.
    Dropped,
    /// Dropped, and another one of that name created.
    MadeAnew,
    /// It has another name; also whatever else is another.
    Renamed(String, Vec<String>),
    /// What of it is another.
    Changed(Vec<String>),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.database {
            Some(database) => write!(f, "database {database}: {}: ", self.object)?,
            None => write!(f, "{}: ", self.object)?,
        }
        match &self.what {
            What::Created => f.write_str("created"),
            What::Dropped => f.write_str("dropped"),
            What::MadeAnew => f.write_str("dropped and made anew"),
            What::Renamed(was, other) if other.is_empty() => write!(f, "was named {was}"),
            What::Renamed(was, other) => {
                write!(f, "was named {was}; changed: {}", other.join(", "))
            }
            What::Changed(facets) => write!(f, "changed: {}", facets.join(", ")),
        }
    }
}

/// Everything that is not the same in a later inventory; nothing where both dumps would agree.
///
/// For people: what has no name of its own is left out where something with a name changed too.
pub fn changes(then: &Inventory, now: &Inventory) -> Vec<Change> {
    all_changes(then, now, Unnamed::Alone)
}

/// The same with what has no name of its own, for decisions.
pub fn changes_with_unnamed(then: &Inventory, now: &Inventory) -> Vec<Change> {
    all_changes(then, now, Unnamed::Always)
}

/// When what has no name of its own counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unnamed {
    Alone,
    Always,
}

fn all_changes(then: &Inventory, now: &Inventory, unnamed: Unnamed) -> Vec<Change> {
    let mut found = Comparison::new(&then.cluster, &now.cluster).changes(None, unnamed);
    let names: BTreeSet<&String> = then.databases.keys().chain(now.databases.keys()).collect();
    for name in names {
        // A database that came or went is an object all databases share.
        if let (Some(then), Some(now)) = (then.databases.get(name), now.databases.get(name)) {
            let (then, now) = (then.together(), now.together());
            found.extend(Comparison::new(&then, &now).changes(Some(name), unnamed));
        }
    }
    found
}

/// A difference of one object before it is decided where it is reported.
enum Raw {
    Created,
    Dropped,
    MadeAnew,
    Changed(BTreeSet<String>),
}

struct Comparison<'a> {
    then: &'a Objects,
    now: &'a Objects,
    raw: BTreeMap<&'a Identity, Raw>,
    /// What objects made anew were before.
    replaced: HashSet<&'a Identity>,
}

impl<'a> Comparison<'a> {
    fn new(then: &'a Objects, now: &'a Objects) -> Self {
        let mut comparison = Self {
            then,
            now,
            raw: BTreeMap::new(),
            replaced: HashSet::new(),
        };
        let mut gone = HashMap::new();
        for (identity, object) in &then.all {
            match now.all.get(identity) {
                Some(later) => comparison.compare(identity, object, later),
                None => {
                    comparison.raw.insert(identity, Raw::Dropped);
                    gone.insert(by_name(identity, object), identity);
                }
            }
        }
        for (identity, object) in &now.all {
            if !then.all.contains_key(identity) {
                let before = gone.remove(&by_name(identity, object));
                comparison.appeared(identity, object, before);
            }
        }
        comparison
    }

    fn compare(&mut self, identity: &'a Identity, then: &'a Object, now: &'a Object) {
        let both = then.facets.iter().chain(now.facets.iter());
        let facets: BTreeSet<&str> = both.map(|(facet, _)| &**facet).collect();
        let changed: BTreeSet<String> = facets
            .into_iter()
            .filter(|facet| then.facets.get(facet) != now.facets.get(facet))
            .map(|facet| words(&identity.class, facet))
            .collect();
        if !changed.is_empty() {
            self.raw.insert(identity, Raw::Changed(changed));
        }
    }

    /// What is under another OID what it was is the same, unless the OID itself counts.
    fn appeared(
        &mut self,
        identity: &'a Identity,
        object: &'a Object,
        before: Option<&'a Identity>,
    ) {
        let Some(before) = before.filter(|_| !object.name.is_empty()) else {
            self.raw.insert(identity, Raw::Created);
            return;
        };
        self.raw.remove(before);
        if KEEP_OIDS.contains(&&*identity.class) && !is_index(object) {
            self.replaced.insert(before);
            self.raw.insert(identity, Raw::MadeAnew);
        } else if let Some(was) = self.then.all.get(before) {
            self.compare(identity, was, object);
        }
    }

    fn object(&self, identity: &Identity) -> Option<&'a Object> {
        let (now, then) = (self.now.all.get(identity), self.then.all.get(identity));
        now.or(then)
    }

    /// What the object is reported as: itself, or what it is a part of.
    fn reported(&self, identity: &'a Identity) -> &'a Identity {
        let mut place = identity;
        for _ in 0..DEPTH {
            let Some(object) = self.object(place) else {
                return identity;
            };
            if !PARTS.contains(&&*object.kind) {
                return place;
            }
            match &object.parent {
                Some(parent) if self.object(parent).is_some() => place = parent,
                _ => return place,
            }
        }
        place
    }

    /// Whether anything it is a part of came or went, which took it along.
    fn follows(&self, identity: &'a Identity) -> bool {
        let mut place = self
            .object(identity)
            .and_then(|object| object.parent.as_ref());
        for _ in 0..DEPTH {
            let Some(parent) = place else { return false };
            let remains = matches!(self.raw.get(parent), None | Some(Raw::Changed(_)));
            if !remains || self.replaced.contains(parent) {
                return true;
            }
            place = self
                .object(parent)
                .and_then(|object| object.parent.as_ref());
        }
        false
    }

    fn changes(self, database: Option<&str>, wanted: Unnamed) -> Vec<Change> {
        let mut found: BTreeMap<&Identity, What> = BTreeMap::new();
        let mut unnamed: BTreeMap<&Identity, What> = BTreeMap::new();
        for (identity, raw) in &self.raw {
            let place = self.reported(identity);
            let part = place != *identity;
            if self.follows(identity) || (!part && self.moved_along(identity, raw)) {
                continue;
            }
            let Some(object) = self.object(place) else {
                continue;
            };
            let what = match raw {
                _ if part => What::Changed(self.part_of(identity, raw)),
                Raw::Created => What::Created,
                Raw::Dropped => What::Dropped,
                Raw::MadeAnew => What::MadeAnew,
                Raw::Changed(facets) => self.renamed(identity, facets),
            };
            let list = match object.name.is_empty() {
                true => &mut unnamed,
                false => &mut found,
            };
            merge(list.entry(place), what);
        }
        // What has no name of its own changes with something that has one.
        match wanted {
            Unnamed::Always => found.append(&mut unnamed),
            Unnamed::Alone if found.is_empty() => found = unnamed,
            Unnamed::Alone => {}
        }
        let changes = found.into_iter();
        changes
            .map(|(identity, what)| Change {
                database: database.map(str::to_owned),
                class: identity.class.to_string(),
                oid: identity.oid,
                object: self.label(identity),
                what: self.explained(identity, without_followers(what)),
            })
            .collect()
    }

    /// A part counts as one thing that is another, unless something was done to it by name.
    fn part_of(&self, identity: &Identity, raw: &Raw) -> Vec<String> {
        let kind = self.object(identity).map_or("", |object| &object.kind);
        match (kind, raw) {
            (_, Raw::Changed(facets)) if facets.iter().all(|facet| follows_along(facet)) => {
                facets.iter().cloned().collect()
            }
            ("toast index", _) => vec![TOAST.to_owned()],
            ("array type", _) => vec!["row type".to_owned()],
            _ => vec![kind.to_owned()],
        }
    }

    /// Whether it got nothing but the schema or owner that what it is a part of got too.
    fn moved_along(&self, identity: &'a Identity, raw: &Raw) -> bool {
        let parent = self
            .object(identity)
            .and_then(|object| object.parent.as_ref());
        match (raw, parent.and_then(|parent| self.raw.get(parent))) {
            (Raw::Changed(facets), Some(Raw::Changed(parents))) => facets
                .iter()
                .all(|facet| follows_along(facet) && parents.contains(facet)),
            _ => false,
        }
    }

    fn renamed(&self, identity: &Identity, facets: &BTreeSet<String>) -> What {
        let other = facets.iter().filter(|facet| *facet != NAME);
        let other = other.cloned().collect();
        if !facets.contains(NAME) {
            return What::Changed(other);
        }
        let was = self.then.all.get(identity);
        What::Renamed(
            was.map_or_else(String::new, |object| object.name.to_string()),
            other,
        )
    }

    /// Only a refresh gives a materialized view another toast table, and nobody who refreshes
    /// one thinks of a change of the schema.
    fn explained(&self, identity: &Identity, what: What) -> What {
        let object = self.object(identity);
        match what {
            What::Changed(mut facets)
                if object.is_some_and(|object| &*object.kind == MATERIALIZED_VIEW) =>
            {
                for facet in facets.iter_mut().filter(|facet| *facet == TOAST) {
                    *facet = REFRESHED.to_owned();
                }
                What::Changed(facets)
            }
            other => other,
        }
    }

    fn label(&self, identity: &Identity) -> String {
        match self.object(identity) {
            Some(object) if !object.name.is_empty() => format!("{} {}", object.kind, object.name),
            _ => rule_for(&identity.class)
                .map_or_else(|| identity.class.to_string(), |rule| rule.words.to_owned()),
        }
    }
}

fn merge(place: std::collections::btree_map::Entry<'_, &Identity, What>, what: What) {
    let there = place.or_insert_with(|| What::Changed(Vec::new()));
    match (there, what) {
        (What::Changed(facets) | What::Renamed(_, facets), What::Changed(more)) => {
            for facet in more {
                if !facets.contains(&facet) {
                    facets.push(facet);
                }
            }
        }
        (there @ What::Changed(_), What::Renamed(was, mut more)) => {
            if let What::Changed(facets) = there {
                more.append(facets);
            }
            *there = What::Renamed(was, more);
        }
        (there @ What::Changed(_), what) => *there = what,
        _ => {}
    }
}

/// Sides of an object that its parts have too.
fn follows_along(facet: &str) -> bool {
    facet == NAME || facet == OWNER || DEPENDENCIES.contains(&facet)
}

/// Dependencies change with nearly everything, row types with their columns.
fn without_followers(what: What) -> What {
    let keep = |mut facets: Vec<String>, renamed: bool| {
        for follower in DEPENDENCIES.iter().copied().chain([NAME, "row type"]) {
            if facets.len() > 1 || renamed {
                facets.retain(|facet| facet != follower);
            }
        }
        facets
    };
    match what {
        What::Changed(facets) => What::Changed(keep(facets, false)),
        What::Renamed(was, facets) => What::Renamed(was, keep(facets, true)),
        other => other,
    }
}

fn is_index(object: &Object) -> bool {
    matches!(&*object.kind, "index" | "toast index")
}

/// What makes an object the same for people.
fn by_name<'a>(
    identity: &'a Identity,
    object: &'a Object,
) -> (&'a str, &'a str, &'a str, Option<&'a Identity>) {
    (
        &identity.class,
        &object.kind,
        &object.name,
        object.parent.as_ref(),
    )
}

/// A facet in words; what is about nothing but the object itself is its definition.
fn words(class: &str, facet: &str) -> String {
    const DEFINITIONS: &[&str] = &[
        "pg_aggregate",
        "pg_foreign_table",
        "pg_index",
        "pg_partitioned_table",
        "pg_range",
        "pg_sequence",
    ];
    match rule_for(facet) {
        Some(_) if facet == class || DEFINITIONS.contains(&facet) => "definition".to_owned(),
        Some(rule) => rule.words.to_owned(),
        None => facet.to_owned(),
    }
}
