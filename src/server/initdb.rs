//! `initdb`: a new cluster, or the syncing of one.

use std::ffi::OsString;
use std::path::Path;

use super::installation::Installation;
use super::program::{Program, path_option};
use crate::error::{Code, Result};
use crate::pg::MajorVersion;
use crate::work::Cancel;

/// Who compares and orders text in the new cluster, besides `lc_collate` and `lc_ctype`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocaleProvider {
    /// The C library.
    Libc,
    /// ICU, with its locale and (16 and later) additional rules.
    Icu {
        /// The ICU locale.
        locale: String,
        /// Rules added to those of the locale.
        rules: Option<String>,
    },
    /// PostgreSQL itself (17 and later).
    Builtin {
        /// `C`, `C.UTF-8` or `PG_UNICODE_FAST`.
        locale: String,
    },
}

/// What a new cluster is to be like; nothing is left to the environment.
#[derive(Debug, Clone)]
pub struct Initdb<'a> {
    /// Where to make it: absent or empty.
    pub data_dir: &'a Path,
    /// A place for the WAL outside the data directory.
    pub wal_dir: Option<&'a Path>,
    /// Name of the bootstrap superuser.
    pub user: &'a str,
    /// Encoding of the templates, as PostgreSQL names it.
    pub encoding: &'a str,
    /// Locale provider of the templates.
    pub provider: LocaleProvider,
    /// `lc_collate` of the templates.
    pub collate: &'a str,
    /// `lc_ctype` of the templates.
    pub ctype: &'a str,
    /// `lc_messages` in postgresql.conf.
    pub lc_messages: &'a str,
    /// `lc_monetary` in postgresql.conf.
    pub lc_monetary: &'a str,
    /// `lc_numeric` in postgresql.conf.
    pub lc_numeric: &'a str,
    /// `lc_time` in postgresql.conf.
    pub lc_time: &'a str,
    /// `default_text_search_config`, without its schema.
    pub text_search_config: Option<&'a str>,
    /// Whether pages have checksums.
    pub data_checksums: bool,
    /// Bytes in a WAL segment.
    pub wal_segment_size: u32,
    /// Whether the group may read the data directory.
    pub group_access: bool,
    /// How the installed pg_hba.conf lets local users in.
    pub auth_local: &'a str,
    /// How the installed pg_hba.conf lets users in over the network.
    pub auth_host: &'a str,
    /// Whether to wait until everything is on disk.
    pub sync: bool,
}

impl Initdb<'_> {
    /// Makes the cluster. On failure initdb itself removes what it has made.
    pub fn run(&self, installation: &Installation, log: &Path, cancel: &Cancel) -> Result<()> {
        Program::new(installation, "initdb")
            .args(self.args(installation.version.major))
            .about("data directory", self.data_dir.to_string_lossy())
            .failing_with(Code::InitdbFailed)
            .log_to(log)
            .run(cancel)?;
        Ok(())
    }

    fn args(&self, major: MajorVersion) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec![path_option("--pgdata=", self.data_dir)];
        if let Some(wal_dir) = self.wal_dir {
            args.push(path_option("--waldir=", wal_dir));
        }
        for (option, value) in [
            ("--username", self.user),
            ("--encoding", self.encoding),
            ("--lc-collate", self.collate),
            ("--lc-ctype", self.ctype),
            ("--lc-messages", self.lc_messages),
            ("--lc-monetary", self.lc_monetary),
            ("--lc-numeric", self.lc_numeric),
            ("--lc-time", self.lc_time),
            ("--auth-local", self.auth_local),
            ("--auth-host", self.auth_host),
        ] {
            args.push(format!("{option}={value}").into());
        }
        match &self.provider {
            LocaleProvider::Libc => args.push("--locale-provider=libc".into()),
            LocaleProvider::Icu { locale, rules } => {
                args.push("--locale-provider=icu".into());
                args.push(format!("--icu-locale={locale}").into());
                args.extend(rules.iter().map(|r| format!("--icu-rules={r}").into()));
            }
            LocaleProvider::Builtin { locale } => {
                args.push("--locale-provider=builtin".into());
                args.push(format!("--builtin-locale={locale}").into());
            }
        }
        if let Some(config) = self.text_search_config {
            args.push(format!("--text-search-config={config}").into());
        }
        if self.data_checksums {
            args.push("--data-checksums".into());
        } else if major >= MajorVersion(18) {
            args.push("--no-data-checksums".into());
        }
        let megabytes = self.wal_segment_size >> 20;
        args.push(format!("--wal-segsize={megabytes}").into());
        if self.group_access {
            args.push("--allow-group-access".into());
        }
        if !self.sync {
            args.push("--no-sync".into());
        }
        args.push("--no-instructions".into());
        args
    }
}

/// Syncs a whole cluster to disk, with its tablespaces and an external WAL directory.
pub fn sync_only(
    installation: &Installation,
    data_dir: &Path,
    log: &Path,
    cancel: &Cancel,
) -> Result<()> {
    Program::new(installation, "initdb")
        .args([path_option("--pgdata=", data_dir), "--sync-only".into()])
        .about("data directory", data_dir.to_string_lossy())
        .log_to(log)
        .run(cancel)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn like_old() -> Initdb<'static> {
        Initdb {
            data_dir: Path::new("/srv/new"),
            wal_dir: None,
            user: "the owner",
            encoding: "UTF8",
            provider: LocaleProvider::Libc,
            collate: "C.UTF-8",
            ctype: "C.UTF-8",
            lc_messages: "C",
            lc_monetary: "C",
            lc_numeric: "C",
            lc_time: "C",
            text_search_config: Some("english"),
            data_checksums: false,
            wal_segment_size: 64 << 20,
            group_access: true,
            auth_local: "peer",
            auth_host: "scram-sha-256",
            sync: false,
        }
    }

    fn words(initdb: &Initdb<'_>, major: u16) -> Vec<String> {
        let args = initdb.args(MajorVersion(major)).into_iter();
        args.map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn everything_is_said() {
        assert_eq!(
            words(&like_old(), 17).join(" "),
            "--pgdata=/srv/new --username=the owner --encoding=UTF8 --lc-collate=C.UTF-8 \
             --lc-ctype=C.UTF-8 --lc-messages=C --lc-monetary=C --lc-numeric=C --lc-time=C \
             --auth-local=peer --auth-host=scram-sha-256 --locale-provider=libc \
             --text-search-config=english --wal-segsize=64 --allow-group-access --no-sync \
             --no-instructions"
        );
    }

    #[test]
    fn checksums_are_never_left_to_the_version() {
        let mut initdb = like_old();
        assert!(words(&initdb, 18).contains(&"--no-data-checksums".to_owned()));
        initdb.data_checksums = true;
        for major in [15, 18] {
            assert!(words(&initdb, major).contains(&"--data-checksums".to_owned()));
        }
    }

    #[test]
    fn providers_have_their_own_locale() {
        let mut initdb = like_old();
        initdb.provider = LocaleProvider::Icu {
            locale: "de-DE".into(),
            rules: Some("&a < b".into()),
        };
        let text = words(&initdb, 16).join(" ");
        assert!(text.contains("--locale-provider=icu --icu-locale=de-DE --icu-rules=&a < b"));
        initdb.provider = LocaleProvider::Builtin { locale: "C".into() };
        assert!(
            words(&initdb, 17)
                .join(" ")
                .contains("builtin --builtin-locale=C")
        );
    }
}
