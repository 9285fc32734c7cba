//! New is compared with old while both are down and old can still be put back.

use serde_json::Value;

use crate::error::{Code, Error, Result};
use crate::pg::amount::counted;
use crate::plan::Mode;
use crate::steps::context::{CONTROL, RETIRED};
use crate::steps::{Context, Phase, Step};
use crate::verify;

/// How many differences an error names.
const NAMED: usize = 10;

pub(super) struct VerifyNewCluster;

impl Step for VerifyNewCluster {
    fn name(&self) -> &'static str {
        "verify-new-cluster"
    }

    fn phase(&self) -> Phase {
        Phase::Cutover
    }

    /// By swap, each file must be the one that old had. Where this process has just linked, every
    /// name it left alone was the right file: only what it changed is looked at. Otherwise both
    /// directories are listed again.
    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        cx.keep_hold_of_old()?;
        cx.old_is_untouched(match cx.plan.mode {
            Mode::Swap => RETIRED,
            _ => CONTROL,
        })?;
        let (map, jobs, cancel) = (cx.file_map()?, cx.plan.jobs, cx.cancel);
        let compared = match cx.mended.take() {
            _ if cx.plan.mode == Mode::Swap => verify::swapped(&cx.swap_list()?, jobs, cancel)?,
            Some(folders) => verify::mended(&map, &folders, jobs, cancel)?,
            None => verify::names_and_sizes(&map, cx.plan.mode, jobs, cancel)?,
        };
        if compared.differences.is_empty() {
            let files = counted(compared.files, "file");
            return Ok(match cx.plan.mode {
                Mode::Swap => format!("{files}, each the one that old had"),
                _ => format!("names and sizes of {files} are right"),
            });
        }
        let error = Error::new(Code::TransferFailed, "files of old and new differ")
            .fact("differences", compared.differences.len());
        Err(compared
            .differences
            .iter()
            .take(NAMED)
            .fold(error, |error, difference| {
                error.fact("difference", difference)
            }))
    }

    /// It only looked.
    fn undo(&self, _cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        Ok(())
    }
}
