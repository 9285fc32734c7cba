//! The room `catalog` on real servers.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod chance;
mod drift;
mod fingerprint;
mod settings;
mod shop;
mod snapshot;
#[path = "../support/mod.rs"]
mod support;
