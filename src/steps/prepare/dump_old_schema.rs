//! The schema of old is read: its catalog, its fingerprint, its dump.

use std::fmt::Write as _;

use serde_json::Value;

use crate::catalog::{self, Likeness, Portrait};
use crate::disk::unsynced;
use crate::error::Result;
use crate::pg::amount::counted;
use crate::schema::{self, Dump, Dumped};
use crate::steps::{Context, Phase, Step, large_objects, renewal};
use crate::work::both;

/// The fingerprint of old's catalogs at the time of the dump.
pub const FINGERPRINT: &str = "fingerprint.json";
/// The same, object by object.
pub const INVENTORY: &str = "inventory.json";
/// The settings of all roles together, which the dump does not hold.
pub(in crate::steps) const EVERYBODY: &str = "everybody.json";
/// The directory of the dump.
pub(in crate::steps) const DUMP: &str = "dump";

pub(in crate::steps) const NAME: &str = "dump-old-schema";

pub(super) struct DumpOldSchema;

impl Step for DumpOldSchema {
    fn name(&self) -> &'static str {
        NAME
    }

    fn phase(&self) -> Phase {
        Phase::Prepare
    }

    fn kept_when_reopened(&self) -> bool {
        true
    }

    /// What is kept is what the dump was made of: the catalog and its likeness at one moment.
    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        cx.state.create_dir(DUMP, 0o700)?;
        unsynced(&cx.state.path(DUMP)?);
        let (installation, files, logs) = (cx.new_installation(), cx.dump_files(), cx.logs());
        let (jobs, cancel) = (cx.plan.jobs, cx.cancel);
        let progress = cx.progress(NAME, "databases");
        let seen = cx.before_reading_old()?;
        let known = cx.take_portrait();
        let work = Dump {
            old: cx.old_server()?,
            new: &installation,
            files: &files,
            tablespaces: true,
            logs: &logs,
            jobs,
            cancel,
        };
        let (dumped, likeness) = if work.old.private {
            dump_private(&work, known, &progress)?
        } else {
            let known = schema::Known::default();
            let (dumped, likeness) = schema::dump_live(&work, &known, &progress)?;
            (dumped, Some(likeness))
        };
        let text = described(&dumped);
        let Dumped {
            snapshot,
            everybody,
            ..
        } = dumped;
        cx.save(EVERYBODY, &everybody)?;
        cx.save_old_snapshot(&snapshot)?;
        large_objects::hold(&cx.state, &snapshot)?;
        // The text of the inventory takes about as much memory.
        drop(snapshot);
        keep(cx, likeness)?;
        cx.stop_old_server()?;
        cx.remember_old_control_as(&cx.after_reading_old(seen)?)?;
        Ok(text)
    }

    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        cx.stop_old_server()?;
        renewal::forget(&cx.state)?;
        cx.state.remove_tree(DUMP)
    }
}

/// One of an earlier attempt must not pass for that of this dump.
fn keep(cx: &Context<'_>, likeness: Option<Likeness>) -> Result<()> {
    let Some(likeness) = likeness else {
        cx.state.remove_file(FINGERPRINT)?;
        return cx.state.remove_file(INVENTORY);
    };
    cx.save(FINGERPRINT, &likeness.fingerprint)?;
    cx.save(INVENTORY, &likeness.inventory)
}

/// The server is private, so nothing changes between the reading and the dump, nor while what is
/// left of the reading is done beside it.
fn dump_private(
    work: &Dump<'_>,
    known: Option<Portrait>,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<(Dumped, Option<Likeness>)> {
    let Portrait { snapshot, sketch } = match known {
        Some(portrait) => portrait,
        None => catalog::portray(work.old, work.jobs, work.cancel)?,
    };
    let everybody = schema::settings_of_everybody(&mut catalog::connect(work.old)?)?;
    let (likeness, ()) = both(
        || {
            // A single session more than the dumps have: max_connections may be small.
            let completed = sketch.map(|it| it.complete(work.old, &snapshot, 1, work.cancel));
            completed.transpose()
        },
        || schema::dump(work, &snapshot, progress),
    )?;
    let dumped = Dumped {
        written: snapshot.connectable().into_iter().collect(),
        snapshot,
        everybody,
        repeated: 0,
        gave_way: 0,
    };
    Ok((dumped, likeness))
}

fn described(dumped: &Dumped) -> String {
    let mut text = counted(dumped.snapshot.connectable().len() as u64, "database");
    if dumped.repeated > 0 {
        let _ = write!(
            text,
            "; changed meanwhile, read {} times",
            dumped.repeated + 1
        );
    }
    if dumped.gave_way > 0 {
        let _ = write!(
            text,
            "; gave way to locks of others {} times",
            dumped.gave_way
        );
    }
    text
}
