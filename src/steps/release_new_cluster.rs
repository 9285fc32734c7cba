//! New gets its control file: from here on it may be started.

use serde_json::Value;

use super::context::{CONTROL, Context};
use super::{Phase, Step};
use crate::disk::Area;
use crate::error::{Code, Error, Result};
use crate::pg::control;
use crate::plan::Plan;

/// What new's control file was when it was released.
const RELEASED: &str = "released-control.json";
/// What keeps servers away from old.
const PID_FILE: &str = "postmaster.pid";

pub(super) struct ReleaseNewCluster;

impl Step for ReleaseNewCluster {
    fn name(&self) -> &'static str {
        "release-new-cluster"
    }

    fn phase(&self) -> Phase {
        Phase::Cutover
    }

    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        let aside = cx.state.path(super::NEW_CONTROL)?;
        if aside.exists() {
            cx.save(RELEASED, &control::fingerprint_file(&aside)?)?;
        }
        cx.put_control_in_place()?;
        cx.old_area()?.remove_file(PID_FILE)?;
        Ok("new may be started".to_owned())
    }

    /// The record goes last: until then it says what new must not have become.
    fn undo(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        cx.put_control_aside()?;
        cx.state.remove_file(RELEASED)
    }
}

/// What became of new since it was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewState {
    /// It was not released, or is as it was then.
    Untouched,
    /// It has been started.
    Started,
    /// It has no control file where there must be one.
    Missing,
}

/// Finds out whether new was ever started, from its control file.
///
/// Any start writes it: the state of the cluster and the time are in it.
pub fn new_state(plan: &Plan, state: &Area) -> Result<NewState> {
    let in_place = plan.new.data_dir.join(CONTROL);
    let recorded = state.path(RELEASED)?;
    if !recorded.exists() || state.path(super::NEW_CONTROL)?.exists() {
        return Ok(NewState::Untouched);
    }
    if !in_place.exists() {
        return Ok(NewState::Missing);
    }
    let bytes = std::fs::read(&recorded)
        .map_err(|e| Error::io(Code::NotReadable, "read", &recorded, &e))?;
    let known: String = serde_json::from_slice(&bytes).map_err(|e| {
        Error::new(
            Code::StateFormat,
            "the record of the release cannot be read",
        )
        .caused_by(&e)
    })?;
    if control::fingerprint_file(&in_place)? == known {
        Ok(NewState::Untouched)
    } else {
        Ok(NewState::Started)
    }
}
