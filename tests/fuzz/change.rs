//! Inputs made from others.

/// A source of changes; the same seed gives the same ones.
pub struct Changes(u64);

/// Numbers at which something ends.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7F,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFF_FFFF,
    0xFFFF_FFFF,
    0x8000_0000,
    0x1_0000_0000,
    i64::MAX as u64,
    u64::MAX,
];
/// What means something in one of the formats.
const WORDS: [&[u8]; 22] = [
    b"\n",
    b"'",
    b"''",
    b"\\",
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b"#",
    b"=",
    b" ",
    b"\t",
    b"\0",
    b"-9223372036854775808",
    b"18446744073709551616",
    b"99999999999999999999999999",
    b"1e999",
    b"include_dir",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    "\u{202e}\u{1b}[2J".as_bytes(),
];
const LONGEST: usize = 1 << 17;

impl Changes {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap()
    }

    /// One of the corpus, changed in up to eight places.
    pub fn of(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(8) {
            self.change(&mut input, corpus);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.below(input.len());
        let end = at + self.below(input.len() - at.min(input.len())).min(4096);
        match self.below(9) {
            0 if !input.is_empty() => input[at] ^= 1 << self.below(8),
            1 if !input.is_empty() => input[at] = self.next() as u8,
            2 => input.truncate(at),
            3 if end <= input.len() => drop(input.drain(at..end)),
            4 if end <= input.len() => {
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
            5 => {
                let word = WORDS[self.below(WORDS.len())];
                input.splice(at..at, word.iter().copied());
            }
            6 => {
                let other = &corpus[self.below(corpus.len())];
                let from = self.below(other.len());
                let to = from + self.below(other.len() - from.min(other.len())).min(4096);
                let part = other.get(from..to).unwrap_or_default().to_vec();
                input.splice(at..at, part);
            }
            _ => self.edge(input, at),
        }
    }

    /// Numbers lie at even places in most formats.
    fn edge(&mut self, input: &mut [u8], at: usize) {
        let width = [1, 2, 4, 8][self.below(4)];
        let at = at - at % width;
        let edge = EDGES[self.below(EDGES.len())]
            .wrapping_add(self.next() % 3)
            .wrapping_sub(1);
        if let Some(place) = input.get_mut(at..at + width) {
            place.copy_from_slice(&edge.to_ne_bytes()[..width]);
        }
    }
}
