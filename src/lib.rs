//! `pg_migrator` upgrades a PostgreSQL cluster in place to a newer major version.
//!
//! The modules are rooms: each may use only those above it in the table of
//! `docs/design.md`, which a test holds them to. Data flows from the facts (`pg`, `server`,
//! `catalog`) through a frozen plan (`plan`) to the steps that act (`steps`, driven by
//! `engine`), and out as one stream of events (`event`) that `render` turns into text.

pub mod catalog;
pub mod checks;
pub mod cli;
pub mod disk;
pub mod engine;
pub mod error;
pub mod event;
pub mod fault;
pub mod journal;
pub mod pg;
pub mod plan;
pub mod render;
pub mod schema;
pub mod server;
pub mod steps;
pub mod survey;
pub mod transfer;
pub mod verify;
pub mod work;
