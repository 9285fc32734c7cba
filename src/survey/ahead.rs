//! Old's catalogs are brought into memory while other things are looked at.

use std::fs::DirEntry;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use super::inventory::{AT_A_TIME, database_folders};
use crate::disk::ReadAhead;
use crate::pg::{DataDir, Fork, RelFile};
use crate::work::{Cancel, each};

/// The numbers of catalogs are below this one; those of the information schema are not.
const GIVEN_BY_HAND: u32 = 10_000;

/// Catalogs nobody reads here, which may be large: `pg_largeobject`, `pg_statistic` with its
/// toast table, and their indexes.
const UNREAD: [u32; 6] = [2613, 2683, 2619, 2696, 2840, 2841];

/// What is read in a database of 15 while it is asked: catalogs whose rows the questions are about
/// or the server itself needs to plan them, and their indexes: those of which a server that had just
/// been started told in `pg_statio_all_tables` and `pg_statio_all_indexes`, after a check of it, that
/// it has read something. What is missing here is read when it is asked for.
#[rustfmt::skip]
const ASKED: [u32; 101] = [
    826, 1247, 1249, 1255, 1259, 1417, 1418, 2187, 2224, 2328, 2579, 2600, 2601, 2602, 2603, 2604,
    2605, 2606, 2607, 2608, 2610, 2611, 2612, 2615, 2616, 2617, 2618, 2620, 2650, 2651, 2652, 2653,
    2654, 2655, 2656, 2657, 2658, 2659, 2661, 2662, 2663, 2664, 2665, 2666, 2667, 2673, 2674, 2678,
    2679, 2680, 2684, 2685, 2686, 2687, 2688, 2689, 2690, 2691, 2692, 2693, 2699, 2701, 2702, 2703,
    2704, 2753, 2995, 2996, 3079, 3080, 3081, 3085, 3118, 3164, 3256, 3257, 3258, 3350, 3379, 3381,
    3394, 3429, 3455, 3456, 3466, 3467, 3468, 3501, 3541, 3576, 3596, 3597, 3600, 3601, 3602, 3603,
    3764, 6102, 6104, 6106, 6237,
];

/// What the catalogs are read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// To be asked what checks ask.
    Questions,
    /// To be asked that and then dumped.
    Dump,
}

impl Reading {
    fn wants(self, number: u32) -> bool {
        match self {
            Self::Questions => ASKED.contains(&number),
            Self::Dump => number < GIVEN_BY_HAND && !UNREAD.contains(&number),
        }
    }
}

/// Begins to read the catalogs of a cluster that has not been served for long.
///
/// Sessions read page by page what they ask for, and of hundreds of databases each is asked
/// once: without this it is the disk that is waited for. Files are known by the numbers initdb
/// gives; a catalog that was rewritten is read when it is asked for.
///
/// First come the programs, which are started meanwhile, and the names in all folders: they are
/// counted, and a server that starts looks for a file in each (`RelationCacheInitFileRemove` of
/// `src/backend/utils/cache/relcache.c`). Behind a gigabyte of catalogs each of these would wait.
pub fn read_ahead(old: &DataDir, programs: Vec<PathBuf>, reading: Reading) -> ReadAhead {
    let base = old.path.join("base");
    let tablespaces = entries(&old.path.join("pg_tblspc")).into_iter();
    let major = old.major;
    let elsewhere = tablespaces
        .map(|entry| entry.path())
        .flat_map(move |location| DataDir::version_folders(&location, major).unwrap_or_default());
    let places = std::iter::once(base).chain(elsewhere);
    let folders = move || {
        let mut all = Vec::new();
        for place in places {
            let mut folders = database_folders(&place).unwrap_or_default();
            // The order in which databases are read.
            folders.sort_by_key(|folder| number(folder));
            all.append(&mut folders);
        }
        read_names(&all);
        all
    };
    let databases = std::iter::once_with(folders).flatten();
    let programs = programs.into_iter().filter(|program| program.is_file());
    ReadAhead::begin(programs.chain(databases.flat_map(move |folder| catalogs(&folder, reading))))
}

/// Nobody waits for what cannot be read: who counts will say so.
fn read_names(folders: &[PathBuf]) {
    let _ = each(AT_A_TIME, folders, &Cancel::default(), |folder| {
        entries(folder);
        Ok(())
    });
}

fn entries(dir: &Path) -> Vec<DirEntry> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries.flatten().collect()
}

fn number(folder: &Path) -> Option<u32> {
    folder.file_name()?.to_str()?.parse().ok()
}

/// In the order in which they probably lie on the disk.
fn catalogs(folder: &Path, reading: Reading) -> Vec<PathBuf> {
    let mut files = entries(folder);
    files.retain(|entry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| is_read(name, reading))
    });
    files.sort_by_key(DirEntryExt::ino);
    files.iter().map(DirEntry::path).collect()
}

fn is_read(name: &str, reading: Reading) -> bool {
    RelFile::parse(name).is_some_and(|file| {
        let read = matches!(file.fork, Fork::Main | Fork::Vm);
        read && reading.wants(file.number.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_catalogs_that_are_read_are_read_ahead() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "1259",
            "1259.1",
            "1259_fsm",
            "1259_vm",
            "2613",
            "2840.1",
            "13000",
            "PG_VERSION",
        ] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let mut found = catalogs(dir.path(), Reading::Dump);
        found.sort();
        assert_eq!(
            found,
            ["1259", "1259.1", "1259_vm"].map(|name| dir.path().join(name))
        );
        std::fs::write(dir.path().join("2609"), "descriptions are dumped").unwrap();
        let names = |reading| catalogs(dir.path(), reading).len();
        assert_eq!((names(Reading::Dump), names(Reading::Questions)), (4, 3));
    }
}
