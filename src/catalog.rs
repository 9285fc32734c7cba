//! What a cluster holds, asked of its own server and never changed by the asking.
//!
//! [`Snapshot`] is what must be moved: databases, and in each the relations that have files.
//! [`Fingerprint`] tells whether anything was changed that the dumped schema depends on,
//! [`Inventory`] what it was. All work with every supported version, on the old side and on the
//! new.

mod copy;
mod drift;
mod fingerprint;
mod inventory;
mod large_objects;
mod portrait;
mod read;
mod reading;
mod relation;
mod snapshot;
mod template;

pub use copy::Fields;
pub use drift::{Change, Part, Parts, What, changes, changes_with_unnamed, parts};
pub use fingerprint::{Fingerprint, FingerprintQuery, fingerprint};
pub use inventory::{Inventory, Objects, inventory};
pub use large_objects::{ABOUT_LARGE_OBJECTS, LargeObjects};
pub use portrait::{Likeness, Portrait, Sketch, portray, portray_and};
pub use read::{connect, read, read_and, read_and_with_help, read_contents, read_shared};
pub use reading::{Heap, Mark, Reading, RelationMap, read_in_use};
pub use relation::{Persistence, RelKind, Relation};
pub use snapshot::{Database, LocaleProvider, Role, Snapshot, Tablespace, TemplateSettings};
