//! Parsers of what programs and servers say.

use std::path::Path;

use pg_migrator::catalog::{ABOUT_LARGE_OBJECTS, Fields, LargeObjects};
use pg_migrator::pg::literals::veiled;
use pg_migrator::pg::{MajorVersion, Version, quote};
use pg_migrator::schema;
use pg_migrator::server::Veil;

use crate::target::{Target, target, text};

pub const TARGETS: &[Target] = &[
    target("versions", |input| {
        let text = text(input);
        let _ = (Version::parse(&text), MajorVersion::parse(&text));
    }),
    target("list-of-a-dump", |input| {
        if let Ok(contents) = schema::parse(&text(input)) {
            for entry in &contents.entries {
                let _ = quote::terminal_safe(&entry.text);
            }
        }
    }),
    target("complaints", complaints),
    target("statements", statement),
    target("rows", rows),
    target("about-large-objects", about_large_objects),
    target("shown", |input| {
        let text = text(input);
        let shown = quote::terminal_safe(&text);
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
        assert_eq!(quote::terminal_safe(&shown), shown);
    }),
];

fn complaints(input: &[u8]) {
    let said = text(input);
    let mut veil = Veil::default();
    let told: String = said.lines().map(|line| veil.line(line)).collect();
    let told = told + &veil.end();
    for log in [said, told] {
        let script = "CREATE ROLE a;\n".repeat(9);
        let of_psql = schema::of_psql(&log, Path::new("/d/globals.sql"), &script);
        let complaints = of_psql.into_iter().map(|(_, complaint)| complaint);
        for complaint in complaints.chain(schema::of_pg_restore(&log)) {
            let _ = quote::terminal_safe(&complaint.message);
        }
    }
}

/// What is shown of a statement has nothing left to hide.
fn statement(input: &[u8]) {
    let shown = veiled(&text(input)).shown;
    let bare = |text: &str| text.replace(['\'', '.'], "");
    assert_eq!(bare(&veiled(&shown).shown), bare(&shown));
}

fn rows(input: &[u8]) {
    for (number, line) in input.split(|byte| *byte == b'\n').enumerate() {
        let mut fields = Fields::new(line);
        for field in 0..6 {
            let read = match (number + field) % 4 {
                0 => fields.text().map(drop),
                1 => fields.number::<u32>().map(drop),
                2 => fields.truth().map(drop),
                _ => fields.word(|word| word.chars().next()).map(drop),
            };
            // One that was no number, say, has been passed; behind the last there is none.
            let _ = read;
        }
        assert!(fields.text().is_err() || line.iter().filter(|byte| **byte == b'\t').count() >= 6);
    }
}

/// The rows of each catalog, with a line between them that is none.
fn about_large_objects(input: &[u8]) {
    let mut texts = input.split(|byte| *byte == 0);
    let texts = [(); ABOUT_LARGE_OBJECTS.len()].map(|()| texts.next().unwrap_or_default());
    if let Ok(read) = LargeObjects::parse(texts) {
        for (catalog, text) in texts.iter().enumerate() {
            assert_eq!(read.text(catalog, None).len(), text.len());
        }
        assert!(read.differences(&read).is_empty());
    }
}
