//! Files that are read from first to last.

use std::fs::{File, Metadata};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

/// The bytes of a regular file; of the null device, which is what people name for a file with
/// nothing in it, none.
///
/// Whoever owns a cluster may have put a pipe where the file should be, which nobody ever writes
/// to: anything else is refused instead of waited for.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let mut file = File::from(open(path, flags, Mode::empty())?);
    let found = file.metadata()?;
    if is_null_device(&found) {
        return Ok(Vec::new());
    }
    if !found.is_file() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// By its number, not by its name: a link, or another name of the device, leads to it too.
fn is_null_device(found: &Metadata) -> bool {
    found.file_type().is_char_device()
        && std::fs::metadata("/dev/null")
            .is_ok_and(|null| null.file_type().is_char_device() && null.rdev() == found.rdev())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_null_device_is_an_empty_file_and_other_devices_are_none() {
        let place = tempfile::tempdir().unwrap();
        let link = place.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        for path in [Path::new("/dev/null"), &link] {
            assert_eq!(read(path).unwrap(), b"");
        }
        // It has no end.
        let error = read(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

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
