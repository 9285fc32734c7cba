//! New is started, where that was asked for, by its own pg_ctl.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Context, Phase, Step};
use crate::error::{Code, Error, Result};
use crate::server::{self, Program};

/// Name of the log pg_ctl writes, in the new data directory.
const LOG: &str = "pg_migrator_start.log";
/// How long a stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(600);

pub(super) struct StartNewServer;

impl Step for StartNewServer {
    fn name(&self) -> &'static str {
        "start-new-server"
    }

    fn phase(&self) -> Phase {
        Phase::Cutover
    }

    fn needed(&self, cx: &Context<'_>) -> Result<bool> {
        Ok(cx.start_new)
    }

    /// Waits until the server accepts connections, as `pg_ctl -w` does.
    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        let new = cx.new_dir();
        if let Some(file) = server::running(&new)? {
            return Ok(format!("already running, process {}", file.process()));
        }
        Program::new(&cx.new_installation(), "pg_ctl")
            .args(["start", "-w", "-t", "600", "-s"])
            .args(["-D".into(), new.path.clone().into_os_string()])
            .args(["-l".into(), new.path.join(LOG).into_os_string()])
            .failing_with(Code::ServerStart)
            .log_to(&cx.logs().join("pg_ctl-start.log"))
            .run(cx.cancel)?;
        let file = server::running(&new)?
            .ok_or_else(|| Error::new(Code::ServerStart, "the new server is gone again"))?;
        Ok(format!("accepts connections on port {}", file.port))
    }

    /// Reached only where rows written to new may be given up; the engine has asked.
    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        let new = cx.new_dir();
        if server::running(&new)?.is_none() {
            return Ok(());
        }
        let asked = Instant::now();
        Program::new(&cx.new_installation(), "pg_ctl")
            .args(["stop", "-w", "-m", "fast", "-s"])
            .args([
                "-t".into(),
                std::ffi::OsString::from(STOP_LIMIT.as_secs().to_string()),
            ])
            .args(["-D".into(), new.path.clone().into_os_string()])
            .failing_with(Code::ServerStop)
            .log_to(&cx.logs().join("pg_ctl-stop.log"))
            .run(cx.cancel)?;
        if server::running(&new)?.is_some() && asked.elapsed() >= STOP_LIMIT {
            return Err(Error::new(Code::ServerStop, "the new server does not stop"));
        }
        Ok(())
    }
}
