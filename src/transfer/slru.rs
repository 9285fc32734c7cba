//! Old's transaction status: pg_xact and pg_multixact, copied whole and extended.

use std::path::{Path, PathBuf};

use crate::disk::Area;
use crate::error::{Code, Error, Result};
use crate::pg::slru::{self, Position};
use crate::pg::{MultiXid, Xid};

/// A directory of status segments, and how far it must reach.
struct Segments<'a> {
    /// Relative to the data directory, the same in both clusters from 10 on.
    dir: &'static str,
    old_data_dir: Option<&'a Path>,
    /// The page of old's next number, and that of new's.
    pages: (Position, Position),
    /// The highest page there is; after it comes page 0.
    highest: Position,
}

/// How far the status must reach in new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusDirs {
    /// Next XID of old and of new.
    pub xid: (Xid, Xid),
    /// Next multixact of old and of new.
    pub multi: (MultiXid, MultiXid),
    /// Next multixact member of old and of new.
    pub member: (u32, u32),
}

/// Replaces new's transaction status by old's.
///
/// Where new's next numbers are ahead of old's, zeroed pages are added up to theirs: a server
/// reads the page of the next transaction when it starts, and does not start without it.
/// Mirrors `copy_xact_xlog_xid` of `src/bin/pg_upgrade/pg_upgrade.c`.
/// Without a directory of old there are only zeroes, on the pages of the next numbers.
pub fn carry(old_data_dir: Option<&PathBuf>, new: &Area, reach: &StatusDirs) -> Result<()> {
    let old_data_dir = old_data_dir.map(PathBuf::as_path);
    let all = [
        Segments {
            dir: "pg_xact",
            old_data_dir,
            pages: (
                slru::xact_position(reach.xid.0),
                slru::xact_position(reach.xid.1),
            ),
            highest: slru::xact_position(Xid(u32::MAX)),
        },
        Segments {
            dir: "pg_multixact/offsets",
            old_data_dir,
            pages: (
                slru::offset_position(reach.multi.0),
                slru::offset_position(reach.multi.1),
            ),
            highest: slru::offset_position(MultiXid(u32::MAX)),
        },
        Segments {
            dir: "pg_multixact/members",
            old_data_dir,
            pages: (
                slru::member_position(reach.member.0),
                slru::member_position(reach.member.1),
            ),
            highest: slru::member_position(u32::MAX),
        },
    ];
    all.iter().try_for_each(|segments| segments.replace(new))
}

impl Segments<'_> {
    fn replace(&self, new: &Area) -> Result<()> {
        new.empty_dir(self.dir)?;
        if let Some(old_data_dir) = self.old_data_dir {
            let from = old_data_dir.join(self.dir);
            for name in segment_names(&from)? {
                let to = PathBuf::from(self.dir).join(&name);
                new.copy_file(&from.join(&name), &to)?;
                new.sync_file(&to)?;
            }
        }
        self.extend(new)?;
        new.sync_dir(self.dir)
    }

    /// Adds zeroed pages up to the one new needs.
    ///
    /// Begins at the page of old's own next number, because old does not have it yet where
    /// that number is the first of its page.
    fn extend(&self, new: &Area) -> Result<()> {
        let (mut at, needed) = self.pages;
        self.ensure(new, at)?;
        while at.page != needed.page {
            at.page = if at.page == self.highest.page {
                0
            } else {
                at.page + 1
            };
            self.ensure(new, at)?;
        }
        Ok(())
    }

    fn ensure(&self, new: &Area, at: Position) -> Result<()> {
        let rel = PathBuf::from(self.dir).join(at.segment_name());
        let len = (u64::from(at.page_in_segment()) + 1) * slru::PAGE_SIZE as u64;
        let path = new.path(&rel)?;
        match std::fs::metadata(&path) {
            Ok(meta) if meta.len() >= len => Ok(()),
            Ok(_) => new.truncate_or_extend(&rel, len),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                new.write(&rel, &[0; slru::PAGE_SIZE], 0o600)?;
                new.truncate_or_extend(&rel, len)
            }
            Err(e) => Err(Error::io(Code::NotReadable, "look at", &path, &e)),
        }
    }
}

/// Names of the segments: hexadecimal digits and nothing else.
fn segment_names(dir: &Path) -> Result<Vec<String>> {
    let unreadable = |e: &std::io::Error| Error::io(Code::NotReadable, "list", dir, e);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| unreadable(&e))? {
        let name = entry.map_err(|e| unreadable(&e))?.file_name();
        if let Some(name) = name.to_str()
            && !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
