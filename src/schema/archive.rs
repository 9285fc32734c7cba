//! The table of contents of a dump, as `pg_restore --list --verbose` prints it.

use crate::error::{Code, Error, Result};

/// One entry: an object, or something about one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the dump; dependencies name it.
    pub id: u32,
    /// OID of the catalog the object is in; 0 for what is none.
    pub catalog: u32,
    /// Its OID there.
    pub oid: u32,
    /// Kind, schema, name and owner as printed: for classifying, never for acting.
    pub text: String,
    /// Numbers of the entries it needs; numbers that are no entries are left in.
    pub needs: Vec<u32>,
}

/// The entries of a dump, in the order of restoring.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// The entries.
    pub entries: Vec<Entry>,
}

/// Reads the printed list.
///
/// A line is `ID; CATALOG-OID OID KIND SCHEMA NAME OWNER`; `;\tdepends on: ID ID ...` follows
/// it. Names are chosen by owners of databases and may imitate a kind; newlines in them are
/// replaced by pg_restore (`sanitize_line` of `src/bin/pg_dump/dumputils.c`), so that a name
/// never makes a line of its own.
pub fn parse(list: &str) -> Result<Contents> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in list.lines() {
        if let Some(rest) = line.strip_prefix(";\tdepends on:") {
            let needs = rest
                .split_whitespace()
                .map(str::parse::<u32>)
                .collect::<Result<_, _>>();
            match (entries.last_mut(), needs) {
                (Some(entry), Ok(needs)) => entry.needs = needs,
                _ => return Err(unreadable(line)),
            }
        } else if !line.is_empty() && !line.starts_with(';') {
            entries.push(parse_entry(line).ok_or_else(|| unreadable(line))?);
        }
    }
    Ok(Contents { entries })
}

fn parse_entry(line: &str) -> Option<Entry> {
    let (id, rest) = line.split_once("; ")?;
    let mut words = rest.splitn(3, ' ');
    let (catalog, oid) = (words.next()?, words.next()?);
    Some(Entry {
        id: id.parse().ok()?,
        catalog: catalog.parse().ok()?,
        oid: oid.parse().ok()?,
        text: words.next()?.to_owned(),
        needs: Vec::new(),
    })
}

fn unreadable(line: &str) -> Error {
    Error::new(
        Code::RestoreFailed,
        "pg_restore printed a list that cannot be read",
    )
    .fact("line", line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_their_needs_are_read() {
        let list = ";\n; Archive created at 2026-01-01\n;     dbname: shop\n;\n\
                    850; 1247 61387 TYPE app mood postgres\n\
                    ;\tdepends on: 6\n\
                    3404; 0 0 pg_largeobject - pg_largeobject \n";
        let contents = parse(list).unwrap();
        assert_eq!(
            contents.entries,
            [
                Entry {
                    id: 850,
                    catalog: 1247,
                    oid: 61387,
                    text: "TYPE app mood postgres".into(),
                    needs: vec![6]
                },
                Entry {
                    id: 3404,
                    catalog: 0,
                    oid: 0,
                    text: "pg_largeobject - pg_largeobject ".into(),
                    needs: vec![]
                },
            ]
        );
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in [
            "hello",
            "12; 1",
            "x; 0 0 TABLE a b c",
            ";\tdepends on: 3",
            "1; 0 0 A b c\n;\tdepends on: x",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
