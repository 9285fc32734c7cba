//! Asking the new version itself, in a throw-away cluster.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::disk::{Temporary, temporary};
use crate::error::{Error, Result};
use crate::pg::{DataDir, MajorVersion, Version};
use crate::server::initdb::LocaleProvider;
use crate::server::{Cancel, Client, Initdb, Installation, Postmaster, PostmasterSpec};

/// The role and the database of the throw-away cluster.
const POSTGRES: &str = "postgres";

/// Its data directory, in the temporary one.
const DATA: &str = "data";

/// How long a trial may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a server takes at most to serve again when one of its sessions has crashed.
const CRASH_LIMIT: Duration = Duration::from_secs(60);

/// The new version, and how its servers are started.
#[derive(Debug, Clone)]
pub struct NewVersion {
    /// Its programs.
    pub installation: Installation,
    /// Arguments for its servers: they may name a library or the path to it.
    pub options: Vec<String>,
    /// Where to make the directory of a socket, instead of among temporary files.
    pub socket_parent: Option<PathBuf>,
    /// Where to put logs.
    pub logs: PathBuf,
}

/// The new version as one that can be asked.
///
/// The cluster for it is made with the first question, because it takes about as long as all
/// checks together, and goes with this value.
#[derive(Debug)]
pub struct Trials {
    new: NewVersion,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    making: Option<Making>,
    cluster: Option<Result<ThrowAway>>,
    refusals: HashMap<String, Option<String>>,
}

impl Trials {
    /// Nothing is made yet.
    pub fn new(new: NewVersion) -> Self {
        Self {
            new,
            state: Mutex::default(),
        }
    }

    /// Begins to make the cluster, which will be asked for, while something else is done.
    pub fn begin(&self, cancel: &Cancel) {
        let (new, cancel) = (self.new.clone(), cancel.clone());
        let files = std::thread::spawn(move || files(&new, &cancel));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.making = Some(Making(Some(files)));
    }

    /// The major version that is asked.
    pub fn major(&self) -> MajorVersion {
        self.new.installation.version.major
    }

    /// The programs of the version that is asked.
    pub(super) fn installation(&self) -> &Installation {
        &self.new.installation
    }

    /// The release that is asked.
    pub(super) fn version(&self) -> &Version {
        &self.new.installation.version
    }

    /// Why the new version refuses these statements; none if it does not.
    ///
    /// Nothing they make stays, so one trial knows nothing of another.
    ///
    /// # Errors
    ///
    /// Where no cluster can be made, each time with the first reason; a requested stop.
    pub(super) fn refusal(&self, sql: &str, cancel: &Cancel) -> Result<Option<String>> {
        cancel.check()?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = state.refusals.get(sql) {
            return Ok(known.clone());
        }
        let making = state.making.take();
        let make = || ThrowAway::make(&self.new, making, cancel);
        let refusal = match state.cluster.get_or_insert_with(make) {
            Ok(cluster) => cluster.refusal(sql)?,
            Err(error) => return Err(error.clone()),
        };
        state.refusals.insert(sql.to_owned(), refusal.clone());
        Ok(refusal)
    }

    /// Seconds a server of the new version takes to start and to stop: that of the throw-away
    /// cluster, which is made now where nothing has been asked yet.
    ///
    /// # Errors
    ///
    /// Where no cluster can be made, or its server does not stop; a requested stop.
    pub fn server_times(self, cancel: &Cancel) -> Result<(f64, f64)> {
        let state = self.state.into_inner();
        let state = state.unwrap_or_else(PoisonError::into_inner);
        let make = || ThrowAway::make(&self.new, state.making, cancel);
        state.cluster.unwrap_or_else(make)?.end()
    }
}

/// The files of a cluster that are being made; they are waited for, wanted or not.
#[derive(Debug)]
struct Making(Option<JoinHandle<Result<Temporary>>>);

impl Making {
    /// Nothing where their thread has died.
    fn files(mut self) -> Option<Result<Temporary>> {
        self.0.take()?.join().ok()
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        let _ = self.0.take().map(JoinHandle::join);
    }
}

/// A new cluster in a temporary directory, and a session in it.
struct ThrowAway {
    // In this order they end: session, server, files.
    client: Client,
    server: Postmaster,
    started_in: f64,
    _place: Temporary,
}

impl fmt::Debug for ThrowAway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ThrowAway");
        shown.field("server", &self.server).finish_non_exhaustive()
    }
}

impl ThrowAway {
    fn make(new: &NewVersion, making: Option<Making>, cancel: &Cancel) -> Result<Self> {
        let made = making.and_then(Making::files);
        let place = made.unwrap_or_else(|| files(new, cancel))?;
        let data_dir = place.path().join(DATA);
        let data_dir = DataDir {
            config_dir: data_dir.clone(),
            path: data_dir,
            major: new.installation.version.major,
        };
        let log = new.logs.join("throw-away-server.log");
        let mut spec =
            PostmasterSpec::for_new(&new.installation, &data_dir, POSTGRES, &log, false, 64);
        // In that mode nothing can be made without naming its OID first.
        spec.binary_upgrade = false;
        spec.set("shared_buffers", "16MB");
        spec.extra.clone_from(&new.options);
        spec.socket_parent.clone_from(&new.socket_parent);
        let begun = Instant::now();
        let server = Postmaster::start(&spec, cancel)?;
        let started_in = begun.elapsed().as_secs_f64();
        let client = server.connect(POSTGRES)?;
        Ok(Self {
            client,
            server,
            started_in,
            _place: place,
        })
    }

    /// Stops its server; the seconds of its start and of its stop.
    fn end(self) -> Result<(f64, f64)> {
        drop(self.client);
        let begun = Instant::now();
        self.server.stop()?;
        Ok((self.started_in, begun.elapsed().as_secs_f64()))
    }

    fn refusal(&mut self, sql: &str) -> Result<Option<String>> {
        let timeout = STATEMENT_TIMEOUT.as_millis();
        self.client
            .run_script(&format!("BEGIN; SET LOCAL statement_timeout = {timeout}"))?;
        let tried = self.client.run_script(sql);
        let undone = self.client.run_script("ROLLBACK");
        match (tried, undone) {
            (Ok(()), undone) => undone.map(|()| None),
            (Err(error), Ok(())) => Ok(Some(reason(&error))),
            (Err(_), Err(_)) => {
                self.connect_again()?;
                Ok(Some("its server crashed over it".to_owned()))
            }
        }
    }

    /// What is tried may be a library that takes the server down.
    fn connect_again(&mut self) -> Result<()> {
        let asked = Instant::now();
        loop {
            match self.server.connect(POSTGRES) {
                Ok(client) => {
                    self.client = client;
                    return Ok(());
                }
                Err(error) if asked.elapsed() > CRASH_LIMIT => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

/// What the server said, without what this program says around it.
fn reason(error: &Error) -> String {
    let said = error.facts().iter().find(|(name, _)| name == "message");
    said.map_or_else(|| error.message().to_owned(), |(_, text)| text.clone())
}

/// A directory with the files of a new cluster.
fn files(new: &NewVersion, cancel: &Cancel) -> Result<Temporary> {
    let place = temporary()?;
    let log = new.logs.join("throw-away-initdb.log");
    initdb(&place.path().join(DATA)).run(&new.installation, &log, cancel)?;
    Ok(place)
}

/// The smallest of clusters: what is asked of it depends on no locale.
fn initdb(data_dir: &Path) -> Initdb<'_> {
    Initdb {
        data_dir,
        wal_dir: None,
        user: POSTGRES,
        encoding: "UTF8",
        provider: LocaleProvider::Libc,
        collate: "C",
        ctype: "C",
        lc_messages: "C",
        lc_monetary: "C",
        lc_numeric: "C",
        lc_time: "C",
        text_search_config: Some("simple"),
        data_checksums: false,
        wal_segment_size: 1 << 20,
        group_access: false,
        auth_local: "peer",
        auth_host: "scram-sha-256",
        sync: false,
    }
}
