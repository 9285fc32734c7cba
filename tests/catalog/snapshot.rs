//! What a snapshot says, compared with what is on disk.

use std::collections::BTreeSet;

use pg_migrator::catalog::{self, Database, Persistence, RelKind, Relation, Snapshot};
use pg_migrator::pg::{Oid, RelFileNumber};
use pg_migrator::server::{Cancel, Client};

use crate::fingerprint::fingerprint;
use crate::shop::{SHOP, TEMPORARY, run, serve, session, version};
use crate::support::{as_server_user, cluster};

#[test]
fn a_snapshot_lists_what_has_files() {
    as_server_user("snapshot::a_snapshot_lists_what_has_files", || {
        for installation in ["old-10", "old-11", "old-13", "old-15", "old-17", "new-18"] {
            lists_what_has_files(installation);
        }
    });
}

fn lists_what_has_files(installation: &str) {
    let cluster = cluster(installation, &[]);
    let place = cluster.scratch().join("fast");
    std::fs::create_dir(&place).unwrap();
    let server = serve(&cluster, &[]);
    let mut client = session(&server, "template1");
    client.run_script("CREATE DATABASE shop").unwrap();
    let fast = format!("CREATE TABLESPACE fast LOCATION '{}'", place.display());
    client.run_script(&fast).unwrap();
    run(
        &mut client,
        "CREATE DATABASE \"a = 'b' \"\"c\"\" ü\" TABLESPACE fast CONNECTION LIMIT 7 IS_TEMPLATE true
         DROP DATABASE postgres
         CREATE DATABASE closed ALLOW_CONNECTIONS false
         CREATE DATABASE broken
         UPDATE pg_catalog.pg_database SET datconnlimit = -2 WHERE datname = 'broken'
         CREATE ROLE clerk LOGIN",
    );
    let mut client = session(&server, "shop");
    run(&mut client, &SHOP.replace("CREATE ROLE clerk", ""));
    run(
        &mut client,
        "CREATE INDEX item_fast ON item (later) TABLESPACE fast
         CREATE TABLE doubles (x int)
         INSERT INTO doubles VALUES (1), (1)
         VACUUM FULL item
         VACUUM FULL pg_largeobject
         VACUUM FULL pg_class
         DROP SCHEMA information_schema CASCADE
         CREATE SCHEMA information_schema
         CREATE TABLE information_schema.sql_parts (feature_id text)
         CREATE TABLE information_schema.mine (feature_id int)",
    );
    let twice = "CREATE UNIQUE INDEX CONCURRENTLY doubles_x ON doubles (x)";
    assert!(
        client.run_script(twice).is_err(),
        "an index that is not valid stays"
    );
    let mut other = session(&server, "shop");
    run(&mut other, TEMPORARY);

    let snapshot = catalog::read(&server, 2, &Cancel::new()).unwrap();
    assert_eq!(
        snapshot.major().0,
        u16::try_from(version(&mut client)).unwrap()
    );
    assert_eq!(snapshot.install_user, "postgres");
    assert_eq!(snapshot.current_user, Oid(10));
    let fast = &snapshot.tablespaces[0];
    assert_eq!(
        (fast.name.as_str(), fast.location.as_str()),
        ("fast", place.to_str().unwrap())
    );
    let roles: Vec<_> = snapshot
        .roles
        .iter()
        .map(|r| (r.name.as_str(), r.superuser))
        .collect();
    assert_eq!(roles, [("postgres", true), ("clerk", false)]);
    databases_are_described(&snapshot);
    relations_are_described(snapshot.database("shop").unwrap(), fast.oid);

    run(&mut client, "CHECKPOINT");
    let shop = snapshot.database("shop").unwrap();
    let listed: BTreeSet<RelFileNumber> = shop.relations.iter().map(|r| r.file).collect();
    assert_eq!(
        listed,
        numbers_by_another_way(&mut client),
        "{installation}"
    );
    for relation in shop
        .relations
        .iter()
        .filter(|relation| relation.tablespace == Oid(0))
    {
        let file = format!("base/{}/{}", shop.oid, relation.file);
        assert!(cluster.data.join(&file).is_file(), "{installation}: {file}");
    }
    let written = serde_json::to_string(&snapshot).unwrap();
    assert_eq!(
        serde_json::from_str::<Snapshot>(&written).unwrap(),
        snapshot
    );
    drop((client, other));
    server.stop().unwrap();
}

fn databases_are_described(snapshot: &Snapshot) {
    let odd = snapshot.database("a = 'b' \"c\" ü").unwrap();
    assert_eq!(odd.tablespace, snapshot.tablespaces[0].oid);
    assert_eq!((odd.connection_limit, odd.is_template), (7, true));
    assert_eq!(odd.encoding, "UTF8");
    assert!(odd.frozen_xid.0 > 2 && odd.min_multi.0 > 0);
    assert!(snapshot.database("postgres").is_none());
    for name in ["template0", "closed", "broken"] {
        let database = snapshot.database(name).unwrap();
        assert!(
            !database.connectable() && database.relations.is_empty(),
            "{name}"
        );
    }
    let mut connectable = snapshot.connectable();
    connectable.sort();
    assert_eq!(connectable, ["a = 'b' \"c\" ü", "shop", "template1"]);
}

fn relations_are_described(shop: &Database, fast: Oid) {
    let find = |name: &str| -> &Relation {
        let found: Vec<_> = shop.relations.iter().filter(|r| &*r.name == name).collect();
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        found[0]
    };
    let item = find("item");
    assert_eq!(
        (item.kind, &*item.schema, &*item.access),
        (RelKind::Table, "public", "heap")
    );
    assert_ne!(item.file.0, item.oid.0, "VACUUM FULL gave it another file");
    assert!(item.frozen_xid.0 > 2 && item.min_multi.0 > 0);
    let toast = shop.relations.iter().find(|r| r.oid == item.toast).unwrap();
    assert_eq!((toast.kind, toast.toast), (RelKind::Toast, Oid(0)));
    let toast_index = shop
        .relations
        .iter()
        .find(|r| r.index_of == toast.oid)
        .unwrap();
    assert_eq!(
        (toast_index.kind, &*toast_index.access),
        (RelKind::Index, "btree")
    );
    assert_eq!(
        (find("item_fast").tablespace, find("item_fast").index_of),
        (fast, item.oid)
    );
    assert_eq!(find("cart").persistence, Persistence::Unlogged);
    assert_eq!(
        (find("item_id_seq").kind, &*find("item_id_seq").access),
        (RelKind::Sequence, "")
    );
    assert_eq!(find("dear").kind, RelKind::MaterializedView);
    assert!(find("item_price").valid && !find("doubles_x").valid);
    assert_eq!(
        (find("pg_largeobject").oid, find("pg_largeobject").kind),
        (Oid(2613), RelKind::Table)
    );
    assert_ne!(find("pg_largeobject").file, RelFileNumber(2613));
    assert_eq!(
        find("pg_largeobject_loid_pn_index").index_of,
        Relation::LARGE_OBJECT
    );
    find("mine");
    for absent in ["sale", "cheap", "t", "u", "sql_parts", "pg_class"] {
        assert!(
            shop.relations.iter().all(|r| &*r.name != absent),
            "{absent}"
        );
    }
    // item, cart, sale and its partition, special, parts, dear, doubles, mine, sql_parts.
    assert_eq!(shop.tables, 10);
    assert!(shop.pages > 10);
    assert_eq!(shop.large_objects, 1);
    assert!(
        shop.large_objects_digest.starts_with("1:"),
        "{}",
        shop.large_objects_digest
    );
    assert!(!shop.labelled);
}

/// Without the joins and the filters of the room: whoever is called, whatever the server says.
fn numbers_by_another_way(client: &mut Client) -> BTreeSet<RelFileNumber> {
    let sql = "SELECT pg_catalog.pg_relation_filenode(oid) FROM pg_catalog.pg_class
        WHERE pg_catalog.pg_relation_filenode(oid) IS NOT NULL AND relpersistence <> 't'
          AND (oid >= 16384 OR oid IN (2613, 2683)) AND oid::regclass::text <> 'information_schema.sql_parts'
          AND oid NOT IN (SELECT reltoastrelid FROM pg_catalog.pg_class
                          WHERE oid::regclass::text = 'information_schema.sql_parts')
          AND oid NOT IN (SELECT i.indexrelid FROM pg_catalog.pg_index i
                          JOIN pg_catalog.pg_class c ON c.reltoastrelid = i.indrelid
                          WHERE c.oid::regclass::text = 'information_schema.sql_parts')";
    let rows = client.text_rows(sql).unwrap();
    rows.iter()
        .map(|row| RelFileNumber(row[0].as_ref().unwrap().parse().unwrap()))
        .collect()
}

#[test]
fn names_that_are_not_utf8_are_read() {
    as_server_user("snapshot::names_that_are_not_utf8_are_read", || {
        for installation in ["old-10", "old-17"] {
            let cluster = cluster(installation, &[]);
            let server = serve(&cluster, &[]);
            let create = "CREATE DATABASE shop ENCODING 'SQL_ASCII' LOCALE_C TEMPLATE template0"
                .replace("LOCALE_C", "LC_COLLATE 'C' LC_CTYPE 'C'");
            session(&server, "template1").run_script(&create).unwrap();
            let mut client = session(&server, "shop");
            run(
                &mut client,
                r"DO $$ BEGIN EXECUTE 'CREATE TABLE ' || convert_from('\x67 72 fc 6e'::bytea, 'SQL_ASCII') || '()'; END $$",
            );
            let snapshot = catalog::read(&server, 1, &Cancel::new()).unwrap();
            let shop = snapshot.database("shop").unwrap();
            assert_eq!(shop.encoding, "SQL_ASCII");
            assert!(shop.relations.iter().any(|r| &*r.name == "gr\u{fffd}n"));
            assert!(
                fingerprint(&server)
                    .differences(&fingerprint(&server))
                    .is_empty()
            );
            drop(client);
            server.stop().unwrap();
        }
    });
}

/// There are providers for a few operating systems only, so rows stand in for their labels.
#[test]
fn labels_are_seen_wherever_they_are() {
    as_server_user("snapshot::labels_are_seen_wherever_they_are", || {
        let cluster = cluster("old-15", &[]);
        let server = serve(&cluster, &[]);
        let mut client = session(&server, "template1");
        let labelled = || {
            let snapshot = catalog::read(&server, 1, &Cancel::new()).unwrap();
            let databases = ["template1", "postgres"].map(|name| snapshot.database(name).unwrap());
            databases.map(|database| database.labelled)
        };
        assert_eq!(labelled(), [false, false]);
        run(
            &mut client,
            "INSERT INTO pg_catalog.pg_seclabel VALUES (1259, 1259, 0, 'mine', 'secret')",
        );
        assert_eq!(labelled(), [true, false]);
        run(
            &mut client,
            "INSERT INTO pg_catalog.pg_shseclabel VALUES (1, 1262, 'mine', 'secret')",
        );
        assert_eq!(labelled(), [true, true]);
        drop(client);
        server.stop().unwrap();
    });
}
