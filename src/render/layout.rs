//! Where on the page each event goes: the pure half of the terminal.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::amount::{between, duration};
use super::block;
use super::findings::{self, Length};
use super::line::{Columns, head, step_line};
use super::look::Look;
use super::progress;
use crate::error::Exit;
use crate::event::{
    ClusterFacts, Event, EventKind, Found, Level, Remaining, Skipped, StepLabel, StepState, Tally,
};
use crate::pg::amount::counted;
use crate::pg::quote::terminal_safe;

/// Seconds between two lines about the same step where nothing can be drawn over.
const QUIET: u64 = 10;

/// Seconds from which on the undoing of a step is worth a line of its own.
const SLOW_UNDO: f64 = 1.0;

/// Which findings are shown where the checks of a run found nothing that blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// `check` and `verify` show them; other commands count them and name the command that
    /// shows them. Of a long list the beginning is shown.
    Usual,
    /// All of them, however many.
    All,
}

/// Where a piece of text is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// Steps and results.
    Output,
    /// What went wrong.
    Errors,
}

/// Whole lines of text, and where they belong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub to: To,
    pub text: String,
}

/// Sections of the page are separated by one empty line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Head,
    Steps,
    Findings,
    Outcome,
    Remaining,
    Next,
    Error,
}

/// What has been said about the run so far, and what is held until its place comes.
#[derive(Debug, Default)]
struct Run {
    command: String,
    mode: Option<String>,
    clusters: Vec<ClusterFacts>,
    new: Option<PathBuf>,
    findings: Vec<Found>,
    lists: BTreeMap<String, PathBuf>,
    skipped: Vec<Skipped>,
    remaining: Vec<Remaining>,
    steps: Vec<StepLabel>,
    undone: Vec<(String, f64)>,
    step: Option<StepClock>,
    open: bool,
}

/// When a step began, and when something was last said about it.
#[derive(Debug)]
struct StepClock {
    began: String,
    said: String,
}

/// Turns events into text; the same events always give the same text.
#[derive(Debug)]
pub(super) struct Layout {
    look: Look,
    error_look: Look,
    pub show: Show,
    pub titles: bool,
    section: Option<Section>,
    run: Run,
    chunks: Vec<Chunk>,
}

impl Layout {
    pub fn new(look: Look, error_look: Look) -> Self {
        Self {
            look,
            error_look,
            show: Show::Usual,
            titles: false,
            section: None,
            run: Run::default(),
            chunks: Vec::new(),
        }
    }

    /// The text that an event brings out.
    pub fn hear(&mut self, event: &Event) -> Vec<Chunk> {
        if !matches!(
            event.kind,
            EventKind::Cluster(_) | EventKind::Standing { .. }
        ) {
            self.write_head();
        }
        if !matches!(
            event.kind,
            EventKind::StepUndone { .. } | EventKind::Progress { .. }
        ) {
            self.write_undone();
        }
        match &event.kind {
            EventKind::RunStarted {
                command,
                mode,
                way_back,
                steps,
                ..
            } => {
                self.start(event, command, mode.as_deref(), way_back.as_deref());
                self.run.steps.clone_from(steps);
            }
            EventKind::Cluster(facts) => self.hold_cluster(facts),
            EventKind::Passage(facts) => self.message(Level::Note, &block::passage(facts)),
            EventKind::StepStarted { .. } => {
                let (began, said) = (event.time.clone(), event.time.clone());
                self.run.step = Some(StepClock { began, said });
            }
            EventKind::Progress {
                step,
                unit,
                done,
                total,
            } => {
                self.progress(event, step, unit, *done, *total);
            }
            EventKind::StepFinished {
                step,
                detail,
                seconds,
            } => {
                self.write_findings(Show::All);
                self.write_step(step, detail, Some(*seconds));
            }
            EventKind::StepFailed { step } => {
                self.write_findings(Show::All);
                self.write_step(step, "failed", None);
            }
            EventKind::StepUndone { step, seconds } => self.undone(step, *seconds),
            EventKind::StepStands { step, state } => self.write_step(step, clause(*state), None),
            // For people the text is printed without a run around it.
            EventKind::Explained { .. } | EventKind::CheckListed(_) => {}
            EventKind::Finding(found) => self.run.findings.push(found.clone()),
            EventKind::FindingsListed { check, file, .. } => {
                self.run.lists.insert(check.clone(), file.clone());
            }
            EventKind::CheckSkipped(skipped) => self.run.skipped.push(skipped.clone()),
            EventKind::ChecksFinished(tally) => self.checks_finished(tally),
            EventKind::Message { level, text } => self.message(*level, text),
            EventKind::RemediesWritten { .. } => {
                self.write_findings(Show::All);
                self.message(Level::Note, &findings::remedies(&event.kind));
            }
            EventKind::DowntimeEstimated {
                mode,
                seconds,
                parts,
                again_seconds,
                ..
            } => self.message(
                Level::Note,
                &block::estimate(mode.as_deref(), *seconds, parts, *again_seconds),
            ),
            EventKind::Standing { .. } => {}
            EventKind::Remaining { items } => self.run.remaining.extend(items.iter().cloned()),
            EventKind::RunFinished { .. } => self.finish(&event.kind),
        }
        std::mem::take(&mut self.chunks)
    }

    /// What is still held where no further event will come.
    pub fn end(&mut self) -> Vec<Chunk> {
        self.write_head();
        self.write_undone();
        self.write_findings(Show::All);
        std::mem::take(&mut self.chunks)
    }

    /// Where the parts of this run's step lines stand.
    pub fn columns(&self) -> Columns {
        Columns::new(&self.run.steps, self.look.width())
    }

    fn write(&mut self, section: Section, to: To, text: String) {
        if text.is_empty() {
            return;
        }
        if self.section.is_some_and(|last| last != section) {
            // Always to the output, so that a file of errors does not begin with it.
            self.chunks.push(Chunk {
                to: To::Output,
                text: "\n".into(),
            });
        }
        self.section = Some(section);
        self.chunks.push(Chunk { to, text });
    }

    fn start(&mut self, event: &Event, command: &str, mode: Option<&str>, way_back: Option<&str>) {
        self.write_findings(Show::All);
        if self.run.open {
            let text = "this run did not come to its end: the program was killed\n";
            self.write(Section::Outcome, To::Output, text.into());
        }
        if self.titles {
            let (command, begun) = (terminal_safe(command), terminal_safe(&event.time));
            let text = format!("=== {command}, begun {begun}\n");
            self.write(Section::Head, To::Output, text);
        }
        let mode = mode.map(|mode| match way_back {
            Some(way_back) => format!("mode {}: {}", terminal_safe(mode), terminal_safe(way_back)),
            None => format!("mode {}", terminal_safe(mode)),
        });
        self.run = Run {
            command: command.to_owned(),
            mode,
            open: true,
            ..Run::default()
        };
    }

    fn hold_cluster(&mut self, facts: &ClusterFacts) {
        if facts.side == "new" {
            self.run.new = Some(facts.data_directory.clone());
        }
        self.run.clusters.push(facts.clone());
    }

    fn write_head(&mut self) {
        let clusters = std::mem::take(&mut self.run.clusters);
        if clusters.is_empty() {
            return;
        }
        let mut text = head(&clusters);
        if let Some(mode) = self.run.mode.take() {
            block::line(&mut text, &mode);
        }
        self.write(Section::Head, To::Output, text);
    }

    fn write_step(&mut self, step: &str, detail: &str, seconds: Option<f64>) {
        self.run.step = None;
        let text = step_line(step, detail, seconds, self.columns());
        self.write(Section::Steps, To::Output, text);
    }

    /// Most steps are undone in no time: they are held, to be told in one line.
    fn undone(&mut self, step: &str, seconds: f64) {
        let told_alone = seconds >= SLOW_UNDO || self.show == Show::All;
        if told_alone {
            self.write_undone();
            self.write_step(step, "undone", Some(seconds));
        } else {
            self.run.undone.push((step.to_owned(), seconds));
        }
    }

    fn write_undone(&mut self) {
        let held = std::mem::take(&mut self.run.undone);
        match held.as_slice() {
            [] => {}
            [(step, seconds)] => self.write_step(step, "undone", Some(*seconds)),
            [(first, _), .., (last, _)] => {
                let steps = counted(held.len() as u64, "step");
                let detail = format!("undone, from {first} back to {last}");
                let seconds = held.iter().map(|(_, seconds)| seconds).sum();
                self.write_step(&steps, &detail, Some(seconds));
            }
        }
    }

    fn progress(&mut self, event: &Event, step: &str, unit: &str, done: u64, total: Option<u64>) {
        let Some(clock) = self.run.step.as_mut().filter(|_| !self.look.terminal) else {
            return;
        };
        let silent = between(&clock.said, &event.time).unwrap_or_default();
        if silent.as_secs() < QUIET {
            return;
        }
        clock.said.clone_from(&event.time);
        let elapsed = between(&clock.began, &event.time).unwrap_or_default();
        let detail = progress::clause(unit, done, total, elapsed.as_secs_f64());
        let text = step_line(step, &detail, None, self.columns());
        self.write(Section::Steps, To::Output, text);
    }

    fn shows_all(&self) -> bool {
        self.show == Show::All || matches!(self.run.command.as_str(), "check" | "verify")
    }

    fn checks_finished(&mut self, tally: &Tally) {
        let all = self.shows_all() || tally.blockers > 0;
        let mut detail = findings::tally(tally);
        if !all && tally.warnings + tally.notices > 0 {
            detail += &format!(" ({})", findings::log_command(self.run.new.as_deref()));
        }
        self.write_step("check", &detail, Some(tally.seconds));
        if let Some(skipped) = findings::skipped(&std::mem::take(&mut self.run.skipped)) {
            self.write_step("skipped", &skipped, None);
        }
        self.write_findings(if all { Show::All } else { Show::Usual });
    }

    /// Writes the findings that are held; with [`Show::Usual`] they have been counted instead.
    fn write_findings(&mut self, show: Show) {
        let found = std::mem::take(&mut self.run.findings);
        if show == Show::All {
            let length = match self.show {
                Show::All => Length::Whole,
                Show::Usual => Length::Short(&self.run.lists),
            };
            let text = findings::findings(&self.look, &found, length);
            self.write(Section::Findings, To::Output, text);
        }
    }

    fn message(&mut self, level: Level, text: &str) {
        let label = match level {
            Level::Note => "note:".to_owned(),
            Level::Warning => self.look.yellow("warning:"),
        };
        let text = format!("  {label} {}\n", terminal_safe(text));
        self.write(Section::Steps, To::Output, text);
    }

    fn finish(&mut self, kind: &EventKind) {
        let EventKind::RunFinished {
            exit,
            standing,
            error,
            next,
            seconds,
            downtime_seconds,
            downtime_parts,
            ..
        } = kind
        else {
            return;
        };
        self.write_findings(Show::All);
        let mut text = String::new();
        if error.is_none() {
            block::line(&mut text, &self.outcome(*exit, standing, *seconds));
        }
        if let Some(down) = downtime_seconds {
            block::line(&mut text, &block::downtime(*down, downtime_parts));
        }
        self.write(Section::Outcome, To::Output, text);
        let remaining = block::remaining(&std::mem::take(&mut self.run.remaining));
        let after = if remaining.is_empty() {
            Section::Outcome
        } else {
            Section::Next
        };
        self.write(Section::Remaining, To::Output, remaining);
        match error {
            Some(error) => {
                let text = block::error(&self.error_look, error, standing, next);
                self.write(Section::Error, To::Errors, text);
            }
            None => {
                let mut text = String::new();
                block::commands(&mut text, 6, next);
                self.write(after, To::Output, text);
            }
        }
        self.run.open = false;
    }

    fn outcome(&self, exit: Exit, standing: &str, seconds: f64) -> String {
        let command = self.run.command.as_str();
        if command == "status" {
            return format!("standing: {}", terminal_safe(standing));
        }
        let took = duration(seconds);
        let done = if exit == Exit::Done {
            format!("{} in {took}.", participle(command))
        } else {
            let status = exit.status();
            format!(
                "{} ended with exit status {status} after {took}.",
                terminal_safe(command)
            )
        };
        format!("{done} {}", block::sentence(standing))
    }
}

fn participle(command: &str) -> &'static str {
    match command {
        "check" => "checked",
        "prepare" => "prepared",
        "cutover" => "cut over",
        "upgrade" => "upgraded",
        "rollback" => "rolled back",
        "finalize" => "finalized",
        "verify" => "verified",
        _ => "done",
    }
}

fn clause(state: StepState) -> &'static str {
    match state {
        StepState::Intended => "begun, not ended",
        StepState::Done => "done",
        StepState::Undoing => "half undone",
    }
}
