//! The facts about a whole cluster that a plan is made from.

use serde::{Deserialize, Serialize};

use super::relation::{self, Relation};
use crate::pg::{MajorVersion, MultiXid, Oid, Xid};

/// A cluster as its catalogs described it at one moment.
///
/// Each database was read in a transaction of its own, so the whole is consistent only where
/// nobody else was at work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// `server_version_num`, for example 150018.
    pub version_num: u32,
    /// Name of the role with OID 10, the one initdb made.
    pub install_user: String,
    /// OID of the role that did the reading.
    pub current_user: Oid,
    /// What initdb must be told to make a cluster like this one.
    pub settings: TemplateSettings,
    /// The tablespaces users made, by OID.
    pub tablespaces: Vec<Tablespace>,
    /// Every role but the built-in ones of names `pg_...`, by OID.
    pub roles: Vec<Role>,
    /// Every database, template0 too, by OID.
    pub databases: Vec<Database>,
}

/// What is fixed, or given its default, when a cluster is made.
///
/// Encoding and locales are those of template0, which nobody can have changed since; messages,
/// money, numbers, times and text search are what the configuration files say, whatever a role,
/// a database or the command line of this server sets on top.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateSettings {
    /// Name of the encoding, `UTF8`.
    pub encoding: String,
    /// `LC_COLLATE`.
    pub collate: String,
    /// `LC_CTYPE`.
    pub ctype: String,
    /// Who compares strings.
    pub provider: LocaleProvider,
    /// The locale of a provider other than libc.
    pub locale: Option<String>,
    /// ICU rules added to that locale (16 and later).
    pub icu_rules: Option<String>,
    /// `lc_messages`.
    pub lc_messages: String,
    /// `lc_monetary`.
    pub lc_monetary: String,
    /// `lc_numeric`.
    pub lc_numeric: String,
    /// `lc_time`.
    pub lc_time: String,
    /// `default_text_search_config`, with its schema.
    pub default_text_search_config: String,
    /// Whether pages carry checksums.
    pub data_checksums: bool,
    /// Bytes of a WAL segment.
    pub wal_segment_size: u32,
    /// Whether the group may read the data directory (11 and later).
    pub group_access: bool,
}

/// Who compares strings and knows letters in a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocaleProvider {
    /// The operating system's C library: the only one before 15.
    Libc,
    /// The ICU library.
    Icu,
    /// PostgreSQL itself (17 and later).
    Builtin,
}

impl LocaleProvider {
    /// Reads `pg_database.datlocprovider`.
    pub fn from_catalog(letter: &str) -> Option<Self> {
        match letter {
            "c" => Some(Self::Libc),
            "i" => Some(Self::Icu),
            "b" => Some(Self::Builtin),
            _ => None,
        }
    }
}

/// A tablespace made by a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tablespace {
    /// Its OID, the name of its link in `pg_tblspc`.
    pub oid: Oid,
    /// Its name.
    pub name: String,
    /// Where it lies; relative to the data directory where it was made in place.
    pub location: String,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Its OID.
    pub oid: Oid,
    /// Its name.
    pub name: String,
    /// Whether it is a superuser.
    pub superuser: bool,
    /// Whether it may log in.
    pub login: bool,
}

/// A database and what it holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Database {
    /// Its OID, the name of its folder.
    pub oid: Oid,
    /// Its name.
    pub name: String,
    /// Where relations without a tablespace of their own lie.
    pub tablespace: Oid,
    /// Name of its encoding.
    pub encoding: String,
    /// Whether sessions are let in.
    pub allow_connections: bool,
    /// -1 for no limit, -2 for a database whose DROP was interrupted.
    pub connection_limit: i32,
    /// Whether everybody may clone it.
    pub is_template: bool,
    /// `datfrozenxid`.
    pub frozen_xid: Xid,
    /// `datminmxid`.
    pub min_multi: MultiXid,
    /// The relations whose files are moved, by OID; none where nobody can connect.
    #[serde(with = "relation::compact")]
    pub relations: Vec<Relation>,
    /// Tables of users, with partitioned ones and materialized views: what a dump must lock.
    pub tables: u64,
    /// Pages of all relations, as far as VACUUM and ANALYZE have counted them.
    pub pages: u64,
    /// Number of large objects.
    pub large_objects: u64,
    /// Changes with the OID, owner, privileges, comment or labels of any large object.
    pub large_objects_digest: String,
    /// Names of its extensions, in order.
    #[serde(default)]
    pub extensions: Vec<String>,
    /// Whether anything in it, or shared, has a security label.
    #[serde(default = "not_known")]
    pub labelled: bool,
}

/// What was written without it may have labels.
fn not_known() -> bool {
    true
}

impl Snapshot {
    /// The major version of the server that was asked.
    pub fn major(&self) -> MajorVersion {
        major(self.version_num)
    }

    /// The database of this name.
    pub fn database(&self, name: &str) -> Option<&Database> {
        self.databases.iter().find(|database| database.name == name)
    }

    /// Names of the databases one can connect to, by OID.
    pub fn connectable(&self) -> Vec<String> {
        self.databases
            .iter()
            .filter(|database| database.connectable())
            .map(|database| database.name.clone())
            .collect()
    }
}

impl Database {
    /// What PostgreSQL writes into `datconnlimit` while it drops a database.
    pub const INVALID_CONNECTION_LIMIT: i32 = -2;

    /// Whether a session can be had; template0 refuses all, and so does one half dropped.
    pub fn connectable(&self) -> bool {
        self.allow_connections && self.connection_limit != Self::INVALID_CONNECTION_LIMIT
    }
}

/// The major version in a `server_version_num`.
pub(super) fn major(version_num: u32) -> MajorVersion {
    MajorVersion(u16::try_from(version_num / 10_000).unwrap_or(u16::MAX))
}
