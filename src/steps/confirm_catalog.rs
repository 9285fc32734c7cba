//! Nothing changed between the reading of old's catalog and its being held.

use serde_json::Value;

use super::context::CONTROL;
use super::{Context, Phase, Step};
use crate::error::{Code, Error, Remedy, Result};

pub(super) struct ConfirmCatalog;

impl Step for ConfirmCatalog {
    fn name(&self) -> &'static str {
        "confirm-catalog"
    }

    fn phase(&self) -> Phase {
        Phase::Cutover
    }

    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        not_started(cx)?;
        let prepared = cx.plan.old.data_dir.join("pg_twophase");
        let left = std::fs::read_dir(&prepared)
            .map_err(|e| Error::io(Code::NotReadable, "list", &prepared, &e))?
            .count();
        if left > 0 {
            return Err(Error::new(
                Code::Blocked,
                "the old cluster holds prepared transactions",
            )
            .fact("prepared transactions", left)
            .remedy(Remedy::manual(
                "start old, commit or roll back what pg_prepared_xacts lists, stop it, and run \
                 the cutover again",
            )));
        }
        Ok("nothing changed".to_owned())
    }

    /// Nobody held old between the death of the process that looked and now. Where it has been
    /// retired, nobody could have started it.
    fn renew(&self, cx: &mut Context<'_>) -> Result<()> {
        if cx.old_area()?.path(CONTROL)?.exists() {
            not_started(cx)?;
        }
        Ok(())
    }

    /// It only looked.
    fn undo(&self, _cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        Ok(())
    }
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
    .remedy(Remedy::manual(
        "find out who started it, stop it, and run the cutover again: it reads the catalog anew",
    )))
}
