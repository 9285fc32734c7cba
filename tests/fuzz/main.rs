//! Every parser of bytes that somebody else may have written, fed with wrong ones.
//!
//! An input is one of the corpus (`tests/corpus`, a folder a parser), changed in a few places;
//! where the format has a checksum it is made right again, or nothing behind it would be reached.
//! None may make the parser panic, overflow or go on for ever: overflows are checked in this
//! build, and the tests run again in a process with little memory and little time. Numbers are
//! drawn from a seed that is printed, so that a run can be repeated; what was found is added to
//! the corpus. `ci/fuzz MINUTES` runs it for longer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod change;
mod clusters;
mod programs;
mod seal;
mod states;
mod target;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use change::Changes;
use target::{Target, all};

const AGAIN: &str = "PGM_FUZZ_AGAIN";
/// Inputs of a short run, for each parser.
const INPUTS: u64 = 1500;
/// For one input; thousands of times what any takes, because a machine that stands still for a
/// while must not add an input to the corpus.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn no_input_breaks_a_parser() {
    if std::env::var_os(AGAIN).is_some() {
        return feed_all();
    }
    let seconds = given("PGM_FUZZ_SECONDS").unwrap_or(0);
    let output = Command::new("timeout")
        .arg((120 + 2 * seconds).to_string())
        .args(["prlimit", "--as=1500000000"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "no_input_breaks_a_parser", "--nocapture"])
        .env(AGAIN, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    for line in said.lines().filter(|line| line.contains("TRIED")) {
        println!("{line}");
    }
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{}: {said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

fn feed_all() {
    let seed = given("PGM_FUZZ_SEED").unwrap_or(1);
    let seconds = given("PGM_FUZZ_SECONDS");
    let targets = all();
    let each = seconds.map(|all| Duration::from_secs(all) / u32::try_from(targets.len()).unwrap());
    std::panic::set_hook(Box::new(|_| {}));
    let mut broken = Vec::new();
    let mut inputs = 0;
    for target in &targets {
        let (fed, found) = feed(target, seed, each);
        println!("TRIED {fed} inputs of {}, seed {seed}", target.name);
        broken.extend(found);
        inputs += fed;
    }
    println!("TRIED {inputs} inputs of {} parsers in all", targets.len());
    assert!(broken.is_empty(), "{broken:#?}");
}

fn feed(target: &Target, seed: u64, each: Option<Duration>) -> (u64, Option<String>) {
    let corpus = corpus(target.name);
    assert!(!corpus.is_empty(), "{} has no corpus", target.name);
    let mut changes = Changes::new(seed);
    let begun = Instant::now();
    let mut fed = 0;
    let goes_on = |fed: u64| match each {
        Some(each) => begun.elapsed() < each,
        None => fed < INPUTS,
    };
    let mut whole = corpus.iter().cloned();
    while goes_on(fed) {
        let input = match whole.next() {
            Some(input) => input,
            None => (target.seal)(changes.of(&corpus)),
        };
        fed += 1;
        let at = Instant::now();
        let done = catch_unwind(AssertUnwindSafe(|| (target.parse)(&input)));
        if done.is_ok() && at.elapsed() < PATIENCE {
            continue;
        }
        let kept = keep(target.name, &input);
        return (fed, Some(format!("{}: {}", target.name, kept.display())));
    }
    (fed, None)
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = [place(name), control_files(name)]
        .iter()
        .filter_map(|dir| fs::read_dir(dir).ok())
        .flat_map(|dir| dir.map(|entry| entry.unwrap().path()))
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(name)
}

/// One of each version is kept already.
fn control_files(name: &str) -> PathBuf {
    let dir = match name {
        "pg_control" => "tests/data/pg_control",
        _ => "tests/corpus/none",
    };
    Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)
}

fn keep(name: &str, input: &[u8]) -> PathBuf {
    let path = place(name).join(format!("found-{:08x}", crc32c::crc32c(input)));
    fs::write(&path, input).unwrap();
    path
}

fn given(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|number| number.parse().unwrap())
}
