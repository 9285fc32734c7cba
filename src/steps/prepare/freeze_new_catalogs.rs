//! Every row of new's catalogs becomes independent of new's transaction status.

use serde_json::Value;

use crate::error::Result;
use crate::pg::amount::counted;
use crate::schema;
use crate::steps::{Context, Phase, Step};

pub(super) struct FreezeNewCatalogs;

impl Step for FreezeNewCatalogs {
    fn name(&self) -> &'static str {
        "freeze-new-catalogs"
    }

    fn phase(&self) -> Phase {
        Phase::Prepare
    }

    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        let databases = cx.old_snapshot()?.connectable();
        let (jobs, cancel) = (cx.plan.jobs, cx.cancel);
        let catalogs = schema::freeze(cx.new_server(false)?, &databases, jobs, cancel)?;
        cx.save_new_catalogs(&catalogs)?;
        Ok(format!(
            "{} frozen",
            counted(catalogs.heaps.len() as u64, "catalog")
        ))
    }

    /// Everything it changed lies in new, which is discarded as a whole.
    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        cx.stop_new_server()
    }
}
