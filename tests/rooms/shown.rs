//! What `docs/tests.md` names exists: files, tests in them, options of scripts.

use std::collections::{BTreeMap, BTreeSet};

use crate::tokens::{Token, is, tokens};
use crate::{demand_none, root};

const PAGE: &str = "docs/tests.md";

/// Where names of files begin; anything else between backticks is something else.
const PLACES: [&str; 6] = ["tests/", "src/", "ci/", "checks/", "docs/", ".ci/"];

/// What stands between backticks in a text.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What is named as a place of this repository.
fn named(text: &str) -> impl Iterator<Item = &str> {
    quoted(text).filter(|name| PLACES.iter().any(|place| name.starts_with(place)))
}

/// The functions with the attribute `test`, also those inside `proptest!`.
fn tests_in(tokens: &[Token]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for at in 0..tokens.len() {
        if !is(tokens, at, &["#", "[", "test", "]"]) {
            continue;
        }
        let function = (at..tokens.len()).find(|at| tokens[*at].text == "fn");
        if let Some(name) = function.and_then(|at| tokens.get(at + 1)) {
            found.insert(name.text.clone());
        }
    }
    found
}

/// What is wrong with a name: `file`, `file::test`, or `script option...`.
fn problem(name: &str, tests: &mut BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    let (file, test) = match name.split_once("::") {
        Some((file, test)) => (file, Some(test)),
        None => (name, None),
    };
    let mut words = file.split_whitespace();
    let file = words.next().unwrap_or_default();
    let path = root().join(file);
    if !path.exists() {
        return Some(format!("{name}: there is no {file}"));
    }
    if let Some(test) = test {
        let known = tests.entry(file.to_owned()).or_insert_with(|| {
            let text = std::fs::read_to_string(&path).unwrap();
            tests_in(&tokens(&text))
        });
        return (!known.contains(test)).then(|| format!("{name}: no such test in {file}"));
    }
    let text = || std::fs::read_to_string(&path).unwrap();
    words
        .filter(|word| word.starts_with("--"))
        .find(|option| !text().contains(*option))
        .map(|option| format!("{name}: {file} does not know {option}"))
}

#[test]
fn the_page_of_tests_names_what_there_is() {
    let page = std::fs::read_to_string(root().join(PAGE)).unwrap();
    let mut tests = BTreeMap::new();
    let wrong: Vec<String> = named(&page)
        .filter_map(|name| problem(name, &mut tests))
        .collect();
    demand_none("named in docs/tests.md", &wrong);
}

#[test]
fn every_promise_is_shown_by_something() {
    let page = std::fs::read_to_string(root().join(PAGE)).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let rows: Vec<&str> = rows.filter(|line| !line.contains("| shown by")).collect();
    assert!(rows.len() > 50, "{} rows in {PAGE}", rows.len());
    let bare: Vec<String> = rows
        .iter()
        .filter(|row| {
            let cell = row.trim_end_matches('|').rsplit('|').next();
            cell.is_none_or(|cell| named(cell).next().is_none())
        })
        .map(|row| (*row).to_owned())
        .collect();
    demand_none("no test or command behind it", &bare);
}

#[test]
fn names_that_do_not_exist_are_found() {
    let mut tests = BTreeMap::new();
    let mut wrong = |name: &str| problem(name, &mut tests).is_some();
    assert!(!wrong("tests/rooms/shown.rs"));
    assert!(!wrong(
        "tests/rooms/shown.rs::names_that_do_not_exist_are_found"
    ));
    assert!(!wrong("ci/matrix --third"));
    assert!(wrong("tests/rooms/hidden.rs"));
    assert!(wrong("tests/rooms/shown.rs::quoted"));
    assert!(wrong("ci/matrix --quarter"));
    let text = "| a | `src/lib.rs`, `PGM-1` and `ci/test` |";
    assert_eq!(named(text).collect::<Vec<_>>(), ["src/lib.rs", "ci/test"]);
}
