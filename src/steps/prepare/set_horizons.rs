//! New's tables get old's horizons, and the last private server of prepare ends.

use serde_json::Value;

use crate::error::Result;
use crate::pg::amount::{count, counted};
use crate::schema;
use crate::steps::{Context, Phase, Step};

pub(super) struct SetHorizons;

impl Step for SetHorizons {
    fn name(&self) -> &'static str {
        "set-horizons"
    }

    fn phase(&self) -> Phase {
        Phase::Prepare
    }

    /// The scan of the stopped cluster is the proof that nothing held freezing back.
    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        let old = cx.old_snapshot()?;
        let (jobs, cancel) = (cx.plan.jobs, cx.cancel);
        let server = cx.new_server(false)?;
        let (mended, now) = schema::mend(server, &old, jobs, cancel)?;
        cx.stop_new_server()?;
        cx.save_new_snapshot(&now)?;
        schema::scan(
            &cx.plan.new.data_dir,
            &cx.new_catalogs()?.heaps,
            jobs,
            cancel,
        )?;
        let tables = counted(mended.compared, "table");
        Ok(match mended.relations {
            0 => format!("horizons of {tables} agree; every catalog row is frozen"),
            some => format!(
                "horizons of {tables} compared, {} mended; every catalog row is frozen",
                count(some)
            ),
        })
    }

    /// Everything it changed lies in new, which is discarded as a whole.
    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        cx.stop_new_server()
    }
}
