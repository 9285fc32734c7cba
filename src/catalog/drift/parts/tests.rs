//! Small databases, and what came and went in them.

use super::*;

struct Shop(Objects);

impl Shop {
    fn with(mut self, class: &str, oid: u32, of: &str, parent: Option<(&str, u32)>) -> Self {
        let identity = |class: &str, oid| Identity {
            class: class.into(),
            oid,
        };
        let (kind, name) = of.split_once(' ').unwrap();
        let object = self.0.entry(identity(class, oid));
        object.kind = kind.replace('_', " ").into();
        object.name = name.into();
        object.parent = parent.map(|(class, oid)| identity(class, oid));
        object.facets.add(&class.into(), 7);
        self
    }

    fn table(self, oid: u32, name: &str) -> Self {
        let parent = Some(("pg_class", oid));
        self.with("pg_class", oid, &format!("table {name}"), None)
            .with("pg_type", oid + 1, &format!("row_type {name}"), parent)
            .with("pg_class", oid + 2, &format!("index {name}_idx"), parent)
    }

    fn said(mut self, oid: u32, catalog: &str, hash: u64) -> Self {
        let class = "pg_class".into();
        let object = self.0.entry(Identity { class, oid });
        object.facets.add(&catalog.into(), hash);
        self
    }

    fn inventory(self) -> Inventory {
        Inventory {
            cluster: Objects::default(),
            databases: BTreeMap::from([("shop".to_owned(), self.0)]),
        }
    }
}

fn shop() -> Shop {
    Shop(Objects::default()).table(100, "public.items")
}

fn between(then: Shop, now: Shop) -> Option<Parts> {
    parts(&then.inventory(), &now.inventory(), "shop")
}

#[test]
fn tables_that_came_and_went_are_parts() {
    let then = shop().table(200, "public.gone");
    let found = between(then, shop().table(300, "public.came")).unwrap();
    assert_eq!((found.added.len(), found.gone.len()), (3, 3));
    assert_eq!(found.told(), "1 table added, 1 dropped");
    let text = serde_json::to_string(&found).unwrap();
    assert_eq!(serde_json::from_str::<Parts>(&text).unwrap(), found);
    // Under its name, but another one.
    let then = shop().table(200, "public.other");
    let found = between(then, shop().table(300, "public.other")).unwrap();
    assert_eq!(found.told(), "1 table added, 1 dropped");
    assert_eq!(between(shop(), shop()), None);
}

#[test]
fn an_index_of_a_table_that_stays_is_one_with_its_constraint() {
    let items = Some(("pg_class", 100));
    let constraint = "constraint more of public.items";
    let with_index = || shop().with("pg_class", 400, "index public.more", items);
    assert_eq!(
        between(shop(), with_index()).unwrap().told(),
        "1 index added"
    );
    let with_both = with_index().with("pg_constraint", 401, constraint, items);
    assert_eq!(
        between(with_both, shop()).unwrap().told(),
        "1 index dropped"
    );
    let alone = shop().with("pg_constraint", 401, constraint, items);
    assert_eq!(between(shop(), alone), None);
}

#[test]
fn a_foreign_key_of_a_table_that_came_is_one_with_its_triggers() {
    let came = shop().table(300, "public.came");
    assert!(!between(shop(), came).unwrap().have_foreign_keys());
    let constraint = "constraint c of public.came";
    let came = shop()
        .table(300, "public.came")
        .with("pg_constraint", 500, constraint, Some(("pg_class", 300)))
        .with(
            "pg_trigger",
            501,
            "foreign_key_triggers RI of public.items",
            Some(("pg_constraint", 500)),
        );
    assert!(between(shop(), came).unwrap().have_foreign_keys());
}

#[test]
fn anything_else_is_no_part() {
    let table = || shop().table(300, "public.came");
    let (came, items) = (Some(("pg_class", 300)), Some(("pg_class", 100)));
    for now in [
        table().said(100, "pg_attribute", 1),
        table().with("pg_class", 500, "view public.seen", None),
        table().with("pg_proc", 500, "function public.f()", None),
        table().with(
            "pg_trigger",
            500,
            "trigger t of public.items",
            Some(("pg_class", 100)),
        ),
        table().with("pg_rewrite", 500, "query _RETURN of public.came", came),
        shop().with(
            "pg_class",
            500,
            "table public.owned",
            Some(("pg_extension", 600)),
        ),
        table()
            .with("pg_constraint", 500, "constraint c of public.items", items)
            .with(
                "pg_trigger",
                501,
                "foreign_key_triggers RI of x",
                Some(("pg_constraint", 500)),
            ),
    ] {
        assert_eq!(between(shop(), now), None);
    }
    let watched = || shop().with("pg_event_trigger", 700, "event_trigger e", None);
    assert_eq!(
        between(watched(), watched().table(300, "public.came")),
        None
    );
}

#[test]
fn another_cluster_must_go_through_the_same_change() {
    let came = |oid| {
        shop()
            .table(oid, "public.came")
            .said(oid, "pg_description", 3)
    };
    let mine = between(shop(), came(300)).unwrap();
    let same = between(shop(), came(300).said(300, "pg_description", 1)).unwrap();
    assert_eq!(mine.difference(&same), None);
    for theirs in [
        came(301),
        shop().table(300, "public.came"),
        came(300).table(800, "public.more"),
        came(300).with("pg_trigger", 500, "trigger t of x", Some(("pg_class", 300))),
    ] {
        let theirs = between(shop(), theirs).unwrap();
        assert!(mine.difference(&theirs).is_some(), "{theirs:?}");
    }
    let newer = came(300).with(
        "pg_constraint",
        500,
        "constraint came_id_not_null of public.came",
        Some(("pg_class", 300)),
    );
    assert_eq!(mine.difference(&between(shop(), newer).unwrap()), None);
}
