//! The lines of the journal, and how they are written and read.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{Code, Error, Result};

/// The format this release writes; a journal with a higher one is refused.
pub const FORMAT: u32 = 1;

/// Which half of an upgrade a step belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Beside a serving old cluster.
    Prepare,
    /// While service is down.
    Cutover,
}

/// Where a way back ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// At nothing: everything is undone, and the migration is over.
    RolledBack,
    /// At the end of prepare: only the cutover is undone.
    Prepared,
    /// At the beginning of prepare, which then begins anew.
    Anew,
    /// Where databases are restored: new is kept, and some of them are restored anew.
    Reopened,
}

/// A point of a migration at which a command may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Milestone {
    /// Everything was undone, and prepare begins anew.
    Anew,
    /// New has no files of old any more, and what drifted is restored anew.
    Reopened,
    /// New is built; the cutover may follow.
    Prepared,
    /// New has been handed over.
    Upgraded,
    /// Everything was undone.
    RolledBack,
    /// The removal of old has begun; there is no way back from here.
    Finalizing,
    /// Old is gone.
    Finalized,
}

/// Which migration this is: the first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Format of the journal and of the state directory.
    pub format: u32,
    /// Version of the program that began it.
    pub program: String,
    /// Old data directory, canonical.
    pub old: std::path::PathBuf,
    /// New data directory, absolute.
    pub new: std::path::PathBuf,
    /// System identifier of old.
    pub system_identifier: u64,
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Record {
    /// The first line.
    Opened(Opened),
    /// A step is about to act; `intent` is all that its undo will need.
    StepIntended {
        /// Name of the step.
        step: String,
        /// Its half of the upgrade.
        phase: Phase,
        /// Small versioned JSON.
        intent: Value,
    },
    /// The step has acted, and what it did is durable.
    StepDone {
        /// Name of the step.
        step: String,
    },
    /// The way back begins.
    BackwardBegun {
        /// Where it ends.
        to: Target,
    },
    /// A step is about to be undone.
    UndoBegun {
        /// Name of the step.
        step: String,
    },
    /// The step is undone.
    UndoDone {
        /// Name of the step.
        step: String,
    },
    /// The way back is given up: what was undone of the cutover is done again.
    ForwardAgain,
    /// A milestone is reached.
    Reached {
        /// Which one.
        milestone: Milestone,
    },
}

#[derive(Serialize)]
struct LineOut<'a> {
    seq: u64,
    crc: String,
    time: &'a str,
    record: &'a RawValue,
}

#[derive(Deserialize)]
struct LineIn<'a> {
    seq: u64,
    crc: String,
    time: String,
    #[serde(borrow)]
    record: &'a RawValue,
}

fn crc(seq: u64, time: &str, record: &str) -> String {
    format!(
        "{:08x}",
        crc32c::crc32c(format!("{seq} {time} {record}").as_bytes())
    )
}

/// Renders a record as a line, newline included.
pub(super) fn encode(seq: u64, time: &str, record: &Record) -> Result<Vec<u8>> {
    let internal =
        |e: serde_json::Error| Error::new(Code::Internal, "could not write a record").caused_by(&e);
    let text = serde_json::to_string(record).map_err(internal)?;
    let raw = RawValue::from_string(text).map_err(internal)?;
    let line = LineOut {
        seq,
        crc: crc(seq, time, raw.get()),
        time,
        record: &raw,
    };
    let mut bytes = serde_json::to_vec(&line).map_err(internal)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads a line back; `None` where it is not what was written.
pub(super) fn decode(line: &[u8], expected_seq: u64) -> Option<Record> {
    let parsed: LineIn = serde_json::from_slice(line).ok()?;
    let intact = parsed.seq == expected_seq
        && parsed.crc == crc(parsed.seq, &parsed.time, parsed.record.get());
    intact
        .then(|| serde_json::from_str(parsed.record.get()).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Record {
        Record::StepIntended {
            step: "place-files".into(),
            phase: Phase::Prepare,
            intent: serde_json::json!({"v": 1, "n": 18446744073709551615u64}),
        }
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let line = encode(7, "2026-01-01T00:00:00Z", &sample()).unwrap();
        assert_eq!(decode(&line, 7), Some(sample()));
        assert_eq!(decode(&line, 8), None);
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let line = encode(7, "2026-01-01T00:00:00Z", &sample()).unwrap();
        for at in 0..line.len() - 1 {
            let mut bad = line.clone();
            bad[at] ^= 1;
            assert_ne!(decode(&bad, 7), Some(sample()), "byte {at}");
        }
        for len in 0..line.len() - 1 {
            assert_eq!(decode(&line[..len], 7), None, "cut at {len}");
        }
    }
}
