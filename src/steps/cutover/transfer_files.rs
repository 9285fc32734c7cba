//! What is left of old's relation files gets its place in new.

use std::sync::Arc;

use serde_json::Value;

use crate::error::Result;
use crate::pg::amount::{count, counted, size};
use crate::plan::Mode;
use crate::steps::{Context, Phase, Step, first_copies};
use crate::transfer::first_copies::Passed;
use crate::transfer::{self, Moved};

const NAME: &str = "transfer-files";

pub(super) struct TransferFiles;

impl Step for TransferFiles {
    fn name(&self) -> &'static str {
        NAME
    }

    fn phase(&self) -> Phase {
        Phase::Cutover
    }

    /// Names of prepare, by link, are compared with what old has now, and first copies with what
    /// may have changed of it since; both are mended.
    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        cx.keep_hold_of_old()?;
        let map = cx.file_map()?;
        let work = cx.work(NAME);
        match cx.plan.mode {
            Mode::Link => {
                let mended = transfer::link(&map, &work)?;
                let moved = transfer::sum(&mended);
                cx.mended = Some(mended);
                let kept = counted(moved.kept, "file");
                Ok(match moved.files {
                    0 => format!("{kept} linked by prepare, nothing to mend"),
                    some => format!("{kept} linked by prepare, {} mended", count(some)),
                })
            }
            // Only there are pages given checksums.
            Mode::Copy if cx.plan.checksums.is_some() || first_copies::are_kept(cx)? => {
                let (done, silent) = first_copies::at_rest(cx, NAME)?;
                if let Some(why) = silent {
                    cx.note(format!(
                        "old's WAL does not tell what was changed in its files, so they were read \
                         whole: {why}"
                    ));
                }
                Ok(told(&done))
            }
            Mode::Copy => Ok(said(Mode::Copy, transfer::copy(&map, &work)?)),
            Mode::Clone => Ok(said(Mode::Clone, transfer::clone(&map, &work)?)),
            Mode::CopyFileRange => {
                let moved = transfer::copy_file_range(&map, &work)?;
                Ok(said(Mode::CopyFileRange, moved))
            }
            Mode::Swap => {
                let moves = match cx.swap_list_if_any()? {
                    Some(known) => known,
                    None => {
                        let moves = Arc::new(transfer::moves(&map, &work)?);
                        cx.save_swap_list(&moves)?;
                        moves
                    }
                };
                let moved = transfer::swap(&moves, &work)?;
                Ok(format!(
                    "{} moved",
                    counted(moved.files + moved.kept, "file")
                ))
            }
            Mode::Auto => {
                let plan = cx.plan;
                let (to_clone, to_copy) =
                    map.divide(|folder| plan.mode_of(&folder.old_dir) == Mode::Clone);
                let cloned = said(Mode::Clone, transfer::clone(&to_clone, &work)?);
                let copied = said(Mode::Copy, transfer::copy(&to_copy, &work)?);
                Ok(format!("{cloned}; {copied}"))
            }
        }
    }

    /// First copies and links are mended by the next cutover and removed with new; what was moved
    /// is moved back. Copies of which nothing was written down go, to be made again from what old
    /// has by then.
    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        match cx.plan.mode {
            Mode::Copy if cx.discarding || first_copies::are_kept(cx)? => Ok(()),
            Mode::Link => Ok(()),
            // Before anything of new is removed.
            Mode::Swap => move_back(cx),
            _ if cx.discarding => Ok(()),
            Mode::Copy | Mode::Clone | Mode::CopyFileRange | Mode::Auto => {
                let map = cx.places_in_new()?;
                transfer::remove(&map, &cx.work(NAME)).map(|_| ())
            }
        }
    }
}

/// Every file of the list is in old again, or that is an error. Without a list nothing was moved;
/// but where new has files all the same, it is looked whether old has them too.
fn move_back(cx: &Context<'_>) -> Result<()> {
    cx.nobody_serves_old()?;
    let work = cx.work(NAME);
    match cx.swap_list_if_any()? {
        Some(moves) => {
            transfer::swap_back(&moves, &work)?;
            cx.forget_swap_list()
        }
        None if transfer::has_any(&cx.places_in_new()?)? => {
            transfer::nothing_moved(&*cx.file_map()?)
        }
        // Writing it may have been what failed.
        None => cx.forget_swap_list(),
    }
}

fn said(mode: Mode, moved: Moved) -> String {
    let (files, bytes) = (counted(moved.files, "file"), size(moved.bytes));
    format!("{files}, {bytes} {}", mode.done())
}

fn told(done: &Passed) -> String {
    let kept = counted(done.kept, "file");
    let again = match done.named {
        0 => "read again".to_owned(),
        named => format!(
            "read again, {} where {} of WAL name them",
            count(named),
            size(done.wal)
        ),
    };
    match done.files {
        0 => format!("{kept} copied before, nothing else changed since"),
        all if done.kept == 0 && done.written == done.read => {
            format!("{}, {} copied", counted(all, "file"), size(done.written))
        }
        some => format!(
            "{kept} copied before and unchanged, {} {again}, {} of {} written",
            count(some),
            size(done.written),
            size(done.read)
        ),
    }
}
