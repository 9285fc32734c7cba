//! What pg_restore and psql complained about, read from what they wrote.

use std::path::Path;

/// What the lines that follow a complaint belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// To nothing that is kept.
    Elsewhere,
    /// To what the server said.
    Said,
    /// To the statement it was said of.
    Statement,
}

/// One error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Complaint {
    /// The number of the dump's entry, where it was about one.
    pub entry: Option<u32>,
    /// Kind, name and owner of the entry, as printed.
    pub object: String,
    /// The server's message.
    pub message: String,
    /// What it said besides: `detail`, `hint`, `line`.
    pub facts: Vec<(String, String)>,
    /// What it was asked to do.
    pub statement: String,
}

/// The errors in what pg_restore wrote.
///
/// It names the entry once, before the first error of that entry; the statement stands behind
/// what the server said. Mirrors `warn_or_exit_horribly` of
/// `src/bin/pg_dump/pg_backup_archiver.c`.
pub fn of_pg_restore(log: &str) -> Vec<Complaint> {
    let mut found: Vec<Complaint> = Vec::new();
    let mut about = (None, String::new());
    let mut part = Part::Elsewhere;
    for line in log.lines() {
        if let Some(told) = line.strip_prefix("pg_restore: ") {
            part = Part::Elsewhere;
            if let Some(entry) = told.strip_prefix("from TOC entry ") {
                about = entry_and_object(entry);
            } else if let Some(error) = told.strip_prefix("error: ") {
                found.push(Complaint {
                    entry: about.0,
                    object: about.1.clone(),
                    message: message(error),
                    ..Complaint::default()
                });
                part = Part::Said;
            }
        } else if let Some(last) = found.last_mut() {
            match (part, line.strip_prefix("Command was: ")) {
                (Part::Elsewhere, _) => {}
                (Part::Said, Some(statement)) => {
                    statement.clone_into(&mut last.statement);
                    part = Part::Statement;
                }
                (Part::Said, None) => last.hear(line),
                (Part::Statement, _) => {
                    last.statement.push('\n');
                    last.statement.push_str(line);
                }
            }
        }
    }
    found
}

/// The errors in what psql wrote while it ran a script, each with the line of the script.
pub fn of_psql(log: &str, script: &Path, text: &str) -> Vec<(usize, Complaint)> {
    let prefix = format!("psql:{}:", script.display());
    let mut found: Vec<(usize, Complaint)> = Vec::new();
    let mut part = Part::Elsewhere;
    for line in log.lines() {
        if let Some(told) = line.strip_prefix(&prefix) {
            part = Part::Elsewhere;
            let Some((number, said)) = numbered(told) else {
                continue;
            };
            let errors = ["ERROR:", "FATAL:", "PANIC:", "error:"];
            if errors.iter().any(|word| said.starts_with(word)) {
                let statement = text.lines().nth(number.saturating_sub(1));
                let complaint = Complaint {
                    message: message(said),
                    statement: statement.unwrap_or_default().to_owned(),
                    ..Complaint::default()
                };
                found.push((number, complaint));
                part = Part::Said;
            }
        } else if let (Part::Said, Some((_, last))) = (part, found.last_mut()) {
            last.hear(line);
        }
    }
    found
}

/// `23: ERROR:  no`.
fn numbered(told: &str) -> Option<(usize, &str)> {
    let (number, said) = told.split_once(": ")?;
    Some((number.parse().ok()?, said))
}

/// `215; 1259 16385 TABLE a postgres`: the number, and all behind the OIDs.
fn entry_and_object(told: &str) -> (Option<u32>, String) {
    let number = told.split_once("; ");
    let object = number.and_then(|(_, rest)| rest.splitn(3, ' ').nth(2));
    (
        number.and_then(|(number, _)| number.parse().ok()),
        object.unwrap_or_default().to_owned(),
    )
}

/// Without what the programs say around the server's words.
fn message(error: &str) -> String {
    let said = error
        .strip_prefix("could not execute query: ")
        .unwrap_or(error);
    let levels = ["ERROR:", "FATAL:", "PANIC:", "error:"];
    let bare = levels.iter().find_map(|level| said.strip_prefix(level));
    bare.unwrap_or(said).trim().to_owned()
}

impl Complaint {
    /// Takes one more line of what the server said.
    fn hear(&mut self, line: &str) {
        let labels = ["DETAIL", "HINT", "CONTEXT", "QUERY"];
        let labelled = line.split_once(':').and_then(|(label, text)| {
            let excerpt = label.starts_with("LINE ") && label[5..].parse::<u32>().is_ok();
            let name = labels.iter().find(|known| **known == label);
            let name = name.map(|name| name.to_ascii_lowercase());
            Some((name.or_else(|| excerpt.then(|| "line".to_owned()))?, text))
        });
        if let Some((name, text)) = labelled {
            self.facts.push((name, text.trim().to_owned()));
            return;
        }
        // Beneath an excerpt, the place in it.
        if ["", "^"].contains(&line.trim()) {
            return;
        }
        match self.facts.last_mut() {
            Some((_, text)) => append(text, line),
            None => append(&mut self.message, line),
        }
    }
}

fn append(text: &mut String, line: &str) {
    text.push('\n');
    text.push_str(line.trim());
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "command: pg_restore x\n\
        pg_restore: creating VIEW \"public.bg\"\n\
        pg_restore: while PROCESSING TOC:\n\
        pg_restore: from TOC entry 215; 1259 16385 VIEW bg postgres\n\
        pg_restore: error: could not execute query: ERROR:  column s.gone does not exist\n\
        LINE 14:  SELECT \"s\".\"gone\"\n                 ^\n\
        HINT:  Perhaps another one.\n\
        Command was: \n\
        -- For binary upgrade, must preserve pg_type oid\n\
        SELECT 1;\n\n\
        CREATE VIEW \"public\".\"bg\" AS\n SELECT 'HINT: x';\n\n\n\
        pg_restore: error: could not execute query: ERROR:  relation \"public.bg\" does not exist\n\
        Command was: ALTER TABLE \"public\".\"bg\" OWNER TO \"postgres\";\n\n\n\
        pg_restore: creating TABLE \"public.t\"\n\
        pg_restore: from TOC entry 216; 1259 16390 TABLE t a b\n\
        pg_restore: error: could not execute query: server closed the connection unexpectedly\n\
        \tThis probably means something.\n\
        Command was: CREATE TABLE t ();\n\
        pg_restore: warning: errors ignored on restore: 3\n";

    #[test]
    fn each_error_has_its_entry_its_words_and_its_statement() {
        let found = of_pg_restore(LOG);
        let heads: Vec<_> = found
            .iter()
            .map(|one| (one.entry, one.object.as_str(), one.message.as_str()))
            .collect();
        assert_eq!(
            heads,
            [
                (
                    Some(215),
                    "VIEW bg postgres",
                    "column s.gone does not exist"
                ),
                (
                    Some(215),
                    "VIEW bg postgres",
                    "relation \"public.bg\" does not exist"
                ),
                (
                    Some(216),
                    "TABLE t a b",
                    "server closed the connection unexpectedly\nThis probably means something."
                ),
            ]
        );
        let facts = [
            ("line", "SELECT \"s\".\"gone\""),
            ("hint", "Perhaps another one."),
        ];
        let facts = facts.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(found[0].facts, facts);
        assert!(found[0].statement.ends_with("SELECT 'HINT: x';\n\n"));
        assert_eq!(found[2].statement, "CREATE TABLE t ();");
    }

    #[test]
    fn what_is_no_error_is_no_complaint() {
        let log = "pg_restore: connecting to database for restore\n\
                   pg_restore: WARNING:  error: not really\nHINT:  no\n";
        assert!(of_pg_restore(log).is_empty());
    }

    #[test]
    fn errors_of_a_script_have_its_line() {
        let text = "SET x;\nCREATE ROLE \"a\";\nALTER ROLE \"a\" SET \"gone\" TO '1';\n";
        let log = "command: psql\n\
                   psql:/d/globals.sql:1: WARNING:  odd\nDETAIL:  nothing\n\
                   psql:/d/globals.sql:3: ERROR:  unrecognized configuration parameter \"gone\"\n\
                   DETAIL:  It is gone.\n\
                   psql:/d/globals.sql:9: error: \\unknown: no\n";
        let found = of_psql(log, Path::new("/d/globals.sql"), text);
        assert_eq!(found.len(), 2);
        let (line, first) = &found[0];
        assert_eq!((*line, first.facts.len()), (3, 1));
        assert_eq!(
            first.message,
            "unrecognized configuration parameter \"gone\""
        );
        assert_eq!(first.statement, "ALTER ROLE \"a\" SET \"gone\" TO '1';");
        assert_eq!((found[1].0, found[1].1.statement.as_str()), (9, ""));
    }
}
