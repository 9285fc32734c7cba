//! Old is down and stays down while the cutover works.

use serde_json::{Value, json};

use super::{Context, Phase, Step};
use crate::error::{Code, Error, Result};
use crate::pg::PostmasterPid;
use crate::server;

const PID_FILE: &str = "postmaster.pid";

pub(super) struct StopOldServer;

impl Step for StopOldServer {
    fn name(&self) -> &'static str {
        "stop-old-server"
    }

    fn phase(&self) -> Phase {
        Phase::Cutover
    }

    fn intent(&self, _cx: &mut Context<'_>) -> Result<Value> {
        Ok(json!({ "v": 1 }))
    }

    /// A postmaster.pid with the number of this living process keeps every other server away;
    /// once this process is dead the file is stale, and PostgreSQL removes stale ones itself.
    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        let old = cx.old_dir();
        if let Some(file) = server::running(&old)? {
            return Err(
                Error::new(Code::OldServerRunning, "the old server is running again")
                    .fact("data directory", old.path.display())
                    .fact("process", file.process()),
            );
        }
        hold(cx)?;
        Ok("down; kept from being started".to_owned())
    }

    /// The number in the file was that of the process that died.
    fn renew(&self, cx: &mut Context<'_>) -> Result<()> {
        self.apply(cx, &Value::Null).map(|_| ())
    }

    /// Only our own file goes; one that a server wrote since is that server's.
    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        let old = cx.old_dir();
        if server::running(&old)?.is_none() {
            cx.old_area()?.remove_file(PID_FILE)?;
        }
        Ok(())
    }
}

/// No port, no socket, no shared memory: only a process that is alive.
fn hold(cx: &Context<'_>) -> Result<()> {
    let text = PostmasterPid {
        pid: nix::unistd::Pid::this().as_raw(),
        datadir: cx.plan.old.data_dir.display().to_string(),
        ..PostmasterPid::default()
    }
    .format();
    cx.old_area()?.write(PID_FILE, text.as_bytes(), 0o600)
}
