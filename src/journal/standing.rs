//! The one transition table, and what follows from the lines written so far.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::record::{Milestone, Opened, Phase, Record, Target};

/// Where a migration stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// `prepare` has begun and not ended.
    Preparing,
    /// New is built; old is untouched and may serve.
    Prepared,
    /// The cutover has begun and not ended.
    CuttingOver,
    /// New is handed over; old is kept.
    Upgraded,
    /// The way back has begun and not ended.
    RollingBack,
    /// Everything was undone.
    RolledBack,
    /// The removal of old has begun and not ended.
    Finalizing,
    /// Old is gone.
    Finalized,
}

/// How far one step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Its intent is written; it may have acted in part or in whole.
    Intended,
    /// It has acted.
    Done,
    /// Its undo has begun.
    Undoing,
}

/// A step that has left something behind.
#[derive(Debug, Clone, PartialEq)]
pub struct StepEntry {
    /// Name of the step.
    pub step: String,
    /// Its half of the upgrade.
    pub phase: Phase,
    /// What its undo needs.
    pub intent: Value,
    /// How far it is.
    pub state: StepState,
}

/// Everything the journal says.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Which migration.
    pub opened: Opened,
    /// The steps that are intended, done or being undone, in the order they were begun.
    pub steps: Vec<StepEntry>,
    /// The last milestone.
    pub milestone: Option<Milestone>,
    /// Where the way back leads that is being gone.
    pub backward: Option<Target>,
}

impl State {
    /// The state after the first line.
    pub(super) fn new(opened: Opened) -> Self {
        Self {
            opened,
            steps: Vec::new(),
            milestone: None,
            backward: None,
        }
    }

    /// The entry of a step that has left something behind.
    pub fn step(&self, name: &str) -> Option<&StepEntry> {
        self.steps.iter().find(|entry| entry.step == name)
    }

    /// Where the migration stands.
    pub fn standing(&self) -> Standing {
        match (self.backward, self.milestone) {
            (_, Some(Milestone::Finalized)) => Standing::Finalized,
            (_, Some(Milestone::Finalizing)) => Standing::Finalizing,
            (Some(_), _) => Standing::RollingBack,
            (None, Some(Milestone::RolledBack)) => Standing::RolledBack,
            (None, Some(Milestone::Upgraded)) => Standing::Upgraded,
            (None, Some(Milestone::Prepared)) => {
                let cutting = self.steps.iter().any(|entry| entry.phase == Phase::Cutover);
                if cutting {
                    Standing::CuttingOver
                } else {
                    Standing::Prepared
                }
            }
            (None, None | Some(Milestone::Anew | Milestone::Reopened)) => Standing::Preparing,
        }
    }

    /// Takes in one more line; `false`, and no change, where it may not follow.
    #[must_use]
    pub(super) fn accept(&mut self, record: &Record) -> bool {
        let ended = matches!(
            self.milestone,
            Some(Milestone::RolledBack | Milestone::Finalized)
        );
        if ended {
            return false;
        }
        match record {
            Record::Opened(_) => false,
            Record::StepIntended {
                step,
                phase,
                intent,
            } => self.intend(step, *phase, intent),
            Record::StepDone { step } => self.turn(step, &[StepState::Intended], StepState::Done),
            Record::BackwardBegun { to } => self.begin_backward(*to),
            Record::UndoBegun { step } => {
                self.backward.is_some()
                    && self.turn(
                        step,
                        &[StepState::Intended, StepState::Done],
                        StepState::Undoing,
                    )
            }
            Record::UndoDone { step } => self.forget(step),
            Record::ForwardAgain => self.turn_forward(),
            Record::Reached { milestone } => self.reach(*milestone),
        }
    }

    fn intend(&mut self, step: &str, phase: Phase, intent: &Value) -> bool {
        let allowed = self.backward.is_none()
            && self
                .steps
                .iter()
                .all(|entry| entry.state == StepState::Done)
            && self.step(step).is_none()
            && match phase {
                Phase::Prepare => self.preparing(),
                Phase::Cutover => self.milestone == Some(Milestone::Prepared),
            };
        if allowed {
            self.steps.push(StepEntry {
                step: step.to_owned(),
                phase,
                intent: intent.clone(),
                state: StepState::Intended,
            });
        }
        allowed
    }

    /// Only the last step begun may move: steps are undone in the reverse order.
    fn turn(&mut self, step: &str, from: &[StepState], to: StepState) -> bool {
        match self.steps.last_mut() {
            Some(entry) if entry.step == step && from.contains(&entry.state) => {
                entry.state = to;
                true
            }
            _ => false,
        }
    }

    fn forget(&mut self, step: &str) -> bool {
        let last = self.steps.last();
        let allowed =
            last.is_some_and(|entry| entry.step == step && entry.state == StepState::Undoing);
        if allowed {
            self.steps.pop();
        }
        allowed
    }

    /// A shorter way back that is under way may be turned into the whole one; so may one that
    /// was to keep new into one that does not.
    fn begin_backward(&mut self, to: Target) -> bool {
        let allowed = match (self.backward, to) {
            (Some(Target::RolledBack), _) => false,
            (Some(Target::Reopened), Target::Anew) => true,
            (Some(_), _) => to == Target::RolledBack,
            (None, Target::RolledBack) => self.milestone != Some(Milestone::Finalizing),
            (None, Target::Prepared) => {
                matches!(
                    self.milestone,
                    Some(Milestone::Prepared | Milestone::Upgraded)
                )
            }
            (None, Target::Anew) => self.preparing(),
            (None, Target::Reopened) => self.standing() == Standing::Prepared,
        };
        if allowed {
            self.backward = Some(to);
        }
        allowed
    }

    /// Only a cutover of which something still stands can be ended after all. The step that was
    /// being undone is begun again, and new is not handed over before all are done.
    fn turn_forward(&mut self) -> bool {
        let of_the_cutover = matches!(self.backward, Some(Target::RolledBack | Target::Prepared));
        let last = self.steps.last_mut();
        let Some(entry) = last.filter(|entry| of_the_cutover && entry.phase == Phase::Cutover)
        else {
            return false;
        };
        if entry.state == StepState::Undoing {
            entry.state = StepState::Intended;
        }
        self.backward = None;
        self.milestone = Some(Milestone::Prepared);
        true
    }

    fn preparing(&self) -> bool {
        matches!(
            self.milestone,
            None | Some(Milestone::Anew | Milestone::Reopened)
        )
    }

    fn reach(&mut self, milestone: Milestone) -> bool {
        let all_done = self
            .steps
            .iter()
            .all(|entry| entry.state == StepState::Done);
        let cutover_left = self.steps.iter().any(|entry| entry.phase == Phase::Cutover);
        let allowed = match (milestone, self.backward) {
            (Milestone::Anew, Some(Target::Anew)) => self.steps.is_empty(),
            (Milestone::Reopened, Some(Target::Reopened)) => all_done && !cutover_left,
            (Milestone::Prepared, None) => self.preparing() && all_done,
            (Milestone::Prepared, Some(Target::Prepared)) => !cutover_left,
            (Milestone::Upgraded, None) => {
                self.milestone == Some(Milestone::Prepared) && all_done && cutover_left
            }
            (Milestone::RolledBack, Some(Target::RolledBack)) => self.steps.is_empty(),
            (Milestone::Finalizing, None) => self.milestone == Some(Milestone::Upgraded),
            (Milestone::Finalized, None) => self.milestone == Some(Milestone::Finalizing),
            _ => false,
        };
        if allowed {
            self.milestone = Some(milestone);
            self.backward = None;
        }
        allowed
    }
}

#[cfg(test)]
mod tests;
