//! Digests of ranges, which nobody can foresee.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use xxhash_rust::xxh3::xxh3_128_with_secret;

use crate::error::{Code, Error, Result};

/// How much a digest stands for: four pages, so that a changed one costs few others.
pub(super) const RANGE: usize = 32 << 10;

/// As many as the hash knows what to do with.
const SECRET: usize = 192;

/// What digests are made with.
///
/// Two ranges of one digest would be taken for one. By chance that does not happen; whoever
/// chooses what is in a table must not be able to bring it about, so each ledger has a
/// secret of its own.
#[derive(Clone)]
pub(super) struct Secret([u8; SECRET]);

impl Secret {
    pub fn new() -> Result<Self> {
        let path = Path::new("/dev/urandom");
        let mut bytes = [0; SECRET];
        File::open(path)
            .and_then(|mut file| file.read_exact(&mut bytes))
            .map_err(|e| Error::io(Code::NotReadable, "read", path, &e))?;
        Ok(Self(bytes))
    }

    pub fn digest(&self, range: &[u8]) -> u128 {
        xxh3_128_with_secret(range, &self.0)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        let text: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        to.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let mut bytes = [0; SECRET];
        let digits = text.as_bytes().chunks(2);
        if text.len() != 2 * SECRET {
            return Err(de::Error::custom("a secret of another length"));
        }
        for (byte, pair) in bytes.iter_mut().zip(digits) {
            let pair = std::str::from_utf8(pair).map_err(de::Error::custom)?;
            *byte = u8::from_str_radix(pair, 16).map_err(de::Error::custom)?;
        }
        Ok(Self(bytes))
    }
}

/// Digests as they are written, 32 digits each.
pub(super) fn text(digests: &[u128]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(32 * digests.len());
    for digest in digests {
        for byte in digest.to_be_bytes() {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    text
}

/// Digests as they were written; nothing where that is not what the text is.
pub(super) fn parse(text: &str) -> Option<Vec<u128>> {
    if !text.is_ascii() || !text.len().is_multiple_of(32) {
        return None;
    }
    let parts = text.as_bytes().chunks(32);
    parts
        .map(|part| u128::from_str_radix(std::str::from_utf8(part).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_as_they_were_written() {
        let digests = [0, 1, u128::MAX, 0x1234_5678_9abc_def0_0fed_cba9_8765_4321];
        assert_eq!(parse(&text(&digests)).unwrap(), digests);
        assert_eq!(parse("").unwrap(), [0; 0]);
        assert!(parse("0").is_none());
        assert!(parse(&"x".repeat(32)).is_none());
    }

    #[test]
    fn every_ledger_has_digests_of_its_own() {
        let (one, other) = (Secret::new().unwrap(), Secret::new().unwrap());
        let range = vec![7; RANGE];
        assert_ne!(one.digest(&range), other.digest(&range));
        assert_ne!(one.digest(&range), one.digest(&range[1..]));
        let text = serde_json::to_string(&one).unwrap();
        let same: Secret = serde_json::from_str(&text).unwrap();
        assert_eq!(one.digest(&range), same.digest(&range));
        assert!(serde_json::from_str::<Secret>("\"00\"").is_err());
    }

    /// `cargo test --release --lib -- --ignored --nocapture ranges_in_a_second`
    #[test]
    #[ignore = "a speed, which only a release build on a quiet machine has"]
    fn ranges_in_a_second() {
        let secret = Secret::new().unwrap();
        let mut state = 1_u32;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        let bytes: Vec<u8> = noise.take(256 << 20).collect();
        for _ in 0..3 {
            let begun = std::time::Instant::now();
            let ranges = bytes.chunks(RANGE);
            let sum = ranges.fold(0_u128, |sum, range| sum.wrapping_add(secret.digest(range)));
            let seconds = begun.elapsed().as_secs_f64();
            let speed = f64::from(256 << 20) / seconds / 1e9;
            println!("{speed:.2} GB/s ({sum})");
            assert!(speed >= 1.5);
        }
    }
}
