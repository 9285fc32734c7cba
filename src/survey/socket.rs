//! Where the private servers will have their sockets.

use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Remedy};

use super::owner::{self, Owner};

/// The longest path a socket may have: `sun_path` less the final zero.
const LONGEST: usize = 107;
/// What a private server adds to the directory: one of its own, and in it the socket.
const PRIVATE: &str = "/pg_migrator-a1B2c3/.s.PGSQL.65535";

/// Why no socket could be made in the directory, or among temporary files if none is given.
pub(super) fn problem(given: Option<&Path>, owner: &Owner) -> Option<Error> {
    let dir = given.map_or_else(default, Path::to_owned);
    let dir = std::path::absolute(&dir).unwrap_or(dir);
    if !fits(&dir) {
        return Some(
            Error::new(
                Code::SocketPath,
                format!(
                    "the path of a socket in {} would be too long",
                    dir.display()
                ),
            )
            .fact("directory", dir.display())
            .fact(
                "length",
                format!("{} bytes", dir.as_os_str().len() + PRIVATE.len()),
            )
            .fact("limit", format!("{LONGEST} bytes"))
            .remedy(Remedy::manual(
                "give a shorter directory with --socketdir, such as /tmp",
            )),
        );
    }
    if !dir.is_dir() {
        return Some(
            Error::new(
                Code::NotWritable,
                format!("there is no directory {}", dir.display()),
            )
            .fact("socket directory", dir.display())
            .remedy(owner.install(&dir)),
        );
    }
    let errno = owner::may(&dir, owner::fill()).err()?;
    Some(
        Error::new(
            Code::NotWritable,
            format!("{} cannot make a socket in {}", owner.name, dir.display()),
        )
        .fact("socket directory", dir.display())
        .caused_by(&errno)
        .remedy(Remedy::manual(format!(
            "give a directory that {} can write to with --socketdir, such as /tmp",
            owner.name
        ))),
    )
}

/// As private servers choose: a temporary directory with a long name gives way to `/tmp`.
fn default() -> PathBuf {
    Some(std::env::temp_dir())
        .filter(|dir| fits(dir))
        .unwrap_or_else(|| PathBuf::from("/tmp"))
}

fn fits(dir: &Path) -> bool {
    dir.as_os_str().len() + PRIVATE.len() <= LONGEST
}
