//! What is left of old's relation files gets its place in new.

use serde_json::Value;

use crate::error::Result;
use crate::pg::amount::{count, counted, size};
use crate::plan::Mode;
use crate::steps::{Context, Phase, Step};
use crate::transfer;

const NAME: &str = "transfer-files";

pub(super) struct TransferFiles;

impl Step for TransferFiles {
    fn name(&self) -> &'static str {
        NAME
    }

    fn phase(&self) -> Phase {
        Phase::Cutover
    }

    /// In link mode the names made in prepare are compared with what old has now, and mended.
    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        let map = cx.file_map()?;
        let work = cx.work(NAME);
        match cx.plan.mode {
            Mode::Link => {
                let mended = transfer::link(&map, &work)?;
                let moved = transfer::sum(&mended);
                cx.mended = Some(mended);
                let kept = counted(moved.kept, "file");
                Ok(match moved.files {
                    0 => format!("{kept} linked by prepare, nothing to mend"),
                    some => format!("{kept} linked by prepare, {} mended", count(some)),
                })
            }
            Mode::Copy => {
                let moved = transfer::copy(&map, &work)?;
                let (files, bytes) = (counted(moved.files, "file"), size(moved.bytes));
                Ok(format!("{files}, {bytes} copied"))
            }
        }
    }

    /// Copies go, to be made again from what old has by then; links are mended by the next
    /// cutover and removed with new.
    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        match cx.plan.mode {
            Mode::Copy if cx.discarding => Ok(()),
            Mode::Link => Ok(()),
            Mode::Copy => {
                let map = cx.places_in_new()?;
                transfer::remove(&map, &cx.work(NAME)).map(|_| ())
            }
        }
    }
}
