//! Old's files as they were when it had stopped, where the operator wants to be shown that a way
//! back makes them the same again.

use serde::{Deserialize, Serialize};

use super::{CONTROL, Context, RETIRED};
use crate::error::{Code, Error, Remedy, Result};
use crate::event::EventKind;
use crate::pg::DataDir;
use crate::pg::amount::counted;
use crate::plan::Mode;
use crate::verify::Manifest;

/// The manifest in the state directory; what it says is for `sha256sum`, too.
const MANIFEST: &str = "old-manifest.sha256";
/// What the comparison on the way back has found, until it has been told.
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
}

impl Context<'_> {
    /// Reads every file of old, which is down.
    pub fn read_manifest(&self, step: &'static str) -> Result<Manifest> {
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
        let work = (self.plan.jobs, self.cancel);
        Manifest::record(&old.data_dir, &version_dir, work, &progress)
    }

    /// Writes it down, in place of an earlier one.
    pub fn save_manifest(&self, manifest: &Manifest) -> Result<()> {
        let old = &self.plan.old;
        let about = format!(
            "the old cluster {:?} of PostgreSQL {}, system identifier {}, when its server had \
             stopped and before the cutover changed anything",
            old.data_dir, old.version, old.system_identifier
        );
        self.state.remove_file(FOUND)?;
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
        let manifest = Manifest::parse(&text, &self.plan.old.data_dir).ok_or_else(|| {
            Error::new(Code::StateFormat, "the manifest of old cannot be read")
                .fact("file", path.display())
        })?;
        Ok(Some(manifest))
    }

    /// Compares old with its manifest when all is undone that touched it, and keeps what was
    /// found until [`Self::found_in_old`] asks for it.
    pub fn compare_after_undoing(&self, step: &'static str) -> Result<()> {
        let compared = match self.compare_old(step) {
            Ok(None) => return Ok(()),
            Ok(Some(compared)) => compared,
            // Users need not wait for what can only be looked at.
            Err(error) => ComparedOld::not(0, &error.to_string()),
        };
        self.save(FOUND, &compared)
    }

    /// Compares the files of old, which must be down, with those it had; nothing where no
    /// manifest was recorded.
    pub fn compare_old(&self, step: &'static str) -> Result<Option<ComparedOld>> {
        let Some(was) = self.manifest()? else {
            return Ok(None);
        };
        let files = was.files();
        if self.somebody_serves_old()? {
            return Ok(Some(ComparedOld::not(files, "its server runs")));
        }
        let mut now = self.read_manifest(step)?;
        let old = self.old_area()?;
        if self.plan.mode == Mode::Link && !old.path(CONTROL)?.exists() {
            now = now.renamed(RETIRED, CONTROL);
        }
        Ok(Some(match was.agrees_in(CONTROL, &now) {
            true => ComparedOld {
                files,
                differences: was.differences(&now),
                not_compared: None,
            },
            false => ComparedOld::not(files, "it was started since, as its control file tells"),
        }))
    }

    /// What the way back found, once: told where all is as it was, an error where not.
    pub fn found_in_old(&self) -> Result<Option<Error>> {
        if !self.state.path(FOUND)?.exists() {
            return Ok(None);
        }
        let compared: ComparedOld = self.load(FOUND)?;
        let differs = compared.error();
        match (&compared.not_compared, &differs) {
            (Some(why), _) => self.warn(format!("old was not compared with its manifest: {why}")),
            (None, None) => self.note(compared.agrees()),
            (None, Some(error)) => self.warn(error.to_string()),
        }
        self.state.remove_file(FOUND)?;
        Ok(differs)
    }
}

impl ComparedOld {
    fn not(files: u64, why: &str) -> Self {
        Self {
            files,
            differences: Vec::new(),
            not_compared: Some(why.to_owned()),
        }
    }

    /// That it is what it was, as a clause.
    pub fn agrees(&self) -> String {
        let files = counted(self.files, "file");
        format!("{files} of old agree with the manifest recorded before the cutover")
    }

    /// That it is not, if so.
    pub fn error(&self) -> Option<Error> {
        if self.differences.is_empty() {
            return None;
        }
        let error = Error::new(
            Code::OldDiffers,
            "files of the old cluster are not what they were before the cutover",
        )
        .fact("manifest", format!("{MANIFEST} in the state directory"))
        .fact("differences", self.differences.len());
        let named = self.differences.iter().take(NAMED);
        let error = named.fold(error, |error, one| error.fact("difference", one));
        Some(error.remedy(Remedy::manual(
            "find out who has changed them; where it was not on purpose, stop the old server and \
             restore the whole cluster from a backup: single files of a backup do not fit into it",
        )))
    }
}
