//! What a program says of statements that failed, without the literals in them.

use crate::pg::literals::{Veiled, veiled};

const RESTORE: &str = "pg_restore: ";
const ERROR: &str = "pg_restore: error: ";
const COMMAND: &str = "Command was: ";

/// How often the end of a statement is looked for; one that puts lines of pg_restore into its
/// literals more often hides all behind it.
const LOOKS: u32 = 1000;

/// What lines belong to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Elsewhere,
    Said,
    Statement,
}

/// Takes the lines of a program and gives those that may be kept.
///
/// A dump holds the passwords of subscriptions, user mappings and roles. pg_restore prints the
/// whole of a statement that fails, behind what the server said of it, which may repeat a part
/// of it; both wait here until the statement is whole. psql prints no more than an excerpt, of
/// which nobody knows whether it begins within a literal.
#[derive(Debug, Default)]
pub struct Veil {
    part: Part,
    said: Vec<String>,
    statement: String,
    looks: u32,
}

impl Veil {
    /// Takes one line, without its end; gives whole lines.
    pub fn line(&mut self, line: &str) -> String {
        let part = self.part;
        match part {
            Part::Elsewhere => self.begin(line),
            Part::Said => match line.strip_prefix(COMMAND) {
                Some(first) => {
                    self.part = Part::Statement;
                    first.clone_into(&mut self.statement);
                    String::new()
                }
                None if line.starts_with(RESTORE) => self.end() + &self.begin(line),
                None => {
                    self.said.push(line.to_owned());
                    String::new()
                }
            },
            Part::Statement if line.starts_with(RESTORE) && self.is_whole() => {
                self.end() + &self.begin(line)
            }
            Part::Statement => {
                self.statement.push('\n');
                self.statement.push_str(line);
                String::new()
            }
        }
    }

    /// Gives what was waited with.
    pub fn end(&mut self) -> String {
        let statement = veiled(&self.statement);
        let mut told = String::new();
        let mut teller = Teller {
            statement: &statement,
            secret: statement.is_of_secrets(),
            quiet: false,
        };
        for line in self.said.drain(..) {
            if let Some(line) = teller.told(&line) {
                told.push_str(&line);
                told.push('\n');
            }
        }
        if self.part == Part::Statement {
            told.push_str(COMMAND);
            told.push_str(&statement.shown);
            told.push('\n');
        }
        *self = Self::default();
        told
    }

    fn begin(&mut self, line: &str) -> String {
        if line.starts_with(ERROR) {
            self.part = Part::Said;
            self.said.push(line.to_owned());
            return String::new();
        }
        match labelled(line) {
            Some((label, _)) if label.starts_with("LINE ") => format!("{label}: ...\n"),
            _ => format!("{line}\n"),
        }
    }

    /// Whether a line of pg_restore's own may follow; within a literal it is the literal's.
    fn is_whole(&mut self) -> bool {
        self.looks += 1;
        self.looks <= LOOKS && !veiled(&self.statement).open
    }
}

/// Tells what the server said of one statement.
struct Teller<'a> {
    statement: &'a Veiled,
    /// Whether the statement is of a kind that holds passwords.
    secret: bool,
    /// Whether the lines to come belong to something that is not told.
    quiet: bool,
}

impl Teller<'_> {
    fn told(&mut self, line: &str) -> Option<String> {
        let Some((label, text)) = labelled(line) else {
            return (!self.quiet).then(|| self.words(line));
        };
        self.quiet = false;
        if label.starts_with("LINE ") {
            let shown = self.statement.excerpt(text);
            // What points into the line fits only the line as it was.
            self.quiet = shown.as_deref() != Some(text.trim());
            return Some(format!("{label}: {}", shown.as_deref().unwrap_or("...")));
        }
        if ["CONTEXT", "QUERY"].contains(&label) {
            let end = text.find(['\'', '$']);
            self.quiet = end.is_some();
            let text = end.map_or(text.to_owned(), |end| format!("{}...", &text[..end]));
            return Some(format!("{label}:{}", self.words(&text)));
        }
        Some(format!("{label}:{}", self.words(text)))
    }

    fn words(&self, text: &str) -> String {
        match self.secret {
            true => self.statement.said(text),
            false => text.to_owned(),
        }
    }
}

/// What stands before the words of the server, and these.
fn labelled(line: &str) -> Option<(&str, &str)> {
    if line.starts_with(ERROR) {
        let levels = ["ERROR:", "FATAL:", "PANIC:"];
        let level = levels.iter().find_map(|level| {
            let at = line.find(level)?;
            Some(at + level.len() - 1)
        });
        let end = level.unwrap_or(ERROR.len() - 2);
        return Some((&line[..end], &line[end + 1..]));
    }
    let (label, text) = line.split_once(':')?;
    let number = label.strip_prefix("LINE ");
    let numbered = number.is_some_and(|number| number.parse::<u32>().is_ok());
    let known = ["DETAIL", "HINT", "CONTEXT", "QUERY"].contains(&label);
    (known || numbered).then_some((label, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(log: &str) -> String {
        let mut veil = Veil::default();
        let told: String = log.lines().map(|line| veil.line(line)).collect();
        told + &veil.end()
    }

    #[test]
    fn no_secret_passes() {
        let log = "command: pg_restore x\n\
            pg_restore: creating SUBSCRIPTION \"follows\"\n\
            pg_restore: from TOC entry 9; 6100 1 SUBSCRIPTION follows postgres\n\
            pg_restore: error: could not execute query: ERROR:  missing \"=\" after \"sesame\"\n\
            DETAIL:  In sesame.\n\
            Command was: CREATE SUBSCRIPTION \"follows\" CONNECTION 'host=x sesame\n\
            pg_restore: error: sesame' PUBLICATION \"p\";\n\n\n\
            pg_restore: from TOC entry 10; 1 2 USER MAPPING USER MAPPING u SERVER s\n\
            pg_restore: error: could not execute query: ERROR:  option \"sesame\" not found\n\
            HINT:  Valid options in this context are: user, password\n\
            Command was: CREATE USER MAPPING FOR \"u\" SERVER \"s\" OPTIONS (\n    \
            \"password\" 'sesame'\n);\n\n\n\
            pg_restore: from TOC entry 11; 1 2 VIEW v postgres\n\
            pg_restore: error: could not execute query: ERROR:  column \"gone\" does not exist\n\
            LINE 2: ...same', gone FROM t\n                      ^\n\
            CONTEXT:  SQL statement \"SELECT 'sesame\n  sesame'\"\n\
            Command was: CREATE VIEW v AS\n SELECT 'sesame', gone FROM t;\n\n\n\
            pg_restore: warning: errors ignored on restore: 3\n\
            psql:/d/globals.sql:3: ERROR:  no\nLINE 1: sesame\n";
        let kept = kept(log);
        assert!(!kept.contains("same"), "{kept}");
        for line in [
            "command: pg_restore x",
            "pg_restore: error: could not execute query: ERROR:  missing \"=\" after \"...\"",
            "DETAIL:  In ....",
            "Command was: CREATE SUBSCRIPTION \"follows\" CONNECTION '...",
            "' PUBLICATION \"p\";",
            "HINT:  Valid options in this context are: user, password",
            "    \"password\" '...'",
            "pg_restore: error: could not execute query: ERROR:  column \"gone\" does not exist",
            "LINE 2: ...",
            "CONTEXT:  SQL statement \"SELECT ...",
            " SELECT '...', gone FROM t;",
            "pg_restore: warning: errors ignored on restore: 3",
        ] {
            assert!(
                kept.lines().any(|found| found == line),
                "no {line} in {kept}"
            );
        }
    }

    #[test]
    fn what_holds_no_literal_is_as_it_was() {
        let log = "pg_restore: creating VIEW \"public.bg\"\n\
            pg_restore: from TOC entry 215; 1259 16385 VIEW bg postgres\n\
            pg_restore: error: could not execute query: ERROR:  column s.gone does not exist\n\
            LINE 2: SELECT \"s\".\"gone\"\n                 ^\n\
            HINT:  Perhaps another one.\n\
            Command was: CREATE VIEW \"public\".\"bg\" AS\n SELECT \"s\".\"gone\";\n\n\n\
            pg_restore: error: could not execute query: server closed the connection unexpectedly\n\
            \tThis probably means something.\n\
            Command was: CREATE TABLE t ();\n\
            pg_restore: warning: errors ignored on restore: 3\n";
        assert_eq!(kept(log), log);
    }
}
