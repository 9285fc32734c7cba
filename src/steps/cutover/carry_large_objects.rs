//! Large objects made, changed or dropped in old since the dump become so in new.
//!
//! Applications make and drop them like rows, so they are no drift. What they contain comes with
//! the file of `pg_largeobject`; only what other catalogs say of them is written here, by a
//! private new server that may not yet be started otherwise.

use serde_json::Value;

use crate::error::Result;
use crate::pg::amount::counted;
use crate::schema;
use crate::steps::independence::make_independent;
use crate::steps::{Context, Phase, Step, large_objects};

pub(super) struct CarryLargeObjects;

impl Step for CarryLargeObjects {
    fn name(&self) -> &'static str {
        "carry-large-objects"
    }

    fn phase(&self) -> Phase {
        Phase::Cutover
    }

    fn needed(&self, cx: &Context<'_>) -> Result<bool> {
        large_objects::any_kept(&cx.state)
    }

    /// New still has the transaction status of its own making. Before that is replaced, every
    /// row written is frozen and proven to be; first those an interrupted run has left.
    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        make_independent(cx)?;
        let old = cx.old_snapshot()?;
        let state = cx.state.clone();
        let mut changed = 0;
        let server = cx.new_server(true)?;
        for database in large_objects::unknown(&state, &old)? {
            let wanted = large_objects::kept(&state, database)?;
            let mut client = server.connect(&database.name)?;
            changed += schema::carry_large_objects(&mut client, &wanted)?;
        }
        cx.stop_new_server()?;
        let catalogs = cx.new_catalogs()?;
        schema::scan(
            &cx.plan.new.data_dir,
            &catalogs.heaps,
            cx.plan.jobs,
            cx.cancel,
        )?;
        large_objects::hold(&state, &old)?;
        let objects = counted(changed as u64, "large object");
        Ok(format!("{objects} made, changed or dropped since prepare"))
    }

    /// What was carried does no harm, and the next cutover looks again; but every row must be
    /// frozen, because that cutover replaces new's transaction status.
    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        cx.stop_new_server()?;
        if cx.discarding {
            return Ok(());
        }
        make_independent(cx)
    }
}
