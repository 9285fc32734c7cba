//! The page that every btree index begins with.

use super::{HEADER_SIZE, checksum};

const MAGIC: u32 = 0x0005_3162;
const VERSION: u32 = 4;
/// That it is the first page (`BTP_META`).
const IS_FIRST: u16 = 1 << 3;
/// Bytes of what the first page says of the index.
const SAID: usize = 48;
/// Bytes of the space at the end of each page that belongs to the access method.
const SPECIAL: usize = 16;

/// The only page of an index without entries, as 15 and later make it.
///
/// Mirrors `_bt_initmetapage` of `src/backend/access/nbtree/nbtpage.c`: no root, and no count of
/// rows. Those who find no root look for nothing. Pages have at least a kilobyte.
pub fn empty_btree(page_size: u16) -> Vec<u8> {
    let page_size = page_size.max(1024);
    let special = usize::from(page_size) - SPECIAL;
    let mut page = vec![0; usize::from(page_size)];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    let word = |value: usize| (value as u16).to_ne_bytes();
    put(12, &word(HEADER_SIZE + SAID));
    put(14, &word(special));
    put(16, &word(special));
    put(18, &(page_size | 4).to_ne_bytes());
    put(HEADER_SIZE, &MAGIC.to_ne_bytes());
    put(HEADER_SIZE + 4, &VERSION.to_ne_bytes());
    put(HEADER_SIZE + 32, &(-1f64).to_ne_bytes());
    put(special + 12, &IS_FIRST.to_ne_bytes());
    let sum = checksum(&page, 0);
    page[8..10].copy_from_slice(&sum.to_ne_bytes());
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::page::PageHeader;

    #[test]
    fn it_is_a_page() {
        let page = empty_btree(8192);
        let header = PageHeader::parse(&page).unwrap();
        assert_eq!(page.len(), 8192);
        assert_eq!(
            (header.lower, header.upper, header.special),
            (72, 8176, 8176)
        );
        assert_eq!((header.page_size, header.layout_version), (8192, 4));
        assert_eq!(header.checksum, checksum(&page, 0));
    }
}
