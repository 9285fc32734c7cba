//! How a run ended, and what the exit status is then.

use crate::error::{Code, Error, Exit};
use crate::journal::Standing;

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The exit status.
    pub exit: Exit,
    /// Why it failed.
    pub error: Option<Error>,
    /// Where the migration stands.
    pub standing: Option<Standing>,
}

impl Outcome {
    /// Everything that was asked for is done.
    pub fn done(standing: Standing) -> Self {
        Self {
            exit: Exit::Done,
            error: None,
            standing: Some(standing),
        }
    }

    /// It failed before anything was changed.
    pub fn unchanged(error: Error, standing: Option<Standing>) -> Self {
        Self {
            exit: error.code().exit_unchanged(),
            error: Some(error),
            standing,
        }
    }

    /// It failed, and what had been done is undone.
    ///
    /// Drift is a finding, and an interruption is what the operator asked for.
    pub fn undone(error: Error, standing: Standing) -> Self {
        let exit = match error.code() {
            Code::Interrupted => Exit::Interrupted,
            Code::Terminated => Exit::Terminated,
            Code::Drift | Code::Blocked => Exit::Findings,
            _ => Exit::RolledBack,
        };
        Self {
            exit,
            error: Some(error),
            standing: Some(standing),
        }
    }

    /// It is done, and in doing it something was found.
    pub fn found(error: Error, standing: Standing) -> Self {
        Self {
            exit: Exit::Findings,
            error: Some(error),
            standing: Some(standing),
        }
    }

    /// It stopped half way: `resume` and `rollback` are both open.
    pub fn stopped(error: Error, standing: Standing) -> Self {
        let exit = match error.code() {
            Code::Interrupted => Exit::Interrupted,
            Code::Terminated => Exit::Terminated,
            Code::JournalDamaged | Code::NewStartedEarly => Exit::NeedsPerson,
            _ => Exit::Stopped,
        };
        Self {
            exit,
            error: Some(error),
            standing: Some(standing),
        }
    }
}
