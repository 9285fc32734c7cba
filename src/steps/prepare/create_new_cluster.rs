//! The new cluster comes into being: by initdb with old's settings, or by adoption.

use std::path::Path;

use serde_json::{Value, json};

use crate::disk::{Area, unsynced};
use crate::error::{Code, Error, Result};
use crate::pg::ControlFile;
use crate::plan::{Origin, Plan};
use crate::schema;
use crate::steps::context::{CONTROL, Context, NEW_CONTROL, OPTS};
use crate::steps::{Phase, Step};

/// Where the files of an adopted cluster are kept for the way back.
const ADOPTED: &str = "adopted";
/// Written when the copy of an adopted cluster is whole.
const ADOPTED_WHOLE: &str = "adopted.whole";
/// What is put back last.
const LAST: [&str; 2] = [CONTROL, OPTS];

pub(super) struct CreateNewCluster;

impl Step for CreateNewCluster {
    fn name(&self) -> &'static str {
        "create-new-cluster"
    }

    fn phase(&self) -> Phase {
        Phase::Prepare
    }

    fn kept_when_reopened(&self) -> bool {
        true
    }

    fn intent(&self, cx: &mut Context<'_>) -> Result<Value> {
        Ok(json!({ "v": 1, "origin": cx.plan.new.origin }))
    }

    fn apply(&self, cx: &mut Context<'_>, _intent: &Value) -> Result<String> {
        if cx.new_is_out_of_reach()? {
            cx.put_control_aside()?;
            return Ok(describe(cx.plan));
        }
        match cx.plan.new.origin {
            Origin::Adopted => keep_a_copy(cx)?,
            Origin::Absent | Origin::Empty => make(cx)?,
        }
        compare_controls(cx)?;
        // From its identity on, what this file says of the last start counts; the copy keeps it.
        cx.new_area()?.remove_file(OPTS)?;
        cx.remember_new_identity()?;
        cx.put_control_aside()?;
        Ok(describe(cx.plan))
    }

    fn undo(&self, cx: &mut Context<'_>, intent: &Value) -> Result<()> {
        cx.new_is_ours()?;
        let new = cx.new_area()?;
        match origin(intent)? {
            Origin::Absent => new.remove_tree("")?,
            Origin::Empty => empty_if_there(&new)?,
            Origin::Adopted => put_back(cx, &new)?,
        }
        cx.state.remove_file(NEW_CONTROL)?;
        cx.forget_new_identity()
    }
}

fn origin(intent: &Value) -> Result<Origin> {
    serde_json::from_value(intent["origin"].clone()).map_err(|e| {
        Error::new(
            Code::JournalDamaged,
            "the intent of create-new-cluster cannot be read",
        )
        .caused_by(&e)
    })
}

fn empty_if_there(new: &Area) -> Result<()> {
    if new.root().exists() {
        new.empty_dir("")
    } else {
        Ok(())
    }
}

fn make(cx: &Context<'_>) -> Result<()> {
    let new = cx.new_area()?;
    // What an interrupted initdb left behind.
    empty_if_there(&new)?;
    unsynced(&cx.plan.new.data_dir);
    schema::like_old(
        &cx.plan.template,
        &cx.plan.install_user,
        &cx.plan.new.data_dir,
    )?
    .run(
        &cx.new_installation(),
        &cx.logs().join("initdb.log"),
        cx.cancel,
    )
}

/// The formats initdb and the build decide must be the same, or no file of old fits into new.
fn compare_controls(cx: &Context<'_>) -> Result<()> {
    let new = ControlFile::read(&cx.plan.new.data_dir)?;
    let differences = cx.format_differences(&cx.old_control()?, &new);
    if differences.is_empty() {
        return Ok(());
    }
    let error = Error::new(
        Code::ControlMismatch,
        "old and new store data in different formats",
    );
    Err(differences
        .into_iter()
        .fold(error, |error, (name, old, new)| {
            error.fact(name, format!("{old} in old, {new} in new"))
        }))
}

fn describe(plan: &Plan) -> String {
    let template = &plan.template;
    let checksums = match (template.data_checksums, plan.checksums) {
        (false, _) => "off",
        (true, None) => "on",
        (true, Some(_)) => "on (written while old's files are copied)",
    };
    format!(
        "{}, {}, checksums {}, WAL segments {} MB",
        template.encoding,
        template.locale.as_deref().unwrap_or(&template.collate),
        checksums,
        template.wal_segment_size >> 20
    )
}

/// Copies a cluster the user made, so that the way back can give it back as it was.
fn keep_a_copy(cx: &Context<'_>) -> Result<()> {
    if cx.state.path(ADOPTED_WHOLE)?.exists() {
        return Ok(());
    }
    cx.state.remove_tree(ADOPTED)?;
    copy_tree(&cx.plan.new.data_dir, &cx.state, ADOPTED, &[])?;
    cx.state.write(ADOPTED_WHOLE, b"", 0o600)
}

/// Gives back the cluster the user made, its control file and what its last start wrote last.
///
/// Until its control file is there nobody can start it, or find it torn. From then on it is the
/// user's again, who may start it at once and may have started it before it was adopted: its
/// number is forgotten before, and nothing of it is emptied any more.
fn put_back(cx: &Context<'_>, new: &Area) -> Result<()> {
    if cx.state.path(ADOPTED_WHOLE)?.exists() {
        new.create_dir("", 0o700)?;
        new.remove_file(CONTROL)?;
        new.empty_dir("")?;
        copy_tree(&cx.state.path(ADOPTED)?, new, "", &LAST)?;
    }
    cx.state.remove_file(ADOPTED_WHOLE)?;
    cx.forget_new_identity()?;
    put_file(cx, new, CONTROL)?;
    put_file(cx, new, OPTS)?;
    cx.state.remove_tree(ADOPTED)
}

/// Puts one file of the copy back where it is missing, whole or not at all.
fn put_file(cx: &Context<'_>, new: &Area, name: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let kept = cx.state.path(Path::new(ADOPTED).join(name))?;
    if !kept.exists() || new.path(name)?.exists() {
        return Ok(());
    }
    let unreadable = |e: &std::io::Error| Error::io(Code::NotReadable, "read", &kept, e);
    let bytes = std::fs::read(&kept).map_err(|e| unreadable(&e))?;
    let meta = std::fs::metadata(&kept).map_err(|e| unreadable(&e))?;
    new.write(name, &bytes, meta.permissions().mode() & 0o7777)
}

/// Copies directories, files and symbolic links, but for these, and waits until they are on disk.
fn copy_tree(from: &Path, area: &Area, to: &str, but_for: &[&str]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    for entry in walkdir::WalkDir::new(from).follow_links(false) {
        let entry = entry.map_err(|e| {
            Error::new(
                Code::DiskOperation,
                format!("could not read {}", from.display()),
            )
            .caused_by(&e)
        })?;
        let below = entry.path().strip_prefix(from).unwrap_or(entry.path());
        if but_for.iter().any(|name| below == Path::new(name)) {
            continue;
        }
        let rel = Path::new(to).join(below);
        let kind = entry.file_type();
        let unreadable = |e: &std::io::Error| Error::io(Code::NotReadable, "read", entry.path(), e);
        if kind.is_dir() {
            let meta = std::fs::metadata(entry.path()).map_err(|e| unreadable(&e))?;
            area.create_dir(&rel, meta.permissions().mode() & 0o7777)?;
        } else if kind.is_symlink() {
            let target = std::fs::read_link(entry.path()).map_err(|e| unreadable(&e))?;
            area.symlink(&target, &rel)?;
        } else {
            area.copy_file(entry.path(), &rel)?;
        }
    }
    area.sync_tree(to, 2)
}
