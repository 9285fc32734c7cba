//! Files that will be read soon are brought into memory by the kernel meanwhile.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Of many small files more time goes into finding each than into reading it, one after the other.
const READERS: usize = 4;

/// The files are brought in by threads of its own until all are, or until this is dropped.
///
/// A wish: what cannot be read is passed over, whoever really reads it will say so. Of the
/// memory of the machine a quarter is used at most, so that what came first is still there when
/// it is wanted.
#[derive(Debug)]
pub struct ReadAhead {
    stop: Arc<AtomicBool>,
    readers: Vec<JoinHandle<()>>,
}

/// What is still to be read, and how many bytes of it at most.
struct Wanted<I> {
    files: I,
    room: u64,
}

impl<I> Wanted<I> {
    /// Takes the room, where there is some.
    fn has_room_for(&mut self, len: u64) -> bool {
        let left = self.room.checked_sub(len);
        self.room = left.unwrap_or(0);
        left.is_some()
    }
}

impl ReadAhead {
    /// Begins with the first file; they are asked for one by one while that goes on.
    pub fn begin(files: impl Iterator<Item = PathBuf> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let room = memory() / 4;
        let wanted = Arc::new(Mutex::new(Wanted { files, room }));
        let begun = (0..READERS).map(|_| {
            let (wanted, seen) = (Arc::clone(&wanted), Arc::clone(&stop));
            std::thread::Builder::new().spawn(move || read(&wanted, &seen))
        });
        let readers = begun.filter_map(Result::ok).collect();
        Self { stop, readers }
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

fn read(wanted: &Mutex<Wanted<impl Iterator<Item = PathBuf>>>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let Some(path) = lock(wanted).files.next() else {
            return;
        };
        let Ok(file) = File::open(path) else { continue };
        let len = file.metadata().map_or(0, |found| found.len());
        if !lock(wanted).has_room_for(len) {
            return;
        }
        will_need(&file);
    }
}

fn lock<T>(wanted: &Mutex<T>) -> MutexGuard<'_, T> {
    wanted.lock().unwrap_or_else(PoisonError::into_inner)
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
