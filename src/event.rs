//! What happens, as one stream of typed events.
//!
//! The first event is `run_started`, with all steps of the run; the last is `run_finished`,
//! and there is exactly one of each. `seq` has no gap. Only `progress` may be dropped by a
//! listener. A `standing` event follows its journal line, never precedes it. Terminal, JSON
//! Lines and the report are functions of this stream alone.

mod finding;

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Exit};
pub use crate::journal::{Phase, Standing, StepState};
use crate::pg::Version;
pub use finding::{Advice, Found, ListedCheck, Severity, SkipOption, Skipped, Tally};

/// One event, as it is sent and stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Position in the run, from 1.
    pub seq: u64,
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// A step as `run_started` announces it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepLabel {
    /// Name of the step.
    pub step: String,
    /// Its half of the upgrade.
    pub phase: Phase,
}

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Good to know.
    Note,
    /// Should be looked at.
    Warning,
}

/// A thing left to the operator at the end, with the commands that do it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remaining {
    /// A clause that says what is to be done and why.
    pub what: String,
    /// The commands, ready to be pasted.
    pub commands: Vec<String>,
}

/// One of the two clusters, as the head of a run shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFacts {
    /// `old` or `new`.
    pub side: String,
    /// The data directory.
    pub data_directory: PathBuf,
    /// The version of its installation.
    pub version: Version,
    /// `stopped, 3 databases, 20,114 tables`: what is known, as a clause.
    pub description: String,
}

/// A folder of old with relation files: how they can get to new, and how they will.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassageFacts {
    /// The folder.
    pub old: PathBuf,
    /// Where new will have it.
    pub new: PathBuf,
    /// The modes that are possible.
    pub possible: Vec<String>,
    /// Those that are not, each with the reason.
    pub refused: Vec<(String, String)>,
    /// The one that was decided on.
    pub mode: Option<String>,
}

/// A part of the time service was down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DowntimePart {
    /// The step it went into.
    pub what: String,
    /// How long that took.
    pub seconds: f64,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// The first event.
    RunStarted {
        /// Name of the command.
        command: String,
        /// Version of this program.
        program: String,
        /// `link`, `copy` and so on, where one is known; `auto` before it is decided on.
        mode: Option<String>,
        /// When the way back ends in this mode, as a clause.
        way_back: Option<String>,
        /// The steps that may run, in order.
        steps: Vec<StepLabel>,
    },
    /// What is known about a cluster.
    Cluster(ClusterFacts),
    /// What can be done with the files of a folder of old.
    Passage(PassageFacts),
    /// A step begins.
    StepStarted {
        /// Name of the step.
        step: String,
    },
    /// How far the step is; may be dropped.
    Progress {
        /// Name of the step.
        step: String,
        /// What is counted: `tables`, `files`, `bytes`.
        unit: String,
        /// How many are done.
        done: u64,
        /// Of how many.
        total: Option<u64>,
    },
    /// A step is done.
    StepFinished {
        /// Name of the step.
        step: String,
        /// What it did, as a clause; may be empty.
        detail: String,
        /// How long it took.
        seconds: f64,
    },
    /// A step failed; the reason is in `run_finished`.
    StepFailed {
        /// Name of the step.
        step: String,
    },
    /// A step is undone.
    StepUndone {
        /// Name of the step.
        step: String,
        /// How long it took.
        seconds: f64,
    },
    /// How far a step is of which nothing is being done now.
    StepStands {
        /// Name of the step.
        step: String,
        /// How far it is.
        state: StepState,
    },
    /// The text of a code or a check.
    Explained {
        /// What was asked about.
        name: String,
        /// Its text.
        text: String,
    },
    /// A check there is.
    CheckListed(ListedCheck),
    /// A check found something.
    Finding(Found),
    /// The findings of a check were written to a file, because there are many.
    FindingsListed {
        /// Name of the check.
        check: String,
        /// How many.
        findings: usize,
        /// Where.
        file: PathBuf,
    },
    /// Remedies were written to a file, as a script for psql.
    RemediesWritten {
        /// Where.
        file: PathBuf,
        /// How many it carries out.
        statements: usize,
        /// How many are in it as comments, because they throw something away.
        destructive: usize,
        /// How many findings are remedied otherwise.
        by_hand: usize,
        /// The command that runs it.
        command: String,
    },
    /// A check was left out.
    CheckSkipped(Skipped),
    /// All checks that are wanted were made.
    ChecksFinished(Tally),
    /// Something to be said.
    Message {
        /// How much it matters.
        level: Level,
        /// The sentence.
        text: String,
    },
    /// How long the cutover will keep service down, as far as can be known before.
    DowntimeEstimated {
        /// For which mode.
        #[serde(default)]
        mode: Option<String>,
        /// In the ordinary case.
        seconds: f64,
        /// What that time goes into, in order.
        parts: Vec<DowntimePart>,
        /// What is added where the catalogs of old change after they were read.
        again_seconds: f64,
        /// What could not be measured and was taken to be usual, with the reasons.
        #[serde(default)]
        assumed: Vec<String>,
    },
    /// The journal has a new standing.
    Standing {
        /// Which.
        standing: Standing,
    },
    /// What is left to the operator.
    Remaining {
        /// In the order it should be done.
        items: Vec<Remaining>,
    },
    /// The last event.
    RunFinished {
        /// The exit status by name.
        exit: Exit,
        /// The exit status as a number.
        status: u8,
        /// What state the clusters are in, as a sentence.
        standing: String,
        /// Why it failed.
        error: Option<Error>,
        /// The commands that may follow.
        next: Vec<String>,
        /// How long the run took.
        seconds: f64,
        /// How long service was down, where this run took it down.
        downtime_seconds: Option<f64>,
        /// What that time went into, in order.
        #[serde(default)]
        downtime_parts: Vec<DowntimePart>,
    },
}

/// Whoever has something to say is given one of these.
pub trait Sink: Send + Sync {
    /// Sends an event.
    fn emit(&self, kind: EventKind);
}

/// Whoever wants to hear is one of these.
pub trait Listener: Send {
    /// Receives an event; must not block for long.
    fn hear(&mut self, event: &Event);
}

/// The stream: numbers the events and hands each to every listener, in order.
#[derive(Default)]
pub struct Stream {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    seq: u64,
    listeners: Vec<Box<dyn Listener>>,
    /// Kept until a recorder exists, because the state directory is made during the run.
    backlog: Vec<Event>,
    recorded: bool,
}

impl Stream {
    /// A stream with these listeners.
    pub fn new(listeners: Vec<Box<dyn Listener>>) -> Self {
        Self {
            inner: Mutex::new(Inner {
                listeners,
                ..Inner::default()
            }),
        }
    }

    /// Whether a recorder was added.
    pub fn recorded(&self) -> bool {
        lock(&self.inner).recorded
    }

    /// Adds the recorder: it first hears everything sent so far.
    pub fn record(&self, mut recorder: Box<dyn Listener>) {
        let mut inner = lock(&self.inner);
        for event in inner.backlog.drain(..) {
            recorder.hear(&event);
        }
        inner.recorded = true;
        inner.listeners.push(recorder);
    }
}

impl Sink for Stream {
    fn emit(&self, kind: EventKind) {
        let mut inner = lock(&self.inner);
        inner.seq += 1;
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let event = Event {
            seq: inner.seq,
            time,
            kind,
        };
        if !inner.recorded {
            inner.backlog.push(event.clone());
        }
        for listener in &mut inner.listeners {
            listener.hear(&event);
        }
    }
}

/// A listener that panicked must not silence the others.
fn lock(inner: &Mutex<Inner>) -> std::sync::MutexGuard<'_, Inner> {
    inner
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    struct Kept(Arc<Mutex<Vec<Event>>>);

    impl Listener for Kept {
        fn hear(&mut self, event: &Event) {
            self.0.lock().unwrap().push(event.clone());
        }
    }

    fn message(text: &str) -> EventKind {
        EventKind::Message {
            level: Level::Note,
            text: text.into(),
        }
    }

    #[test]
    fn a_late_recorder_misses_nothing() {
        let early = Arc::new(Mutex::new(Vec::new()));
        let late = Arc::new(Mutex::new(Vec::new()));
        let stream = Stream::new(vec![Box::new(Kept(early.clone()))]);
        stream.emit(message("one"));
        stream.record(Box::new(Kept(late.clone())));
        stream.emit(message("two"));
        assert_eq!(*early.lock().unwrap(), *late.lock().unwrap());
        let seqs: Vec<_> = late.lock().unwrap().iter().map(|event| event.seq).collect();
        assert_eq!(seqs, [1, 2]);
    }

    #[test]
    fn an_event_is_one_flat_json_object() {
        let event = Event {
            seq: 3,
            time: "t".into(),
            kind: message("hello"),
        };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(
            text,
            r#"{"seq":3,"time":"t","event":"message","level":"note","text":"hello"}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }
}
