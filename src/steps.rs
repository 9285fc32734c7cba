//! The steps of an upgrade, one file a step, in the order in which they run.
//!
//! A step is the unit of doing and of undoing. Before it acts, everything its undo will need
//! is written down (its intent); `apply` may be repeated after having been interrupted
//! anywhere, and so may `undo`. Steps know the clusters; they know nothing of the journal or of
//! the terminal. What several of them do alike is beside them, and is no step: drift, large
//! objects, transaction state.

mod carry_large_objects;
mod carry_transaction_state;
mod confirm_catalog;
mod context;
mod create_new_cluster;
mod drift;
mod dump_old_schema;
mod freeze_new_catalogs;
mod large_objects;
mod place_files;
mod read_final_catalog;
mod refresh_horizons;
mod release_new_cluster;
mod restore_globals;
mod restore_schemas;
mod retire_old_control;
mod seed_transaction_state;
mod set_horizons;
mod start_new_server;
mod stop_old_server;
mod sync_new_cluster;
mod transaction_state;
mod transfer_files;
mod verify_new_cluster;

use serde_json::Value;

use crate::error::Result;
pub use crate::event::Phase;

pub use context::{Context, Handover, NEW_CONTROL, NewState, OldAtHand, PLAN_FILE, new_state};
pub use drift::{drift, drifted, read_and_compare};
pub use dump_old_schema::{FINGERPRINT, INVENTORY};

/// One step of an upgrade.
pub trait Step: Sync {
    /// Its name: verb and object, as the file it is in.
    fn name(&self) -> &'static str;

    /// Its half of the upgrade.
    fn phase(&self) -> Phase;

    /// Whether there is anything for it to do in this run.
    fn needed(&self, _cx: &Context<'_>) -> Result<bool> {
        Ok(true)
    }

    /// All that the undo will need, as small versioned JSON; changes nothing.
    fn intent(&self, _cx: &mut Context<'_>) -> Result<Value> {
        Ok(serde_json::json!({ "v": 1 }))
    }

    /// Does it, and says what was done as a clause.
    fn apply(&self, cx: &mut Context<'_>, intent: &Value) -> Result<String>;

    /// Renews what ended with the process that did the step, when another process goes on.
    fn renew(&self, _cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        Ok(())
    }

    /// Gives users back what the step took from them, where undoing a later step has failed;
    /// nothing where that could do harm. The undo still follows, some day.
    fn relieve(&self, _cx: &mut Context<'_>, _intent: &Value) -> Result<()> {
        Ok(())
    }

    /// Undoes it, wholly or partly done as it may be.
    fn undo(&self, cx: &mut Context<'_>, intent: &Value) -> Result<()>;
}

/// Every step, in order.
///
/// Prepare: the dump needs nothing of new, but fails cheapest when new exists already, and
/// initdb fails soonest. The transaction state is seeded before the restore, so that new's
/// counters are old's when the dump writes old's horizons into the catalogs; catalogs are
/// frozen when no object is made any more; horizons come after freezing, because VACUUM moves
/// them; files are placed last, because from then on nothing may be changed inside new.
///
/// Cutover: everything that can find drift comes before old is held; old is held before its
/// final counters are read; nothing of old is changed before new is verified; old is retired
/// before new is released, so that the two can never run on the same files.
pub fn registry() -> Vec<Box<dyn Step>> {
    vec![
        Box::new(create_new_cluster::CreateNewCluster),
        Box::new(dump_old_schema::DumpOldSchema),
        Box::new(seed_transaction_state::SeedTransactionState),
        Box::new(restore_globals::RestoreGlobals),
        Box::new(restore_schemas::RestoreSchemas),
        Box::new(freeze_new_catalogs::FreezeNewCatalogs),
        Box::new(set_horizons::SetHorizons),
        Box::new(place_files::PlaceFiles),
        Box::new(read_final_catalog::ReadFinalCatalog),
        Box::new(stop_old_server::StopOldServer),
        Box::new(confirm_catalog::ConfirmCatalog),
        Box::new(carry_large_objects::CarryLargeObjects),
        Box::new(refresh_horizons::RefreshHorizons),
        Box::new(carry_transaction_state::CarryTransactionState),
        Box::new(transfer_files::TransferFiles),
        Box::new(sync_new_cluster::SyncNewCluster),
        Box::new(verify_new_cluster::VerifyNewCluster),
        Box::new(retire_old_control::RetireOldControl),
        Box::new(release_new_cluster::ReleaseNewCluster),
        Box::new(start_new_server::StartNewServer),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_the_phases_do_not_mix() {
        let steps = registry();
        let mut names: Vec<_> = steps.iter().map(|step| step.name()).collect();
        let cutover = steps
            .iter()
            .position(|step| step.phase() == Phase::Cutover)
            .unwrap();
        assert!(
            steps[cutover..]
                .iter()
                .all(|step| step.phase() == Phase::Cutover)
        );
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), steps.len());
    }
}
