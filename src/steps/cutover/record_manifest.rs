//! What old's files are is written down before the cutover changes anything, and compared when
//! it has been undone.

use serde_json::Value;

use crate::error::Result;
use crate::pg::amount::{counted, size};
use crate::steps::context::CONTROL;
use crate::steps::{Context, Phase, Step};

const NAME: &str = "record-manifest";

pub(super) struct RecordManifest;

impl Step for RecordManifest {
    fn name(&self) -> &'static str {
        NAME
    }

    fn phase(&self) -> Phase {
        Phase::Cutover
    }

    /// It reads all of old while service is down.
    fn needed(&self, cx: &Context<'_>) -> Result<bool> {
        Ok(cx.handover.manifest)
    }

    fn missed(&self, cx: &Context<'_>) -> Option<&'static str> {
        let wanted = cx.handover.manifest;
        wanted.then_some("the cutover has changed old already; no manifest can be recorded now")
    }

    /// No server runs in old from here on until all that follows is undone.
    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        cx.keep_hold_of_old()?;
        cx.begin_manifest()?;
        let manifest = cx.read_manifest(NAME, cx.cancel)?;
        cx.old_is_untouched(CONTROL)?;
        cx.save_manifest(&manifest)?;
        let files = counted(manifest.files(), "file");
        Ok(format!("SHA-256 of {files}, {}", size(manifest.bytes)))
    }

    /// Everything after it is undone, and old is not started before this. A difference keeps
    /// nobody from service: it is told when the way back has ended.
    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        cx.compare_after_undoing(NAME)
    }
}
