//! A minor release of old may store what a release of new does not know yet.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;
use support::as_server_user;
use support::trip::Trip;

const OPTION: &str = "pg_attver";

/// The remedies of a `check --json`, by the name of the check.
fn remedies(json: &str, check: &str) -> Vec<(String, String)> {
    let events = json
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    events
        .filter(|event| event["check"] == check)
        .map(|event| {
            let text = |name: &str| event["remedy"][name].as_str().unwrap().to_owned();
            (text("database"), text("text"))
        })
        .collect()
}

#[test]
fn an_option_that_is_newer_than_new_is_found_before_the_restore_fails() {
    as_server_user(
        "an_option_that_is_newer_than_new_is_found_before_the_restore_fails",
        || {
            let old = support::cluster("new-15", &[]);
            let server = old.start();
            server.sql(
                "postgres",
                "CREATE TABLE public.item (id integer PRIMARY KEY, words text);
                 INSERT INTO public.item VALUES (1, 'one');
                 CREATE VIEW public.few AS SELECT * FROM public.item",
            );
            let mut session = server.connect("postgres");
            let options = "SELECT attoptions::text FROM pg_catalog.pg_attribute
                           WHERE attrelid = 'public.item'::regclass AND attname = 'id'";
            let stored: Option<String> = session.query_one(options, &[]).unwrap().get(0);
            drop(session);
            server.stop();
            assert!(stored.is_some_and(|text| text.contains(OPTION)));

            let trip = Trip::new(&old, "new-17", "copy");
            let refused = trip.run_first(&["upgrade", "--yes"]);
            refused.refused(3, "PGM-6002", &[]);
            assert!(refused.stdout.contains(OPTION), "{}", refused.stdout);
            assert!(!trip.new.exists());

            let checked = trip.run_first(&["check", "--json"]);
            let remedies = remedies(&checked.stdout, "unknown-storage-options");
            assert_eq!(remedies.len(), 1, "{}", checked.stdout);
            let sentence = "the new version, 17.10, was released before the old one, 15.";
            assert!(checked.stdout.contains(sentence), "{}", checked.stdout);
            let server = old.start();
            for (database, sql) in &remedies {
                server.sql(database, sql);
            }
            server.stop();
            trip.run_first(&["upgrade", "--yes"]).demand(0);
            let new = trip.new_cluster();
            let server = new.start();
            let mut session = server.connect("postgres");
            let words: String = session
                .query_one("SELECT words FROM public.few", &[])
                .unwrap()
                .get(0);
            assert_eq!(words, "one");
            drop(session);
            server.stop();
        },
    );
}
