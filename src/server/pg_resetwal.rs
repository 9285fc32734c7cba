//! `pg_resetwal`: the counters of a cluster that is shut down.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::installation::Installation;
use super::program::{Program, path_option};
use crate::error::Result;
use crate::pg::{FullXid, MajorVersion, MultiXid, Oid, Xid};
use crate::work::Cancel;

/// How long it may take: it writes a control file and one segment of WAL, of 1 GB at most, and
/// service is down meanwhile.
const LIMIT: Duration = Duration::from_secs(300);

/// The counters to set; what is `None` stays.
///
/// It is never forced: without `-f` the program refuses a cluster that was not shut down, and
/// rightly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PgResetwal {
    /// The next transaction ID, with its epoch.
    pub next_xid: Option<FullXid>,
    /// The oldest transaction ID any row may have.
    pub oldest_xid: Option<Xid>,
    /// Oldest and newest transaction ID that may have a commit timestamp.
    pub commit_timestamps: Option<(Xid, Xid)>,
    /// The next multixact ID and the oldest one.
    pub multixacts: Option<(MultiXid, MultiXid)>,
    /// Where the members of the next multixact go.
    pub next_multi_offset: Option<u64>,
    /// The next OID.
    pub next_oid: Option<Oid>,
    /// The first WAL segment, by its file name.
    pub next_wal_file: Option<String>,
    /// Whether `char` has a sign; only 18 and later can be told.
    pub char_signed: Option<bool>,
}

impl PgResetwal {
    /// Sets the counters, all in one run.
    pub fn run(
        &self,
        installation: &Installation,
        data_dir: &Path,
        log: &Path,
        cancel: &Cancel,
    ) -> Result<()> {
        self.program(installation, data_dir, log, &[]).run(cancel)?;
        Ok(())
    }

    /// What the program would do, as it prints it.
    pub fn dry_run(
        &self,
        installation: &Installation,
        data_dir: &Path,
        log: &Path,
        cancel: &Cancel,
    ) -> Result<String> {
        let program = self.program(installation, data_dir, log, &["--dry-run"]);
        let output = program.run(cancel)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn program<'a>(
        &self,
        installation: &'a Installation,
        data_dir: &Path,
        log: &Path,
        more: &[&str],
    ) -> Program<'a> {
        Program::new(installation, "pg_resetwal")
            .args(more)
            .args(self.args(installation.version.major))
            .args([path_option("--pgdata=", data_dir)])
            .about("data directory", data_dir.to_string_lossy())
            .within(LIMIT)
            .log_to(log)
    }

    fn args(&self, major: MajorVersion) -> Vec<OsString> {
        let mut args: Vec<OsString> = Vec::new();
        let mut add = |option: &str, value: String| args.push(format!("{option}={value}").into());
        if let Some(next) = self.next_xid {
            add("--next-transaction-id", next.xid().to_string());
            add("--epoch", next.epoch().to_string());
        }
        if let Some(oldest) = self.oldest_xid {
            add("--oldest-transaction-id", oldest.to_string());
        }
        if let Some((oldest, newest)) = self.commit_timestamps {
            add("--commit-timestamp-ids", format!("{oldest},{newest}"));
        }
        if let Some((next, oldest)) = self.multixacts {
            add("--multixact-ids", format!("{next},{oldest}"));
        }
        if let Some(offset) = self.next_multi_offset {
            add("--multixact-offset", offset.to_string());
        }
        if let Some(next) = self.next_oid {
            add("--next-oid", next.to_string());
        }
        if let Some(file) = &self.next_wal_file {
            add("--next-wal-file", file.clone());
        }
        if let Some(signed) = self.char_signed.filter(|_| major >= MajorVersion(18)) {
            let word = if signed { "signed" } else { "unsigned" };
            add("--char-signedness", word.to_owned());
        }
        args
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(options: &PgResetwal, major: u16) -> String {
        let args = options.args(MajorVersion(major)).into_iter();
        let words: Vec<_> = args.map(|word| word.into_string().unwrap()).collect();
        words.join(" ")
    }

    #[test]
    fn nothing_given_changes_nothing_and_nothing_is_forced() {
        assert_eq!(words(&PgResetwal::default(), 18), "");
    }

    #[test]
    fn all_counters_go_into_one_call() {
        let options = PgResetwal {
            next_xid: Some(FullXid::new(2, Xid(4711))),
            oldest_xid: Some(Xid(726)),
            commit_timestamps: Some((Xid(4711), Xid(4711))),
            multixacts: Some((MultiXid(9), MultiXid(1))),
            next_multi_offset: Some(17),
            next_oid: Some(Oid(24576)),
            next_wal_file: Some("0000000100000000000000AB".into()),
            char_signed: Some(false),
        };
        let common = "--next-transaction-id=4711 --epoch=2 --oldest-transaction-id=726 \
                      --commit-timestamp-ids=4711,4711 --multixact-ids=9,1 --multixact-offset=17 \
                      --next-oid=24576 --next-wal-file=0000000100000000000000AB";
        assert_eq!(words(&options, 17), common);
        assert_eq!(
            words(&options, 18),
            format!("{common} --char-signedness=unsigned")
        );
    }
}
