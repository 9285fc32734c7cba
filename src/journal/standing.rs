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
mod tests {
    use super::*;

    fn state() -> State {
        State::new(Opened {
            format: 1,
            program: "0".into(),
            old: "/old".into(),
            new: "/new".into(),
            system_identifier: 1,
        })
    }

    fn intend(step: &str, phase: Phase) -> Record {
        Record::StepIntended {
            step: step.into(),
            phase,
            intent: Value::Null,
        }
    }

    fn done(step: &str) -> Record {
        Record::StepDone { step: step.into() }
    }

    fn reached(milestone: Milestone) -> Record {
        Record::Reached { milestone }
    }

    fn fold(records: &[Record]) -> State {
        let mut state = state();
        for record in records {
            assert!(state.accept(record), "{record:?} after {state:?}");
        }
        state
    }

    #[test]
    fn a_whole_upgrade_and_its_way_back() {
        let mut records = vec![intend("a", Phase::Prepare), done("a")];
        assert_eq!(fold(&records).standing(), Standing::Preparing);
        records.push(reached(Milestone::Prepared));
        assert_eq!(fold(&records).standing(), Standing::Prepared);
        records.push(intend("b", Phase::Cutover));
        assert_eq!(fold(&records).standing(), Standing::CuttingOver);
        records.extend([done("b"), reached(Milestone::Upgraded)]);
        assert_eq!(fold(&records).standing(), Standing::Upgraded);
        for step in ["b", "a"] {
            if step == "b" {
                records.push(Record::BackwardBegun {
                    to: Target::RolledBack,
                });
            }
            records.push(Record::UndoBegun { step: step.into() });
            records.push(Record::UndoDone { step: step.into() });
            assert_eq!(fold(&records).standing(), Standing::RollingBack);
        }
        records.push(reached(Milestone::RolledBack));
        assert_eq!(fold(&records).standing(), Standing::RolledBack);
    }

    #[test]
    fn only_the_last_step_may_be_undone() {
        let mut state = fold(&[
            intend("a", Phase::Prepare),
            done("a"),
            intend("b", Phase::Prepare),
            done("b"),
            Record::BackwardBegun {
                to: Target::RolledBack,
            },
        ]);
        assert!(!state.accept(&Record::UndoBegun { step: "a".into() }));
        assert!(state.accept(&Record::UndoBegun { step: "b".into() }));
    }

    #[test]
    fn nothing_goes_forward_on_the_way_back_or_after_the_end() {
        let mut state = fold(&[
            intend("a", Phase::Prepare),
            Record::BackwardBegun {
                to: Target::RolledBack,
            },
        ]);
        assert!(!state.accept(&done("b")));
        assert!(!state.accept(&intend("b", Phase::Prepare)));
        assert!(!state.accept(&reached(Milestone::RolledBack)));
        for record in [
            Record::UndoBegun { step: "a".into() },
            Record::UndoDone { step: "a".into() },
            reached(Milestone::RolledBack),
        ] {
            assert!(state.accept(&record));
        }
        assert!(!state.accept(&intend("a", Phase::Prepare)));
    }

    #[test]
    fn there_is_no_way_back_from_finalizing() {
        let mut state = fold(&[
            intend("a", Phase::Prepare),
            done("a"),
            reached(Milestone::Prepared),
            intend("b", Phase::Cutover),
            done("b"),
            reached(Milestone::Upgraded),
            reached(Milestone::Finalizing),
        ]);
        assert!(!state.accept(&Record::BackwardBegun {
            to: Target::RolledBack
        }));
        assert!(state.accept(&reached(Milestone::Finalized)));
    }

    #[test]
    fn the_cutover_alone_can_be_undone_and_begun_again() {
        let state = fold(&[
            intend("a", Phase::Prepare),
            done("a"),
            reached(Milestone::Prepared),
            intend("b", Phase::Cutover),
            Record::BackwardBegun {
                to: Target::Prepared,
            },
            Record::UndoBegun { step: "b".into() },
            Record::UndoDone { step: "b".into() },
            reached(Milestone::Prepared),
            intend("b", Phase::Cutover),
        ]);
        assert_eq!(state.standing(), Standing::CuttingOver);
    }

    #[test]
    fn prepare_can_be_begun_anew() {
        let state = fold(&[
            intend("a", Phase::Prepare),
            Record::BackwardBegun { to: Target::Anew },
            Record::UndoBegun { step: "a".into() },
            Record::UndoDone { step: "a".into() },
            reached(Milestone::Anew),
            intend("a", Phase::Prepare),
            done("a"),
            reached(Milestone::Prepared),
        ]);
        assert_eq!(state.standing(), Standing::Prepared);
    }

    fn prepared() -> Vec<Record> {
        vec![
            intend("a", Phase::Prepare),
            done("a"),
            intend("b", Phase::Prepare),
            done("b"),
            reached(Milestone::Prepared),
        ]
    }

    fn reopened() -> Vec<Record> {
        let mut records = prepared();
        records.extend([
            Record::BackwardBegun {
                to: Target::Reopened,
            },
            Record::UndoBegun { step: "b".into() },
            Record::UndoDone { step: "b".into() },
            reached(Milestone::Reopened),
        ]);
        records
    }

    #[test]
    fn what_was_prepared_can_be_opened_and_prepared_again() {
        let mut records = reopened();
        let state = fold(&records);
        assert_eq!(state.standing(), Standing::Preparing);
        assert!(state.step("a").is_some() && state.step("b").is_none());
        records.extend([intend("b", Phase::Prepare), done("b")]);
        assert_eq!(fold(&records).standing(), Standing::Preparing);
        records.push(reached(Milestone::Prepared));
        assert_eq!(fold(&records).standing(), Standing::Prepared);
        records.extend(reopened().split_off(prepared().len()));
        assert_eq!(fold(&records).standing(), Standing::Preparing);
    }

    #[test]
    fn what_was_opened_can_be_begun_anew_or_rolled_back_at_each_line() {
        let records = reopened();
        for end in prepared().len() + 1..=records.len() {
            for to in [Target::Anew, Target::RolledBack] {
                let mut state = fold(&records[..end]);
                assert!(state.accept(&Record::BackwardBegun { to }), "{end} {to:?}");
                assert_eq!(state.standing(), Standing::RollingBack);
                while let Some(entry) = state.steps.last().cloned() {
                    if entry.state != StepState::Undoing {
                        assert!(state.accept(&Record::UndoBegun {
                            step: entry.step.clone()
                        }));
                    }
                    assert!(state.accept(&Record::UndoDone { step: entry.step }));
                }
                let (milestone, standing) = match to {
                    Target::Anew => (Milestone::Anew, Standing::Preparing),
                    _ => (Milestone::RolledBack, Standing::RolledBack),
                };
                assert!(state.accept(&reached(milestone)), "{end} {to:?}");
                assert_eq!(state.standing(), standing);
            }
        }
    }

    #[test]
    fn only_what_is_prepared_can_be_opened() {
        let open = Record::BackwardBegun {
            to: Target::Reopened,
        };
        for end in 0..prepared().len() {
            assert!(!fold(&prepared()[..end]).accept(&open), "after {end} lines");
        }
        let mut cutting = prepared();
        cutting.push(intend("c", Phase::Cutover));
        assert!(!fold(&cutting).accept(&open));
        let mut undoing = fold(&reopened()[..prepared().len() + 2]);
        assert!(
            !undoing.accept(&reached(Milestone::Reopened)),
            "half undone"
        );
        assert!(!undoing.accept(&Record::BackwardBegun {
            to: Target::Prepared
        }));
    }
}
