//! How a private server is to be started, for old and for new.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::installation::Installation;
use super::quiet;
use crate::pg::MajorVersion;
use crate::pg::datadir::DataDir;

/// The port of private servers: part of the socket's name, nothing listens on the network.
pub const DEFAULT_PORT: u16 = 50432;

/// The name by which a leftover of ours is told from anybody else's server.
pub(super) const CLUSTER_NAME: &str = "pg_migrator";

/// What [`super::Postmaster::start`] needs to know.
#[derive(Debug, Clone)]
pub struct PostmasterSpec {
    /// Whose `postgres` to run.
    pub installation: Installation,
    /// Where `postgresql.conf` is; often the data directory.
    pub config_dir: PathBuf,
    /// The data directory.
    pub data_dir: PathBuf,
    /// The install user, as whom every session connects.
    pub user: String,
    /// Where the server's messages are appended.
    pub log: PathBuf,
    /// Settings (`-c name=value`).
    pub options: Vec<(String, String)>,
    /// Arguments the operator gave (`-o`, `-O`), as words; all settings of ours override them.
    pub extra: Vec<String>,
    /// Binary-upgrade mode (`-b`): superusers only, no autovacuum, OIDs are given.
    pub binary_upgrade: bool,
    /// Where to make the socket's directory, instead of among temporary files.
    pub socket_parent: Option<PathBuf>,
    /// The number in the socket's name.
    pub port: u16,
    /// How long it may take to start (crash recovery included), and to stop.
    pub timeout: Duration,
}

impl PostmasterSpec {
    /// Old, to be read: `-b`, and its own settings in all that outlives this server.
    ///
    /// Archiving stays as it is configured: WAL written with archiving off would be a hole in
    /// the archive. `max_locks_per_transaction` is raised only where the dump needs it, because
    /// the value goes into the WAL, and a hot standby with a smaller one stops there.
    pub fn for_old(
        installation: &Installation,
        datadir: &DataDir,
        user: &str,
        log: &Path,
        max_locks_per_transaction: Option<u32>,
    ) -> Self {
        let mut spec = Self::new(installation, datadir, user, log);
        if let Some(locks) = max_locks_per_transaction {
            spec.set("max_locks_per_transaction", locks);
        }
        spec
    }

    /// New, to be built: `-b`, nothing that waits for the disk or tells anybody else.
    ///
    /// With `fsync` false the whole tree must be synced after the last such run.
    pub fn for_new(
        installation: &Installation,
        datadir: &DataDir,
        user: &str,
        log: &Path,
        fsync: bool,
        max_locks_per_transaction: u32,
    ) -> Self {
        let mut spec = Self::new(installation, datadir, user, log);
        let safe = if fsync { "on" } else { "off" };
        spec.set("fsync", safe);
        // Without fsync a crash ends the cluster anyway; with it, a torn page must be mended.
        spec.set("full_page_writes", safe);
        for (name, value) in [
            ("synchronous_commit", "off"),
            ("autovacuum", "off"),
            ("archive_mode", "off"),
            ("max_wal_senders", "0"),
            ("wal_level", "replica"),
            ("max_wal_size", "4GB"),
            ("checkpoint_timeout", "1d"),
            ("shared_buffers", "256MB"),
            // Zeros that nobody reads would be written to the disk of a server at work.
            ("wal_init_zero", "off"),
            ("wal_recycle", "off"),
        ] {
            spec.set(name, value);
        }
        if installation.version.major >= MajorVersion(17) {
            spec.set("summarize_wal", "off");
        }
        spec.set("max_locks_per_transaction", max_locks_per_transaction);
        spec
    }

    fn new(installation: &Installation, datadir: &DataDir, user: &str, log: &Path) -> Self {
        let mut spec = Self {
            installation: installation.clone(),
            config_dir: datadir.config_dir.clone(),
            data_dir: datadir.path.clone(),
            user: user.to_owned(),
            log: log.to_owned(),
            options: Vec::new(),
            extra: Vec::new(),
            binary_upgrade: true,
            socket_parent: None,
            port: DEFAULT_PORT,
            timeout: Duration::from_secs(600),
        };
        let major = installation.version.major;
        if major >= MajorVersion(11) {
            // Planning with JIT costs more than the catalog queries it is meant to speed up.
            spec.set("jit", "off");
        }
        if major >= MajorVersion(17) {
            // A login event trigger would run, and write, whenever we connect.
            spec.set("event_triggers", "off");
            // With -b a server refuses to start where these may invalidate a slot.
            spec.set("max_slot_wal_keep_size", "-1");
        }
        if major >= MajorVersion(18) {
            spec.set("idle_replication_slot_timeout", "0");
        }
        spec
    }

    /// Whether what it writes is on the disk when it has been stopped, unless the operator's own
    /// settings say otherwise.
    pub fn syncs(&self) -> bool {
        let mut said = self.options.iter().rev();
        said.find(|(name, _)| name == "fsync")
            .is_none_or(|(_, value)| value != "off")
    }

    /// Adds a setting; the last one of a name counts.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.options.push((name.to_owned(), value.to_string()));
    }

    /// The arguments of `postgres`. In a setting given twice the later one counts.
    pub(super) fn arguments(&self, socket_dir: &Path) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["-D".into(), self.config_dir.clone().into()];
        if self.binary_upgrade {
            words.push("-b".into());
        }
        words.extend(self.extra.iter().map(OsString::from));
        for (name, value) in &self.options {
            words.push("-c".into());
            words.push(format!("{name}={value}").into());
        }
        let mut set = |name: &str, value: OsString| {
            let mut word = OsString::from(format!("{name}="));
            word.push(value);
            words.push("-c".into());
            words.push(word);
        };
        // Else the files of settings may name another cluster than the one that is meant.
        set("data_directory", self.data_dir.clone().into());
        set("listen_addresses", "".into());
        set("bonjour", "off".into());
        set("unix_socket_directories", list_item(socket_dir));
        set("unix_socket_permissions", "0700".into());
        // One that is not there would keep it from starting.
        set("unix_socket_group", "".into());
        set("port", self.port.to_string().into());
        set("hba_file", socket_dir.join("hba").into());
        set("ident_file", "/dev/null".into());
        // A service manager must not take this server for its own.
        set("external_pid_file", socket_dir.join("pid").into());
        set("logging_collector", "off".into());
        set("log_destination", "stderr".into());
        set("cluster_name", CLUSTER_NAME.into());
        set("ssl", "off".into());
        // Nobody is there who could confirm a commit.
        set("synchronous_standby_names", "".into());
        // Background workers of preloaded libraries write whatever they like. The libraries stay:
        // objects of users may refuse to work without them.
        set("max_worker_processes", "0".into());
        // Those that are loaded for a session serve nothing that is dumped or restored.
        set("session_preload_libraries", "".into());
        set("local_preload_libraries", "".into());
        // Nor is there one for a plan, and to look for such plans takes time.
        set("max_parallel_workers_per_gather", "0".into());
        for (name, value) in quiet::log_settings(self.installation.version.major) {
            set(name, value.into());
        }
        words
    }
}

/// The setting is a list: a path with a comma must be quoted to be one item of it.
fn list_item(path: &Path) -> OsString {
    match path.to_str() {
        Some(text) if text.contains([',', '"', ' ']) => {
            format!("\"{}\"", text.replace('"', "\"\"")).into()
        }
        _ => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::Version;
    use crate::server::Side;

    fn spec(major: u16, side: Side) -> PostmasterSpec {
        let installation = Installation {
            side,
            bindir: "/bin".into(),
            version: Version::parse(&format!("postgres (PostgreSQL) {major}.1")).unwrap(),
        };
        let datadir = DataDir {
            path: "/srv/data".into(),
            config_dir: "/etc/pg".into(),
            major: MajorVersion(major),
        };
        let log = Path::new("/log");
        match side {
            Side::Old => PostmasterSpec::for_old(&installation, &datadir, "postgres", log, None),
            Side::New => {
                PostmasterSpec::for_new(&installation, &datadir, "postgres", log, false, 64)
            }
        }
    }

    fn words(spec: &PostmasterSpec) -> Vec<String> {
        spec.arguments(Path::new("/tmp/a b"))
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    #[test]
    fn old_keeps_what_outlives_the_server() {
        let words = words(&spec(10, Side::Old));
        assert_eq!(words[..3], ["-D", "/etc/pg", "-b"]);
        for kept in [
            "archive_mode",
            "fsync",
            "wal_level",
            "jit",
            "event_triggers",
        ] {
            assert!(!words.iter().any(|w| w.starts_with(kept)), "{kept}");
        }
    }

    #[test]
    fn settings_of_ours_come_after_the_operators() {
        let mut spec = spec(17, Side::New);
        spec.extra = vec!["-c".into(), "port=1".into()];
        let words = words(&spec);
        let at = |word: &str| words.iter().position(|w| w == word).unwrap();
        assert!(at("port=1") < at("port=50432"));
        assert!(at("event_triggers=off") < at("max_worker_processes=0"));
        at("data_directory=/srv/data");
        at("session_preload_libraries=");
        at("pgaudit.log=none");
        at("fsync=off");
        at("max_locks_per_transaction=64");
        at("unix_socket_directories=\"/tmp/a b\"");
        at("hba_file=/tmp/a b/hba");
    }

    #[test]
    fn settings_are_given_only_to_versions_that_know_them() {
        let has = |major, side, name: &str| {
            words(&spec(major, side))
                .iter()
                .any(|w| w.starts_with(name))
        };
        assert!(!has(16, Side::New, "event_triggers"));
        assert!(has(17, Side::Old, "event_triggers"));
        assert!(has(17, Side::Old, "max_slot_wal_keep_size=-1"));
        assert!(!has(17, Side::New, "idle_replication_slot_timeout"));
        assert!(has(18, Side::New, "idle_replication_slot_timeout"));
        for side in [Side::Old, Side::New] {
            assert!(has(10, side, "log_min_error_statement=panic"));
            assert!(!has(11, side, "log_transaction_sample_rate"));
            assert!(has(12, side, "log_transaction_sample_rate=0"));
            assert!(!has(12, side, "log_min_duration_sample"));
            assert!(has(13, side, "log_min_duration_sample=-1"));
        }
    }

    #[test]
    fn pages_can_be_mended_after_a_crash_where_it_is_meant_to_be_survived() {
        for (fsync, value) in [(true, "on"), (false, "off")] {
            let installation = spec(17, Side::New).installation;
            let datadir = DataDir {
                path: "/srv/data".into(),
                config_dir: "/srv/data".into(),
                major: MajorVersion(17),
            };
            let log = Path::new("/log");
            let spec = PostmasterSpec::for_new(&installation, &datadir, "postgres", log, fsync, 64);
            let words = words(&spec);
            for name in ["fsync", "full_page_writes"] {
                assert!(words.contains(&format!("{name}={value}")), "{words:?}");
            }
        }
    }
}
