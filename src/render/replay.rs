//! The events of earlier runs, told again.

use std::io::BufRead;

use serde::Deserialize;

use crate::error::{Code, Error, Result};
use crate::event::{Event, EventKind, Level, Listener};
use crate::pg::amount::counted;

/// Which recorded events are told again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// All of them: the listener hears what it heard, or would have heard, when it happened.
    Everything,
    /// What the checks found and what was warned of. A [`Terminal`](super::Terminal) must be
    /// told to show all findings ([`Show::All`](super::Show)).
    Warnings,
}

impl Filter {
    fn passes(self, event: &Event) -> bool {
        match self {
            Self::Everything => true,
            Self::Warnings => matches!(
                event.kind,
                EventKind::RunStarted { .. }
                    | EventKind::Finding(_)
                    | EventKind::CheckSkipped(_)
                    | EventKind::ChecksFinished(_)
                    | EventKind::Message {
                        level: Level::Warning,
                        ..
                    }
            ),
        }
    }
}

/// What every event has, whichever release sent it.
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "seq")]
    _seq: u64,
    #[serde(rename = "time")]
    _time: String,
    #[serde(rename = "event")]
    _event: String,
}

/// Lines that were not understood.
#[derive(Default)]
struct PassedOver {
    newer: u64,
    unreadable: u64,
}

/// Feeds recorded events (JSON Lines) to a listener.
///
/// Events that only a newer release knows, and lines that a crash or a person has damaged, are
/// passed over, and a message at the end says how many there were; a torn last line is dropped
/// without a word, because every crash may leave one.
///
/// # Errors
///
/// `DiskOperation` where the record cannot be read.
pub fn replay(mut reader: impl BufRead, listener: &mut dyn Listener, filter: Filter) -> Result<()> {
    let mut passed = PassedOver::default();
    let mut last = (0, String::new());
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(|e| {
            Error::new(Code::DiskOperation, "could not read the recorded events").caused_by(&e)
        })?;
        if read == 0 {
            break;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match serde_json::from_slice::<Event>(&line) {
            Ok(event) => {
                last = (event.seq, event.time.clone());
                if filter.passes(&event) {
                    listener.hear(&event);
                }
            }
            Err(_) if !line.ends_with(b"\n") => {}
            Err(_) if serde_json::from_slice::<Envelope>(&line).is_ok() => passed.newer += 1,
            Err(_) => passed.unreadable += 1,
        }
    }
    if let Some(text) = passed.clause() {
        let kind = EventKind::Message {
            level: Level::Note,
            text,
        };
        listener.hear(&Event {
            seq: last.0 + 1,
            time: last.1,
            kind,
        });
    }
    Ok(())
}

impl PassedOver {
    fn clause(&self) -> Option<String> {
        let mut parts = Vec::new();
        if self.newer > 0 {
            parts.push(format!(
                "{} of a newer release",
                counted(self.newer, "event")
            ));
        }
        if self.unreadable > 0 {
            parts.push(format!(
                "{} that cannot be read",
                counted(self.unreadable, "line")
            ));
        }
        (!parts.is_empty()).then(|| format!("passed over: {}", parts.join(" and ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample::{self, Kept};
    use crate::render::{JsonLines, Look, Show, Terminal};

    fn recorded(events: &[Event]) -> String {
        let shared = sample::Shared::default();
        let mut lines = JsonLines::new(Box::new(shared.clone()));
        events.iter().for_each(|event| lines.hear(event));
        shared.text()
    }

    fn told(record: &str, filter: Filter) -> Vec<Event> {
        let mut kept = Kept::default();
        replay(record.as_bytes(), &mut kept, filter).unwrap();
        kept.0
    }

    #[test]
    fn what_was_recorded_is_heard_again() {
        for (name, events) in sample::all() {
            assert_eq!(
                told(&recorded(&events), Filter::Everything),
                events,
                "{name}"
            );
        }
    }

    #[test]
    fn a_torn_last_line_is_dropped_without_a_word() {
        let events = sample::upgrade();
        let record = recorded(&events);
        let whole = record.trim_end().rfind('\n').unwrap() + 1;
        for cut in [whole, whole + 1, whole + 20, record.len() - 2] {
            let heard = told(&record[..cut], Filter::Everything);
            assert_eq!(heard, events[..events.len() - 1], "cut at {cut}");
        }
        assert_eq!(told(record.trim_end(), Filter::Everything), events);
    }

    #[test]
    fn what_a_newer_release_says_is_passed_over_with_one_word() {
        let mut record = recorded(&sample::upgrade());
        record += "{\"seq\":99,\"time\":\"t\",\"event\":\"moon_phase\",\"phase\":\"full\"}\n";
        record += "{\"seq\":100,\"time\":\"t\",\"event\":\"step_started\",\"steps\":[1]}\n\n";
        record += "torn{\"seq\":1\n";
        let heard = told(&record, Filter::Everything);
        assert_eq!(heard.len(), sample::upgrade().len() + 1);
        let last = heard.last().unwrap();
        let text = "passed over: 2 events of a newer release and 1 line that cannot be read";
        assert_eq!(
            last.kind,
            EventKind::Message {
                level: Level::Note,
                text: text.into()
            }
        );
        assert_eq!(last.seq, heard[heard.len() - 2].seq + 1);
    }

    #[test]
    fn warnings_alone_can_be_told() {
        let record = recorded(&sample::upgrade());
        let (out, err) = (sample::Shared::default(), sample::Shared::default());
        let plain = Look::plain();
        let mut terminal =
            Terminal::new(Box::new(out.clone()), plain, Box::new(err.clone()), plain)
                .show(Show::All)
                .titled();
        replay(record.as_bytes(), &mut terminal, Filter::Warnings).unwrap();
        drop(terminal);
        crate::render::snapshot::compare("warnings", &out.text());
        assert_eq!(err.text(), "");
    }
}
