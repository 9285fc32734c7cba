//! Large objects that were made, changed or dropped in old since the dump.

use std::collections::BTreeSet;

use super::freeze::refreeze;
use crate::catalog::{ABOUT_LARGE_OBJECTS, LargeObjects};
use crate::error::Result;
use crate::server::Client;

/// So many objects are named in one statement.
const AT_ONCE: usize = 5_000;

/// Makes what the catalogs of a database of new say of large objects what old's say; gives the
/// number of objects of which that was not so.
///
/// Rows are written, no function is called: `lo_unlink` would delete the contents too, and these
/// are in a file that is old's as well. The rows are frozen afterwards, for the transaction
/// status of new is going to be replaced.
pub fn carry_large_objects(new: &mut Client, wanted: &LargeObjects) -> Result<usize> {
    let different = wanted.differences(&LargeObjects::read(new)?);
    if different.is_empty() {
        return Ok(0);
    }
    new.run_script("BEGIN")?;
    for (place, about) in ABOUT_LARGE_OBJECTS.iter().enumerate() {
        for some in portions(&different) {
            new.run_script(&format!(
                "DELETE FROM pg_catalog.{} WHERE {} IN ({some}) AND {}",
                about.catalog,
                about.object(),
                about.rows
            ))?;
        }
        wanted.write(new, place, &different)?;
    }
    for some in portions(&different) {
        new.run_script(&format!("{NO_ROLES} AND objid IN ({some})"))?;
        new.run_script(&OWNERS.replace("{some}", &some))?;
        new.run_script(&GRANTEES.replace("{some}", &some))?;
    }
    new.run_script("COMMIT")?;
    let catalogs = ABOUT_LARGE_OBJECTS.iter().map(|about| about.catalog);
    refreeze(new, catalogs.chain(["pg_shdepend"]))?;
    Ok(different.len())
}

const NO_ROLES: &str = "
    DELETE FROM pg_catalog.pg_shdepend
    WHERE classid = 2613 AND dbid = (SELECT d.oid FROM pg_catalog.pg_database d
                                     WHERE d.datname = pg_catalog.current_database())";

/// Roles of initdb can never be dropped, so nothing is noted to depend on them; mirrors
/// `recordDependencyOnOwner` of `src/backend/catalog/pg_shdepend.c`.
const OWNERS: &str = "
    INSERT INTO pg_catalog.pg_shdepend
        (dbid, classid, objid, objsubid, refclassid, refobjid, deptype)
    SELECT d.oid, 2613, m.oid, 0, 1260, m.lomowner, 'o'
    FROM pg_catalog.pg_largeobject_metadata m, pg_catalog.pg_database d
    WHERE m.oid IN ({some}) AND d.datname = pg_catalog.current_database()
      AND m.lomowner >= 16384";

/// Mirrors `updateAclDependencies` in the same file: the owner is not noted once more.
const GRANTEES: &str = "
    INSERT INTO pg_catalog.pg_shdepend
        (dbid, classid, objid, objsubid, refclassid, refobjid, deptype)
    SELECT DISTINCT d.oid, 2613::pg_catalog.oid, m.oid, 0, 1260::pg_catalog.oid, r.role,
           'a'::pg_catalog.\"char\"
    FROM pg_catalog.pg_database d, pg_catalog.pg_largeobject_metadata m,
         pg_catalog.aclexplode(m.lomacl) a, LATERAL (VALUES (a.grantor), (a.grantee)) r (role)
    WHERE m.oid IN ({some}) AND d.datname = pg_catalog.current_database()
      AND r.role >= 16384 AND r.role <> m.lomowner";

fn portions(objects: &BTreeSet<u32>) -> Vec<String> {
    let objects: Vec<String> = objects.iter().map(u32::to_string).collect();
    objects
        .chunks(AT_ONCE)
        .map(|some| some.join(", "))
        .collect()
}
