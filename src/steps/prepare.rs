//! What is done while old serves: everything that is slow, and everything that can fail because
//! of what users made.
//!
//! The dump needs nothing of new, but fails cheapest when new exists already, and initdb fails
//! soonest. The transaction state is seeded before the restore, so that new's counters are old's
//! when the dump writes old's horizons into the catalogs; catalogs are frozen when no object is
//! made any more; horizons come after freezing, because VACUUM moves them; files are placed
//! last, because from then on nothing may be changed inside new. Where databases are restored
//! anew because they drifted, all goes back to before the restore, and new is opened for that.

mod create_new_cluster;
mod dump_old_schema;
mod freeze_new_catalogs;
mod place_files;
mod reopen_new_cluster;
mod restore_globals;
mod restore_schemas;
mod seed_transaction_state;
mod set_horizons;

use super::Step;

pub(super) use dump_old_schema::{DUMP, EVERYBODY, NAME as DUMP_STEP};
pub use dump_old_schema::{FINGERPRINT, INVENTORY};

/// The steps of this phase, in order.
pub(super) fn steps() -> Vec<Box<dyn Step>> {
    vec![
        Box::new(create_new_cluster::CreateNewCluster),
        Box::new(dump_old_schema::DumpOldSchema),
        Box::new(seed_transaction_state::SeedTransactionState),
        Box::new(restore_globals::RestoreGlobals),
        Box::new(reopen_new_cluster::ReopenNewCluster),
        Box::new(restore_schemas::RestoreSchemas),
        Box::new(freeze_new_catalogs::FreezeNewCatalogs),
        Box::new(set_horizons::SetHorizons),
        Box::new(place_files::PlaceFiles),
    ]
}
