//! Backward: the steps that have left something behind, last one first.

use std::time::Instant;

use super::{Engine, Outcome};
use crate::error::{Code, Error, Remedy, Result};
use crate::event::EventKind;
use crate::fault;
use crate::journal::{Milestone, Phase, Record, Standing, StepState, Target};
use crate::plan::Mode;
use crate::steps::{KEEP_NEW, NewState, new_state, started_early};

impl Engine<'_> {
    /// Undoes everything.
    ///
    /// `new_state` is what became of new since it was released; `discard` says that rows
    /// written to new may be lost.
    pub fn rollback(&mut self, new_state: NewState, discard: bool) -> Outcome {
        let standing = self.state().standing();
        if let Err(error) = self.way_back_open(standing, new_state, discard) {
            return Outcome::unchanged(error, Some(standing));
        }
        self.cx.giving_up_writes = discard;
        let undone = self
            .cx
            .end_leftovers()
            .and_then(|()| self.backward(Target::RolledBack));
        match undone {
            Ok(()) => self.gone_back(),
            Err(error) => self.stopped(error),
        }
    }

    /// Everything is undone; what was found out meanwhile is told now.
    pub fn gone_back(&mut self) -> Outcome {
        let standing = self.state().standing();
        match self.cx.found_in_old() {
            Ok(None) => Outcome::done(standing),
            Ok(Some(error)) | Err(error) => Outcome::found(error, standing),
        }
    }

    /// What a way back found that was killed between its last act and the telling.
    pub fn left_untold(&mut self) -> Option<Outcome> {
        let outcome = self.gone_back();
        outcome.error.is_some().then_some(outcome)
    }

    /// Whether an interrupted way back may be gone on: while new's control file is in place,
    /// anybody may have started it since, and what was written to it is not to be lost unasked.
    pub(super) fn still_open(&self) -> Result<()> {
        let new = new_state(self.cx.plan, &self.cx.state)?;
        // To stop it opens no way back where its first start has ended that.
        if !(self.cx.plan.mode.shares_files() && new == NewState::Started) {
            self.cx.new_is_down()?;
        }
        self.way_back_open(Standing::RollingBack, new, false)
    }

    /// Gives up a way back that has not yet taken new, and ends the cutover after all.
    ///
    /// Until new's control file is taken nothing of old is given back, and new is what was handed
    /// over. Anybody may have started it since, so by link and by swap this is the only way on.
    pub(super) fn keep_new(&mut self) -> Result<()> {
        self.cx.new_is_whole()?;
        self.cx.old_is_down()?;
        self.write(Record::ForwardAgain)
    }

    fn way_back_open(&self, standing: Standing, new: NewState, discard: bool) -> Result<()> {
        match standing {
            Standing::RolledBack => {
                return Err(Error::new(
                    Code::WrongStanding,
                    "everything is rolled back already",
                ));
            }
            Standing::Finalizing | Standing::Finalized => {
                return Err(Error::new(
                    Code::WayBackGone,
                    "the old cluster has been given up by finalize",
                ));
            }
            _ => {}
        }
        self.cx.new_is_ours()?;
        if new == NewState::Untouched {
            return Ok(());
        }
        let plan = self.cx.plan;
        if plan.mode.shares_files() && new == NewState::Missing {
            return Err(Error::new(
                Code::WayBackGone,
                "the new cluster is gone or is another one, so nobody can tell whether it has \
                 written to files of old",
            )
            .fact("new data directory", plan.new.data_dir.display())
            .remedy(Remedy::manual(match plan.mode {
                Mode::Swap => {
                    "move the new cluster back to where it was; if it was removed, files of the \
                     old one went with it, which swap.json in the state directory names: restore \
                     the old cluster from a backup"
                }
                _ => {
                    "if you are certain that the new cluster was never started, rename \
                     global/pg_control.old of the old cluster back to global/pg_control"
                }
            })));
        }
        if new == NewState::Missing {
            return Ok(());
        }
        if new == (NewState::StartedEarly { shared: true }) {
            return Err(started_early(plan, true));
        }
        if plan.mode.shares_files() && new == NewState::Started {
            return Err(Error::new(
                Code::WayBackGone,
                "the new cluster has been started and has written to files that were old's",
            )
            .fact("new data directory", plan.new.data_dir.display())
            .fact("mode", plan.mode)
            .remedy(match standing {
                Standing::RollingBack => Remedy::command(plan.command(KEEP_NEW)),
                _ => Remedy::manual(
                    "go on with the new cluster; the state of before is in your backups only",
                ),
            }));
        }
        if discard {
            return Ok(());
        }
        Err(Error::new(
            Code::WayBackGone,
            "the new cluster has been started; rows written to it since then would be lost",
        )
        .fact("new data directory", plan.new.data_dir.display())
        .remedy(Remedy::manual(match standing {
            Standing::RollingBack => {
                "say resume --keep-new to go on with the new cluster, or rollback \
                 --discard-new-writes if the old cluster's rows are the ones you want"
            }
            _ => {
                "say rollback --discard-new-writes if the old cluster's rows are the ones you want"
            }
        })))
    }

    /// Undoes steps until the target is reached; may be repeated after any interruption.
    ///
    /// What made the way forward fail often makes undoing fail as well. Users need not wait for
    /// the repair of what is new's.
    pub(super) fn backward(&mut self, to: Target) -> Result<()> {
        let undone = self.undo_until(to);
        if undone.is_err() {
            self.relieve();
        }
        undone
    }

    fn relieve(&mut self) {
        let entries = self.state().steps.clone();
        let waiting = entries.iter().filter(|e| e.state != StepState::Undoing);
        for entry in waiting {
            let step = self.steps.iter().find(|step| step.name() == entry.step);
            let relieved = step.map_or(Ok(()), |step| step.relieve(&mut self.cx, &entry.intent));
            if let Err(error) = relieved {
                self.cx.warn(error.to_string());
            }
        }
    }

    fn undo_until(&mut self, to: Target) -> Result<()> {
        // What the interrupted way forward still waits for must not end the way back.
        self.cx.cancel = self.steady;
        self.cx.discarding = matches!(to, Target::RolledBack | Target::Anew);
        self.cx.stop_servers()?;
        if self.state().backward != Some(to) {
            self.write(Record::BackwardBegun { to })?;
        }
        while let Some(entry) = self.state().steps.last().cloned() {
            let at = self
                .steps
                .iter()
                .position(|step| step.name() == entry.step)
                .ok_or_else(|| unknown_step(&entry.step))?;
            let kept = match to {
                Target::Prepared => entry.phase == Phase::Prepare,
                Target::Reopened => self.steps[at].kept_when_reopened(),
                Target::RolledBack | Target::Anew => false,
            };
            if kept {
                break;
            }
            if entry.state != StepState::Undoing {
                self.write(Record::UndoBegun {
                    step: entry.step.clone(),
                })?;
            }
            let started = Instant::now();
            fault::step("undo", &entry.step);
            fault::point("engine.step.before-undo");
            let skipped = entry.state == StepState::Intended
                && fault::planted("rollback-skips-what-was-only-intended");
            if !skipped {
                self.steps[at].undo(&mut self.cx, &entry.intent)?;
            }
            fault::step("undone", &entry.step);
            fault::point("engine.step.undone");
            self.write(Record::UndoDone {
                step: entry.step.clone(),
            })?;
            fault::point("engine.step.undo-done");
            let seconds = started.elapsed().as_secs_f64();
            self.cx.sink.emit(EventKind::StepUndone {
                step: entry.step,
                seconds,
            });
        }
        self.cx.stop_servers()?;
        self.cx.discarding = false;
        self.reach(match to {
            Target::RolledBack => Milestone::RolledBack,
            Target::Prepared => Milestone::Prepared,
            Target::Anew => Milestone::Anew,
            Target::Reopened => Milestone::Reopened,
        })
    }
}

fn unknown_step(name: &str) -> Error {
    Error::new(
        Code::StateFormat,
        "the journal names a step this release does not know",
    )
    .fact("step", name)
    .remedy(Remedy::manual(
        "use the release of pg_migrator that began this migration",
    ))
}
