//! Prepare beside an old server that an application goes on using.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use support::application::{Application, Pgbench};
use support::shop::wait_for;
use support::stock::stock;
use support::trip::{Ran, Trip, finish};
use support::{Running, as_server_user, until_a_lock_is_waited_for};

/// Somebody waits for a lock of ours no longer than this, also on a machine that has other
/// things to do.
const SHORT: Duration = Duration::from_secs(30);

/// Prepares under load, stops old as its operator would, cuts over and compares the books.
fn prepared_under_load(old: &str, new: &str, mode: &str) {
    let stock = stock(old);
    let cluster = &stock.cluster;
    let sockets = cluster.scratch();
    let server = cluster.start();
    Application::make(&server, "app");
    Pgbench::make(sockets, "app", 1);
    let bench = Pgbench::begin(sockets, "app", 2);
    let application = Application::begin(sockets, "app", 1);
    application.goes_on(20);
    let trip = Trip::new(cluster, new, mode);
    let pid = server.pid();

    let ran = trip.run_first(&["check"]);
    ran.demand(0);
    assert!(ran.stdout.contains("running, "), "{}", ran.stdout);
    let ran = trip.run_first(&["prepare"]);
    ran.demand(0);
    assert!(ran.stdout.contains("running, "), "{}", ran.stdout);
    assert_eq!(server.pid(), pid);
    server.demand_left_by("pg_migrator");
    application.goes_on(20);
    trip.demand_standing("waits for the cutover");
    drop(bench);
    let book = application.end();
    assert!(book.longest < SHORT, "waited {:?}", book.longest);
    assert!(book.truncated > 3, "{}", book.truncated);
    for statement in ["VACUUM FULL ledger", "VACUUM", "REINDEX TABLE ledger"] {
        server.sql("app", statement);
    }
    let balance = "SELECT sum(abalance), count(*) FROM pgbench_accounts";
    let sum = |server: &Running<'_>| {
        let row = server.connect("app").query_one(balance, &[]).unwrap();
        (row.get::<_, i64>(0), row.get::<_, i64>(1))
    };
    let before = sum(&server);
    server.stop();

    trip.cutover();
    trip.run(&["verify"]).demand(0);
    let arrived = trip.new_cluster();
    let server = arrived.start();
    book.demand_kept(&server, "app");
    assert_eq!(sum(&server), before);
    server.sql("app", "VACUUM (FREEZE, ANALYZE)");
    server.stop();
}

#[test]
fn link_under_load() {
    as_server_user("link_under_load", || {
        prepared_under_load("old-15", "new-17", "link");
    });
}

#[test]
fn copy_under_load() {
    as_server_user("copy_under_load", || {
        prepared_under_load("old-13", "new-18", "copy");
    });
}

#[test]
fn the_oldest_version_under_load() {
    as_server_user("the_oldest_version_under_load", || {
        prepared_under_load("old-10", "new-15", "link");
    });
}

/// A rollback takes the links away and leaves the server, its rows and its sessions alone.
#[test]
fn rolled_back_beside_a_running_server() {
    as_server_user("rolled_back_beside_a_running_server", || {
        let stock = stock("old-16");
        let cluster = &stock.cluster;
        let server = cluster.start();
        Application::make(&server, "app");
        let application = Application::begin(cluster.scratch(), "app", 1);
        let trip = Trip::new(cluster, "new-18", "link");
        trip.prepare();
        application.goes_on(20);
        trip.rollback();
        assert!(!trip.new.exists());
        application.goes_on(20);
        let book = application.end();
        assert!(book.unknown.is_empty(), "{:?}", book.unknown);
        book.demand_kept(&server, "app");
        server.sql("app", "VACUUM FULL");
        server.stop();
        let again = cluster.start();
        book.demand_kept(&again, "app");
        again.stop();
    });
}

/// Who changes the schema while it is dumped makes the dump be made again.
#[test]
fn what_changes_during_the_dump_is_dumped_again() {
    as_server_user("what_changes_during_the_dump_is_dumped_again", || {
        let stock = stock("old-14");
        let server = stock.cluster.start();
        let mut trip = Trip::new(&stock.cluster, "new-17", "link");
        let mark = stock.cluster.scratch().join("changed once");
        let late = format!(
            "\"$real\" \"$@\" && : >'{}' && \"${{real%pg_dump}}psql\" -qX -d \"$conninfo\" \
             -c 'SET default_transaction_read_only = off' \
             -c 'CREATE TABLE public.latecomer (id int PRIMARY KEY)'",
            mark.display()
        );
        trip.script("pg_dump", &first_dump_of_app(&mark, &late));
        demand_dumped_twice(&trip.run_first(&["prepare"]));
        assert!(mark.exists());
        server.stop();
        demand_in_new(&trip, "INSERT INTO latecomer VALUES (1)");
    });
}

/// What the new cluster must be able to do.
fn demand_in_new(trip: &Trip, sql: &str) {
    trip.cutover();
    let new = trip.new_cluster();
    let server = new.start();
    server.sql("app", sql);
    server.stop();
}

fn demand_dumped_twice(ran: &Ran) {
    ran.demand(0);
    let told = "changed meanwhile, read 2 times";
    assert!(ran.stdout.contains(told), "{}", ran.stdout);
}

/// Roles are dumped in no snapshot: what was changed only while that was done shows in nothing
/// that is read before and after.
#[test]
fn what_is_changed_and_changed_back_during_the_dump_is_dumped_again() {
    as_server_user(
        "what_is_changed_and_changed_back_during_the_dump_is_dumped_again",
        || {
            let stock = stock("old-14");
            let server = stock.cluster.start();
            server.sql("app", "CREATE ROLE clerk LOGIN");
            let mut trip = Trip::new(&stock.cluster, "new-17", "link");
            let mark = stock.cluster.scratch().join("changed once");
            let script = format!(
                "[ -e '{mark}' ] || [ \"$1\" = --version ] && exec \"$real\" \"$@\"\n\
                 for last; do :; done\n\
                 change() {{ : >'{mark}'\n\
                 \"${{real%pg_dumpall}}psql\" -qX -d \"${{last#--dbname=}}\" \
                 -c 'SET default_transaction_read_only = off' -c \"ALTER ROLE clerk $1\"; }}\n\
                 change NOLOGIN && \"$real\" \"$@\" && change LOGIN",
                mark = mark.display()
            );
            trip.script("pg_dumpall", &script);
            demand_dumped_twice(&trip.run_first(&["prepare"]));
            assert!(mark.exists());
            server.stop();
            let may = "SELECT 1 / rolcanlogin::int FROM pg_roles WHERE rolname = 'clerk'";
            demand_in_new(&trip, may);
        },
    );
}

/// A TRUNCATE that waits for the dump is let pass, and so is everybody behind it.
#[test]
fn a_dump_gives_way() {
    as_server_user("a_dump_gives_way", || {
        let stock = stock("old-14");
        let server = stock.cluster.start();
        many_tables(&server, 10);
        let mut trip = Trip::new(&stock.cluster, "new-17", "link");
        let mark = stock.cluster.scratch().join("locked once");
        // A dump that holds its locks until it is ended.
        let endless = format!(
            ": >'{}'\n{{ echo 'BEGIN; LOCK TABLE public.many_7 IN ACCESS SHARE MODE;'; sleep 1000; }} \
             | \"${{real%pg_dump}}psql\" -qX -d \"$conninfo\"",
            mark.display()
        );
        trip.script("pg_dump", &first_dump_of_app(&mark, &endless));
        let underway = trip.begin(trip.first_command(&["prepare"]));
        wait_for_a_dump(&server);
        let mut client = server.connect("app");
        let limit = format!("SET statement_timeout = '{}s'", SHORT.as_secs());
        client.batch_execute(&limit).unwrap();
        client.batch_execute("TRUNCATE many_7").unwrap();
        drop(client);
        let ran = underway.wait();
        ran.demand(0);
        assert!(ran.stdout.contains("gave way to locks"), "{}", ran.stdout);
        server.stop();
    });
}

/// A transaction that never lets a table go ends the prepare, which says who it was.
#[test]
fn a_lock_that_is_never_released_is_named() {
    as_server_user("a_lock_that_is_never_released_is_named", || {
        let stock = stock("old-14");
        let server = stock.cluster.start();
        let mut holder = server.connect("app");
        holder.batch_execute("CREATE TABLE held (id int)").unwrap();
        holder
            .batch_execute("BEGIN; LOCK TABLE held IN ACCESS EXCLUSIVE MODE")
            .unwrap();
        let trip = Trip::new(&stock.cluster, "new-17", "link");
        trip.run_first(&["prepare"]).refused(
            5,
            "PGM-4001",
            &["stood in the way", "LOCK TABLE held", "standing: "],
        );
        assert!(!trip.new.exists());
        holder.batch_execute("ROLLBACK").unwrap();
        trip.prepare();
        server.stop();
    });
}

#[test]
fn a_server_that_goes_during_prepare_is_not_replaced() {
    as_server_user("a_server_that_goes_during_prepare_is_not_replaced", || {
        let stock = stock("old-14");
        let server = stock.cluster.start();
        many_tables(&server, 400);
        let trip = Trip::new(&stock.cluster, "new-17", "link");
        // The dump waits for this table, however long the stop takes to come.
        let mut writer = server.connect("app");
        writer.batch_execute("BEGIN; LOCK TABLE many_7").unwrap();
        let mut underway = trip.begin(trip.first_command(&["prepare"]));
        assert!(underway.reaches("step_intended", "dump-old-schema"));
        until_a_lock_is_waited_for(&mut writer);
        server.stop();
        let ran = underway.wait();
        ran.demand(5);
        assert!(!stock.cluster.data.join("postmaster.pid").exists());
        trip.prepare();
    });
}

fn many_tables(server: &Running<'_>, count: u32) {
    server.sql(
        "app",
        &format!(
            "DO $$ BEGIN FOR n IN 1..{count} LOOP \
             EXECUTE 'CREATE TABLE many_' || n || ' (id int PRIMARY KEY, v text DEFAULT ''x'')'; \
             IF n % 50 = 0 THEN COMMIT; END IF; END LOOP; END $$"
        ),
    );
}

/// A `pg_dump` that does this instead, as long as there is no such mark, where it is called for
/// `app`; `$conninfo` leads there.
fn first_dump_of_app(mark: &Path, instead: &str) -> String {
    format!(
        "for last; do :; done\nconninfo=${{last#--dbname=}}\n\
         case \"$last\" in *\" dbname='app'\") if [ ! -e '{}' ]; then\n{instead}\nexit; fi;; esac\n\
         exec \"$real\" \"$@\"",
        mark.display()
    )
}

/// Waits until pg_dump holds the lock of a table.
fn wait_for_a_dump(server: &Running<'_>) {
    let mut client = server.connect("app");
    let held = "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation \
                WHERE c.relname = 'many_7' AND l.mode = 'AccessShareLock' AND l.granted";
    let begun = Instant::now();
    while client.query_one(held, &[]).unwrap().get::<_, i64>(0) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "no dump");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Passwords come from where libpq takes them, reach pg_dump, and are kept nowhere.
#[test]
fn passwords_are_used_and_not_kept() {
    as_server_user("passwords_are_used_and_not_kept", || {
        const SECRET: &str = "o:p\\en sesame";
        let stock = stock("old-15");
        let cluster = &stock.cluster;
        let server = cluster.start();
        server.sql(
            "postgres",
            &format!("ALTER ROLE postgres PASSWORD '{SECRET}'"),
        );
        let rules = "local all all scram-sha-256\n";
        std::fs::write(cluster.data.join("pg_hba.conf"), rules).unwrap();
        server.sql("postgres", "SELECT pg_reload_conf()");
        let trip = Trip::new(cluster, "new-17", "copy");
        let file = cluster.scratch().join("passwords");
        std::fs::write(&file, "*:*:*:postgres:o\\:p\\\\en sesame\n").unwrap();
        let with = |name: &str, value: &std::ffi::OsStr| {
            let mut command = trip.first_command(&["prepare"]);
            command.env_remove("PGPASSWORD").env("HOME", "/nonexistent");
            command.env(name, value);
            finish(command)
        };
        let without = with("PGPASSFILE", file.as_os_str());
        without.refused(4, "PGM-3003", &["PGPASSWORD"]);
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        with("PGPASSFILE", file.as_os_str()).demand(0);
        trip.rollback();
        with("PGPASSWORD", SECRET.as_ref()).demand(0);
        let found = Command::new("grep")
            .args(["-rlF", SECRET])
            .arg(trip.state())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "");
        server.stop();
    });
}

#[test]
fn a_lock_table_that_is_too_small_is_told_before() {
    as_server_user("a_lock_table_that_is_too_small_is_told_before", || {
        let stock = stock("old-14");
        let server = stock
            .cluster
            .start_with(&["max_locks_per_transaction=10", "max_connections=20"]);
        many_tables(&server, 150);
        let trip = Trip::new(&stock.cluster, "new-17", "link");
        let said = [
            "the lock table of the old server is too small",
            "ALTER SYSTEM SET max_locks_per_transaction = ",
        ];
        let found = [&["blocker[PGM-1405]"], &said[..]].concat();
        trip.run_first(&["check"]).refused(3, "PGM-6002", &found);
        trip.run_first(&["prepare"]).refused(4, "PGM-1405", &said);
        server.stop();
        let server = stock.cluster.start();
        trip.prepare();
        server.stop();
    });
}

/// In the background everything that is started has the least priority, and old keeps its own.
#[test]
fn a_nice_prepare_is_in_nobodys_way() {
    as_server_user("a_nice_prepare_is_in_nobodys_way", || {
        let stock = stock("old-15");
        let server = stock.cluster.start();
        let mut trip = Trip::new(&stock.cluster, "new-17", "link");
        let [restoring, go_on] =
            ["restoring", "go-on"].map(|name| stock.cluster.scratch().join(name));
        let held = format!(
            "[ \"$1\" = --version ] || {{ echo $$ >'{0}.draft'; mv '{0}.draft' '{0}'; \
             while [ ! -e '{1}' ]; do sleep 0.05; done; }}\nexec \"$real\" \"$@\"",
            restoring.display(),
            go_on.display()
        );
        trip.script("pg_restore", &held);
        let underway = trip.begin(trip.first_command(&["prepare", "--nice"]));
        wait_for(&restoring);
        let new = std::fs::read_to_string(trip.new.join("postmaster.pid")).unwrap();
        let program = std::fs::read_to_string(&restoring).unwrap();
        let nice = |pid: &str| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            // The name of the program stands in parentheses and may hold blanks.
            let mut behind = stat.rsplit(')').next().unwrap().split_whitespace();
            behind.nth(16).unwrap().parse::<i32>().unwrap()
        };
        for started in [new.lines().next().unwrap(), program.trim()] {
            assert_eq!(nice(started), 19);
        }
        assert_eq!(nice(&server.pid().to_string()), nice("self"));
        std::fs::write(go_on, "").unwrap();
        underway.wait().demand(0);
        server.stop();
    });
}
