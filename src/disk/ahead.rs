//! Files that will be read soon are brought into memory by the kernel meanwhile.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// The files are brought in by a thread of its own until all are, or until this is dropped.
///
/// A wish: what cannot be read is passed over, whoever really reads it will say so. Of the
/// memory of the machine a quarter is used at most, so that what came first is still there when
/// it is wanted.
#[derive(Debug)]
pub struct ReadAhead {
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl ReadAhead {
    /// Begins with the first file; they are asked for one by one while that goes on.
    pub fn begin(files: impl Iterator<Item = PathBuf> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let reader = std::thread::Builder::new().spawn(move || read(files, &seen));
        Self {
            stop,
            reader: reader.ok(),
        }
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.reader.take().map(JoinHandle::join);
    }
}

fn read(files: impl Iterator<Item = PathBuf>, stop: &AtomicBool) {
    let mut room = memory() / 4;
    for path in files {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let Ok(file) = File::open(path) else { continue };
        let len = file.metadata().map_or(0, |found| found.len());
        let Some(left) = room.checked_sub(len) else {
            return;
        };
        room = left;
        will_need(&file);
    }
}

/// Bytes of memory there are; none where the system does not tell.
fn memory() -> u64 {
    #[cfg(target_os = "linux")]
    {
        use nix::unistd::{SysconfVar, sysconf};
        let known = |name| sysconf(name).ok().flatten();
        let bytes = known(SysconfVar::_PHYS_PAGES).zip(known(SysconfVar::PAGE_SIZE));
        bytes.map_or(0, |(pages, size)| {
            u64::try_from(pages.saturating_mul(size)).unwrap_or(0)
        })
    }
    #[cfg(not(target_os = "linux"))]
    0
}

fn will_need(file: &File) {
    #[cfg(target_os = "linux")]
    {
        let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_WILLNEED;
        let _ = nix::fcntl::posix_fadvise(file, 0, 0, advice);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::mpsc;

    #[test]
    fn it_ends_with_its_files_and_when_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1");
        fs::write(&path, "rows").unwrap();
        let missing = dir.path().join("2");
        let (tell, told) = mpsc::channel();
        let files = vec![missing, path.clone()].into_iter();
        let ahead = ReadAhead::begin(files.inspect(move |file| tell.send(file.clone()).unwrap()));
        // The channel is closed when the thread has ended.
        assert_eq!(told.iter().last(), Some(path.clone()));
        drop(ahead);

        let (tell, told) = mpsc::channel();
        let endless = std::iter::repeat_with(move || {
            let _ = tell.send(());
            path.clone()
        });
        let ahead = ReadAhead::begin(endless);
        told.recv().unwrap();
        drop(ahead);
        while told.recv().is_ok() {}
    }
}
