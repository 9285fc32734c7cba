//! The schema of old is read: its catalog, its fingerprint, its dump.

use serde_json::Value;

use super::{Context, Phase, Step};
use crate::catalog;
use crate::error::Result;
use crate::pg::amount::counted;
use crate::schema::{self, Dump};

/// The fingerprint of old's catalogs at the time of the dump.
pub const FINGERPRINT: &str = "fingerprint.json";
/// The same, object by object.
pub const INVENTORY: &str = "inventory.json";
/// The directory of the dump.
const DUMP: &str = "dump";

pub(super) struct DumpOldSchema;

impl Step for DumpOldSchema {
    fn name(&self) -> &'static str {
        "dump-old-schema"
    }

    fn phase(&self) -> Phase {
        Phase::Prepare
    }

    /// The server is private, so nothing can change between the fingerprint and the dump.
    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        cx.state.create_dir(DUMP, 0o700)?;
        let (jobs, cancel) = (cx.plan.jobs, cx.cancel);
        let (installation, files, logs) = (cx.new_installation(), cx.dump_files(), cx.logs());
        let sink = cx.sink;
        let server = cx.old_server()?;
        let snapshot = catalog::read(server, jobs, cancel)?;
        let databases = snapshot.connectable();
        let fingerprint = catalog::fingerprint(server, &databases, jobs, cancel)?;
        let inventory = catalog::inventory(server, &databases, jobs, cancel)?;
        let progress = |done, total| {
            sink.emit(crate::event::EventKind::Progress {
                step: "dump-old-schema".to_owned(),
                unit: "databases".to_owned(),
                done,
                total: Some(total),
            });
        };
        let work = Dump {
            old: server,
            new: &installation,
            files: &files,
            logs: &logs,
            jobs,
            cancel,
        };
        schema::dump(&work, &snapshot, &progress)?;
        cx.save_old_snapshot(&snapshot)?;
        cx.save(FINGERPRINT, &fingerprint)?;
        cx.save(INVENTORY, &inventory)?;
        cx.stop_old_server()?;
        cx.remember_old_control()?;
        Ok(counted(databases.len() as u64, "database"))
    }

    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        cx.stop_old_server()?;
        cx.state.remove_tree(DUMP)
    }
}
