//! `pg_restore`: a dump into a database, or its table of contents.

use std::ffi::OsString;
use std::path::Path;

use super::installation::Installation;
use super::program::{Program, path_option};
use crate::error::{Code, Result};
use crate::pg::MajorVersion;
use crate::work::Cancel;

/// How many objects make one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transactions {
    /// Each statement is one.
    Each,
    /// So many objects are one (17 and later; before, each statement is one).
    Of(u32),
    /// Everything is one.
    Single,
}

/// What an error of one object means for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Errors {
    /// The restore ends.
    End,
    /// They are tried all the same.
    Pass,
}

/// The restore of a dump.
#[derive(Debug, Clone)]
pub struct PgRestore<'a> {
    /// The dump.
    pub file: &'a Path,
    /// Where to connect; with `create` to any database, else to the one to fill.
    pub conninfo: &'a str,
    /// The name of the dumped database, for messages.
    pub database: &'a str,
    /// Whether to drop what is there first.
    pub clean: bool,
    /// Whether to create the database and then fill that one.
    pub create: bool,
    /// A file with the lines of the table of contents to restore, in this order.
    pub use_list: Option<&'a Path>,
    /// How the work is cut into transactions.
    pub transactions: Transactions,
    /// How many sessions work at once; excludes [`Transactions::Single`].
    pub jobs: usize,
}

impl PgRestore<'_> {
    /// Restores, and ends at the first error.
    pub fn run(&self, installation: &Installation, log: &Path, cancel: &Cancel) -> Result<()> {
        self.run_with(Errors::End, installation, log, cancel)
    }

    /// Tries every object, each in a transaction of its own, whatever becomes of the others.
    ///
    /// # Errors
    ///
    /// At the end, where any of them failed; what the server said of each is in the log.
    pub fn try_all(&self, installation: &Installation, log: &Path, cancel: &Cancel) -> Result<()> {
        self.run_with(Errors::Pass, installation, log, cancel)
    }

    fn run_with(
        &self,
        errors: Errors,
        installation: &Installation,
        log: &Path,
        cancel: &Cancel,
    ) -> Result<()> {
        Program::new(installation, "pg_restore")
            .args(self.args(installation.version.major, errors))
            .about("database", self.database)
            .failing_with(Code::RestoreFailed)
            .log_to(log)
            .veiled()
            .resting()
            .run(cancel)?;
        Ok(())
    }

    fn args(&self, major: MajorVersion, errors: Errors) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec![
            "--no-password".into(),
            // The log says what is being done; progress is read from it.
            "--verbose".into(),
        ];
        if errors == Errors::End {
            args.push("--exit-on-error".into());
        }
        if self.clean {
            args.push("--clean".into());
            if errors == Errors::Pass {
                // That something is not there is then no error.
                args.push("--if-exists".into());
            }
        }
        if self.create {
            args.push("--create".into());
        }
        // What is one transaction ends at the first error.
        let transactions = match errors {
            Errors::End => self.transactions,
            Errors::Pass => Transactions::Each,
        };
        match transactions {
            Transactions::Of(objects) if major >= MajorVersion(17) => {
                args.push(format!("--transaction-size={objects}").into());
            }
            Transactions::Single => args.push("--single-transaction".into()),
            Transactions::Each | Transactions::Of(_) => {}
        }
        if self.jobs > 1 {
            args.push(format!("--jobs={}", self.jobs).into());
        }
        if let Some(list) = self.use_list {
            args.push(path_option("--use-list=", list));
        }
        args.push(format!("--dbname={}", self.conninfo).into());
        args.push(path_option("", self.file));
        args
    }
}

/// The table of contents of a dump, with a line of dependencies behind each entry.
pub fn list(
    installation: &Installation,
    file: &Path,
    log: &Path,
    cancel: &Cancel,
) -> Result<String> {
    let output = Program::new(installation, "pg_restore")
        .args(["--list", "--verbose"])
        .args([path_option("", file)])
        .log_to(log)
        .run(cancel)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(restore: &PgRestore<'_>, major: u16) -> String {
        let args = restore.args(MajorVersion(major), Errors::End).into_iter();
        let words: Vec<_> = args.map(|word| word.into_string().unwrap()).collect();
        words.join(" ")
    }

    #[test]
    fn transactions_fit_the_version() {
        let mut restore = PgRestore {
            file: Path::new("/state/1.dump"),
            conninfo: "dbname='template1'",
            database: "a",
            clean: true,
            create: true,
            use_list: None,
            transactions: Transactions::Of(500),
            jobs: 1,
        };
        let head = "--no-password --verbose --exit-on-error --clean --create";
        let tail = "--dbname=dbname='template1' /state/1.dump";
        assert_eq!(
            words(&restore, 17),
            format!("{head} --transaction-size=500 {tail}")
        );
        assert_eq!(words(&restore, 16), format!("{head} {tail}"));
        restore.transactions = Transactions::Single;
        assert_eq!(
            words(&restore, 16),
            format!("{head} --single-transaction {tail}")
        );
        let all = restore.args(MajorVersion(17), Errors::Pass).into_iter();
        let all: Vec<_> = all.map(|word| word.into_string().unwrap()).collect();
        assert_eq!(
            all.join(" "),
            format!("--no-password --verbose --clean --if-exists --create {tail}")
        );
    }

    #[test]
    fn a_part_is_restored_by_its_list() {
        let restore = PgRestore {
            file: Path::new("/state/1.dump"),
            conninfo: "dbname='a'",
            database: "a",
            clean: false,
            create: false,
            use_list: Some(Path::new("/state/1.list")),
            transactions: Transactions::Each,
            jobs: 2,
        };
        assert_eq!(
            words(&restore, 17),
            "--no-password --verbose --exit-on-error --jobs=2 --use-list=/state/1.list --dbname=dbname='a' /state/1.dump"
        );
    }
}
