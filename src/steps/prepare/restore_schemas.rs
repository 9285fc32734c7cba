//! Every database is made in new, with everything in it but the rows.

use serde_json::{Value, json};

use crate::error::{Code, Error, Result};
use crate::pg::amount::counted;
use crate::schema::Restore;
use crate::steps::{Context, Phase, Step, renewal};

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
        let (installation, files, logs) = (cx.new_installation(), cx.dump_files(), cx.logs());
        let area = crate::disk::Area::new(&cx.state.root().join("dump"))?;
        let (cancel, jobs) = (cx.cancel, cx.plan.jobs);
        let progress = cx.progress(NAME, "objects");
        let new = cx.new_server(false)?;
        Restore {
            new,
            installation: &installation,
            files: &files,
            area: &area,
            logs: &logs,
            jobs,
            cancel,
            only: only.as_deref(),
        }
        .run(&snapshot, &progress)?;
        if let Some(only) = only {
            renewal::forget(&cx.state)?;
            return Ok(renewal::told(&only, snapshot.connectable().len()));
        }
        let tables: u64 = snapshot
            .databases
            .iter()
            .map(|database| database.tables)
            .sum();
        Ok(counted(tables, "table"))
    }

    /// Everything it made lies in new, which is discarded as a whole.
    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        cx.stop_new_server()
    }
}
