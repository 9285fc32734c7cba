//! Both catalogs as they were last read, and what is made of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::rc::Rc;

use super::Context;
use crate::catalog::{Relation, Snapshot};
use crate::error::{Code, Error, Remedy, Result};
use crate::pg::{DataDir, MajorVersion, Oid};
use crate::plan::{FileMap, Horizons, Places};
use crate::verify::Contents;

/// Old's catalog as last read.
const OLD_SNAPSHOT: &str = "old-snapshot.json";
/// New's catalog after the restore.
pub(super) const NEW_SNAPSHOT: &str = "new-snapshot.json";

/// What is made of both catalogs, kept in memory until one of them is read again.
///
/// To load them takes a second where there are many relations, and service is down when this is
/// asked for; another process that goes on has to load them.
#[derive(Default)]
pub(super) struct Derived(RefCell<Option<Made>>);

#[derive(Clone)]
struct Made {
    map: Rc<FileMap>,
    horizons: Rc<Horizons>,
}

impl Context<'_> {
    /// Old's catalog as last read.
    pub fn old_snapshot(&self) -> Result<Snapshot> {
        self.load(OLD_SNAPSHOT)
    }

    /// Stores old's catalog.
    pub fn save_old_snapshot(&self, snapshot: &Snapshot) -> Result<()> {
        self.derived.0.take();
        self.save(OLD_SNAPSHOT, snapshot)
    }

    /// New's catalog after the restore.
    pub fn new_snapshot(&self) -> Result<Snapshot> {
        self.load(NEW_SNAPSHOT)
    }

    /// Stores new's catalog.
    pub fn save_new_snapshot(&self, snapshot: &Snapshot) -> Result<()> {
        self.derived.0.take();
        self.save(NEW_SNAPSHOT, snapshot)
    }

    /// Which file of old becomes which file of new.
    pub fn file_map(&self) -> Result<Rc<FileMap>> {
        Ok(self.made()?.map)
    }

    /// What is known of the horizons in new.
    pub fn horizons(&self) -> Result<Rc<Horizons>> {
        Ok(self.made()?.horizons)
    }

    /// Stores old's catalog if new has a partner for everything in it, and makes from it what
    /// will be asked for later. One that cannot be paired leaves the earlier one.
    pub fn save_paired_snapshot(&self, old: &Snapshot) -> Result<()> {
        let made = self.make(old)?;
        self.save_old_snapshot(old)?;
        self.derived.0.replace(Some(made));
        Ok(())
    }

    /// Where the files of old's relations have their places in new, whatever old has by now.
    pub fn places_in_new(&self) -> Result<FileMap> {
        FileMap::of_new(&self.new_snapshot()?, &self.new_places()?)
    }

    /// The places in new of some relations of one of its databases.
    pub fn some_places_in_new(
        &self,
        database: &str,
        wanted: impl Fn(&Relation) -> bool,
    ) -> Result<FileMap> {
        let mut new = self.new_snapshot()?;
        new.databases.retain(|other| other.name == database);
        for database in &mut new.databases {
            database.relations.retain(&wanted);
        }
        FileMap::of_new(&new, &self.new_places()?)
    }

    /// Everything that new may have in its folders of relation files.
    pub fn contents_of_new(&self) -> Result<Contents> {
        let places = self.new_places()?;
        let catalogs = self.new_catalogs()?;
        let located = |paths: &[PathBuf]| paths.iter().map(|path| places.locate(path)).collect();
        Ok(Contents {
            heaps: located(&catalogs.heaps),
            indexes: located(&catalogs.indexes),
            folders: (places.tablespaces.values())
                .map(|location| location.join(&places.version_dir))
                .chain([places.data_dir.join("base")])
                .collect(),
            shared: places.data_dir.join("global"),
        })
    }

    fn new_places(&self) -> Result<Places> {
        let new = &self.plan.new;
        let catalog_version = match self.new_control() {
            Ok(control) => control.catalog_version,
            Err(error) if error.code() == Code::NewWithoutControl => {
                self.version_by_folders(error)?
            }
            Err(error) => return Err(error),
        };
        Ok(self.places(&new.data_dir, new.version.major, catalog_version))
    }

    /// New's catalog version as its folders in tablespaces have it, for the way back from a new
    /// cluster whose control file is gone. Where there is no folder any number leads to none.
    fn version_by_folders(&self, error: Error) -> Result<u32> {
        let new = &self.plan.new;
        let head = format!("PG_{}_", new.version.major);
        let mut found = BTreeMap::new();
        for place in &self.plan.old.tablespaces {
            let location = place.location_in(&new.data_dir);
            let unreadable = |e| Error::io(Code::NotReadable, "list", &location, &e);
            let entries = match std::fs::read_dir(&location) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries.map_err(unreadable)?,
            };
            for entry in entries {
                let entry = entry.map_err(unreadable)?;
                let name = entry.file_name();
                let number = name.to_str().and_then(|name| name.strip_prefix(&head));
                let number = number.and_then(|number| number.parse::<u32>().ok());
                found.extend(number.map(|number| (number, entry.path())));
            }
        }
        if found.len() < 2 {
            return Ok(found.pop_first().map_or(0, |(number, _)| number));
        }
        let error = error.remedy(Remedy::manual(format!(
            "move the folder {head}* that is not of this migration out of the tablespaces, and run \
             the command again"
        )));
        Err(found.values().fold(error, |error, folder| {
            error.fact("folder", folder.display())
        }))
    }

    fn made(&self) -> Result<Made> {
        let made = self.derived.0.borrow().clone();
        match made {
            Some(made) => Ok(made),
            None => self.make(&self.old_snapshot()?),
        }
    }

    fn make(&self, old: &Snapshot) -> Result<Made> {
        let new = self.new_snapshot()?;
        let from = &self.plan.old;
        let from = self.places(&from.data_dir, from.version.major, from.catalog_version);
        let to = self.new_places()?;
        let made = Made {
            map: Rc::new(FileMap::new(old, &new, &from, &to)?),
            horizons: Rc::new(Horizons::compare(old, &new)),
        };
        self.derived.0.replace(Some(made.clone()));
        Ok(made)
    }

    fn places(
        &self,
        data_dir: &std::path::Path,
        major: MajorVersion,
        catalog_version: u32,
    ) -> Places {
        let tablespaces = &self.plan.old.tablespaces;
        Places {
            data_dir: data_dir.to_owned(),
            version_dir: DataDir::tablespace_version_dir(major, catalog_version),
            tablespaces: tablespaces
                .iter()
                .map(|place| (Oid(place.oid.0), place.location_in(data_dir)))
                .collect(),
        }
    }
}
