//! A data directory: where it is, of which version, and whether it is laid out as it must be.

mod layout;
mod whose;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::conf;
use super::control;
use super::postmaster::{PostmasterOpts, PostmasterPid};
use super::quote::shell_path;
use super::regular;
use super::{MajorVersion, Oid};
use crate::error::{Code, Error, Remedy, Result};

/// A data directory, found and of a version this program knows.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DataDir {
    /// The data directory, canonical.
    pub path: PathBuf,
    /// Where `postgresql.conf` lies, canonical: the data directory itself, unless a
    /// configuration directory was given.
    pub config_dir: PathBuf,
    /// The major version in `PG_VERSION`.
    pub major: MajorVersion,
}

/// One entry of `pg_tblspc`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TablespaceLink {
    /// The tablespace.
    pub oid: Oid,
    /// Where its files lie, canonical.
    pub target: PathBuf,
    /// Whether it is a folder in `pg_tblspc` itself (`allow_in_place_tablespaces`).
    pub in_place: bool,
}

impl DataDir {
    /// Finds the data directory behind a path.
    ///
    /// The path may also be a configuration directory whose `postgresql.conf`, or a file
    /// included there, sets `data_directory`. As in PostgreSQL's own programs, a directory
    /// that holds `PG_VERSION` is taken as the data directory whatever its settings say.
    ///
    /// # Errors
    ///
    /// `NotADataDirectory`, `NotReadable`, or `VersionPair` for a version outside 10 to 18.
    pub fn resolve(given: &Path) -> Result<DataDir> {
        let config_dir = canonical_directory(given)?;
        if let Some(text) = read_if_present(&config_dir.join("PG_VERSION"))? {
            return Self::of_version(config_dir.clone(), config_dir, &text);
        }
        let path = configured_data_directory(&config_dir)?;
        let text = read_if_present(&path.join("PG_VERSION"))?.ok_or_else(|| {
            not_a_data_directory(&path, "it has no file PG_VERSION").fact(
                "named by data_directory in",
                config_dir.join("postgresql.conf").display(),
            )
        })?;
        Self::of_version(path, config_dir, &text)
    }

    /// What lies at this path and belongs to the user whose cluster it is: the directory, or the
    /// `postgresql.conf` in a configuration directory of root's.
    ///
    /// Nothing is read, so that root may ask before becoming that user.
    ///
    /// # Errors
    ///
    /// `NotADataDirectory`, or `OwnedByRoot` where configuration that is root's alone tells of
    /// nobody else.
    pub fn whose(given: &Path) -> Result<PathBuf> {
        whose::place(given)
    }

    fn of_version(path: PathBuf, config_dir: PathBuf, text: &str) -> Result<DataDir> {
        let text = text.trim();
        let known = MajorVersion::OLDEST_OLD..=MajorVersion::NEWEST_NEW;
        let major = MajorVersion::parse(text);
        if let Some(major) = major.filter(|major| known.contains(major)) {
            return Ok(Self {
                path,
                config_dir,
                major,
            });
        }
        let number = text.split('.').all(|part| part.parse::<u16>().is_ok());
        if !number {
            let reason = "its file PG_VERSION does not hold a version";
            return Err(not_a_data_directory(&path, reason));
        }
        let (why, remedy) = if major.is_some_and(|major| major > MajorVersion::NEWEST_NEW) {
            (
                "newer than any version this program knows",
                "Use a newer release of this program.",
            )
        } else {
            (
                "too old",
                "Upgrade it to PostgreSQL 10 or newer by other means first, for instance with pg_upgrade of PostgreSQL 15.",
            )
        };
        let message = format!("{} holds PostgreSQL {text}, which is {why}", path.display());
        Err(Error::new(Code::VersionPair, message)
            .fact("data directory", path.display())
            .fact("supported", "old 10 to 17, new 15 to 18")
            .remedy(Remedy::manual(remedy)))
    }

    /// Everything in which the directory is not as its version demands.
    ///
    /// Missing folders, broken tablespace links, and files that say it is a standby, a base
    /// backup or in the middle of a recovery. Empty means that its own server can start from it
    /// as an ordinary primary, as far as the layout is concerned; `global/pg_control` is read by
    /// [`super::control`].
    ///
    /// # Errors
    ///
    /// Only where `pg_tblspc` is there but cannot be read.
    pub fn layout_problems(&self) -> Result<Vec<Error>> {
        let mut found = self.folder_problems();
        found.extend(self.tablespace_problems()?);
        Ok(found)
    }

    /// Those of them with which no server may be started from the directory: it would fail, or
    /// begin a recovery.
    pub fn folder_problems(&self) -> Vec<Error> {
        layout::folder_problems(self)
    }

    /// Those of them with which a server starts, and lacks a tablespace.
    ///
    /// # Errors
    ///
    /// Where `pg_tblspc` is there but cannot be read.
    pub fn tablespace_problems(&self) -> Result<Vec<Error>> {
        layout::tablespace_problems(self)
    }

    /// The tablespaces, by OID.
    ///
    /// # Errors
    ///
    /// The first link that leads nowhere; [`DataDir::layout_problems`] gives all of them.
    pub fn tablespaces(&self) -> Result<Vec<TablespaceLink>> {
        let entries = layout::tablespace_entries(self)?;
        entries.into_iter().map(|entry| entry.follow()).collect()
    }

    /// Those of the tablespaces whose location is there, by OID.
    ///
    /// # Errors
    ///
    /// Only where `pg_tblspc` cannot be read.
    pub fn tablespaces_there(&self) -> Result<Vec<TablespaceLink>> {
        let entries = layout::tablespace_entries(self)?;
        let links = entries.into_iter().map(|entry| entry.follow());
        Ok(links.filter_map(Result::ok).collect())
    }

    /// The folder of one version in a tablespace's location, such as `PG_15_202209061`.
    pub fn tablespace_version_dir(major: MajorVersion, catalog_version: u32) -> String {
        format!("PG_{major}_{catalog_version}")
    }

    /// The folders of a version in a tablespace's location, whatever their catalog version is.
    ///
    /// # Errors
    ///
    /// That of the directory which could not be read.
    pub fn version_folders(location: &Path, major: MajorVersion) -> std::io::Result<Vec<PathBuf>> {
        let prefix = format!("PG_{major}_");
        let mut found = Vec::new();
        for entry in std::fs::read_dir(location)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                found.push(entry.path());
            }
        }
        found.sort();
        Ok(found)
    }

    /// The folder of the commit status of transactions, relative to the data directory.
    pub fn xact_dir(&self) -> &'static str {
        "pg_xact"
    }

    /// The folder of the WAL, relative to the data directory.
    pub fn wal_dir(&self) -> &'static str {
        "pg_wal"
    }

    /// The folder of multixact members, relative to the data directory.
    pub fn multixact_members_dir(&self) -> &'static str {
        "pg_multixact/members"
    }

    /// The folder of multixact offsets, relative to the data directory.
    pub fn multixact_offsets_dir(&self) -> &'static str {
        "pg_multixact/offsets"
    }

    /// The control file.
    pub fn control_path(&self) -> PathBuf {
        control::in_datadir(&self.path)
    }

    /// The WAL directory, canonical, where it lies outside the data directory by a link.
    pub fn wal_dir_target(&self) -> Option<PathBuf> {
        let link = self.path.join(self.wal_dir());
        link.read_link().ok()?;
        link.canonicalize().ok()
    }

    /// What `postmaster.pid` says; `None` where there is none.
    ///
    /// It says nothing about whether that process is alive. A server creates the file and then
    /// fills it, so an empty one is looked at again for a moment.
    ///
    /// # Errors
    ///
    /// `NotReadable`, or `DataDirectoryLayout` for a file that names no process.
    pub fn postmaster_pid(&self) -> Result<Option<PostmasterPid>> {
        let path = self.path.join("postmaster.pid");
        for _ in 0..10 {
            let Some(text) = read_if_present(&path)? else {
                return Ok(None);
            };
            if let Some(pid) = PostmasterPid::parse(&text) {
                return Ok(Some(pid));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let message = format!("{} names no process", path.display());
        Err(Error::new(Code::DataDirectoryLayout, message)
            .fact("data directory", self.path.display())
            .remedy(Remedy::manual(format!(
                "Make sure that no server runs in this directory, then remove the file: rm {}",
                shell_path(&path)
            ))))
    }

    /// What `postmaster.opts` says; `None` where there is none or it is empty.
    ///
    /// # Errors
    ///
    /// `NotReadable`.
    pub fn postmaster_opts(&self) -> Result<Option<PostmasterOpts>> {
        let text = read_if_present(&self.path.join("postmaster.opts"))?;
        Ok(text.and_then(|text| PostmasterOpts::parse(&text)))
    }
}

fn unreadable(doing: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::io(Code::NotReadable, doing, path, error).remedy(Remedy::manual(
        "Let the owner of the data directory read it, and search every directory on the way to it.",
    ))
}

fn not_a_data_directory(path: &Path, reason: &str) -> Error {
    let message = format!(
        "{} is not a PostgreSQL data directory: {reason}",
        path.display()
    );
    Error::new(Code::NotADataDirectory, message)
        .fact("directory", path.display())
        .remedy(Remedy::manual(
            "Give the directory that holds PG_VERSION, or the configuration directory whose postgresql.conf sets data_directory.",
        ))
}

fn canonical_directory(path: &Path) -> Result<PathBuf> {
    let canonical = path.canonicalize().map_err(|e| match e.kind() {
        ErrorKind::NotFound => not_a_data_directory(path, "it does not exist"),
        ErrorKind::NotADirectory => not_a_data_directory(path, "it is not a directory"),
        _ => unreadable("open", path, &e),
    })?;
    let metadata = canonical
        .metadata()
        .map_err(|e| unreadable("open", path, &e))?;
    if metadata.is_dir() {
        Ok(canonical)
    } else {
        Err(not_a_data_directory(path, "it is not a directory"))
    }
}

fn configured_data_directory(config_dir: &Path) -> Result<PathBuf> {
    let file = config_dir.join("postgresql.conf");
    if read_if_present(&file)?.is_none() {
        let reason = "it has neither PG_VERSION nor postgresql.conf";
        return Err(not_a_data_directory(config_dir, reason));
    }
    let settings = conf::read(&file)?;
    let Some(value) = conf::last(&settings, "data_directory").filter(|value| !value.is_empty())
    else {
        let reason = "it has no PG_VERSION, and its postgresql.conf does not set data_directory";
        return Err(not_a_data_directory(config_dir, reason));
    };
    let path = Path::new(value);
    if path.is_relative() {
        let reason = "data_directory in its postgresql.conf is a relative path, which depends on where the server is started";
        let error = not_a_data_directory(config_dir, reason).fact("data_directory", value);
        return Err(error.remedy(Remedy::manual("Give the data directory itself.")));
    }
    canonical_directory(path).map_err(|e| e.fact("named by data_directory in", file.display()))
}

fn read_if_present(path: &Path) -> Result<Option<String>> {
    match regular::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(unreadable("read", path, &e)),
    }
}

#[cfg(test)]
mod tests;
