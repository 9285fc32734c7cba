//! Ranges of a copy that the WAL may say nothing of.

use serde::{Deserialize, Serialize};

/// Bytes in a page.
const PAGE: usize = 8192;

/// Numbers of ranges, as the first of each row without a gap and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Loose(Vec<(u32, u32)>);

/// Whether a range has a page that no record has changed yet.
///
/// A relation grows by empty pages, and pages are made ready for rows, without WAL. The position
/// at the beginning of such a page is zero, and is that of a record as soon as one has changed it.
/// From then on every change that counts has a record.
pub(super) fn is_loose(range: &[u8]) -> bool {
    range
        .chunks(PAGE)
        .any(|page| page.len() < PAGE || page[..8] == [0; 8])
}

impl Loose {
    /// Of numbers in order.
    pub fn of(ranges: &[u32]) -> Self {
        let mut rows: Vec<(u32, u32)> = Vec::new();
        for range in ranges {
            match rows.last_mut() {
                Some((first, count)) if *first + *count == *range => *count += 1,
                _ => rows.push((*range, 1)),
            }
        }
        Self(rows)
    }

    /// The numbers, in order.
    pub fn ranges(&self) -> impl Iterator<Item = u32> + '_ {
        let row = |(first, count): &(u32, u32)| *first..first.saturating_add(*count);
        self.0.iter().flat_map(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_what_they_were_made_of() {
        for ranges in [&[][..], &[0], &[0, 1, 2], &[1, 2, 4, 7, 8, 9]] {
            assert_eq!(Loose::of(ranges).ranges().collect::<Vec<_>>(), ranges);
        }
        let text = serde_json::to_string(&Loose::of(&[1, 2, 9])).unwrap();
        assert_eq!(text, "[[1,2],[9,1]]");
    }

    #[test]
    fn a_page_without_a_position_makes_a_range_loose() {
        let mut range = vec![1; 4 * PAGE];
        assert!(!is_loose(&range));
        assert!(is_loose(&range[..PAGE + 100]));
        range[2 * PAGE..2 * PAGE + 8].fill(0);
        assert!(is_loose(&range));
        range[2 * PAGE + 7] = 1;
        assert!(!is_loose(&range));
    }
}
