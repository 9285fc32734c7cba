//! New is opened for databases to be restored anew.
//!
//! No file of old has a name in new any more when this begins, so a server may drop databases.

use serde_json::Value;

use crate::error::{Code, Error, Result};
use crate::pg::amount::counted;
use crate::pg::quote;
use crate::server::Client;
use crate::steps::independence::make_independent;
use crate::steps::transaction_state::{self, Status, Used};
use crate::steps::{Context, Phase, Step, renewal};

pub(super) struct ReopenNewCluster;

/// Drops a database, if it is there, whatever it is.
pub(super) fn drop_database(client: &mut Client, name: &str) -> Result<u64> {
    let gone = client.execute(
        "UPDATE pg_catalog.pg_database SET datistemplate = false WHERE datname = $1",
        &[&name],
    )?;
    let name = quote::ident(name);
    client.run_script(&format!("DROP DATABASE IF EXISTS {name}"))?;
    Ok(gone)
}

impl Step for ReopenNewCluster {
    fn name(&self) -> &'static str {
        "reopen-new-cluster"
    }

    fn phase(&self) -> Phase {
        Phase::Prepare
    }

    fn needed(&self, cx: &Context<'_>) -> Result<bool> {
        Ok(renewal::decided(&cx.state)?.is_some())
    }

    /// The dump of now has old's horizons of now, which may lie beyond the counters new was
    /// prepared with. New's status is replaced with them, so every row is shown to be frozen
    /// before.
    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        let Some(renewal) = renewal::decided(&cx.state)? else {
            return Err(Error::new(Code::Internal, "nothing is to be restored anew"));
        };
        make_independent(cx)?;
        renewal::take_over(cx, &renewal)?;
        let status = match cx.settle_old()? {
            true => Status::Blank,
            false => Status::OfOld,
        };
        transaction_state::carry(cx, Used::AfterOld, status, "pg_resetwal-reopen.log")?;
        let mut client = cx.new_server(false)?.connect("template1")?;
        let mut gone = 0;
        for name in renewal.dropped.iter().chain(&renewal.wholly()) {
            // The restore makes these two anew by itself: one of them is needed for the other.
            if !["template1", "postgres"].contains(&name.as_str()) {
                gone += drop_database(&mut client, name)?;
            }
        }
        Ok(match gone {
            0 => "new runs again; no database was dropped".to_owned(),
            gone => format!("new runs again; {} dropped", counted(gone, "database")),
        })
    }

    /// Everything it changed lies in new, and what it began there is discarded as a whole or
    /// done again.
    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        cx.stop_new_server()
    }
}
