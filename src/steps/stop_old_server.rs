//! Old is down and stays down while the cutover works.

use serde_json::Value;

use super::{Context, Phase, Step};
use crate::error::Result;

pub(super) struct StopOldServer;

impl Step for StopOldServer {
    fn name(&self) -> &'static str {
        "stop-old-server"
    }

    fn phase(&self) -> Phase {
        Phase::Cutover
    }

    /// A postmaster.pid with the number of this living process keeps every other server away;
    /// once this process is dead the file is stale, and PostgreSQL removes stale ones itself.
    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        cx.hold_old()?;
        Ok("old is down and kept from being started".to_owned())
    }

    /// The number in the file was that of the process that died. Once new is released old is
    /// let go of.
    fn renew(&self, cx: &mut Context<'_>) -> Result<()> {
        if cx.state.path(super::NEW_CONTROL)?.exists() {
            cx.hold_old()?;
        }
        Ok(())
    }

    /// Only a file of ours goes; one that a server wrote since is that server's.
    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        cx.let_go_of_old()
    }
}
