//! A parser, and all of them.

use crate::{clusters, programs, states};

/// A parser.
pub struct Target {
    /// The folder of its corpus.
    pub name: &'static str,
    /// Makes checksums right.
    pub seal: fn(Vec<u8>) -> Vec<u8>,
    /// Reads the input, and uses what came of it.
    pub parse: fn(&[u8]),
}

pub const fn target(name: &'static str, parse: fn(&[u8])) -> Target {
    Target {
        name,
        seal: |input| input,
        parse,
    }
}

pub const fn sealed(name: &'static str, seal: fn(Vec<u8>) -> Vec<u8>, parse: fn(&[u8])) -> Target {
    Target { name, seal, parse }
}

/// All of them.
pub fn all() -> Vec<&'static Target> {
    let all = [clusters::TARGETS, programs::TARGETS, states::TARGETS];
    all.into_iter().flatten().collect()
}

pub fn text(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}
