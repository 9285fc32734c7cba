//! Who owns what, and where that user may write.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, Gid, Group, Uid, User, faccessat};

use crate::error::{Code, Error, Remedy};
use crate::pg::quote::{shell, shell_path};

use super::path;

/// The user everything must belong to: the owner of the old data directory.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    pub(super) uid: Uid,
    /// Name in the operating system, or the number where there is none.
    pub(super) name: String,
    group: String,
    us: Uid,
}

impl Owner {
    /// The owner of a directory of the old cluster; this process where it has none to speak of.
    pub(super) fn of_cluster(dir: &Path, us: Uid) -> Self {
        let found = std::fs::metadata(dir).ok().filter(|found| found.uid() != 0);
        let uid = found
            .as_ref()
            .map_or(us, |found| Uid::from_raw(found.uid()));
        let user = User::from_uid(uid).ok().flatten();
        let gid = user
            .as_ref()
            .map(|user| user.gid)
            .or_else(|| found.as_ref().map(|found| Gid::from_raw(found.gid())));
        let group = gid.map_or_else(|| uid.to_string(), group_name);
        Self {
            uid,
            name: user_name(uid),
            group,
            us,
        }
    }

    /// As whom this process works.
    pub(super) fn us(&self) -> Uid {
        self.us
    }

    /// A command that makes a directory this user can work in.
    pub(super) fn install(&self, dir: &Path) -> Remedy {
        Remedy::command(format!(
            "install -d -o {} -g {} -m 0700 {}",
            shell(&self.name),
            shell(&self.group),
            shell_path(dir)
        ))
    }

    fn give(&self, dir: &Path) -> Remedy {
        Remedy::command(format!(
            "chown -R {}:{} {}",
            shell(&self.name),
            shell(&self.group),
            shell_path(dir)
        ))
    }
}

fn user_name(uid: Uid) -> String {
    User::from_uid(uid)
        .ok()
        .flatten()
        .map_or_else(|| uid.to_string(), |user| user.name)
}

fn group_name(gid: Gid) -> String {
    Group::from_gid(gid)
        .ok()
        .flatten()
        .map_or_else(|| gid.to_string(), |group| group.name)
}

/// What the process may do as it is now; the effective user counts, not the real one.
pub(super) fn may(path: &Path, access: AccessFlags) -> nix::Result<()> {
    faccessat(AT_FDCWD, path, access, AtFlags::AT_EACCESS)
}

/// What making and removing entries of a directory takes.
pub(super) fn fill() -> AccessFlags {
    AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK
}

/// What is wrong with the owner and the permissions of the old data directory.
pub(super) fn cluster_problems(dir: &Path, owner: &Owner, forbidden: u32) -> Vec<Error> {
    let Ok(found) = dir.metadata() else {
        return Vec::new();
    };
    let uid = Uid::from_raw(found.uid());
    let mut problems: Vec<Error> = cluster_owner_problem(dir, uid, owner.us)
        .into_iter()
        .collect();
    problems.extend(open_to_others(dir, found.mode(), forbidden));
    if problems.is_empty() {
        problems.extend(closed("the old data directory", dir));
    }
    problems
}

/// The old data directory of root, or of somebody else than this process.
pub(super) fn cluster_owner_problem(dir: &Path, uid: Uid, us: Uid) -> Option<Error> {
    if uid.is_root() {
        return Some(
            Error::new(Code::OwnedByRoot, "the old data directory belongs to root")
                .fact("data directory", dir.display())
                .remedy(Remedy::manual(format!(
                    "give it back to the user its server runs as: chown -R USER {}",
                    shell_path(dir)
                ))),
        );
    }
    let name = user_name(uid);
    (uid != us).then(|| {
        Error::new(
            Code::WrongOwner,
            format!("the old data directory belongs to {name}, not to you"),
        )
        .fact("data directory", dir.display())
        .fact("owner", &name)
        .fact("you are", user_name(us))
        .remedy(Remedy::manual(format!(
            "run the same command as that user (sudo -u {}), or as root",
            shell(&name)
        )))
    })
}

/// Permissions with which a server refuses to start, `checkDataDir` of
/// `src/backend/utils/init/miscinit.c`.
pub(super) fn open_to_others(dir: &Path, mode: u32, forbidden: u32) -> Option<Error> {
    (mode & forbidden != 0).then(|| {
        Error::new(
            Code::DataDirectoryLayout,
            format!(
                "{} is open to others; its server refuses to start like that",
                dir.display()
            ),
        )
        .fact("data directory", dir.display())
        .fact("permissions", format!("{:04o}", mode & 0o7777))
        .remedy(Remedy::command(format!("chmod 0700 {}", shell_path(dir))))
    })
}

/// A directory of ours in which entries cannot be made.
pub(super) fn closed(what: &str, dir: &Path) -> Option<Error> {
    let errno = may(dir, fill()).err()?;
    let remedy = match errno {
        Errno::EROFS => read_only(),
        _ => Remedy::command(format!("chmod u+rwx {}", shell_path(dir))),
    };
    Some(
        Error::new(Code::NotWritable, format!("{what} cannot be written to"))
            .fact("directory", dir.display())
            .caused_by(&errno)
            .remedy(remedy),
    )
}

/// A directory that exists and must belong to the owner of old, and be open to that user.
pub(super) fn directory_problem(what: &str, dir: &Path, owner: &Owner) -> Option<Error> {
    let found = dir.metadata().ok()?;
    if found.uid() == owner.uid.as_raw() {
        return closed(what, dir);
    }
    Some(
        Error::new(
            Code::WrongOwner,
            format!("{what} belongs to another user than the old data directory"),
        )
        .fact("directory", dir.display())
        .fact("owner", user_name(Uid::from_raw(found.uid())))
        .fact("must belong to", &owner.name)
        .remedy(owner.give(dir)),
    )
}

/// What is wrong with a state directory that is there already.
pub(super) fn state_dir_problem(dir: &Path, owner: &Owner) -> Option<Error> {
    let problem = |message: &str| {
        Error::new(Code::NotWritable, message)
            .fact("state directory", dir.display())
            .remedy(Remedy::manual(
                "give another state directory with --state-dir, or remove what is there",
            ))
    };
    match dir.metadata() {
        Ok(found) if found.is_dir() => directory_problem("the state directory", dir, owner),
        Ok(_) => Some(problem("the state directory is not a directory")),
        Err(_) if dir.is_symlink() => {
            Some(problem("the state directory is a link that leads nowhere"))
        }
        Err(_) => None,
    }
}

/// Why the new data directory and the state directory cannot be made where they are wanted.
///
/// A parent that does not exist is reported once for both.
pub(super) fn missing_parents(
    owner: &Owner,
    new: Option<&Path>,
    state_dir: Option<&Path>,
) -> Vec<Error> {
    let wanted = [
        ("the new data directory", new),
        ("the state directory", state_dir),
    ];
    let mut problems: Vec<Error> = Vec::new();
    for (what, dir) in wanted
        .into_iter()
        .filter_map(|(what, dir)| Some((what, dir?)))
    {
        let dir = path::named(dir);
        if dir.symlink_metadata().is_err() {
            let found = cannot_be_made(what, &dir, owner);
            let told = found.as_ref().is_some_and(|found| {
                problems
                    .iter()
                    .any(|earlier| earlier.remedy_text() == found.remedy_text())
            });
            problems.extend(found.filter(|_| !told));
        }
    }
    problems
}

fn cannot_be_made(what: &str, dir: &Path, owner: &Owner) -> Option<Error> {
    let parent = dir.parent()?;
    let refused = |message: String, remedy: Remedy| {
        Error::new(Code::NotWritable, message)
            .fact("directory", dir.display())
            .remedy(remedy)
    };
    match parent.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let message = format!(
                "{what} cannot be made, because {} does not exist",
                parent.display()
            );
            Some(refused(message, owner.install(parent)))
        }
        Ok(found) if !found.is_dir() => {
            let message = format!(
                "{what} cannot be made, because {} is not a directory",
                parent.display()
            );
            Some(refused(
                message,
                Remedy::manual("give a path below a directory"),
            ))
        }
        _ => {
            let errno = may(parent, AccessFlags::W_OK | AccessFlags::X_OK).err()?;
            let message = format!(
                "{what} cannot be made, because {} cannot write to {}",
                owner.name,
                parent.display()
            );
            let remedy = match errno {
                Errno::EROFS => read_only(),
                _ => owner.install(dir),
            };
            Some(refused(message, remedy).caused_by(&errno))
        }
    }
}

fn read_only() -> Remedy {
    Remedy::manual("the file system is mounted read-only: mount it for writing, or use another one")
}
