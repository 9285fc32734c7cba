//! New's empty files make room; by link old's take their place, by copy first copies of them.

use std::path::Path;

use serde_json::Value;

use crate::disk::{Area, FileSystem};
use crate::error::{Code, Error, Result};
use crate::pg::amount::{counted, size};
use crate::plan::Mode;
use crate::steps::{Context, Phase, Step, first_copies};
use crate::transfer;

const NAME: &str = "place-files";

pub(super) struct PlaceFiles;

impl Step for PlaceFiles {
    fn name(&self) -> &'static str {
        NAME
    }

    fn phase(&self) -> Phase {
        Phase::Prepare
    }

    /// The private servers ran without fsync, so everything they wrote is synced here, once,
    /// when the files that are not needed are gone.
    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        let map = cx.file_map()?;
        first_copies::forget(cx)?;
        let work = cx.work(NAME);
        transfer::remove(&map, &work)?;
        for place in cx.places_of_new()? {
            make_durable(&place, cx.plan.jobs)?;
        }
        match cx.plan.mode {
            Mode::Copy if cx.straight_on && cx.old_is_serving()?.is_none() => {
                Ok("made room; the cutover copies".to_owned())
            }
            Mode::Copy => {
                let (all, _) = first_copies::beside(cx, NAME)?;
                let (files, bytes) = (counted(all.files, "file"), size(all.written));
                Ok(format!("{files}, {bytes} copied"))
            }
            Mode::Clone | Mode::CopyFileRange | Mode::Swap | Mode::Auto => Ok(format!(
                "made room; the files are {} in the cutover",
                cx.plan.mode.done()
            )),
            Mode::Link => {
                let mended = match cx.old_is_serving()? {
                    Some(_) => transfer::link_beside(&map, &work)?,
                    None => transfer::link(&map, &work)?,
                };
                let moved = transfer::sum(&mended);
                let files = counted(moved.files + moved.kept, "file");
                Ok(format!("{files} linked"))
            }
        }
    }

    /// Second names go first of all, so that nothing that follows can touch a shared file.
    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        let base = cx.plan.new.data_dir.join("base");
        let there = base
            .try_exists()
            .map_err(|e| Error::io(Code::DiskOperation, "look at", &base, &e))?;
        first_copies::forget(cx)?;
        if there {
            let map = cx.places_in_new()?;
            transfer::remove(&map, &cx.work(NAME))?;
        }
        Ok(())
    }
}

fn make_durable(place: &Path, jobs: usize) -> Result<()> {
    let file_system = FileSystem::of(place)?;
    match file_system.tells() {
        true => file_system.sync(),
        false => {
            let area = Area::new(place)?;
            area.sync_tree("", jobs)?;
            area.sync_name()
        }
    }
}
