//! Old is kept from being started while the cutover works.

use super::Context;
use crate::error::{Code, Error, Result};
use crate::pg::PostmasterPid;
use crate::server;

/// What keeps other servers away from a data directory.
const PID_FILE: &str = "postmaster.pid";
/// The name it is written under before it gets its own.
const DRAFT: &str = "postmaster.pid.pg_migrator";

impl Context<'_> {
    /// Puts a postmaster.pid with the number of this process into old.
    ///
    /// The number is negative, as a standalone backend writes it: servers refuse to start all
    /// the same, and pg_ctl refuses to send this process signals that are meant for a server.
    /// The file gets its name by a link, which fails where a server was quicker.
    pub fn hold_old(&self) -> Result<()> {
        let old = self.old_area()?;
        if let Some(file) = server::running(&self.old_dir())? {
            return Err(
                Error::new(Code::OldChanged, "the old server is running again")
                    .fact("data directory", old.root().display())
                    .fact("process", file.process())
                    .remedy(Self::started_meanwhile_remedy()),
            );
        }
        let text = PostmasterPid {
            pid: -nix::unistd::Pid::this().as_raw(),
            datadir: old.root().display().to_string(),
            ..PostmasterPid::default()
        }
        .format();
        old.write(DRAFT, text.as_bytes(), 0o600)?;
        let draft = old.path(DRAFT)?;
        let mut named = old.link(&draft, PID_FILE);
        if named.is_err() && old.path(PID_FILE)?.exists() && !self.somebody_serves_old()? {
            // Nobody is alive who wrote it.
            old.remove_file(PID_FILE)?;
            named = old.link(&draft, PID_FILE);
        }
        old.remove_file(DRAFT)?;
        named
    }

    /// Holds old again where the file has gone, or names another process than this one.
    ///
    /// pg_ctlcluster, which Debian's units run after every stop, takes the file for a stale one
    /// and removes it. So it keeps others away only while nobody tidies up; what is believed in
    /// the end is old's control file.
    pub fn keep_hold_of_old(&self) -> Result<()> {
        match self.old_dir().postmaster_pid()? {
            Some(file) if is_a_hold(&file) && is_ours(&file) => Ok(()),
            _ => self.hold_old(),
        }
    }

    /// Whether a server runs in old; a hold is none.
    pub(super) fn somebody_serves_old(&self) -> Result<bool> {
        match self.old_dir().postmaster_pid()? {
            Some(file) if is_a_hold(&file) => Ok(false),
            _ => Ok(server::running(&self.old_dir())?.is_some()),
        }
    }

    /// An error where a server runs in old, whether it is held or not.
    pub fn nobody_serves_old(&self) -> Result<()> {
        match self.somebody_serves_old()? {
            true => self.old_is_down(),
            false => Ok(()),
        }
    }

    /// Removes that file, and none that a server has written.
    pub fn let_go_of_old(&self) -> Result<()> {
        let old = self.old_area()?;
        old.remove_file(DRAFT)?;
        match self.old_dir().postmaster_pid()? {
            Some(file) if is_a_hold(&file) => old.remove_file(PID_FILE),
            _ => Ok(()),
        }
    }
}

/// The hold of a process that died keeps nobody away.
fn is_ours(file: &PostmasterPid) -> bool {
    file.process() == nix::unistd::Pid::this().as_raw()
}

/// A server writes when it started and its port; a hold has neither.
fn is_a_hold(file: &PostmasterPid) -> bool {
    file.standalone() && file.start_time == 0 && file.port == 0
}
