//! What drifted since prepare is prepared again, and nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::signal::Signal;
use support::application::Application;
use support::case::Case;
use support::stock::{SECOND, dump};
use support::trip::{Trip, Underway};
use support::{Running, as_server_user};

/// One change of each kind that a table can have.
const DRIFT: &str = "
    ALTER TABLE items ADD COLUMN more int;
    CREATE TABLE later (id serial PRIMARY KEY, story text);
    INSERT INTO later (story) SELECT repeat(md5(n::text), 200) FROM generate_series(1, 40) n;
    CREATE INDEX later_story ON later (md5(story));
    DROP INDEX measures_value";

/// What the drift above drops.
const BEFORE: &str = "CREATE INDEX measures_value ON measures_late (value)";

/// The files that a database's dump and its restore leave behind, by its folder in new: another
/// dump or restore leaves other ones.
fn traces(trip: &Trip) -> BTreeMap<String, [(u64, i64); 2]> {
    let trace = |path: &Path| fs::metadata(path).map_or((0, 0), |of| (of.ino(), of.mtime_nsec()));
    let folders = fs::read_dir(trip.new.join("base")).unwrap();
    folders
        .map(|folder| folder.unwrap())
        .map(|folder| {
            let name = folder.file_name().into_string().unwrap();
            let dumped = trip.state().join(format!("dump/database-{name}.dump"));
            let made = folder.path().join("PG_VERSION");
            (name, [trace(&dumped), trace(&made)])
        })
        .collect()
}

/// The folder of a database that is in new's default tablespace.
fn folder(server: &Running<'_>, database: &str) -> String {
    let query = "SELECT oid::text FROM pg_database WHERE datname = $1";
    let mut client = server.connect("template1");
    client.query_one(query, &[&database]).unwrap().get(0)
}

/// The folders in which dump or restore was done again.
fn done_again(before: &BTreeMap<String, [(u64, i64); 2]>, trip: &Trip) -> Vec<String> {
    let after = traces(trip).into_iter();
    let other = after.filter(|(name, now)| {
        let then = before.get(name).copied().unwrap_or_default();
        then[0] != now[0] || then[1] != now[1]
    });
    other.map(|(name, _)| name).collect()
}

fn drift_beside_an_application(mode: &str) {
    let case = Case::new(mode);
    let (trip, old) = (&case.trip, &case.stock.cluster);
    let server = old.start();
    server.sql("app", BEFORE);
    Application::make(&server, "app");
    trip.prepare();
    let before = traces(trip);
    let application = Application::begin(old.scratch(), "app", 1);
    application.goes_on(20);
    server.sql("app", DRIFT);
    let changed = "database app: table public.items: changed: columns";
    let command = format!("pg_migrator prepare -D {}", trip.new.display());
    trip.run(&["cutover"])
        .refused(3, "PGM-6001", &[changed, &command]);
    let status = trip.run(&["status"]);
    assert!(
        status
            .demand(0)
            .stdout
            .contains(&format!("next: {command}"))
    );

    let ran = trip.run(&["prepare"]);
    let said = "prepared again: 1 of 4 databases restored anew (app), 3 kept";
    assert!(ran.demand(0).stdout.contains(said), "{}", ran.stdout);
    assert_eq!(done_again(&before, trip), [folder(&server, "app")]);
    application.goes_on(20);
    trip.demand_standing("the schema of the old cluster is what it was when it was prepared");
    let book = application.end();
    let wanted = dump(old);
    trip.cutover();
    trip.run(&["verify"]).demand(0);
    case.demand_arrived(&wanted);
    let new = trip.new_cluster();
    let server = new.start();
    book.demand_kept(&server, "app");
    server.sql("app", "VACUUM (FREEZE)");
    server.sql(
        "app",
        "SET enable_seqscan = off; DO $$ BEGIN \
         ASSERT (SELECT count(*) FROM later WHERE md5(story) = md5(repeat(md5('7'), 200))) = 1; \
         END $$",
    );
    server.stop();
}

#[test]
fn one_database_is_restored_anew_and_the_others_are_kept() {
    as_server_user(
        "one_database_is_restored_anew_and_the_others_are_kept",
        || {
            drift_beside_an_application("link");
            drift_beside_an_application("copy");
        },
    );
}

/// Databases come, go and get another name; and those every cluster has are others.
const DATABASES: &[(&str, &str)] = &[
    ("postgres", "CREATE DATABASE fresh"),
    ("fresh", "CREATE TABLE made (id serial PRIMARY KEY)"),
    ("fresh", "INSERT INTO made SELECT generate_series(1, 50)"),
    ("postgres", "DROP DATABASE \"second 'db';\""),
    ("postgres", "CREATE DATABASE \"second 'db';\""),
    (
        "postgres",
        "ALTER DATABASE leaving RENAME TO \"second \"\"\"",
    ),
    ("postgres", "DROP DATABASE gone"),
    ("postgres", "ALTER DATABASE app SET work_mem = '5MB'"),
    ("postgres", "CREATE TABLE noted (id int)"),
    ("postgres", "INSERT INTO noted VALUES (1)"),
    ("template1", "ALTER TABLE in_template ADD COLUMN more int"),
];

fn databases_come_and_go(mode: &str) {
    let case = Case::new(mode);
    let (trip, old) = (&case.trip, &case.stock.cluster);
    let server = old.start();
    for name in ["leaving", "gone", "staying"] {
        server.sql("postgres", &format!("CREATE DATABASE {name}"));
        server.sql(name, "CREATE TABLE kept (id serial PRIMARY KEY, note text)");
    }
    server.stop();
    trip.prepare();
    let before = traces(trip);
    let server = old.start();
    for (database, statement) in DATABASES {
        server.sql(database, statement);
    }
    server.sql(
        "staying",
        "INSERT INTO kept (note) SELECT 'n' FROM generate_series(1, 500)",
    );
    server.sql(
        "staying",
        "SELECT lo_from_bytea(4711, 'made since prepare')",
    );
    let staying = folder(&server, "staying");
    let wanted = dump(old);
    server.stop();

    let said = [
        "prepared again: 6 of 7 databases restored anew",
        "1 kept, 2 dropped (gone, leaving)",
    ];
    let ran = trip.run(&["prepare"]);
    ran.demand(0);
    assert!(
        said.iter().all(|said| ran.stdout.contains(said)),
        "{}",
        ran.stdout
    );
    assert!(!done_again(&before, trip).contains(&staying));
    trip.cutover();
    trip.run(&["verify"]).demand(0);
    case.demand_arrived(&wanted);
}

#[test]
fn databases_that_came_went_or_were_renamed() {
    as_server_user("databases_that_came_went_or_were_renamed", || {
        databases_come_and_go("link");
        databases_come_and_go("copy");
    });
}

/// Roles, tablespaces and the like are said of in every database.
#[test]
fn what_all_databases_share_is_prepared_anew() {
    as_server_user("what_all_databases_share_is_prepared_anew", || {
        for (mode, serving) in [("link", true), ("copy", false)] {
            let case = Case::new(mode);
            let (trip, old) = (&case.trip, &case.stock.cluster);
            trip.prepare();
            let server = old.start();
            server.sql("app", "CREATE ROLE writer; GRANT INSERT ON items TO writer");
            let place = old.scratch().join("another");
            fs::create_dir(&place).unwrap();
            let place = format!("CREATE TABLESPACE another LOCATION '{}'", place.display());
            server.sql("app", &place);
            server.sql("app", "CREATE TABLE placed (id int) TABLESPACE another");
            let wanted = dump(old);
            let server = match serving {
                true => Some(server),
                false => {
                    server.stop();
                    None
                }
            };
            let ran = trip.run(&["prepare"]);
            ran.demand(0);
            assert!(
                ran.stdout
                    .contains("everything is undone and prepared anew"),
                "{}",
                ran.stdout
            );
            assert!(ran.stdout.contains("prepared in "), "{}", ran.stdout);
            let events = trip.events();
            assert_eq!(events[0]["event"], "run_started", "{}", events[0]);
            trip.cutover();
            drop(server);
            case.demand_arrived(&wanted);
        }
    });
}

/// What has no name of its own, and so is told of only where nothing else changed, decides too.
#[test]
fn settings_of_all_roles_are_not_forgotten_beside_a_new_database() {
    as_server_user(
        "settings_of_all_roles_are_not_forgotten_beside_a_new_database",
        || {
            let case = Case::new("copy");
            let (trip, old) = (&case.trip, &case.stock.cluster);
            trip.prepare();
            let server = old.start();
            server.sql("app", "ALTER ROLE ALL SET statement_timeout = '77s'");
            server.sql("app", "CREATE DATABASE beside");
            server.stop();
            let ran = trip.run(&["prepare"]);
            ran.demand(0);
            let said = "everything is undone and prepared anew";
            assert!(ran.stdout.contains(said), "{}", ran.stdout);
            trip.cutover();
            let new = trip.new_cluster();
            let server = new.start();
            let mut client = server.connect("app");
            let timeout = client.query_one("SHOW statement_timeout", &[]).unwrap();
            assert_eq!(timeout.get::<_, String>(0), "77s");
            drop(client);
            server.stop();
        },
    );
}

#[test]
fn without_drift_everything_stays() {
    as_server_user("without_drift_everything_stays", || {
        let case = Case::new("link");
        let (trip, old) = (&case.trip, &case.stock.cluster);
        trip.prepare();
        let before = traces(trip);
        let lines = trip.journal().len();
        let said = "prepared again: nothing to repair: 0 of 4 databases restored anew, 4 kept";
        let demand_nothing = || {
            // Options that are given again are those of before.
            for ran in [trip.run(&["prepare"]), trip.run_first(&["prepare"])] {
                assert!(ran.demand(0).stdout.contains(said), "{}", ran.stdout);
                assert!(!ran.stdout.contains("second name"), "{}", ran.stdout);
                assert!(done_again(&before, trip).is_empty());
                assert_eq!(trip.journal().len(), lines);
            }
            case.demand_prepared();
        };
        demand_nothing();
        let others = trip.check_without_new("second-names-of-files");
        assert!(others.contains("files of database app have a second name, such as "));
        let server = old.start();
        server.sql("app", "INSERT INTO items (story) VALUES ('new')");
        server.sql("app", "SELECT lo_from_bytea(4711, 'made since prepare')");
        server.sql("app", "REINDEX TABLE items");
        demand_nothing();
        let wanted = dump(old);
        server.stop();
        demand_nothing();
        // It was read by prepare and not started since.
        let ran = trip.run(&["cutover"]);
        let known = "old was not started since prepare";
        assert!(ran.demand(0).stdout.contains(known), "{}", ran.stdout);
        case.demand_arrived(&wanted);
    });
}

/// They are compared as they are, and not as they are told.
#[test]
fn a_rate_that_differs_by_a_byte_is_another_one() {
    as_server_user("a_rate_that_differs_by_a_byte_is_another_one", || {
        let case = Case::new("copy");
        let trip = &case.trip;
        trip.run_first(&["prepare", "--max-rate", "1073741824"])
            .demand(0);
        trip.run(&["prepare", "--max-rate", "1073741825"]).refused(
            2,
            "PGM-1001",
            &["--max-rate", "1073741825 bytes", "1073741824 bytes"],
        );
        trip.run(&["prepare", "--max-rate", "1073741824"]).demand(0);
    });
}

#[test]
fn other_options_and_other_standings_are_refused() {
    as_server_user("other_options_and_other_standings_are_refused", || {
        let case = Case::new("link");
        let trip = &case.trip;
        trip.run(&["prepare"])
            .refused(2, "PGM-1001", &["--old-bindir"]);
        trip.prepare();
        for (words, said) in [
            (vec!["prepare", "--copy"], "copy now, link when prepared"),
            (
                vec!["prepare", "-U", "somebody"],
                "somebody now, postgres when prepared",
            ),
            (vec!["prepare", "-d", "/elsewhere"], "/elsewhere now"),
            (vec!["prepare", "-o", "-c jit=off"], "-c jit=off now"),
        ] {
            trip.run(&words)
                .refused(2, "PGM-1001", &[said, "waits for the cutover"]);
        }
        // What blocks now is found now, and what was prepared stands.
        let server = case.stock.cluster.start();
        server.sql("postgres", "ALTER DATABASE app ALLOW_CONNECTIONS false");
        trip.run(&["prepare"]).refused(
            3,
            "PGM-6002",
            &["does not accept connections", "waits for the cutover"],
        );
        server.sql("postgres", "ALTER DATABASE app ALLOW_CONNECTIONS true");
        server.stop();
        trip.cutover();
        trip.run(&["prepare"])
            .refused(2, "PGM-1001", &["--old-bindir"]);
        trip.rollback();
        case.demand_back("the way back");
    });
}

/// Nothing of new is left, and no file of old has a second name.
fn demand_gone(trip: &Trip) {
    trip.demand_standing("everything was undone");
    assert!(!trip.new.exists());
    for folder in fs::read_dir(trip.old.join("base")).unwrap() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            let file = file.unwrap();
            assert_eq!(file.metadata().unwrap().nlink(), 1, "{file:?}");
        }
    }
}

/// A dump that fails leaves what was prepared; a restore that fails has nothing to leave.
#[test]
fn what_fails_before_new_is_changed_leaves_it_standing() {
    as_server_user(
        "what_fails_before_new_is_changed_leaves_it_standing",
        || {
            for mode in ["link", "copy"] {
                let mut case = Case::new(mode);
                let flag = case.stock.cluster.scratch().join("fails");
                for program in ["pg_dump", "pg_restore"] {
                    let script = format!(
                        "[ \"$1\" != --version ] && [ \"$(cat {} 2>&1)\" = {program} ] && exit 1\n\
                         exec \"$real\" \"$@\"",
                        flag.display()
                    );
                    case.trip.script(program, &script);
                }
                let (trip, old) = (&case.trip, &case.stock.cluster);
                trip.prepare();
                let server = old.start();
                server.sql("app", "CREATE TABLE later (id int)");
                server.stop();
                fs::write(&flag, "pg_dump").unwrap();
                let said = ["waits for the cutover"];
                trip.run(&["prepare"]).refused(4, "PGM-4001", &said);
                case.demand_prepared();
                trip.run(&["cutover"])
                    .refused(3, "PGM-6001", &["later: created"]);
                fs::write(&flag, "pg_restore").unwrap();
                trip.run(&["prepare"])
                    .refused(5, "PGM-4002", &["everything was undone"]);
                demand_gone(trip);
                fs::remove_file(&flag).unwrap();
                trip.prepare();
                trip.cutover();
            }
        },
    );
}

/// Moments of a repair, and what each leaves.
const MOMENTS: &[(&str, &str)] = &[
    ("undo_begun", "place-files"),
    ("undo_done", "restore-schemas"),
    ("step_intended", "reopen-new-cluster"),
    ("step_done", "reopen-new-cluster"),
    ("step_intended", "restore-schemas"),
    ("step_done", "set-horizons"),
    ("step_intended", "place-files"),
];

/// A table of another name each time.
const ONE_MORE: &str =
    "DO $$ BEGIN EXECUTE 'CREATE TABLE later_' || txid_current() || ' AS SELECT 1 AS id'; END $$";

/// A repair for another table that stands still there; what old serves then is noted.
fn frozen_repair(case: &Case, moment: (&str, &str), served: &mut String) -> Underway {
    let old = &case.stock.cluster;
    let repair = || {
        let server = old.start();
        server.sql("app", ONE_MORE);
        *served = dump(old);
        server.stop();
        case.trip.command(&["prepare"])
    };
    case.trip.frozen(moment, repair, || ())
}

#[test]
fn killed_in_the_middle() {
    as_server_user("killed_in_the_middle", || {
        let case = Case::new("link");
        let trip = &case.trip;
        trip.prepare();
        let mut wanted = String::new();
        for (number, moment) in MOMENTS.iter().enumerate() {
            frozen_repair(&case, *moment, &mut wanted).kill();
            if number % 2 == 0 {
                trip.run(&["resume"]).demand(0);
            } else {
                trip.rollback();
                demand_gone(trip);
                trip.prepare();
            }
            case.demand_prepared();
            trip.demand_standing("waits for the cutover");
        }
        trip.cutover();
        trip.run(&["verify"]).demand(0);
        case.demand_arrived(&wanted);
    });
}

/// An interruption while old is read leaves what was prepared; later it can go on or back.
#[test]
fn interrupted_in_the_middle() {
    as_server_user("interrupted_in_the_middle", || {
        let case = Case::new("copy");
        let trip = &case.trip;
        trip.prepare();
        let (restoring, mut wanted) = (("step_intended", "restore-schemas"), String::new());
        let ran = frozen_repair(&case, restoring, &mut wanted).go_on_with(Signal::SIGINT);
        ran.refused(130, "PGM-7001", &["half built"]);
        trip.run(&["resume"]).demand(0);
        case.demand_prepared();
        trip.cutover();
        case.demand_arrived(&wanted);
    });
}

/// Old has given up what the horizons of new still ask for.
#[test]
fn horizons_that_moved_on_are_those_of_kept_databases_too() {
    as_server_user(
        "horizons_that_moved_on_are_those_of_kept_databases_too",
        || {
            let case = Case::new("link");
            let (trip, old) = (&case.trip, &case.stock.cluster);
            trip.prepare();
            let server = old.start();
            let mut client = server.connect("postgres");
            for _ in 0..200 {
                client.batch_execute("SELECT txid_current()").unwrap();
            }
            client
                .batch_execute("ALTER DATABASE template0 ALLOW_CONNECTIONS true")
                .unwrap();
            drop(client);
            for database in ["template0", "template1", "postgres", "app", SECOND] {
                server.sql(database, "VACUUM (FREEZE)");
            }
            server.sql(
                "postgres",
                "ALTER DATABASE template0 ALLOW_CONNECTIONS false",
            );
            server.sql(SECOND, "CREATE TABLE later AS SELECT 1 AS id");
            let wanted = dump(old);
            server.stop();
            let ran = trip.run(&["prepare"]);
            let said = "prepared again: 1 of 4 databases repaired in part";
            assert!(ran.demand(0).stdout.contains(said), "{}", ran.stdout);
            trip.cutover();
            case.demand_arrived(&wanted);
            let new = trip.new_cluster();
            let server = new.start();
            for database in ["template1", "postgres", "app", SECOND] {
                server.sql(database, "VACUUM (FREEZE)");
            }
            server.stop();
        },
    );
}
