//! Checksums for the pages of a relation file that had none.

use serde::{Deserialize, Serialize};

use super::{HEADER_SIZE, PageHeader, checksum};
use crate::pg::RelFile;

/// How relation files are made of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageLayout {
    /// Bytes of a page.
    pub block_size: u32,
    /// Pages of a segment, that is, of a file.
    pub segment_blocks: u32,
}

impl PageLayout {
    /// Gives each of these pages its checksum; the first of them begins at `at` in this file.
    ///
    /// A page that was never used has none, and what is no whole page is left as it is. Mirrors
    /// `scan_file` of `src/bin/pg_checksums/pg_checksums.c`.
    pub fn write_checksums(&self, file: RelFile, at: u64, pages: &mut [u8]) {
        let size = (self.block_size as usize).max(HEADER_SIZE);
        let before = u32::try_from(at / size as u64).unwrap_or(u32::MAX);
        let first = file.segment.wrapping_mul(self.segment_blocks);
        let blocks = first.wrapping_add(before)..;
        for (page, block) in pages.chunks_exact_mut(size).zip(blocks) {
            if PageHeader::parse(page).is_some_and(|header| !header.is_new()) {
                let sum = checksum(page, block);
                page[8..10].copy_from_slice(&sum.to_ne_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::page::{PageFault, fault};

    const LAYOUT: PageLayout = PageLayout {
        block_size: 8192,
        segment_blocks: 131_072,
    };

    /// A page of a heap with one row's worth of bytes.
    fn page(byte: u8) -> Vec<u8> {
        let mut page = vec![0; 8192];
        let word = |value: u16| value.to_ne_bytes();
        page[8..10].copy_from_slice(&word(0x1234));
        page[12..14].copy_from_slice(&word(28));
        page[14..16].copy_from_slice(&word(8000));
        page[16..18].copy_from_slice(&word(8192));
        page[18..20].copy_from_slice(&word(8192 | 4));
        page[8000..].fill(byte);
        page
    }

    #[test]
    fn each_page_gets_the_checksum_of_its_place() {
        let sound = [page(1), vec![0; 8192], page(2), b"torn".to_vec()].concat();
        for (name, at, first) in [("7", 0, 0), ("7.2", 16384, 262_146), ("7_vm", 8192, 1)] {
            let mut pages = sound.clone();
            LAYOUT.write_checksums(RelFile::parse(name).unwrap(), at, &mut pages);
            for (number, page) in pages.chunks_exact(8192).enumerate() {
                assert_eq!(fault(page, first + number as u32, true), None, "{name}");
            }
            let moved = fault(&pages[..8192], first + 1, true);
            assert!(matches!(moved, Some(PageFault::Checksum { .. })), "{name}");
            assert_eq!(pages[8192..16384], sound[8192..16384]);
            assert_eq!(pages[24576..], sound[24576..]);
            pages[8..10].copy_from_slice(&sound[8..10]);
            assert_eq!(pages[..8192], sound[..8192]);
        }
    }
}
