//! Old's catalog as it is at the end; drift ends the cutover here, before anything is down.

use std::time::Duration;

use serde_json::Value;

use crate::catalog;
use crate::error::Result;
use crate::pg::amount::counted;
use crate::plan::Mode;
use crate::server::Running;
use crate::steps::drift::{demand_kept, drift, drifted, is_the_cluster_prepared, read_and_compare};
use crate::steps::{Context, Phase, Step, first_copies, large_objects};
use crate::transfer;

/// How long transactions that write may keep the reading waiting. One that is still open then
/// costs a private start only if it commits before the stop.
const PATIENCE: Duration = Duration::from_secs(10);

const NAME: &str = "read-final-catalog";

pub(super) struct ReadFinalCatalog;

impl Step for ReadFinalCatalog {
    fn name(&self) -> &'static str {
        NAME
    }

    fn phase(&self) -> Phase {
        Phase::Cutover
    }

    /// Beside a server in use, or from files: an old cluster whose control file is what it was
    /// has not been started, so its catalog is the one that was dumped. Otherwise it is started
    /// privately once more and read.
    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        let control = cx.old_control()?;
        is_the_cluster_prepared(cx, &control)?;
        cx.forget_mark()?;
        if let Some(running) = cx.old_is_serving()? {
            return read_in_use(cx, &running);
        }
        if !control.cleanly_shut_down() {
            return Err(cx.not_shut_down());
        }
        if !cx.old_was_started()? {
            return Ok("old was not started since prepare".to_owned());
        }
        read_privately(cx)?;
        Ok("old was started since prepare; its schema is the same".to_owned())
    }

    /// What was read stays true as long as nobody starts old, and then it is read again.
    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        cx.forget_mark()?;
        cx.stop_old_server()
    }
}

/// What is read here is confirmed, or read again, when old is down. Whatever is asked after the
/// mark was taken is covered by it.
fn read_in_use(cx: &mut Context<'_>, running: &Running) -> Result<String> {
    demand_kept(cx.plan, &cx.state)?;
    // By far the most of it, before the position behind which everything is looked at later.
    let mut witness = None;
    if cx.plan.mode == Mode::Copy {
        cx.settle_old()?;
        first_copies::beside(cx, NAME)?;
        witness = Some(first_copies::call_witness(cx)?);
    }
    let (jobs, cancel) = (cx.plan.jobs, cx.cancel);
    let server = &running.endpoint;
    let reading = catalog::read_in_use(server, PATIENCE, jobs, cancel)?;
    let changes = drift(cx.plan, &cx.state, &reading.fingerprint, server, cancel)?;
    if let Some(error) = drifted(&changes, cx.plan) {
        return Err(error);
    }
    large_objects::keep(&cx.state, &reading.snapshot, server)?;
    for unread in &reading.unread {
        cx.warn(format!(
            "logical replication slot {} is {} behind: what its consumer has not read when old \
             stops, it can read from the old cluster only",
            unread.slot,
            counted(unread.bytes, "byte")
        ));
    }
    cx.save_paired_snapshot(&reading.snapshot)?;
    cx.save_mark(&reading.mark)?;
    match witness {
        Some(witness) => first_copies::beside_a_witness(cx, NAME, witness)?,
        None => link_beside(cx)?,
    }
    let relations: usize = reading
        .snapshot
        .databases
        .iter()
        .map(|database| database.relations.len())
        .sum();
    let said = format!("{relations} relations; the schema is the same");
    Ok(match reading.mark.open.len() {
        0 => said,
        open => format!("{said}; {open} transactions are still open"),
    })
}

/// Most of what prepare's links lack by now can be mended while old serves; and both directories
/// are in memory when they are listed again.
fn link_beside(cx: &Context<'_>) -> Result<()> {
    match cx.plan.mode {
        Mode::Link => transfer::link_beside(&*cx.file_map()?, &cx.work(NAME)).map(|_| ()),
        _ => Ok(()),
    }
}

/// Reads an old cluster that is down, by a private server; drift is an error.
pub(super) fn read_privately(cx: &mut Context<'_>) -> Result<()> {
    let (plan, cancel) = (cx.plan, cx.cancel);
    let state = cx.state.clone();
    let server = cx.old_server()?;
    let (snapshot, changes) = read_and_compare(plan, &state, server, cancel)?;
    large_objects::keep(&state, &snapshot, server)?;
    cx.stop_old_server()?;
    if let Some(error) = drifted(&changes, cx.plan) {
        return Err(error);
    }
    cx.save_paired_snapshot(&snapshot)?;
    cx.remember_old_control()
}
