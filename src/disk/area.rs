//! A root one may write under, and how a path below it is walked.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, open};
use nix::sys::stat::{Mode, SFlag, fstatat};

use super::act::{DIRECTORY, failure, open_dir_at, outside};
use super::dir::AreaDir;
use crate::error::{Code, Error, Remedy, Result};

/// A root one may write under.
///
/// All paths given are relative to it. "..", absolute paths and directories that are symbolic
/// links are refused with [`Code::OutsideArea`]; the links of a data directory that must be
/// followed are named by [`Area::allow_link`].
#[derive(Debug, Clone)]
pub struct Area {
    root: PathBuf,
    links: BTreeMap<PathBuf, PathBuf>,
}

/// An open directory and the name of the entry in it that an act is about.
pub(super) struct Place {
    pub(super) dir: OwnedFd,
    pub(super) dir_path: PathBuf,
    pub(super) name: OsString,
    pub(super) path: PathBuf,
}

impl Area {
    /// An area whose root need not exist yet; its parent must.
    ///
    /// A root that is a symbolic link means the directory it leads to, now and later.
    pub fn new(root: &Path) -> Result<Self> {
        let root = match root.canonicalize() {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => future_root(root)?,
            Err(error) => return Err(failure("resolve", root, error)),
        };
        if root.file_name().is_none() {
            return Err(outside(&root, "the root of a file system is no area"));
        }
        Ok(Self {
            root,
            links: BTreeMap::new(),
        })
    }

    /// The root, absolute and free of symbolic links.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Lets paths go through the symbolic link `rel`, as long as it leads to `target`.
    ///
    /// `target` is a canonical path; it is compared with what the link leads to each time the
    /// link is met.
    pub fn allow_link(&mut self, rel: &str, target: PathBuf) {
        self.links
            .insert(Path::new(rel).components().collect(), target);
    }

    /// The absolute path of `rel`, checked; neither it nor its directory need exist.
    pub fn path(&self, rel: impl AsRef<Path>) -> Result<PathBuf> {
        let parts = self.parts(rel.as_ref())?;
        if let Some((_, dirs)) = parts.split_last() {
            self.walk(dirs)?;
        }
        Ok(self.join(&parts))
    }

    /// A handle on a directory below the root, for many acts in it.
    pub fn open_dir(&self, rel: impl AsRef<Path>) -> Result<AreaDir> {
        let (dir, path) = self.open(rel.as_ref())?;
        Ok(AreaDir::new(dir, path))
    }

    /// The directory `rel` and its path; it must exist.
    pub(super) fn open(&self, rel: &Path) -> Result<(OwnedFd, PathBuf)> {
        let parts = self.parts(rel)?;
        let path = self.join(&parts);
        match self.walk(&parts)? {
            Some(dir) => Ok((dir, path)),
            None => Err(failure("open", &path, Errno::ENOENT)),
        }
    }

    /// The place of `rel`; its directory must exist.
    pub(super) fn place(&self, rel: &Path) -> Result<Place> {
        self.place_if_present(rel)?
            .ok_or_else(|| failure("open the directory of", &self.root.join(rel), Errno::ENOENT))
    }

    /// The place of `rel`, or nothing where its directory does not exist.
    pub(super) fn place_if_present(&self, rel: &Path) -> Result<Option<Place>> {
        let parts = self.parts(rel)?;
        let path = self.join(&parts);
        let (dir, dir_path) = match parts.split_last() {
            Some((_, dirs)) => (self.walk(dirs)?, self.join(dirs)),
            None => {
                let parent = self.root.parent().unwrap_or(Path::new("/"));
                (open_absolute(parent)?, parent.to_owned())
            }
        };
        let name = path.file_name().unwrap_or_default().to_owned();
        Ok(dir.map(|dir| Place {
            dir,
            dir_path,
            name,
            path,
        }))
    }

    /// The components of a relative path, which may be empty.
    fn parts(&self, rel: &Path) -> Result<Vec<OsString>> {
        let mut parts = Vec::new();
        for component in rel.components() {
            match component {
                Component::Normal(name) => parts.push(name.to_owned()),
                Component::CurDir => {}
                Component::ParentDir => return Err(outside(rel, "the path has \"..\" in it")),
                Component::RootDir | Component::Prefix(_) => {
                    return Err(outside(rel, "the path is absolute"));
                }
            }
        }
        Ok(parts)
    }

    fn join(&self, parts: &[OsString]) -> PathBuf {
        let mut path = self.root.clone();
        path.extend(parts);
        path
    }

    /// Opens one directory after the other; nothing where one does not exist.
    fn walk(&self, parts: &[OsString]) -> Result<Option<OwnedFd>> {
        let Some(mut dir) = open_absolute(&self.root)? else {
            return Ok(None);
        };
        for (at, name) in parts.iter().enumerate() {
            dir = match open_dir_at(&dir, name) {
                Ok(next) => next,
                Err(Errno::ENOENT) => return Ok(None),
                Err(error) => {
                    let path = self.join(&parts[..=at]);
                    if !is_symlink(&dir, name) {
                        return Err(failure("open the directory", &path, error));
                    }
                    self.follow(&parts[..=at].iter().collect::<PathBuf>(), &path)?
                }
            };
        }
        Ok(Some(dir))
    }

    /// Opens what an allowed link leads to, never what it merely says.
    fn follow(&self, rel: &Path, path: &Path) -> Result<OwnedFd> {
        let Some(allowed) = self.links.get(rel) else {
            return Err(outside(path, "a directory on the way is a symbolic link"));
        };
        let found = path
            .canonicalize()
            .map_err(|e| failure("follow the link", path, e))?;
        if found != *allowed {
            return Err(outside(path, "the link leads elsewhere than it did")
                .fact("expected", allowed.display())
                .fact("found", found.display()));
        }
        open_absolute(allowed)?.ok_or_else(|| failure("open", allowed, Errno::ENOENT))
    }
}

/// The canonical path of a root that is yet to be made.
fn future_root(root: &Path) -> Result<PathBuf> {
    let name = root
        .file_name()
        .ok_or_else(|| outside(root, "the path does not end in a name"))?;
    if root.is_symlink() {
        return Err(outside(root, "a symbolic link that leads nowhere"));
    }
    let parent = match root.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match parent.canonicalize() {
        Ok(parent) => Ok(parent.join(name)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(
                Error::io(Code::NotWritable, "find the directory for", root, &error)
                    .fact("path", parent.display())
                    .remedy(Remedy::manual(format!(
                        "create the directory {} first",
                        parent.display()
                    ))),
            )
        }
        Err(error) => Err(failure("resolve", parent, error)),
    }
}

fn open_absolute(path: &Path) -> Result<Option<OwnedFd>> {
    match open(path, DIRECTORY, Mode::empty()) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::ENOENT) => Ok(None),
        Err(Errno::ENOTDIR | Errno::ELOOP) if path.is_symlink() => Err(outside(
            path,
            "the directory was replaced by a symbolic link",
        )),
        Err(error) => Err(failure("open the directory", path, error)),
    }
}

/// Whether the entry itself is a symbolic link.
pub(super) fn is_symlink(dir: impl AsFd, name: &OsStr) -> bool {
    fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFLNK.bits())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn area() -> (tempfile::TempDir, Area) {
        let dir = tempfile::tempdir().unwrap();
        let area = Area::new(&dir.path().join("area")).unwrap();
        area.create_dir("", 0o700).unwrap();
        (dir, area)
    }

    #[test]
    fn names_that_leave_are_refused() {
        let (_dir, area) = area();
        for rel in ["..", "a/../b", "a/../../b", "/etc/passwd", "/"] {
            assert_eq!(
                area.path(rel).unwrap_err().code(),
                Code::OutsideArea,
                "{rel}"
            );
            let written = area.write(rel, b"x", 0o600).unwrap_err();
            assert_eq!(written.code(), Code::OutsideArea, "{rel}");
        }
        assert_eq!(area.path("").unwrap(), area.root());
        assert_eq!(area.path("./no/such").unwrap(), area.root().join("no/such"));
    }

    #[test]
    fn a_link_in_the_middle_is_refused_and_one_at_the_end_is_not_followed() {
        let (dir, area) = area();
        let beyond = dir.path().join("beyond");
        fs::create_dir(&beyond).unwrap();
        fs::write(beyond.join("kept"), "kept").unwrap();
        symlink(&beyond, area.root().join("way")).unwrap();
        symlink(beyond.join("kept"), area.root().join("end")).unwrap();

        let kept = beyond.join("kept");
        let refused = [
            area.path("way/kept").unwrap_err(),
            area.write("way/kept", b"x", 0o600).unwrap_err(),
            area.create_dir("way", 0o700).unwrap_err(),
            area.create_dir("way/new", 0o700).unwrap_err(),
            area.remove_file("way/kept").unwrap_err(),
            area.remove_tree("way/kept").unwrap_err(),
            area.empty_dir("way").unwrap_err(),
            area.sync_dir("way").unwrap_err(),
            area.link(&kept, "way/link").unwrap_err(),
            area.copy_file(&kept, "way/copy").unwrap_err(),
            area.rename("way/kept", &area, "here").unwrap_err(),
            area.open_dir("way").map(|_| ()).unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.code(), Code::OutsideArea, "{error}");
        }
        assert!(area.copy_file(&kept, "end").is_err());
        assert!(area.link(&kept, "end").is_err());
        assert!(area.truncate_or_extend("end", 0).is_err());
        area.write("end", b"mine", 0o600).unwrap();
        assert!(!area.root().join("end").is_symlink());
        assert_eq!(fs::read_to_string(&kept).unwrap(), "kept");
        assert_eq!(fs::read_dir(&beyond).unwrap().count(), 1);
    }

    #[test]
    fn an_allowed_link_is_followed_while_it_leads_where_it_did() {
        let (dir, mut area) = area();
        let space = dir.path().canonicalize().unwrap().join("space");
        let other = dir.path().join("other");
        fs::create_dir(&space).unwrap();
        fs::create_dir(&other).unwrap();
        area.create_dir("pg_tblspc", 0o700).unwrap();
        area.symlink(&space, "pg_tblspc/16400").unwrap();
        area.allow_link("pg_tblspc/16400", space.clone());

        area.create_dir("pg_tblspc/16400/PG_17", 0o700).unwrap();
        area.write("pg_tblspc/16400/PG_17/1", b"x", 0o600).unwrap();
        assert_eq!(fs::read(space.join("PG_17/1")).unwrap(), b"x");
        area.remove_tree("pg_tblspc/16400/PG_17").unwrap();
        assert!(!space.join("PG_17").exists());

        area.remove_file("pg_tblspc/16400").unwrap();
        symlink(&other, area.root().join("pg_tblspc/16400")).unwrap();
        let error = area.create_dir("pg_tblspc/16400/PG_17", 0o700).unwrap_err();
        assert_eq!(error.code(), Code::OutsideArea);
        assert_eq!(fs::read_dir(&other).unwrap().count(), 0);
    }

    #[test]
    fn a_root_needs_a_parent_and_keeps_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let error = Area::new(&dir.path().join("no/such")).unwrap_err();
        assert_eq!(error.code(), Code::NotWritable);
        assert_eq!(
            Area::new(Path::new("/")).unwrap_err().code(),
            Code::OutsideArea
        );

        let real = dir.path().join("real");
        fs::create_dir(&real).unwrap();
        symlink(&real, dir.path().join("alias")).unwrap();
        let area = Area::new(&dir.path().join("alias")).unwrap();
        assert_eq!(area.root(), real.canonicalize().unwrap());

        fs::remove_dir(&real).unwrap();
        symlink(dir.path(), &real).unwrap();
        assert_eq!(
            area.write("x", b"", 0o600).unwrap_err().code(),
            Code::OutsideArea
        );
    }
}
