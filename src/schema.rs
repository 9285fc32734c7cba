//! What runs inside the new cluster, and the dump it is made from.
//!
//! The schema is dumped from old by new's programs in binary-upgrade mode, so that every
//! object keeps its OID and file number, and restored over several sessions at once. Then
//! every row of new's catalogs is frozen, because new's transaction status is going to be
//! replaced by old's.

mod archive;
mod complaints;
mod dump;
mod everybody;
mod excerpt;
mod failure;
mod freeze;
mod fresh;
mod frozen;
mod horizons;
mod large_objects;
mod live;
mod repair;
mod restore;
mod schedule;
mod trying;
mod watch;

pub use archive::{Contents, Entry, parse};
pub use complaints::{Complaint, of_pg_restore, of_psql};
pub use dump::{Dump, DumpFiles, dump};
pub use everybody::{Refused, set_for_everybody, settings_of_everybody};
pub use failure::{Failure, REHEARSAL, Unrestored, arranged};
pub use freeze::{CatalogFiles, begin_horizons, freeze};
pub use fresh::{like_old, stand_in_tablespaces};
pub use frozen::{Unfrozen, scan};
pub use horizons::{Mended, mend};
pub use large_objects::carry_large_objects;
pub use live::{Dumped, Known, dump_live};
pub use repair::Repaired;
pub use restore::Restore;
pub use schedule::{Schedule, Stage, schedule};
pub use trying::restore_globals;
