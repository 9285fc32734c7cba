//! What the cutover wrote into new is on disk before old is given up.

use serde_json::Value;

use crate::error::Result;
use crate::steps::context::NEW_CONTROL;
use crate::steps::{Context, Phase, Step};

pub(super) struct SyncNewCluster;

impl Step for SyncNewCluster {
    fn name(&self) -> &'static str {
        "sync-new-cluster"
    }

    fn phase(&self) -> Phase {
        Phase::Cutover
    }

    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        let new = cx.new_area()?;
        // Everything else was synced by who wrote it.
        new.sync_tree("pg_wal", 1)?;
        for dir in [
            "pg_xact",
            "pg_multixact/offsets",
            "pg_multixact/members",
            "pg_multixact",
        ] {
            new.sync_dir(dir)?;
        }
        cx.put_control_aside()?;
        cx.state.sync_file(NEW_CONTROL)?;
        Ok("WAL, transaction status and control file are on disk".to_owned())
    }

    /// Being on disk needs no undoing.
    fn undo(&self, _cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        Ok(())
    }
}
