//! Everything that is another process: installations, programs, private servers, sessions.
//!
//! A private server belongs to this program alone: it listens on a socket in a directory of
//! its own, is a direct child, and goes down with us. A [`Running`] one is the operator's. What
//! is done with all this is decided by the rooms above.

mod answer;
mod client;
mod command;
mod endpoint;
mod hook;
pub mod initdb;
mod installation;
mod leftover;
mod password;
pub mod pg_dump;
pub mod pg_dumpall;
pub mod pg_resetwal;
pub mod pg_restore;
mod pool;
mod postmaster;
pub mod privileges;
mod program;
pub mod psql;
mod quiet;
mod running;
pub mod sessions;
mod settings;
mod socket;
mod spec;
mod veil;

pub use client::Client;
pub use command::Background;
pub use endpoint::Endpoint;
pub use hook::Hook;
pub use initdb::Initdb;
pub use installation::{Installation, Side};
pub use leftover::{
    LEFTOVER_LIMIT, last_start_was_ours, leftover, name_those_at_work, orphans, running,
    stop_leftover,
};
pub use password::password_in;
pub use pg_dump::PgDump;
pub use pg_dumpall::PgDumpall;
pub use pg_resetwal::PgResetwal;
pub use pg_restore::PgRestore;
pub use pool::{Alone, Help, in_each_database, in_each_database_with_help};
pub use postmaster::Postmaster;
pub use program::{Output, Program};
pub use psql::Psql;
pub use running::{PG_CTL_MARGIN, Running, StartSpec, StopSpec};
pub use socket::sweep_temporary;
pub use spec::{DEFAULT_PORT, PostmasterSpec};
pub use veil::Veil;

pub use crate::work::{Cancel, install_signal_handlers};
