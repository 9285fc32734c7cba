//! How much room a mode needs, and where.

use std::path::PathBuf;

use super::Mode;

/// What lies below one place of the old cluster that holds relation files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// Where they lie.
    pub old_place: PathBuf,
    /// Where its counterpart in the new cluster will lie.
    pub new_place: PathBuf,
    /// Bytes allocated to the relation files.
    pub bytes: u64,
    /// Number of the relation files.
    pub files: u64,
}

/// What one place must have free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// A path on the file system concerned; it need not exist yet.
    pub place: PathBuf,
    /// Bytes.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

/// A fresh cluster with three databases, its first WAL segments, and room for one more.
const FRESH_CLUSTER_BYTES: u64 = 128 << 20;
/// Files of a fresh database, rounded up.
const FRESH_DATABASE_FILES: u64 = 400;
/// Size of a fresh database, rounded up.
const FRESH_DATABASE_BYTES: u64 = 10 << 20;
/// Rows a relation and its columns take in the catalogs, their indexes and the dump.
const CATALOG_BYTES_PER_RELATION: u64 = 8 << 10;

/// What a file system notes down of a file whose blocks are shared, and of each gigabyte in it.
const NOTES_PER_FILE: u64 = 4 << 10;
const DATA_OF_NOTES: u64 = 1000;

/// What each place must have free, the state directory included; each place has its mode.
///
/// The restore creates every relation empty before its file is replaced, so that an inode a
/// relation is needed in every mode for a while.
pub fn demands(
    modes: &[Mode],
    places: &[Inventory],
    new_data_dir: &std::path::Path,
    state_dir: &std::path::Path,
    databases: u64,
    relations: u64,
) -> Vec<Demand> {
    let mut all: Vec<Demand> = places
        .iter()
        .zip(modes)
        .map(|(place, mode)| Demand {
            place: place.new_place.clone(),
            bytes: match mode {
                Mode::Link | Mode::Swap => 0,
                Mode::Clone => place.files * NOTES_PER_FILE + place.bytes / DATA_OF_NOTES,
                Mode::Copy | Mode::CopyFileRange | Mode::Auto => place.bytes + place.bytes / 50,
            },
            inodes: place.files,
        })
        .collect();
    all.push(Demand {
        place: new_data_dir.to_owned(),
        bytes: FRESH_CLUSTER_BYTES
            + databases * FRESH_DATABASE_BYTES
            + relations * CATALOG_BYTES_PER_RELATION,
        inodes: (databases + 3) * FRESH_DATABASE_FILES + relations,
    });
    all.push(Demand {
        place: state_dir.to_owned(),
        bytes: (16 << 20) + relations * CATALOG_BYTES_PER_RELATION / 4,
        inodes: 100 + databases,
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_copying_needs_room_for_the_data() {
        let places = [Inventory {
            old_place: "/old".into(),
            new_place: "/new".into(),
            bytes: 1 << 40,
            files: 7,
        }];
        let need = |mode| {
            let all = demands(&[mode], &places, "/new".as_ref(), "/state".as_ref(), 3, 10);
            all.iter().map(|demand| demand.bytes).sum::<u64>()
        };
        assert!(need(Mode::Link) < 1 << 30);
        assert_eq!(need(Mode::Swap), need(Mode::Link));
        assert!(need(Mode::Clone) < 3 << 30);
        for mode in [Mode::Copy, Mode::CopyFileRange] {
            assert!(need(mode) > 1 << 40, "{mode}");
        }
    }
}
