//! Which entries of a dump make some of its tables and indexes, and nothing else.

use std::collections::{HashMap, HashSet};

use super::archive::{Contents, Entry};
use crate::catalog::Part;

/// Catalogs whose objects have entries of their own, with their OIDs.
const CATALOGS: [(&str, u32); 6] = [
    ("pg_attrdef", 2604),
    ("pg_class", 1259),
    ("pg_constraint", 2606),
    ("pg_policy", 3256),
    ("pg_rewrite", 2618),
    ("pg_trigger", 2620),
];

/// Those of tables, indexes and what goes with them.
const OBJECTS: [u32; 3] = [2604, 1259, 2606];

/// Kinds of entries that are no objects and say something about one.
const ABOUT: [&str; 5] = [
    "ACL ",
    "COMMENT ",
    "ROW SECURITY ",
    "SECURITY LABEL ",
    "SEQUENCE OWNED BY ",
];

/// Values of sequences arrive with their files.
const NOT_RESTORED: &str = "SEQUENCE SET ";

/// When an entry is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Objects,
    Attaching,
    Rest,
}

/// The numbers of the entries that make these objects, in the order of restoring.
///
/// A partition is attached to a parent that has its indexes already and would make those it does
/// not find. So, other than in a dump, the indexes of the partition come before.
///
/// # Errors
///
/// Why these entries do not go without others.
pub(super) fn excerpt(contents: &Contents, added: &[Part]) -> Result<Vec<u32>, String> {
    let wanted: HashSet<(u32, u32)> = added
        .iter()
        .filter_map(|part| {
            let known = CATALOGS.iter().find(|(name, _)| *name == part.class);
            known.map(|(_, catalog)| (*catalog, part.oid))
        })
        .collect();
    let mut turns: HashMap<u32, Turn> = HashMap::new();
    let mut chosen = Vec::new();
    for entry in &contents.entries {
        let needed = entry.needs.iter().filter_map(|need| turns.get(need)).max();
        let turn = match needed {
            _ if wanted.contains(&(entry.catalog, entry.oid)) => Some(turn_of(entry)),
            Some(needed) => turn_about(entry, *needed)?,
            None => None,
        };
        if let Some(turn) = turn.map(|turn| needed.map_or(turn, |needed| turn.max(*needed))) {
            turns.insert(entry.id, turn);
            chosen.push((turn, entry.id));
        }
    }
    chosen.sort_by_key(|(turn, _)| *turn);
    Ok(chosen.into_iter().map(|(_, id)| id).collect())
}

fn turn_of(entry: &Entry) -> Turn {
    match OBJECTS.contains(&entry.catalog) {
        true => Turn::Objects,
        false => Turn::Rest,
    }
}

/// The turn of an entry that needs one that was chosen; none where it is left out.
fn turn_about(entry: &Entry, needed: Turn) -> Result<Option<Turn>, String> {
    let is = |kind: &str| entry.catalog == 0 && entry.text.starts_with(kind);
    if is(NOT_RESTORED) {
        Ok(None)
    } else if is("TABLE ATTACH ") {
        Ok(Some(Turn::Attaching))
    } else if is("INDEX ATTACH ") {
        Ok(Some(Turn::Rest))
    } else if ABOUT.iter().any(|kind| is(kind)) {
        Ok(Some(needed))
    } else {
        Err(format!("\"{}\" needs what came", entry.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::parse;

    /// A partition with an index and a privilege, beside a partition that was there.
    const LIST: &str = "\
        10; 1259 100 TABLE app parent postgres\n\
        11; 1259 101 TABLE app kept postgres\n\
        ;\tdepends on: 10\n\
        12; 0 0 TABLE ATTACH app kept postgres\n\
        ;\tdepends on: 10 11\n\
        13; 1259 102 TABLE ATTACH came postgres\n\
        ;\tdepends on: 10\n\
        14; 0 0 TABLE ATTACH app came postgres\n\
        ;\tdepends on: 10 13\n\
        15; 0 0 ACL app TABLE came postgres\n\
        ;\tdepends on: 13\n\
        16; 1259 103 SEQUENCE app came_id_seq postgres\n\
        ;\tdepends on: 13\n\
        17; 0 0 SEQUENCE SET app came_id_seq postgres\n\
        ;\tdepends on: 16\n\
        20; 1259 110 INDEX app parent_id postgres\n\
        ;\tdepends on: 10\n\
        21; 2620 105 TRIGGER app came seen postgres\n\
        ;\tdepends on: 13\n\
        22; 1259 104 INDEX app came_id postgres\n\
        ;\tdepends on: 13\n\
        23; 0 0 INDEX ATTACH app came_id postgres\n\
        ;\tdepends on: 20 22 10 13\n";

    fn part(class: &str, oid: u32) -> Part {
        serde_json::from_value(serde_json::json!({
            "class": class, "oid": oid, "kind": "", "name": "", "parent": null, "said": []
        }))
        .unwrap()
    }

    fn came() -> Vec<Part> {
        let mut parts: Vec<Part> = [102, 103, 104].map(|oid| part("pg_class", oid)).into();
        parts.push(part("pg_trigger", 105));
        // It has no entry, and its OID is that of another object's.
        parts.push(part("pg_type", 100));
        parts
    }

    #[test]
    fn partitions_are_attached_when_their_indexes_are_there() {
        let contents = parse(LIST).unwrap();
        assert_eq!(
            excerpt(&contents, &came()).unwrap(),
            [13, 15, 16, 22, 14, 21, 23]
        );
        assert!(excerpt(&contents, &[]).unwrap().is_empty());
    }

    #[test]
    fn what_needs_more_is_refused() {
        let view = format!("{LIST}30; 1259 120 VIEW app seen postgres\n;\tdepends on: 13\n");
        let refused = excerpt(&parse(&view).unwrap(), &came()).unwrap_err();
        assert_eq!(refused, "\"VIEW app seen postgres\" needs what came");
    }
}
