//! What state the clusters are in, said in one sentence.

use std::path::Path;

use crate::journal::{Phase, Standing, State, StepState};

/// The name of a standing, as `--json` has it.
pub fn standing_name(standing: Standing) -> &'static str {
    match standing {
        Standing::Preparing => "preparing",
        Standing::Prepared => "prepared",
        Standing::CuttingOver => "cutting_over",
        Standing::Upgraded => "upgraded",
        Standing::RollingBack => "rolling_back",
        Standing::RolledBack => "rolled_back",
        Standing::Finalizing => "finalizing",
        Standing::Finalized => "finalized",
    }
}

/// What state the clusters are in, and which of them may be started: a clause without a full stop.
///
/// It is true while nobody is at work on the migration, also after a crash. Paths are given as
/// they are; the renderers make them safe.
pub fn standing_sentence(standing: Standing, old: &Path, new: &Path) -> String {
    let (old, new) = (old.display(), new.display());
    match standing {
        Standing::Preparing => format!(
            "the new cluster in {new} is half built and cannot be started; \
             the old cluster in {old} is as it was and may be started"
        ),
        Standing::Prepared => format!(
            "the new cluster in {new} is built and waits for the cutover; \
             the old cluster in {old} is as it was and may be started"
        ),
        Standing::CuttingOver => format!(
            "the cutover has begun and not ended; start neither the old cluster in {old} \
             nor the new one in {new}: resume or roll back"
        ),
        Standing::Upgraded => format!(
            "the new cluster in {new} is complete and may be started; the old cluster in {old} \
             is kept for the way back and must not be started"
        ),
        Standing::RollingBack => format!(
            "the way back has begun and not ended; start neither the old cluster in {old} \
             nor the new one in {new}: roll back again"
        ),
        Standing::RolledBack => format!(
            "everything was undone; the old cluster in {old} is as it was and may be started; \
             nothing of the migration is left in {new}"
        ),
        Standing::Finalizing => format!(
            "the removal of the old cluster in {old} has begun and cannot be undone; \
             the new cluster in {new} is complete and may be started: finalize again"
        ),
        Standing::Finalized => format!(
            "the old cluster in {old} has been removed; \
             the new cluster in {new} is complete and may be started"
        ),
    }
}

/// How far a migration is, for `status`: a clause without a full stop.
pub fn steps_sentence(state: &State) -> String {
    let done = |phase| {
        let of_phase = |entry: &&crate::journal::StepEntry| {
            entry.phase == phase && entry.state == StepState::Done
        };
        state.steps.iter().filter(of_phase).count()
    };
    let steps = |number: usize| match number {
        0 => "no step".to_owned(),
        1 => "1 step".to_owned(),
        many => format!("{many} steps"),
    };
    let mut out = format!(
        "{} of prepare and {} of the cutover stand",
        steps(done(Phase::Prepare)),
        steps(done(Phase::Cutover))
    );
    match state.steps.last().map(|entry| (entry.state, &entry.step)) {
        Some((StepState::Intended, step)) => out += &format!("; {step} was begun and not ended"),
        Some((StepState::Undoing, step)) => out += &format!("; {step} is half undone"),
        Some((StepState::Done, step)) => out += &format!("; the last is {step}"),
        None => {}
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Opened, StepEntry};

    const ALL: [Standing; 8] = [
        Standing::Preparing,
        Standing::Prepared,
        Standing::CuttingOver,
        Standing::Upgraded,
        Standing::RollingBack,
        Standing::RolledBack,
        Standing::Finalizing,
        Standing::Finalized,
    ];

    #[test]
    fn names_are_those_of_the_event_stream() {
        for standing in ALL {
            let json = serde_json::to_string(&standing).unwrap();
            assert_eq!(json, format!("\"{}\"", standing_name(standing)));
        }
    }

    #[test]
    fn every_standing_says_what_of_both_clusters() {
        let (old, new) = (Path::new("/srv/pg15"), Path::new("/srv/pg17"));
        let all: Vec<_> = ALL
            .iter()
            .map(|one| standing_sentence(*one, old, new))
            .collect();
        crate::render::snapshot::compare("standings", &format!("{}\n", all.join("\n")));
    }

    #[test]
    fn steps_are_counted_by_phase() {
        let entry = |step: &str, phase, state| StepEntry {
            step: step.into(),
            phase,
            intent: serde_json::Value::Null,
            state,
        };
        let mut state = State {
            opened: Opened {
                format: 1,
                program: "0".into(),
                old: "/old".into(),
                new: "/new".into(),
                system_identifier: 1,
            },
            steps: Vec::new(),
            milestone: None,
            backward: None,
        };
        assert_eq!(
            steps_sentence(&state),
            "no step of prepare and no step of the cutover stand"
        );
        state.steps = vec![
            entry("dump-old-schema", Phase::Prepare, StepState::Done),
            entry("place-files", Phase::Prepare, StepState::Done),
            entry("stop-old-server", Phase::Cutover, StepState::Done),
        ];
        assert_eq!(
            steps_sentence(&state),
            "2 steps of prepare and 1 step of the cutover stand; the last is stop-old-server"
        );
        state.steps[2].state = StepState::Intended;
        assert_eq!(
            steps_sentence(&state),
            "2 steps of prepare and no step of the cutover stand; \
             stop-old-server was begun and not ended"
        );
    }
}
