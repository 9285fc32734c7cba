//! Forward: step after step to a milestone; what fails is undone as far as it should be.

use std::time::Instant;

use super::{Engine, Outcome};
use crate::error::{Code, Error, Result};
use crate::event::EventKind;
use crate::fault;
use crate::journal::{Milestone, Phase, Record, Standing, StepState, Target};
use crate::steps::{self, Again, NewState, READ_AGAIN, new_state, started_early};

impl Engine<'_> {
    /// Builds new, up to [`Milestone::Prepared`].
    ///
    /// A failure is undone wholly: half a new cluster is of no use to anybody. An interruption
    /// is left as it is, because the operator may want to go on.
    pub fn prepare(&mut self) -> Outcome {
        let _background = self.cx.background();
        let ran = self
            .run(Phase::Prepare)
            .and_then(|()| self.reach(Milestone::Prepared));
        match ran {
            Ok(()) => Outcome::done(self.state().standing()),
            Err(error) if interrupted(&error) => self.stopped(error),
            Err(error) => self.undo_after(error, Target::RolledBack),
        }
    }

    /// Reads old again and dumps what drifted since prepare; what was prepared stands meanwhile.
    pub fn read_again(&mut self) -> Result<Again> {
        let _background = self.cx.background();
        let (step, started) = (READ_AGAIN.to_owned(), Instant::now());
        self.cx
            .sink
            .emit(EventKind::StepStarted { step: step.clone() });
        match steps::read_again(&mut self.cx) {
            Ok(again) => {
                self.cx.sink.emit(EventKind::StepFinished {
                    step,
                    detail: again.to_string(),
                    seconds: started.elapsed().as_secs_f64(),
                });
                Ok(again)
            }
            Err(error) => {
                self.cx.sink.emit(EventKind::StepFailed { step });
                self.cx.stop_servers()?;
                Err(error)
            }
        }
    }

    /// Restores anew what [`Self::read_again`] has dumped, and keeps the rest of new.
    ///
    /// From the first change in new on, a failure is one of [`Self::prepare`].
    pub fn restore_again(&mut self) -> Outcome {
        let cancel = self.cx.cancel;
        if let Err(error) = self.backward(Target::Reopened) {
            return self.stopped(error);
        }
        self.cx.cancel = cancel;
        self.prepare()
    }

    /// Hands over to new, up to [`Milestone::Upgraded`].
    ///
    /// A failure or an interruption undoes the cutover and nothing else, so that old can go
    /// back into service at once and the cutover be tried again.
    pub fn cutover(&mut self) -> Outcome {
        let standing = self.state().standing();
        if standing == Standing::Prepared {
            if let Some(found) = self.left_untold() {
                return found;
            }
            if let Err(error) = self.cx.forget_manifest() {
                return Outcome::unchanged(error, Some(standing));
            }
        }
        let ran = self
            .run(Phase::Cutover)
            .and_then(|()| self.reach(Milestone::Upgraded));
        match ran {
            Ok(()) => Outcome::done(self.state().standing()),
            Err(error) => self.undo_after(error, Target::Prepared),
        }
    }

    /// Goes on after a crash or an interruption.
    ///
    /// Prepare begins anew: its private servers ran without fsync, and nothing they wrote may
    /// be believed. The cutover and a way back go on where they were; with `keep_new`, a way back
    /// that has not yet taken new is given up instead.
    pub fn resume(&mut self, keep_new: bool) -> Outcome {
        let ready = self
            .cx
            .end_leftovers()
            .and_then(|()| match self.state().standing() {
                // Somebody may have started new while this program was dead.
                Standing::Upgraded | Standing::Finalizing | Standing::Finalized => Ok(()),
                Standing::CuttingOver => (self.cx.new_was_not_started_early())
                    .and_then(|()| self.cx.new_has_its_control()),
                _ => self.cx.new_was_not_started_early(),
            });
        if let Err(error) = ready {
            return self.stopped(error);
        }
        match self.state().standing() {
            Standing::RollingBack if keep_new => match self.keep_new() {
                Ok(()) => self.cutover(),
                Err(error) => self.stopped(error),
            },
            standing if keep_new => Outcome::unchanged(
                Error::new(
                    Code::WrongStanding,
                    "no way back has begun that could be given up",
                ),
                Some(standing),
            ),
            standing @ (Standing::Prepared | Standing::RolledBack) => self
                .left_untold()
                .unwrap_or_else(|| nothing_to_resume(standing)),
            Standing::Preparing => match self.backward(Target::Anew) {
                Ok(()) => self.prepare(),
                Err(error) => self.stopped(error),
            },
            Standing::CuttingOver => self.cutover(),
            Standing::RollingBack => match self.still_open() {
                Ok(()) => self.go_on_backward(),
                Err(error) => self.stopped(error),
            },
            standing => nothing_to_resume(standing),
        }
    }

    /// What was opened to be prepared again is begun anew: half of it was restored already.
    fn go_on_backward(&mut self) -> Outcome {
        let to = match self.state().backward {
            Some(Target::Reopened) => Target::Anew,
            to => to.unwrap_or(Target::RolledBack),
        };
        match self.backward(to) {
            Ok(()) if to == Target::Anew => self.prepare(),
            Ok(()) => self.gone_back(),
            Err(error) => self.stopped(error),
        }
    }

    fn run(&mut self, phase: Phase) -> Result<()> {
        // Steps before the last one begun were done or not needed; neither is asked again.
        let begun = self.state().steps.last().map(|entry| entry.step.clone());
        let last = self
            .steps
            .iter()
            .position(|step| Some(step.name()) == begun.as_deref());
        for at in 0..self.steps.len() {
            if self.steps[at].phase() != phase {
                continue;
            }
            let name = self.steps[at].name();
            match self.state().step(name).cloned() {
                Some(entry) if entry.state == StepState::Done => {
                    self.steps[at].renew(&mut self.cx, &entry.intent)?;
                }
                Some(_) => self.apply(at)?,
                None if last.is_some_and(|last| at < last) => {
                    if let Some(missed) = self.steps[at].missed(&self.cx) {
                        self.cx.warn(missed);
                    }
                }
                None => {
                    self.cx.cancel.check()?;
                    if self.steps[at].needed(&self.cx)? {
                        self.begin(at)?;
                        self.apply(at)?;
                    }
                }
            }
        }
        self.cx.stop_servers()
    }

    fn begin(&mut self, at: usize) -> Result<()> {
        let (step, phase) = (self.steps[at].name().to_owned(), self.steps[at].phase());
        fault::step("intend", &step);
        let intent = self.steps[at].intent(&mut self.cx)?;
        if fault::planted("no-intent-before-the-act") {
            self.steps[at].apply(&mut self.cx, &intent)?;
        }
        fault::point("engine.step.before-intent");
        self.write(Record::StepIntended {
            step,
            phase,
            intent,
        })?;
        fault::point("engine.step.intended");
        Ok(())
    }

    fn apply(&mut self, at: usize) -> Result<()> {
        let step = self.steps[at].name().to_owned();
        let intent = self
            .state()
            .step(&step)
            .map(|entry| entry.intent.clone())
            .ok_or_else(|| Error::new(Code::Internal, format!("{step} has no intent")))?;
        let started = Instant::now();
        self.cx
            .sink
            .emit(EventKind::StepStarted { step: step.clone() });
        let early = fault::planted("done-before-the-act");
        if early {
            self.write(Record::StepDone { step: step.clone() })?;
        }
        fault::step("apply", &step);
        fault::point("engine.step.before-apply");
        match self.steps[at].apply(&mut self.cx, &intent) {
            Ok(detail) => {
                fault::point("engine.step.applied");
                fault::step("done", &step);
                if !early {
                    self.write(Record::StepDone { step: step.clone() })?;
                }
                fault::point("engine.step.done");
                let seconds = started.elapsed().as_secs_f64();
                self.cx.outage.add(&step, seconds);
                self.cx.sink.emit(EventKind::StepFinished {
                    step,
                    detail,
                    seconds,
                });
                Ok(())
            }
            Err(error) => {
                self.cx.sink.emit(EventKind::StepFailed { step });
                Err(error)
            }
        }
    }

    pub(super) fn reach(&mut self, milestone: Milestone) -> Result<()> {
        self.write(Record::Reached { milestone })
    }

    /// Once new has been started there is no going back by oneself: it may have written.
    fn undo_after(&mut self, error: Error, to: Target) -> Outcome {
        // A private server of ours is nobody who has started new.
        self.cx.cancel = self.steady;
        if let Err(second) = self.cx.stop_servers() {
            return self
                .stopped(error.fact("stopping a private server failed", second.to_string()));
        }
        match new_state(self.cx.plan, &self.cx.state) {
            Ok(NewState::Untouched) => {}
            Ok(NewState::StartedEarly { shared }) => {
                let early = started_early(self.cx.plan, shared);
                return self.stopped(early.fact("what failed before", error.to_string()));
            }
            Ok(NewState::Started) => {
                return self.stopped(error.fact("new cluster", "has been started"));
            }
            Ok(NewState::Missing) => {
                let what = "is gone, or another one lies in its place";
                return self.stopped(error.fact("new cluster", what));
            }
            Err(second) => {
                return self.stopped(error.fact("new cluster", second.to_string()));
            }
        }
        if let Err(second) = self.cx.new_is_down() {
            return self.stopped(error.fact("new cluster", second.to_string()));
        }
        match self.backward(to) {
            Ok(()) => {
                let error = match self.gone_back().error {
                    Some(found) => also_found(error, &found),
                    None => error,
                };
                Outcome::undone(error, self.state().standing())
            }
            Err(second) => self.stopped(failed_too(error, &second)),
        }
    }

    pub(super) fn stopped(&mut self, error: Error) -> Outcome {
        self.cx.cancel = self.steady;
        let error = match self.cx.stop_servers() {
            Ok(()) => error,
            Err(second) => error.fact("stopping a private server failed too", second.to_string()),
        };
        Outcome::stopped(error, self.state().standing())
    }
}

/// Why undoing failed is what has to be put right first.
fn failed_too(error: Error, second: &Error) -> Error {
    let error = error.fact("undoing it failed too", second.to_string());
    let facts = second.facts().iter();
    let error = facts.fold(error, |error, (name, what)| error.fact(name, what));
    match second.remedy_text() {
        Some(remedy) => error.remedy(remedy.clone()),
        None => error,
    }
}

/// What the way back found is said, but the error stays that which it was begun for.
fn also_found(error: Error, found: &Error) -> Error {
    let error = error.fact("old compared with its manifest", found.message());
    let differences = found
        .facts()
        .iter()
        .filter(|(name, _)| name == "difference");
    differences.fold(error, |error, (name, what)| error.fact(name, what))
}

fn nothing_to_resume(standing: Standing) -> Outcome {
    let error = Error::new(Code::WrongStanding, "there is nothing to resume");
    Outcome::unchanged(error, Some(standing))
}

fn interrupted(error: &Error) -> bool {
    matches!(error.code(), Code::Interrupted | Code::Terminated)
}
