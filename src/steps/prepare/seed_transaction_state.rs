//! New gets old's counters before anything is restored into it.
//!
//! The dump writes old's horizons into new's catalogs. If new's own XIDs were still young,
//! those horizons could lie in its future, and its server would judge them wrongly. With old's
//! counters, the restore runs as it would in old.

use serde_json::Value;

use crate::error::Result;
use crate::schema;
use crate::steps::transaction_state::{self, Status, Used};
use crate::steps::{Context, Phase, Step};

pub(super) struct SeedTransactionState;

impl Step for SeedTransactionState {
    fn name(&self) -> &'static str {
        "seed-transaction-state"
    }

    fn phase(&self) -> Phase {
        Phase::Prepare
    }

    fn kept_when_reopened(&self) -> bool {
        true
    }

    /// What initdb left unfrozen depends on the status that is about to be replaced.
    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        let (jobs, cancel) = (cx.plan.jobs, cx.cancel);
        let server = cx.new_server(false)?;
        let databases = ["template1".to_owned(), "postgres".to_owned()];
        let catalogs = schema::freeze(server, &databases, jobs, cancel)?;
        cx.stop_new_server()?;
        schema::scan(&cx.plan.new.data_dir, &catalogs.heaps, jobs, cancel)?;
        let status = match cx.settle_old()? {
            true => Status::Blank,
            false => Status::OfOld,
        };
        transaction_state::carry(cx, Used::ByInitdb, status, "pg_resetwal-seed.log")?;
        let control = cx.new_control()?;
        let next = (control.next_xid.xid(), control.next_multi);
        schema::begin_horizons(cx.new_server(false)?, next, cancel)?;
        Ok(format!("next XID {}", next.0))
    }

    /// Everything it changed lies in new, which is discarded as a whole.
    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        cx.stop_new_server()
    }
}
