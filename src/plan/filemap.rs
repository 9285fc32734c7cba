//! Which file of the old cluster becomes which file of the new one.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::catalog::{Database, Persistence, RelKind, Relation, Snapshot};
use crate::error::{Code, Error, Remedy, Result};
use crate::pg::wal::RelationFile;
use crate::pg::{Oid, RelFileNumber};

/// One relation's file numbers in both clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// In old.
    pub old: RelFileNumber,
    /// In new.
    pub new: RelFileNumber,
    /// What old's WAL calls it, where every change of its rows, or of the index, is told there.
    pub wal: Option<RelationFile>,
}

/// The relations of one database in one tablespace: all their files lie in one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Name of the database.
    pub database: String,
    /// Their directory in old, absolute.
    pub old_dir: PathBuf,
    /// The root the new directory lies under: new's data directory or a tablespace location.
    pub new_root: PathBuf,
    /// Their directory in new, relative to `new_root`.
    pub new_dir: PathBuf,
    /// The relations, by their numbers in old.
    pub pairs: Vec<Pair>,
}

/// Every file that has to get from old to new, by directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileMap {
    /// The directories, ordered by their path in old.
    pub folders: Vec<Folder>,
}

/// Where one cluster keeps its files.
#[derive(Debug, Clone)]
pub struct Places {
    /// Its data directory.
    pub data_dir: PathBuf,
    /// Folder of its version in every tablespace, as `PG_17_202406281`.
    pub version_dir: String,
    /// Location of each tablespace.
    pub tablespaces: BTreeMap<Oid, PathBuf>,
}

impl Places {
    /// Where a file lies that the server names like this, relative to its data directory.
    pub fn locate(&self, path: &Path) -> PathBuf {
        let through = path.strip_prefix("pg_tblspc").ok().and_then(|rest| {
            let mut parts = rest.components();
            let oid = parts.next()?.as_os_str().to_str()?.parse().ok()?;
            Some(self.tablespaces.get(&Oid(oid))?.join(parts.as_path()))
        });
        through.unwrap_or_else(|| self.data_dir.join(path))
    }
}

/// How many relations without a partner an error names.
const NAMED: usize = 10;

impl FileMap {
    /// Pairs the relations of two snapshots of the same schema.
    ///
    /// Relations are paired by OID, which a binary-upgrade restore keeps; indexes by table and
    /// name, because REINDEX CONCURRENTLY gives them new OIDs. Invalid indexes of old are not
    /// dumped and stay behind.
    pub fn new(old: &Snapshot, new: &Snapshot, from: &Places, to: &Places) -> Result<Self> {
        let mut folders: BTreeMap<(PathBuf, PathBuf), Folder> = BTreeMap::new();
        let mut unpaired = Vec::new();
        for database in old
            .databases
            .iter()
            .filter(|database| database.connectable())
        {
            let Some(partner) = new.database(&database.name) else {
                unpaired.push(format!("database {} (in old only)", database.name));
                continue;
            };
            pair_database(database, partner, from, to, &mut folders, &mut unpaired)?;
        }
        for database in new
            .databases
            .iter()
            .filter(|database| database.connectable())
        {
            if old.database(&database.name).is_none() {
                unpaired.push(format!("database {} (in new only)", database.name));
            }
        }
        if !unpaired.is_empty() {
            return Err(without_partner(&unpaired));
        }
        let mut folders: Vec<Folder> = folders.into_values().collect();
        for folder in &mut folders {
            folder.pairs.sort_unstable_by_key(|pair| pair.old);
        }
        Ok(Self { folders })
    }

    /// The places of new's relations alone, for what asks nothing of old: each is its own
    /// partner.
    pub fn of_new(new: &Snapshot, to: &Places) -> Result<Self> {
        let mut folders = BTreeMap::new();
        let mut unpaired = Vec::new();
        for database in new.databases.iter().filter(|one| one.connectable()) {
            pair_database(database, database, to, to, &mut folders, &mut unpaired)?;
        }
        Ok(Self {
            folders: folders.into_values().collect(),
        })
    }

    /// The folders of which this is true, and the others.
    pub fn divide(&self, is_first: impl Fn(&Folder) -> bool) -> (Self, Self) {
        let (first, others) = self.folders.iter().cloned().partition(is_first);
        (Self { folders: first }, Self { folders: others })
    }

    /// Number of relations.
    pub fn relations(&self) -> u64 {
        self.folders
            .iter()
            .map(|folder| folder.pairs.len() as u64)
            .sum()
    }
}

fn without_partner(unpaired: &[String]) -> Error {
    let mut error = Error::new(
        Code::CatalogPairing,
        format!(
            "{} relations or databases have no partner in the other cluster",
            unpaired.len()
        ),
    );
    for name in unpaired.iter().take(NAMED) {
        error = error.fact("without partner", name);
    }
    error.remedy(Remedy::manual(
        "the schema that was restored is not the schema of the old cluster: roll back, and \
         prepare again",
    ))
}

/// What identifies a relation in both clusters.
#[derive(PartialEq, Eq, Hash)]
enum Key<'a> {
    Oid(Oid),
    Index(Oid, &'a str),
}

fn key(relation: &Relation) -> Key<'_> {
    match relation.kind {
        RelKind::Index => Key::Index(relation.index_of, &relation.name),
        _ => Key::Oid(relation.oid),
    }
}

fn pair_database(
    old: &Database,
    new: &Database,
    from: &Places,
    to: &Places,
    folders: &mut BTreeMap<(PathBuf, PathBuf), Folder>,
    unpaired: &mut Vec<String>,
) -> Result<()> {
    let mut partners: HashMap<Key<'_>, &Relation> = new
        .relations
        .iter()
        .map(|relation| (key(relation), relation))
        .collect();
    for relation in old.relations.iter().filter(|relation| relation.valid) {
        let Some(partner) = partners.remove(&key(relation)) else {
            unpaired.push(format!(
                "{} in {} (in old only)",
                relation.display_name(),
                old.name
            ));
            continue;
        };
        if relation.kind != partner.kind {
            unpaired.push(format!(
                "{} in {} (of another kind)",
                relation.display_name(),
                old.name
            ));
            continue;
        }
        let (old_root, old_dir) = directory(from, old, relation.tablespace)?;
        let (new_root, new_dir) = directory(to, new, partner.tablespace)?;
        let old_dir = old_root.join(old_dir);
        folders
            .entry((old_dir.clone(), new_root.join(&new_dir)))
            .or_insert_with(|| Folder {
                database: old.name.clone(),
                old_dir,
                new_root: new_root.to_owned(),
                new_dir,
                pairs: Vec::new(),
            })
            .pairs
            .push(Pair {
                old: relation.file,
                new: partner.file,
                wal: in_wal(old, relation),
            });
    }
    for relation in partners.into_values().filter(|relation| relation.valid) {
        unpaired.push(format!(
            "{} in {} (in new only)",
            relation.display_name(),
            old.name
        ));
    }
    Ok(())
}

/// The access methods that come with PostgreSQL; all of them log what they change from 10 on.
/// What others do is theirs.
const LOGGED: [&str; 7] = ["heap", "btree", "hash", "gin", "gist", "spgist", "brin"];

/// What the WAL calls a relation whose changes it tells.
///
/// Sequences have one page, which is quickly read.
fn in_wal(database: &Database, relation: &Relation) -> Option<RelationFile> {
    let told = relation.persistence == Persistence::Permanent
        && relation.kind != RelKind::Sequence
        && LOGGED.contains(&relation.access.as_ref());
    told.then(|| RelationFile {
        tablespace: tablespace_of(database, relation.tablespace),
        database: database.oid,
        number: relation.file,
    })
}

fn tablespace_of(database: &Database, tablespace: Oid) -> Oid {
    match tablespace {
        Oid(0) => database.tablespace,
        own => own,
    }
}

/// Root and relative directory of a relation's files.
fn directory<'a>(
    places: &'a Places,
    database: &Database,
    tablespace: Oid,
) -> Result<(&'a Path, PathBuf)> {
    let tablespace = tablespace_of(database, tablespace);
    if tablespace == Oid::PG_DEFAULT {
        return Ok((
            &places.data_dir,
            PathBuf::from(format!("base/{}", database.oid)),
        ));
    }
    match places.tablespaces.get(&tablespace) {
        Some(location) => {
            let dir = PathBuf::from(format!("{}/{}", places.version_dir, database.oid));
            Ok((location, dir))
        }
        None => Err(Error::new(
            Code::CatalogPairing,
            "a relation lies in an unknown tablespace",
        )
        .fact("database", &database.name)
        .fact("tablespace OID", tablespace)),
    }
}
