//! What is done while nobody is served.
//!
//! Everything that can find drift comes before old is held; old is held before its final
//! counters are read; but for swap nothing of old is changed before new is verified; old is retired
//! before new is released, and withdrawn before its files are moved, so that the two can never run
//! on the same files.

mod carry_large_objects;
mod carry_transaction_state;
mod confirm_catalog;
mod read_final_catalog;
mod record_manifest;
mod refresh_horizons;
mod release_new_cluster;
mod retire_old_control;
mod start_new_server;
mod stop_old_server;
mod sync_new_cluster;
mod transfer_files;
mod verify_new_cluster;
mod withdraw_old_control;

use super::Step;

/// The steps of this phase, in order.
pub(super) fn steps() -> Vec<Box<dyn Step>> {
    vec![
        Box::new(read_final_catalog::ReadFinalCatalog),
        Box::new(stop_old_server::StopOldServer),
        Box::new(confirm_catalog::ConfirmCatalog),
        Box::new(record_manifest::RecordManifest),
        Box::new(carry_large_objects::CarryLargeObjects),
        Box::new(refresh_horizons::RefreshHorizons),
        Box::new(carry_transaction_state::CarryTransactionState),
        Box::new(withdraw_old_control::WithdrawOldControl),
        Box::new(transfer_files::TransferFiles),
        Box::new(sync_new_cluster::SyncNewCluster),
        Box::new(verify_new_cluster::VerifyNewCluster),
        Box::new(retire_old_control::RetireOldControl),
        Box::new(release_new_cluster::ReleaseNewCluster),
        Box::new(start_new_server::StartNewServer),
    ]
}
