//! What the catalogs say of large objects, row by row, as `COPY` sends it.

use std::collections::{BTreeMap, BTreeSet};

use super::copy::Source;
use crate::error::{Code, Error, Result};
use crate::server::Client;

/// A catalog with rows about large objects.
#[derive(Debug)]
pub struct About {
    /// Its name.
    pub catalog: &'static str,
    /// Its columns; the first holds the OID of the large object.
    pub columns: &'static str,
    /// Which rows are about large objects.
    pub rows: &'static str,
}

/// The catalogs with rows about large objects.
///
/// In `pg_largeobject` lies what they contain: it is a relation whose file is moved. What
/// `pg_shdepend` says of them follows from their owners and privileges.
pub const ABOUT_LARGE_OBJECTS: [About; 3] = [
    About {
        catalog: "pg_largeobject_metadata",
        columns: "oid, lomowner, lomacl",
        rows: "true",
    },
    About {
        catalog: "pg_description",
        columns: "objoid, classoid, objsubid, description",
        rows: "classoid = 2613",
    },
    About {
        catalog: "pg_seclabel",
        columns: "objoid, classoid, objsubid, provider, label",
        rows: "classoid = 2613",
    },
];

impl About {
    /// The column that holds the OID of the large object.
    pub fn object(&self) -> &'static str {
        self.columns.split(',').next().unwrap_or_default()
    }
}

/// All that the catalogs of one database say of its large objects.
///
/// Roles have the same OIDs in old and in new, so the rows of one are right in the other. They
/// stay the bytes they are: what a database in `SQL_ASCII` holds is no text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LargeObjects {
    /// By catalog, in the order of [`ABOUT_LARGE_OBJECTS`]; the lines of each object together and in order.
    by_catalog: [BTreeMap<u32, Vec<u8>>; ABOUT_LARGE_OBJECTS.len()],
}

impl LargeObjects {
    /// Reads them in the database of the session.
    pub fn read(client: &mut Client) -> Result<Self> {
        let mut source = Source::new(client)?;
        let mut found = Self::default();
        for (about, lines) in ABOUT_LARGE_OBJECTS.iter().zip(&mut found.by_catalog) {
            let query = format!(
                "SELECT {} FROM pg_catalog.{} WHERE {}",
                about.columns, about.catalog, about.rows
            );
            *lines = by_object(&source.text(&query)?)?;
        }
        Ok(found)
    }

    /// The same from what [`Self::text`] gave, catalog by catalog.
    pub fn parse(texts: [&[u8]; ABOUT_LARGE_OBJECTS.len()]) -> Result<Self> {
        let mut parsed = Self::default();
        for (text, lines) in texts.into_iter().zip(&mut parsed.by_catalog) {
            *lines = by_object(text)?;
        }
        Ok(parsed)
    }

    /// The rows of one catalog in the text format of `COPY`, only those of some objects if that
    /// is said.
    pub fn text(&self, catalog: usize, of: Option<&BTreeSet<u32>>) -> Vec<u8> {
        let lines = self.by_catalog.get(catalog).into_iter().flatten();
        lines
            .filter(|(object, _)| of.is_none_or(|wanted| wanted.contains(object)))
            .flat_map(|(_, lines)| lines.iter().copied())
            .collect()
    }

    /// Adds the rows about some objects to one catalog of another cluster.
    pub fn write(&self, client: &mut Client, catalog: usize, of: &BTreeSet<u32>) -> Result<()> {
        let text = self.text(catalog, Some(of));
        let Some(about) = ABOUT_LARGE_OBJECTS
            .get(catalog)
            .filter(|_| !text.is_empty())
        else {
            return Ok(());
        };
        let target = format!("pg_catalog.{} ({})", about.catalog, about.columns);
        Source::new(client)?.take(&target, &text)
    }

    /// The objects of which the other says anything else.
    pub fn differences(&self, other: &Self) -> BTreeSet<u32> {
        let mut different = BTreeSet::new();
        for (mine, others) in self.by_catalog.iter().zip(&other.by_catalog) {
            let objects = mine.keys().chain(others.keys());
            different.extend(objects.filter(|object| mine.get(object) != others.get(object)));
        }
        different
    }
}

fn by_object(text: &[u8]) -> Result<BTreeMap<u32, Vec<u8>>> {
    let mut lines: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let object = line.split(|byte| *byte == b'\t').next();
        let object = object.and_then(|object| std::str::from_utf8(object).ok());
        let object = object.and_then(|object| object.parse().ok());
        let object = object.ok_or_else(|| {
            Error::new(Code::Query, "the server sent a row that makes no sense")
                .fact("row", String::from_utf8_lossy(line))
        })?;
        lines.entry(object).or_default().extend_from_slice(line);
    }
    for lines in lines.values_mut() {
        sort(lines);
    }
    Ok(lines)
}

/// An object may have labels of several providers.
fn sort(lines: &mut Vec<u8>) {
    let mut sorted: Vec<&[u8]> = lines.split_inclusive(|byte| *byte == b'\n').collect();
    if sorted.len() > 1 {
        sorted.sort_unstable();
        *lines = sorted.concat();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(metadata: &str, comments: &str) -> LargeObjects {
        LargeObjects::parse([metadata.as_bytes(), comments.as_bytes(), b""]).unwrap()
    }

    #[test]
    fn what_differs_is_found_in_any_catalog() {
        let then = parsed("7\t10\t\\N\n8\t10\t\\N\n9\t10\t\\N\n", "9\tnine\n");
        assert!(then.differences(&then).is_empty());
        let now = parsed("8\t11\t\\N\n9\t10\t\\N\n10\t10\t\\N\n", "9\tneuf\n");
        let different = then.differences(&now);
        assert_eq!(different, BTreeSet::from([7, 8, 9, 10]));
        assert_eq!(now.text(1, None), b"9\tneuf\n");
        assert_eq!(
            now.text(0, Some(&BTreeSet::from([8, 10]))),
            b"8\t11\t\\N\n10\t10\t\\N\n"
        );
    }

    #[test]
    fn the_order_of_labels_is_no_difference() {
        let labelled = |text: &[u8]| LargeObjects::parse([b"", b"", text]).unwrap();
        let (one, other) = (
            labelled(b"7\ta\tx\n7\tb\ty\n"),
            labelled(b"7\tb\ty\n7\ta\tx\n"),
        );
        assert!(one.differences(&other).is_empty());
    }

    #[test]
    fn a_row_without_an_object_is_an_error() {
        assert!(LargeObjects::parse([b"x\t1\n", b"", b""]).is_err());
    }
}
