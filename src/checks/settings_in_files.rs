//! Settings in old's configuration files that a server of the new version refuses.

use super::probe::Row;
use super::run::Subject;
use crate::catalog;
use crate::error::{Code, Error, Result};

/// All that sets something, in the order in which the server reads it, wherever it stands.
///
/// Where the data directory is, new is told by whoever starts it; how deep a stack may be depends
/// on what this process is allowed, not on the version.
const LINES: &str = "
    SELECT f.sourcefile, f.sourceline::pg_catalog.text, f.name, f.setting
    FROM pg_catalog.pg_file_settings f
    WHERE f.setting IS NOT NULL AND pg_catalog.lower(f.name) NOT IN ('data_directory', 'max_stack_depth')
    ORDER BY f.seqno";

/// One line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    file: String,
    number: String,
    name: String,
    value: String,
}

/// Every line that keeps a new server from starting, why, and what may stand there instead.
///
/// The usual answer is that all lines are taken, and costs one question.
pub(super) fn refused(subject: &Subject<'_>) -> Result<Vec<Row>> {
    let lines = read(subject)?;
    let (new, cancel) = (subject.new.installation(), subject.cancel);
    let counting: Vec<(&str, &str)> = (lines.iter().enumerate())
        .filter(|(at, _)| counts(&lines, *at))
        .map(|(_, line)| (&*line.name, &*line.value))
        .collect();
    if new.refusal_of_settings(&counting, cancel)?.is_none() {
        return Ok(Vec::new());
    }
    let segment = subject
        .snapshot
        .map(|snapshot| snapshot.settings.wal_segment_size);
    let mut rows = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let reason = match counts(&lines, at) {
            true => new.refusal_of_settings(&[(&line.name, &line.value)], cancel)?,
            false => new.refusal_of_name(&line.name, cancel)?,
        };
        if let Some(reason) = reason {
            rows.push(row(line, reason, segment));
        }
    }
    Ok(rows)
}

fn read(subject: &Subject<'_>) -> Result<Vec<Line>> {
    let rows = catalog::connect(subject.old)?.text_rows(LINES)?;
    let lines = rows.into_iter().map(|row| {
        let [Some(file), Some(number), Some(name), Some(value)] = <[_; 4]>::try_from(row).ok()?
        else {
            return None;
        };
        Some(Line {
            file,
            number,
            name,
            value,
        })
    });
    lines
        .collect::<Option<_>>()
        .ok_or_else(|| Error::new(Code::Query, "the server gave a setting without its place"))
}

/// Whether no later line sets the same: of all others only the name is looked at.
fn counts(lines: &[Line], at: usize) -> bool {
    let name = &lines[at].name;
    let later = &lines[at + 1..];
    !later
        .iter()
        .any(|line| line.name.eq_ignore_ascii_case(name))
}

fn row(line: &Line, reason: String, wal_segment_size: Option<u32>) -> Row {
    let instead = instead(line, wal_segment_size);
    let Line {
        file,
        number,
        name,
        value,
    } = line.clone();
    let said = [file, number, name, value, reason].map(Some);
    said.into_iter().chain([instead]).collect()
}

/// What newer versions have in place of a setting, where they have anything.
fn instead(line: &Line, wal_segment_size: Option<u32>) -> Option<String> {
    let value = &line.value;
    match &*line.name.to_ascii_lowercase() {
        "wal_keep_segments" => {
            let segments: u64 = value.parse().ok()?;
            let megabytes = u64::from(wal_segment_size? >> 20);
            Some(format!("wal_keep_size = {}MB", segments * megabytes))
        }
        "force_parallel_mode" => Some(format!("debug_parallel_query = {value}")),
        // As a Boolean it stood for md5.
        "password_encryption" => Some("password_encryption = scram-sha-256".to_owned()),
        "dynamic_shared_memory_type" => Some("dynamic_shared_memory_type = posix".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, value: &str) -> Line {
        Line {
            file: "f".to_owned(),
            number: "1".to_owned(),
            name: name.to_owned(),
            value: value.to_owned(),
        }
    }

    #[test]
    fn the_last_line_of_a_name_counts() {
        let lines = [line("a", "1"), line("b", "2"), line("A", "3")];
        let counting: Vec<bool> = (0..3).map(|at| counts(&lines, at)).collect();
        assert_eq!(counting, [false, true, true]);
    }

    #[test]
    fn what_took_the_place_of_a_setting_has_its_value() {
        let told = |name, value| instead(&line(name, value), Some(64 << 20));
        assert_eq!(
            told("wal_keep_segments", "3").unwrap(),
            "wal_keep_size = 192MB"
        );
        assert_eq!(
            told("Force_Parallel_Mode", "regress").unwrap(),
            "debug_parallel_query = regress"
        );
        assert_eq!(told("wal_keep_segments", "many"), None);
        assert_eq!(told("stats_temp_directory", "x"), None);
    }
}
