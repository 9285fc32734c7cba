//! Where both clusters share files, old loses its control file before new gets its own.

use serde_json::{Value, json};

use crate::error::Result;
use crate::steps::context::{CONTROL, Context};
use crate::steps::{Phase, Step};

/// The name pg_upgrade gives it too; operators know it.
const RETIRED: &str = "global/pg_control.old";

pub(super) struct RetireOldControl;

impl Step for RetireOldControl {
    fn name(&self) -> &'static str {
        "retire-old-control"
    }

    fn phase(&self) -> Phase {
        Phase::Cutover
    }

    fn needed(&self, cx: &Context<'_>) -> Result<bool> {
        Ok(cx.plan.mode.shares_files())
    }

    fn intent(&self, _cx: &mut Context<'_>) -> Result<Value> {
        Ok(json!({ "v": 1, "from": CONTROL, "to": RETIRED }))
    }

    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        let old = cx.old_area()?;
        if old.path(CONTROL)?.exists() {
            old.rename(CONTROL, &old, RETIRED)?;
        }
        // Who started old before this moment is seen, and after it nobody can.
        if let Err(error) = cx.old_is_untouched(RETIRED) {
            old.rename(RETIRED, &old, CONTROL)?;
            return Err(error);
        }
        Ok("old cannot be started any more".to_owned())
    }

    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        let old = cx.old_area()?;
        if old.path(RETIRED)?.exists() && !old.path(CONTROL)?.exists() {
            old.rename(RETIRED, &old, CONTROL)?;
        }
        Ok(())
    }
}
