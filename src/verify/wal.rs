//! What made pages of catalogs newer than the reading of them, as the WAL tells it.

use std::collections::HashMap;
use std::path::Path;

use crate::catalog::{Heap, Mark};
use crate::error::Result;
use crate::pg::amount::size;
use crate::pg::wal::{Kind, Layout, Reader, Record, RelationFile, Segments};
use crate::pg::{ControlFile, Lsn};
use crate::work::Cancel;

/// How much WAL is read at most: what takes about as long as it may save.
const LIMIT: u64 = 256 << 20;

/// The catalog whose rows are overwritten in place by nothing that matters.
///
/// In 10 to 17 the callers of `heap_inplace_update`, and of `systable_inplace_update_finish`,
/// which took its place, are for `pg_class`: `vac_update_relstats` for VACUUM and ANALYZE, which
/// sets `relpages`, `reltuples`, `relallvisible`, `relfrozenxid` and `relminmxid`, and clears
/// `relhasindex`, `relhaspkey`, `relhasrules` and `relhastriggers` where the last index, rule or
/// trigger has long been gone; and `index_update_stats`, which sets the first three and
/// `relhasindex` after an index was built. That an index came, or became usable, is in a row of
/// `pg_index`, which counts; one that was built again has a new file, so its row of `pg_class`
/// was replaced; what remains are the indexes of a table that was emptied by the transaction
/// that made it, or at its end. The fingerprint counts none of these columns. Horizons are lower
/// bounds that VACUUM moves up, and `refresh-horizons` looks at the control file for those that
/// matter. (`create_toast_table` does it only while initdb is at work.)
///
/// The other callers overwrite `pg_database`: `vac_update_datfrozenxid`, and `EventTriggerOnLogin`
/// from 17 on, but also `dropdb`, so that a DROP that is interrupted leaves a database nobody
/// takes for a whole one. That counts.
const OVERWRITTEN: &str = "pg_class";

/// What the WAL told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing that counts was written.
    Innocent {
        /// How much was read.
        bytes: u64,
    },
    /// Something that may count was written.
    Changed,
    /// It does not tell, and why.
    Nothing(String),
}

/// Reads the WAL from the mark to the end of a cluster that was shut down, and looks at every
/// record that changed a page of its catalogs.
///
/// Innocent is what carries no change of its own. Rows are taken away or frozen that nobody sees
/// any more: whoever deleted them, or made them, did so by a record of this WAL, which counts, or
/// had ended when the catalogs were read, or is among the open transactions of the mark. A lock
/// of a row, a page all of whose rows are visible, and a hint say nothing of what a row holds.
/// Every other record counts, also that of a transaction that was rolled back.
///
/// The WAL is a witness that can be done without: whatever is wrong with it, also an error of
/// the disk, leaves the doubt, and the catalogs are read instead.
///
/// # Errors
///
/// Where the control file cannot be read, and where somebody asks to stop.
pub(super) fn ask(data_dir: &Path, mark: &Mark, newest: Lsn, cancel: &Cancel) -> Result<Told> {
    let control = ControlFile::read(data_dir)?;
    let end = control.checkpoint_lsn;
    let nothing = |why: &str| Ok(Told::Nothing(why.to_owned()));
    let Some(layout) = Layout::of(&control) else {
        return nothing("its files have an unknown size");
    };
    let Some(catalogs) = catalogs(&mark.heaps) else {
        return nothing("a catalog lies at an unknown place");
    };
    if newest > end || mark.begin > end {
        return nothing("a page is newer than its end");
    }
    let bytes = end.0 - mark.begin.0;
    if bytes > LIMIT {
        return Ok(Told::Nothing(format!(
            "{} would take too long",
            size(bytes)
        )));
    }
    let mut reader = Reader::new(layout, mark.begin, end);
    let mut segments = Segments::new(&data_dir.join("pg_wal"), layout);
    let mut innocent = true;
    while let Some(at) = reader.wanted() {
        cancel.check()?;
        let page = match segments.page(at) {
            Ok(page) => page,
            Err(why) => return Ok(Told::Nothing(why)),
        };
        let read = reader.read(page, |record| innocent &= is_innocent(record, &catalogs));
        if let Err(fault) = read {
            return Ok(Told::Nothing(fault.to_string()));
        }
        if !innocent {
            return Ok(Told::Changed);
        }
    }
    Ok(Told::Innocent { bytes })
}

/// The files of the catalogs, and whether it matters what is overwritten in them.
fn catalogs(heaps: &[Heap]) -> Option<HashMap<RelationFile, bool>> {
    let matters = |heap: &Heap| heap.name != OVERWRITTEN;
    heaps
        .iter()
        .map(|heap| Some((RelationFile::at(&heap.path)?, matters(heap))))
        .collect()
}

fn is_innocent(record: &Record<'_>, catalogs: &HashMap<RelationFile, bool>) -> bool {
    let mut changed = record
        .blocks
        .iter()
        .filter(|block| block.main)
        .filter_map(|block| catalogs.get(&block.relation));
    match record.kind() {
        Kind::Prune | Kind::Visible | Kind::Lock | Kind::Hint => true,
        Kind::InPlace => !changed.any(|matters| *matters),
        Kind::Other => changed.next().is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::wal::Block;

    fn heap(name: &str, path: &str) -> Heap {
        Heap {
            database: String::new(),
            name: name.to_owned(),
            path: path.into(),
        }
    }

    fn block(path: &str, main: bool) -> Block {
        Block {
            relation: RelationFile::at(path.as_ref()).unwrap(),
            main,
            number: 0,
        }
    }

    #[test]
    fn what_counts_is_told_by_record_and_catalog() {
        let (class, databases, user) = ("base/5/1259", "global/1262", "base/5/16400");
        let known = catalogs(&[heap("pg_class", class), heap("pg_database", databases)]).unwrap();
        let innocent = |manager: u8, info: u8, blocks: &[Block]| {
            let record = Record {
                start: Lsn(0),
                length: 0,
                manager,
                info,
                blocks,
                data: &[],
            };
            is_innocent(&record, &known)
        };
        for (manager, info, in_class, in_databases) in [
            (9, 0x10, true, true),
            (9, 0x40, true, true),
            (10, 0x60, true, true),
            (0, 0xA0, true, true),
            (10, 0x70, true, false),
            (10, 0x00, false, false),
            (10, 0x20, false, false),
            (9, 0x50, false, false),
            (0, 0xB0, false, false),
            (200, 0x70, false, false),
        ] {
            let about = format!("{manager} {info:X}");
            let there = |path| innocent(manager, info, &[block(user, true), block(path, true)]);
            assert_eq!(there(class), in_class, "{about}");
            assert_eq!(there(databases), in_databases, "{about}");
            assert!(innocent(manager, info, &[block(user, true)]), "{about}");
            assert!(
                innocent(manager, info, &[block(databases, false)]),
                "{about}"
            );
            // Another database has a file of the same number.
            assert!(
                innocent(manager, info, &[block("base/6/1259", true)]),
                "{about}"
            );
        }
        assert_eq!(catalogs(&[heap("pg_class", "elsewhere/1259")]), None);
    }
}
