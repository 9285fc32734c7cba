//! The checksum of a page: FNV-1a in 32 lanes, so that a processor can compute them at once.

const LANES: usize = 32;
const ROW: usize = LANES * 4;
const PRIME: u32 = 16_777_619;

/// Where the header keeps the checksum; it counts as zero.
const CHECKSUM_AT: std::ops::Range<usize> = 8..10;

/// Where each lane starts, given by the format.
const START: [u32; LANES] = [
    0x5B1F_36E9,
    0xB852_5960,
    0x02AB_50AA,
    0x1DE6_6D2A,
    0x79FF_467A,
    0x9BB9_F8A3,
    0x217E_7CD2,
    0x83E1_3D2C,
    0xF8D4_474F,
    0xE39E_B970,
    0x42C6_AE16,
    0x9932_16FA,
    0x7B09_3B5D,
    0x98DA_FF3C,
    0xF718_902A,
    0x0B1C_9CDB,
    0xE58F_764B,
    0x1876_36BC,
    0x5D7B_3BB1,
    0xE73D_E7DE,
    0x92BE_C979,
    0xCCA6_C0B2,
    0x304A_0979,
    0x85AA_43D4,
    0x7831_25BB,
    0x6CA8_EAA2,
    0xE407_EAC6,
    0x4B5C_FC3E,
    0x9FBF_8C76,
    0x15CA_20BE,
    0xF2CA_9FD3,
    0x959B_D756,
];

/// The checksum a page has as block `block` of its relation, whatever its header says.
///
/// The block number counts over all segments, so that a page in the wrong place is noticed.
/// Bytes behind the last whole row of 128 do not count; real pages have none. Mirrors
/// `pg_checksum_page` of `src/include/storage/checksum_impl.h`.
///
/// It is computed for every page of a cluster: several gigabytes in a second, since rows and lanes
/// are arrays whose lengths the compiler knows.
pub fn checksum(page: &[u8], block: u32) -> u16 {
    let mut lanes = START;
    let (rows, _) = page.as_chunks::<ROW>();
    if let Some((first, rest)) = rows.split_first() {
        let mut row = *first;
        row[CHECKSUM_AT].fill(0);
        mix(&mut lanes, &row);
        for row in rest {
            mix(&mut lanes, row);
        }
    }
    for _ in 0..2 {
        mix(&mut lanes, &[0; ROW]);
    }
    let folded = lanes.iter().fold(0, |sum, lane| sum ^ lane) ^ block;
    // Never zero, which means "no checksum"; the remainder is below 65535.
    (folded % 65535) as u16 + 1
}

fn mix(lanes: &mut [u32; LANES], row: &[u8; ROW]) {
    let (words, _) = row.as_chunks::<4>();
    for (lane, word) in lanes.iter_mut().zip(words) {
        let mixed = *lane ^ u32::from_ne_bytes(*word);
        *lane = mixed.wrapping_mul(PRIME) ^ (mixed >> 17);
    }
}
