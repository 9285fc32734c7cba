//! Old's catalog as it is at the end; drift ends the cutover here, before anything is down.

use serde_json::Value;

use super::drift::{drift, drifted};
use super::{Context, Phase, Step};
use crate::catalog;
use crate::error::{Code, Error, Remedy, Result};
use crate::pg::ControlFile;

pub(super) struct ReadFinalCatalog;

impl Step for ReadFinalCatalog {
    fn name(&self) -> &'static str {
        "read-final-catalog"
    }

    fn phase(&self) -> Phase {
        Phase::Cutover
    }

    /// An old cluster whose control file is what it was has not been started, so its catalog
    /// is the one that was dumped. Otherwise it is started privately once more and read.
    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        let control = cx.old_control()?;
        if !control.cleanly_shut_down() {
            return Err(Error::new(
                Code::NotShutDown,
                "the old cluster was not shut down cleanly",
            )
            .fact("data directory", cx.plan.old.data_dir.display()));
        }
        is_the_cluster_prepared(cx, &control)?;
        if !cx.old_was_started()? {
            return Ok("old was not started since prepare".to_owned());
        }
        let (jobs, cancel) = (cx.plan.jobs, cx.cancel);
        let state = cx.state.clone();
        let server = cx.old_server()?;
        let snapshot = catalog::read(server, jobs, cancel)?;
        let now = catalog::fingerprint(server, &snapshot.connectable(), jobs, cancel)?;
        let changes = drift(&state, &now, server, jobs, cancel)?;
        cx.stop_old_server()?;
        if let Some(error) = drifted(&changes) {
            return Err(error);
        }
        cx.save_old_snapshot(&snapshot)?;
        cx.remember_old_control()?;
        Ok("old was started since prepare; its schema is the same".to_owned())
    }

    /// What was read stays true as long as nobody starts old, and then it is read again.
    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        cx.stop_old_server()
    }
}

/// Another cluster may lie at old's place, or an earlier state of the same one, or its format
/// may have been changed by pg_checksums: none of them shows in a schema.
fn is_the_cluster_prepared(cx: &Context<'_>, control: &ControlFile) -> Result<()> {
    let prepared = cx.plan.old.system_identifier;
    let mut differences: Vec<(&str, String, String)> = Vec::new();
    if control.system_identifier != prepared {
        let now = control.system_identifier.to_string();
        differences.push(("Database system identifier", now, prepared.to_string()));
    }
    differences.extend(control.format_differences(&cx.new_control()?));
    if !differences.is_empty() {
        let message = "the old cluster is not the one that was prepared";
        return Err(prepare_again(message, differences));
    }
    let back = control.not_after(&cx.remembered_old_control()?);
    if !back.is_empty() {
        let message = "the old cluster is an earlier state of the one that was prepared, or goes \
                       on from one, as after a restore from a backup";
        return Err(prepare_again(message, back));
    }
    Ok(())
}

fn prepare_again(message: &str, differences: Vec<(&str, String, String)>) -> Error {
    let error = Error::new(Code::Drift, message);
    differences
        .into_iter()
        .fold(error, |error, (name, now, prepared)| {
            error.fact(name, format!("{now} now, {prepared} when prepared"))
        })
        .remedy(Remedy::manual("roll back and prepare again"))
}
