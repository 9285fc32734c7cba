//! Where both clusters share files, old loses its control file before new gets its own.

use serde_json::{Value, json};

use crate::error::Result;
use crate::plan::Mode;
use crate::steps::context::{CONTROL, Context, RETIRED};
use crate::steps::{Phase, Step};

pub(super) struct RetireOldControl;

impl Step for RetireOldControl {
    fn name(&self) -> &'static str {
        "retire-old-control"
    }

    fn phase(&self) -> Phase {
        Phase::Cutover
    }

    /// By swap it was done before the first file of old was moved.
    fn needed(&self, cx: &Context<'_>) -> Result<bool> {
        Ok(cx.plan.mode == Mode::Link)
    }

    fn intent(&self, _cx: &mut Context<'_>) -> Result<Value> {
        Ok(json!({ "v": 1, "from": CONTROL, "to": RETIRED }))
    }

    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        retire(cx)?;
        Ok("old cannot be started any more".to_owned())
    }

    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        give_back(cx)
    }
}

/// Takes old's control file away, unless old was started before.
pub(super) fn retire(cx: &Context<'_>) -> Result<()> {
    let old = cx.old_area()?;
    if old.path(CONTROL)?.exists() {
        // A server that runs there all the same would not find the file it writes to next.
        cx.old_is_untouched(CONTROL)?;
        old.rename(CONTROL, &old, RETIRED)?;
    }
    // Who started old before this moment is seen, and after it nobody can.
    if let Err(error) = cx.old_is_untouched(RETIRED) {
        old.rename(RETIRED, &old, CONTROL)?;
        return Err(error);
    }
    Ok(())
}

/// Gives it back.
pub(super) fn give_back(cx: &Context<'_>) -> Result<()> {
    let old = cx.old_area()?;
    if old.path(RETIRED)?.exists() && !old.path(CONTROL)?.exists() {
        old.rename(RETIRED, &old, CONTROL)?;
    }
    Ok(())
}
