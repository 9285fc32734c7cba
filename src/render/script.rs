//! Remedies in SQL as a script for psql.

use std::collections::HashMap;
use std::fmt::Write;

use crate::error::Remedy;
use crate::event::Found;
use crate::pg::quote::{psql_connect, terminal_safe};

/// A script, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Its text.
    pub text: String,
    /// The database it begins in.
    pub database: String,
    /// How many remedies it carries out.
    pub statements: usize,
    /// How many it holds as comments, because they throw something away.
    pub destructive: usize,
    /// How many findings have a remedy that is not SQL, or none.
    pub by_hand: usize,
}

/// What is done in one database.
struct Section<'f> {
    database: &'f str,
    remedies: Vec<InSql<'f>>,
    known: HashMap<&'f str, usize>,
}

/// A remedy, and the findings it is for.
struct InSql<'f> {
    sql: &'f str,
    destructive: bool,
    found: Vec<&'f Found>,
}

const HEAD: &str = "\
--
-- For psql, as a superuser. It does what is to be done in one database after the other, and ends
-- at the first error. Statements that destroy something are commented out, and are marked: take
-- the dashes away where that is wanted.
\\set ON_ERROR_STOP on
\\encoding UTF8
";

/// The remedies of these findings, by database; none if none of them is SQL.
///
/// One remedy for several findings is there once.
pub fn script(about: &str, found: &[Found]) -> Option<Script> {
    let (sections, by_hand) = sorted(found);
    let first = sections.first()?.database.to_owned();
    let remedies = || sections.iter().flat_map(|section| &section.remedies);
    let destructive = remedies().filter(|remedy| remedy.destructive).count();
    let mut text = format!("-- Remedies for {}\n{HEAD}", terminal_safe(about));
    for section in &sections {
        let _ = write!(
            text,
            "\n{}\n\\encoding UTF8\n",
            psql_connect(section.database)
        );
        for remedy in &section.remedies {
            remedy.write(&mut text);
        }
    }
    if !by_hand.is_empty() {
        text.push_str("\n-- Not in SQL:\n");
    }
    for one in &by_hand {
        text.push('\n');
        sentence(&mut text, one);
        match one.remedy.as_ref().map(|advice| &advice.remedy) {
            Some(Remedy::Command(command)) => {
                text.push_str("-- in a shell:\n");
                commented(&mut text, command);
            }
            Some(Remedy::Manual(manual)) => commented(&mut text, &terminal_safe(manual)),
            Some(Remedy::Sql { .. }) | None => {}
        }
    }
    Some(Script {
        text,
        database: first,
        statements: remedies().count() - destructive,
        destructive,
        by_hand: by_hand.len(),
    })
}

/// The databases in the order of their first finding, those last from which others are changed;
/// and the findings without SQL.
fn sorted(found: &[Found]) -> (Vec<Section<'_>>, Vec<&Found>) {
    let mut sections: Vec<Section<'_>> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut by_hand = Vec::new();
    for one in found {
        let advice = one.remedy.as_ref();
        let Some((Remedy::Sql { database, sql }, destructive)) =
            advice.map(|advice| (&advice.remedy, advice.destructive))
        else {
            by_hand.push(one);
            continue;
        };
        let place = *places.entry(database).or_insert_with(|| {
            sections.push(Section {
                database,
                remedies: Vec::new(),
                known: HashMap::new(),
            });
            sections.len() - 1
        });
        if let Some(section) = sections.get_mut(place) {
            section.add(sql, destructive, one);
        }
    }
    // A database is renamed or dropped from another one, when nobody goes there any more.
    sections.sort_by_key(Section::acts_on_others);
    (sections, by_hand)
}

impl<'f> Section<'f> {
    /// Whether anything in it is about another database, or about all.
    fn acts_on_others(&self) -> bool {
        let mut found = self.remedies.iter().flat_map(|remedy| &remedy.found);
        found.any(|one| one.database.as_deref() != Some(self.database))
    }

    fn add(&mut self, sql: &'f str, destructive: bool, one: &'f Found) {
        let remedies = &mut self.remedies;
        let place = *self.known.entry(sql).or_insert_with(|| {
            remedies.push(InSql {
                sql,
                destructive,
                found: Vec::new(),
            });
            remedies.len() - 1
        });
        if let Some(remedy) = remedies.get_mut(place) {
            remedy.destructive |= destructive;
            remedy.found.push(one);
        }
    }
}

impl InSql<'_> {
    fn write(&self, out: &mut String) {
        out.push('\n');
        for one in &self.found {
            sentence(out, one);
        }
        if self.destructive {
            out.push_str("-- destructive:\n");
            commented(out, self.sql.trim_end());
        } else {
            out.push_str(self.sql.trim_end());
            out.push('\n');
        }
    }
}

fn sentence(out: &mut String, one: &Found) {
    let database = one.database.as_deref().unwrap_or_default();
    let place = match database {
        "" => String::new(),
        name => format!("database {name}: "),
    };
    let text = format!("{}[{}]: {place}{}", one.severity, one.check, one.sentence);
    commented(out, &terminal_safe(&text));
}

/// Every line as a comment. One ends at a carriage return, too.
fn commented(out: &mut String, text: &str) {
    out.push_str("-- ");
    for letter in text.chars() {
        out.push(letter);
        if matches!(letter, '\n' | '\r') {
            out.push_str("-- ");
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Advice, Severity};

    fn found(sentence: &str, advice: Option<Advice>) -> Found {
        Found {
            check: "things".to_owned(),
            severity: Severity::Blocker,
            database: None,
            sentence: sentence.to_owned(),
            columns: Default::default(),
            facts: Vec::new(),
            remedy: advice,
        }
    }

    fn sql(database: &str, sql: &str, destructive: bool) -> Option<Advice> {
        let (database, sql) = (database.to_owned(), sql.to_owned());
        Some(Advice {
            remedy: Remedy::Sql { database, sql },
            destructive,
        })
    }

    fn body(script: &Script) -> &str {
        script.text.split_once("\\encoding UTF8\n").unwrap().1
    }

    #[test]
    fn each_database_has_its_remedies_once() {
        let all = [
            found("a", sql("shop", "ALTER a;", false)),
            found("b", sql("it's", "ALTER b;", false)),
            found("c", sql("shop", "DROP c;\n", true)),
            found("d", sql("shop", "ALTER a;", false)),
            found("e", Some(Remedy::manual("look").into())),
            found("f", Some(Remedy::command("ls\nrm").into())),
            found("g", None),
        ];
        let script = script("old", &all).unwrap();
        assert_eq!(
            body(&script),
            "\n\\connect shop\n\\encoding UTF8\n\n\
             -- blocker[things]: a\n-- blocker[things]: d\nALTER a;\n\n\
             -- blocker[things]: c\n-- destructive:\n-- DROP c;\n\n\
             \\connect -reuse-previous=on '\"dbname=''it\\\\''s''\"'\n\\encoding UTF8\n\n\
             -- blocker[things]: b\nALTER b;\n\n\
             -- Not in SQL:\n\n\
             -- blocker[things]: e\n-- look\n\n\
             -- blocker[things]: f\n-- in a shell:\n-- ls\n-- rm\n\n\
             -- blocker[things]: g\n"
        );
        let counts = (script.statements, script.destructive, script.by_hand);
        assert_eq!(counts, (2, 1, 3));
        assert_eq!(script.database, "shop");
    }

    #[test]
    fn what_is_done_to_other_databases_comes_last() {
        let own = |database: &str| Found {
            database: Some(database.to_owned()),
            ..found("own", sql(database, "REINDEX;", false))
        };
        let rename = found(
            "name",
            sql("postgres", "ALTER DATABASE a RENAME TO b;", false),
        );
        let script = script("old", &[rename, own("postgres"), own("a")]).unwrap();
        assert_eq!(script.database, "a");
        let at = |text: &str| script.text.find(text).unwrap();
        assert!(
            at("\\connect a") < at("\\connect postgres"),
            "{}",
            script.text
        );
    }

    #[test]
    fn nothing_gets_out_of_a_comment() {
        let evil = "x\nDROP y;\rDROP z;\r\n\\! rm -rf /\u{2028}w";
        let all = [
            found(evil, sql("shop", evil, true)),
            found(evil, Some(Remedy::manual(evil).into())),
            found(evil, Some(Remedy::command(evil).into())),
        ];
        let script = script(evil, &all).unwrap();
        for line in script.text.split(['\n', '\r']) {
            let ours = [
                "",
                "\\connect shop",
                "\\encoding UTF8",
                "\\set ON_ERROR_STOP on",
            ];
            assert!(line.starts_with("--") || ours.contains(&line), "{line}");
        }
    }

    #[test]
    fn without_sql_there_is_no_script() {
        let by_hand = [found("a", Some(Remedy::manual("look").into()))];
        assert_eq!(script("old", &by_hand), None);
        assert_eq!(script("old", &[]), None);
    }
}
