//! `pg_dumpall`: what belongs to no database.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::installation::Installation;
use super::program::{Program, path_option};
use crate::error::{Code, Result};
use crate::work::Cancel;

/// A script of roles and, where they are wanted, tablespaces, in binary-upgrade mode.
#[derive(Debug, Clone)]
pub struct PgDumpall<'a> {
    /// Where to connect, without a database: it takes `postgres` or else `template1`.
    pub conninfo: &'a str,
    /// Where to write the script.
    pub file: &'a Path,
    /// Whether tablespaces are in it, each with the directory it is in.
    pub tablespaces: bool,
    /// How long to wait for a lock before giving up.
    pub lock_wait_timeout: Option<Duration>,
    /// Whether it may see `PGPASSWORD` and the file of passwords.
    pub password: bool,
    /// Whether to wait until the file is on disk.
    pub sync: bool,
}

impl PgDumpall<'_> {
    /// Makes the script.
    pub fn run(&self, installation: &Installation, log: &Path, cancel: &Cancel) -> Result<()> {
        Program::new(installation, "pg_dumpall")
            .args(self.args())
            .failing_with(Code::DumpFailed)
            .log_to(log)
            .with_password(self.password)
            .run(cancel)?;
        Ok(())
    }

    fn args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec![
            "--globals-only".into(),
            "--binary-upgrade".into(),
            "--quote-all-identifiers".into(),
            "--no-password".into(),
        ];
        if !self.tablespaces {
            args.push("--no-tablespaces".into());
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
    fn globals_are_asked_for() {
        let dump = PgDumpall {
            conninfo: "host='/s'",
            file: Path::new("/state/globals.sql"),
            tablespaces: true,
            lock_wait_timeout: None,
            password: false,
            sync: true,
        };
        let text = |dump: &PgDumpall<'_>| {
            let args = dump.args().into_iter();
            let words: Vec<_> = args.map(|word| word.into_string().unwrap()).collect();
            words.join(" ")
        };
        let head = "--globals-only --binary-upgrade --quote-all-identifiers --no-password";
        let tail = "--file=/state/globals.sql --dbname=host='/s'";
        assert_eq!(text(&dump), format!("{head} {tail}"));
        let roles = PgDumpall {
            tablespaces: false,
            ..dump
        };
        assert_eq!(text(&roles), format!("{head} --no-tablespaces {tail}"));
    }
}
