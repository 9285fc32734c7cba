//! `check --rehearse`: the rehearsal, told as a step and its findings.

use std::collections::BTreeMap;
use std::time::Instant;

use super::findings::{Asking, tell_found};
use super::run::Run;
use crate::checks::{REHEARSAL, Rehearsal, Watcher};
use crate::error::{Error, Family, Result};
use crate::event::{Advice, EventKind, Found, Level, Severity, Sink};

/// Its name among the steps.
const STEP: &str = "rehearse-restore";

/// Rehearses, and says whether new takes everything; a rehearsal that could not be made counts
/// as one that found something.
///
/// # Errors
///
/// Where somebody asked to stop, or a list that was asked for cannot be written.
pub fn rehearse(run: &Run, rehearsal: &Rehearsal<'_>, asking: &Asking) -> Result<bool> {
    let started = Instant::now();
    let step = STEP.to_owned();
    run.stream
        .emit(EventKind::StepStarted { step: step.clone() });
    match rehearsal.run(&Told(run)) {
        Ok(rehearsed) => {
            run.stream.emit(EventKind::StepFinished {
                step,
                detail: rehearsed.to_string(),
                seconds: started.elapsed().as_secs_f64(),
            });
            let passed = rehearsed.passed();
            tell_found(run, asking, rehearsed.found)?;
            Ok(passed)
        }
        Err(error) => {
            run.stream.emit(EventKind::StepFailed { step });
            if error.code().family() == Family::Signal {
                return Err(error);
            }
            // The logs go with the check.
            tell_found(run, asking, vec![not_made(&error.without_fact("log"))])?;
            Ok(false)
        }
    }
}

fn not_made(error: &Error) -> Found {
    Found {
        check: REHEARSAL.to_owned(),
        severity: Severity::Blocker,
        database: None,
        sentence: format!("the rehearsal could not be made: {error}"),
        columns: BTreeMap::new(),
        facts: error.facts().to_vec(),
        remedy: error.remedy_text().cloned().map(Advice::from),
    }
}

struct Told<'a>(&'a Run);

impl Watcher for Told<'_> {
    fn progress(&self, unit: &'static str, done: u64, total: u64) {
        self.0.stream.emit(EventKind::Progress {
            step: STEP.to_owned(),
            unit: unit.to_owned(),
            done,
            total: Some(total),
        });
    }

    fn note(&self, text: &str) {
        self.0.stream.emit(EventKind::Message {
            level: Level::Note,
            text: text.to_owned(),
        });
    }
}
