//! State directories that are not what the command line says, or that cannot be believed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::path::Path;

use support::as_server_user;
use support::case::Case;
use support::tree::{self, Tree};
use support::trip::{bare, finish};

/// The standing of a command that could not read the migration it was given for.
const UNREAD: &str = "standing: this command has changed nothing";

/// A lock file names who looked last.
fn everything_but_locks(place: &Path) -> Tree {
    let mut all = tree::whole(place);
    all.retain(|path, _| path.file_name() != Some("lock".as_ref()));
    all
}

#[test]
fn state_directories_of_something_else() {
    as_server_user("state_directories_of_something_else", || {
        let case = Case::new("copy");
        let trip = &case.trip;
        let place = case.stock.cluster.scratch();
        trip.run(&["status"])
            .refused(4, "PGM-2001", &["no migration here"]);
        trip.prepare();
        let state = trip.state();
        let kept = |name: &str| fs::read_to_string(state.join(name)).unwrap();
        let commands = [
            "status", "cutover", "rollback", "resume", "finalize", "verify",
        ];

        let plan = kept("plan.json");
        let known = format!("\"format\": {}", pg_migrator::plan::FORMAT);
        let strange = plan.replacen(&known, "\"format\": 99", 1);
        assert_ne!(plan, strange);
        fs::write(state.join("plan.json"), strange).unwrap();
        let before = everything_but_locks(place);
        for command in commands {
            let ran = trip.run(&[command, "--yes"]);
            ran.refused(4, "PGM-2004", &["99", "format", UNREAD, "use the release"]);
        }
        tree::demand_same("an unknown format", &before, &everything_but_locks(place));

        let old = format!("\"{}\"", trip.old.display());
        let others = plan.replace(&old, "\"/nowhere/old\"");
        assert_ne!(plan, others);
        fs::write(state.join("plan.json"), others).unwrap();
        let before = everything_but_locks(place);
        for command in &commands[1..] {
            let ran = trip.run(&[command, "--yes"]);
            let said = [
                "another migration",
                UNREAD,
                "give the state directory of this migration",
            ];
            ran.refused(4, "PGM-2003", &said);
        }
        tree::demand_same("another cluster", &before, &everything_but_locks(place));
        fs::write(state.join("plan.json"), &plan).unwrap();

        // Moved away from where it was made.
        let moved = place.join("moved.migration");
        fs::rename(&state, &moved).unwrap();
        for command in &commands[1..] {
            let mut elsewhere = bare(&[command, "--yes", "--state-dir"]);
            elsewhere.arg(&moved);
            let back = format!("mv {} {}", moved.display(), state.display());
            let said = ["moved.migration", "another migration", UNREAD, &back];
            finish(elsewhere).refused(4, "PGM-2003", &said);
        }
        fs::rename(&moved, &state).unwrap();
        let mut other = bare(&["cutover", "-D", "/nowhere/new", "--state-dir"]);
        other.arg(&state);
        finish(other).refused(4, "PGM-2003", &["/nowhere/new", UNREAD, "remedy: "]);

        let journal = kept("journal.jsonl");
        let line = journal.lines().nth(2).unwrap();
        let damaged = journal.replacen(line, &line.replacen("step", "stop", 1), 1);
        assert_ne!(journal, damaged);
        fs::write(state.join("journal.jsonl"), damaged).unwrap();
        for command in commands {
            let ran = trip.run(&[command, "--yes"]);
            ran.refused(7, "PGM-2005", &["journal", "line", UNREAD, "by a person"]);
        }
        // A torn last line is what a crash leaves.
        fs::write(
            state.join("journal.jsonl"),
            format!("{journal}{{\"seq\":99,\"cr"),
        )
        .unwrap();
        case.demand_prepared();
        trip.rollback();
        case.demand_untouched("strange state directories");

        // A directory that is no state directory at all is nobody's to clean.
        let files = place.join("files");
        fs::create_dir(&files).unwrap();
        fs::write(files.join("letter"), "dear").unwrap();
        let mut command = trip.first_command(&["prepare"]);
        command.arg("--state-dir").arg(&files);
        let ran = finish(command);
        ran.refused(
            4,
            "PGM-2003",
            &[
                "holds something else",
                "letter",
                "nothing has been changed",
                "remedy: ",
            ],
        );
        assert_eq!(fs::read_to_string(files.join("letter")).unwrap(), "dear");
    });
}
