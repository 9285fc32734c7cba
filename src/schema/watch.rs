//! How far the restore is: pg_restore says in its log what it does.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often the logs are looked at.
const PAUSE: Duration = Duration::from_millis(250);

/// Counts the lines of the logs of pg_restore in a directory, as they grow.
struct Lines<'a> {
    dir: &'a Path,
    seen: HashMap<PathBuf, u64>,
    count: u64,
}

impl Lines<'_> {
    /// What cannot be read now is counted at the next look, or not at all: it is only progress.
    fn look(&mut self) -> u64 {
        let entries = std::fs::read_dir(self.dir).into_iter().flatten().flatten();
        for entry in entries {
            if entry
                .file_name()
                .to_string_lossy()
                .starts_with("pg_restore-")
            {
                let path = entry.path();
                let from = self.seen.get(&path).copied().unwrap_or(0);
                if let Some((lines, end)) = read_on(&path, from) {
                    self.count += lines;
                    self.seen.insert(path, end);
                }
            }
        }
        self.count
    }
}

fn read_on(path: &Path, from: u64) -> Option<(u64, u64)> {
    let mut file = File::open(path).ok()?;
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut bytes = Vec::new();
    let read = file.read_to_end(&mut bytes).ok()?;
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    Some((lines as u64, from + read as u64))
}

/// Does `work`; meanwhile `progress` is told how many lines the logs have.
pub(super) fn while_watching<T>(
    logs: &Path,
    progress: &(dyn Fn(u64) + Sync),
    work: impl FnOnce() -> T,
) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut lines = Lines {
                dir: logs,
                seen: HashMap::new(),
                count: 0,
            };
            loop {
                std::thread::park_timeout(PAUSE);
                let last = done.load(Ordering::SeqCst);
                progress(lines.look());
                if last {
                    return;
                }
            }
        });
        let result = work();
        done.store(true, Ordering::SeqCst);
        watcher.thread().unpark();
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn lines_are_counted_once_as_they_come() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("other.log"), "a\nb\n").unwrap();
        let mut log = File::create(dir.path().join("pg_restore-1.log")).unwrap();
        let mut lines = Lines {
            dir: dir.path(),
            seen: HashMap::new(),
            count: 0,
        };
        writeln!(log, "creating TABLE").unwrap();
        assert_eq!(lines.look(), 1);
        write!(log, "creating\nINDEX").unwrap();
        assert_eq!(lines.look(), 2);
        assert_eq!(lines.look(), 2);
    }

    #[test]
    fn the_last_look_comes_after_the_work() {
        let dir = tempfile::tempdir().unwrap();
        let told = AtomicU64::new(0);
        while_watching(
            dir.path(),
            &|lines| told.store(lines, Ordering::SeqCst),
            || {
                std::fs::write(dir.path().join("pg_restore-1.log"), "a\nb\n").unwrap();
            },
        );
        assert_eq!(told.into_inner(), 2);
    }
}
