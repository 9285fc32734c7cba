//! The report that is kept: what was run, what was found, what was done and when.

use super::amount::duration;
use super::block;
use super::findings;
use super::line::{Columns, head, step_line};
use super::look::Look;
use super::standing::standing_name;
use crate::error::Exit;
use crate::event::{ClusterFacts, Event, EventKind, Found, Level, Remaining, Skipped, StepLabel};
use crate::pg::quote::terminal_safe;

/// Width of a step line behind its time.
const WIDTH: usize = 100;

/// The report of all runs in these events, as plain text.
pub fn report(events: &[Event]) -> String {
    let mut runs: Vec<Run> = Vec::new();
    for event in events {
        if matches!(event.kind, EventKind::RunStarted { .. }) || runs.is_empty() {
            runs.push(Run::default());
        }
        if let Some(run) = runs.last_mut() {
            run.take(event);
        }
    }
    runs.iter().map(Run::text).collect::<Vec<_>>().join("\n\n")
}

/// One run, sorted into the sections of the report.
#[derive(Default)]
struct Run {
    title: String,
    mode: String,
    clusters: Vec<ClusterFacts>,
    announced: Vec<StepLabel>,
    seen: Vec<String>,
    steps: String,
    findings: Vec<Found>,
    skipped: Vec<Skipped>,
    remaining: Vec<Remaining>,
    result: Option<String>,
    failed: bool,
    backward: bool,
}

impl Run {
    fn take(&mut self, event: &Event) {
        match &event.kind {
            EventKind::RunStarted {
                command,
                program,
                mode,
                way_back,
                steps,
            } => {
                self.backward = command == "rollback";
                self.title = format!("pg_migrator {program}: {command}, begun {}", event.time);
                let parts: Vec<_> = [mode, way_back].into_iter().flatten().cloned().collect();
                self.mode = parts.join(": ");
                self.announced.clone_from(steps);
            }
            EventKind::Cluster(facts) => self.clusters.push(facts.clone()),
            EventKind::Passage(facts) => self.step(event, "note", &block::passage(facts), None),
            EventKind::StepStarted { step } => self.seen.push(step.clone()),
            EventKind::StepFinished {
                step,
                detail,
                seconds,
            } => {
                self.step(event, step, detail, Some(*seconds));
            }
            EventKind::StepFailed { step } => self.step(event, step, "failed", None),
            EventKind::StepUndone { step, seconds } => {
                self.step(event, step, "undone", Some(*seconds));
            }
            EventKind::CheckSkipped(skipped) => self.skipped.push(skipped.clone()),
            EventKind::ChecksFinished(tally) => {
                let detail = findings::tally(tally);
                self.step(event, "check", &detail, Some(tally.seconds));
                if let Some(skipped) = findings::skipped(&std::mem::take(&mut self.skipped)) {
                    self.step(event, "skipped", &skipped, None);
                }
            }
            EventKind::Finding(found) => self.findings.push(found.clone()),
            EventKind::Message { level, text } => {
                let label = match level {
                    Level::Note => "note",
                    Level::Warning => "warning",
                };
                self.step(event, label, text, None);
            }
            EventKind::DowntimeEstimated {
                mode,
                seconds,
                parts,
                again_seconds,
                ..
            } => {
                let text = block::estimate(mode.as_deref(), *seconds, parts, *again_seconds);
                self.step(event, "note", &text, None);
            }
            EventKind::Standing { standing } => {
                self.step(event, "standing", standing_name(*standing), None);
            }
            EventKind::Remaining { items } => self.remaining.extend(items.iter().cloned()),
            EventKind::RunFinished { exit, .. } => {
                self.failed = *exit != Exit::Done;
                self.result = Some(result(event));
            }
            // What is not recorded, and what is no news afterwards.
            EventKind::StepStands { .. }
            | EventKind::Progress { .. }
            | EventKind::CheckListed(_)
            | EventKind::FindingsListed { .. }
            | EventKind::RemediesWritten { .. }
            | EventKind::Explained { .. } => {}
        }
    }

    fn step(&mut self, event: &Event, name: &str, detail: &str, seconds: Option<f64>) {
        self.seen.push(name.to_owned());
        self.steps += &format!("  {}", terminal_safe(&event.time));
        let at = Columns::new(&self.announced, WIDTH);
        self.steps += &step_line(name, detail, seconds, at);
    }

    /// The steps that were announced and never begun, where that says something.
    fn not_begun(&self) -> Option<String> {
        let names = self.announced.iter().map(|label| &label.step);
        let left: Vec<_> = names
            .filter(|name| !self.seen.contains(name))
            .cloned()
            .collect();
        let begun = self
            .announced
            .iter()
            .any(|label| self.seen.contains(&label.step));
        let tells = begun && !self.backward && (self.failed || self.result.is_none());
        (tells && !left.is_empty()).then(|| format!("not begun: {}", left.join(", ")))
    }

    fn text(&self) -> String {
        let mut sections = Vec::new();
        let mut top = String::new();
        block::line(&mut top, &terminal_safe(&self.title));
        top += &head(&self.clusters);
        if !self.mode.is_empty() {
            block::line(&mut top, &format!("mode {}", terminal_safe(&self.mode)));
        }
        sections.push(top);
        let mut steps = self.steps.clone();
        if let Some(left) = self.not_begun() {
            block::line(&mut steps, &format!("  {}", terminal_safe(&left)));
        }
        sections.push(steps);
        sections.push(findings::listing(&self.findings));
        sections.push(self.result.clone().unwrap_or_else(|| {
            "this run did not come to its end: it is still going on, or the program was killed\n"
                .into()
        }));
        sections.push(block::remaining(&self.remaining));
        sections.retain(|section| !section.is_empty());
        sections.join("\n")
    }
}

/// How a run ended.
fn result(event: &Event) -> String {
    let mut out = String::new();
    let EventKind::RunFinished {
        status,
        standing,
        error,
        next,
        seconds,
        downtime_seconds,
        downtime_parts,
        ..
    } = &event.kind
    else {
        return out;
    };
    let (time, took) = (terminal_safe(&event.time), duration(*seconds));
    block::line(
        &mut out,
        &format!("ended {time} after {took} with exit status {status}"),
    );
    if let Some(down) = downtime_seconds {
        block::line(&mut out, &block::downtime(*down, downtime_parts));
    }
    match error {
        Some(error) => out += &block::error(&Look::plain(), error, standing, next),
        None => {
            block::line(&mut out, &format!("standing: {}", terminal_safe(standing)));
            block::commands(&mut out, 10, next);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{sample, snapshot};

    #[test]
    fn a_report_tells_every_run() {
        let mut events = sample::upgrade();
        events.extend(sample::rollback());
        snapshot::compare("report", &report(&events));
    }

    #[test]
    fn a_failed_run_names_the_steps_it_never_began() {
        snapshot::compare("report_failed", &report(&sample::restore_failed()));
    }

    #[test]
    fn a_killed_run_is_told_as_far_as_it_came() {
        let events = sample::upgrade();
        let begun = |event: &Event| matches!(&event.kind, EventKind::StepStarted { step } if step == "transfer-files");
        let killed_in = events.iter().position(begun).unwrap();
        let text = report(&events[..=killed_in]);
        assert!(text.contains("this run did not come to its end"), "{text}");
        assert!(text.contains("not begun: sync-new-cluster"), "{text}");
        assert_eq!(report(&[]), "");
    }
}
