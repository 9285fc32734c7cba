//! New's catalogs depend on no transaction status but that of their horizons.
//!
//! What replaces new's status, or changes its catalogs after they were frozen, begins and ends
//! with this.

use super::Context;
use super::transaction_state;
use crate::error::Result;
use crate::schema;

/// Makes every row of new's catalogs independent of its transaction status again, whatever an
/// interrupted run has left.
pub(super) fn make_independent(cx: &mut Context<'_>) -> Result<()> {
    // The server of an undoing that was killed had it in place.
    cx.put_control_aside()?;
    settle(cx)?;
    let catalogs = cx.new_catalogs()?;
    // Files of a server that crashed are not yet what its WAL says.
    if cx.new_control()?.cleanly_shut_down()
        && schema::scan(
            &cx.plan.new.data_dir,
            &catalogs.heaps,
            cx.plan.jobs,
            cx.cancel,
        )
        .is_ok()
    {
        return Ok(());
    }
    freeze_and_prove(cx)
}

/// Status that was half replaced is put back; what was replaced as a whole may have been
/// written to since.
pub(super) fn settle(cx: &Context<'_>) -> Result<()> {
    if transaction_state::is_carried(cx)? {
        transaction_state::forget(cx)
    } else {
        transaction_state::give_back(cx)
    }
}

/// Freezes every row of new's catalogs, and shows it by reading the files.
pub(super) fn freeze_and_prove(cx: &mut Context<'_>) -> Result<()> {
    let databases = cx.old_snapshot()?.connectable();
    let (jobs, cancel) = (cx.plan.jobs, cx.cancel);
    let catalogs = schema::freeze(cx.new_server(true)?, &databases, jobs, cancel)?;
    cx.stop_new_server()?;
    cx.save_new_catalogs(&catalogs)?;
    schema::scan(&cx.plan.new.data_dir, &catalogs.heaps, jobs, cancel).map(|_| ())
}
