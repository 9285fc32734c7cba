//! What `ALTER ROLE ALL SET` says in old, which no dump holds, is said in new.

#![allow(clippy::unwrap_used)]

mod support;

use support::as_server_user;
use support::trip::Trip;

/// In the order in which they were made.
const SETTINGS: &str = "SELECT unnest(setconfig) FROM pg_catalog.pg_db_role_setting
                        WHERE setrole = 0 AND setdatabase = 0";

const MADE: &str = r#"
    ALTER ROLE ALL SET search_path TO "$user", public, 'a, "b"', 'O''x';
    ALTER ROLE ALL SET app.everybody TO 'it''s \ = "so"';
    ALTER ROLE ALL SET work_mem TO '12MB';
    ALTER ROLE ALL SET datestyle TO 'ISO, DMY';
    ALTER ROLE ALL SET temp_tablespaces TO '';
    ALTER ROLE ALL SET default_transaction_read_only TO on;
    ALTER ROLE ALL SET statement_timeout TO '77s';
"#;

/// What a newer version may have done away with: nothing that is made by a command today.
const UNKNOWN: &str = "
    UPDATE pg_catalog.pg_db_role_setting SET setconfig = '{gone=1,enable_seqscan=perhaps}' || setconfig
    WHERE setrole = 0 AND setdatabase = 0";

fn settings(cluster: &support::Cluster) -> Vec<String> {
    let server = cluster.start();
    let rows = server.connect("postgres").query(SETTINGS, &[]).unwrap();
    server.stop();
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn settings_of_all_roles_arrive_but_for_those_new_does_not_know() {
    as_server_user(
        "settings_of_all_roles_arrive_but_for_those_new_does_not_know",
        || {
            let old = support::cluster("old-14", &[]);
            let server = old.start();
            server.sql("postgres", MADE);
            server.stop();
            let wanted = settings(&old);
            assert_eq!(wanted.len(), MADE.matches("ALTER").count(), "{wanted:?}");
            let server = old.start();
            server.sql(
                "postgres",
                &format!(
                    "SET default_transaction_read_only = off; BEGIN READ WRITE; {UNKNOWN}; COMMIT"
                ),
            );
            server.stop();

            let trip = Trip::new(&old, "new-17", "copy");
            let ran = trip.run_first(&["upgrade", "--yes"]);
            ran.demand(0);
            let said = format!("{}{}", ran.stdout, ran.stderr);
            for refused in [
                "ALTER ROLE ALL SET gone=1: new does not take it and works without: \
                 unrecognized configuration parameter \"gone\"",
                "ALTER ROLE ALL SET enable_seqscan=perhaps: new does not take it",
            ] {
                assert!(said.contains(refused), "no \"{refused}\" in:\n{said}");
            }
            assert_eq!(settings(&trip.new_cluster()), wanted);
        },
    );
}
