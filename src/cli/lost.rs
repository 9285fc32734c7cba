//! What is told where the state directory has gone under a command.

use super::run::{Ending, serving};
use crate::engine::Outcome;
use crate::error::{Code, Error, Exit, Remedy};
use crate::journal::{JOURNAL_FILE, Standing};
use crate::pg::control;
use crate::plan::Plan;
use crate::render::{Left, sentence_without_state};

/// Whether there is a journal that another command could go on from. The last one removes it.
pub fn is_lost(plan: &Plan, outcome: &Outcome) -> bool {
    let over = matches!(
        outcome.standing,
        None | Some(Standing::Finalizing | Standing::Finalized)
    );
    // What cannot be looked at may well be there.
    !over && matches!(plan.state_dir.join(JOURNAL_FILE).try_exists(), Ok(false))
}

/// The standing as both data directories have it: the journal, though this process knows what was in
/// it, leads nobody on. What went wrong first may only have been the first to miss something.
pub fn told(plan: &Plan, outcome: Outcome) -> (Outcome, Ending) {
    let left = left(plan, outcome.standing);
    let ending = Ending {
        standing: Some(sentence_without_state(left)),
        ..Ending::default()
    };
    let Some(first) = outcome.error else {
        return (outcome, ending);
    };
    let done = outcome.standing == Some(Standing::RolledBack);
    let error = Error::new(Code::StateMissing, "the state directory is gone")
        .fact("state directory", plan.state_dir.display())
        .fact("noticed by", &first);
    let folders = plan.old.tablespaces.iter().filter(|place| !place.in_place);
    let error = folders.fold(error, |error, place| {
        error.fact("tablespace", place.location.display())
    });
    let outcome = Outcome {
        exit: match outcome.exit {
            Exit::RolledBack if done => Exit::RolledBack,
            Exit::Interrupted | Exit::Terminated => outcome.exit,
            _ => Exit::NeedsPerson,
        },
        error: Some(error.remedy(remedy(plan, left, done))),
        standing: outcome.standing,
    };
    (outcome, ending)
}

fn left(plan: &Plan, standing: Option<Standing>) -> Left<'_> {
    Left {
        old: &plan.old.data_dir,
        new: &plan.new.data_dir,
        old_starts: control::in_datadir(&plan.old.data_dir).exists(),
        new_starts: control::in_datadir(&plan.new.data_dir).exists(),
        new_is_there: plan.new.data_dir.join("PG_VERSION").exists(),
        serving: serving(plan),
        shared: plan.mode.shares_files(),
        complete: standing == Some(Standing::Upgraded),
    }
}

fn remedy(plan: &Plan, left: Left<'_>, done: bool) -> Remedy {
    let version = plan.new.version.major;
    let lost = match (left.old_starts, left.new_starts) {
        _ if done && !left.new_is_there => return Remedy::manual("prepare again"),
        (true, false) => format!(
            "when you have seen that old serves what it should, remove the new data directory and \
             the folder PG_{version}_* in the location of each tablespace, and prepare again"
        ),
        _ => {
            "remove nothing, and see \"The state directory is gone\" in docs/recovery.md".to_owned()
        }
    };
    Remedy::manual(format!(
        "if it was moved, move it back and run pg_migrator status; if it is lost: {lost}"
    ))
}
