//! An installation: the directory with the programs of one PostgreSQL version.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{AccessFlags, access};

use super::answer::ask_for_version;
use super::command;
use super::program::{Program, path_option};
use crate::error::{Code, Error, Remedy, Result};
use crate::pg::{Version, quote};
use crate::work::Cancel;

/// How long a program may take to say its version, or a setting: one on a distant disk takes a
/// moment.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// Which of the two clusters something belongs to.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The cluster to upgrade.
    Old,
    /// The cluster it becomes.
    New,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Old => "old",
            Self::New => "new",
        })
    }
}

impl Side {
    /// The programs an installation must have; the first one gives it its version.
    ///
    /// Of old only what its own operator needs to start it again: dumps are made by new's
    /// programs.
    pub fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Old => &["postgres", "pg_ctl"],
            Self::New => &[
                "postgres",
                "initdb",
                "pg_ctl",
                "pg_dump",
                "pg_dumpall",
                "pg_restore",
                "psql",
                "pg_resetwal",
            ],
        }
    }

    fn option(self) -> &'static str {
        match self {
            Self::Old => "-b/--old-bindir",
            Self::New => "-B/--new-bindir",
        }
    }
}

/// A directory whose programs have been seen to run.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Installation {
    /// Whose installation it is.
    pub side: Side,
    /// The directory, absolute.
    pub bindir: PathBuf,
    /// What its `postgres` prints for `--version`.
    pub version: Version,
}

impl Installation {
    /// Runs every program the side needs once; gives back all that is wrong, not the first.
    ///
    /// A requested stop ends the waiting for their answers.
    pub fn find(side: Side, bindir: &Path, cancel: &Cancel) -> Result<Installation, Vec<Error>> {
        Self::find_within(ANSWER_LIMIT, side, bindir, cancel)
    }

    fn find_within(
        limit: Duration,
        side: Side,
        bindir: &Path,
        cancel: &Cancel,
    ) -> Result<Installation, Vec<Error>> {
        let bindir = std::path::absolute(bindir)
            .map_err(|error| vec![Error::io(Code::ProgramMissing, "find", bindir, &error)])?;
        if !bindir.is_dir() {
            return Err(vec![no_directory(side, &bindir)]);
        }
        let mut versions = Vec::new();
        let mut problems = Vec::new();
        for (name, version) in versions_of(&bindir, side.programs(), limit, cancel) {
            match version {
                Ok(version) => versions.push((name, version)),
                Err(error) if error.code() == Code::OtherMake => problems.push(error),
                Err(error) if error.code() == Code::ProgramMissing => {
                    problems.push(for_side(error, side));
                }
                Err(error) => problems.push(error),
            }
        }
        // That they are of another make is true of all of them and worth one sentence.
        problems.dedup_by(|a, b| a.code() == Code::OtherMake && b.code() == Code::OtherMake);
        let reference = versions.first().cloned();
        if let Some((first, expected)) = &reference {
            let others = versions.iter().filter(|(_, v)| v.major != expected.major);
            problems.extend(others.map(|(name, version)| {
                for_side(mixed(&bindir.join(name), version, first, expected), side)
            }));
        }
        match reference {
            Some((_, version)) if problems.is_empty() => Ok(Installation {
                side,
                bindir,
                version,
            }),
            _ => Err(problems),
        }
    }

    /// The path of one of its programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bindir.join(name)
    }

    /// The value the server would use for a setting (`postgres -C`).
    ///
    /// The data directory may be in use; settings computed at start cannot be asked then.
    pub fn setting(&self, config_dir: &Path, name: &str) -> Result<String> {
        let output = Program::new(self, "postgres")
            .args(["-C", name])
            .args([path_option("-D", config_dir)])
            .about("setting", name)
            .within(ANSWER_LIMIT)
            .run(&Cancel::new())?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.trim_end_matches('\n').to_owned())
    }
}

/// All are asked at once: of programs that nobody used for long it is the disk that is waited for.
fn versions_of(
    bindir: &Path,
    programs: &[&'static str],
    limit: Duration,
    cancel: &Cancel,
) -> Vec<(&'static str, Result<Version>)> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = (programs.iter())
            .map(|name| {
                let ask = move || version_of(&bindir.join(name), limit, cancel);
                (*name, scope.spawn(ask))
            })
            .collect();
        let panicked = |_| {
            let what = "the thread that asked a program for its version panicked";
            Err(Error::new(Code::Internal, what))
        };
        (asked.into_iter())
            .map(|(name, version)| (name, version.join().unwrap_or_else(panicked)))
            .collect()
    })
}

fn version_of(program: &Path, limit: Duration, cancel: &Cancel) -> Result<Version> {
    cancel.check()?;
    let metadata = std::fs::metadata(program)
        .map_err(|error| Error::io(Code::ProgramMissing, "find", program, &error))?;
    if !metadata.is_file() {
        return Err(missing(program, "is not a regular file"));
    }
    access(program, AccessFlags::X_OK)
        .map_err(|error| missing(program, "may not be executed").caused_by(&error))?;
    let asked = ask_for_version(program, limit, cancel).map_err(|error| {
        missing(program, "could not be asked for its version").caused_by(&error)
    })?;
    let Some(answer) = asked else {
        cancel.check()?;
        return Err(silent(program, limit));
    };
    let (status, text) = (answer.status, answer.said);
    if !status.success() {
        let error = missing(program, "fails when it is asked for its version")
            .fact("exit status", command::describe(status));
        return Err(error.fact("output", answer.complaint.trim()));
    }
    if text.contains("(EnterpriseDB)") {
        return Err(other_make(program, text.trim()));
    }
    if !text.contains("PostgreSQL") {
        return Err(missing(program, "is not a program of PostgreSQL").fact("output", text.trim()));
    }
    Version::parse(&text)
        .ok_or_else(|| missing(program, "prints no version").fact("output", text.trim()))
}

fn silent(program: &Path, limit: Duration) -> Error {
    Error::new(
        Code::ProgramSilent,
        format!(
            "{} does not answer when it is asked for its version",
            program.display()
        ),
    )
    .fact("waited", format!("{} s", limit.as_secs()))
    .remedy(Remedy::command(format!(
        "{} --version",
        quote::shell_path(program)
    )))
}

fn missing(program: &Path, what: &str) -> Error {
    Error::new(
        Code::ProgramMissing,
        format!("{} {what}", program.display()),
    )
}

fn other_make(program: &Path, says: &str) -> Error {
    Error::new(
        Code::OtherMake,
        format!(
            "{} is of EnterpriseDB's Advanced Server, not of PostgreSQL",
            program.display()
        ),
    )
    .fact("output", says)
    .remedy(Remedy::manual(
        "upgrade it with its maker's own pg_upgrade; a cluster of PostgreSQL needs the programs \
         of PostgreSQL",
    ))
}

fn mixed(program: &Path, version: &Version, first: &str, expected: &Version) -> Error {
    Error::new(
        Code::ProgramVersion,
        format!(
            "{} is of version {version}, but {first} beside it of {expected}",
            program.display()
        ),
    )
}

fn no_directory(side: Side, bindir: &Path) -> Error {
    for_side(
        Error::new(
            Code::ProgramMissing,
            format!("there is no directory {}", bindir.display()),
        ),
        side,
    )
}

fn for_side(error: Error, side: Side) -> Error {
    error
        .fact("installation", side)
        .remedy(Remedy::manual(format!(
            "give the directory with all programs of the {side} version with {}: {}",
            side.option(),
            side.programs().join(", ")
        )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    fn find(side: Side, dir: &Path) -> Result<Installation, Vec<Error>> {
        Installation::find(side, dir, &Cancel::new())
    }

    fn fake(dir: &Path, name: &str, says: &str, mode: u32) {
        let draft = dir.join("draft");
        std::fs::write(&draft, format!("#!/bin/sh\necho '{name} {says}'\n")).unwrap();
        std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(mode)).unwrap();
        // A file this process has open for writing cannot be executed, and a child forked by
        // another test at that moment would hold it open: so another process writes it.
        let copied = std::process::Command::new("cp")
            .arg("-p")
            .args([&draft, &dir.join(name)])
            .status();
        assert!(copied.unwrap().success());
    }

    #[test]
    fn an_old_installation_needs_two_programs() {
        let dir = tempfile::tempdir().unwrap();
        fake(dir.path(), "postgres", "(PostgreSQL) 15.18", 0o755);
        fake(dir.path(), "pg_ctl", "(PostgreSQL) 15.18", 0o755);
        let found = find(Side::Old, dir.path()).unwrap();
        assert_eq!(found.version.text, "15.18");
        assert_eq!(found.program("pg_ctl"), dir.path().join("pg_ctl"));
    }

    #[test]
    fn all_problems_are_reported() {
        let dir = tempfile::tempdir().unwrap();
        fake(dir.path(), "postgres", "(PostgreSQL) 17.10", 0o755);
        fake(dir.path(), "pg_dump", "(PostgreSQL) 16.14", 0o755);
        fake(dir.path(), "initdb", "(PostgreSQL) 17.10", 0o644);
        fake(dir.path(), "psql", "of something else 3", 0o755);
        std::fs::create_dir(dir.path().join("pg_ctl")).unwrap();
        let problems = find(Side::New, dir.path()).unwrap_err();
        let text: Vec<_> = problems.iter().map(|e| e.message().to_owned()).collect();
        assert_eq!(problems.len(), 7, "{text:?}");
        let has = |part: &str| text.iter().any(|line| line.contains(part));
        assert!(has(
            "pg_dump is of version 16.14, but postgres beside it of 17.10"
        ));
        assert!(has("initdb may not be executed"));
        assert!(has("psql is not a program of PostgreSQL"));
        assert!(has("pg_ctl is not a regular file"));
        assert!(problems.iter().all(|e| e.remedy_text().is_some()));
    }

    #[test]
    fn programs_of_another_make_are_one_problem() {
        let dir = tempfile::tempdir().unwrap();
        for name in Side::New.programs() {
            fake(dir.path(), name, "(EnterpriseDB) 17.2.0", 0o755);
        }
        for side in [Side::Old, Side::New] {
            let problems = find(side, dir.path()).unwrap_err();
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert_eq!(problems[0].code(), Code::OtherMake);
            assert!(
                problems[0]
                    .message()
                    .contains("postgres is of EnterpriseDB")
            );
        }
        fake(dir.path(), "postgres", "(PostgreSQL) 17.2", 0o755);
        let problems = find(Side::Old, dir.path()).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].message().contains("pg_ctl"));
    }

    #[test]
    fn a_missing_directory_is_one_problem() {
        let problems = find(Side::Old, Path::new("/nonexistent")).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].code(), Code::ProgramMissing);
    }

    /// What it has started goes with it, and holds nobody up.
    #[test]
    fn a_program_that_does_not_answer_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let started = dir.path().join("started");
        let hangs = format!(
            "(PostgreSQL) 15.18'; sleep 600 & echo $! >{}; wait; echo '",
            started.display()
        );
        fake(dir.path(), "postgres", &hangs, 0o755);
        fake(dir.path(), "pg_ctl", "(PostgreSQL) 15.18", 0o755);
        let asked = Instant::now();
        // The other one answers within it, also on a machine that has other things to do.
        let limit = Duration::from_secs(5);
        let problems =
            Installation::find_within(limit, Side::Old, dir.path(), &Cancel::new()).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].code(), Code::ProgramSilent);
        assert!(problems[0].remedy_text().is_some());
        assert!(asked.elapsed() > limit && asked.elapsed() < Duration::from_secs(60));
        let sleeper = std::fs::read_to_string(&started).unwrap();
        let sleeper = nix::unistd::Pid::from_raw(sleeper.trim().parse().unwrap());
        let is_dead = || {
            let state = std::fs::read_to_string(format!("/proc/{sleeper}/stat"));
            state.map_or_else(
                |_| nix::sys::signal::kill(sleeper, None).is_err(),
                |stat| stat.contains(") Z"),
            )
        };
        while !is_dead() {
            assert!(asked.elapsed() < Duration::from_secs(60), "{sleeper}");
            std::thread::sleep(Duration::from_millis(5));
        }

        let cancel = Cancel::new();
        let stopped = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(limit);
                cancel.request(2);
            });
            Installation::find(Side::Old, dir.path(), &cancel).unwrap_err()
        });
        assert_eq!(stopped.len(), 1, "{stopped:?}");
        assert_eq!(stopped[0].code(), Code::Interrupted);
        assert!(asked.elapsed() < Duration::from_secs(120));
    }

    /// One that leaves something behind which never ends has answered all the same.
    #[test]
    fn what_a_program_leaves_behind_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["postgres", "pg_ctl"] {
            fake(
                dir.path(),
                name,
                "(PostgreSQL) 15.18'; sleep 30 & echo '",
                0o755,
            );
        }
        let asked = Instant::now();
        assert_eq!(find(Side::Old, dir.path()).unwrap().version.text, "15.18");
        assert!(asked.elapsed() < Duration::from_secs(20));
    }
}
