//! Where files of old are moved away, old loses its control file before the first of them goes.

use serde_json::{Value, json};

use super::retire_old_control::{give_back, retire};
use crate::error::Result;
use crate::plan::Mode;
use crate::steps::context::{CONTROL, Context, RETIRED};
use crate::steps::{Phase, Step};

pub(super) struct WithdrawOldControl;

impl Step for WithdrawOldControl {
    fn name(&self) -> &'static str {
        "withdraw-old-control"
    }

    fn phase(&self) -> Phase {
        Phase::Cutover
    }

    /// By link old stays whole until new is released, and is retired then.
    fn needed(&self, cx: &Context<'_>) -> Result<bool> {
        Ok(cx.plan.mode == Mode::Swap)
    }

    fn intent(&self, _cx: &mut Context<'_>) -> Result<Value> {
        Ok(json!({ "v": 1, "from": CONTROL, "to": RETIRED }))
    }

    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        cx.keep_hold_of_old()?;
        retire(cx)?;
        Ok("old cannot be started while its files are elsewhere".to_owned())
    }

    /// What follows is undone before: old has all its files again.
    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        give_back(cx)
    }
}
