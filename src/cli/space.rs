//! What file systems lack for old's files, whose sizes are looked at while old is read.

use super::args::Clusters;
use crate::catalog::Snapshot;
use crate::error::{Error, Result};
use crate::survey::{Sizing, Surveyed, space_problems};

/// Completes the inventory; the problems of places that could not be counted.
pub fn put_sizes(surveyed: &mut Surveyed, sizing: Option<Sizing>) -> Result<Vec<Error>> {
    sizing.map_or(Ok(Vec::new()), |sizing| Ok(put(surveyed, sizing)?.1))
}

/// How many folders of databases there are, too.
fn put(surveyed: &mut Surveyed, sizing: Sizing) -> Result<(u64, Vec<Error>)> {
    let (inventory, databases, problems) = sizing.wait()?;
    surveyed.inventory = inventory;
    surveyed.counted &= problems.is_empty();
    Ok((databases, problems))
}

/// What nobody has waited for, and is to be told although old cannot be read.
pub fn late(
    arguments: &Clusters,
    surveyed: &mut Surveyed,
    sizing: Option<Sizing>,
) -> Result<Vec<Error>> {
    let Some(sizing) = sizing else {
        return Ok(Vec::new());
    };
    let (databases, mut problems) = put(surveyed, sizing)?;
    problems.extend(lacking(arguments, surveyed, (databases, 0)));
    Ok(problems)
}

/// What file systems lack, now that the catalogs are known.
pub fn too_little_space(
    arguments: &Clusters,
    surveyed: &Surveyed,
    snapshot: &Snapshot,
) -> Vec<Error> {
    let databases = &snapshot.databases;
    let relations = databases.iter().map(|one| one.relations.len() as u64);
    lacking(
        arguments,
        surveyed,
        (databases.len() as u64, relations.sum()),
    )
}

fn lacking(
    arguments: &Clusters,
    surveyed: &Surveyed,
    (databases, relations): (u64, u64),
) -> Vec<Error> {
    if surveyed.new_dir.is_some() && surveyed.origin.is_none() {
        return Vec::new();
    }
    space_problems(surveyed, arguments.mode.mode(), databases, relations)
        .unwrap_or_else(|error| vec![error])
}

/// Whether two errors say the same of the same place, if with other numbers.
pub fn same_problem(one: &Error, other: &Error) -> bool {
    let about = |error: &Error| {
        let place = error.facts().first().cloned();
        (error.code(), error.message().to_owned(), place)
    };
    about(one) == about(other)
}
