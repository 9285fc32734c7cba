//! Human text as it happens.

use std::io::Write;

use super::layout::{Chunk, Layout, Show, To};
use super::look::Look;
use super::progress::{Moving, Screen};
use crate::event::{Event, EventKind, Listener};

/// Writes steps and results to one place and errors to another.
///
/// Where lines can be drawn over, a step has a moving line until it is done; elsewhere there
/// are whole lines only, and one about a step that takes long every ten seconds.
pub struct Terminal {
    out: Screen,
    err: Box<dyn Write + Send>,
    look: Look,
    layout: Layout,
    moving: Option<Moving>,
}

impl Terminal {
    /// Writes results to `out` and errors to `err`, each with what it can show.
    pub fn new(
        out: Box<dyn Write + Send>,
        look: Look,
        err: Box<dyn Write + Send>,
        error_look: Look,
    ) -> Self {
        let layout = Layout::new(look, error_look);
        Self {
            out: Screen::new(out, look),
            err,
            look,
            layout,
            moving: None,
        }
    }

    /// Which findings are shown.
    #[must_use]
    pub fn show(mut self, show: Show) -> Self {
        self.layout.show = show;
        self
    }

    /// Gives each run a title with its time, for `log`, where several follow each other.
    #[must_use]
    pub fn titled(mut self) -> Self {
        self.layout.titles = true;
        self
    }

    fn write(&mut self, chunks: &[Chunk]) {
        if chunks.is_empty() {
            return;
        }
        let (out, err) = (&self.out, &mut self.err);
        let mut write = || {
            for chunk in chunks {
                // Whoever closed the terminal does not want to stop the upgrade.
                let _ = match chunk.to {
                    To::Output => out.write(&chunk.text).and_then(|()| out.flush()),
                    To::Errors => err
                        .write_all(chunk.text.as_bytes())
                        .and_then(|()| err.flush()),
                };
            }
        };
        match &self.moving {
            Some(moving) => moving.aside(write),
            None => write(),
        }
    }

    /// Begins, moves or ends the moving line.
    fn animate(&mut self, event: &Event) {
        match &event.kind {
            EventKind::StepStarted { step } => {
                self.moving = None;
                self.moving = Some(Moving::start(&self.out, step, self.layout.columns()));
            }
            EventKind::Progress {
                step,
                unit,
                done,
                total,
            } => {
                if let Some(moving) = self.moving.as_mut().filter(|moving| moving.step == *step) {
                    moving.advance(unit, *done, *total);
                }
            }
            EventKind::StepFinished { .. }
            | EventKind::StepFailed { .. }
            | EventKind::StepUndone { .. }
            | EventKind::ChecksFinished(_)
            | EventKind::RunFinished { .. } => self.moving = None,
            _ => {}
        }
    }
}

impl Listener for Terminal {
    fn hear(&mut self, event: &Event) {
        let begins = matches!(event.kind, EventKind::StepStarted { .. });
        // A moving line ends before the final one is written and begins below what is written.
        if self.look.terminal && !begins {
            self.animate(event);
        }
        let chunks = self.layout.hear(event);
        self.write(&chunks);
        if self.look.terminal && begins {
            self.animate(event);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.moving = None;
        let chunks = self.layout.end();
        self.write(&chunks);
    }
}

#[cfg(test)]
mod tests;
