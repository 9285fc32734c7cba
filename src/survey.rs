//! Everything that can be verified from outside, before any server is started.
//!
//! The command line says where two installations and two data directories are; [`survey`]
//! believes none of it. It reads, it runs programs for their versions, and it changes nothing.
//! It does not stop at the first problem: an operator who has to mend five things is told all
//! five at once.

mod ahead;
mod fresh;
mod inventory;
mod new;
mod old;
mod overlap;
mod owner;
mod pair;
mod passages;
mod path;
mod problems;
mod socket;
mod space;

use std::path::{Path, PathBuf};

use nix::unistd::Uid;

pub use ahead::{Reading, read_ahead};
pub use inventory::{Sizing, relation_files};
pub use old::not_shut_down;
pub use passages::{Passage, decided, mode_of_place};
pub use space::space_problems;

use crate::error::{Code, Error, Result};
use crate::pg::{ControlFile, DataDir, PostmasterPid};
use crate::plan::{Inventory, Mode, Origin, TablespacePlace};
use crate::server::{Cancel, Installation, Running, Side};
use inventory::Sizes;
use old::Old;
use overlap::Place;
use owner::Owner;
use problems::Problems;

/// The command line, resolved but not believed.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Programs of the old installation.
    pub old_bindir: PathBuf,
    /// Programs of the new installation.
    pub new_bindir: PathBuf,
    /// Data or configuration directory of the old cluster.
    pub old_datadir: PathBuf,
    /// Data directory of the new cluster; only `check` needs none.
    pub new_datadir: Option<PathBuf>,
    /// The state directory; the new data directory with `.migration` behind it if not given.
    pub state_dir: Option<PathBuf>,
    /// How files are to get to the new cluster; what the file systems can do is tried where one
    /// is named.
    pub mode: Option<Mode>,
    /// Whether pages are to be given checksums.
    pub checksums: bool,
    /// Where private sockets are made.
    pub socket_dir: Option<PathBuf>,
    /// The install user, if it was given.
    pub username: Option<String>,
    /// Whether nobody waits here for the sizes of old's files.
    pub sizes_later: bool,
}

/// What was seen of both sides.
#[derive(Debug)]
pub struct Sight {
    /// What both sides are; nothing where a problem keeps everybody from asking old anything.
    pub surveyed: Option<Surveyed>,
    /// All that is wrong, each with a code, facts and a remedy.
    pub problems: Vec<Error>,
    /// The inventory with the sizes, where they were to be known later; what file systems lack
    /// has not been looked for then.
    pub sizing: Option<Sizing>,
}

/// Both sides as they were found.
///
/// Nothing was wrong with them, unless it comes from a [`Sight`] with problems: then what they
/// concern is left out.
#[derive(Debug, Clone)]
pub struct Surveyed {
    /// The old data directory.
    pub old: DataDir,
    /// Programs of the old installation.
    pub old_installation: Installation,
    /// Programs of the new installation.
    pub new_installation: Installation,
    /// The control file of the old cluster.
    pub old_control: ControlFile,
    /// Tablespaces of the old cluster.
    pub tablespaces: Vec<TablespacePlace>,
    /// Where pg_wal of the old cluster leads, if it lies outside the data directory.
    pub wal_dir: Option<PathBuf>,
    /// The new data directory, absolute, its parent canonical.
    pub new_dir: Option<PathBuf>,
    /// How the new data directory was found, where it can be used.
    pub origin: Option<Origin>,
    /// The state directory, absolute, its parent canonical.
    pub state_dir: Option<PathBuf>,
    /// As whom to connect: the given user, or the name of old's owner in the operating system.
    pub user: String,
    /// A private server of ours that a killed run has left in the old data directory.
    ///
    /// Where there is one, `old_control` is that of a running cluster: the caller stops the
    /// server, reads the file again and asks [`not_shut_down`].
    pub running: Option<PostmasterPid>,
    /// The operator's server, which the old cluster is read by.
    pub serving: Option<Running>,
    /// What has to get to the new cluster, by place.
    ///
    /// Without a new data directory the place of the default tablespace is that of old.
    pub inventory: Vec<Inventory>,
    /// What was found possible between the folders of old and of new, where that was tried.
    pub passages: Vec<Passage>,
    /// Number of relation files in all places.
    pub relation_files: u64,
    /// Whether all places could be counted.
    pub counted: bool,
}

impl Sight {
    /// Both sides, where nothing is wrong.
    ///
    /// # Errors
    ///
    /// Every problem that was found.
    pub fn sound(self) -> Result<Surveyed, Vec<Error>> {
        match self.surveyed {
            Some(surveyed) if self.problems.is_empty() => Ok(surveyed),
            _ => Err(self.problems),
        }
    }
}

/// Looks at everything, and gives back what it is and all that is wrong with it.
///
/// A requested stop is one of the problems: programs are not waited for then.
pub fn survey(request: &Request, cancel: &Cancel) -> Sight {
    survey_as(request, Uid::effective(), cancel)
}

/// The same for a process with this user number.
fn survey_as(request: &Request, us: Uid, cancel: &Cancel) -> Sight {
    let mut problems = Problems::default();
    let (old_installation, new_installation) = installations(request, cancel, &mut problems);
    let owner = Owner::of_cluster(&request.old_datadir, us);
    let old = old::examine(request, &owner, old_installation.as_ref(), &mut problems);
    pair::examine(
        old.as_ref(),
        old_installation.as_ref(),
        new_installation.as_ref(),
        &mut problems,
    );
    let state_dir = state_dir(request);
    let places = places(request, old.as_ref(), state_dir.as_deref());
    let overlap = overlap::problems(&places);
    let apart = overlap.is_empty();
    problems.beside(overlap);
    // Where old lies there is nothing fresh, and no advice to remove anything.
    let given = request
        .new_datadir
        .as_deref()
        .filter(|_| !overlap::holds_new(&places));
    let new = given.and_then(|given| {
        let facts = new::Facts {
            given,
            bindir: &request.new_bindir,
            installation: new_installation.as_ref(),
            state_dir: state_dir.as_deref(),
            owner: &owner,
            old: old.as_ref(),
            checksums: request.checksums,
        };
        new::examine(&facts, &mut problems)
    });
    if let Some(dir) = &state_dir {
        problems.beside(owner::state_dir_problem(dir, &owner));
    }
    problems.beside(owner::missing_parents(
        &owner,
        request.new_datadir.as_deref(),
        state_dir.as_deref(),
    ));
    problems.extend(socket::problem(request.socket_dir.as_deref(), &owner));
    let sizes = match request.sizes_later {
        true => Sizes::Later,
        false => Sizes::Now,
    };
    let mut inventory = old
        .as_ref()
        .and_then(|old| count(request, old, sizes, &mut problems));
    let mut passages = Vec::new();
    // Nothing is tried in a directory of old.
    if let (Some(mode), Some(old), Some((_, true)), true) = (request.mode, &old, &inventory, apart)
    {
        let new_dir = request.new_datadir.as_deref().map(path::named);
        let tried = passages::passages(&old.dir, &old.tablespaces, new_dir.as_deref());
        // Whose place cannot be written to has been told of it, and wants to hear no more.
        match tried {
            Err(error) if error.code() == Code::NotWritable && problems.any() => {}
            Err(error) => problems.beside([error]),
            Ok(tried) => passages = tried,
        }
        problems.beside(passages.iter().filter_map(|passage| passage.problem(mode)));
    }
    let mut sizing = None;
    if let (Sizes::Later, Some(old), Some((_, whole))) = (sizes, &old, &inventory) {
        if problems.any() {
            let mut unreadable = Problems::default();
            // Folders that could not be read have been told of by the first count.
            let untold = *whole;
            inventory = count(request, old, Sizes::Now, &mut unreadable);
            problems.beside(unreadable.all().0.into_iter().filter(|_| untold));
        } else {
            sizing = begin_sizing(request, old);
        }
    }
    if let (None, Some(mode), Some(old), Some(new), Some(state_dir), Some((inventory, true))) = (
        &sizing,
        request.mode,
        &old,
        &request.new_datadir,
        &state_dir,
        &inventory,
    ) {
        let sites = space::Sites {
            old: &old.dir,
            tablespaces: &old.tablespaces,
            inventory: &inventory.places,
            passages: &passages,
            new_dir: &path::named(new),
            state_dir,
        };
        // What cannot be known from outside counts nothing here; the caller asks once more.
        let found = space::problems(&sites, mode, inventory.databases, 0);
        problems.beside(problems::flatten(found));
    }
    let found = Found {
        old_installation,
        new_installation,
        old,
        new,
        state_dir,
        inventory,
        passages,
    };
    let (mut problems, hindered) = problems.all();
    let surveyed = found.surveyed(request, &owner).filter(|_| !hindered);
    if surveyed.is_none() && problems.is_empty() {
        problems.push(problems::unexplained());
    }
    Sight {
        surveyed,
        problems,
        sizing,
    }
}

/// Both, which are looked at at once.
fn installations(
    request: &Request,
    cancel: &Cancel,
    problems: &mut Problems,
) -> (Option<Installation>, Option<Installation>) {
    let (old, new) = std::thread::scope(|scope| {
        let new = scope.spawn(|| Installation::find(Side::New, &request.new_bindir, cancel));
        let old = Installation::find(Side::Old, &request.old_bindir, cancel);
        (old, new.join())
    });
    let new = new.unwrap_or_else(|_| Err(vec![problems::unexplained()]));
    (problems.keep_all(old), problems.keep_all(new))
}

struct Found {
    old_installation: Option<Installation>,
    new_installation: Option<Installation>,
    old: Option<Old>,
    new: Option<Origin>,
    state_dir: Option<PathBuf>,
    inventory: Option<(inventory::Counted, bool)>,
    passages: Vec<Passage>,
}

impl Found {
    fn surveyed(self, request: &Request, owner: &Owner) -> Option<Surveyed> {
        let old = self.old?;
        let (inventory, counted) = self.inventory?;
        Some(Surveyed {
            old: old.dir,
            old_installation: self.old_installation?,
            new_installation: self.new_installation?,
            old_control: old.control?,
            tablespaces: old.tablespaces,
            wal_dir: old.wal_dir,
            new_dir: request.new_datadir.as_deref().map(path::named),
            origin: self.new,
            state_dir: self.state_dir,
            user: request
                .username
                .clone()
                .unwrap_or_else(|| owner.name.clone()),
            running: old.leftover,
            serving: old.serving,
            relation_files: inventory.places.iter().map(|place| place.files).sum(),
            inventory: inventory.places,
            counted,
            passages: self.passages,
        })
    }
}

/// The state directory that is given or follows from the new data directory.
fn state_dir(request: &Request) -> Option<PathBuf> {
    if let Some(dir) = &request.state_dir {
        return Some(path::named(dir));
    }
    request.new_datadir.as_deref().map(|new| {
        let mut name = path::named(new).into_os_string();
        name.push(".migration");
        PathBuf::from(name)
    })
}

fn places(request: &Request, old: Option<&Old>, state_dir: Option<&Path>) -> Vec<Place> {
    let mut places = Vec::new();
    let old_dir = old.map_or(request.old_datadir.as_path(), |old| old.dir.path.as_path());
    places.push(Place::data(Side::Old, old_dir));
    if let Some(new) = &request.new_datadir {
        places.push(Place::data(Side::New, new));
    }
    if let Some(dir) = state_dir {
        places.push(Place::state(dir));
    }
    if let Some(old) = old {
        let outside = old.tablespaces.iter().filter(|place| !place.in_place);
        places.extend(outside.map(Place::tablespace));
        places.extend(old.wal_dir.as_deref().map(Place::wal));
    }
    places
}

/// What could be counted, and whether that is all.
fn count(
    request: &Request,
    old: &Old,
    sizes: Sizes,
    problems: &mut Problems,
) -> Option<(inventory::Counted, bool)> {
    let new_data = new_data(request, old);
    let catalog_version = old.control.as_ref()?.catalog_version;
    let (counted, missing) = inventory::count(
        &old.dir,
        catalog_version,
        &old.tablespaces,
        &new_data,
        sizes,
    );
    let whole = old.sound && missing.is_empty();
    if old.sound {
        // Otherwise what is missing has been told with the layout.
        problems.beside(missing);
    }
    Some((counted, whole))
}

fn begin_sizing(request: &Request, old: &Old) -> Option<Sizing> {
    let catalog_version = old.control.as_ref()?.catalog_version;
    let (dir, tablespaces) = (old.dir.clone(), old.tablespaces.clone());
    let new_data = new_data(request, old);
    Some(Sizing::begin(dir, catalog_version, tablespaces, new_data))
}

fn new_data(request: &Request, old: &Old) -> PathBuf {
    let given = request.new_datadir.as_deref();
    given.map_or_else(|| old.dir.path.clone(), path::named)
}

#[cfg(test)]
mod tests;
