//! Named crash points and broken disks, active only with the feature `fault`.
//!
//! Points are counted as they are reached: with `PGM_FAULT=N` the process kills itself with
//! SIGKILL at the Nth, as a power cut would, with `PGM_FAULT=NAME:N` at the Nth of those whose names
//! begin so: `engine.step` are the boundaries of steps. With `PGM_FAULT_LOG=FILE` every point reached is
//! written to a file, with the step that was at work, so that a test learns how many there are.
//! With `PGM_FAULT_STOP=NAME ACT STEP`, as such a line has them, the process stands still (SIGSTOP)
//! the first time it comes there, so that somebody else can do something in between.
//! Disk acts are counted apart: with `PGM_FAULT_ERROR=NAME:N:ERRNO` the Nth act of that name fails
//! with that error, as of a disk that is full or broken; `*` is any act, and `PGM_FAULT_ACTS=FILE`
//! gets their names, with the step that was at work. `PGM_TRACE=FILE` gets every change to a file
//! and what the engine did between them. `PGM_PLANT=NAME` makes the program wrong in a known way:
//! a test that would not see that is no test. `PGM_LIMIT=SECONDS` is how long programs may take that
//! are not waited for without end. A test that runs in the process itself may look around at each point
//! ([`watch`]).

#[cfg(feature = "fault")]
mod active;

/// A place where the process may be killed.
#[cfg(not(feature = "fault"))]
#[inline(always)]
pub fn point(_name: &'static str) {}

/// The error an act is to fail with, in place of being done.
#[cfg(not(feature = "fault"))]
#[inline(always)]
pub fn error(_name: &'static str) -> std::io::Result<()> {
    Ok(())
}

/// Says which step is at work, and how.
#[cfg(not(feature = "fault"))]
#[inline(always)]
pub fn step(_act: &'static str, _name: &str) {}

/// Whether this mistake is to be made.
#[cfg(not(feature = "fault"))]
#[inline(always)]
pub fn planted(_mistake: &str) -> bool {
    false
}

/// The limit of a program's time: the usual one, or that of a test which cannot wait so long.
#[cfg(not(feature = "fault"))]
#[inline(always)]
pub fn limit(usual: std::time::Duration) -> std::time::Duration {
    usual
}

#[cfg(feature = "fault")]
pub use active::{error, limit, planted, point, step, trace, watch};
