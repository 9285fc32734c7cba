//! The rooms of the crate, held to the table of `docs/design.md`.
//!
//! The sources are read as tokens: comments and strings say nothing here.

// A test says what went wrong by failing there.
#![allow(clippy::unwrap_used)]

mod shown;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tokens::{Token, closing, is, split_tests, tokens};

/// A file longer than this is not read in one sitting.
const LONGEST: usize = 500;

/// Files that may be longer, each with its reason; better none.
const LONG: &[&str] = &[];

/// Rooms that speak to the terminal.
const MAY_PRINT: &[&str] = &["cli"];

/// What opens files for writing or changes directories: `disk` alone, but for the named ones.
const CHANGES: &[&str] = &[
    "fs::write",
    "fs::rename",
    "fs::remove_file",
    "fs::remove_dir",
    "fs::remove_dir_all",
    "fs::create_dir",
    "fs::create_dir_all",
    "fs::hard_link",
    "fs::copy",
    "fs::set_permissions",
    "fs::OpenOptions",
    "fs::DirBuilder",
    "unix::fs::symlink",
    "File::create",
    "File::create_new",
    "File::options",
    "OpenOptions::new",
    "DirBuilder::new",
];

/// Files that may open others for writing: logs of programs, and the record of crash points,
/// which must not itself be a crash point.
const MAY_CHANGE: &[&str] = &["src/server/program.rs", "src/fault/active.rs"];

/// A source file, its room, and its tokens with and without what is compiled for tests only.
struct Source {
    path: String,
    room: String,
    /// How many modules lie between the root of the crate and the items of the file.
    depth: usize,
    lines: usize,
    tokens: Vec<Token>,
    shipped: Vec<Token>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    files_below(&root().join("src"), &mut paths);
    paths.sort();
    let mut tests_only: BTreeSet<String> = BTreeSet::new();
    let mut all = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let path = path.strip_prefix(root()).unwrap().display().to_string();
        let module = path.trim_end_matches(".rs").to_owned();
        let tokens = tokens(&text);
        let (shipped, modules) = split_tests(&tokens);
        tests_only.extend(modules.iter().map(|name| format!("{module}/{name}")));
        let parts: Vec<&str> = module.split('/').skip(1).collect();
        all.push(Source {
            room: parts[0].to_owned(),
            depth: parts.len(),
            lines: text.lines().count(),
            tokens,
            shipped,
            path: path.clone(),
        });
    }
    for source in &mut all {
        let module = source.path.trim_end_matches(".rs");
        let for_tests = tests_only
            .iter()
            .any(|test| module == test || module.starts_with(&format!("{test}/")));
        if for_tests {
            source.shipped.clear();
        }
    }
    all
}

/// The table of rooms: each with those it may use, in the order of the page.
fn table() -> Vec<(String, BTreeSet<String>)> {
    let page = std::fs::read_to_string(root().join("docs/design.md")).unwrap();
    let rows = page
        .lines()
        .skip_while(|line| !line.starts_with("| room | may use |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let names = |cell: &str| {
        let names = cell
            .split(',')
            .map(|name| name.trim().trim_matches('`').to_owned());
        names
            .filter(|name| !name.is_empty() && name != "–")
            .collect::<Vec<_>>()
    };
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        (
            names(cells[1])[0].clone(),
            names(cells[2]).into_iter().collect(),
        )
    })
    .collect()
}

/// The first names behind every `crate::`, with their lines; braces are looked into.
fn imports(tokens: &[Token]) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        if !is(tokens, at, &["crate", "::"]) {
            continue;
        }
        let next = &tokens[at + 2];
        if next.text != "{" {
            found.push((next.text.clone(), next.line));
            continue;
        }
        let end = closing(tokens, at + 2) - 1;
        let mut inner = at + 3;
        while inner < end {
            found.push((tokens[inner].text.clone(), tokens[inner].line));
            while inner < end && tokens[inner].text != "," {
                inner = if tokens[inner].text == "{" {
                    closing(tokens, inner)
                } else {
                    inner + 1
                };
            }
            inner += 1;
        }
    }
    found
}

/// Chains of `super` that lead out of the room to the root of the crate.
fn ways_out(source: &Source) -> Vec<usize> {
    let tokens = &source.tokens;
    let (mut found, mut open, mut modules) = (Vec::new(), 0usize, Vec::new());
    for at in 0..tokens.len() {
        match tokens[at].text.as_str() {
            "{" => {
                open += 1;
                if at >= 2 && tokens[at - 2].text == "mod" {
                    modules.push(open);
                }
            }
            "}" => {
                if modules.last() == Some(&open) {
                    modules.pop();
                }
                open -= 1;
            }
            "super" if at == 0 || tokens[at - 1].text != "::" => {
                let chain = (0..)
                    .take_while(|i| is(tokens, at + 2 * i, &["super", "::"]))
                    .count();
                if chain >= source.depth + modules.len() {
                    found.push(tokens[at].line);
                }
            }
            _ => {}
        }
    }
    found
}

fn demand_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn each_room_uses_only_rooms_it_may_use() {
    let table: BTreeMap<_, _> = table().into_iter().collect();
    let mut wrong = Vec::new();
    for source in sources() {
        if source.room == "lib" {
            continue;
        }
        if source.room == "main" {
            for at in 0..source.tokens.len() {
                if is(&source.tokens, at, &["pg_migrator", "::"])
                    && !is(&source.tokens, at + 2, &["cli"])
                {
                    wrong.push(format!("{}: main may use cli alone", source.path));
                }
            }
            continue;
        }
        let Some(allowed) = table.get(&source.room) else {
            wrong.push(format!(
                "{}: {} is not in the table",
                source.path, source.room
            ));
            continue;
        };
        for (name, line) in imports(&source.tokens) {
            if name != source.room && !allowed.contains(&name) {
                wrong.push(format!(
                    "{}:{line}: {} may not use {name}",
                    source.path, source.room
                ));
            }
        }
        for line in ways_out(&source) {
            wrong.push(format!(
                "{}:{line}: super leads out of {}",
                source.path, source.room
            ));
        }
    }
    demand_none("imports that docs/design.md does not allow", &wrong);
}

#[test]
fn the_table_is_the_crate_and_looks_only_upwards() {
    let mut above = BTreeSet::new();
    for (room, allowed) in table() {
        let below: Vec<_> = allowed.difference(&above).collect();
        assert!(
            below.is_empty(),
            "{room} may use {below:?}, which is not above it"
        );
        assert!(above.insert(room.clone()), "{room} is there twice");
    }
    let library = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let tokens = tokens(&library);
    let declared: BTreeSet<_> = (0..tokens.len())
        .filter(|at| is(&tokens, *at, &["mod"]))
        .map(|at| tokens[at + 1].text.clone())
        .collect();
    assert_eq!(declared, above);
}

#[test]
fn every_file_is_read_in_one_sitting() {
    let mut long = Vec::new();
    for source in sources() {
        let known = LONG.contains(&source.path.as_str());
        if (source.lines > LONGEST) != known {
            long.push(format!("{}: {} lines", source.path, source.lines));
        }
    }
    demand_none(
        "longer than agreed, or on the list of long files without need",
        &long,
    );
}

#[test]
fn the_library_neither_prints_nor_exits_nor_panics() {
    let mut found = Vec::new();
    for source in sources() {
        let shipped = &source.shipped;
        for at in 0..shipped.len() {
            let name = shipped[at].text.as_str();
            let printed = ["println", "eprintln", "print", "eprint"].contains(&name)
                && !MAY_PRINT.contains(&source.room.as_str());
            let panics = ["panic", "todo", "unimplemented", "unreachable", "dbg"].contains(&name);
            let told = (printed || panics) && is(shipped, at + 1, &["!"]);
            let ended = is(shipped, at, &["process", "::", "exit"])
                || is(shipped, at, &["process", "::", "abort"]);
            let trusted =
                is(shipped, at, &[".", "unwrap", "("]) || is(shipped, at, &[".", "expect", "("]);
            if told || ended || trusted {
                found.push(format!("{}:{}", source.path, shipped[at].line));
            }
        }
    }
    demand_none("prints, exits or panics", &found);
}

#[test]
fn only_disk_changes_files() {
    let mut found = Vec::new();
    for source in sources() {
        if source.room == "disk" || MAY_CHANGE.contains(&source.path.as_str()) {
            continue;
        }
        for act in CHANGES {
            let parts: Vec<&str> = act
                .split("::")
                .flat_map(|part| ["::", part])
                .skip(1)
                .collect();
            for at in 0..source.shipped.len() {
                if is(&source.shipped, at, &parts) {
                    found.push(format!(
                        "{}:{}: {act}",
                        source.path, source.shipped[at].line
                    ));
                }
            }
        }
    }
    demand_none("changes files outside src/disk", &found);
}

#[test]
fn only_server_starts_programs_and_opens_sessions() {
    let mut found = Vec::new();
    for source in sources() {
        if source.room == "server" {
            continue;
        }
        for at in 0..source.shipped.len() {
            let shipped = &source.shipped;
            if is(shipped, at, &["Command", "::", "new"]) || is(shipped, at, &["postgres", "::"]) {
                found.push(format!("{}:{}", source.path, shipped[at].line));
            }
        }
    }
    demand_none("another process is the business of src/server", &found);
}

#[test]
fn sources_are_understood() {
    let text = r##"
        //! use crate::comment;
        /* use crate::outer; /* nested */ use crate::still; */
        use crate::{disk::{self, Area}, error::Code, pg};
        const A: &str = "crate::string \" more"; const B: &str = r#"crate::raw " "#;
        fn f<'a>(x: &'a str) -> char { '"' }
        fn g() -> u8 { b'\'' } fn h() { crate::plan::Plan::new().unwrap() }
        #[cfg(test)]
        #[allow(dead_code)]
        fn only(a: [u8; 2]) { a.first().unwrap(); }
        #[cfg(test)]
        mod elsewhere;
        #[cfg(test)]
        mod tests { use super::super::pg; fn t() { super::super::super::x() } }
    "##;
    let tokens = tokens(text);
    let named = |tokens: &[Token]| -> Vec<String> {
        imports(tokens).into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(named(&tokens), ["disk", "error", "pg", "plan"]);
    let (shipped, modules) = split_tests(&tokens);
    assert_eq!(modules, ["elsewhere"]);
    let unwraps = |tokens: &[Token]| tokens.iter().filter(|t| t.text == "unwrap").count();
    assert_eq!((unwraps(&tokens), unwraps(&shipped)), (2, 1));
    let source = |depth| Source {
        path: String::new(),
        room: String::new(),
        depth,
        lines: 0,
        tokens: tokens.clone(),
        shipped: Vec::new(),
    };
    assert_eq!(ways_out(&source(1)).len(), 2);
    assert_eq!(ways_out(&source(2)).len(), 1);
    assert_eq!(ways_out(&source(3)).len(), 0);
}
