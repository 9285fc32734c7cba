//! Roles and tablespaces are made in new.

use serde_json::{Value, json};

use super::dump_old_schema::EVERYBODY;
use crate::disk::Area;
use crate::error::{Code, Error, Remedy, Result};
use crate::pg::amount::counted;
use crate::pg::quote::shell_path;
use crate::schema;
use crate::steps::{Context, Phase, Step};

pub(super) struct RestoreGlobals;

impl Step for RestoreGlobals {
    fn name(&self) -> &'static str {
        "restore-globals"
    }

    fn phase(&self) -> Phase {
        Phase::Prepare
    }

    fn kept_when_reopened(&self) -> bool {
        true
    }

    /// CREATE TABLESPACE makes a folder of new's version in each location. Only a folder that
    /// was not there before may be removed on the way back. What is made in place goes with new.
    fn intent(&self, cx: &mut Context<'_>) -> Result<Value> {
        let version_dir = cx.new_version_dir()?;
        let mut locations = Vec::new();
        let all = &cx.plan.old.tablespaces;
        for place in all.iter().filter(|place| !place.in_place) {
            let folder = place.location.join(&version_dir);
            if folder.symlink_metadata().is_ok() {
                return Err(Error::new(
                    Code::NewNotFresh,
                    "a tablespace already holds a folder of the new version",
                )
                .fact("folder", folder.display())
                .remedy(Remedy::command(format!("rm -r {}", shell_path(&folder)))));
            }
            locations.push(place.location.clone());
        }
        Ok(json!({ "v": 1, "version_dir": version_dir, "locations": locations }))
    }

    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        let (installation, files, logs) = (cx.new_installation(), cx.dump_files(), cx.logs());
        let (cancel, sink) = (cx.cancel, cx.sink);
        let server = cx.new_server(false)?;
        schema::restore_globals(server, &installation, &files, &logs, cancel)
            .map_err(|unrestored| unrestored.tell(sink))?;
        let everybody: Vec<String> = cx.load(EVERYBODY)?;
        for refused in schema::set_for_everybody(cx.new_server(false)?, &everybody)? {
            cx.warn(format!(
                "ALTER ROLE ALL SET {}: new does not take it and works without: {}",
                refused.setting, refused.reason
            ));
        }
        let tablespaces = match cx.plan.old.tablespaces.len() {
            0 => "no tablespaces".to_owned(),
            some => counted(some as u64, "tablespace"),
        };
        Ok(format!("roles and their settings, {tablespaces}"))
    }

    fn undo(&self, cx: &mut Context<'_>, intent: &Value) -> Result<()> {
        cx.stop_new_server()?;
        let damaged = |e: serde_json::Error| {
            Error::new(
                Code::JournalDamaged,
                "the intent of restore-globals cannot be read",
            )
            .caused_by(&e)
        };
        let locations: Vec<std::path::PathBuf> =
            serde_json::from_value(intent["locations"].clone()).map_err(damaged)?;
        let version_dir: String =
            serde_json::from_value(intent["version_dir"].clone()).map_err(damaged)?;
        for location in locations {
            Area::new(&location)?.remove_tree(&version_dir)?;
        }
        Ok(())
    }
}
