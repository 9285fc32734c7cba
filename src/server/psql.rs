//! `psql`: a script of PostgreSQL's own making, with whatever backslash commands it holds.

use std::ffi::OsString;
use std::path::Path;

use super::installation::Installation;
use super::program::{Output, Program, path_option};
use crate::error::{Code, Result};
use crate::work::Cancel;

/// What to run.
#[derive(Debug, Clone, Copy)]
pub enum Script<'a> {
    /// A file.
    File(&'a Path),
    /// One string of SQL.
    Command(&'a str),
}

/// A run of psql that reads no settings of a user.
#[derive(Debug, Clone)]
pub struct Psql<'a> {
    /// Where to connect, with the database.
    pub conninfo: &'a str,
    /// What to run.
    pub script: Script<'a>,
    /// The code of the error if it fails.
    pub failure: Code,
}

impl Psql<'_> {
    /// Runs the script to its end or to the first error; rows are printed unaligned, without
    /// headers.
    pub fn run(&self, installation: &Installation, log: &Path, cancel: &Cancel) -> Result<Output> {
        self.run_with(true, installation, log, cancel)
    }

    /// Runs every statement, whatever becomes of the others; what failed is in the log alone.
    pub fn try_all(
        &self,
        installation: &Installation,
        log: &Path,
        cancel: &Cancel,
    ) -> Result<Output> {
        self.run_with(false, installation, log, cancel)
    }

    fn run_with(
        &self,
        stops: bool,
        installation: &Installation,
        log: &Path,
        cancel: &Cancel,
    ) -> Result<Output> {
        Program::new(installation, "psql")
            .args(self.args(stops))
            .failing_with(self.failure)
            .log_to(log)
            .veiled()
            .run(cancel)
    }

    fn args(&self, stops: bool) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec![
            "--no-psqlrc".into(),
            "--quiet".into(),
            "--no-align".into(),
            "--tuples-only".into(),
            "--no-password".into(),
            format!("--set=ON_ERROR_STOP={}", u8::from(stops)).into(),
            format!("--dbname={}", self.conninfo).into(),
        ];
        args.push(match self.script {
            Script::File(file) => path_option("--file=", file),
            Script::Command(sql) => format!("--command={sql}").into(),
        });
        args
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psql_reads_nobodys_settings() {
        let psql = Psql {
            conninfo: "dbname='-x'",
            script: Script::File(Path::new("/state/globals.sql")),
            failure: Code::RestoreFailed,
        };
        let words: Vec<_> = psql.args(true);
        assert_eq!(words[0], "--no-psqlrc");
        assert_eq!(words[5], "--set=ON_ERROR_STOP=1");
        assert_eq!(psql.args(false)[5], "--set=ON_ERROR_STOP=0");
        assert_eq!(words[6], "--dbname=dbname='-x'");
        assert_eq!(words[7], "--file=/state/globals.sql");
        let psql = Psql {
            script: Script::Command("SELECT 1"),
            ..psql
        };
        assert_eq!(psql.args(true)[7], "--command=SELECT 1");
    }
}
