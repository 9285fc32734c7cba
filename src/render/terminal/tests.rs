use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::*;
use crate::pg::quote::terminal_safe;
use crate::render::progress;
use crate::render::sample::{self, Shared};
use crate::render::{Filter, JsonLines, replay, report, snapshot};

/// What a person sees who sends both places to one terminal that shows nothing but text.
fn plain(events: &[Event], show: Show) -> String {
    let both = Shared::default();
    let (out, err) = (Box::new(both.clone()), Box::new(both.clone()));
    let mut terminal = Terminal::new(out, Look::plain(), err, Look::plain()).show(show);
    events.iter().for_each(|event| terminal.hear(event));
    drop(terminal);
    both.text()
}

#[test]
fn every_run_reads_as_it_should() {
    for (name, events) in sample::all() {
        snapshot::compare(name, &plain(&events, Show::Usual));
    }
}

#[test]
fn findings_that_do_not_block_are_shown_where_all_are_wanted() {
    let (usual, all) = (
        plain(&sample::upgrade(), Show::Usual),
        plain(&sample::upgrade(), Show::All),
    );
    assert!(
        usual.contains("(pg_migrator log --warnings -D '/srv/my pg17')"),
        "{usual}"
    );
    assert!(!usual.contains("unlogged"), "{usual}");
    assert!(!all.contains("pg_migrator log"), "{all}");
    assert!(all.contains("warning[unlogged-table]: 2 found"), "{all}");
}

#[test]
fn errors_go_to_their_own_place() {
    let (out, err) = (Shared::default(), Shared::default());
    let (plain, red) = (
        Look::plain(),
        Look {
            color: true,
            ..Look::plain()
        },
    );
    let mut terminal = Terminal::new(Box::new(out.clone()), plain, Box::new(err.clone()), red);
    sample::restore_failed()
        .iter()
        .for_each(|event| terminal.hear(event));
    drop(terminal);
    assert!(!out.text().contains("error"), "{}", out.text());
    assert!(
        err.text()
            .starts_with("\u{1b}[1;31merror[PGM-4002]:\u{1b}[0m "),
        "{}",
        err.text()
    );
}

#[test]
fn what_is_told_again_is_the_same_text() {
    for (name, events) in sample::all() {
        let record = Shared::default();
        let mut lines = JsonLines::new(Box::new(record.clone()));
        events.iter().for_each(|event| lines.hear(event));
        let both = Shared::default();
        let (out, err) = (Box::new(both.clone()), Box::new(both.clone()));
        let mut terminal = Terminal::new(out, Look::plain(), err, Look::plain());
        replay(record.text().as_bytes(), &mut terminal, Filter::Everything).unwrap();
        drop(terminal);
        assert_eq!(both.text(), plain(&events, Show::Usual), "{name}");
    }
}

#[test]
fn several_runs_have_titles_and_a_killed_one_is_named() {
    let both = Shared::default();
    let (out, err) = (Box::new(both.clone()), Box::new(both.clone()));
    let mut terminal = Terminal::new(out, Look::plain(), err, Look::plain()).titled();
    let killed = sample::upgrade();
    killed[..12].iter().for_each(|event| terminal.hear(event));
    sample::rollback()
        .iter()
        .for_each(|event| terminal.hear(event));
    drop(terminal);
    snapshot::compare("log", &both.text());
}

#[test]
fn what_is_held_is_written_where_a_run_breaks_off() {
    let events = sample::findings();
    let before_the_end = events.len() - 2;
    assert!(plain(&events[..3], Show::Usual).starts_with("old  /srv/pg15 "));
    assert!(plain(&events[..before_the_end], Show::Usual).contains("blocker[PGM-6004]: 1 found"));
}

#[test]
fn nobody_commands_the_terminal() {
    let events = sample::attack();
    for text in [plain(&events, Show::All), report(&events)] {
        for line in text.lines() {
            assert_eq!(terminal_safe(line), line);
            assert!(!line.starts_with("standing: all is lost"), "{text}");
        }
    }
}

/// A place that is closed.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

#[test]
fn a_closed_terminal_stops_nothing() {
    let moving = drawn(true, true);
    let err = Shared::default();
    let mut terminal = Terminal::new(
        Box::new(Closed),
        moving,
        Box::new(err.clone()),
        Look::plain(),
    );
    sample::restore_failed()
        .iter()
        .for_each(|event| terminal.hear(event));
    drop(terminal);
    assert!(err.text().starts_with("error[PGM-4002]"), "{}", err.text());
}

/// As much of a terminal as the moving line needs: lines, and what clears and moves in them.
#[derive(Clone, Default)]
struct Glass(Arc<Mutex<GlassState>>);

#[derive(Default)]
struct GlassState {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    sequence: Option<String>,
}

impl GlassState {
    fn put(&mut self, c: char) {
        if let Some(sequence) = &mut self.sequence {
            sequence.push(c);
            if c.is_ascii_alphabetic() {
                self.obey();
            }
            return;
        }
        while self.rows.len() <= self.row {
            self.rows.push(Vec::new());
        }
        match c {
            '\u{1b}' => self.sequence = Some(String::new()),
            '\r' => self.column = 0,
            '\n' => (self.row, self.column) = (self.row + 1, 0),
            c => {
                let row = &mut self.rows[self.row];
                row.resize(row.len().max(self.column + 1), ' ');
                row[self.column] = c;
                self.column += 1;
            }
        }
    }

    fn obey(&mut self) {
        let sequence = self.sequence.take().unwrap();
        let count = sequence[1..sequence.len() - 1].parse::<usize>();
        match sequence.chars().last().unwrap() {
            'A' => self.row -= count.unwrap(),
            'B' => self.row += count.unwrap(),
            'C' => self.column += count.unwrap(),
            'D' => self.column -= count.unwrap(),
            'K' => self.rows[self.row].clear(),
            'm' => {}
            other => panic!("a sequence nobody asked for: {sequence}{other}"),
        }
    }

    fn text(&self) -> String {
        let rows = self
            .rows
            .iter()
            .map(|row| row.iter().collect::<String>().trim_end().to_owned());
        let text: String = rows.map(|row| row + "\n").collect();
        format!("{}\n", text.trim_end())
    }
}

impl Write for Glass {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock().unwrap();
        std::str::from_utf8(bytes)
            .unwrap()
            .chars()
            .for_each(|c| state.put(c));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A run on a terminal that lines can be drawn over.
fn shown(events: &[Event], look: Look, mut after: impl FnMut(&Event, &Glass)) -> Glass {
    let glass = Glass::default();
    let (out, err) = (Box::new(glass.clone()), Box::new(glass.clone()));
    let mut terminal = Terminal::new(out, look, err, look);
    for event in events {
        terminal.hear(event);
        after(event, &glass);
    }
    drop(terminal);
    glass
}

fn drawn(color: bool, unicode: bool) -> Look {
    Look {
        terminal: true,
        color,
        unicode,
        columns: Some(100),
    }
}

fn is_progress(event: &Event) -> bool {
    matches!(event.kind, EventKind::Progress { .. })
}

#[test]
fn a_moving_line_leaves_nothing_behind() {
    for color in [false, true] {
        for (name, events) in sample::all() {
            let others: Vec<_> = events.iter().filter(|e| !is_progress(e)).cloned().collect();
            let glass = shown(&events, drawn(color, true), |event, _| {
                if is_progress(event) {
                    std::thread::sleep(Duration::from_millis(120));
                }
            });
            assert_eq!(
                glass.0.lock().unwrap().text(),
                plain(&others, Show::Usual),
                "{name}"
            );
        }
    }
}

/// Waits for a line that holds this text.
fn line_with(glass: &Glass, wanted: &str) -> String {
    let begin = Instant::now();
    loop {
        let text = glass.0.lock().unwrap().text();
        if let Some(line) = text.lines().find(|line| line.contains(wanted)) {
            return line.to_owned();
        }
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "{wanted} was never shown: {text}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_bar_is_shown_while_a_step_is_at_work() {
    for (unicode, full) in [(true, '█'), (false, '=')] {
        let mut bars = Vec::new();
        shown(&sample::upgrade(), drawn(false, unicode), |event, glass| {
            if let EventKind::Progress {
                unit, done, total, ..
            } = &event.kind
            {
                bars.push(line_with(
                    glass,
                    &progress::clause(unit, *done, *total, 0.0),
                ));
            }
        });
        let half = bars
            .iter()
            .find(|line| line.contains("12,410 of 20,114 tables"))
            .unwrap();
        assert!(half.starts_with("  restore-schemas       "), "{half}");
        let filled = half.chars().filter(|c| *c == full).count();
        assert!((13..=15).contains(&filled), "{half}");
    }
}
