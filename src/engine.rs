//! Runs the steps: forward, backward, and after a crash; what happens to them is journaled.
//!
//! The engine knows that there are steps, not what any of them does. It writes the intent
//! before a step acts and the end after it; when a step fails, it decides how far back to go,
//! and the outcome says in what standing that left the migration.

mod backward;
mod finalize;
mod forward;
mod outcome;
mod recorder;
mod state_dir;

pub use finalize::finalize;
pub use outcome::Outcome;
pub use recorder::{EVENTS_FILE, Recorder};
pub use state_dir::{KEPT, REPORT_FILE, StateDir};

use crate::error::Result;
use crate::event::EventKind;
use crate::journal::{Journal, Record, State};
use crate::steps::{Context, Step, registry};
use crate::work::Cancel;

/// One migration at work.
pub struct Engine<'a> {
    journal: Journal,
    steps: Vec<Box<dyn Step>>,
    cx: Context<'a>,
    /// The way back is not interrupted: half undone is worse than late.
    steady: &'a Cancel,
}

impl<'a> Engine<'a> {
    /// An engine over an open journal, whose lock the caller holds.
    pub fn new(journal: Journal, cx: Context<'a>, steady: &'a Cancel) -> Self {
        Self::with_steps(journal, cx, steady, registry())
    }

    /// The same with other steps than those of the registry, for tests of the engine.
    pub fn with_steps(
        journal: Journal,
        cx: Context<'a>,
        steady: &'a Cancel,
        steps: Vec<Box<dyn Step>>,
    ) -> Self {
        Self {
            journal,
            steps,
            cx,
            steady,
        }
    }

    /// What the journal says.
    pub fn state(&self) -> &State {
        self.journal.state()
    }

    /// What the steps work with.
    pub fn context(&mut self) -> &mut Context<'a> {
        &mut self.cx
    }

    /// Writes a record, and says so where it changes the standing.
    fn write(&mut self, record: Record) -> Result<()> {
        let before = self.journal.state().standing();
        self.journal.append(record)?;
        let standing = self.journal.state().standing();
        if standing != before {
            self.cx.sink.emit(EventKind::Standing { standing });
        }
        Ok(())
    }
}
