//! Nothing changed between the reading of old's catalog and its being held.

use serde_json::Value;

use super::read_final_catalog::read_privately;
use crate::catalog::Mark;
use crate::error::{Code, Error, Remedy, Result};
use crate::pg::amount::size;
use crate::steps::context::CONTROL;
use crate::steps::drift::is_the_cluster_prepared;
use crate::steps::{Context, Phase, Step};
use crate::verify::{self, Since, Wal};

/// How many reasons for another reading, or catalogs, are told.
const NAMED: usize = 3;

pub(super) struct ConfirmCatalog;

impl Step for ConfirmCatalog {
    fn name(&self) -> &'static str {
        "confirm-catalog"
    }

    fn phase(&self) -> Phase {
        Phase::Cutover
    }

    /// An old cluster that was down when it was read is known by its control file. One that was
    /// in use is known by its pages, and by the WAL where some are newer; where a doubt is left it
    /// is read once more, privately.
    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        let said = match cx.mark()? {
            None => {
                not_started(cx)?;
                "nothing changed".to_owned()
            }
            Some(mark) => confirm(cx, &mark)?,
        };
        no_prepared_transactions(cx)?;
        Ok(said)
    }

    /// Nobody held old between the death of the process that looked and now. Where it has been
    /// retired, nobody could have started it.
    fn renew(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        // By copy, old may be started when new is released: from then on it is a fork.
        if !cx.new_is_released()? && cx.old_area()?.path(CONTROL)?.exists() {
            not_started(cx)?;
        }
        Ok(())
    }

    /// A private server may still run where reading by it failed.
    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        cx.stop_old_server()
    }
}

fn confirm(cx: &mut Context<'_>, mark: &Mark) -> Result<String> {
    let data_dir = cx.plan.old.data_dir.clone();
    let seen = cx.look_at_old_control()?;
    is_the_cluster_prepared(cx, &seen.control)?;
    is_later(cx, mark)?;
    no_prepared_transactions(cx)?;
    let since = verify::since(&data_dir, mark, cx.plan.jobs, cx.cancel)?;
    if since.doubts.is_empty() {
        // As it was before its pages were read, so that a start in the meantime shows.
        cx.remember_old_control_as(&seen)?;
        not_started(cx)?;
        cx.forget_mark()?;
        return Ok(unchanged(&since));
    }
    // The file that keeps servers away would keep ours away.
    cx.let_go_of_old()?;
    read_privately(cx)?;
    cx.hold_old()?;
    not_started(cx)?;
    if !cx.old_control()?.cleanly_shut_down() {
        return Err(cx.not_shut_down());
    }
    cx.forget_mark()?;
    let silent = match &since.wal {
        Wal::Silent(why) => format!(", and the WAL does not tell how ({why})"),
        _ => String::new(),
    };
    Ok(format!(
        "read again by a private server, because {}{silent}; the schema is the same",
        named(&since.doubts)
    ))
}

fn unchanged(since: &Since) -> String {
    let said = format!("nothing changed in {} pages of catalogs", since.pages);
    match &since.wal {
        Wal::Explains { catalogs, bytes } => format!(
            "{said}; what is newer in {} is statistics, cleaning or freezing (WAL read: {})",
            named(catalogs),
            size(*bytes)
        ),
        _ => said,
    }
}

fn named(all: &[String]) -> String {
    let first = all[..all.len().min(NAMED)].join(", ");
    match all.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// What was shut down must be what was read, gone on from there.
fn is_later(cx: &Context<'_>, mark: &Mark) -> Result<()> {
    let control = cx.old_control()?;
    if !control.cleanly_shut_down() {
        return Err(cx.not_shut_down());
    }
    if control.next_xid > mark.xid && control.checkpoint_lsn > mark.begin {
        return Ok(());
    }
    Err(Error::new(
        Code::OldChanged,
        "the old cluster went back to an earlier state after its catalog had been read",
    )
    .fact(
        "next XID now and then",
        format!("{}, {}", control.next_xid, mark.xid),
    )
    .fact(
        "WAL position now and then",
        format!("{}, {}", control.checkpoint_lsn, mark.begin),
    ))
}

fn no_prepared_transactions(cx: &Context<'_>) -> Result<()> {
    let prepared = cx.plan.old.data_dir.join("pg_twophase");
    let left = std::fs::read_dir(&prepared)
        .map_err(|e| Error::io(Code::NotReadable, "list", &prepared, &e))?
        .count();
    if left == 0 {
        return Ok(());
    }
    Err(Error::new(
        Code::Blocked,
        "the old cluster holds prepared transactions",
    )
    .fact("prepared transactions", left)
    .remedy(Remedy::manual(
        "commit or roll back what pg_prepared_xacts lists in old, and run the cutover again",
    )))
}

fn not_started(cx: &Context<'_>) -> Result<()> {
    if !cx.old_was_started()? {
        return Ok(());
    }
    Err(Error::new(
        Code::OldChanged,
        "the old cluster was started after its catalog had been read",
    )
    .fact("data directory", cx.plan.old.data_dir.display())
    .remedy(Context::started_meanwhile_remedy()))
}
