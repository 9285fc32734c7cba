//! The files of old as they were before the cutover, and what is another one afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::files::digest;
use super::pages::Told;
use crate::error::{Code, Error, Result};
use crate::work::{Cancel, each, lock};

/// The first line; the number is that of the format.
const HEAD: &str = "# pg_migrator manifest 1";
/// How a line about a folder begins.
const FOLDER: &str = "# folder ";
/// How a line about a symbolic link begins.
const LINK: &str = "# link ";
const ARROW: &[u8] = b" -> ";

/// What may be another one after a way back, and why.
const MAY_DIFFER: [(&str, &str); 3] = [
    (
        "postmaster.pid",
        "while the cutover works it names this program, and then it goes",
    ),
    (
        "log, pg_log, logfile and *.log in the data directory",
        "what servers say, also one that was refused meanwhile",
    ),
    (
        "folders of other versions in tablespaces",
        "they are another cluster's",
    ),
];

/// The SHA-256 of each file of a cluster that nobody uses, its folders, and where its symbolic
/// links lead.
///
/// Names are those below the data directory. Links are followed where they are part of the
/// cluster: `pg_wal`, below `base` and `global`, and of a tablespace to the folder of this
/// cluster's version. A server does not start without its folders, also empty ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    files: BTreeMap<PathBuf, [u8; 32]>,
    folders: BTreeMap<PathBuf, ()>,
    links: BTreeMap<PathBuf, PathBuf>,
    /// Bytes of the files; not written down.
    pub bytes: u64,
}

impl Manifest {
    /// Reads every file of a cluster at rest; its tablespaces have a folder of this name.
    ///
    /// # Errors
    ///
    /// `NotReadable`.
    pub fn record(
        data_dir: &Path,
        version_dir: &str,
        (jobs, cancel): (usize, &Cancel),
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Self> {
        let mut found = Found {
            root: data_dir,
            real_root: fs::canonicalize(data_dir)
                .map_err(|e| Error::io(Code::NotReadable, "find", data_dir, &e))?,
            version_dir,
            files: Vec::new(),
            folders: BTreeMap::new(),
            links: BTreeMap::new(),
            followed: BTreeSet::new(),
        };
        found.walk(Path::new(""))?;
        found.files.sort_by_key(|(_, len)| std::cmp::Reverse(*len));
        let told = Told::new(found.files.iter().map(|(_, len)| len).sum(), progress);
        let sum = std::sync::Mutex::new(Self {
            folders: found.folders,
            links: found.links,
            ..Self::default()
        });
        each(jobs, &found.files, cancel, |(name, len)| {
            let sha = digest(&data_dir.join(name), None, cancel)?;
            told.more(*len);
            let mut sum = lock(&sum);
            sum.files.insert(name.clone(), sha);
            sum.bytes += len;
            Ok(())
        })?;
        Ok(lock(&sum).clone())
    }

    /// How many files there are.
    pub fn files(&self) -> u64 {
        self.files.len() as u64
    }

    /// The file of this name, under another one: for one that was renamed on purpose.
    #[must_use]
    pub fn renamed(mut self, from: &str, to: &str) -> Self {
        if let Some(sha) = self.files.remove(Path::new(from)) {
            self.files.insert(to.into(), sha);
        }
        self
    }

    /// Whether both have the same file of this name.
    pub fn agrees_in(&self, name: &str, now: &Self) -> bool {
        let name = Path::new(name);
        self.files.get(name) == now.files.get(name)
    }

    /// What is other than it was, one clause each, by name.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let mut found = compare(&self.files, &now.files, |_, _| "is another".to_owned());
        found.extend(compare(&self.folders, &now.folders, |(), ()| String::new()));
        found.extend(compare(&self.links, &now.links, |was, is| {
            format!("leads to {}, led to {}", is.display(), was.display())
        }));
        found.sort_unstable();
        found
    }

    /// The lines of the file, which `sha256sum --check` reads, too.
    pub fn text(&self, data_dir: &Path, about: &str) -> Vec<u8> {
        let mut head = format!("{HEAD}\n# {about}\n");
        head.push_str(
            "# Each line is the SHA-256 of a file, two spaces, and its path. sha256sum --check \
             --quiet reads it.\n# Not in here, because they may differ after a way back:\n",
        );
        for (what, why) in MAY_DIFFER {
            let _ = writeln!(head, "#   {what}: {why}");
        }
        head.push_str(
            "# Once the old cluster has been started again its server changes what is its own: \
             control file,\n# WAL, statistics, catalogs, and then everything else.\n",
        );
        let mut text = head.into_bytes();
        for (name, sha) in &self.files {
            let path = data_dir.join(name);
            let (escaped, path) = escape(path.as_os_str().as_bytes());
            if escaped {
                text.push(b'\\');
            }
            let digits: String = sha.iter().map(|byte| format!("{byte:02x}")).collect();
            text.extend_from_slice(digits.as_bytes());
            text.extend_from_slice(b"  ");
            text.extend_from_slice(&path);
            text.push(b'\n');
        }
        for name in self.folders.keys() {
            text.extend_from_slice(FOLDER.as_bytes());
            text.extend(escape(data_dir.join(name).as_os_str().as_bytes()).1);
            text.push(b'\n');
        }
        for (name, target) in &self.links {
            text.extend_from_slice(LINK.as_bytes());
            text.extend(without_arrows(data_dir.join(name).as_os_str()));
            text.extend_from_slice(ARROW);
            text.extend(without_arrows(target.as_os_str()));
            text.push(b'\n');
        }
        text
    }

    /// Understands what [`Self::text`] has written about this data directory; nothing where it
    /// is something else.
    pub fn parse(text: &[u8], data_dir: &Path) -> Option<Self> {
        let lines = text.strip_suffix(b"\n")?.split(|byte| *byte == b'\n');
        let mut lines = lines.peekable();
        if lines.next()? != HEAD.as_bytes() {
            return None;
        }
        let mut manifest = Self::default();
        let below = |path: &[u8]| {
            let path = PathBuf::from(OsString::from_vec(unescape(path)));
            Some(path.strip_prefix(data_dir).ok()?.to_owned())
        };
        for line in lines {
            if let Some(folder) = line.strip_prefix(FOLDER.as_bytes()) {
                manifest.folders.insert(below(folder)?, ());
            } else if let Some(link) = line.strip_prefix(LINK.as_bytes()) {
                let at = link.windows(ARROW.len()).position(|part| part == ARROW)?;
                let target = OsString::from_vec(unescape(&link[at + ARROW.len()..]));
                manifest.links.insert(below(&link[..at])?, target.into());
            } else if !line.starts_with(b"#") {
                let (sha, path) = entry(line)?;
                manifest.files.insert(below(path)?, sha);
            }
        }
        Some(manifest)
    }
}

/// What one has and the other has not, or has otherwise.
fn compare<T: PartialEq>(
    was: &BTreeMap<PathBuf, T>,
    now: &BTreeMap<PathBuf, T>,
    differs: impl Fn(&T, &T) -> String,
) -> Vec<String> {
    let mut found = Vec::new();
    for (name, was) in was {
        match now.get(name) {
            None => found.push(format!("{}: gone", name.display())),
            Some(is) if is != was => {
                found.push(format!("{}: {}", name.display(), differs(was, is)));
            }
            Some(_) => {}
        }
    }
    let added = now.keys().filter(|name| !was.contains_key(*name));
    found.extend(added.map(|name| format!("{}: was not there", name.display())));
    found
}

/// A digest and an escaped path.
fn entry(line: &[u8]) -> Option<([u8; 32], &[u8])> {
    let line = line.strip_prefix(b"\\").unwrap_or(line);
    let (digits, rest) = line.split_at_checked(64)?;
    let mut sha = [0; 32];
    for (byte, pair) in sha.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some((sha, rest.strip_prefix(b"  ")?))
}

/// As `sha256sum` writes a name with a line break or a backslash in it.
fn escape(path: &[u8]) -> (bool, Vec<u8>) {
    let mut escaped = Vec::with_capacity(path.len());
    for byte in path {
        match byte {
            b'\\' => escaped.extend_from_slice(b"\\\\"),
            b'\n' => escaped.extend_from_slice(b"\\n"),
            other => escaped.push(*other),
        }
    }
    (escaped.len() != path.len(), escaped)
}

/// Escaped as others, and so that the arrow between a link and its target is the only one.
fn without_arrows(path: &OsStr) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(path.len());
    for byte in escape(path.as_bytes()).1 {
        if byte == b'>' {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}

fn unescape(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut bytes = path.iter();
    while let Some(byte) = bytes.next() {
        match (byte, byte == &b'\\') {
            (_, true) => match bytes.next() {
                Some(b'n') => plain.push(b'\n'),
                Some(other) => plain.push(*other),
                None => {}
            },
            (other, false) => plain.push(*other),
        }
    }
    plain
}

/// The files of a cluster, as they are found.
struct Found<'a> {
    root: &'a Path,
    real_root: PathBuf,
    version_dir: &'a str,
    files: Vec<(PathBuf, u64)>,
    folders: BTreeMap<PathBuf, ()>,
    links: BTreeMap<PathBuf, PathBuf>,
    /// Where links have led already.
    followed: BTreeSet<PathBuf>,
}

impl Found<'_> {
    fn walk(&mut self, dir: &Path) -> Result<()> {
        let path = self.root.join(dir);
        let unreadable = |e: &std::io::Error| Error::io(Code::NotReadable, "read", &path, e);
        for entry in fs::read_dir(&path).map_err(|e| unreadable(&e))? {
            let entry = entry.map_err(|e| unreadable(&e))?;
            let name = dir.join(entry.file_name());
            if may_differ(&name) {
                continue;
            }
            let kind = entry.file_type().map_err(|e| unreadable(&e))?;
            if kind.is_symlink() {
                let target = fs::read_link(entry.path()).map_err(|e| unreadable(&e))?;
                self.links.insert(name.clone(), target);
                if !is_followed(&name) {
                    continue;
                }
            }
            match fs::metadata(entry.path()) {
                Ok(found) if found.is_dir() => self.enter(&name, kind.is_symlink())?,
                Ok(found) if found.is_file() => self.files.push((name, found.len())),
                // A socket, say.
                Ok(_) => {}
                Err(e) if kind.is_symlink() && leads_nowhere(&e) => {}
                Err(e) => return Err(Error::io(Code::NotReadable, "examine", &entry.path(), &e)),
            }
        }
        Ok(())
    }

    fn enter(&mut self, name: &Path, by_link: bool) -> Result<()> {
        match by_link {
            false => _ = self.folders.insert(name.to_owned(), ()),
            true => {
                let path = self.root.join(name);
                let real = fs::canonicalize(&path)
                    .map_err(|e| Error::io(Code::NotReadable, "follow", &path, &e))?;
                // What is below the data directory is found without it.
                if real.starts_with(&self.real_root) || !self.followed.insert(real) {
                    return Ok(());
                }
            }
        }
        match name.parent() == Some(Path::new("pg_tblspc")) {
            false => self.walk(name),
            true => self.walk_tablespace(name),
        }
    }

    fn walk_tablespace(&mut self, name: &Path) -> Result<()> {
        let own = name.join(self.version_dir);
        let path = self.root.join(&own);
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() => {
                self.folders.insert(own.clone(), ());
                self.walk(&own)
            }
            Ok(_) => Ok(()),
            Err(e) if leads_nowhere(&e) => Ok(()),
            Err(e) => Err(Error::io(Code::NotReadable, "examine", &path, &e)),
        }
    }
}

/// Whether what a link of this name leads to is part of the cluster; a backup somebody has linked
/// beside it is not.
fn is_followed(name: &Path) -> bool {
    let within = ["base", "global", "pg_tblspc"];
    name == Path::new("pg_wal") || within.iter().any(|dir| name.starts_with(dir))
}

/// Nothing is there, or a link leads to itself.
fn leads_nowhere(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ELOOP)
}

/// Whether it is one of [`MAY_DIFFER`], or what this program itself puts beside one for a moment.
fn may_differ(name: &Path) -> bool {
    let Some(name) = name.to_str().filter(|name| !name.contains('/')) else {
        return false;
    };
    matches!(
        name,
        "postmaster.pid" | "postmaster.pid.pg_migrator" | "log" | "pg_log" | "logfile"
    ) || Path::new(name).extension().is_some_and(|end| end == "log")
}

#[cfg(test)]
mod tests;
