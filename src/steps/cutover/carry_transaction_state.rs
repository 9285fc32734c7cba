//! Old's final counters and transaction status replace new's.

use serde_json::Value;

use crate::error::Result;
use crate::steps::transaction_state::{self, Status, Used};
use crate::steps::{Context, Phase, Step};

pub(super) struct CarryTransactionState;

impl Step for CarryTransactionState {
    fn name(&self) -> &'static str {
        "carry-transaction-state"
    }

    fn phase(&self) -> Phase {
        Phase::Cutover
    }

    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        transaction_state::keep(cx)?;
        match transaction_state::is_carried(cx)? {
            // It may have been interrupted when nothing but tidying up was left to do.
            true => transaction_state::tidy_up(cx)?,
            false => {
                transaction_state::carry(cx, Used::AfterOld, Status::OfOld, "pg_resetwal.log")?;
            }
        }
        let new = cx.new_control()?;
        Ok(format!(
            "next XID {}, WAL from {}",
            new.next_xid.xid(),
            new.checkpoint_lsn
        ))
    }

    /// The next cutover may have to start new once more, and so its control file, its WAL and
    /// its status must be of one moment again.
    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        if cx.discarding {
            transaction_state::forget(cx)
        } else {
            transaction_state::give_back(cx)
        }
    }
}
