//! Every relation file of old has its counterpart in new, and new has nothing else.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Mutex;

use sha2::{Digest, Sha256};

use crate::disk::FileId;
use crate::error::{Code, Error, Result};
use crate::plan::{FileMap, Folder, Mode};
use crate::transfer::{Pending, pending};
use crate::work::{Cancel, each};

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// Files compared.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// One clause a difference, sorted.
    pub differences: Vec<String>,
}

/// Compares names and sizes; in link mode it must be the same file.
pub fn names_and_sizes(
    map: &FileMap,
    mode: Mode,
    jobs: usize,
    cancel: &Cancel,
) -> Result<Compared> {
    compare(map, mode, jobs, cancel, |_, _, _| Ok(None))
}

/// Compares names, sizes and, where they are not the same file, every byte by its SHA-256.
pub fn contents(map: &FileMap, mode: Mode, jobs: usize, cancel: &Cancel) -> Result<Compared> {
    compare(map, mode, jobs, cancel, |old, new, cancel| {
        let (a, b) = (digest(old, cancel)?, digest(new, cancel)?);
        Ok((a != b).then(|| "contents differ".to_owned()))
    })
}

type Deeper<'a> = dyn Fn(&Path, &Path, &Cancel) -> Result<Option<String>> + Sync + 'a;

fn compare(
    map: &FileMap,
    mode: Mode,
    jobs: usize,
    cancel: &Cancel,
    deeper: impl Fn(&Path, &Path, &Cancel) -> Result<Option<String>> + Sync,
) -> Result<Compared> {
    let sum = Mutex::new(Compared::default());
    each(jobs, &map.folders, cancel, |folder| {
        let found = compare_folder(folder, mode, cancel, &deeper)?;
        let mut sum = sum
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        sum.files += found.files;
        sum.bytes += found.bytes;
        sum.differences.extend(found.differences);
        Ok(())
    })?;
    let mut sum = sum
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    sum.differences.sort_unstable();
    Ok(sum)
}

fn compare_folder(
    folder: &Folder,
    mode: Mode,
    cancel: &Cancel,
    deeper: &Deeper<'_>,
) -> Result<Compared> {
    let pending = pending(folder)?;
    let mut found = Compared::default();
    let mut say = |name: &str, what: String| {
        let path = folder.new_root.join(&folder.new_dir).join(name);
        found
            .differences
            .push(format!("{}: {what}", path.display()));
    };
    for name in pending
        .present
        .iter()
        .filter(|name| !pending.wanted.contains_key(*name))
    {
        say(name, "in new only".to_owned());
    }
    let (mut files, mut bytes) = (0, 0);
    for (new_name, old_name) in &pending.wanted {
        files += 1;
        match compare_file(&pending, old_name, new_name, mode)? {
            Verdict::Same => {}
            Verdict::Differs(what) => say(new_name, what),
            Verdict::SameSize(len) => {
                bytes += len;
                let old = pending.old.path().join(old_name);
                let new = pending.new.path().join(new_name);
                if let Some(what) = deeper(&old, &new, cancel)? {
                    say(new_name, what);
                }
            }
        }
    }
    found.files = files;
    found.bytes = bytes;
    Ok(found)
}

enum Verdict {
    Same,
    SameSize(u64),
    Differs(String),
}

fn compare_file(pending: &Pending, old_name: &str, new_name: &str, mode: Mode) -> Result<Verdict> {
    let ids: (Option<FileId>, Option<FileId>) = (
        pending.old.identity(old_name)?,
        pending.new.identity(new_name)?,
    );
    Ok(match ids {
        (_, None) => Verdict::Differs("missing".to_owned()),
        (None, _) => Verdict::Differs("gone from old".to_owned()),
        (Some(old), Some(new)) if old.same_file(&new) => match mode {
            Mode::Link => Verdict::Same,
            Mode::Copy => Verdict::Differs("is the same file as in old".to_owned()),
        },
        (Some(_), Some(_)) if mode == Mode::Link => {
            Verdict::Differs("is another file than in old".to_owned())
        }
        (Some(old), Some(new)) if old.len != new.len => {
            Verdict::Differs(format!("{} bytes in new, {} in old", new.len, old.len))
        }
        (Some(old), Some(_)) => Verdict::SameSize(old.len),
    })
}

fn digest(path: &Path, cancel: &Cancel) -> Result<[u8; 32]> {
    let unreadable = |e: &std::io::Error| Error::io(Code::NotReadable, "read", path, e);
    let mut file = File::open(path).map_err(|e| unreadable(&e))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        cancel.check()?;
        let read = file.read(&mut buffer).map_err(|e| unreadable(&e))?;
        if read == 0 {
            return Ok(hash.finalize().into());
        }
        hash.update(&buffer[..read]);
    }
}
