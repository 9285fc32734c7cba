//! What all commands have in common: the stream of events, the first one and the last.

use std::time::Instant;

use super::args::Global;
use crate::disk::Area;
use crate::engine::Outcome;
use crate::error::{Code, Error, Exit, Remedy};
use crate::event::{
    ClusterFacts, DowntimePart, EventKind, Listener, Phase, Sink, StepLabel, Stream,
};
use crate::journal::Standing;
use crate::pg::DataDir;
use crate::plan::{Mode, Plan, start_command};
use crate::render::{Clusters, JsonLines, Look, Show, Terminal, standing_sentence};
use crate::server::{self, install_signal_handlers};
use crate::steps::{KEEP_NEW, NewState, compared_old, new_state, registry};
use crate::work::Cancel;

/// One command at work.
pub struct Run {
    /// Where events go.
    pub stream: Stream,
    /// The request to stop.
    pub cancel: Cancel,
    started: Instant,
}

/// Text for people, on both standard streams.
pub fn terminal() -> Terminal {
    Terminal::new(
        Box::new(std::io::stdout()),
        Look::of_stdout(),
        Box::new(std::io::stderr()),
        Look::of_stderr(),
    )
}

/// What the last event says besides the outcome.
#[derive(Default)]
pub struct Ending {
    /// The state of both clusters, as a sentence; made from the standing if empty.
    pub standing: Option<String>,
    /// The commands that may follow.
    pub next: Vec<String>,
    /// How long service was down, and what the time went into.
    pub downtime: Option<(f64, Vec<DowntimePart>)>,
}

impl Run {
    /// Begins a command: its listeners, its signal handlers.
    pub fn begin(global: &Global) -> Self {
        let listener: Box<dyn Listener> = if global.json {
            Box::new(JsonLines::new(Box::new(std::io::stdout())))
        } else {
            let show = if global.verbose {
                Show::All
            } else {
                Show::Usual
            };
            Box::new(terminal().show(show))
        };
        let cancel = Cancel::new();
        let run = Self {
            stream: Stream::new(vec![listener]),
            cancel,
            started: Instant::now(),
        };
        // Without handlers Ctrl-C ends the program as a crash would: that is provided for.
        let _ = install_signal_handlers(&run.cancel);
        run
    }

    /// The first event.
    pub fn announce(&self, command: &str, mode: Option<Mode>, phases: &[Phase]) {
        let steps = registry()
            .iter()
            .filter(|step| phases.contains(&step.phase()))
            .map(|step| StepLabel {
                step: step.name().to_owned(),
                phase: step.phase(),
            })
            .collect();
        self.stream.emit(EventKind::RunStarted {
            command: command.to_owned(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            mode: mode.map(|mode| mode.to_string()),
            way_back: mode.map(|mode| mode.way_back().to_owned()),
            steps,
        });
    }

    /// What is known about both clusters of a plan.
    pub fn introduce(&self, plan: &Plan, old: String, new: String) {
        for (side, data_directory, version, description) in [
            ("old", &plan.old.data_dir, &plan.old.version, old),
            ("new", &plan.new.data_dir, &plan.new.version, new),
        ] {
            self.stream.emit(EventKind::Cluster(ClusterFacts {
                side: side.to_owned(),
                data_directory: data_directory.clone(),
                version: version.clone(),
                description,
            }));
        }
    }

    /// The last event; the plan is that of the migration, where there is one.
    pub fn finish(&self, outcome: Outcome, plan: Option<&Plan>, ending: Ending) -> Exit {
        let sentence = match (&ending.standing, outcome.standing, plan) {
            (Some(sentence), _, _) => sentence.clone(),
            (None, Some(standing), Some(plan)) => standing_sentence(standing, clusters(plan)),
            _ => NOTHING_CHANGED.to_owned(),
        };
        let (downtime_seconds, downtime_parts) = ending.downtime.unzip();
        self.stream.emit(EventKind::RunFinished {
            exit: outcome.exit,
            status: outcome.exit.status(),
            standing: sentence,
            error: outcome.error,
            next: ending.next,
            seconds: self.started.elapsed().as_secs_f64(),
            downtime_seconds,
            downtime_parts: downtime_parts.unwrap_or_default(),
        });
        outcome.exit
    }

    /// The last event of a command on a migration that could not even be read.
    pub fn refuse_unread(&self, error: Error) -> Exit {
        let ending = Ending {
            standing: Some("this command has changed nothing".to_owned()),
            ..Ending::default()
        };
        self.finish(Outcome::unchanged(error, None), None, ending)
    }

    /// The last event of a run that failed before it did anything.
    pub fn refuse(&self, error: Error) -> Exit {
        self.finish(Outcome::unchanged(error, None), None, Ending::default())
    }
}

const NOTHING_CHANGED: &str = "nothing has been changed; both clusters are as they were";

fn clusters(plan: &Plan) -> Clusters<'_> {
    let early = early(plan);
    Clusters {
        old: &plan.old.data_dir,
        new: &plan.new.data_dir,
        started: started(plan),
        early: early.is_some(),
        shared: early.unwrap_or(plan.mode.shares_files()),
        serving: serving(plan),
        differs: differs(plan),
    }
}

/// Whether a server runs in old; what cannot be read says nothing about one.
pub fn serving(plan: &Plan) -> bool {
    let old = DataDir {
        path: plan.old.data_dir.clone(),
        config_dir: plan.old.config_dir.clone(),
        major: plan.old.version.major,
    };
    matches!(server::running(&old), Ok(Some(_)))
}

/// Whether the last way back has found that old is not what it was.
fn differs(plan: &Plan) -> bool {
    let compared = Area::new(&plan.state_dir).map(|area| compared_old(&area));
    matches!(compared, Ok(Some(compared)) if compared.differs())
}

/// Whether new has been started since it was handed over.
fn started(plan: &Plan) -> bool {
    became(plan) == Some(NewState::Started)
}

/// Where new was started before it was complete, whether it may have had files of old.
fn early(plan: &Plan) -> Option<bool> {
    match became(plan) {
        Some(NewState::StartedEarly { shared }) => Some(shared),
        _ => None,
    }
}

fn became(plan: &Plan) -> Option<NewState> {
    let area = Area::new(&plan.state_dir).ok()?;
    new_state(plan, &area).ok()
}

/// The commands that may follow after this command ended as it did.
pub fn next(command: &str, outcome: &Outcome, plan: &Plan) -> Vec<String> {
    let Some(standing) = outcome.standing else {
        return Vec::new();
    };
    // Its remedy is a command only where that can mend it.
    let drifted = outcome.error.as_ref().is_some_and(|error| {
        let command = matches!(error.remedy_text(), Some(Remedy::Command(_)));
        error.code() == Code::Drift && command
    });
    let differs = outcome.error.as_ref().map(Error::code) == Some(Code::Differences);
    let early = early(plan);
    let commands: &[&str] = match standing {
        Standing::Preparing | Standing::Prepared | Standing::CuttingOver if early.is_some() => {
            match early {
                Some(true) => &[],
                _ => &["rollback --discard-new-writes"],
            }
        }
        Standing::CuttingOver if started(plan) && plan.mode.shares_files() => &["resume"],
        Standing::CuttingOver if started(plan) => &["resume", "rollback --discard-new-writes"],
        Standing::RollingBack if started(plan) && plan.mode.shares_files() => &[KEEP_NEW],
        Standing::RollingBack if started(plan) => &[KEEP_NEW, "rollback --discard-new-writes"],
        Standing::Preparing | Standing::CuttingOver | Standing::RollingBack => {
            &["resume", "rollback"]
        }
        Standing::Prepared | Standing::Upgraded if differs => &["rollback"],
        Standing::Prepared if drifted => &["prepare", "rollback"],
        Standing::Prepared => &["cutover", "rollback"],
        Standing::Upgraded if started(plan) && plan.mode.shares_files() => &["finalize"],
        Standing::Upgraded if started(plan) => &["rollback --discard-new-writes", "finalize"],
        Standing::Upgraded if command == "verify" => &[START, "rollback"],
        Standing::Upgraded => &["verify", START, "rollback"],
        Standing::Finalizing => &["finalize"],
        Standing::RolledBack | Standing::Finalized => &[],
    };
    let line = |command: &&str| match *command {
        START => start_command(plan),
        command => plan.command(command),
    };
    commands.iter().map(line).collect()
}

/// Stands for new's own pg_ctl among the commands of this program.
const START: &str = "start";
