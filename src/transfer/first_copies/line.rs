//! The lines of the ledger, and how they are written and read.

use std::borrow::Cow;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::digest::Secret;
use super::loose::Loose;
use crate::disk::{Era, Stamp};
use crate::error::{Code, Error, Result};

/// The format this release writes; a ledger of another one is not used.
pub(super) const FORMAT: u32 = 2;

/// One line of the ledger; a later one about a file takes the place of earlier ones.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Record<'a> {
    /// The first line.
    Opened {
        format: u32,
        /// How many bytes a digest stands for; the last one of a file for the rest.
        range: usize,
        secret: Secret,
    },
    /// What follows was copied in this era.
    Pass { era: Era },
    /// A pair of directories, and the number files name it by.
    Folder { id: u32, old: PathBuf, new: PathBuf },
    /// A copy.
    File(#[serde(borrow)] Copied<'a>),
    /// A pass has ended.
    Passed {
        files: u64,
        kept: u64,
        read: u64,
        written: u64,
    },
}

/// A copy, and the file it was made of.
#[derive(Serialize, Deserialize)]
pub(super) struct Copied<'a> {
    /// The directories.
    pub folder: u32,
    /// What it is called.
    pub new: Cow<'a, str>,
    /// A moment before the file of old was looked at, in nanoseconds since 1970.
    pub seen: i64,
    /// What the file of old was then.
    pub from: Stamp,
    /// What the copy was when it was finished.
    pub copy: Stamp,
    /// Of each range of old's file as it was read for the copy, XXH3 in 128 bits with the secret.
    #[serde(borrow)]
    pub digests: Cow<'a, str>,
    /// The ranges with a page that had no position of the WAL.
    pub loose: Loose,
}

#[derive(Serialize)]
struct LineOut<'a> {
    crc: String,
    record: &'a RawValue,
}

#[derive(Deserialize)]
struct LineIn<'a> {
    crc: Cow<'a, str>,
    #[serde(borrow)]
    record: &'a RawValue,
}

fn crc(record: &str) -> String {
    format!("{:08x}", crc32c::crc32c(record.as_bytes()))
}

impl Record<'_> {
    /// The line with its end.
    pub fn line(&self) -> Result<Vec<u8>> {
        let failed = |e: serde_json::Error| {
            Error::new(Code::Internal, "could not write down a copy").caused_by(&e)
        };
        let record = serde_json::value::to_raw_value(self).map_err(failed)?;
        let mut line = serde_json::to_vec(&LineOut {
            crc: crc(record.get()),
            record: &record,
        })
        .map_err(failed)?;
        line.push(b'\n');
        Ok(line)
    }
}

/// A line without its end; nothing where it is torn or damaged.
pub(super) fn parse(line: &[u8]) -> Option<Record<'_>> {
    let line: LineIn<'_> = serde_json::from_slice(line).ok()?;
    if crc(line.record.get()) != line.crc {
        return None;
    }
    serde_json::from_str(line.record.get()).ok()
}
