//! Old is stopped where it serves, and stays down while the cutover works.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Code, Error, Remedy, Result};
use crate::pg::PostmasterOpts;
use crate::server::sessions::{self, Session};
use crate::server::{Client, Running};
use crate::steps::context::{CONTROL, Handover};
use crate::steps::{Context, Phase, Step, first_copies};

/// How many sessions are named.
const NAMED: usize = 10;
/// How often it is looked whether sessions have become idle.
const LOOK: Duration = Duration::from_millis(100);

pub(super) struct StopOldServer;

/// What the way back needs: how old was serving.
#[derive(Debug, Serialize, Deserialize)]
struct Intent {
    v: u32,
    /// How the operator's server had been started; nothing where none was running.
    #[serde(default)]
    serving: Option<PostmasterOpts>,
    /// What the operator wants to be done around the cutover.
    #[serde(default)]
    handover: Handover,
}

impl Step for StopOldServer {
    fn name(&self) -> &'static str {
        "stop-old-server"
    }

    fn phase(&self) -> Phase {
        Phase::Cutover
    }

    fn intent(&self, cx: &mut Context<'_>) -> Result<Value> {
        let intent = Intent {
            v: 2,
            serving: cx.old_is_serving()?.map(|running| running.opts),
            handover: cx.handover.clone(),
        };
        serde_json::to_value(&intent).map_err(|e| {
            Error::new(Code::Internal, "the intent of a step could not be written").caused_by(&e)
        })
    }

    /// A postmaster.pid with the number of this living process keeps every other server away;
    /// once this process is dead the file is stale, and PostgreSQL removes stale ones itself.
    fn apply(&self, cx: &mut Context<'_>, intent: &Value) -> Result<String> {
        let intent = read(intent)?;
        cx.handover.take_over(intent.handover);
        // One that was started since is no server the way back would start again: holding fails.
        let serving = match intent.serving {
            Some(_) => cx.old_is_serving()?,
            None => None,
        };
        let Some(running) = serving else {
            cx.service_went_down();
            cx.hold_old()?;
            return Ok("old is down and kept from being started".to_owned());
        };
        look_around(cx, &running)?;
        cx.service_goes_down()?;
        cx.pause_pooler()?;
        first_copies::hold_wal(cx);
        let asked = Instant::now();
        cx.stop_serving(&running)?;
        let took = asked.elapsed().as_secs_f64();
        cx.hold_old()?;
        Ok(format!(
            "old stopped in {took:.1} s; kept from being started"
        ))
    }

    /// The number in the file was that of the process that died. Once new is released old is
    /// let go of.
    fn renew(&self, cx: &mut Context<'_>, intent: &Value) -> Result<()> {
        cx.handover.take_over(read(intent)?.handover);
        if !cx.new_is_released()? {
            cx.hold_old()?;
        }
        cx.service_went_down();
        Ok(())
    }

    /// Old is what it was until it is retired, and new cannot be started until it is released.
    fn relieve(&self, cx: &mut Context<'_>, intent: &Value) -> Result<()> {
        let unharmed = cx.new_is_out_of_reach()? && cx.old_area()?.path(CONTROL)?.exists();
        match unharmed {
            true => self.undo(cx, intent),
            false => Ok(()),
        }
    }

    /// Only a file of ours goes; one that a server wrote since is that server's. Where the
    /// cutover has stopped old, old goes back into service.
    fn undo(&self, cx: &mut Context<'_>, intent: &Value) -> Result<()> {
        cx.let_go_of_old()?;
        let intent = read(intent)?;
        let Some(opts) = intent.serving else {
            return Ok(());
        };
        cx.service_went_down();
        if let Err(error) = cx.serve_again(&opts, &intent.handover) {
            return Err(match &intent.handover.resume {
                Some(command) => error.fact("when the old server is up again, run", command),
                None => error,
            });
        }
        cx.service_is_up()?;
        cx.resume_pooler(intent.handover.resume.as_ref());
        cx.note("the old server is in service again");
        Ok(())
    }
}

fn read(intent: &Value) -> Result<Intent> {
    serde_json::from_value(intent.clone()).map_err(|e| {
        Error::new(Code::StateFormat, "the intent of a step could not be read").caused_by(&e)
    })
}

/// Waits until nobody is in a transaction or takes a backup, where that was asked for; names who
/// is, and which receivers of WAL the stop will wait for.
fn look_around(cx: &Context<'_>, running: &Running) -> Result<()> {
    let mut client = connect(running)?;
    let started = Instant::now();
    let (working, backups) = loop {
        let working = sessions::at_work(&mut client)?;
        let backups = sessions::backups(&mut client, running.endpoint.major)?;
        let busy = !working.is_empty() || !backups.is_empty();
        match cx.handover.wait_idle {
            Some(limit) if busy && started.elapsed() < limit => {}
            Some(limit) if busy => return Err(not_idle([working, backups].concat(), limit)),
            _ => break (working, backups),
        }
        cx.cancel.check()?;
        std::thread::sleep(LOOK);
    };
    name(
        cx,
        "is ended by the stop, its transaction is rolled back",
        &working,
    );
    name(cx, "is ended by the stop and of no use then", &backups);
    let behind = sessions::behind(&mut client)?;
    name(cx, "is waited for by the stop", &behind);
    Ok(())
}

fn connect(running: &Running) -> Result<Client> {
    let endpoint = &running.endpoint;
    endpoint
        .connect("template1")
        .or_else(|error| endpoint.connect("postgres").map_err(|_| error))
}

fn name(cx: &Context<'_>, what: &str, sessions: &[Session]) {
    for session in sessions.iter().take(NAMED) {
        cx.note(format!("{} {what}", session.description));
    }
    if sessions.len() > NAMED {
        cx.note(format!("and {} more", sessions.len() - NAMED));
    }
}

fn not_idle(sessions: Vec<Session>, limit: Duration) -> Error {
    let error = Error::new(
        Code::OldServerBusy,
        format!(
            "after {} s there are still sessions in the middle of a transaction or of a backup",
            limit.as_secs()
        ),
    )
    .fact("sessions", sessions.len());
    sessions
        .iter()
        .take(NAMED)
        .fold(error, |error, session| {
            error.fact("session", &session.description)
        })
        .remedy(Remedy::manual(
            "let them end, or end them with pg_terminate_backend, and run the cutover again; \
             without --wait-idle the stop ends them, rolls their transactions back, and what was \
             backed up is of no use",
        ))
}
