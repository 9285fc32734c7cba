//! The journal file: created once, appended durably, read back strictly.

use std::time::SystemTime;

use super::record::{FORMAT, Opened, Record, decode, encode};
use super::standing::State;
use crate::disk::{Appender, Area};
use crate::error::{Code, Error, Remedy, Result};

/// Name of the journal in the state directory.
pub const JOURNAL_FILE: &str = "journal.jsonl";

/// An open journal; holding the lock of the state directory is the caller's part.
pub struct Journal {
    appender: Appender,
    state: State,
    next: u64,
}

/// What a journal file says, and how many of its bytes are whole lines.
struct Contents {
    state: State,
    lines: u64,
    valid: u64,
}

impl Journal {
    /// Begins the journal of a new migration.
    ///
    /// The file is written whole and renamed into place, so that a crash leaves either no
    /// journal or one with its first line.
    pub fn create(area: &Area, opened: Opened) -> Result<Self> {
        let line = encode(1, &now(), &Record::Opened(opened.clone()))?;
        area.write(JOURNAL_FILE, &line, 0o600)?;
        let appender = Appender::open(area, JOURNAL_FILE)?;
        Ok(Self {
            appender,
            state: State::new(opened),
            next: 2,
        })
    }

    /// Opens an existing journal for writing; a torn last line is cut off. `None`: there is none.
    pub fn open(area: &Area) -> Result<Option<Self>> {
        let Some(contents) = read_contents(area)? else {
            return Ok(None);
        };
        area.truncate_or_extend(JOURNAL_FILE, contents.valid)?;
        let appender = Appender::open(area, JOURNAL_FILE)?;
        Ok(Some(Self {
            appender,
            state: contents.state,
            next: contents.lines + 1,
        }))
    }

    /// Reads what a journal says without touching it. `None`: there is none.
    pub fn read(area: &Area) -> Result<Option<State>> {
        Ok(read_contents(area)?.map(|contents| contents.state))
    }

    /// Writes one record durably. A record that may not follow is a defect and is not written.
    pub fn append(&mut self, record: Record) -> Result<()> {
        let mut state = self.state.clone();
        if !state.accept(&record) {
            return Err(
                Error::new(Code::Internal, "a journal record may not follow here")
                    .fact("record", format!("{record:?}"))
                    .fact("standing", format!("{:?}", self.state.standing())),
            );
        }
        self.appender.append(&encode(self.next, &now(), &record)?)?;
        self.next += 1;
        self.state = state;
        Ok(())
    }

    /// What the journal says.
    pub fn state(&self) -> &State {
        &self.state
    }
}

fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

fn read_contents(area: &Area) -> Result<Option<Contents>> {
    let path = area.path(JOURNAL_FILE)?;
    match std::fs::read(&path) {
        Ok(bytes) => parse(&bytes)
            .map(Some)
            .map_err(|error| error.fact("journal", path.display())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(Code::DiskOperation, "read", &path, &e)),
    }
}

fn parse(bytes: &[u8]) -> Result<Contents> {
    let mut state: Option<State> = None;
    let (mut lines, mut valid) = (0u64, 0usize);
    while valid < bytes.len() {
        let rest = &bytes[valid..];
        let end = rest.iter().position(|b| *b == b'\n');
        let line = &rest[..end.unwrap_or(rest.len())];
        let last = end.is_none_or(|at| at + 1 == rest.len());
        let record = if end.is_some() {
            decode(line, lines + 1)
        } else {
            None
        };
        let Some(record) = record else {
            if last && lines > 0 {
                break;
            }
            return Err(damaged(lines + 1));
        };
        state = Some(follow(state, &record, lines + 1)?);
        lines += 1;
        valid += line.len() + 1;
    }
    match state {
        Some(state) => Ok(Contents {
            state,
            lines,
            valid: valid as u64,
        }),
        None => Err(damaged(1)),
    }
}

fn follow(state: Option<State>, record: &Record, line: u64) -> Result<State> {
    match (state, record) {
        (None, Record::Opened(opened)) if opened.format <= FORMAT => Ok(State::new(opened.clone())),
        (None, Record::Opened(opened)) => Err(Error::new(
            Code::StateFormat,
            "the state directory was written by a newer release",
        )
        .fact("format", opened.format)
        .fact("format known here", FORMAT)
        .fact("written by", &opened.program)
        .remedy(Remedy::manual(format!(
            "use pg_migrator {} or newer for this migration",
            opened.program
        )))),
        (Some(mut state), record) => {
            if state.accept(record) {
                Ok(state)
            } else {
                Err(damaged(line))
            }
        }
        (None, _) => Err(damaged(line)),
    }
}

fn damaged(line: u64) -> Error {
    Error::new(Code::JournalDamaged, "the journal is damaged")
        .fact("line", line)
        .remedy(Remedy::manual(
            "keep the state directory as it is; both clusters must be looked at by a person \
             before either is started",
        ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Milestone, Phase, Standing};

    fn opened() -> Opened {
        Opened {
            format: FORMAT,
            program: "0.1.0".into(),
            old: "/old".into(),
            new: "/new".into(),
            system_identifier: 7,
        }
    }

    fn intend(step: &str) -> Record {
        Record::StepIntended {
            step: step.into(),
            phase: Phase::Prepare,
            intent: serde_json::json!({"v": 1}),
        }
    }

    #[test]
    fn it_survives_being_closed_and_opened() {
        let dir = tempfile::tempdir().unwrap();
        let area = Area::new(dir.path()).unwrap();
        assert!(Journal::open(&area).unwrap().is_none());
        let mut journal = Journal::create(&area, opened()).unwrap();
        journal.append(intend("a")).unwrap();
        drop(journal);
        let mut journal = Journal::open(&area).unwrap().unwrap();
        journal
            .append(Record::StepDone { step: "a".into() })
            .unwrap();
        journal
            .append(Record::Reached {
                milestone: Milestone::Prepared,
            })
            .unwrap();
        let state = Journal::read(&area).unwrap().unwrap();
        assert_eq!(state.standing(), Standing::Prepared);
        assert_eq!(&state, journal.state());
    }

    #[test]
    fn a_torn_last_line_is_dropped_and_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let area = Area::new(dir.path()).unwrap();
        let mut journal = Journal::create(&area, opened()).unwrap();
        journal.append(intend("a")).unwrap();
        let path = dir.path().join(JOURNAL_FILE);
        let whole = std::fs::read(&path).unwrap();
        journal
            .append(Record::StepDone { step: "a".into() })
            .unwrap();
        let longer = std::fs::read(&path).unwrap();
        for cut in whole.len() + 1..longer.len() {
            std::fs::write(&path, &longer[..cut]).unwrap();
            let mut journal = Journal::open(&area).unwrap().unwrap();
            journal
                .append(Record::StepDone { step: "a".into() })
                .unwrap();
            assert!(Journal::read(&area).unwrap().is_some());
        }
    }

    #[test]
    fn damage_before_the_last_line_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let area = Area::new(dir.path()).unwrap();
        let mut journal = Journal::create(&area, opened()).unwrap();
        journal.append(intend("a")).unwrap();
        journal
            .append(Record::StepDone { step: "a".into() })
            .unwrap();
        let path = dir.path().join(JOURNAL_FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let error = Journal::read(&area).unwrap_err();
        assert_eq!(error.code(), Code::JournalDamaged);
    }

    #[test]
    fn a_newer_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let area = Area::new(dir.path()).unwrap();
        Journal::create(
            &area,
            Opened {
                format: FORMAT + 1,
                ..opened()
            },
        )
        .unwrap();
        assert_eq!(Journal::read(&area).unwrap_err().code(), Code::StateFormat);
    }
}
