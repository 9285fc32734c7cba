//! What is asked on a terminal, before what cannot be taken back, and what answers do.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use support::as_server_user;
use support::case::Case;

const CTRL_C: &str = "\u{3}";

/// Runs a command at a terminal of its own, and answers when it asks; gives its exit status and
/// what was to be seen.
fn answer(command: &Command, answer: &str) -> (i32, String) {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let words: Vec<_> = words
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let mut terminal = Command::new("script");
    terminal
        .args(["--quiet", "--return", "--command", &words.join(" ")])
        .arg("/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => terminal.env(name, value),
            None => terminal.env_remove(name),
        };
    }
    let mut terminal = terminal.spawn().unwrap();
    let (mut keys, mut screen) = (
        terminal.stdin.take().unwrap(),
        terminal.stdout.take().unwrap(),
    );
    let (mut seen, mut piece, mut answered) = (Vec::new(), [0; 4096], false);
    loop {
        let length = screen.read(&mut piece).unwrap();
        if length == 0 {
            break;
        }
        seen.extend_from_slice(&piece[..length]);
        if !answered && String::from_utf8_lossy(&seen).contains("[yes/no] ") {
            keys.write_all(answer.as_bytes()).unwrap();
            answered = true;
        }
    }
    let seen = String::from_utf8_lossy(&seen).into_owned();
    assert!(answered, "it did not ask: {seen}");
    (terminal.wait().unwrap().code().unwrap(), seen)
}

fn demand((code, seen): &(i32, String), wanted: i32, words: &[&str]) {
    assert_eq!(*code, wanted, "{seen}");
    for word in words {
        assert!(seen.contains(word), "no {word} in {seen}");
    }
}

#[test]
fn an_upgrade_waits_for_a_yes_and_ends_by_ctrl_c() {
    as_server_user("an_upgrade_waits_for_a_yes_and_ends_by_ctrl_c", || {
        let case = Case::new("link");
        let trip = &case.trip;
        let upgrade = || trip.first_command(&["upgrade"]);
        for (said, code, told) in [(CTRL_C, 130, "interrupted"), ("y\n", 6, "not confirmed")] {
            demand(&answer(&upgrade(), said), code, &["Mode link", told]);
            trip.demand_standing("waits for the cutover");
            trip.rollback();
            case.demand_untouched(told);
        }
        demand(&answer(&upgrade(), "yes\n"), 0, &["Cut over now?"]);
        case.demand_arrived(&case.stock.dump);

        let finalize = trip.command(&["finalize"]);
        let question = "Remove the old cluster";
        for (said, code) in [(CTRL_C, 130), ("\n", 4)] {
            demand(&answer(&finalize, said), code, &[question]);
            assert!(trip.old.join("PG_VERSION").exists());
            trip.demand_standing("has been started");
        }
        demand(&answer(&finalize, "YES\n"), 0, &[question]);
        assert!(!trip.old.exists());
    });
}
