//! The events of a migration, kept in its state directory.

use crate::disk::{Appender, Area};
use crate::error::Result;
use crate::event::{Event, EventKind, Listener};

/// Name of the file of events in the state directory.
pub const EVENTS_FILE: &str = "events.jsonl";

/// Appends every event but progress to the file of events.
///
/// The file tells a story, it decides nothing: a line that cannot be written is left out and
/// the run goes on.
pub struct Recorder {
    appender: Appender,
}

impl Recorder {
    /// Opens the file, or makes it.
    pub fn open(area: &Area) -> Result<Self> {
        if !area.path(EVENTS_FILE)?.exists() {
            area.write(EVENTS_FILE, b"", 0o600)?;
        }
        Ok(Self {
            appender: Appender::open(area, EVENTS_FILE)?,
        })
    }
}

impl Listener for Recorder {
    fn hear(&mut self, event: &Event) {
        if matches!(event.kind, EventKind::Progress { .. }) {
            return;
        }
        if let Ok(mut line) = serde_json::to_vec(event) {
            line.push(b'\n');
            // While service is down every step would wait for the disk twice more.
            let _ = match event.kind {
                EventKind::StepStarted { .. } | EventKind::StepFinished { .. } => {
                    self.appender.append_without_sync(&line)
                }
                _ => self.appender.append(&line),
            };
        }
    }
}
