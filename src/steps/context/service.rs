//! Service: how it is handed over, and how long it is down.

use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::Context;
use crate::disk::Era;
use crate::error::{Code, Error, Remedy, Result};
use crate::event::DowntimePart;
use crate::pg::{ClusterState, PostmasterOpts};
use crate::server::{self, Hook, Running, StartSpec, StopSpec};
use crate::work::Cancel;

/// When service went down, for a process that goes on in place of the one that took it down.
const DOWN_SINCE: &str = "down-since.json";
/// How long a command for a pooler may take.
const POOLER_LIMIT: Duration = Duration::from_secs(60);
/// How long a server may take to start.
const START_LIMIT: Duration = Duration::from_secs(600);
/// How long after a command that starts a server nothing of one may be seen.
const SIGN_LIMIT: Duration = Duration::from_secs(60);
/// How long a server that somebody may still be about to stop is watched.
const STEADY: Duration = Duration::from_secs(3);
/// How long processes of a server that crashed may take to end.
const ORPHANS: Duration = Duration::from_secs(60);
/// How long they are waited for without a word.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a server that is on its way is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// What the operator wants to be done around the cutover.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// Whether new is started at the end.
    pub start: bool,
    /// Whether old's files are written down when it has stopped.
    #[serde(default)]
    pub manifest: bool,
    /// How long to wait until nobody is in a transaction.
    pub wait_idle: Option<Duration>,
    /// How long old may take to stop, or to start again.
    pub stop_timeout: Duration,
    /// Holds a pooler before old is stopped.
    pub pause: Option<String>,
    /// Lets the pooler go on, with new or, after a failure, with old.
    pub resume: Option<String>,
    /// Stops old instead of a signal.
    pub stop_old: Option<String>,
    /// Starts old again, instead of `pg_ctl`, when the cutover fails.
    pub start_old: Option<String>,
    /// Starts new instead of `pg_ctl`.
    pub start_new: Option<String>,
}

impl Handover {
    /// Whoever goes on with a cutover need not say again what was said when it began.
    pub fn take_over(&mut self, begun: Self) {
        let keep = |mine: &mut Option<String>, theirs| {
            if mine.is_none() {
                *mine = theirs;
            }
        };
        self.start |= begun.start;
        self.manifest |= begun.manifest;
        keep(&mut self.pause, begun.pause);
        keep(&mut self.resume, begun.resume);
        keep(&mut self.stop_old, begun.stop_old);
        keep(&mut self.start_old, begun.start_old);
        keep(&mut self.start_new, begun.start_new);
    }
}

/// When service went down, for another process on this machine.
#[derive(Debug, Serialize, Deserialize)]
struct DownSince {
    /// Milliseconds since 1970, as the clock said.
    clock: u64,
    /// What tells whether the clock was set since.
    era: Option<Era>,
}

impl DownSince {
    fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let millis = since.unwrap_or_default().as_millis();
        Self {
            clock: u64::try_from(millis).unwrap_or_default(),
            era: Era::now(),
        }
    }

    /// How long ago that was, whatever became of the clock in between. After another boot of the
    /// machine nothing but the clock can tell.
    fn until(&self, now: &Self) -> Option<Duration> {
        let set = match (&self.era, &now.era) {
            (Some(then), Some(now)) => then.set_forward(now).unwrap_or(0) / 1_000_000,
            _ => 0,
        };
        let apart = i64::try_from(now.clock).ok()? - i64::try_from(self.clock).ok()?;
        let millis = u64::try_from(apart.checked_sub(set)?).ok()?;
        Some(Duration::from_millis(millis))
    }
}

/// How long service is down, and what the time went into.
#[derive(Debug, Default)]
pub struct Outage {
    began: Option<Instant>,
    ended: Option<Instant>,
    parts: Vec<DowntimePart>,
}

impl Outage {
    /// A step has taken so long; it counts where service was down meanwhile.
    pub fn add(&mut self, step: &str, seconds: f64) {
        let Some(began) = self.began else { return };
        let down = self.ended.unwrap_or_else(Instant::now) - began;
        let room = down.as_secs_f64() - self.parts.iter().map(|part| part.seconds).sum::<f64>();
        if room > 0.0 {
            self.parts.push(DowntimePart {
                what: step.to_owned(),
                seconds: seconds.min(room),
            });
        }
    }

    /// How long service was down, where that is over, and its parts.
    pub fn account(&self) -> Option<(f64, Vec<DowntimePart>)> {
        let seconds = (self.ended? - self.began?).as_secs_f64();
        Some((seconds, self.parts.clone()))
    }
}

impl Context<'_> {
    /// Runs a command of the operator.
    pub fn hook(&self, option: &str, command: &str, timeout: Duration) -> Result<()> {
        Hook {
            option,
            command,
            log: &self.logs().join("commands.log"),
            timeout,
        }
        .run(self.cancel)
    }

    /// Service goes down now.
    pub fn service_goes_down(&mut self) -> Result<()> {
        self.outage = Outage {
            began: Some(Instant::now()),
            ..Outage::default()
        };
        self.save(DOWN_SINCE, &DownSince::now())
    }

    /// Service may have been down since another process took it down.
    pub fn service_went_down(&mut self) {
        if self.outage.began.is_some() {
            return;
        }
        let since = self.load::<DownSince>(DOWN_SINCE).ok();
        let down = since.and_then(|since| since.until(&DownSince::now()));
        self.outage.began = down.and_then(|down| Instant::now().checked_sub(down));
    }

    /// Service is up again, on whichever side.
    pub fn service_is_up(&mut self) -> Result<()> {
        self.outage.ended.get_or_insert_with(Instant::now);
        self.state.remove_file(DOWN_SINCE)
    }

    /// The program has done its part: service can be up, and is when somebody starts new.
    pub fn service_can_be_up(&mut self) -> Result<()> {
        if self.outage.began.is_some() {
            self.note(
                "service stays down until the new cluster is started; the time told below ends \
                 where it can be",
            );
        }
        self.service_is_up()
    }

    /// Stops the operator's server, and verifies that it has shut down.
    pub fn stop_serving(&mut self, running: &Running) -> Result<()> {
        let timeout = self.handover.stop_timeout;
        let spec = StopSpec { timeout };
        match &self.handover.stop_old {
            None => running.stop(&spec, self.cancel)?,
            Some(command) => {
                self.hook("--stop-old-command", command, timeout)?;
                running.wait_until_stopped(&spec, self.cancel)?
            }
        };
        self.old_serving = None;
        Ok(())
    }

    /// Puts old back into service as it was, and verifies that it accepts sessions.
    ///
    /// A server that is still stopping is waited for: nothing takes its request back.
    pub fn serve_again(&mut self, opts: &PostmasterOpts, handover: &Handover) -> Result<()> {
        let limit = handover.stop_timeout.max(START_LIMIT);
        let started = Instant::now();
        loop {
            wait_while_stopping(self, limit)?;
            wait_while_starting(self, limit)?;
            match self.old_is_serving()? {
                None => break,
                // A service manager does what it was asked for, also when whoever asked is gone.
                Some(_) if handover.stop_old.is_some() && started.elapsed() < limit => {
                    if stays_ready(self)? {
                        return Ok(());
                    }
                }
                Some(_) => return Ok(()),
            }
        }
        if self.old_control()?.state != ClusterState::ShutDown {
            self.note("the old server was not shut down: it recovers while it starts");
            wait_for_orphans(self, ORPHANS)?;
        }
        let (data_dir, installation) = (self.old_dir(), self.old_installation());
        match &handover.start_old {
            None => Running::start_again(
                &StartSpec {
                    installation: &installation,
                    data_dir: &data_dir,
                    user: &self.plan.install_user,
                    opts,
                    log: &self.logs().join("old-server-restarted.log"),
                    timeout: limit,
                },
                self.cancel,
            )
            .map(|_| ()),
            Some(command) => {
                self.hook("--start-old-command", command, limit)?;
                wait_until_started(&data_dir, limit, self.cancel).map(|_| ())
            }
        }
    }

    /// Lets a pooler go on. The side it will find is in service, so a failure is only told.
    pub fn resume_pooler(&self, command: Option<&String>) {
        if let Some(command) = command
            && let Err(error) = self.hook("--resume-command", command, POOLER_LIMIT)
        {
            self.warn(format!("{}: run it by hand: {command}", error.message()));
        }
    }

    /// Holds a pooler.
    pub fn pause_pooler(&self) -> Result<()> {
        match &self.handover.pause {
            Some(command) => self.hook("--pause-command", command, POOLER_LIMIT),
            None => Ok(()),
        }
    }
}

/// Waits for a server that is on its way up: a service manager may have been quicker.
fn wait_while_starting(cx: &Context<'_>, limit: Duration) -> Result<()> {
    match server::running(&cx.old_dir())? {
        Some(file) if !file.ready() => {
            let dir = cx.old_dir();
            let gone = || !matches!(server::running(&dir), Ok(Some(_)));
            // One that ended again is started by us.
            wait_until_ready(&dir, limit, cx.cancel, gone).map_or(Ok(()), |_| Ok(()))
        }
        _ => Ok(()),
    }
}

/// It has been asked to stop, and nobody can take that back: it is told that one waits for it.
pub(super) fn wait_while_stopping(cx: &Context<'_>, limit: Duration) -> Result<()> {
    let started = Instant::now();
    let mut told = false;
    while let Some(file) = server::running(&cx.old_dir())? {
        if file.status != "stopping" {
            return Ok(());
        }
        let pid = file.process();
        if started.elapsed() > limit {
            let error = Error::new(
                Code::ServerStop,
                "the old server is still stopping, so it cannot be started again",
            )
            .fact("data directory", cx.plan.old.data_dir.display())
            .fact("process", pid);
            return Err(server::name_those_at_work(error, pid, &cx.plan.old.data_dir).remedy(
                Remedy::manual(
                    "see in its log what it waits for, and end that; then run rollback, or resume: \
                     each begins with starting it again",
                ),
            ));
        }
        if !told && started.elapsed() > STEADY {
            told = true;
            cx.warn(format!(
                "the old server is still stopping; it is waited for, {} s at most, and started again",
                limit.as_secs()
            ));
        }
        cx.cancel.check()?;
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// What a server that crashed has left at work keeps the next one away; where it takes too long, the
/// start says so.
///
/// Whoever is asked to stop here leaves old to a later run, which waits again. What was asked before
/// has led here, and does not count.
pub(super) fn wait_for_orphans(cx: &Context<'_>, limit: Duration) -> Result<()> {
    cx.asked.answered();
    let started = Instant::now();
    let mut told = false;
    loop {
        let orphans = server::orphans(&cx.plan.old.data_dir);
        let Some(first) = orphans.first() else {
            return Ok(());
        };
        if started.elapsed() > limit {
            return Ok(());
        }
        if !told && started.elapsed() > PATIENCE {
            told = true;
            let others = match orphans.len() - 1 {
                0 => String::new(),
                others => format!(" and {others} more"),
            };
            cx.warn(format!(
                "{first}{others} outlived the old server, which cannot start beside that; its end \
                 is waited for, {} s at most",
                limit.as_secs()
            ));
        }
        cx.asked.check()?;
        std::thread::sleep(LOOK);
    }
}

/// Whether old goes on serving for a while.
fn stays_ready(cx: &Context<'_>) -> Result<bool> {
    let since = Instant::now();
    while since.elapsed() < STEADY {
        match server::running(&cx.old_dir())? {
            Some(file) if file.ready() => {}
            _ => return Ok(false),
        }
        cx.cancel.check()?;
        std::thread::sleep(LOOK);
    }
    Ok(true)
}

/// Waits until the server that a command was to start accepts sessions; gives its port.
///
/// A command that succeeds may have started nothing: that ends the waiting when for a minute no
/// server has been seen.
pub fn wait_until_started(
    data_dir: &crate::pg::DataDir,
    limit: Duration,
    cancel: &Cancel,
) -> Result<u16> {
    wait_for_sign(data_dir, SIGN_LIMIT, limit, cancel)
}

fn wait_for_sign(
    data_dir: &crate::pg::DataDir,
    sign: Duration,
    limit: Duration,
    cancel: &Cancel,
) -> Result<u16> {
    let seen = std::cell::Cell::new(Instant::now());
    let nobody = || {
        if matches!(server::running(data_dir), Ok(None)) {
            return seen.get().elapsed() > sign;
        }
        seen.set(Instant::now());
        false
    };
    let waited = wait_until_ready(data_dir, limit, cancel, nobody);
    waited.map_err(|error| match (error.code(), nobody()) {
        (Code::ServerStart, true) => error.remedy(Remedy::manual(
            "the command succeeded, and no server is running there: try it by hand",
        )),
        _ => error,
    })
}

/// Waits until a server in this data directory accepts sessions; gives its port.
///
/// Ends early where `over` says that nobody is starting one any more.
pub fn wait_until_ready(
    data_dir: &crate::pg::DataDir,
    limit: Duration,
    cancel: &Cancel,
    over: impl Fn() -> bool,
) -> Result<u16> {
    let started = Instant::now();
    loop {
        let nobody = over();
        if let Some(file) = server::running(data_dir)?
            && file.ready()
        {
            return Ok(file.port);
        }
        if nobody || started.elapsed() > limit {
            return Err(Error::new(
                Code::ServerStart,
                "no server accepts sessions in the data directory",
            )
            .fact("data directory", data_dir.path.display())
            .fact("waited", format!("{} s", started.elapsed().as_secs())));
        }
        cancel.check()?;
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::{DataDir, MajorVersion};

    #[test]
    fn how_long_service_was_down_is_known_whatever_became_of_the_clock() {
        let now = DownSince::now();
        assert_eq!(now.until(&now), Some(Duration::ZERO));
        let bare = |clock| DownSince { clock, era: None };
        assert_eq!(bare(1000).until(&bare(4000)), Some(Duration::from_secs(3)));
        assert_eq!(bare(4000).until(&bare(1000)), None);

        // As another process has written it down.
        let at = |clock: u64, boot: &str, ahead: i64| {
            let era = serde_json::json!({"boot": boot, "ahead": ahead * 1_000_000_000});
            let text = serde_json::json!({"clock": clock, "era": era});
            serde_json::from_value::<DownSince>(text).unwrap()
        };
        let then = at(10_000, "a", 50);
        let down = |now: &DownSince| then.until(now).map(|down| down.as_secs());
        assert_eq!(down(&at(13_000, "a", 50)), Some(3));
        assert_eq!(down(&at(15_000, "a", 52)), Some(3), "set forward");
        assert_eq!(down(&at(4_000, "a", 41)), Some(3), "set back");
        assert_eq!(down(&at(15_000, "b", 52)), Some(5), "booted since");
        assert_eq!(down(&bare(15_000)), Some(5));
        assert_eq!(down(&at(11_000, "a", 52)), None);
    }

    #[test]
    fn a_command_that_started_nothing_is_not_waited_for_to_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = DataDir {
            path: dir.path().to_owned(),
            config_dir: dir.path().to_owned(),
            major: MajorVersion(17),
        };
        let begun = Instant::now();
        let (sign, long) = (Duration::from_millis(50), Duration::from_secs(60));
        let error = wait_for_sign(&data_dir, sign, long, &Cancel::new()).unwrap_err();
        assert_eq!(error.code(), Code::ServerStart);
        assert!(error.to_string().contains("no server"), "{error}");
        assert!(begun.elapsed() >= sign && begun.elapsed() < long / 2);
    }
}
