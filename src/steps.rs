//! The steps of an upgrade, one file a step; each phase lists its own in the order in which they
//! run.
//!
//! A step is the unit of doing and of undoing. Before it acts, everything its undo will need
//! is written down (its intent); `apply` may be repeated after having been interrupted
//! anywhere, and so may `undo`. Steps know the clusters; they know nothing of the journal or of
//! the terminal. What several of them do alike is beside them, and is no step: drift, what is
//! restored anew, first copies, large objects, transaction state and independence from it.

mod context;
mod cutover;
mod drift;
mod finalize;
mod first_copies;
mod independence;
mod large_objects;
mod prepare;
mod renewal;
mod transaction_state;

use serde_json::Value;

use crate::error::Result;
pub use crate::event::Phase;

pub use context::{
    ComparedOld, Context, Handover, KEEP_NEW, NEW_CONTROL, NewState, OldAtHand, PLAN_FILE,
    compared_old, new_state, started_early,
};
pub use drift::{drift, drifted, is_the_cluster_prepared, read_and_compare};
pub use prepare::{FINGERPRINT, INVENTORY};
pub use renewal::{Again, READ_AGAIN, read_again};

/// One step of an upgrade.
pub trait Step: Sync {
    /// Its name: verb and object, as the file it is in.
    fn name(&self) -> &'static str;

    /// Its half of the upgrade.
    fn phase(&self) -> Phase;

    /// Whether there is anything for it to do in this run.
    fn needed(&self, _cx: &Context<'_>) -> Result<bool> {
        Ok(true)
    }

    /// What is to be said in a run that goes on behind its place, where it was not done.
    fn missed(&self, _cx: &Context<'_>) -> Option<&'static str> {
        None
    }

    /// All that the undo will need, as small versioned JSON; changes nothing.
    fn intent(&self, _cx: &mut Context<'_>) -> Result<Value> {
        Ok(serde_json::json!({ "v": 1 }))
    }

    /// Does it, and says what was done as a clause.
    fn apply(&self, cx: &mut Context<'_>, intent: &Value) -> Result<String>;

    /// Renews what ended with the process that did the step, when another process goes on.
    fn renew(&self, _cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        Ok(())
    }

    /// Gives users back what the step took from them, where undoing a later step has failed;
    /// nothing where that could do harm. The undo still follows, some day.
    fn relieve(&self, _cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        Ok(())
    }

    /// Whether it stays done where only some databases are restored anew.
    fn kept_when_reopened(&self) -> bool {
        false
    }

    /// Undoes it, wholly or partly done as it may be.
    fn undo(&self, cx: &mut Context<'_>, intent: &Value) -> Result<()>;
}

/// Every step, in order: those of [`prepare`], then those of [`cutover`].
pub fn registry() -> Vec<Box<dyn Step>> {
    let mut steps = prepare::steps();
    steps.extend(cutover::steps());
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_the_phases_do_not_mix() {
        let steps = registry();
        let mut names: Vec<_> = steps.iter().map(|step| step.name()).collect();
        let cutover = steps
            .iter()
            .position(|step| step.phase() == Phase::Cutover)
            .unwrap();
        assert!(
            steps[cutover..]
                .iter()
                .all(|step| step.phase() == Phase::Cutover)
        );
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), steps.len());
    }
}
