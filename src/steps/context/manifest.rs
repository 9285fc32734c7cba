//! Old's files as they were when it had stopped, where the operator wants to be shown that a way
//! back makes them the same again.

use serde::{Deserialize, Serialize};

use super::{CONTROL, Context, RETIRED, load};
use crate::disk::Area;
use crate::error::{Code, Error, Remedy, Result};
use crate::event::EventKind;
use crate::pg::DataDir;
use crate::pg::amount::counted;
use crate::plan::Mode;
use crate::verify::Manifest;
use crate::work::Cancel;

/// The manifest in the state directory; what it says is for `sha256sum`, too.
const MANIFEST: &str = "old-manifest.sha256";
/// What is in its place from the moment at which the recording begins until it has ended.
const BEGUN: &[u8] = b"# no manifest has been recorded yet\n";
/// What the comparison on the way back has found; until the next cutover, since the standing
/// speaks of it.
const FOUND: &str = "old-manifest-compared.json";
/// How many differences an error names.
const NAMED: usize = 20;

/// What a comparison of old with its manifest has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedOld {
    /// How many files the manifest has.
    pub files: u64,
    /// What is other than it was.
    pub differences: Vec<String>,
    /// Why it could not be compared.
    pub not_compared: Option<String>,
    /// Whether the operator knows.
    #[serde(default)]
    pub told: bool,
}

impl Context<'_> {
    /// Forgets what an earlier cutover has recorded, and what was found when that was undone.
    pub fn forget_manifest(&self) -> Result<()> {
        self.state.remove_file(FOUND)?;
        self.state.remove_file(MANIFEST)
    }

    /// Says in the state directory that the recording has begun.
    pub fn begin_manifest(&self) -> Result<()> {
        self.state.write(MANIFEST, BEGUN, 0o600)
    }

    /// Reads every file of old, which is down, until somebody asks to stop.
    pub fn read_manifest(&self, step: &'static str, cancel: &Cancel) -> Result<Manifest> {
        let old = &self.plan.old;
        let version_dir = DataDir::tablespace_version_dir(old.version.major, old.catalog_version);
        let progress = |done, total| {
            self.sink.emit(EventKind::Progress {
                step: step.to_owned(),
                unit: "bytes".to_owned(),
                done,
                total: Some(total),
            });
        };
        let work = (self.plan.jobs, cancel);
        Manifest::record(&old.data_dir, &version_dir, work, &progress)
    }

    /// Writes it down.
    pub fn save_manifest(&self, manifest: &Manifest) -> Result<()> {
        let old = &self.plan.old;
        let about = format!(
            "the old cluster {:?} of PostgreSQL {}, system identifier {}, when its server had \
             stopped and before the cutover changed anything",
            old.data_dir, old.version, old.system_identifier
        );
        let text = manifest.text(&old.data_dir, &about);
        self.state.write(MANIFEST, &text, 0o600)
    }

    /// What was written down, if anything was.
    fn manifest(&self) -> Result<Option<Manifest>> {
        let path = self.state.path(MANIFEST)?;
        let text = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|e| Error::io(Code::NotReadable, "read", &path, &e))?,
        };
        if text == BEGUN {
            return Ok(None);
        }
        let manifest = Manifest::parse(&text, &self.plan.old.data_dir).ok_or_else(|| {
            Error::new(Code::StateFormat, "the manifest of old cannot be read")
                .fact("file", path.display())
        })?;
        Ok(Some(manifest))
    }

    /// Compares old with its manifest when all is undone that touched it, and keeps what was
    /// found until [`Self::found_in_old`] asks for it.
    ///
    /// It may be interrupted, as little else of a way back may: users wait for old, and nothing
    /// is left half done. What was asked before it has led here, and does not count.
    pub fn compare_after_undoing(&self, step: &'static str) -> Result<()> {
        // An undo that was killed has looked already.
        if self.state.path(FOUND)?.exists() {
            return Ok(());
        }
        self.asked.answered();
        let compared = match self.compare(step, self.asked) {
            Ok(None) if self.state.path(MANIFEST)?.exists() => {
                self.note("no manifest had been recorded yet");
                return Ok(());
            }
            Ok(None) => ComparedOld::not("its manifest is gone"),
            Ok(Some(compared)) => compared,
            // Users need not wait for what can only be looked at.
            Err(error) => ComparedOld::not(&error.to_string()),
        };
        self.save(FOUND, &compared)
    }

    /// Compares the files of old, which must be down, with those it had; nothing where no
    /// manifest was recorded.
    pub fn compare_old(&self, step: &'static str) -> Result<Option<ComparedOld>> {
        self.compare(step, self.cancel)
    }

    fn compare(&self, step: &'static str, cancel: &Cancel) -> Result<Option<ComparedOld>> {
        let Some(was) = self.manifest()? else {
            return Ok(None);
        };
        if self.somebody_serves_old()? {
            return Ok(Some(ComparedOld::not("its server runs")));
        }
        let mut now = self.read_manifest(step, cancel)?;
        let old = self.old_area()?;
        if self.plan.mode == Mode::Link && !old.path(CONTROL)?.exists() {
            now = now.renamed(RETIRED, CONTROL);
        }
        let started = !was.agrees_in(CONTROL, &now);
        let why = "it was started since, as its control file tells";
        Ok(Some(ComparedOld {
            files: was.files(),
            differences: was.differences(&now),
            not_compared: started.then(|| why.to_owned()),
            told: false,
        }))
    }

    /// What the way back found, once: told where all is as it was, an error where not, or where
    /// nobody knows.
    pub fn found_in_old(&self) -> Result<Option<Error>> {
        let Some(compared) = compared_old(&self.state).filter(|compared| !compared.told) else {
            return Ok(None);
        };
        let found = compared.error();
        match &found {
            None => self.note(compared.agrees()),
            Some(error) => self.warn(error.to_string()),
        }
        let told = ComparedOld {
            told: true,
            ..compared
        };
        self.save(FOUND, &told)?;
        Ok(found)
    }
}

/// What the last way back found when it compared old with its manifest, if it did.
pub fn compared_old(state: &Area) -> Option<ComparedOld> {
    let there = state.path(FOUND).is_ok_and(|path| path.exists());
    let unreadable = |error: Error| ComparedOld::not(&error.to_string());
    there.then(|| load(state, FOUND).unwrap_or_else(unreadable))
}

impl ComparedOld {
    fn not(why: &str) -> Self {
        Self {
            files: 0,
            differences: Vec::new(),
            not_compared: Some(why.to_owned()),
            told: false,
        }
    }

    /// Whether it was compared, and is not what it was.
    pub fn differs(&self) -> bool {
        self.not_compared.is_none() && !self.differences.is_empty()
    }

    /// That it is what it was, as a clause.
    pub fn agrees(&self) -> String {
        let files = counted(self.files, "file");
        format!("{files} of old agree with the manifest recorded before the cutover")
    }

    /// That it is not, or that nobody knows, if so.
    pub fn error(&self) -> Option<Error> {
        let (error, remedy) = match &self.not_compared {
            None if self.differences.is_empty() => return None,
            None => (
                Error::new(
                    Code::OldDiffers,
                    "files of the old cluster are not what they were before the cutover",
                ),
                "find out who has changed them; where it was not on purpose, stop the old server and \
                 restore the whole cluster from a backup: single files of a backup do not fit \
                 into it",
            ),
            Some(why) => (
                Error::new(
                    Code::CheckNotMade,
                    format!("the old cluster was not compared with its manifest: {why}"),
                ),
                "as long as the old server has not been started since, verify --manifest compares",
            ),
        };
        let error = error.fact("manifest", format!("{MANIFEST} in the state directory"));
        let error = self.name_differences(error);
        Some(error.remedy(Remedy::manual(remedy)))
    }

    /// The same with what differs as facts.
    fn name_differences(&self, error: Error) -> Error {
        if self.differences.is_empty() {
            return error;
        }
        let error = error.fact("differences", self.differences.len());
        let named = self.differences.iter().take(NAMED);
        named.fold(error, |error, one| error.fact("difference", one))
    }
}
