//! Random work of random kinds: what is found to have changed is what a dump shows.
//!
//! `PGM_DRIFT_ROUNDS` makes it longer, `PGM_DRIFT_SEED` repeats one that failed.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use pg_migrator::catalog::{self, Change, Inventory, What};
use pg_migrator::server::{Cancel, Client, Postmaster};

use crate::shop::{opened, serve};
use crate::support::{as_server_user, bindir, cluster};

/// Who dumps.
const DUMPER: &str = "new-17";

/// Numbers as random as a test needs (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

/// Work that no dump shows; `T` is a table, `I` an index, `N` a number that is new each time.
const ORDINARY: &[&str] = &[
    "INSERT INTO T (note) SELECT repeat('x', 3000) || n FROM generate_series(1, 20) n",
    "UPDATE T SET note = note || 'y'",
    "DELETE FROM T WHERE id % 3 = 0",
    "TRUNCATE T",
    "ANALYZE T",
    "REINDEX TABLE T",
    "REFRESH MATERIALIZED VIEW m0",
    "SELECT nextval('s0')",
    "CREATE TEMP TABLE tempN (a int PRIMARY KEY, b text); COMMENT ON TABLE tempN IS 'x'",
    "CREATE TABLE passingN (a int); DROP TABLE passingN",
    "DROP INDEX i0; CREATE INDEX i0 ON t0 (note text_pattern_ops, id) WHERE id > 5",
    "DROP FUNCTION f0(); CREATE FUNCTION f0() RETURNS int LANGUAGE sql AS 'SELECT 1'",
];

/// The same, outside of transactions.
const ALONE: &[&str] = &[
    "VACUUM T",
    "VACUUM FULL T",
    "VACUUM FULL pg_class",
    "CLUSTER T",
    "REINDEX TABLE CONCURRENTLY T",
    "REINDEX INDEX CONCURRENTLY I",
    "CREATE UNIQUE INDEX CONCURRENTLY failedN ON doubled (a)",
];

/// What a dump shows; some of it fails, as it does in life.
const DEFINING: &[&str] = &[
    "CREATE TABLE tN (id serial PRIMARY KEY, note text)",
    "CREATE TABLE T (id int, note text)",
    "DROP TABLE T CASCADE",
    "DROP TABLE T; CREATE TABLE T (id int, note text)",
    "ALTER TABLE T ADD COLUMN cN int",
    "ALTER TABLE T ADD COLUMN cN text DEFAULT 'N'",
    "ALTER TABLE T DROP COLUMN note",
    "ALTER TABLE T ALTER note SET DEFAULT 'N'",
    "ALTER TABLE T ALTER note SET STORAGE EXTERNAL",
    "ALTER TABLE T ADD CONSTRAINT kN CHECK (id <> N)",
    "ALTER TABLE T ADD CONSTRAINT kN UNIQUE (id, note)",
    "ALTER TABLE T RENAME TO tN",
    "ALTER TABLE T SET (fillfactor = 70)",
    "ALTER TABLE T ENABLE ROW LEVEL SECURITY",
    "CREATE INDEX iN ON T (id)",
    "CREATE INDEX iN ON T (md5(note)) WHERE id > 7",
    "DROP INDEX I",
    "ALTER INDEX I RENAME TO iN",
    "ALTER INDEX I SET (fillfactor = 60)",
    "COMMENT ON TABLE T IS 'N'",
    "COMMENT ON INDEX I IS 'N'",
    "GRANT SELECT ON T TO r0",
    "CREATE VIEW vN AS SELECT id FROM T",
    "CREATE OR REPLACE FUNCTION f0() RETURNS int LANGUAGE sql AS 'SELECT N'",
    "CREATE FUNCTION fN() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE SEQUENCE sN",
    "ALTER SEQUENCE s0 MAXVALUE 1000N",
    "CREATE TYPE eN AS ENUM ('a', 'b')",
    "CREATE POLICY pN ON T USING (id > N)",
    "CREATE ROLE rN",
    "ALTER ROLE r0 CONNECTION LIMIT N",
    "ALTER ROLE r0 SET work_mem = '1N00kB'",
];

const BEGINNING: &[&str] = &[
    "CREATE ROLE r0",
    "CREATE SEQUENCE s0",
    "CREATE TABLE doubled (a int)",
    "INSERT INTO doubled VALUES (1), (1)",
    "CREATE FUNCTION f0() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE TABLE t0 (id serial PRIMARY KEY, note text)",
    "CREATE TABLE t1 (id serial PRIMARY KEY, note text)",
    "CREATE TABLE t2 (id serial PRIMARY KEY, note text)",
    "CREATE INDEX i0 ON t0 (note text_pattern_ops, id) WHERE id > 5",
    "CREATE INDEX i1 ON t1 (id)",
    "CREATE INDEX i2 ON t2 (md5(note))",
    "ALTER TABLE t1 CLUSTER ON i1",
    "CREATE MATERIALIZED VIEW m0 AS SELECT count(*) FROM doubled",
];

struct Work<'a> {
    chance: Chance,
    number: u64,
    client: &'a mut Client,
    done: Vec<String>,
}

impl Work<'_> {
    fn names(&mut self, pattern: &str) -> Vec<String> {
        let sql = format!(
            "SELECT relname FROM pg_class WHERE relname ~ '^{pattern}[0-9]+$' ORDER BY oid"
        );
        let rows = self.client.text_rows(&sql).unwrap();
        rows.into_iter()
            .map(|mut row| row[0].take().unwrap())
            .collect()
    }

    fn statement(&mut self, kinds: &[&str]) -> String {
        let template = self.chance.one(kinds);
        let pick = |names: Vec<String>, chance: &mut Chance| match names.as_slice() {
            [] => "gone".to_owned(),
            names => names[usize::try_from(chance.below(names.len() as u64)).unwrap()].clone(),
        };
        let tables = self.names("t");
        let table = pick(tables, &mut self.chance);
        let indexes = self.names("i");
        let index = pick(indexes, &mut self.chance);
        self.number += 1;
        let mut statement = String::new();
        for word in template.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_') {
            let end = word.len()
                - word.chars().last().map_or(0, |c| {
                    if c.is_alphanumeric() || c == '_' {
                        0
                    } else {
                        c.len_utf8()
                    }
                });
            let (name, rest) = word.split_at(end);
            let filled = match name {
                "T" => table.clone(),
                "I" => index.clone(),
                _ if name
                    .chars()
                    .any(|c| c.is_ascii_lowercase() || c.is_ascii_digit()) =>
                {
                    name.replace('N', &self.number.to_string())
                }
                "N" => self.number.to_string(),
                _ => name.to_owned(),
            };
            statement.push_str(&filled);
            statement.push_str(rest);
        }
        statement
    }

    /// A transaction with any outcome; a failing statement rolls all of it back.
    fn transaction(&mut self) {
        if self.chance.below(3) == 0 {
            let statement = self.statement(ALONE);
            return self.run(&statement);
        }
        let mut script = vec!["BEGIN".to_owned()];
        for _ in 0..=self.chance.below(2) {
            let statement = self.some();
            script.push(statement);
        }
        if self.chance.below(2) == 0 {
            script.push("SAVEPOINT a".to_owned());
            let statement = self.some();
            script.push(statement);
            let end = ["ROLLBACK TO a", "RELEASE a"];
            script.push(self.chance.one(&end).to_owned());
            let statement = self.statement(ORDINARY);
            script.push(statement);
        }
        script.push(
            self.chance
                .one(&["COMMIT", "COMMIT", "ROLLBACK"])
                .to_owned(),
        );
        self.run(&script.join("; "));
    }

    fn some(&mut self) -> String {
        let kinds = [ORDINARY, DEFINING][usize::try_from(self.chance.below(2)).unwrap()];
        self.statement(kinds)
    }

    fn run(&mut self, script: &str) {
        let outcome = self.client.run_script(script);
        if let Err(error) = &outcome {
            self.client.run_script("ROLLBACK").unwrap();
            self.done.push(format!("{script}  -- {error}"));
        } else {
            self.done.push(script.to_owned());
        }
    }
}

fn dump(server: &Postmaster, program: &str, options: &[&str]) -> String {
    let target = match program {
        "pg_dump" => server.conninfo("shop"),
        _ => server.server_conninfo(),
    };
    let output = Command::new(bindir(DUMPER).join(program))
        .args(options)
        .args(["-d", &target])
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A dump by type and name of its entries, and the lines about each role.
///
/// File numbers, OIDs of indexes and horizons are what an upgrade does without. The value of a
/// column that rows lack is needed by no row any more when a table was rewritten.
fn entries(server: &Postmaster) -> BTreeMap<(String, String), String> {
    let text = dump(server, "pg_dump", &["--schema-only", "--binary-upgrade"]);
    let mut entries: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut key = None;
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("-- Name: ") {
            let mut parts = head.split("; ");
            let name = parts.next().unwrap().to_owned();
            let kind = parts
                .next()
                .unwrap()
                .strip_prefix("Type: ")
                .unwrap()
                .to_owned();
            // Where a sequence stands is data: its file is carried.
            key = (kind != "SEQUENCE SET").then_some((kind, name));
        }
        let passing = [
            "relfilenode(",
            "index_pg_class_oid(",
            "relfrozenxid",
            "binary_upgrade_set_missing_value(",
            "SET default_table",
            "restrict",
        ];
        if let Some(key) = &key
            && !(line.is_empty() || line.starts_with("--"))
            && !passing.iter().any(|word| line.contains(word))
        {
            let body = entries.entry(key.clone()).or_default();
            body.push_str(line);
            body.push('\n');
        }
    }
    for line in dump(server, "pg_dumpall", &["--roles-only"]).lines() {
        let role = line.split([' ', ';']).find(|word| is_role(word));
        if let Some(role) = role {
            let body = entries.entry(("ROLE".to_owned(), role.to_owned()));
            body.or_default().push_str(line);
        }
    }
    entries
}

fn is_role(word: &str) -> bool {
    let digits = word.strip_prefix('r').unwrap_or_default();
    !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())
}

/// An object of a dump entry and, where it is part of a table, that table.
fn object(kind: &str, name: &str, body: &str) -> (String, Option<String>) {
    let last = name.rsplit(' ').next().unwrap();
    let bare = last.split(['(', '.']).next().unwrap().to_owned();
    let first = name.split(' ').next().unwrap().to_owned();
    match kind {
        "CONSTRAINT" | "POLICY" | "CHECK CONSTRAINT" => (bare, Some(first)),
        "SEQUENCE OWNED BY" => {
            let by = body.split(" OWNED BY public.").nth(1).unwrap_or_default();
            (first, by.split('.').next().map(str::to_owned))
        }
        "DEFAULT" | "ROW SECURITY" => (first, None),
        "INDEX" => {
            let on = body.split(" ON public.").nth(1).unwrap_or_default();
            (bare, on.split(' ').next().map(str::to_owned))
        }
        _ => (bare, None),
    }
}

/// The table that what changed is a part of: some parts are in a dump's text of their table.
fn whole_of(change: &Change) -> Option<String> {
    let (_, table) = change.object.split_once(" of ")?;
    Some(table.rsplit('.').next().unwrap().to_owned())
}

/// The name of what changed as a dump has it.
fn found(change: &Change) -> String {
    let kinds = [
        "materialized view",
        "table",
        "index",
        "sequence",
        "view",
        "constraint",
        "policy",
        "function",
        "type",
        "role",
        "toast table",
    ];
    let name = kinds
        .iter()
        .find_map(|kind| change.object.strip_prefix(&format!("{kind} ")))
        .unwrap_or_else(|| panic!("{change}"));
    let name = name.split(" of ").next().unwrap();
    let name = name.strip_prefix("public.").unwrap_or(name);
    name.split('(').next().unwrap().to_owned()
}

struct Moment {
    inventory: Inventory,
    entries: BTreeMap<(String, String), String>,
}

fn moment(server: &Postmaster) -> Moment {
    let databases = ["shop".to_owned()];
    Moment {
        inventory: catalog::inventory(server, &databases, 1, &Cancel::new()).unwrap(),
        entries: entries(server),
    }
}

/// Says what is wrong with what was found.
fn judge(then: &Moment, now: &Moment) -> Vec<String> {
    let changes = catalog::changes(&then.inventory, &now.inventory);
    let names: BTreeSet<String> = changes
        .iter()
        .flat_map(|change| [Some(found(change)), whole_of(change)])
        .flatten()
        .collect();
    let whole: BTreeSet<String> = changes
        .iter()
        .filter(|change| !matches!(change.what, What::Changed(_)))
        .flat_map(|change| {
            let was = match &change.what {
                What::Renamed(was, _) => was.rsplit('.').next().map(str::to_owned),
                _ => None,
            };
            [Some(found(change)), was]
        })
        .flatten()
        .collect();
    let mut shown = BTreeSet::new();
    let mut wrong = Vec::new();
    let keys: BTreeSet<_> = then.entries.keys().chain(now.entries.keys()).collect();
    for key in keys {
        let (before, after) = (then.entries.get(key), now.entries.get(key));
        if before == after {
            continue;
        }
        let body = after.or(before).unwrap();
        let (name, table) = object(&key.0, &key.1, body);
        let with_table = table.as_ref().is_some_and(|table| whole.contains(table));
        if !names.contains(&name) && !whole.contains(&name) && !with_table {
            wrong.push(format!(
                "not found: {} {}\n{before:?}\n{after:?}",
                key.0, key.1
            ));
        }
        shown.insert(name);
        shown.extend(table);
    }
    for change in &changes {
        let in_its_table = whole_of(change).is_some_and(|table| shown.contains(&table));
        if !shown.contains(&found(change)) && !in_its_table {
            wrong.push(format!("found, but no dump shows it: {change}"));
        }
    }
    wrong
}

#[test]
fn what_is_found_is_what_a_dump_shows() {
    as_server_user("chance::what_is_found_is_what_a_dump_shows", || {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let rounds = number("PGM_DRIFT_ROUNDS").unwrap_or(20);
        let seed = number("PGM_DRIFT_SEED").unwrap_or(20_061_013);
        for installation in ["old-12", "old-15", "old-17"] {
            play(installation, seed, rounds);
        }
    });
}

fn play(installation: &str, seed: u64, rounds: u64) {
    let cluster = cluster(installation, &[]);
    let server = serve(&cluster, &[]);
    let mut client = opened(&server);
    for statement in BEGINNING {
        client.run_script(statement).unwrap();
    }
    let mut work = Work {
        chance: Chance(seed),
        number: 10,
        client: &mut client,
        done: Vec::new(),
    };
    let (mut before, mut changed) = (moment(&server), 0);
    for round in 0..rounds {
        work.done.clear();
        for _ in 0..=work.chance.below(3) {
            work.transaction();
        }
        let after = moment(&server);
        let wrong = judge(&before, &after);
        assert!(
            wrong.is_empty(),
            "{installation}, seed {seed}, round {round}: {wrong:#?}\nafter {:#?}",
            work.done
        );
        changed += u64::from(before.entries != after.entries);
        before = after;
    }
    assert!(
        changed > rounds / 5 && changed < rounds,
        "{changed} of {rounds} rounds changed something"
    );
    drop(client);
    server.stop().unwrap();
}
