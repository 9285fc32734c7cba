//! What the environment asks for.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

static REACHED: AtomicU64 = AtomicU64::new(0);
static ASKED: AtomicU64 = AtomicU64::new(0);
/// Points reached whose name begins as it is wanted.
static OF_KIND: AtomicU64 = AtomicU64::new(0);
static STOOD_STILL: AtomicBool = AtomicBool::new(false);
/// The step that is at work.
static AT_WORK: Mutex<String> = Mutex::new(String::new());
static WATCHER: OnceLock<fn(u64)> = OnceLock::new();

/// Has this called at each point, with its number; the first one asked for stays.
pub fn watch(watcher: fn(u64)) {
    let _ = WATCHER.set(watcher);
}

fn at_work() -> String {
    let at_work = AT_WORK.lock().unwrap_or_else(PoisonError::into_inner);
    at_work.clone()
}

/// The error an act is to fail with, in place of being done.
pub fn error(name: &'static str) -> std::io::Result<()> {
    add_line("PGM_FAULT_ACTS", || format!("{name} {}", at_work()));
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
    let place = || format!("{name} {}", at_work());
    add_line("PGM_FAULT_LOG", || format!("{number} {}", place()));
    if let Some(watcher) = WATCHER.get() {
        watcher(number);
    }
    if std::env::var("PGM_FAULT").is_ok_and(|wanted| is_wanted(&wanted, number, name)) {
        send(nix::sys::signal::SIGKILL);
    }
    if std::env::var("PGM_FAULT_STOP").is_ok_and(|wanted| wanted == place())
        && !STOOD_STILL.swap(true, Ordering::SeqCst)
    {
        send(nix::sys::signal::SIGSTOP);
    }
}

fn send(signal: nix::sys::signal::Signal) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), signal);
}

/// Whether it is the point of this number, or of this number among those of a name.
fn is_wanted(wanted: &str, number: u64, name: &str) -> bool {
    let Some((kind, at)) = wanted.split_once(':') else {
        return wanted.parse() == Ok(number);
    };
    name.starts_with(kind) && at.parse() == Ok(OF_KIND.fetch_add(1, Ordering::SeqCst) + 1)
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

/// The limit of a program's time: the usual one, or that of a test which cannot wait so long.
pub fn limit(usual: Duration) -> Duration {
    let wanted = std::env::var("PGM_LIMIT");
    let wanted = wanted.ok().and_then(|seconds| seconds.parse().ok());
    wanted.map_or(usual, Duration::from_secs)
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
