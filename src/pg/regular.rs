//! Files that are read from first to last.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

/// The bytes of a regular file.
///
/// Whoever owns a cluster may have put a pipe where the file should be, which nobody ever writes
/// to: anything but a file is refused instead of waited for.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let mut file = File::from(open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let pipe = place.path().join("pipe");
        nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        let error = read(&pipe).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let file = place.path().join("file");
        std::fs::write(&file, "15\n").unwrap();
        assert_eq!(read(&file).unwrap(), b"15\n");
        assert_eq!(read(place.path()).unwrap_err().kind(), error.kind());
    }
}
