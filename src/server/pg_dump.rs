//! `pg_dump`: the schema of one database, with everything that must keep its number.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::installation::Installation;
use super::program::{Program, path_option};
use crate::error::{Code, Result};
use crate::pg::MajorVersion;
use crate::work::Cancel;

/// A dump in binary-upgrade mode, custom format, without data.
#[derive(Debug, Clone)]
pub struct PgDump<'a> {
    /// Where to connect, with the database.
    pub conninfo: &'a str,
    /// The database's name, for messages.
    pub database: &'a str,
    /// Where to write the dump.
    pub file: &'a Path,
    /// An exported snapshot to dump in.
    pub snapshot: Option<&'a str>,
    /// How long to wait for the lock on a table before giving up.
    pub lock_wait_timeout: Option<Duration>,
    /// Whether planner statistics are dumped too; only 18 and later can.
    pub statistics: bool,
    /// Whether security labels are dumped; to look for some takes a tenth of a small dump.
    pub labels: bool,
    /// Whether it may see `PGPASSWORD` and the file of passwords.
    pub password: bool,
    /// Whether to wait until the file is on disk.
    pub sync: bool,
}

impl PgDump<'_> {
    /// Whether this version can dump planner statistics.
    pub fn knows_statistics(major: MajorVersion) -> bool {
        major >= MajorVersion(18)
    }

    /// Makes the dump.
    pub fn run(&self, installation: &Installation, log: &Path, cancel: &Cancel) -> Result<()> {
        Program::new(installation, "pg_dump")
            .args(self.args(installation.version.major))
            .about("database", self.database)
            .failing_with(Code::DumpFailed)
            .log_to(log)
            .with_password(self.password)
            .run(cancel)?;
        Ok(())
    }

    fn args(&self, major: MajorVersion) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec![
            "--binary-upgrade".into(),
            "--format=custom".into(),
            "--quote-all-identifiers".into(),
            // It is read back within minutes; compressing takes a sixth of a small dump.
            "--compress=0".into(),
            "--no-password".into(),
        ];
        // --schema-only excludes --statistics.
        if self.statistics && Self::knows_statistics(major) {
            args.extend(["--no-data".into(), "--statistics".into()]);
        } else {
            args.push("--schema-only".into());
        }
        if !self.labels {
            args.push("--no-security-labels".into());
        }
        if let Some(snapshot) = self.snapshot {
            args.push(format!("--snapshot={snapshot}").into());
        }
        if let Some(timeout) = self.lock_wait_timeout {
            args.push(format!("--lock-wait-timeout={}", timeout.as_millis()).into());
        }
        if !self.sync {
            args.push("--no-sync".into());
        }
        args.push(path_option("--file=", self.file));
        args.push(format!("--dbname={}", self.conninfo).into());
        args
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_asked_for_in_full() {
        let dump = PgDump {
            conninfo: "host='/s' dbname='a=b'",
            database: "a=b",
            file: Path::new("/state/1.dump"),
            snapshot: Some("00000003-1"),
            lock_wait_timeout: Some(Duration::from_secs(2)),
            statistics: true,
            labels: true,
            password: false,
            sync: false,
        };
        let text = |major| {
            let args = dump.args(MajorVersion(major)).into_iter();
            let words: Vec<_> = args.map(|word| word.into_string().unwrap()).collect();
            words.join(" ")
        };
        let tail = "--snapshot=00000003-1 --lock-wait-timeout=2000 --no-sync \
                    --file=/state/1.dump --dbname=host='/s' dbname='a=b'";
        let head =
            "--binary-upgrade --format=custom --quote-all-identifiers --compress=0 --no-password";
        assert_eq!(text(17), format!("{head} --schema-only {tail}"));
        assert_eq!(text(18), format!("{head} --no-data --statistics {tail}"));
        let without = PgDump {
            labels: false,
            ..dump.clone()
        };
        let args = without.args(MajorVersion(17));
        assert!(args.contains(&"--no-security-labels".into()));
    }
}
