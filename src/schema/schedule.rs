//! How one database is restored over several sessions.
//!
//! A dump in binary-upgrade mode carries the OIDs of an object within the object's own entry,
//! so entries may be restored in any order that keeps their dependencies, and by any session.
//! Only kinds are spread whose restore touches nothing but one table and what belongs to it;
//! everything else keeps the order of the dump, in one session.
//!
//! Two entries go to the same session when they belong to the same group: connected by
//! dependencies through tables (a partition and its parent, a sequence and its column), so
//! that two sessions never wait for each other's locks.

use std::collections::HashMap;

use super::archive::Contents;

/// Entries restored by sessions working side by side, each list in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// What the stage does, for messages.
    pub name: &'static str,
    /// One list of entry numbers a session.
    pub lists: Vec<Vec<u32>>,
}

/// The stages of one database; the first one also creates it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// In order; each begins when the one before has ended.
    pub stages: Vec<Stage>,
}

/// Kinds that make a table or a large object, or belong to one, before there is data.
const TABLE_KINDS: [&str; 9] = [
    "TABLE ATTACH ",
    "TABLE ",
    "SEQUENCE OWNED BY ",
    "SEQUENCE ",
    "DEFAULT ",
    "BLOB METADATA ",
    "BLOB ",
    "COMMENT ",
    "ACL ",
];
/// Kinds that are spread only with the table or the large objects they are about.
const ABOUT_KINDS: [&str; 2] = ["COMMENT ", "ACL "];
/// Kinds that belong to one table and come after the data.
const INDEX_KINDS: [&str; 6] = [
    "INDEX ATTACH ",
    "INDEX ",
    "CONSTRAINT ",
    "CHECK CONSTRAINT ",
    "STATISTICS ",
    "COMMENT ",
];
/// Kinds of relations whose indexes and constraints must stay together.
const RELATION_KINDS: [&str; 4] = ["TABLE ", "MATERIALIZED VIEW ", "FOREIGN TABLE ", "VIEW "];
/// Values of sequences arrive with their files.
const NOT_RESTORED: [&str; 2] = ["SEQUENCE SET ", "TABLE DATA "];
/// Entries restored by the `--create` of the first session whatever the list says.
const OF_THE_DATABASE: [&str; 2] = ["DATABASE ", "DATABASE PROPERTIES "];

/// What an entry is to the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// In the order of the dump, before any table.
    Before,
    /// Spread over sessions by table.
    Tables,
    /// In the order of the dump, after the tables.
    Between,
    /// Spread over sessions by table, after everything it may need.
    Indexes,
    /// In the order of the dump, at the end.
    After,
    /// Left out.
    Nowhere,
}

/// Plans the restore of one database over so many sessions.
pub fn schedule(contents: &Contents, sessions: usize) -> Schedule {
    let index: HashMap<u32, usize> = contents
        .entries
        .iter()
        .enumerate()
        .map(|(at, entry)| (entry.id, at))
        .collect();
    let needs: Vec<Vec<usize>> = contents
        .entries
        .iter()
        .map(|entry| {
            entry
                .needs
                .iter()
                .filter_map(|id| index.get(id).copied())
                .collect()
        })
        .collect();
    let texts: Vec<&str> = contents
        .entries
        .iter()
        .map(|entry| entry.text.as_str())
        .collect();
    let parts = parts(&texts, &needs);
    let of = |part: Part| {
        (0..texts.len())
            .filter(|at| parts[*at] == part)
            .collect::<Vec<_>>()
    };
    let ids = |list: Vec<usize>| list.into_iter().map(|at| contents.entries[at].id).collect();
    let spread = |part: Part| {
        let groups = groups(&texts, &needs, &parts, part);
        deal(groups, sessions).into_iter().map(ids).collect()
    };
    let stages = vec![
        Stage {
            name: "database",
            lists: vec![ids(of(Part::Before))],
        },
        Stage {
            name: "tables",
            lists: spread(Part::Tables),
        },
        Stage {
            name: "views",
            lists: vec![ids(of(Part::Between))],
        },
        Stage {
            name: "indexes",
            lists: spread(Part::Indexes),
        },
        Stage {
            name: "rest",
            lists: vec![ids(of(Part::After))],
        },
    ];
    // The first stage creates the database even where its list is empty.
    let stages = stages
        .into_iter()
        .enumerate()
        .filter(|(at, stage)| *at == 0 || stage.lists.iter().any(|list| !list.is_empty()))
        .map(|(_, stage)| stage)
        .collect();
    Schedule { stages }
}

fn is(text: &str, kinds: &[&str]) -> bool {
    kinds.iter().any(|kind| text.starts_with(kind))
}

/// Assigns every entry its part, so that no entry comes before one that it needs.
fn parts(texts: &[&str], needs: &[Vec<usize>]) -> Vec<Part> {
    let post_data = first_post_data(texts);
    let mut parts = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        let part = if is(text, &NOT_RESTORED) {
            Part::Nowhere
        } else if is(text, &OF_THE_DATABASE) {
            Part::Before
        } else if at < post_data {
            pre_data_part(at, texts, needs, &parts)
        } else {
            post_data_part(at, texts, needs, &parts)
        };
        parts.push(part);
    }
    parts
}

/// Where the entries after the data begin: at the first that only occurs there.
fn first_post_data(texts: &[&str]) -> usize {
    let only_after = [
        "INDEX ",
        "CONSTRAINT ",
        "TRIGGER ",
        "RULE ",
        "FK CONSTRAINT ",
    ];
    texts
        .iter()
        .position(|text| is(text, &only_after))
        .unwrap_or(texts.len())
}

fn pre_data_part(at: usize, texts: &[&str], needs: &[Vec<usize>], parts: &[Part]) -> Part {
    let earlier = |need: &usize| parts.get(*need).copied();
    let spreadable = is(texts[at], &TABLE_KINDS) && spread_safely(at, texts, needs);
    if needs[at]
        .iter()
        .any(|need| !matches!(earlier(need), Some(Part::Before | Part::Tables)))
    {
        return Part::Between;
    }
    if spreadable && about_something_spread(at, texts, needs) {
        return Part::Tables;
    }
    if needs[at]
        .iter()
        .all(|need| earlier(need) == Some(Part::Before))
    {
        return Part::Before;
    }
    Part::Between
}

fn post_data_part(at: usize, texts: &[&str], needs: &[Vec<usize>], parts: &[Part]) -> Part {
    let after = |need: &usize| !matches!(parts.get(*need), Some(part) if *part != Part::After && *part != Part::Nowhere);
    if needs[at].iter().any(after) {
        return Part::After;
    }
    let attached = needs[at]
        .iter()
        .any(|need| is(texts[*need], &RELATION_KINDS) || parts.get(*need) == Some(&Part::Indexes));
    if is(texts[at], &INDEX_KINDS) && attached && spread_safely(at, texts, needs) {
        return Part::Indexes;
    }
    Part::After
}

/// A member of an extension locks the extension until its transaction ends; two sessions that
/// lock two extensions in opposite order would wait for each other.
fn spread_safely(at: usize, texts: &[&str], needs: &[Vec<usize>]) -> bool {
    needs[at]
        .iter()
        .all(|need| !is(texts[*need], &["EXTENSION "]))
}

/// What is about a schema or a type has no table whose session it could go to.
fn about_something_spread(at: usize, texts: &[&str], needs: &[Vec<usize>]) -> bool {
    let spread = |need: &usize| is(texts[*need], &["TABLE ", "BLOB "]);
    !is(texts[at], &ABOUT_KINDS) || needs[at].iter().any(spread)
}

/// The groups of one part, each in the order of the dump.
fn groups(texts: &[&str], needs: &[Vec<usize>], parts: &[Part], part: Part) -> Vec<Vec<usize>> {
    let mut leader: Vec<usize> = (0..texts.len()).collect();
    for at in (0..texts.len()).filter(|at| parts[*at] == part) {
        for need in &needs[at] {
            if parts[*need] == part || is(texts[*need], &RELATION_KINDS) {
                let (a, b) = (find(&mut leader, at), find(&mut leader, *need));
                leader[a] = b;
            }
        }
    }
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut place: HashMap<usize, usize> = HashMap::new();
    for at in (0..texts.len()).filter(|at| parts[*at] == part) {
        let group = *place.entry(find(&mut leader, at)).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(at);
    }
    groups
}

/// The leader of a group, shortening the way to it for the next time.
fn find(leader: &mut [usize], mut at: usize) -> usize {
    while leader[at] != at {
        leader[at] = leader[leader[at]];
        at = leader[at];
    }
    at
}

/// Deals groups to sessions, the largest first, always to the one with the least to do.
fn deal(mut groups: Vec<Vec<usize>>, sessions: usize) -> Vec<Vec<usize>> {
    let mut lists: Vec<Vec<usize>> = vec![Vec::new(); sessions.max(1)];
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    for group in groups {
        if let Some(list) = lists.iter_mut().min_by_key(|list| list.len()) {
            list.extend(group);
        }
    }
    for list in &mut lists {
        list.sort_unstable();
    }
    lists.retain(|list| !list.is_empty());
    lists
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::archive::{Entry, parse};
    use proptest::prelude::*;

    fn entry(id: u32, text: &str, needs: &[u32]) -> Entry {
        Entry {
            id,
            catalog: 0,
            oid: 0,
            text: text.into(),
            needs: needs.to_vec(),
        }
    }

    fn sample() -> Contents {
        Contents {
            entries: vec![
                entry(100, "DATABASE - shop postgres", &[]),
                entry(6, "SCHEMA - app postgres", &[]),
                entry(7, "FUNCTION app f(integer) postgres", &[6]),
                entry(10, "TABLE app parent postgres", &[6, 7]),
                entry(11, "COMMENT app TABLE \"parent\" postgres", &[10]),
                entry(12, "FUNCTION app g(app.parent) postgres", &[6, 10]),
                entry(13, "TABLE app uses_g postgres", &[6, 12]),
                entry(14, "TABLE app child postgres", &[6, 10]),
                entry(15, "TABLE app lonely postgres", &[6]),
                entry(16, "VIEW app v postgres", &[14]),
                entry(17, "SEQUENCE app s postgres", &[6]),
                entry(18, "SEQUENCE OWNED BY app s postgres", &[17]),
                entry(19, "DEFAULT app lonely id postgres", &[17, 15]),
                entry(20, "SEQUENCE SET app s postgres", &[17]),
                entry(30, "CONSTRAINT app parent parent_pkey postgres", &[10]),
                entry(31, "INDEX app child_idx postgres", &[14, 12]),
                entry(32, "INDEX app lonely_idx postgres", &[15]),
                entry(
                    33,
                    "FK CONSTRAINT app child child_fk postgres",
                    &[14, 10, 30],
                ),
                entry(34, "EVENT TRIGGER - et postgres", &[]),
            ],
        }
    }

    fn stage<'a>(schedule: &'a Schedule, name: &str) -> &'a Stage {
        schedule
            .stages
            .iter()
            .find(|stage| stage.name == name)
            .unwrap()
    }

    #[test]
    fn tables_and_indexes_are_spread_and_the_rest_keeps_its_order() {
        let schedule = schedule(&sample(), 2);
        assert_eq!(stage(&schedule, "database").lists, [[100, 6, 7]]);
        let tables = &stage(&schedule, "tables").lists;
        assert_eq!(tables, &[vec![15, 17, 18, 19], vec![10, 11, 14]]);
        assert_eq!(stage(&schedule, "views").lists, [[12, 13, 16]]);
        assert_eq!(stage(&schedule, "indexes").lists.concat().len(), 3);
        assert_eq!(stage(&schedule, "rest").lists, [[33, 34]]);
    }

    #[test]
    fn large_objects_are_spread_with_their_rights() {
        let contents = Contents {
            entries: vec![
                entry(1, "BLOB METADATA - 1..1000 postgres", &[]),
                entry(2, "BLOB METADATA - 1001..2000 postgres", &[]),
                entry(3, "ACL - LARGE OBJECTS 1..1000 postgres", &[1]),
                entry(4, "ACL - SCHEMA app postgres", &[]),
            ],
        };
        let schedule = schedule(&contents, 2);
        assert_eq!(stage(&schedule, "database").lists, [[4]]);
        assert_eq!(stage(&schedule, "tables").lists, [vec![1, 3], vec![2]]);
    }

    #[test]
    fn members_of_extensions_stay_in_one_session() {
        let contents = Contents {
            entries: vec![
                entry(1, "EXTENSION - ext ", &[]),
                entry(2, "TABLE app member postgres", &[1]),
                entry(3, "TABLE app free postgres", &[]),
            ],
        };
        let schedule = schedule(&contents, 4);
        assert_eq!(stage(&schedule, "database").lists, [[1, 2]]);
        assert_eq!(stage(&schedule, "tables").lists, [[3]]);
    }

    fn arbitrary_contents() -> impl Strategy<Value = Contents> {
        let kinds = prop::sample::select(vec![
            "SCHEMA",
            "TYPE",
            "FUNCTION",
            "TABLE",
            "TABLE ATTACH",
            "SEQUENCE",
            "DEFAULT",
            "VIEW",
            "MATERIALIZED VIEW",
            "COMMENT",
            "ACL",
            "EXTENSION",
            "INDEX",
            "CONSTRAINT",
            "FK CONSTRAINT",
            "TRIGGER",
            "INDEX ATTACH",
            "RULE",
            "STATISTICS",
        ]);
        prop::collection::vec(
            (
                kinds,
                prop::collection::vec(any::<prop::sample::Index>(), 0..4),
            ),
            1..60,
        )
        .prop_map(|rows| Contents {
            entries: rows
                .iter()
                .enumerate()
                .map(|(at, (kind, needs))| {
                    let needs: Vec<u32> = if at == 0 {
                        vec![]
                    } else {
                        needs.iter().map(|need| need.index(at) as u32).collect()
                    };
                    entry(at as u32, &format!("{kind} app x postgres"), &needs)
                })
                .collect(),
        })
    }

    proptest! {
        #[test]
        fn nothing_comes_before_what_it_needs(contents in arbitrary_contents(), sessions in 1usize..5) {
            let schedule = schedule(&contents, sessions);
            let mut place = HashMap::new();
            for (number, stage) in schedule.stages.iter().enumerate() {
                for (session, list) in stage.lists.iter().enumerate() {
                    for (at, id) in list.iter().enumerate() {
                        prop_assert!(place.insert(*id, (number, session, at)).is_none());
                    }
                }
            }
            prop_assert_eq!(place.len(), contents.entries.len());
            for entry in &contents.entries {
                let (stage, session, at) = place[&entry.id];
                for need in &entry.needs {
                    let (need_stage, need_session, need_at) = place[need];
                    prop_assert!(
                        need_stage < stage
                            || (need_stage == stage && need_session == session && need_at < at),
                        "{:?} needs {}", entry, need
                    );
                }
            }
        }

        #[test]
        fn the_list_parser_is_total(text in "\\PC*") {
            let _ = parse(&text);
        }
    }
}
