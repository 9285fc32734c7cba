//! New is started, where that was asked for, by its own pg_ctl.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::error::{Code, Result};
use crate::pg::DataDir;
use crate::server::{self, Program};
use crate::steps::context::{wait_until_ready, wait_until_started};
use crate::steps::{Context, Phase, Step};

/// Name of the log pg_ctl writes, in the new data directory.
const LOG: &str = "pg_migrator_start.log";
/// How long a start may take.
const START_LIMIT: Duration = Duration::from_secs(600);

pub(super) struct StartNewServer;

impl Step for StartNewServer {
    fn name(&self) -> &'static str {
        "start-new-server"
    }

    fn phase(&self) -> Phase {
        Phase::Cutover
    }

    fn needed(&self, cx: &Context<'_>) -> Result<bool> {
        Ok(cx.handover.start)
    }

    /// Waits until the server accepts connections, and looks more often than `pg_ctl -w`, which
    /// would add a tenth of a second to the time service is down.
    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        let new = cx.new_dir();
        let port = match (server::running(&new)?, cx.handover.start_new.clone()) {
            (Some(_), _) => wait_until_ready(&new, START_LIMIT, cx.cancel, || false)?,
            (None, None) => return start(cx, &new),
            (None, Some(command)) => {
                cx.hook("--start-new-command", &command, START_LIMIT)?;
                wait_until_started(&new, START_LIMIT, cx.cancel)?
            }
        };
        up(cx, port)
    }

    /// A server that did not start needs no stopping. One that runs now is somebody's: the engine
    /// has asked before, so it was started in between.
    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        cx.new_is_down()
    }
}

/// Service is up, and whoever was held back may come.
fn up(cx: &mut Context<'_>, port: u16) -> Result<String> {
    cx.service_is_up()?;
    cx.resume_pooler(cx.handover.resume.as_ref());
    Ok(format!("accepts connections on port {port}"))
}

fn start(cx: &mut Context<'_>, new: &DataDir) -> Result<String> {
    let (installation, cancel) = (cx.new_installation(), cx.cancel);
    let log = cx.logs().join("pg_ctl-start.log");
    let pg_ctl = Program::new(&installation, "pg_ctl")
        .args(["start", "-w", "-s"])
        .args([
            "-t".into(),
            std::ffi::OsString::from(START_LIMIT.as_secs().to_string()),
        ])
        .args(["-D".into(), new.path.clone().into_os_string()])
        .args(["-l".into(), new.path.join(LOG).into_os_string()])
        .failing_with(Code::ServerStart)
        .within(START_LIMIT + server::PG_CTL_MARGIN)
        .ending_alone()
        .server_logs_to(&new.path.join(LOG))
        .log_to(&log);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let started = scope.spawn(|| {
            let ran = pg_ctl.run(cancel);
            over.store(true, Ordering::SeqCst);
            ran
        });
        match wait_until_ready(new, START_LIMIT, cancel, || over.load(Ordering::SeqCst)) {
            // The time service was down is over; whether it was a good start pg_ctl says.
            Ok(port) => {
                let said = up(cx, port)?;
                match started.join() {
                    // A server that serves is none the worse for a pg_ctl that hangs.
                    Ok(Err(error)) if error.code() != Code::ProgramHangs || !serves(new) => {
                        Err(error)
                    }
                    _ => Ok(said),
                }
            }
            Err(not_ready) => match started.join() {
                Ok(Err(error)) => Err(error),
                _ => Err(not_ready),
            },
        }
    })
}

fn serves(new: &DataDir) -> bool {
    matches!(server::running(new), Ok(Some(file)) if file.ready())
}
