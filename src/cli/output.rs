//! The files a check writes for its operator.
//!
//! A file that is there already is replaced only if a check has written it and nobody has changed
//! it since: its first line has a digest of the rest. So the same command may be given again and
//! again, and what somebody has edited, or what was never ours, is not lost.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::checks::{Check, REHEARSAL};
use crate::disk::Area;
use crate::error::{Code, Error, Remedy, Result};
use crate::event::{EventKind, Found, Level, Sink};
use crate::pg::quote;
use crate::render;

/// What the first line of a file says before the digest.
const MARK: &str = "written by pg_migrator check, replaced by the next one unless changed; sha256";

/// The mode of every file: a sentence may name what is nobody else's business.
const MODE: u32 = 0o600;

/// Where a check writes files besides its events.
#[derive(Debug, Default)]
pub struct Output {
    lists: Option<Area>,
    script: Option<ScriptFile>,
    /// What was found; none before anything was looked for.
    found: Mutex<Option<Vec<Found>>>,
}

/// A script of remedies that is wanted.
#[derive(Debug)]
struct ScriptFile {
    area: Area,
    name: String,
    /// Which cluster it is for, in words.
    about: String,
    /// What runs a script, but for its database and its file.
    psql: String,
}

impl Output {
    /// Looks whether files could be written there, before anything else is done.
    ///
    /// # Errors
    ///
    /// `SameDirectory` within one of the `clusters`, `BadArguments` where a file would have to be
    /// replaced that must not be.
    pub fn find(checks: &[Check], clusters: &[&Path], output_dir: Option<&Path>) -> Result<Self> {
        let lists = output_dir.map(Area::new).transpose()?;
        if let Some(area) = &lists {
            outside(clusters, area)?;
        }
        for (area, name) in lists_of(lists.as_ref(), checks) {
            replaceable(&area.root().join(name))?;
        }
        Ok(Self {
            lists,
            ..Self::default()
        })
    }

    /// The same for a script of remedies for the cluster that `about` says, to be run by `psql`.
    pub fn with_script(
        mut self,
        clusters: &[&Path],
        file: &Path,
        about: String,
        psql: String,
    ) -> Result<Self> {
        let named = file.file_name().and_then(|name| name.to_str());
        let name = named.ok_or_else(|| {
            Error::new(Code::BadArguments, "this is not the name of a file")
                .fact("--sql", file.display())
        })?;
        let parent = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let area = Area::new(parent)?;
        outside(clusters, &area)?;
        replaceable(&area.root().join(name))?;
        self.script = Some(ScriptFile {
            area,
            name: name.to_owned(),
            about,
            psql,
        });
        Ok(self)
    }

    /// Takes away the lists of an earlier check.
    pub fn clear(&self, checks: &[Check]) -> Result<()> {
        for (area, name) in lists_of(self.lists.as_ref(), checks) {
            remove_ours(area, &name)?;
        }
        Ok(())
    }

    /// Writes each long list to a file of its own.
    pub fn write_lists(&self, found: &[Found], sink: &dyn Sink) -> Result<()> {
        let Some(area) = &self.lists else {
            return Ok(());
        };
        let mut by_check: BTreeMap<&str, Vec<Found>> = BTreeMap::new();
        for one in found {
            by_check.entry(&one.check).or_default().push(one.clone());
        }
        by_check.retain(|_, found| found.len() > render::MANY);
        if !by_check.is_empty() {
            area.create_dir("", 0o700)?;
        }
        for (check, found) in by_check {
            let file = list_name(check);
            write(area, &file, "#", &render::listing(&found))?;
            sink.emit(EventKind::FindingsListed {
                check: check.to_owned(),
                findings: found.len(),
                file: area.root().join(&file),
            });
        }
        Ok(())
    }

    /// Keeps what was found, for the script.
    pub fn remember(&self, found: Vec<Found>) {
        if self.script.is_some() {
            let mut all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            all.get_or_insert_default().extend(found);
        }
    }

    /// Writes the remedies that are SQL to their file; where there is none, there is no file.
    pub fn write_script(&self, sink: &dyn Sink) -> Result<()> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match (&self.script, &*found) {
            (Some(script), Some(found)) => script.write(found, sink),
            _ => Ok(()),
        }
    }
}

impl ScriptFile {
    fn write(&self, found: &[Found], sink: &dyn Sink) -> Result<()> {
        let file = self.area.root().join(&self.name);
        let Some(script) = render::script(&self.about, found) else {
            remove_ours(&self.area, &self.name)?;
            sink.emit(EventKind::Message {
                level: Level::Note,
                text: format!("no remedy is SQL: {} is not written", file.display()),
            });
            return Ok(());
        };
        write(&self.area, &self.name, "--", &script.text)?;
        let database = match quote::is_plain(&script.database) {
            true => script.database,
            false => format!("dbname={}", quote::conninfo(&script.database)),
        };
        sink.emit(EventKind::RemediesWritten {
            command: format!(
                "{} -d {} -f {}",
                self.psql,
                quote::shell(&database),
                quote::shell_path(&file)
            ),
            file,
            statements: script.statements,
            destructive: script.destructive,
            by_hand: script.by_hand,
        });
        Ok(())
    }
}

/// A check changes nothing in a cluster.
fn outside(clusters: &[&Path], area: &Area) -> Result<()> {
    match clusters.iter().find(|dir| area.root().starts_with(dir)) {
        None => Ok(()),
        Some(dir) => Err(Error::new(
            Code::SameDirectory,
            "a check writes nothing into a data directory",
        )
        .fact("data directory", dir.display())
        .fact("to be written in", area.root().display())
        .remedy(Remedy::manual("give another place"))),
    }
}

/// All the lists there may be.
fn lists_of<'a>(
    area: Option<&'a Area>,
    checks: &'a [Check],
) -> impl Iterator<Item = (&'a Area, String)> {
    let checks = checks.iter().map(|check| check.id.as_str());
    let names = checks.chain([REHEARSAL]).map(list_name);
    area.into_iter()
        .flat_map(move |area| names.clone().map(move |name| (area, name)))
}

fn list_name(check: &str) -> String {
    format!("{check}.txt")
}

/// Writes a file whose first line is a comment that says whose it is.
fn write(area: &Area, name: &str, comment: &str, body: &str) -> Result<()> {
    replaceable(&area.root().join(name))?;
    let text = format!("{comment} {MARK} {}\n{body}", digest(body.as_bytes()));
    area.write(name, text.as_bytes(), MODE)
}

/// Removes what an earlier check has written and nobody has changed.
fn remove_ours(area: &Area, name: &str) -> Result<()> {
    match there(&area.root().join(name))? {
        There::Ours => area.remove_file(name),
        There::Nothing | There::Other => Ok(()),
    }
}

fn replaceable(path: &Path) -> Result<()> {
    match there(path)? {
        There::Nothing | There::Ours => Ok(()),
        There::Other => Err(Error::new(
            Code::BadArguments,
            "a file is there already that no check has written, or that was changed since",
        )
        .fact("file", path.display())
        .remedy(Remedy::manual("give another name, or remove it"))),
    }
}

/// What is in the place of a file.
#[derive(Debug, PartialEq, Eq)]
enum There {
    Nothing,
    Ours,
    Other,
}

fn there(path: &Path) -> Result<There> {
    if path.is_symlink() || path.is_dir() {
        return Ok(There::Other);
    }
    match std::fs::read(path) {
        Ok(text) if is_ours(&text) => Ok(There::Ours),
        Ok(_) => Ok(There::Other),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(There::Nothing),
        Err(error) => Err(Error::io(Code::NotReadable, "read", path, &error)),
    }
}

fn is_ours(text: &[u8]) -> bool {
    let Some(end) = text.iter().position(|byte| *byte == b'\n') else {
        return false;
    };
    let (first, body) = (&text[..end], &text[end + 1..]);
    let said = std::str::from_utf8(first).ok();
    let said = said.and_then(|line| line.split_once(MARK));
    said.is_some_and(|(_, said)| said.trim() == digest(body))
}

fn digest(body: &[u8]) -> String {
    format!("{:x}", Sha256::digest(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use crate::checks;
    use crate::event::Severity;

    #[derive(Default)]
    struct Heard(Mutex<Vec<EventKind>>);

    impl Sink for Heard {
        fn emit(&self, kind: EventKind) {
            self.0.lock().unwrap().push(kind);
        }
    }

    fn many(number: usize) -> Vec<Found> {
        let one = |number: usize| Found {
            check: "unlogged-tables".to_owned(),
            severity: Severity::Notice,
            database: Some("shop".to_owned()),
            sentence: format!("thing {number}"),
            columns: BTreeMap::new(),
            facts: Vec::new(),
            remedy: None,
        };
        (0..number).map(one).collect()
    }

    #[test]
    fn a_long_list_is_whole_in_its_file_and_goes_when_it_is_short() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("lists");
        let checks = checks::all().unwrap();
        let heard = Heard::default();
        let write = |number| {
            let output = Output::find(&checks, &[], Some(&dir)).unwrap();
            output.clear(&checks).unwrap();
            output.write_lists(&many(number), &heard).unwrap();
        };
        write(render::MANY);
        assert!(!dir.exists(), "nothing was to be written");
        write(render::MANY + 1);
        write(300);
        let file = dir.join("unlogged-tables.txt");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("# written by pg_migrator"), "{text}");
        assert!(text.ends_with("database shop: thing 299\n"), "{text}");
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        write(1);
        assert!(!file.exists());
        let heard = heard.0.into_inner().unwrap();
        let told = |event: &EventKind| match event {
            EventKind::FindingsListed { findings, .. } => *findings,
            _ => 0,
        };
        assert_eq!(heard.iter().map(told).collect::<Vec<_>>(), [11, 300]);
    }

    #[test]
    fn what_somebody_has_written_stays() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("unlogged-tables.txt");
        let checks = checks::all().unwrap();
        let find = || Output::find(&checks, &[], Some(place.path()));
        let output = find().unwrap();
        let write = || output.write_lists(&many(20), &Heard::default());
        write().unwrap();
        let ours = fs::read_to_string(&file).unwrap();
        for other in [format!("{ours}\n"), String::new(), "mine\n".to_owned()] {
            fs::write(&file, &other).unwrap();
            assert_eq!(find().unwrap_err().code(), Code::BadArguments);
            assert_eq!(write().unwrap_err().code(), Code::BadArguments);
            output.clear(&checks).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), other);
        }
    }
    #[test]
    fn nothing_is_written_into_a_cluster() {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().canonicalize().unwrap();
        let find = |dir: &Path| Output::find(&[], &[&data], Some(dir)).map(|_| ());
        for within in [data.clone(), data.join("lists")] {
            assert_eq!(find(&within).unwrap_err().code(), Code::SameDirectory);
        }
        find(&data.with_extension("lists")).unwrap();
    }
}
