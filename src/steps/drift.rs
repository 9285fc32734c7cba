//! What changed in old since its schema was dumped.

use super::context::{Context, load};
use super::{FINGERPRINT, INVENTORY};
use crate::catalog::{self, Change, Fingerprint, Inventory, Likeness, Snapshot};
use crate::disk::Area;
use crate::error::{Code, Error, Remedy, Result};
use crate::pg::ControlFile;
use crate::plan::Plan;
use crate::server::{Cancel, Endpoint};

/// How many changes an error names.
const NAMED: usize = 20;

/// Everything that is in old's catalogs now and not in the dump, or the other way round; `now`
/// is the fingerprint just taken.
///
/// Fingerprints that are equal are quick and leave nothing to ask. Where they differ, the
/// objects decide: an index made anew under its name is another row and the same schema.
///
/// # Errors
///
/// `Drift` where nothing was kept to compare with.
pub fn drift(
    plan: &Plan,
    state: &Area,
    now: &Fingerprint,
    server: &Endpoint,
    cancel: &Cancel,
) -> Result<Vec<Change>> {
    demand_kept(plan, state)?;
    let dumped: Fingerprint = load(state, FINGERPRINT)?;
    if dumped == *now {
        return Ok(Vec::new());
    }
    let dumped: Inventory = load(state, INVENTORY)?;
    let databases: Vec<String> = now.databases.keys().cloned().collect();
    let now = catalog::inventory(server, &databases, plan.jobs, cancel)?;
    Ok(catalog::changes(&dumped, &now))
}

/// The catalog as it is, and what changed in it; of a server others use it is true for the
/// moment, and no promise for the next.
pub fn read_and_compare(
    plan: &Plan,
    state: &Area,
    server: &Endpoint,
    cancel: &Cancel,
) -> Result<(Snapshot, Vec<Change>)> {
    demand_kept(plan, state)?;
    let snapshot = catalog::read(server, plan.jobs, cancel)?;
    let now = catalog::fingerprint(server, &snapshot.connectable(), plan.jobs, cancel)?;
    let changes = drift(plan, state, &now, server, cancel)?;
    Ok((snapshot, changes))
}

/// What old was like when it was dumped, where that was kept.
pub(super) fn kept(state: &Area) -> Result<Option<Likeness>> {
    if !is_kept(state)? {
        return Ok(None);
    }
    Ok(Some(Likeness {
        fingerprint: load(state, FINGERPRINT)?,
        inventory: load(state, INVENTORY)?,
    }))
}

fn is_kept(state: &Area) -> Result<bool> {
    Ok(state.path(FINGERPRINT)?.exists())
}

/// An upgrade at one go looks at old once, and goes on for as long as nobody starts it.
///
/// # Errors
///
/// `Drift` where nothing was kept to compare a reading with, before anybody reads in vain.
pub(super) fn demand_kept(plan: &Plan, state: &Area) -> Result<()> {
    if is_kept(state)? {
        return Ok(());
    }
    Err(Error::new(
        Code::Drift,
        "the old cluster was started after an upgrade at one go had read it, and nothing was kept \
         to tell whether its schema has changed",
    )
    .fact("data directory", plan.old.data_dir.display())
    .remedy(Remedy::command(plan.command("prepare"))))
}

/// The error that names what changed, if anything did.
pub fn drifted(changes: &[Change], plan: &Plan) -> Option<Error> {
    if changes.is_empty() {
        return None;
    }
    let error = Error::new(
        Code::Drift,
        "the schema of the old cluster changed since prepare",
    );
    let mut error = changes
        .iter()
        .take(NAMED)
        .fold(error, |error, change| error.fact("changed", change));
    if changes.len() > NAMED {
        error = error.fact("further objects", changes.len() - NAMED);
    }
    Some(error.remedy(Remedy::command(plan.command("prepare"))))
}

/// Another cluster may lie at old's place, or an earlier state of the same one, or its format
/// may have been changed by pg_checksums: none of them shows in a schema.
pub fn is_the_cluster_prepared(cx: &Context<'_>, control: &ControlFile) -> Result<()> {
    let prepared = cx.plan.old.system_identifier;
    let mut differences: Vec<(&str, String, String)> = Vec::new();
    if control.system_identifier != prepared {
        let now = control.system_identifier.to_string();
        differences.push(("Database system identifier", now, prepared.to_string()));
    }
    differences.extend(cx.format_differences(control, &cx.new_control()?));
    // A page that was damaged since would be given the right checksum of wrong contents.
    if cx.plan.checksums.is_some() && control.data_checksums() {
        differences.push(("Data page checksum version", "1".to_owned(), "0".to_owned()));
    }
    if !differences.is_empty() {
        let message = "the old cluster is not the one that was prepared";
        return Err(prepare_again(message, differences));
    }
    let back = control.not_after(&cx.remembered_old_control()?);
    if !back.is_empty() {
        let message = "the old cluster is an earlier state of the one that was prepared, or goes \
                       on from one, as after a restore from a backup";
        return Err(prepare_again(message, back));
    }
    Ok(())
}

fn prepare_again(message: &str, differences: Vec<(&str, String, String)>) -> Error {
    let error = Error::new(Code::Drift, message);
    differences
        .into_iter()
        .fold(error, |error, (name, now, prepared)| {
            error.fact(name, format!("{now} now, {prepared} when prepared"))
        })
        .remedy(Remedy::manual("roll back and prepare again"))
}
