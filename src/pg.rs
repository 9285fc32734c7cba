//! What PostgreSQL's files and names mean: value types and pure parsers.
//!
//! Nothing here opens a socket, starts a process or writes. `read` does input, `parse` is pure.

pub mod amount;
mod bytes;
pub mod conf;
pub mod control;
pub mod datadir;
mod fill;
pub mod hba;
pub mod id;
pub mod literals;
pub mod page;
pub mod postmaster;
pub mod quote;
mod regular;
pub mod relfile;
pub mod slru;
pub mod version;
pub mod wal;

pub use control::{ClusterState, ControlFile};
pub use datadir::{DataDir, TablespaceLink};
pub use fill::fill_at;
pub use id::{FullXid, Lsn, MultiXid, Oid, RelFileNumber, SystemIdentifier, Timeline, Xid};
pub use postmaster::{PostmasterOpts, PostmasterPid};
pub use relfile::{Fork, RelFile};
pub use version::{MajorVersion, Version, release_round};
