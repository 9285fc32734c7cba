//! Where old's horizons moved past what prepare wrote into new, new is started once more.
//!
//! Horizons are lower bounds, and old moves them only up, so those of prepare usually stay
//! true. They do not where old has since given up the transaction status they still ask for,
//! or where a relation of old is older now than it was then.

use serde_json::Value;

use crate::catalog;
use crate::error::Result;
use crate::pg::amount::counted;
use crate::schema;
use crate::steps::independence::{freeze_and_prove, make_independent, settle};
use crate::steps::transaction_state::{self, Status, Used};
use crate::steps::{Context, Phase, Step};

pub(super) struct RefreshHorizons;

impl Step for RefreshHorizons {
    fn name(&self) -> &'static str {
        "refresh-horizons"
    }

    fn phase(&self) -> Phase {
        Phase::Cutover
    }

    fn needed(&self, cx: &Context<'_>) -> Result<bool> {
        Ok(cx.horizons()?.outdated(&cx.old_control()?))
    }

    /// Old's horizons may lie beyond the counters that new was prepared with, so the counters
    /// come first; before them everything is frozen and proven to be, whatever an interrupted
    /// run of this step has left. The rows written then are frozen and proven again.
    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        let old = cx.old_snapshot()?;
        let (jobs, cancel) = (cx.plan.jobs, cx.cancel);
        let databases = old.connectable();
        settle(cx)?;
        freeze_and_prove(cx)?;
        transaction_state::keep(cx)?;
        transaction_state::carry(cx, Used::AfterOld, Status::OfOld, "pg_resetwal-refresh.log")?;
        transaction_state::forget(cx)?;
        let server = cx.new_server(true)?;
        let (mended, _) = schema::mend(server, &old, jobs, cancel)?;
        let catalogs = schema::freeze(server, &databases, jobs, cancel)?;
        let now = catalog::read(server, jobs, cancel)?;
        cx.stop_new_server()?;
        cx.save_new_snapshot(&now)?;
        cx.save_new_catalogs(&catalogs)?;
        schema::scan(&cx.plan.new.data_dir, &catalogs.heaps, jobs, cancel)?;
        let tables = counted(mended.relations, "table");
        Ok(format!("horizons of {tables} moved"))
    }

    /// Newer horizons are true of old as well; what must hold again is that every row is
    /// frozen, because the next cutover replaces new's transaction status.
    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        cx.stop_new_server()?;
        if cx.discarding {
            return transaction_state::forget(cx);
        }
        make_independent(cx)
    }
}
