//! What the environment asks for.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

static REACHED: AtomicU64 = AtomicU64::new(0);
static ASKED: AtomicU64 = AtomicU64::new(0);
/// The step that is at work.
static AT_WORK: Mutex<String> = Mutex::new(String::new());

/// The error an act is to fail with, in place of being done.
pub fn error(name: &'static str) -> std::io::Result<()> {
    add_line("PGM_FAULT_ACTS", || name.to_owned());
    let Ok(text) = std::env::var("PGM_FAULT_ERROR") else {
        return Ok(());
    };
    let mut parts = text.split(':');
    if !parts
        .next()
        .is_some_and(|wanted| wanted == name || wanted == "*")
    {
        return Ok(());
    }
    let number = ASKED.fetch_add(1, Ordering::SeqCst) + 1;
    let mut numbers = parts.filter_map(|part| part.parse::<u64>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(at), Some(errno)) if at == number => Err(std::io::Error::from_raw_os_error(
            i32::try_from(errno).unwrap_or_default(),
        )),
        _ => Ok(()),
    }
}

/// A place where the process may be killed.
pub fn point(name: &'static str) {
    let number = REACHED.fetch_add(1, Ordering::SeqCst) + 1;
    add_line("PGM_FAULT_LOG", || {
        let at_work = AT_WORK.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{number} {name} {at_work}")
    });
    let wanted = std::env::var("PGM_FAULT").ok();
    if wanted.and_then(|number| number.parse().ok()) == Some(number) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::SIGKILL);
    }
}

/// Says which step is at work, and how.
pub fn step(act: &'static str, name: &str) {
    let mut at_work = AT_WORK.lock().unwrap_or_else(PoisonError::into_inner);
    *at_work = format!("{act} {name}");
    trace(&format!("step {act} {name}"));
}

/// Adds a line to the trace.
pub fn trace(line: &str) {
    add_line("PGM_TRACE", || line.to_owned());
}

/// Whether this mistake is to be made.
pub fn planted(mistake: &str) -> bool {
    std::env::var("PGM_PLANT").is_ok_and(|planted| planted == mistake)
}

/// A lost line makes a matrix shorter, or shows as an act that was never made; whoever reads the
/// file sees both.
fn add_line(variable: &str, line: impl FnOnce() -> String) {
    let Some(path) = std::env::var_os(variable) else {
        return;
    };
    let mut line = line();
    line.push('\n');
    let opened = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path);
    if let Ok(mut file) = opened {
        let _ = file.write_all(line.as_bytes());
    }
}
