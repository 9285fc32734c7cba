//! The server old is read by, and what old's control file says of its past.

use serde::{Deserialize, Serialize};

use super::{Context, missing_server};
use crate::catalog::{self, Portrait};
use crate::error::{Code, Error, Remedy, Result};
use crate::pg::{ControlFile, control, quote};
use crate::plan::Plan;
use crate::server::{self, Endpoint, Postmaster, PostmasterSpec, Running};

/// What old's control file was when this program last left it.
const OLD_CONTROL: &str = "old-control.json";

/// A private old server that is running already, and what was read through it.
pub struct OldAtHand {
    /// The server.
    pub server: Postmaster,
    /// What it serves.
    pub portrait: Portrait,
}

/// A digest that shows any start, and the counters that tell a later state from an earlier one.
#[derive(Serialize, Deserialize)]
pub struct Remembered {
    digest: String,
    /// The counters.
    pub control: ControlFile,
}

impl Context<'_> {
    /// The operator's server in old, where one accepts sessions.
    pub fn old_is_serving(&self) -> Result<Option<Running>> {
        Running::find(
            &self.old_dir(),
            &self.old_installation(),
            &self.plan.install_user,
        )
    }

    /// The server old is read by: the operator's where it runs, else a private one, which is
    /// started if it is not running.
    ///
    /// The private one keeps archiving as it is configured and refuses everybody but us; see
    /// [`PostmasterSpec::for_old`]. None is started where the operator's server has gone in the
    /// meantime: somebody is about to start it again.
    pub fn old_server(&mut self) -> Result<&Endpoint> {
        if self.old_server.is_none() {
            let serving = self.old_is_serving()?;
            if serving.is_none() && self.old_serving.is_some() {
                return Err(gone(self.plan));
            }
            self.old_serving = serving;
        }
        if self.old_server.is_none() && self.old_serving.is_none() {
            self.old_server = Some(self.start_old_privately()?);
        }
        let private = self.old_server.as_deref();
        private
            .or(self.old_serving.as_ref().map(|serving| &serving.endpoint))
            .ok_or_else(|| missing_server("old"))
    }

    /// What has been read of old through the private server that is still running: nobody else
    /// has been let in since.
    pub fn take_portrait(&mut self) -> Option<Portrait> {
        self.old_portrait
            .take()
            .filter(|_| self.old_server.is_some())
    }

    fn start_old_privately(&self) -> Result<Postmaster> {
        let mut spec = PostmasterSpec::for_old(
            &self.old_installation(),
            &self.old_dir(),
            &self.plan.install_user,
            &self.logs().join("old-server.log"),
            self.plan
                .old
                .raise_locks
                .then_some(self.plan.locks_per_transaction),
        );
        spec.port = self.plan.old.port;
        spec.extra = self.plan.old.options.clone();
        spec.socket_parent = self.plan.socket_dir.clone();
        Postmaster::start(&spec, self.cancel)
    }

    /// Stops the private old server, if one runs; the operator's is left alone.
    ///
    /// Its control file changes by that. It is remembered by [`Self::remember_old_control`]
    /// alone, and only when what was read is stored: otherwise the next cutover would believe
    /// that it knows the catalog of a cluster nobody has looked at.
    pub fn stop_old_server(&mut self) -> Result<()> {
        self.old_portrait = None;
        match self.old_server.take() {
            Some(server) => server.stop(),
            None => Ok(()),
        }
    }

    /// An error while a server runs in old's data directory.
    pub fn old_is_down(&self) -> Result<()> {
        match server::running(&self.old_dir())? {
            None => Ok(()),
            Some(file) => Err(
                Error::new(Code::OldServerRunning, "the old server is running")
                    .fact("data directory", self.plan.old.data_dir.display())
                    .fact("process", file.process())
                    .remedy(self.stop_old_remedy()),
            ),
        }
    }

    /// How the operator stops old.
    pub fn stop_old_remedy(&self) -> Remedy {
        let pg_ctl = self.plan.old.bindir.join("pg_ctl");
        let data_dir = &self.plan.old.data_dir;
        Remedy::command(format!(
            "{} stop -D {}",
            quote::shell_path(&pg_ctl),
            quote::shell_path(data_dir)
        ))
    }

    /// The error where old did not end with a shutdown checkpoint.
    pub fn not_shut_down(&self) -> Error {
        let pg_ctl = self.plan.old.bindir.join("pg_ctl");
        let data_dir = &self.plan.old.data_dir;
        Error::new(
            Code::NotShutDown,
            "the old cluster was not shut down cleanly",
        )
        .fact("data directory", data_dir.display())
        .remedy(Remedy::command(format!(
            "{} start -w -D {}",
            quote::shell_path(&pg_ctl),
            quote::shell_path(data_dir)
        )))
    }

    /// Makes a running old server write down its counters; a stopped one has.
    ///
    /// `true` where one is running: what it does from now on is not in its files.
    pub fn settle_old(&mut self) -> Result<bool> {
        if self.old_server.is_some() || self.old_is_serving()?.is_none() {
            return Ok(false);
        }
        let server = self.old_server()?;
        catalog::connect(server)?.run_script("CHECKPOINT")?;
        Ok(true)
    }

    /// Whether old's server is of the release its programs are of, which may have been replaced
    /// while it ran.
    pub fn old_runs_its_programs(&mut self) -> Result<bool> {
        let sql = "SELECT pg_catalog.current_setting('server_version_num')";
        let rows = catalog::connect(self.old_server()?)?.text_rows(sql)?;
        let version = &self.plan.old.version;
        let number = u32::from(version.major.0) * 10_000 + u32::from(version.minor);
        Ok(rows.concat() == [Some(number.to_string())])
    }

    /// Old's control file.
    pub fn old_control(&self) -> Result<ControlFile> {
        ControlFile::read(&self.plan.old.data_dir)
    }

    /// Writes down what old's control file is now: the stored catalog is old's as long as the
    /// file stays this.
    pub fn remember_old_control(&self) -> Result<()> {
        self.remember_old_control_as(&self.look_at_old_control()?)
    }

    /// What there is to be remembered now.
    pub fn look_at_old_control(&self) -> Result<Remembered> {
        Ok(Remembered {
            digest: control::fingerprint(&self.plan.old.data_dir)?,
            control: self.old_control()?,
        })
    }

    /// Looks at the control file before old is read, where somebody else may stop the server:
    /// what that one writes from now on, its end included, must make another file.
    pub fn before_reading_old(&mut self) -> Result<Option<Remembered>> {
        match self.old_server()?.private {
            true => Ok(None),
            false => self.look_at_old_control().map(Some),
        }
    }

    /// What is to be remembered with what was read: the end of a private server belongs to it.
    pub fn after_reading_old(&self, before: Option<Remembered>) -> Result<Remembered> {
        before.map_or_else(|| self.look_at_old_control(), Ok)
    }

    /// Writes down what was seen before.
    pub fn remember_old_control_as(&self, seen: &Remembered) -> Result<()> {
        self.save(OLD_CONTROL, seen)
    }

    /// An error where old was started since it was remembered, or runs; `file` is its control
    /// file, under whatever name. Asked when nobody can start it any more, the answer stays true.
    pub fn old_is_untouched(&self, file: &str) -> Result<()> {
        let known: Remembered = self.load(OLD_CONTROL)?;
        let path = self.old_area()?.path(file)?;
        let same = known.digest == control::fingerprint_file(&path)?;
        if same && known.control.cleanly_shut_down() && !self.somebody_serves_old()? {
            return Ok(());
        }
        Err(Error::new(
            Code::OldChanged,
            "the old cluster was started in the middle of the cutover",
        )
        .fact("data directory", self.plan.old.data_dir.display())
        .remedy(Self::started_meanwhile_remedy()))
    }

    /// What is done where somebody started old while it was to stay down.
    pub fn started_meanwhile_remedy() -> Remedy {
        Remedy::manual(
            "find out who started it, keep that from happening again, and run the cutover again: \
             it reads the catalog anew",
        )
    }

    /// Old's control file as it was then.
    pub fn remembered_old_control(&self) -> Result<ControlFile> {
        Ok(self.load::<Remembered>(OLD_CONTROL)?.control)
    }

    /// Whether old has been started since this program last left it.
    pub fn old_was_started(&self) -> Result<bool> {
        let known: Remembered = self.load(OLD_CONTROL)?;
        Ok(known.digest != control::fingerprint(&self.plan.old.data_dir)?)
    }
}

fn gone(plan: &Plan) -> Error {
    Error::new(
        Code::OldServerNotReady,
        "the old server was stopped while it was being read",
    )
    .fact("data directory", plan.old.data_dir.display())
    .remedy(Remedy::manual(
        "start it again, or leave it stopped, and run the command again",
    ))
}
