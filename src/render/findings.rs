//! Findings, grouped by how much they matter and by the check that found them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::block;
use super::look::Look;
use crate::event::{Advice, EventKind, Found, Severity, SkipOption, Skipped, Tally};
use crate::pg::amount::{count, counted};
use crate::pg::quote::{shell_path, terminal_safe};

/// `58 checks, nothing blocks, 2 warnings`; or `56 of 58 checks made, ...`.
pub(super) fn tally(tally: &Tally) -> String {
    let made = if tally.made < tally.applicable {
        let all = counted(tally.applicable as u64, "check");
        format!("{} of {all} made", count(tally.made as u64))
    } else {
        counted(tally.made as u64, "check")
    };
    let blocks = match tally.blockers {
        0 => "nothing blocks".to_owned(),
        1 => "1 finding blocks".to_owned(),
        many => format!("{} findings block", count(many as u64)),
    };
    let mut parts = vec![made, blocks];
    if tally.warnings > 0 {
        parts.push(counted(tally.warnings as u64, "warning"));
    }
    if tally.notices > 0 {
        parts.push(counted(tally.notices as u64, "notice"));
    }
    parts.join(", ")
}

/// What was left out, so that nobody takes the rest for everything; none if nothing was.
pub(super) fn skipped(skipped: &[Skipped]) -> Option<String> {
    let unwanted = skipped.iter().filter(|one| one.option == SkipOption::Only);
    let unwanted = unwanted.count() as u64;
    if unwanted > 0 {
        let checks = counted(unwanted, "check");
        return Some(format!(
            "{checks}, because of --only: this was not a whole check"
        ));
    }
    let named = |one: &Skipped| format!("{}[{}]", one.severity, terminal_safe(&one.check));
    let names: Vec<String> = skipped.iter().map(named).collect();
    let all = names.join(", ");
    (!names.is_empty()).then(|| format!("{all}: what would be found is not known"))
}

/// What is in a script of remedies, and how it is run; nothing for any other event.
pub(super) fn remedies(event: &EventKind) -> String {
    let EventKind::RemediesWritten {
        file,
        statements,
        destructive,
        by_hand,
        command,
    } = event
    else {
        return String::new();
    };
    let written = *statements + *destructive;
    let mut out = match written {
        1 => "1 remedy in SQL is in ".to_owned(),
        many => format!("{} remedies in SQL are in ", count(many as u64)),
    };
    out += &file.to_string_lossy();
    let commented = match *destructive {
        0 => String::new(),
        all if all == written => "all".to_owned(),
        some => count(some as u64),
    };
    if !commented.is_empty() {
        out += &format!(", {commented} of them commented out because they destroy something");
    }
    if *by_hand > 0 {
        let findings = counted(*by_hand as u64, "finding");
        out += &format!("; {findings} must be remedied otherwise");
    }
    format!("{out}; to run it: {command}")
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

/// As many findings of one check are read; more are looked through with other tools.
pub const MANY: usize = 10;

/// How much of a long list is shown.
#[derive(Debug, Clone, Copy)]
pub(super) enum Length<'a> {
    /// All of it.
    Whole,
    /// Its beginning, and where the rest is: the files by the names of checks.
    Short(&'a BTreeMap<String, PathBuf>),
}

/// All findings as one block a check, blockers first.
///
/// A remedy that is the same for every finding of a check is said once.
pub(super) fn findings(look: &Look, found: &[Found], length: Length<'_>) -> String {
    let groups: Vec<String> = grouped(found)
        .iter()
        .map(|group| render(look, group, length))
        .collect();
    groups.join("\n")
}

/// The same for a file.
pub fn listing(found: &[Found]) -> String {
    findings(&Look::plain(), found, Length::Whole)
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

fn render(look: &Look, group: &[&Found], length: Length<'_>) -> String {
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
    let shown = match length {
        Length::Whole => group.len(),
        Length::Short(_) => group.len().min(MANY),
    };
    for one in &group[..shown] {
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
    if let Length::Short(files) = length
        && shown < group.len()
    {
        let more = count((group.len() - shown) as u64);
        let rest = match files.get(&first.check) {
            Some(file) => format!("all are in {}", terminal_safe(&file.to_string_lossy())),
            None => "--verbose shows all, check --output-dir DIR writes them to a file".to_owned(),
        };
        block::line(&mut out, &format!("  and {more} more: {rest}"));
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
        let clause = |made, blockers, warnings, notices| {
            tally(&Tally {
                made,
                applicable: 58,
                skipped: 0,
                blockers,
                warnings,
                notices,
                seconds: 0.1,
            })
        };
        assert_eq!(clause(58, 0, 0, 0), "58 checks, nothing blocks");
        assert_eq!(
            clause(58, 0, 2, 1),
            "58 checks, nothing blocks, 2 warnings, 1 notice"
        );
        assert_eq!(clause(58, 1, 0, 0), "58 checks, 1 finding blocks");
        assert_eq!(
            clause(57, 2000, 1, 0),
            "57 of 58 checks made, 2,000 findings block, 1 warning"
        );
    }

    #[test]
    fn a_long_list_is_cut_and_says_where_the_rest_is() {
        let one = |number: usize| Found {
            check: "things".to_owned(),
            severity: Severity::Warning,
            database: None,
            sentence: format!("thing {number}"),
            columns: BTreeMap::new(),
            facts: Vec::new(),
            remedy: None,
        };
        let found: Vec<Found> = (1..=MANY + 2).map(one).collect();
        let text = |found: &[Found], length| findings(&Look::plain(), found, length);
        let files = BTreeMap::from([("things".to_owned(), PathBuf::from("/srv/out/things.txt"))]);
        let none = BTreeMap::new();
        for (files, rest) in [
            (&files, "  and 2 more: all are in /srv/out/things.txt\n"),
            (&none, "  and 2 more: --verbose shows all"),
        ] {
            let cut = text(&found, Length::Short(files));
            assert!(
                cut.starts_with("warning[things]: 12 found\n  thing 1\n"),
                "{cut}"
            );
            assert!(
                cut.contains("  thing 10\n") && !cut.contains("thing 11"),
                "{cut}"
            );
            assert!(cut.contains(rest), "{cut}");
        }
        let fits = text(&found[..MANY], Length::Short(&none));
        assert_eq!(fits, listing(&found[..MANY]));
        assert!(listing(&found).ends_with("  thing 11\n  thing 12\n"));
    }

    #[test]
    fn a_script_is_told_with_what_is_in_it() {
        let told = |statements, destructive, by_hand| {
            remedies(&EventKind::RemediesWritten {
                file: "/srv/fix.sql".into(),
                statements,
                destructive,
                by_hand,
                command: "psql -f /srv/fix.sql".into(),
            })
        };
        assert_eq!(
            told(1, 0, 0),
            "1 remedy in SQL is in /srv/fix.sql; to run it: psql -f /srv/fix.sql"
        );
        assert_eq!(
            told(1200, 3, 1),
            "1,203 remedies in SQL are in /srv/fix.sql, 3 of them commented out because they \
             destroy something; 1 finding must be remedied otherwise; to run it: psql -f /srv/fix.sql"
        );
    }

    #[test]
    fn what_is_left_out_is_named() {
        let one = |check: &str, severity, option| Skipped {
            check: check.to_owned(),
            severity,
            option,
        };
        let by_name = [
            one("a", Severity::Blocker, SkipOption::Skip),
            one("b", Severity::Notice, SkipOption::Skip),
        ];
        assert_eq!(
            skipped(&by_name).unwrap(),
            "blocker[a], notice[b]: what would be found is not known"
        );
        let others = [one("a", Severity::Blocker, SkipOption::Only)];
        assert_eq!(
            skipped(&others).unwrap(),
            "1 check, because of --only: this was not a whole check"
        );
        assert_eq!(skipped(&[]), None);
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
