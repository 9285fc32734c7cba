//! What waits for old's server before it is started again.

use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::Pair;
use crate::error::Code;
use crate::event::{Event, EventKind, Listener};
use crate::plan::Mode;
use crate::steps::context::service::{wait_for_orphans, wait_while_stopping};

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Listener for Heard {
    fn hear(&mut self, event: &Event) {
        if let EventKind::Message { text, .. } = &event.kind {
            self.0.lock().unwrap().push(text.clone());
        }
    }
}

impl Heard {
    /// Hears whatever is told of this pair.
    fn of(pair: &Pair) -> Self {
        let heard = Self::default();
        pair.stream.record(Box::new(heard.clone()));
        heard
    }

    /// What was told so far.
    fn said(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

/// Nothing takes the request to stop back; whoever waits is told what is still there.
#[test]
fn a_server_that_never_stops_is_not_waited_for_for_ever() {
    let pair = Pair::new(Mode::Copy);
    let cx = pair.context();
    let work_there = || {
        let mut child = Command::new("sleep");
        child
            .arg("60")
            .current_dir(pair.path("old"))
            .spawn()
            .unwrap()
    };
    let (mut server, mut session) = (work_there(), work_there());
    let file = format!(
        "{}\n/old\n1700000000\n5432\n/tmp\n\n\nstopping\n",
        server.id()
    );
    fs::write(pair.path("old/postmaster.pid"), file).unwrap();
    let limit = Duration::from_millis(50);
    let error = wait_while_stopping(&cx, limit).unwrap_err();
    for child in [&mut server, &mut session] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(error.code(), Code::ServerStop);
    assert!(error.remedy_text().is_some());
    let named = |(name, what): &(String, String)| {
        name == "still there" && what.contains(&session.id().to_string())
    };
    assert!(
        !cfg!(target_os = "linux") || error.facts().iter().any(named),
        "{error:?}"
    );
    wait_while_stopping(&cx, limit).unwrap();
}

/// It may take a minute, and whoever waits may have enough of that.
#[cfg(target_os = "linux")]
#[test]
fn what_a_server_left_is_named_and_not_waited_for_against_a_wish() {
    use std::os::unix::process::CommandExt;
    let pair = Pair::new(Mode::Copy);
    let cx = pair.context();
    let mut left = Command::new("sleep");
    left.arg0("postgres: left").arg("60");
    let mut left = left.current_dir(pair.path("old")).spawn().unwrap();
    let [short, long] = [50, 60_000].map(Duration::from_millis);
    let heard = Heard::of(&pair);
    // What was asked before has led here.
    pair.cancel.request(2);
    let given_up = wait_for_orphans(&cx, short);
    let asked = Instant::now();
    let stopped = thread::scope(|scope| {
        scope.spawn(|| {
            // What is asked before it waits again has led here, too.
            while !heard.said().contains("outlived") && asked.elapsed() < long {
                thread::sleep(short);
            }
            pair.cancel.request(2);
        });
        wait_for_orphans(&cx, long).unwrap_err()
    });
    let took = asked.elapsed();
    left.kill().unwrap();
    left.wait().unwrap();
    given_up.unwrap();
    assert_eq!(stopped.code(), Code::Interrupted);
    assert!(took < long / 2, "{took:?}");
    let said = heard.said();
    let wanted = format!("process {}, postgres: left 60, outlived", left.id());
    assert!(said.contains(&wanted), "{said}");
    wait_for_orphans(&cx, long).unwrap();
}
