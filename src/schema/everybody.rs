//! Settings for every role in every database (`ALTER ROLE ALL SET`), which no dump holds.

use crate::error::{Error, Family, Result};
use crate::pg::quote;
use crate::server::{Client, Endpoint};

/// Settings whose value is a list of names, each quoted by itself: the server joins what it is
/// given and would take a list in one literal for one name. PostgreSQL marks these with
/// `GUC_LIST_QUOTE`, which no query shows; `pg_dump` keeps the same list.
const LISTS: &[&str] = &[
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// A setting the new server did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// `name=value`.
    pub setting: String,
    /// What the server said.
    pub reason: String,
}

/// Reads the settings that apply to everybody, as `name=value`.
pub fn settings_of_everybody(old: &mut Client) -> Result<Vec<String>> {
    let rows = old.text_rows(
        "SELECT pg_catalog.unnest(setconfig) FROM pg_catalog.pg_db_role_setting
         WHERE setrole = 0 AND setdatabase = 0",
    )?;
    Ok(rows.into_iter().flatten().flatten().collect())
}

/// Makes the same settings in new.
///
/// A setting that new does not know, or a value it does not take, is given back: it would be
/// wrong to let it end an upgrade, or to lose it without a word.
pub fn set_for_everybody(new: &Endpoint, settings: &[String]) -> Result<Vec<Refused>> {
    let mut refused = Vec::new();
    if settings.is_empty() {
        return Ok(refused);
    }
    let mut client = new.connect("template1")?;
    for setting in settings {
        let Some(statement) = statement(setting) else {
            continue;
        };
        if let Err(error) = client.run_script(&statement) {
            refused.push(Refused {
                setting: setting.clone(),
                reason: reason(&mut client, &error)?,
            });
        }
    }
    Ok(refused)
}

/// A session that has ended says nothing about the setting.
fn reason(client: &mut Client, error: &Error) -> Result<String> {
    if error.code().family() == Family::Signal || client.run_script("").is_err() {
        return Err(error.clone());
    }
    let said = error.facts().iter().find(|(name, _)| name == "message");
    Ok(said.map_or_else(|| error.message().to_owned(), |(_, text)| text.clone()))
}

fn statement(setting: &str) -> Option<String> {
    let (name, value) = setting.split_once('=')?;
    let values = if LISTS.contains(&name.to_ascii_lowercase().as_str()) {
        list(value)
    } else {
        vec![value.to_owned()]
    };
    let literals: Vec<String> = values.iter().map(|value| quote::literal(value)).collect();
    let literals = literals.join(", ");
    Some(format!(
        "ALTER ROLE ALL SET {} TO {literals}",
        quote::ident(name)
    ))
}

/// Takes a stored list apart: names separated by commas, in double quotes where they need it.
/// One that is empty has one name, which is empty, since a statement needs a value.
fn list(stored: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = stored.trim();
    while !rest.is_empty() {
        let (name, after) = match rest.strip_prefix('"') {
            Some(inside) => quoted(inside),
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].trim_end().to_owned(), &rest[end..])
            }
        };
        names.push(name);
        let after = after.trim_start();
        rest = after.strip_prefix(',').unwrap_or(after).trim_start();
    }
    if names.is_empty() {
        names.push(String::new());
    }
    names
}

/// The name up to the closing quote, and what follows that.
fn quoted(inside: &str) -> (String, &str) {
    let mut name = String::new();
    let mut rest = inside;
    while let Some((part, after)) = rest.split_once('"') {
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return (name, after),
        }
    }
    name.push_str(rest);
    (name, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_quoted() {
        assert_eq!(
            statement("app.every\"body=it's = \\ x").unwrap(),
            r#"ALTER ROLE ALL SET "app.every""body" TO E'it''s = \\ x'"#
        );
        assert_eq!(
            statement("DateStyle=ISO, DMY").unwrap(),
            r#"ALTER ROLE ALL SET "DateStyle" TO 'ISO, DMY'"#
        );
        assert_eq!(statement("no value"), None);
    }

    #[test]
    fn each_name_of_a_list_is_a_value() {
        assert_eq!(
            statement(r#"search_path="$user", public, "a, ""b""", "O'x""#).unwrap(),
            r#"ALTER ROLE ALL SET "search_path" TO '$user', 'public', 'a, "b"', 'O''x'"#
        );
        assert_eq!(
            statement(r#"search_path="""#).unwrap(),
            r#"ALTER ROLE ALL SET "search_path" TO ''"#
        );
        assert_eq!(list(""), [""]);
        assert_eq!(list(" a ,b,"), ["a", "b"]);
        assert_eq!(list("\"never closed"), ["never closed"]);
    }
}
