//! What every step works with: the plan, the places, the private servers.

mod catalogs;
mod control;
mod hold;
mod manifest;
mod mark;
mod old;
mod service;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::catalog::Portrait;
use crate::disk::{Area, unsynced};
use crate::error::{Code, Error, Remedy, Result};
use crate::event::{EventKind, Level, Sink};
use crate::pg::{ControlFile, DataDir};
use crate::plan::Plan;
use crate::schema::{CatalogFiles, DumpFiles};
use crate::server::{self, Installation, Postmaster, PostmasterSpec, Running, Side};
use crate::transfer::first_copies::Ledger;
use crate::transfer::{Mended, Moves, Work};
use crate::work::{Cancel, lock};

/// Name of the plan in the state directory.
pub const PLAN_FILE: &str = "plan.json";
/// Where new's control file lies while no server may be started on it.
pub const NEW_CONTROL: &str = "new-pg_control";
/// Where it lies on its way there while that is a copy: nobody finds it, and no other act is
/// needed for that than one rename.
const BESIDE: &str = "global/pg_control.aside";
/// The control file, relative to a data directory.
pub(super) const CONTROL: &str = "global/pg_control";
/// What a server was last started with.
pub(super) const OPTS: &str = "postmaster.opts";
/// What becomes of it in an old cluster that has lost files to new, or shares them; the name
/// pg_upgrade gives it too, which operators know.
pub(super) const RETIRED: &str = "global/pg_control.old";
/// What is moved by swap.
const SWAP_LIST: &str = "swap.json";
/// Lets a private new server make a tablespace without a location; every version from 15 on
/// knows it.
const IN_PLACE: [&str; 2] = ["-c", "allow_in_place_tablespaces=on"];
/// Files of new's own catalogs.
const CATALOGS: &str = "new-catalogs.json";

/// What every step works with.
pub struct Context<'a> {
    /// The frozen decisions.
    pub plan: &'a Plan,
    /// Who is told what happens.
    pub sink: &'a dyn Sink,
    /// The request to stop.
    pub cancel: &'a Cancel,
    /// The same, also on a way back, for what may be left out of it.
    asked: &'a Cancel,
    /// The state directory.
    pub state: Area,
    /// What the operator wants to be done around the cutover.
    pub handover: Handover,
    /// How long service is down.
    pub outage: Outage,
    old_server: Option<Postmaster>,
    /// What was read through it.
    old_portrait: Option<Portrait>,
    /// The operator's server, once it has been seen.
    old_serving: Option<Running>,
    new_server: Option<Postmaster>,
    /// Seconds the quickest start of a private new server took.
    pub new_started_in: Option<f64>,
    /// New's control file is in place for a private server only.
    control_lent: bool,
    /// New is going to be discarded as a whole: what lies in it need not be put in order.
    pub discarding: bool,
    /// Rows written to new since it was handed over may be lost.
    pub giving_up_writes: bool,
    /// What was made of the catalogs, as long as they are the same.
    derived: Derived,
    /// What this process changed when it linked; the rest it has found right.
    pub mended: Option<Vec<Mended>>,
    /// What this process moves, or has read that another one was about to.
    moves: Mutex<Option<Arc<Moves>>>,
    /// What is known of first copies, once it was asked for.
    pub(super) copies: Option<Ledger>,
    /// The cutover follows at once.
    pub straight_on: bool,
    /// Databases of which it was not enough to do some tables and indexes again.
    pub spoilt: BTreeSet<String>,
}

use catalogs::Derived;

pub use control::{KEEP_NEW, NewState, new_state, started_early};
pub use manifest::{ComparedOld, compared_old};
pub use old::{OldAtHand, Remembered};
pub use service::{Handover, Outage, wait_until_ready, wait_until_started};

impl<'a> Context<'a> {
    /// A context with no server running.
    ///
    /// A private old server that is already running may be handed over with what was read
    /// through it, so that it need not be started and read twice.
    pub fn new(
        plan: &'a Plan,
        sink: &'a dyn Sink,
        cancel: &'a Cancel,
        state: Area,
        old: Option<OldAtHand>,
    ) -> Self {
        let (old_server, old_portrait) = old.map(|old| (old.server, old.portrait)).unzip();
        Self {
            plan,
            sink,
            cancel,
            asked: cancel,
            state,
            handover: Handover::default(),
            outage: Outage::default(),
            old_server,
            old_portrait,
            old_serving: None,
            new_server: None,
            new_started_in: None,
            control_lent: false,
            discarding: false,
            giving_up_writes: false,
            derived: Derived::default(),
            mended: None,
            moves: Mutex::default(),
            copies: None,
            straight_on: false,
            spoilt: BTreeSet::new(),
        }
    }

    /// Lets what is started meanwhile work in the background, where that was asked for.
    pub fn background(&self) -> Option<server::Background> {
        self.plan.nice.then(server::Background::begin)
    }

    /// The installation of old.
    pub fn old_installation(&self) -> Installation {
        Installation {
            side: Side::Old,
            bindir: self.plan.old.bindir.clone(),
            version: self.plan.old.version.clone(),
        }
    }

    /// The installation of new.
    pub fn new_installation(&self) -> Installation {
        Installation {
            side: Side::New,
            bindir: self.plan.new.bindir.clone(),
            version: self.plan.new.version.clone(),
        }
    }

    /// The data directory of old.
    pub fn old_dir(&self) -> DataDir {
        DataDir {
            path: self.plan.old.data_dir.clone(),
            config_dir: self.plan.old.config_dir.clone(),
            major: self.plan.old.version.major,
        }
    }

    /// The data directory of new.
    pub fn new_dir(&self) -> DataDir {
        DataDir {
            path: self.plan.new.data_dir.clone(),
            config_dir: self.plan.new.data_dir.clone(),
            major: self.plan.new.version.major,
        }
    }

    /// Where one may write in old.
    pub fn old_area(&self) -> Result<Area> {
        Area::new(&self.plan.old.data_dir)
    }

    /// Where one may write in new.
    pub fn new_area(&self) -> Result<Area> {
        Area::new(&self.plan.new.data_dir)
    }

    /// The directory of logs.
    pub fn logs(&self) -> PathBuf {
        self.state.root().join("logs")
    }

    /// The directory of the dump.
    pub fn dump_files(&self) -> DumpFiles {
        DumpFiles::new(self.state.root().join("dump"))
    }

    /// In what the formats of both clusters differ, but for checksums that copies are given.
    pub fn format_differences(
        &self,
        old: &ControlFile,
        new: &ControlFile,
    ) -> Vec<(&'static str, String, String)> {
        match self.plan.checksums {
            Some(_) => old.with_checksums().format_differences(new),
            None => old.format_differences(new),
        }
    }

    /// What a transfer of this step needs.
    pub fn work(&self, step: &'static str) -> Work<'_> {
        Work {
            jobs: self.plan.jobs,
            checksums: self.plan.checksums,
            cancel: self.cancel,
            sink: self.sink,
            step,
        }
    }

    /// How a step tells its progress: so much done of so much.
    pub fn progress(
        &self,
        step: &'static str,
        unit: &'static str,
    ) -> impl Fn(u64, u64) + Sync + use<'a> {
        let sink = self.sink;
        move |done, total| {
            sink.emit(EventKind::Progress {
                step: step.to_owned(),
                unit: unit.to_owned(),
                done,
                total: Some(total),
            });
        }
    }

    /// Says something.
    pub fn note(&self, text: impl Into<String>) {
        self.say(Level::Note, text.into());
    }

    /// Says something that should be looked at.
    pub fn warn(&self, text: impl Into<String>) {
        self.say(Level::Warning, text.into());
    }

    fn say(&self, level: Level, text: String) {
        self.sink.emit(EventKind::Message { level, text });
    }

    /// Stores a document in the state directory.
    pub fn save<T: Serialize>(&self, name: &str, document: &T) -> Result<()> {
        let bytes = serde_json::to_vec(document).map_err(|e| {
            Error::new(Code::Internal, format!("could not write {name}")).caused_by(&e)
        })?;
        self.state.write(name, &bytes, 0o600)
    }

    /// Reads a document back.
    pub fn load<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        load(&self.state, name)
    }

    /// The private new server, started if it is not running; `fsync` counts for the start.
    ///
    /// Its control file is in place only while it runs, so that nobody starts new by accident.
    pub fn new_server(&mut self, fsync: bool) -> Result<&Postmaster> {
        if self.new_server.is_none() {
            self.control_lent = true;
            self.put_control_in_place()?;
            if !fsync {
                self.tell_unsynced();
            }
            let mut spec = PostmasterSpec::for_new(
                &self.new_installation(),
                &self.new_dir(),
                &self.plan.install_user,
                &self.logs().join("new-server.log"),
                fsync,
                self.plan.locks_per_transaction,
            );
            spec.port = self.plan.new.port;
            spec.extra = self.plan.new.options.clone();
            if self.plan.old.tablespaces.iter().any(|place| place.in_place) {
                spec.extra.extend(IN_PLACE.map(str::to_owned));
            }
            spec.socket_parent = self.plan.socket_dir.clone();
            let begun = Instant::now();
            self.new_server = Some(Postmaster::start(&spec, self.cancel)?);
            let took = begun.elapsed().as_secs_f64();
            let least = self.new_started_in.map_or(took, |least| least.min(took));
            self.new_started_in = Some(least);
        }
        self.new_server
            .as_ref()
            .ok_or_else(|| missing_server("new"))
    }

    /// Stops the private new server, if one runs, and puts its control file aside.
    ///
    /// Also where it did not start: the file had been put in place for it.
    pub fn stop_new_server(&mut self) -> Result<()> {
        if let Some(server) = self.new_server.take() {
            let syncs = server.spec().syncs();
            server.stop()?;
            if !syncs {
                self.tell_unsynced();
            }
        }
        if self.control_lent {
            self.put_control_aside()?;
            self.control_lent = false;
        }
        Ok(())
    }

    /// What a server without fsync writes in new is on no disk.
    fn tell_unsynced(&self) {
        // Where new is gone there is nothing to be told.
        for place in self.places_of_new().unwrap_or_default() {
            unsynced(&place);
        }
    }

    /// Where new's files lie: its data directory, and its folders in tablespaces beside those of
    /// old.
    pub fn places_of_new(&self) -> Result<Vec<PathBuf>> {
        let new = &self.plan.new.data_dir;
        let version_dir = self.new_version_dir()?;
        let tablespaces = self.plan.old.tablespaces.iter();
        let folders = tablespaces.map(|place| place.location_in(new).join(&version_dir));
        Ok(std::iter::once(new.clone()).chain(folders).collect())
    }

    /// Stops whatever private server runs; the first failure is reported, both are tried.
    pub fn stop_servers(&mut self) -> Result<()> {
        let new = self.stop_new_server();
        let old = self.stop_old_server();
        new.and(old)
    }

    /// Ends private servers that a killed run of this program left behind.
    pub fn end_leftovers(&self) -> Result<()> {
        for dir in [self.old_dir(), self.new_dir()] {
            if dir.path.join("PG_VERSION").exists() {
                server::stop_leftover(&dir, server::LEFTOVER_LIMIT)?;
            }
        }
        Ok(())
    }

    /// An error while a server runs in new's data directory.
    pub fn new_is_down(&self) -> Result<()> {
        let dir = self.new_dir();
        if !dir.path.join("PG_VERSION").exists() {
            return Ok(());
        }
        match server::running(&dir)? {
            None => Ok(()),
            Some(file) => Err(Error::new(
                Code::NewServerRunning,
                "a server is running in the new data directory",
            )
            .fact("data directory", dir.path.display())
            .fact("process", file.process())
            .remedy(Remedy::command(format!(
                "{} stop -D {}",
                crate::pg::quote::shell_path(&self.plan.new.bindir.join("pg_ctl")),
                crate::pg::quote::shell_path(&dir.path)
            )))),
        }
    }

    /// What is moved by swap, written down before the first file is.
    pub fn swap_list(&self) -> Result<Moves> {
        let moves: Moves = self.load(SWAP_LIST)?;
        if moves.v == Moves::FORMAT {
            return Ok(moves);
        }
        Err(Error::new(
            Code::StateFormat,
            "the list of what was moved has a format that this release does not know",
        )
        .fact("file", self.state.path(SWAP_LIST)?.display())
        .fact("format", moves.v)
        .fact("format known here", Moves::FORMAT)
        .remedy(Remedy::manual(
            "use the release of pg_migrator that began this migration",
        )))
    }

    /// The same, if anything may have been moved.
    ///
    /// Who has moved files takes them back also where somebody has removed the list meanwhile, or
    /// the whole state directory: nobody else could.
    pub fn swap_list_if_any(&self) -> Result<Option<Arc<Moves>>> {
        let mut known = lock(&self.moves);
        if has_swap_list(&self.state)? {
            *known = Some(Arc::new(self.swap_list()?));
        }
        Ok(known.clone())
    }

    /// Writes it down, durably.
    pub fn save_swap_list(&self, moves: &Arc<Moves>) -> Result<()> {
        self.save(SWAP_LIST, &**moves)?;
        *lock(&self.moves) = Some(Arc::clone(moves));
        Ok(())
    }

    /// Forgets it, when all is back where it was.
    pub fn forget_swap_list(&self) -> Result<()> {
        self.state.remove_file(SWAP_LIST)?;
        *lock(&self.moves) = None;
        Ok(())
    }

    /// The files of new's catalogs.
    pub fn new_catalogs(&self) -> Result<CatalogFiles> {
        self.load(CATALOGS)
    }

    /// Stores the files of new's catalogs.
    pub fn save_new_catalogs(&self, files: &CatalogFiles) -> Result<()> {
        self.save(CATALOGS, files)
    }

    /// Folder of new's version in every tablespace.
    pub fn new_version_dir(&self) -> Result<String> {
        Ok(DataDir::tablespace_version_dir(
            self.plan.new.version.major,
            self.new_control()?.catalog_version,
        ))
    }
}

/// Whether files of old may have been moved.
fn has_swap_list(state: &Area) -> Result<bool> {
    let path = state.path(SWAP_LIST)?;
    path.try_exists()
        .map_err(|e| Error::io(Code::NotReadable, "look at", &path, &e))
}

/// Reads a document of a state directory.
pub(super) fn load<T: DeserializeOwned>(state: &Area, name: &str) -> Result<T> {
    let path = state.path(name)?;
    let bytes = std::fs::read(&path).map_err(|e| {
        Error::io(Code::StateMissing, "read", &path, &e).remedy(Remedy::manual(
            "a file of the state directory is gone: roll back and prepare again",
        ))
    })?;
    serde_json::from_slice(&bytes).map_err(|e| {
        Error::new(
            Code::StateFormat,
            format!("could not read {}", path.display()),
        )
        .caused_by(&e)
        .remedy(Remedy::manual(
            "use the release of pg_migrator that began this migration, or roll back and prepare \
             again",
        ))
    })
}

fn missing_server(side: &str) -> Error {
    Error::new(
        Code::Internal,
        format!("the private {side} server is not running"),
    )
}

#[cfg(test)]
mod tests;
