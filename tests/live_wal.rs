//! What made pages of catalogs newer than their reading is told by the WAL.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use pg_migrator::catalog::{self, Mark};
use pg_migrator::pg::{ControlFile, Lsn};
use pg_migrator::server::Cancel;
use pg_migrator::verify::{self, Since, Wal};
use support::private::operators;
use support::shop::{COUNT, QUIET, Shop};
use support::{Cluster, Running, as_server_user, cluster};

const JOBS: usize = 2;
/// Long enough for whatever ends by itself.
const PATIENT: Duration = Duration::from_secs(30);

/// Work in catalogs that leaves rows nobody sees any more.
const CHURN: &str = "DO $$ BEGIN FOR n IN 1..100 LOOP \
       EXECUTE format('CREATE TABLE kept_%s (id int PRIMARY KEY, name text)', n); \
       EXECUTE format('CREATE TABLE gone_%s (id int PRIMARY KEY, name text)', n); \
       EXECUTE format('INSERT INTO kept_%s SELECT 1, ''one''', n); \
       EXECUTE format('DROP TABLE gone_%s', n); \
     END LOOP; END $$";

/// What autovacuum does, and more: none of it is of any schema.
const MAINTENANCE: &[&str] = &[
    "ANALYZE",
    "VACUUM kept_1",
    "VACUUM (FREEZE, ANALYZE) kept_2",
    "VACUUM item",
    "VACUUM pg_class",
    "VACUUM FREEZE pg_class",
    "VACUUM FREEZE pg_attribute",
    "VACUUM FREEZE pg_type",
    "VACUUM pg_depend",
    "VACUUM pg_index",
    "VACUUM FREEZE pg_description",
    "SELECT count(*) FROM pg_class, pg_type",
    "BEGIN; SELECT 1 FROM pg_class WHERE relname = 'item' FOR UPDATE; COMMIT",
];

fn maintain(run: impl Fn(&str)) {
    run("DELETE FROM item WHERE id > 900; INSERT INTO item (name) VALUES ('late')");
    MAINTENANCE.iter().for_each(|statement| run(statement));
}

/// A cluster with a schema and with work done in its catalogs.
fn busy(major: u16, options: &[&str]) -> Cluster {
    let cluster = cluster(&format!("old-{major}"), options);
    let server = cluster.start_with(QUIET);
    server.sql("postgres", "CREATE DATABASE shop");
    server.sql(
        "shop",
        "CREATE TABLE item (id serial PRIMARY KEY, name text); \
         INSERT INTO item (name) SELECT 'item ' || n FROM generate_series(1, 1000) n;",
    );
    server.sql("shop", CHURN);
    server.stop();
    cluster
}

fn mark(cluster: &Cluster, major: u16) -> Mark {
    let old = operators(cluster, major);
    catalog::read_in_use(&old, PATIENT, JOBS, &Cancel::new())
        .unwrap()
        .mark
}

fn since(cluster: &Cluster, mark: &Mark) -> Since {
    verify::since(&cluster.data, mark, JOBS, &Cancel::new()).unwrap()
}

/// Reads, does something, stops, and looks.
fn after(cluster: &Cluster, major: u16, act: impl FnOnce(&Running<'_>)) -> (Mark, Since) {
    after_with(cluster, major, QUIET, act)
}

fn after_with(
    cluster: &Cluster,
    major: u16,
    settings: &[&str],
    act: impl FnOnce(&Running<'_>),
) -> (Mark, Since) {
    let server = cluster.start_with(settings);
    let mark = mark(cluster, major);
    act(&server);
    server.stop();
    let since = since(cluster, &mark);
    (mark, since)
}

fn demand_explained(since: &Since, about: &str) {
    assert_eq!(since.doubts, [""; 0], "{about}: {since:?}");
    let Wal::Explains { catalogs, bytes } = &since.wal else {
        panic!("{about}: {since:?}");
    };
    let wanted = "pg_class of database shop".to_owned();
    assert!(catalogs.contains(&wanted), "{about}: {since:?}");
    assert!(*bytes > 0, "{about}");
}

#[test]
fn vacuum_and_analyze_leave_no_doubt_in_any_version() {
    as_server_user("vacuum_and_analyze_leave_no_doubt_in_any_version", || {
        for major in 10..=17_u16 {
            // Every other one with the stamps of readers.
            let options: &[&str] = match major % 2 {
                0 => &[],
                _ => &["--data-checksums"],
            };
            let cluster = busy(major, options);
            let (_, since) = after(&cluster, major, |server| {
                maintain(|statement| server.sql("shop", statement));
            });
            demand_explained(&since, &major.to_string());
        }
    });
}

/// VACUUM takes away the rows that were replaced, but not the record of who replaced them.
#[test]
fn a_change_among_them_is_seen() {
    as_server_user("a_change_among_them_is_seen", || {
        for major in [10, 17] {
            let cluster = busy(major, &[]);
            for act in [
                "CREATE TABLE late (id int)",
                "DROP TABLE kept_3",
                "ALTER TABLE kept_4 ALTER name SET NOT NULL",
                "ALTER TABLE kept_5 RENAME TO other",
                "GRANT SELECT ON item TO PUBLIC",
                "COMMENT ON TABLE item IS 'wares'",
                "CREATE INDEX ON item (name)",
                "CREATE INDEX CONCURRENTLY late_index ON item (name)",
                "ALTER ROLE postgres SET work_mem = '8MB'",
                "CREATE ROLE clerk",
                "TRUNCATE kept_6",
                "CREATE TEMPORARY TABLE passing (id int)",
                // Nobody can tell a row that was rolled back from one that was not.
                "BEGIN; CREATE TABLE never (id int); ROLLBACK",
                "VACUUM FULL kept_7",
            ] {
                let (_, since) = after(&cluster, major, |server| {
                    server.sql("shop", act);
                    maintain(|statement| server.sql("shop", statement));
                    server.sql("shop", "VACUUM pg_description");
                });
                assert!(!since.doubts.is_empty(), "{major}: {act}");
                assert_eq!(since.wal, Wal::Confirms, "{major}: {act}");
            }
        }
    });
}

/// VACUUM of everything moves horizons of databases, which are overwritten in place, too, but so
/// is a database whose DROP was interrupted.
#[test]
fn what_is_overwritten_in_other_catalogs_counts() {
    as_server_user("what_is_overwritten_in_other_catalogs_counts", || {
        let cluster = busy(15, &[]);
        let (_, since) = after(&cluster, 15, |server| {
            server.sql("shop", "VACUUM FREEZE");
        });
        assert!(
            since.doubts.contains(&"pg_database changed".to_owned()),
            "{since:?}"
        );
        assert_eq!(since.wal, Wal::Confirms);
    });
}

/// Where there is another doubt nothing is gained by reading.
#[test]
fn it_is_read_only_where_it_can_help() {
    as_server_user("it_is_read_only_where_it_can_help", || {
        let cluster = busy(15, &[]);
        let (_, since) = after(&cluster, 15, |server| {
            server.sql("shop", "ANALYZE");
            server.sql("shop", "VACUUM FULL pg_class");
        });
        assert!(since.doubts.len() > 1, "{since:?}");
        assert_eq!(since.wal, Wal::Unread);
        let (_, since) = after(&cluster, 15, |server| server.sql("shop", "SELECT 1"));
        assert_eq!((since.doubts.len(), since.wal), (0, Wal::Unread));
    });
}

/// The file of the WAL that a position is in.
fn segment(cluster: &Cluster, at: Lsn) -> PathBuf {
    let name = format!("0000000100000000{:08X}", at.0 >> 24);
    cluster.data.join("pg_wal").join(name)
}

#[test]
fn damaged_or_missing_wal_leaves_the_doubt() {
    as_server_user("damaged_or_missing_wal_leaves_the_doubt", || {
        let cluster = busy(15, &[]);
        let settings = [QUIET, &["wal_keep_size=1GB"]].concat();
        let (mark, found) = after_with(&cluster, 15, &settings, |server| {
            maintain(|statement| server.sql("shop", statement));
            server.sql("shop", "SELECT pg_switch_wal()");
            server.sql("shop", "ANALYZE");
        });
        demand_explained(&found, "whole");
        let end = ControlFile::read(&cluster.data).unwrap().checkpoint_lsn;
        assert!(end.0 >> 24 > mark.begin.0 >> 24, "two segments");
        let first = segment(&cluster, mark.begin);
        let whole = fs::read(&first).unwrap();
        let said = |about: &str| {
            let found = since(&cluster, &mark);
            assert!(!found.doubts.is_empty(), "{about}");
            match found.wal {
                Wal::Silent(why) => why,
                other => panic!("{about}: {other:?}"),
            }
        };

        let at = usize::try_from(mark.begin.0 & 0xFF_FFFF).unwrap();
        let mut damaged = whole.clone();
        damaged[at + 30] ^= 1;
        fs::write(&first, damaged).unwrap();
        assert!(said("damaged").ends_with("a wrong checksum"));
        fs::write(&first, &whole[..at + 4000]).unwrap();
        assert!(said("cut").ends_with("ends early"));
        // What a segment holds that was made from an earlier one.
        let mut earlier = whole.clone();
        earlier[(at / 8192 + 1) * 8192 + 8] ^= 1;
        fs::write(&first, earlier).unwrap();
        assert!(said("of before").ends_with("another position"));
        fs::remove_file(&first).unwrap();
        assert!(said("gone").ends_with("is gone"));
        fs::write(&first, &whole).unwrap();
        let last = segment(&cluster, end);
        let kept = fs::read(&last).unwrap();
        fs::remove_file(&last).unwrap();
        assert!(said("end gone").ends_with("is gone"));
        fs::write(&last, kept).unwrap();
        assert_eq!(since(&cluster, &mark), found);
    });
}

/// The checkpoint of the shutdown gives files that are not needed any more the names of later
/// ones; what was in them is there until they are written.
#[test]
fn what_lies_in_files_of_another_name_is_read() {
    as_server_user("what_lies_in_files_of_another_name_is_read", || {
        for major in [10, 11, 15, 17] {
            let cluster = busy(major, &[]);
            let (mark, found) = after(&cluster, major, |server| {
                for catalog in ["pg_class", "pg_type", "pg_index"] {
                    server.sql("shop", &format!("VACUUM FREEZE {catalog}"));
                    server.sql("shop", "SELECT pg_switch_wal()");
                }
            });
            // 10 keeps what it would need to begin at the checkpoint before.
            let first = segment(&cluster, mark.begin);
            assert!(major == 10 || !first.exists(), "{}", first.display());
            demand_explained(&found, &major.to_string());
        }
    });
}

/// Reading it would take longer than asking a server.
#[test]
fn very_much_wal_is_not_read() {
    as_server_user("very_much_wal_is_not_read", || {
        let cluster = busy(15, &[]);
        let (_, since) = after(&cluster, 15, |server| {
            server.sql("shop", "ANALYZE");
            for _ in 0..17 {
                server.sql("shop", "SELECT txid_current()");
                server.sql("shop", "SELECT pg_switch_wal()");
            }
        });
        assert!(!since.doubts.is_empty());
        let Wal::Silent(why) = &since.wal else {
            panic!("{since:?}");
        };
        assert!(why.ends_with("would take too long"), "{why}");
    });
}

#[test]
fn a_cutover_beside_autovacuum_starts_no_server_in_between() {
    let name = "a_cutover_beside_autovacuum_starts_no_server_in_between";
    as_server_user(name, || {
        for (old, options, new, mode) in [
            ("old-10", &[][..], "new-18", "link"),
            ("old-15", &["--data-checksums"], "new-17", "copy"),
            ("old-17", &[], "new-18", "link"),
        ] {
            let shop = Shop::with(old, options, new, mode);
            let server = shop.serving_with(QUIET);
            server.sql("shop", CHURN);
            shop.trip.prepare();
            shop.cutover_around(&[], || {
                maintain(|statement| server.sql("shop", statement));
            })
            .demand(0);
            drop(server);
            let said = shop.said("confirm-catalog");
            assert!(said.starts_with("nothing changed in "), "{old}: {said}");
            assert!(said.contains("pg_class of database shop"), "{old}: {said}");
            assert!(said.contains("(WAL read: "), "{old}: {said}");
            assert!(!shop.started_privately(), "{old}");
            assert_eq!(shop.in_new(COUNT), "901 1001", "{old}");
            let horizons = "SELECT count(*) FROM pg_class WHERE relkind = 'r' \
                            AND age(relfrozenxid) > 2000000000";
            assert_eq!(shop.in_new(horizons), "0", "{old}");
        }
    });
}

#[test]
fn a_change_among_them_is_drift() {
    as_server_user("a_change_among_them_is_drift", || {
        for (old, new, act, named) in [
            ("old-10", "new-17", "CREATE TABLE late (id int)", "late"),
            ("old-17", "new-18", "ALTER TABLE sold ADD late int", "sold"),
        ] {
            let shop = Shop::new(old, new, "link");
            let server = shop.serving_with(QUIET);
            server.sql("shop", CHURN);
            shop.trip.prepare();
            let ran = shop.cutover_around(&[], || {
                server.sql("shop", act);
                maintain(|statement| server.sql("shop", statement));
            });
            ran.refused(3, "PGM-6001", &[named]);
            drop(server);
            assert!(shop.started_privately(), "{old}");
            shop.trip.demand_standing("waits for the cutover");
            assert_eq!(shop.in_old(COUNT), "901 1001");
        }
    });
}

#[test]
fn where_wal_is_missing_old_is_read_again() {
    as_server_user("where_wal_is_missing_old_is_read_again", || {
        let shop = Shop::new("old-17", "new-18", "link");
        let server = shop.serving_with(QUIET);
        server.sql("shop", CHURN);
        shop.trip.prepare();
        shop.cutover_around(&[], || {
            maintain(|statement| server.sql("shop", statement));
            server.sql("shop", "SELECT pg_switch_wal()");
            let text = fs::read(shop.trip.state().join("old-mark.json")).unwrap();
            let mark: Mark = serde_json::from_slice(&text).unwrap();
            fs::remove_file(segment(&shop.old, mark.begin)).unwrap();
        })
        .demand(0);
        drop(server);
        let said = shop.said("confirm-catalog");
        assert!(
            said.contains("pg_class of database shop changed") && said.contains("is gone"),
            "{said}"
        );
        assert!(shop.started_privately());
        assert_eq!(shop.in_new(COUNT), "901 1001");
    });
}
