//! Blocks of text that more than one kind of output is made of.
//!
//! A value of several lines (the end of a server's log, say) is shown as such, each line
//! behind a bar and in its column, so that no line of it can pass for one of ours.

use std::borrow::Cow;

use super::amount::duration;
use super::look::Look;
use crate::error::{Error, Remedy};
use crate::event::{DowntimePart, PassageFacts, Remaining};
use crate::pg::quote::terminal_safe;

/// Column at which the values of `standing:`, `remedy:` and `next:` begin.
const LABEL: usize = 10;

/// Appends a line; what it holds must be safe already.
pub(super) fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}

/// Less than this prints as 0.0.
const WORTH_NAMING: f64 = 0.05;

/// How long service was down, and what the time went into; small parts are put together.
pub(super) fn downtime(seconds: f64, parts: &[DowntimePart]) -> String {
    format!(
        "service was down for {}{}",
        duration(seconds),
        in_parts(seconds, parts)
    )
}

/// What can be done with the files of a folder, or what will be.
pub(super) fn passage(facts: &PassageFacts) -> String {
    let old = facts.old.display();
    let said = match &facts.mode {
        Some(mode) => format!("mode for {old}: {mode}"),
        None => format!("modes possible for {old}: {}", facts.possible.join(", ")),
    };
    let reasons = facts.refused.iter();
    let reasons: Vec<String> = reasons
        .map(|(mode, reason)| format!("; not {mode} ({reason})"))
        .collect();
    said + &reasons.concat()
}

/// How long service will be down.
pub(super) fn estimate(
    mode: Option<&str>,
    seconds: f64,
    parts: &[DowntimePart],
    again: f64,
) -> String {
    let by = mode.map_or_else(String::new, |mode| format!(" by {}", terminal_safe(mode)));
    let mut out = format!(
        "estimated downtime{by}: {}{}",
        duration(seconds),
        in_parts(seconds, parts)
    );
    if again >= WORTH_NAMING {
        out += &format!(
            "; {} more if the catalogs change at the last moment, as by temporary tables",
            duration(again)
        );
    }
    out
}

fn in_parts(seconds: f64, parts: &[DowntimePart]) -> String {
    let named: Vec<_> = parts
        .iter()
        .filter(|part| part.seconds >= WORTH_NAMING)
        .collect();
    if named.is_empty() {
        return String::new();
    }
    let rest = seconds - named.iter().map(|part| part.seconds).sum::<f64>();
    let mut words: Vec<String> = named
        .iter()
        .map(|part| format!("{} {:.1}", terminal_safe(&part.what), part.seconds))
        .collect();
    if rest >= WORTH_NAMING {
        words.push(format!("the rest {rest:.1}"));
    }
    format!(" ({})", words.join(", "))
}

/// Fills a text up with spaces; longer ones stay whole.
pub(super) fn padded(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(text.chars().count());
    format!("{text}{}", " ".repeat(missing))
}

/// The text as lines, each made safe.
fn safe_lines(text: &str) -> Vec<Cow<'_, str>> {
    text.lines().map(terminal_safe).collect()
}

/// Appends named facts, their values in one column.
pub(super) fn facts(out: &mut String, indent: &str, facts: &[(String, String)]) {
    let names: Vec<_> = facts.iter().map(|(name, _)| terminal_safe(name)).collect();
    let width = names
        .iter()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0);
    for (name, (_, value)) in names.iter().zip(facts) {
        let value = safe_lines(value);
        match value.as_slice() {
            [] => line(out, &format!("{indent}{name}")),
            [one] => line(out, &format!("{indent}{}   {one}", padded(name, width))),
            many => {
                for (at, part) in many.iter().enumerate() {
                    let name = if at == 0 { name.as_ref() } else { "" };
                    line(out, &format!("{indent}{}   | {part}", padded(name, width)));
                }
            }
        }
    }
}

/// What a remedy says, as lines that are safe.
fn remedy_lines(remedy: &Remedy) -> Vec<String> {
    let owned = |lines: Vec<Cow<'_, str>>| lines.into_iter().map(Cow::into_owned).collect();
    match remedy {
        Remedy::Command(text) | Remedy::Manual(text) => owned(safe_lines(text)),
        Remedy::Sql { database, sql } => {
            let place = format!("in database {}:", terminal_safe(database));
            match safe_lines(sql).as_slice() {
                [one] => vec![format!("{place} {one}")],
                many => {
                    let statements = many.iter().map(|statement| statement.to_string());
                    std::iter::once(place).chain(statements).collect()
                }
            }
        }
    }
}

/// Appends a remedy, its further lines below the first.
pub(super) fn remedy(out: &mut String, indent: &str, label: &str, remedy: &Remedy) {
    labelled(out, indent, label, &remedy_lines(remedy));
}

fn labelled(out: &mut String, indent: &str, label: &str, lines: &[String]) {
    let blank = " ".repeat(label.chars().count());
    for (at, text) in lines.iter().enumerate() {
        let label = if at == 0 { label } else { &blank };
        line(out, &format!("{indent}{label}{text}"));
    }
}

/// The block an error ends a run with: what happened, what state the clusters are in, what to do.
pub(super) fn error(look: &Look, error: &Error, standing: &str, next: &[String]) -> String {
    let mut out = String::new();
    let label = look.red(&format!("error[{}]:", error.code()));
    line(
        &mut out,
        &format!("{label} {}", look.bold(&terminal_safe(error.message()))),
    );
    facts(&mut out, "  ", error.facts());
    for cause in error.causes() {
        line(&mut out, &format!("caused by: {}", terminal_safe(cause)));
    }
    if !standing.is_empty() {
        line(
            &mut out,
            &format!("{}{}", padded("standing:", LABEL), terminal_safe(standing)),
        );
    }
    if let Some(text) = error.remedy_text() {
        remedy(&mut out, "", &padded("remedy:", LABEL), text);
    }
    commands(&mut out, LABEL, next);
    out
}

/// Appends the commands that may follow, one a line.
pub(super) fn commands(out: &mut String, width: usize, next: &[String]) {
    for (at, command) in next.iter().enumerate() {
        let label = padded(if at == 0 { "next:" } else { "or:" }, width);
        let lines: Vec<_> = safe_lines(command)
            .into_iter()
            .map(Cow::into_owned)
            .collect();
        labelled(out, "", &label, &lines);
    }
}

/// What is left to the operator, as a numbered list with its commands.
pub(super) fn remaining(items: &[Remaining]) -> String {
    let mut out = String::new();
    if items.is_empty() {
        return out;
    }
    line(&mut out, "to be done by hand:");
    for (at, item) in items.iter().enumerate() {
        line(
            &mut out,
            &format!("  {}. {}", at + 1, terminal_safe(&item.what)),
        );
        for command in &item.commands {
            for part in safe_lines(command) {
                line(&mut out, &format!("       {part}"));
            }
        }
    }
    out
}

/// A clause as a sentence: the first letter large, a full stop at its end.
pub(super) fn sentence(clause: &str) -> String {
    let safe = terminal_safe(clause.trim()).into_owned();
    let mut letters = safe.chars();
    let Some(first) = letters.next() else {
        return safe;
    };
    let stop = if safe.ends_with(['.', '!', '?', ':']) {
        ""
    } else {
        "."
    };
    format!("{}{}{stop}", first.to_uppercase(), letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn an_error_is_the_block_of_the_design() {
        let failed = Error::new(Code::OldServerRunning, "the old server is still running")
            .fact("data directory", "/var/lib/postgresql/15/main")
            .fact("pid", 4711)
            .caused_by(&std::io::Error::other("it would not stop"))
            .remedy(Remedy::command(
                "pg_ctl stop -D /var/lib/postgresql/15/main",
            ));
        let next = [
            "pg_migrator prepare".to_owned(),
            "pg_migrator check".to_owned(),
        ];
        assert_eq!(
            error(&Look::plain(), &failed, "nothing has been changed", &next),
            "error[PGM-1203]: the old server is still running\n\
             \x20 data directory   /var/lib/postgresql/15/main\n\
             \x20 pid              4711\n\
             caused by: it would not stop\n\
             standing: nothing has been changed\n\
             remedy:   pg_ctl stop -D /var/lib/postgresql/15/main\n\
             next:     pg_migrator prepare\n\
             or:       pg_migrator check\n"
        );
    }

    #[test]
    fn downtime_is_told_with_its_parts_before_and_after() {
        let part = |what: &str, seconds: f64| DowntimePart {
            what: what.to_owned(),
            seconds,
        };
        let parts = [part("stop-old-server", 0.2), part("confirm-catalog", 0.01)];
        assert_eq!(
            downtime(0.4, &parts),
            "service was down for 0.4 s (stop-old-server 0.2, the rest 0.2)"
        );
        assert_eq!(
            estimate(Some("link"), 0.21, &parts[..1], 0.4),
            "estimated downtime by link: 0.2 s (stop-old-server 0.2); 0.4 s more if the catalogs change at \
             the last moment, as by temporary tables"
        );
        assert_eq!(estimate(None, 0.01, &[], 0.0), "estimated downtime: 0.0 s");
    }

    #[test]
    fn a_passage_is_one_line() {
        let mut facts = PassageFacts {
            old: "/srv/old/base".into(),
            new: "/srv/new/base".into(),
            possible: vec!["link".into(), "copy".into()],
            refused: vec![("clone".into(), "EOPNOTSUPP: not supported".into())],
            mode: None,
        };
        assert_eq!(
            passage(&facts),
            "modes possible for /srv/old/base: link, copy; not clone (EOPNOTSUPP: not supported)"
        );
        facts.refused.clear();
        facts.mode = Some("clone".into());
        assert_eq!(passage(&facts), "mode for /srv/old/base: clone");
    }

    #[test]
    fn several_lines_stay_in_their_column() {
        let mut out = String::new();
        let named = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        facts(
            &mut out,
            "  ",
            &[named("log", "one\nerror[PGM-1]: two\n"), named("empty", "")],
        );
        let sql = Remedy::Sql {
            database: "a\nb".into(),
            sql: "SELECT 1;\nSELECT 2;".into(),
        };
        remedy(&mut out, "", "remedy:   ", &sql);
        assert_eq!(
            out,
            "  log     | one\n          | error[PGM-1]: two\n  empty\n\
             remedy:   in database a\\nb:\n          SELECT 1;\n          SELECT 2;\n"
        );
    }

    #[test]
    fn a_clause_becomes_a_sentence() {
        assert_eq!(sentence("old is as it was"), "Old is as it was.");
        assert_eq!(sentence("done."), "Done.");
        assert_eq!(sentence(""), "");
    }
}
