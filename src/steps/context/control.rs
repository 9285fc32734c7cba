//! Where new's control file is, whose it is, and what became of new by it.

use std::path::{Path, PathBuf};

use super::catalogs::NEW_SNAPSHOT;
use super::{BESIDE, CONTROL, Context, NEW_CONTROL, OPTS, has_swap_list};
use crate::disk::Area;
use crate::error::{Code, Error, Remedy, Result};
use crate::pg::{ControlFile, DataDir, SystemIdentifier, control};
use crate::plan::{Mode, Plan};
use crate::server;

/// The number initdb gave to the new cluster of this migration.
const IDENTITY: &str = "new-identity.json";
/// The command that leads on where new was started while it was to be taken back.
pub const KEEP_NEW: &str = "resume --keep-new";
/// What new's control file was when it was released.
const RELEASED: &str = "released-control.json";
/// What it was when the operator gave up what was written to new since.
const GIVEN_UP: &str = "given-up-control.json";
const TAKEN: &str = "start neither cluster; find out who has taken the control file of new, and whether \
     new was started before; move it back to global/pg_control, and run the command again";

/// What became of new since it was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewState {
    /// It was not released, or is as it was then.
    Untouched,
    /// It has been started by somebody else than this program.
    Started,
    /// The same, before it was released: it is not complete.
    StartedEarly {
        /// It may have had files of old, and may have written to them.
        shared: bool,
    },
    /// Its control file is gone, or is that of another cluster.
    Missing,
}

impl Context<'_> {
    /// Writes down which cluster new is, so that no other one is ever taken for it.
    pub fn remember_new_identity(&self) -> Result<()> {
        self.save(IDENTITY, &self.new_control()?.system_identifier)
    }

    /// Forgets it, when that cluster is gone.
    pub fn forget_new_identity(&self) -> Result<()> {
        self.state.remove_file(IDENTITY)
    }

    /// An error where another cluster lies in new's place: nothing of it may be removed.
    pub fn new_is_ours(&self) -> Result<()> {
        let in_place = self.plan.new.data_dir.join(CONTROL);
        let Some(known) = identity(&self.state)? else {
            return Ok(());
        };
        if !in_place.exists() || ControlFile::read_file(&in_place)?.system_identifier == known {
            return Ok(());
        }
        Err(Error::new(
            Code::NewWithoutControl,
            "another cluster lies where the new one of this migration was",
        )
        .fact("data directory", self.plan.new.data_dir.display())
        .remedy(Remedy::manual(
            "move that cluster to another place, and try again",
        )))
    }

    /// Moves new's control file to the state directory. One that is in place is always the newer
    /// one.
    pub fn put_control_aside(&self) -> Result<()> {
        self.put_control_out_of_reach()?;
        self.bring_control_home()
    }

    /// The first half of that: nobody can start new any more, also where it fails.
    ///
    /// It is one rename, whose outcome is whole. To another file system a file is copied, and who
    /// starts new meanwhile writes to what is about to be removed: so it goes beside itself first.
    fn put_control_out_of_reach(&self) -> Result<()> {
        if !self.plan.new.data_dir.join(CONTROL).exists() {
            return Ok(());
        }
        self.new_is_ours()?;
        let new = self.new_area()?;
        forget_beside(&new)?;
        match new.rename_at_once(CONTROL, &self.state, NEW_CONTROL) {
            Ok(true) => Ok(()),
            Ok(false) => new.rename(CONTROL, &new, BESIDE),
            // Without the state directory, say. Nobody is to start new all the same.
            Err(error) if self.plan.new.data_dir.join(CONTROL).exists() => {
                new.rename(CONTROL, &new, BESIDE).and(Err(error))
            }
            Err(error) => Err(error),
        }
    }

    /// The second half; from the copy on both are the same, and the one beside goes.
    fn bring_control_home(&self) -> Result<()> {
        if !self.plan.new.data_dir.join(BESIDE).exists() {
            return Ok(());
        }
        self.new_area()?.rename(BESIDE, &self.state, NEW_CONTROL)
    }

    /// Moves new's control file back to where a server finds it.
    ///
    /// Across file systems a crash may leave both; the one aside is then a copy and goes. One
    /// that was on its way there is newer than what is aside.
    pub fn put_control_in_place(&self) -> Result<()> {
        let new = self.new_area()?;
        if new.path(CONTROL)?.exists() {
            self.new_is_ours()?;
            forget_beside(&new)?;
            return self.state.remove_file(NEW_CONTROL);
        }
        if new.path(BESIDE)?.exists() {
            new.rename(BESIDE, &new, CONTROL)?;
            return self.state.remove_file(NEW_CONTROL);
        }
        self.state.rename(NEW_CONTROL, &new, CONTROL)
    }

    /// New's control file, wherever it is.
    ///
    /// # Errors
    ///
    /// `NewWithoutControl` where it is nowhere: before its release new is of no use then, and old
    /// needs none of it.
    pub fn new_control(&self) -> Result<ControlFile> {
        let in_place = self.plan.new.data_dir.join(CONTROL);
        if in_place.exists() {
            return ControlFile::read_file(&in_place);
        }
        match out_of_reach(self.plan, &self.state)? {
            Some(path) => ControlFile::read_file(&path),
            None => Err(self.nowhere()),
        }
    }

    /// An error where new's control file is nowhere: that is so at no moment of this program's.
    pub fn new_has_its_control(&self) -> Result<()> {
        let in_place = self.plan.new.data_dir.join(CONTROL).exists();
        match in_place || out_of_reach(self.plan, &self.state)?.is_some() {
            true => Ok(()),
            false => Err(self.nowhere()),
        }
    }

    /// By link and swap a released new cluster that nobody can look at may have been started.
    fn nowhere(&self) -> Error {
        let released = self.state.path(RELEASED).is_ok_and(|path| path.exists());
        let error = without_control(self.plan);
        match released && self.plan.mode.shares_files() {
            true => error.remedy(Remedy::manual(TAKEN)),
            false => error.remedy(Remedy::command(self.plan.command("rollback"))),
        }
    }

    /// An error where somebody started new before it was released.
    ///
    /// A crash can leave its control file in place. What was written to new then is not known
    /// to this program, and in link mode it may have been written to old's files.
    pub fn new_was_not_started_early(&self) -> Result<()> {
        if self.state.path(RELEASED)?.exists() {
            return Ok(());
        }
        self.new_is_ours()?;
        self.new_is_down()?;
        match new_state(self.plan, &self.state)? {
            NewState::Untouched => Ok(()),
            NewState::Missing => Err(self.nowhere()),
            NewState::Started => Err(started_early(self.plan, self.plan.mode.shares_files())),
            NewState::StartedEarly { shared } => Err(started_early(self.plan, shared)),
        }
    }

    /// An error where new is not what was handed over: nothing of that may have been taken back.
    pub fn new_is_whole(&self) -> Result<()> {
        self.new_is_ours()?;
        let there = self.plan.new.data_dir.join(CONTROL).exists();
        if there && self.state.path(RELEASED)?.exists() {
            return Ok(());
        }
        Err(Error::new(
            Code::WrongStanding,
            "the new cluster is not complete, or not any more, so it cannot be kept",
        )
        .fact("new data directory", self.plan.new.data_dir.display())
        .remedy(Remedy::command(self.plan.command("resume"))))
    }

    /// Whether no server can be started on new.
    pub fn new_is_out_of_reach(&self) -> Result<bool> {
        let in_place = self.plan.new.data_dir.join(CONTROL).exists();
        Ok(!in_place && out_of_reach(self.plan, &self.state)?.is_some())
    }

    /// Whether new has been released, so that anybody may have started it.
    ///
    /// Where its control file lies says nothing of that: it is in place, too, after a crash while a
    /// private server had it.
    pub fn new_is_released(&self) -> Result<bool> {
        let in_place = self.plan.new.data_dir.join(CONTROL).exists();
        Ok(in_place && self.state.path(RELEASED)?.exists())
    }

    /// Puts new's control file in place for good, and writes down what it was.
    pub fn release_new(&self) -> Result<()> {
        if let Some(aside) = out_of_reach(self.plan, &self.state)?
            && !self.plan.new.data_dir.join(CONTROL).exists()
        {
            self.save(RELEASED, &control::fingerprint_file(&aside)?)?;
        }
        self.put_control_in_place()
    }

    /// Takes new's control file back, unless new runs, or has been started and that is not to be
    /// given up.
    ///
    /// It is asked before, and once more when the file is out of everybody's reach: whoever started
    /// new in between has written to it, or runs. That answer stays true, and only then old
    /// becomes startable.
    pub fn take_new_back(&self) -> Result<()> {
        self.new_is_down()?;
        let shared = self.plan.mode.shares_files();
        let state = new_state(self.plan, &self.state)?;
        let refused = match state {
            NewState::Untouched => false,
            NewState::StartedEarly { shared } => shared,
            NewState::Started => shared || !self.giving_up_writes,
            NewState::Missing => shared,
        };
        if refused {
            return Err(match state {
                NewState::Started | NewState::Untouched => started(self.plan),
                NewState::StartedEarly { shared } => started_early(self.plan, shared),
                NewState::Missing => without_control(self.plan).remedy(Remedy::manual(TAKEN)),
            });
        }
        if state == NewState::Started {
            let in_place = self.plan.new.data_dir.join(CONTROL);
            self.save(GIVEN_UP, &control::fingerprint_file(&in_place)?)?;
        }
        self.put_control_out_of_reach()?;
        if let Err(error) = self.nobody_was_quicker() {
            let lies_in = out_of_reach(self.plan, &self.state)?;
            return Err(match (self.put_control_in_place(), lies_in) {
                (Err(second), Some(path)) => error
                    .fact("control file still aside", second.message())
                    .fact("lies in", path.display()),
                _ => error,
            });
        }
        self.bring_control_home()?;
        // A start that failed would be taken for an early one from now on.
        if !server::last_start_was_ours(&self.new_dir())? {
            self.new_area()?.remove_file(OPTS)?;
        }
        self.state.remove_file(RELEASED)?;
        self.state.remove_file(GIVEN_UP)
    }

    /// An error where somebody started new before its control file was moved aside.
    fn nobody_was_quicker(&self) -> Result<()> {
        self.new_is_down()?;
        let Some(released) = read::<String>(&self.state.path(RELEASED)?)? else {
            return Ok(());
        };
        let Some(aside) = out_of_reach(self.plan, &self.state)? else {
            return Ok(());
        };
        let now = control::fingerprint_file(&aside)?;
        let given_up: Option<String> = read(&self.state.path(GIVEN_UP)?)?;
        match now == released || Some(now) == given_up {
            true => Ok(()),
            false => Err(started(self.plan)),
        }
    }
}

/// New was started when it was not complete; `shared` says whether files of old may be in it.
pub fn started_early(plan: &Plan, shared: bool) -> Error {
    let (code, remedy) = match shared {
        true => (
            Code::NewStartedEarly,
            Remedy::manual(
                "start neither cluster; compare the time of the start in the log of the new \
                 server with the files of both, and restore the old cluster from a backup if in \
                 doubt",
            ),
        ),
        false => (
            Code::NewWithoutControl,
            Remedy::command(plan.command("rollback --discard-new-writes")),
        ),
    };
    Error::new(code, "the new cluster was started before it was complete")
        .fact("data directory", plan.new.data_dir.display())
        .fact("mode", plan.mode)
        .remedy(remedy)
}

fn without_control(plan: &Plan) -> Error {
    Error::new(
        Code::NewWithoutControl,
        "the control file of the new cluster is gone, or is that of another one",
    )
    .fact("data directory", plan.new.data_dir.display())
}

/// New was started after the way back had begun.
fn started(plan: &Plan) -> Error {
    Error::new(
        Code::WayBackGone,
        match plan.mode.shares_files() {
            true => "the new cluster has been started and may have written to files of old",
            false => "the new cluster has been started; rows written to it would be lost",
        },
    )
    .fact("new data directory", plan.new.data_dir.display())
    .remedy(Remedy::command(plan.command(KEEP_NEW)))
}

/// Where new's control file is when it is not in place: the one that is still on its way is the
/// newer one.
fn out_of_reach(plan: &Plan, state: &Area) -> Result<Option<PathBuf>> {
    let places = [plan.new.data_dir.join(BESIDE), state.path(NEW_CONTROL)?];
    Ok(places.into_iter().find(|path| path.exists()))
}

/// Beside the one in place there is none of ours; a hand may have made it.
fn forget_beside(new: &Area) -> Result<()> {
    match new.path(BESIDE)?.exists() {
        true => new.remove_file(BESIDE),
        false => Ok(()),
    }
}

fn identity(state: &Area) -> Result<Option<SystemIdentifier>> {
    read(&state.path(IDENTITY)?)
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(Code::NotReadable, "read", path, &e)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| {
        Error::new(
            Code::StateFormat,
            format!("could not read {}", path.display()),
        )
        .caused_by(&e)
    })
}

/// Finds out whether new was ever started by somebody else, from what every start writes.
///
/// After the release that is its control file, which has the state of the cluster and the time
/// in it. Before, a crash of this program may have left the control file in place; then the
/// last start is that of our private server, or it is somebody's.
pub fn new_state(plan: &Plan, state: &Area) -> Result<NewState> {
    let in_place = plan.new.data_dir.join(CONTROL);
    let released: Option<String> = read(&state.path(RELEASED)?)?;
    if !in_place.exists() {
        let aside = out_of_reach(plan, state)?;
        return Ok(if released.is_none() || aside.is_some() {
            NewState::Untouched
        } else {
            NewState::Missing
        });
    }
    match identity(state)? {
        Some(known) if ControlFile::read_file(&in_place)?.system_identifier != known => {
            return Ok(NewState::Missing);
        }
        Some(_) => {}
        // It was about to be made or adopted, and whoever started it did so before.
        None => return Ok(NewState::Untouched),
    }
    let untouched = match &released {
        Some(known) => control::fingerprint_file(&in_place)? == *known,
        None => server::last_start_was_ours(&DataDir {
            path: plan.new.data_dir.clone(),
            config_dir: plan.new.data_dir.clone(),
            major: plan.new.version.major,
        })?,
    };
    Ok(match (untouched, released) {
        (true, _) => NewState::Untouched,
        (false, Some(_)) => NewState::Started,
        (false, None) => NewState::StartedEarly {
            shared: match plan.mode {
                // What says where files belong is written before the first of them is placed.
                Mode::Link => state.path(NEW_SNAPSHOT)?.exists(),
                Mode::Swap => has_swap_list(state)?,
                _ => false,
            },
        },
    })
}
