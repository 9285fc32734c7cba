//! What PostgreSQL's files and names mean: value types and pure parsers.
//!
//! Nothing here opens a socket, starts a process or writes. `read` does input, `parse` is pure.

pub mod id;
pub mod version;

pub use id::{FullXid, Lsn, MultiXid, Oid, RelFileNumber, SystemIdentifier, Timeline, Xid};
pub use version::{MajorVersion, Version};
