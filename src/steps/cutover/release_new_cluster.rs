//! New gets its control file: from here on it may be started.

use serde_json::Value;

use crate::error::Result;
use crate::steps::context::CONTROL;
use crate::steps::{Context, Phase, Step};

pub(super) struct ReleaseNewCluster;

impl Step for ReleaseNewCluster {
    fn name(&self) -> &'static str {
        "release-new-cluster"
    }

    fn phase(&self) -> Phase {
        Phase::Cutover
    }

    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        // By link, old was retired, and found untouched then.
        if !cx.plan.mode.shares_files() && cx.new_is_out_of_reach()? {
            cx.old_is_untouched(CONTROL)?;
        }
        cx.release_new()?;
        cx.let_go_of_old()?;
        if !cx.handover.start {
            cx.service_can_be_up()?;
            if let Some(command) = &cx.handover.resume {
                cx.note(format!("when new has been started, run: {command}"));
            }
        }
        Ok("new may be started".to_owned())
    }

    /// Asks once more whether new has been started: from here on old becomes startable.
    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        cx.take_new_back()
    }
}
