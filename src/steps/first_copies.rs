//! First copies, as steps of both phases make and mend them.

use super::Context;
use crate::error::Result;
use crate::transfer::first_copies::{self, Ledger, Passed, Witness};

/// Copies beside a server that may be writing; gives what was done, and what the last pass had
/// to do.
pub(super) fn beside(cx: &mut Context<'_>, step: &'static str) -> Result<(Passed, Passed)> {
    with_ledger(cx, |cx, ledger| {
        let rate = cx.plan.max_rate;
        first_copies::beside(&*cx.file_map()?, &cx.work(step), rate, ledger)
    })
}

/// Has old begin a WAL that tells what is changed from now on, before its relations are listed;
/// a clause where its WAL does not tell that.
pub(super) fn call_witness(cx: &mut Context<'_>) -> Result<std::result::Result<Witness, String>> {
    let call = |cx: &Context<'_>| Witness::call(&cx.plan.old.data_dir, &cx.plan.old.version);
    match call(cx)? {
        Ok(_) if !cx.old_runs_its_programs()? => Ok(Err(
            "the server is of another release than its programs".to_owned(),
        )),
        Ok(_) => {
            cx.settle_old()?;
            call(cx)
        }
        why => Ok(why),
    }
}

/// Copies beside a server once more, and keeps the witness for what is changed after that.
pub(super) fn beside_a_witness(
    cx: &mut Context<'_>,
    step: &'static str,
    witness: std::result::Result<Witness, String>,
) -> Result<()> {
    with_ledger(cx, |cx, ledger| {
        let (rate, map) = (cx.plan.max_rate, cx.file_map()?);
        first_copies::beside_a_witness(&map, &cx.work(step), rate, ledger, witness).map(|_| ())
    })
}

/// Keeps what WAL there is, right before the stop may remove it.
pub(super) fn hold_wal(cx: &mut Context<'_>) {
    if let Some(ledger) = &mut cx.copies {
        ledger.hold();
    }
}

/// Makes the copies what the files of old are, which is down; with a clause where old's WAL did
/// not tell what was changed.
pub(super) fn at_rest(
    cx: &mut Context<'_>,
    step: &'static str,
) -> Result<(Passed, Option<String>)> {
    with_ledger(cx, |cx, ledger| {
        first_copies::at_rest(&*cx.file_map()?, &cx.work(step), ledger)
    })
}

/// Whether copies were made before.
pub(super) fn are_kept(cx: &Context<'_>) -> Result<bool> {
    Ok(cx.copies.is_some() || Ledger::exists(&cx.state)?)
}

/// From now on copies that are there are nobody's.
pub(super) fn forget(cx: &mut Context<'_>) -> Result<()> {
    cx.copies = None;
    Ledger::forget(&cx.state)
}

impl Context<'_> {
    /// Where copies were made before: how many bytes the last look at all files had to read.
    pub fn read_for_copies(&mut self) -> Option<u64> {
        if !are_kept(self).ok()? {
            return None;
        }
        let read = with_ledger(self, |_, ledger| {
            Ok(ledger.last().map_or(0, |last| last.read))
        });
        read.ok()
    }
}

/// After a failure the ledger is read anew: nobody knows what is in it.
fn with_ledger<T>(
    cx: &mut Context<'_>,
    work: impl FnOnce(&Context<'_>, &mut Ledger) -> Result<T>,
) -> Result<T> {
    let mut ledger = match cx.copies.take() {
        Some(ledger) => ledger,
        None => Ledger::open(&cx.state)?,
    };
    let done = work(cx, &mut ledger)?;
    cx.copies = Some(ledger);
    Ok(done)
}
