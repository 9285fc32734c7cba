//! The event stream for programs: one JSON object a line.

use std::borrow::Cow;
use std::io::Write;

use crate::event::{Event, Listener};
use crate::pg::quote::terminal_safe;

/// Writes each event as one line of JSON.
///
/// Control characters and direction marks that JSON would allow in a string are written as
/// `\u` escapes: the value stays the same, and a terminal that shows the line obeys nothing.
pub struct JsonLines {
    out: Box<dyn Write + Send>,
}

impl JsonLines {
    /// Writes to this place; lines that it does not take are lost.
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out }
    }
}

impl Listener for JsonLines {
    fn hear(&mut self, event: &Event) {
        let Ok(text) = serde_json::to_string(event) else {
            return;
        };
        // One write a line, so that a reader never sees half of one that was whole here.
        let _ = self
            .out
            .write_all(format!("{}\n", escaped(&text)).as_bytes());
        let _ = self.out.flush();
    }
}

/// JSON has such characters only inside strings, where an escape means the same.
fn escaped(json: &str) -> Cow<'_, str> {
    if matches!(terminal_safe(json), Cow::Borrowed(_)) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        let mut bytes = [0; 4];
        match terminal_safe(c.encode_utf8(&mut bytes)) {
            Cow::Borrowed(same) => out.push_str(same),
            Cow::Owned(_) => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventKind, Level};
    use crate::render::sample::Shared;

    #[test]
    fn a_line_is_an_event_and_harmless() {
        let shared = Shared::default();
        let mut lines = JsonLines::new(Box::new(shared.clone()));
        let text = "täble \u{1b}[2J \u{9b}31m \u{202e} \u{7f}\n";
        let kind = EventKind::Message {
            level: Level::Note,
            text: text.into(),
        };
        let event = Event {
            seq: 1,
            time: "t".into(),
            kind,
        };
        lines.hear(&event);
        lines.hear(&event);
        let written = shared.text();
        assert_eq!(written.lines().count(), 2);
        for line in written.lines() {
            assert!(matches!(terminal_safe(line), Cow::Borrowed(_)), "{line}");
            assert!(line.contains("täble"));
            assert_eq!(serde_json::from_str::<Event>(line).unwrap(), event);
        }
    }
}
