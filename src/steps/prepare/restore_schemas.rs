//! Every database is made in new, with everything in it but the rows.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::reopen_new_cluster::drop_database;
use crate::catalog::{Database, Parts, RelKind, Snapshot};
use crate::disk::Area;
use crate::error::{Code, Error, Result};
use crate::event::{EventKind, Level};
use crate::pg::amount::counted;
use crate::pg::page;
use crate::schema::{Repaired, Restore};
use crate::steps::renewal::{self, Renewal};
use crate::steps::{Context, Phase, Step, large_objects};
use crate::transfer;

const NAME: &str = "restore-schemas";

pub(super) struct RestoreSchemas;

impl Step for RestoreSchemas {
    fn name(&self) -> &'static str {
        NAME
    }

    fn phase(&self) -> Phase {
        Phase::Prepare
    }

    /// The databases that are restored, where the others are kept.
    fn intent(&self, cx: &mut Context<'_>) -> Result<Value> {
        let renewal = renewal::decided(&cx.state)?;
        Ok(json!({ "v": 1, "only": renewal.map(|renewal| renewal.restored) }))
    }

    fn apply(&self, cx: &mut Context<'_>, intent: &Value) -> Result<String> {
        let only: Option<Vec<String>> =
            serde_json::from_value(intent["only"].clone()).map_err(|e| {
                Error::new(
                    Code::JournalDamaged,
                    "the intent of restore-schemas cannot be read",
                )
                .caused_by(&e)
            })?;
        let snapshot = cx.old_snapshot()?;
        let Some(only) = only else {
            restore(cx, &snapshot, None)?;
            let databases = snapshot.databases.iter();
            let tables: u64 = databases.map(|database| database.tables).sum();
            return Ok(counted(tables, "table"));
        };
        let mut renewal = renewal::decided(&cx.state)?
            .filter(|renewal| renewal.restored == only)
            .ok_or_else(|| Error::new(Code::Internal, "another renewal was decided"))?;
        repair(cx, &snapshot, &mut renewal)?;
        restore(cx, &snapshot, Some(&renewal.wholly()))?;
        renewal::forget(&cx.state)?;
        Ok(renewal.told(snapshot.connectable().len()))
    }

    /// Everything it made lies in new, which is discarded as a whole.
    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        cx.stop_new_server()
    }
}

/// Restores every database, or those that are named.
fn restore(cx: &mut Context<'_>, snapshot: &Snapshot, only: Option<&[String]>) -> Result<()> {
    let (progress, sink) = (cx.progress(NAME, "objects"), cx.sink);
    let note = |text: &str| {
        sink.emit(EventKind::Message {
            level: Level::Note,
            text: text.to_owned(),
        });
    };
    with_restore(cx, only, |restore| {
        let restored = restore.run(snapshot, &progress, &note);
        restored.map_err(|unrestored| unrestored.tell(sink))
    })
}

fn with_restore<T>(
    cx: &mut Context<'_>,
    only: Option<&[String]>,
    work: impl FnOnce(&Restore<'_>) -> Result<T>,
) -> Result<T> {
    let (installation, files, logs) = (cx.new_installation(), cx.dump_files(), cx.logs());
    let area = Area::new(&cx.state.root().join("dump"))?;
    let (cancel, jobs) = (cx.cancel, cx.plan.jobs);
    work(&Restore {
        new: cx.new_server(false)?,
        installation: &installation,
        files: &files,
        area: &area,
        logs: &logs,
        jobs,
        cancel,
        only,
    })
}

/// Does the parts of databases that are kept; one for which that is not enough is dropped, to be
/// restored with those that are restored as a whole.
fn repair(cx: &mut Context<'_>, snapshot: &Snapshot, renewal: &mut Renewal) -> Result<()> {
    if renewal.parts.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = renewal.parts.keys().cloned().collect();
    for name in names {
        let Some(database) = snapshot.database(&name) else {
            return Err(Error::new(
                Code::Internal,
                "a database to repair is not there",
            ));
        };
        let parts = &renewal.parts[&name];
        stand_in(cx, database, parts)?;
        let Repaired::Spoilt(reason) =
            with_restore(cx, None, |restore| restore.repair(database, parts))?
        else {
            continue;
        };
        cx.warn(format!(
            "database {name} is restored as a whole, since its tables and indexes that came or \
             went cannot be done alone: {reason}"
        ));
        renewal.parts.remove(&name);
        drop_database(&mut cx.new_server(false)?.connect("template1")?, &name)?;
        let anew = BTreeSet::from([name.clone()]);
        large_objects::hold_anew(&cx.state, snapshot, &anew)?;
        cx.spoilt.insert(name);
    }
    Ok(())
}

/// Gives files to what the server will read. Where it checks a foreign key it plans with all
/// indexes of both tables; which ones those are is not known, so all get one.
fn stand_in(cx: &mut Context<'_>, database: &Database, parts: &Parts) -> Result<()> {
    let all = parts.have_foreign_keys();
    let read = with_restore(cx, None, |restore| restore.tables_read(database, parts))?;
    let tables = cx.some_places_in_new(&database.name, |relation| {
        matches!(relation.kind, RelKind::Table | RelKind::MaterializedView)
            && (all || read.contains(&relation.oid))
    })?;
    transfer::stand_in(&tables, &[], &cx.work(NAME))?;
    if !all {
        return Ok(());
    }
    let indexes = cx.some_places_in_new(&database.name, |relation| {
        relation.kind == RelKind::Index && &*relation.access == "btree"
    })?;
    let page_size = u16::try_from(cx.new_control()?.block_size)
        .map_err(|e| Error::new(Code::Internal, "pages are too large").caused_by(&e))?;
    transfer::stand_in(&indexes, &page::empty_btree(page_size), &cx.work(NAME))
}
