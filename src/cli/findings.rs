//! Which checks are made, and telling what they found.

use std::collections::BTreeMap;
use std::time::Instant;

use super::output::Output;
use super::run::Run;
use crate::checks::{self, Check, Finding, Report, Selection};
use crate::error::{Error, Result};
use crate::event::{Advice, EventKind, Found, Level, Severity, Sink, Tally};

/// What is asked of old.
pub struct Asking {
    /// All checks there are.
    pub checks: Vec<Check>,
    /// Those of them the operator wants.
    pub selection: Selection,
    /// Where files are written.
    pub output: Output,
}

impl Asking {
    /// The checks, but for those that are not wanted.
    ///
    /// # Errors
    ///
    /// `BadArguments` for names that are none of a check.
    pub fn of(only: &[String], skip: &[String]) -> Result<Self> {
        let checks = checks::all()?;
        let selection = Selection::new(&checks, only, skip)?;
        let output = Output::default();
        Ok(Self {
            checks,
            selection,
            output,
        })
    }
}

/// Tells what was found, what could not be looked for, and what was not; `outside` blockers have
/// been told before, and are counted here.
///
/// # Errors
///
/// Where a list that was asked for cannot be written; everything has been told by then.
pub fn tell(
    run: &Run,
    report: &Report,
    asking: &Asking,
    outside: usize,
    started: Instant,
) -> Result<()> {
    let found: Vec<Found> = (report.findings.iter().map(found))
        .chain(report.not_made.iter().map(not_made))
        .collect();
    let count = |severity| found.iter().filter(|one| one.severity == severity).count();
    let tally = Tally {
        made: report.made,
        applicable: report.applicable,
        skipped: report.skipped.len(),
        blockers: outside + count(Severity::Blocker),
        warnings: count(Severity::Warning),
        notices: count(Severity::Notice),
        seconds: started.elapsed().as_secs_f64(),
    };
    let cleared = asking.output.clear(&asking.checks);
    let written = tell_found(run, asking, found);
    let emit = |kind| run.stream.emit(kind);
    let skipped = report.skipped.iter().cloned();
    skipped.map(EventKind::CheckSkipped).for_each(emit);
    let beside = |name: &&String| report.inapplicable.contains(name);
    for name in asking.selection.names().filter(beside) {
        emit(EventKind::Message {
            level: Level::Note,
            text: format!("{name} is no check of an upgrade between these versions"),
        });
    }
    emit(EventKind::ChecksFinished(tally));
    cleared.and(written)
}

/// Tells findings, after their long lists are in files where that was asked for.
///
/// # Errors
///
/// Where a list cannot be written; the findings have been told by then.
pub fn tell_found(run: &Run, asking: &Asking, found: Vec<Found>) -> Result<()> {
    let written = asking.output.write_lists(&found, &run.stream);
    for one in &found {
        run.stream.emit(EventKind::Finding(one.clone()));
    }
    asking.output.remember(found);
    written
}

fn found(finding: &Finding) -> Found {
    Found {
        check: finding.check.clone(),
        severity: finding.severity,
        database: finding.database.clone(),
        sentence: finding.sentence.clone(),
        columns: finding.columns.clone(),
        facts: Vec::new(),
        remedy: Some(Advice {
            remedy: finding.remedy.clone(),
            destructive: finding.destructive,
        }),
    }
}

/// What could not be looked for counts as a blocker, however little it may be.
fn not_made((check, error): &(String, Error)) -> Found {
    Found {
        check: check.clone(),
        severity: Severity::Blocker,
        database: None,
        sentence: format!("the check could not be made: {error}"),
        columns: BTreeMap::new(),
        facts: error.facts().to_vec(),
        remedy: error.remedy_text().cloned().map(Advice::from),
    }
}
