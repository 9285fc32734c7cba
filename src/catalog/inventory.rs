//! Every object of a cluster by name, each with hashes of what it is made of.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::fingerprint::FingerprintQuery;
use super::read::connect;
use crate::error::Result;
use crate::server::{Cancel, Endpoint, in_each_database};

/// What a fingerprint is made of, object by object.
///
/// A [`Fingerprint`](super::Fingerprint) is quick and says only that something changed; two
/// inventories say what. They also know which changes mean nothing to a dump: an index that was
/// made again under its name (REINDEX CONCURRENTLY), or a function, is the same with another
/// OID. Both read the same rows of the same catalogs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "compact::ReadInventory")]
pub struct Inventory {
    /// What all databases share.
    pub cluster: Objects,
    /// By database.
    pub databases: BTreeMap<String, Objects>,
}

/// The objects of one database, or those all share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "compact::Read")]
pub struct Objects {
    pub(super) all: BTreeMap<Identity, Object>,
    /// Those that came with the cluster; in all databases where they are alike the same ones.
    pub(super) built_in: Option<Arc<Objects>>,
}

/// A catalog and an OID in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Identity {
    pub(super) class: Arc<str>,
    pub(super) oid: u32,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    /// `table`, `index`; empty for what has no name.
    pub(super) kind: Arc<str>,
    pub(super) name: Box<str>,
    /// What it is a part of.
    pub(super) parent: Option<Identity>,
    /// Hashes by what they are of: a catalog, or a side of the object's own row.
    pub(super) facets: Facets,
}

/// Few hashes, ordered by what they are of.
///
/// There is one for each of maybe a million objects: a map would take four times the memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facets(Vec<(Arc<str>, u64)>);

impl Facets {
    /// Adds to the hash of a facet, which begins with zero.
    pub(super) fn add(&mut self, facet: &Arc<str>, hash: u64) {
        match self.place(facet) {
            Ok(at) => {
                if let Some((_, sum)) = self.0.get_mut(at) {
                    *sum = sum.wrapping_add(hash);
                }
            }
            Err(at) => self.0.insert(at, (Arc::clone(facet), hash)),
        }
    }

    /// The hash of a facet, if it has one.
    pub(super) fn get(&self, facet: &str) -> Option<u64> {
        let at = self.place(facet).ok()?;
        self.0.get(at).map(|(_, hash)| *hash)
    }

    /// All facets with their hashes, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, u64)> {
        self.0.iter().map(|(facet, hash)| (facet, *hash))
    }

    fn place(&self, facet: &str) -> std::result::Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(facet))
    }
}

/// Lists the objects of these databases and of what they share.
pub fn inventory(
    server: &Endpoint,
    databases: &[String],
    jobs: usize,
    cancel: &Cancel,
) -> Result<Inventory> {
    let mut client = connect(server)?;
    let query = FingerprintQuery::new(&mut client)?;
    let cluster = query.objects_of_cluster(&mut client)?;
    drop(client);
    let each = in_each_database(server, databases, jobs, cancel, |client, _| {
        let hashes = query.database(client)?;
        query.objects_of_database(client, &hashes)
    })?;
    Ok(Inventory {
        cluster,
        databases: databases.iter().cloned().zip(each).collect(),
    })
}

impl Objects {
    /// Whether there is any object of this catalog.
    pub fn any_of(&self, class: &str) -> bool {
        self.all.keys().any(|identity| &*identity.class == class)
    }

    /// With what came with the cluster among the others; of one object both may say something.
    pub(super) fn together(&self) -> Cow<'_, Objects> {
        let Some(built_in) = &self.built_in else {
            return Cow::Borrowed(self);
        };
        let mut whole = Objects::clone(built_in);
        for (identity, object) in &self.all {
            let there = whole.entry(identity.clone());
            if !object.kind.is_empty() {
                there.kind = Arc::clone(&object.kind);
                there.name = object.name.clone();
            }
            if object.parent.is_some() {
                there.parent = object.parent.clone();
            }
            for (facet, hash) in object.facets.iter() {
                there.facets.add(facet, hash);
            }
        }
        Cow::Owned(whole)
    }

    /// The object, made without a name where it was not known.
    pub(super) fn entry(&mut self, identity: Identity) -> &mut Object {
        self.all.entry(identity).or_insert_with(|| Object {
            kind: "".into(),
            name: "".into(),
            parent: None,
            facets: Facets::default(),
        })
    }
}

/// One array an object, with words written once, and objects of all databases too: there may be
/// hundreds of thousands.
mod compact {
    use std::collections::HashMap;

    use serde::Serializer;

    use super::{
        Arc, BTreeMap, Deserialize, Facets, Identity, Inventory, Object, Objects, Serialize,
    };

    #[derive(Serialize)]
    struct WrittenInventory<'a> {
        cluster: &'a Objects,
        built_in: Vec<&'a Objects>,
        databases: BTreeMap<&'a str, (Option<usize>, &'a Objects)>,
    }

    #[derive(Deserialize)]
    pub struct ReadInventory {
        cluster: Objects,
        built_in: Vec<Objects>,
        databases: BTreeMap<String, (Option<usize>, Objects)>,
    }

    impl Serialize for Inventory {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut built_in: Vec<&Objects> = Vec::new();
            let mut databases = BTreeMap::new();
            for (name, objects) in &self.databases {
                let place = objects.built_in.as_deref().map(|shared| {
                    let known = built_in.iter().position(|one| std::ptr::eq(*one, shared));
                    known.unwrap_or_else(|| {
                        built_in.push(shared);
                        built_in.len() - 1
                    })
                });
                databases.insert(name.as_str(), (place, objects));
            }
            WrittenInventory {
                cluster: &self.cluster,
                built_in,
                databases,
            }
            .serialize(serializer)
        }
    }

    impl From<ReadInventory> for Inventory {
        fn from(read: ReadInventory) -> Self {
            let built_in: Vec<Arc<Objects>> = read.built_in.into_iter().map(Arc::new).collect();
            let databases = read.databases.into_iter().map(|(name, (place, objects))| {
                let built_in = place.and_then(|place| built_in.get(place).cloned());
                (
                    name,
                    Objects {
                        built_in,
                        ..objects
                    },
                )
            });
            Self {
                cluster: read.cluster,
                databases: databases.collect(),
            }
        }
    }

    /// Class, OID, kind, name, class and OID of the parent, facets; words by their number.
    type Row<N> = (usize, u32, usize, N, usize, u32, Vec<(usize, u64)>);

    #[derive(Serialize)]
    struct Written<'a> {
        words: &'a [&'a str],
        rows: Rows<'a>,
    }

    #[derive(Deserialize)]
    pub struct Read {
        words: Vec<String>,
        rows: Vec<Row<Box<str>>>,
    }

    #[derive(Default)]
    struct Words<'a> {
        list: Vec<&'a str>,
        places: HashMap<&'a str, usize>,
    }

    impl<'a> Words<'a> {
        fn add(&mut self, word: &'a str) {
            self.places.entry(word).or_insert_with(|| {
                self.list.push(word);
                self.list.len() - 1
            });
        }

        fn of(objects: &'a Objects) -> Self {
            let mut words = Self::default();
            words.add("");
            for (identity, object) in &objects.all {
                words.add(&identity.class);
                words.add(&object.kind);
                if let Some(parent) = &object.parent {
                    words.add(&parent.class);
                }
                for (facet, _) in object.facets.iter() {
                    words.add(facet);
                }
            }
            words
        }

        fn place(&self, word: &str) -> usize {
            self.places.get(word).copied().unwrap_or_default()
        }

        fn row(&self, identity: &Identity, object: &'a Object) -> Row<&'a str> {
            let (class, oid) = match &object.parent {
                Some(parent) => (self.place(&parent.class), parent.oid),
                None => (self.place(""), 0),
            };
            let facets = object.facets.iter();
            (
                self.place(&identity.class),
                identity.oid,
                self.place(&object.kind),
                &object.name,
                class,
                oid,
                facets
                    .map(|(facet, hash)| (self.place(facet), hash))
                    .collect(),
            )
        }
    }

    /// The rows are made one by one: all of them would be a second inventory in memory.
    struct Rows<'a> {
        objects: &'a Objects,
        words: &'a Words<'a>,
    }

    impl Serialize for Rows<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let all = self.objects.all.iter();
            serializer.collect_seq(all.map(|(identity, object)| self.words.row(identity, object)))
        }
    }

    impl Serialize for Objects {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let words = Words::of(self);
            Written {
                words: &words.list,
                rows: Rows {
                    objects: self,
                    words: &words,
                },
            }
            .serialize(serializer)
        }
    }

    impl From<Read> for Objects {
        /// A number without a word cannot come from this program; it becomes no word, and so
        /// a difference.
        fn from(read: Read) -> Self {
            let words: Vec<Arc<str>> = read.words.into_iter().map(Arc::from).collect();
            let nothing: Arc<str> = "".into();
            let word = |place: usize| Arc::clone(words.get(place).unwrap_or(&nothing));
            let all = read.rows.into_iter();
            let all = all.map(|(class, oid, kind, name, parent_class, parent, facets)| {
                let identity = Identity {
                    class: word(class),
                    oid,
                };
                let parent = (parent != 0).then(|| Identity {
                    class: word(parent_class),
                    oid: parent,
                });
                let mut object = Object {
                    kind: word(kind),
                    name,
                    parent,
                    facets: Facets::default(),
                };
                for (facet, hash) in facets {
                    object.facets.add(&word(facet), hash);
                }
                (identity, object)
            });
            Self {
                all: all.collect(),
                built_in: None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_comes_back() {
        let identity = |oid| Identity {
            class: "pg_class".into(),
            oid,
        };
        let mut objects = Objects::default();
        let table = objects.entry(identity(16384));
        table.kind = "table".into();
        table.name = "public.\"a b\"".into();
        table.facets.add(&"pg_attribute".into(), u64::MAX);
        table.facets.add(&"name".into(), 1);
        objects.entry(identity(16385)).parent = Some(identity(16384));
        let mut built_in = Objects::default();
        built_in.entry(identity(1259)).kind = "table".into();
        let built_in = Arc::new(built_in);
        objects.built_in = Some(Arc::clone(&built_in));
        let store = Objects {
            built_in: Some(built_in),
            ..Objects::default()
        };
        let databases = [
            ("shop", objects),
            ("store", store),
            ("none", Objects::default()),
        ];
        let whole = Inventory {
            cluster: Objects::default(),
            databases: databases.map(|(name, of)| (name.to_owned(), of)).into(),
        };
        let text = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<Inventory>(&text).unwrap(), whole);
        assert_eq!(text.matches("1259").count(), 1);
    }

    #[test]
    fn of_one_object_both_lists_may_say_something() {
        let identity = Identity {
            class: "pg_proc".into(),
            oid: 1242,
        };
        let mut built_in = Objects::default();
        let function = built_in.entry(identity.clone());
        function.kind = "function".into();
        function.name = "boolin(cstring)".into();
        function.facets.add(&"pg_proc".into(), 7);
        let mut objects = Objects::default();
        objects
            .entry(identity.clone())
            .facets
            .add(&"pg_shdepend".into(), 9);
        assert_eq!(objects.together().all, objects.all);
        objects.built_in = Some(Arc::new(built_in));
        let together = objects.together();
        let function = &together.all[&identity];
        assert_eq!(&*function.name, "boolin(cstring)");
        assert_eq!(function.facets.get("pg_proc"), Some(7));
        assert_eq!(function.facets.get("pg_shdepend"), Some(9));
        assert_eq!(function.facets.get("name"), None);
    }
}
