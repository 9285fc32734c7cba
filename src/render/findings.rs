//! Findings, grouped by how much they matter and by the check that found them.

use std::path::Path;

use super::block;
use super::look::Look;
use crate::event::{Advice, Found, Severity};
use crate::pg::amount::{count, counted};
use crate::pg::quote::{shell_path, terminal_safe};

/// How many findings of each severity a run of the checks had.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tally {
    pub made: usize,
    pub blockers: usize,
    pub warnings: usize,
    pub notices: usize,
}

impl Tally {
    /// `58 checks, nothing blocks, 2 warnings`.
    pub fn clause(&self) -> String {
        let blocks = match self.blockers {
            0 => "nothing blocks".to_owned(),
            1 => "1 finding blocks".to_owned(),
            many => format!("{} findings block", count(many as u64)),
        };
        let mut parts = vec![counted(self.made as u64, "check"), blocks];
        if self.warnings > 0 {
            parts.push(counted(self.warnings as u64, "warning"));
        }
        if self.notices > 0 {
            parts.push(counted(self.notices as u64, "notice"));
        }
        parts.join(", ")
    }

    /// Whether something was found that does not block.
    pub fn quiet_findings(&self) -> bool {
        self.warnings + self.notices > 0
    }
}

/// The command that shows the findings a run has only counted.
pub(super) fn log_command(new: Option<&Path>) -> String {
    let place = new
        .map(|path| format!(" -D {}", shell_path(path)))
        .unwrap_or_default();
    format!("pg_migrator log --warnings{place}")
}

fn label(look: &Look, severity: Severity, check: &str) -> String {
    let check = terminal_safe(check);
    match severity {
        Severity::Blocker => look.red(&format!("blocker[{check}]:")),
        Severity::Warning => look.yellow(&format!("warning[{check}]:")),
        Severity::Notice => format!("notice[{check}]:"),
    }
}

/// All findings as one block a check, blockers first.
///
/// A remedy that is the same for every finding of a check is said once.
pub(super) fn findings(look: &Look, found: &[Found]) -> String {
    let groups: Vec<String> = grouped(found)
        .iter()
        .map(|group| render(look, group))
        .collect();
    groups.join("\n")
}

/// The groups, in the order of severity and, within one, of the first finding.
fn grouped(found: &[Found]) -> Vec<Vec<&Found>> {
    let mut groups: Vec<Vec<&Found>> = Vec::new();
    for one in found {
        let same = |group: &&mut Vec<&Found>| {
            group[0].severity == one.severity && group[0].check == one.check
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups.sort_by_key(|group| group[0].severity);
    groups
}

fn render(look: &Look, group: &[&Found]) -> String {
    let mut out = String::new();
    let first = group[0];
    let number = count(group.len() as u64);
    block::line(
        &mut out,
        &format!(
            "{} {number} found",
            label(look, first.severity, &first.check)
        ),
    );
    let shared = group.len() > 1
        && first.remedy.is_some()
        && group.iter().all(|one| one.remedy == first.remedy);
    for one in group {
        let place = one
            .database
            .as_deref()
            .map(|name| format!("database {}: ", terminal_safe(name)));
        block::line(
            &mut out,
            &format!(
                "  {}{}",
                place.unwrap_or_default(),
                terminal_safe(&one.sentence)
            ),
        );
        block::facts(&mut out, "    ", &one.facts);
        if let Some(advice) = one.remedy.as_ref().filter(|_| !shared) {
            let label = marked("remedy", advice);
            block::remedy(&mut out, "    ", &label, &advice.remedy);
        }
    }
    if let Some(advice) = first.remedy.as_ref().filter(|_| shared) {
        let label = marked("remedy for all of them", advice);
        block::remedy(&mut out, "  ", &label, &advice.remedy);
    }
    out
}

/// What throws something away says so before anybody pastes it.
fn marked(label: &str, advice: &Advice) -> String {
    let mark = if advice.destructive {
        " (destructive)"
    } else {
        ""
    };
    format!("{label}{mark}: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_counts_what_there_is() {
        let tally = |blockers, warnings, notices| {
            Tally {
                made: 58,
                blockers,
                warnings,
                notices,
            }
            .clause()
        };
        assert_eq!(tally(0, 0, 0), "58 checks, nothing blocks");
        assert_eq!(
            tally(0, 2, 1),
            "58 checks, nothing blocks, 2 warnings, 1 notice"
        );
        assert_eq!(tally(1, 0, 0), "58 checks, 1 finding blocks");
        assert_eq!(
            tally(2000, 1, 0),
            "58 checks, 2,000 findings block, 1 warning"
        );
    }

    #[test]
    fn the_command_is_ready_to_be_pasted() {
        assert_eq!(log_command(None), "pg_migrator log --warnings");
        assert_eq!(
            log_command(Some(Path::new("/srv/my pg"))),
            "pg_migrator log --warnings -D '/srv/my pg'"
        );
    }
}
