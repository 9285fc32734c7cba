//! What the times of a file can show: that nobody has written to it since somebody looked.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::stat::FileStat;
use nix::time::{ClockId, clock_gettime};

use super::dir::OldDir;
use super::space::FileId;

/// How much older than a look a file must be, in nanoseconds, for its times to tell of every
/// write that comes after the look.
///
/// Times of files move with the ticks of the kernel, on old file systems with the seconds.
pub const MARGIN: i64 = 2_500_000_000;

/// How far a clock may seem to have gone backward while both were read.
const JITTER: i64 = 1_000_000_000;

/// A file as it was at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    /// Number of the device.
    pub device: u64,
    /// Number of the inode on it.
    pub inode: u64,
    /// Its length in bytes.
    pub len: u64,
    /// When its contents were last written, in nanoseconds since 1970.
    pub modified: i64,
    /// When anything of it last changed, its times included.
    pub changed: i64,
}

impl Stamp {
    pub(super) fn from_stat(stat: &FileStat) -> Self {
        let id = FileId::from_stat(stat);
        Self {
            device: id.device,
            inode: id.inode,
            len: id.len,
            modified: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
            changed: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Whether both are of one file.
    pub fn same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Whether the times of a file that had this stamp at the moment `seen` would show every
    /// write since: a write within the granularity of the times would leave them as they were.
    ///
    /// Both times count, because a program may set the first one back but not the second.
    pub fn tells_of_later_writes(&self, seen: i64) -> bool {
        let before = seen.saturating_sub(MARGIN);
        self.modified < before && self.changed < before
    }
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// The time that files are given now.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or(Duration::ZERO).as_nanos()).unwrap_or(i64::MAX)
}

/// A stretch of time in which the times of files can be compared.
///
/// After a crash of the machine contents may be on the disk whose new times are not; after the
/// clock was set back a file may get a time it has had before.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Era {
    /// Names the boot of the machine.
    boot: String,
    /// What the clock said when the machine was booted, in nanoseconds since 1970.
    ahead: i64,
}

impl Era {
    /// The present one; nothing where the system does not tell.
    pub fn now() -> Option<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(Self {
            boot: boot.trim().to_owned(),
            ahead: ahead()?,
        })
    }

    /// Whether what a file was given then may be compared with what it has now: the machine
    /// has been up ever since.
    pub fn same_boot(&self, now: &Self) -> bool {
        !self.boot.is_empty() && self.boot == now.boot
    }

    /// By how many nanoseconds the clock was set forward since; nothing after another boot.
    pub fn set_forward(&self, now: &Self) -> Option<i64> {
        self.same_boot(now)
            .then(|| now.ahead.saturating_sub(self.ahead))
    }

    /// Whether moments of then may be compared with those of now, too: nobody has set the clock
    /// back.
    pub fn same_clock(&self, now: &Self) -> bool {
        self.same_boot(now) && now.ahead > self.ahead.saturating_sub(JITTER)
    }
}

/// How far the clock is ahead of one that nobody sets. Both are slewed alike, so that only a
/// step of the clock changes it.
#[cfg(target_os = "linux")]
fn ahead() -> Option<i64> {
    let boot = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
    let real = clock_gettime(ClockId::CLOCK_REALTIME).ok()?;
    let of = |time: nix::sys::time::TimeSpec| nanoseconds(time.tv_sec(), time.tv_nsec());
    Some(of(real).saturating_sub(of(boot)))
}

#[cfg(not(target_os = "linux"))]
fn ahead() -> Option<i64> {
    None
}

/// Whether files in this directory get the time of each write before it can be missed.
///
/// That is known of file systems in this machine which hold a lock of the file from before they
/// set its time until what was written is in it, so that [`OldDir::open_file`] can wait for those
/// who are at it. Of a file system on another machine nothing is known.
#[cfg(target_os = "linux")]
pub fn times_tell(dir: &OldDir) -> bool {
    use nix::sys::statfs::{
        BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, fstatfs,
    };
    let known = [
        EXT4_SUPER_MAGIC,
        XFS_SUPER_MAGIC,
        BTRFS_SUPER_MAGIC,
        TMPFS_MAGIC,
    ];
    fstatfs(&dir.dir).is_ok_and(|found| known.contains(&found.filesystem_type()))
}

/// Whether files in this directory get the time of each write before it can be missed.
#[cfg(not(target_os = "linux"))]
pub fn times_tell(_dir: &OldDir) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn era(boot: &str, ahead: i64) -> Era {
        Era {
            boot: boot.into(),
            ahead,
        }
    }

    #[test]
    fn an_era_ends_with_a_boot_or_a_clock_set_back() {
        let then = era("a", 10_000_000_000);
        assert!(then.same_clock(&era("a", 10_000_000_000)));
        assert!(then.same_clock(&era("a", 9_900_000_000)));
        assert!(then.same_clock(&era("a", 99_000_000_000)));
        assert!(!then.same_clock(&era("a", 8_000_000_000)));
        assert!(then.same_boot(&era("a", 8_000_000_000)));
        assert!(!then.same_boot(&era("b", 10_000_000_000)));
        assert!(!era("", 0).same_boot(&era("", 0)));
        assert_eq!(
            then.set_forward(&era("a", 3_000_000_000)),
            Some(-7_000_000_000)
        );
        assert_eq!(then.set_forward(&era("b", 10_000_000_000)), None);
        let now = Era::now().unwrap();
        assert!(now.same_clock(&Era::now().unwrap()));
    }

    #[test]
    fn a_young_time_tells_nothing() {
        let stamp = |modified, changed| Stamp {
            device: 1,
            inode: 2,
            len: 3,
            modified,
            changed,
        };
        let seen = 100_000_000_000;
        let old = seen - MARGIN - 1;
        assert!(stamp(old, old).tells_of_later_writes(seen));
        assert!(!stamp(old + 1, old + 1).tells_of_later_writes(seen));
        // It was written before the clock was set back.
        assert!(!stamp(seen + 1000 * MARGIN, seen + 1000 * MARGIN).tells_of_later_writes(seen));
        // Somebody has set the time of the contents back.
        assert!(!stamp(5, seen).tells_of_later_writes(seen));
        assert!(!stamp(seen + MARGIN, 5).tells_of_later_writes(seen));
    }
}
