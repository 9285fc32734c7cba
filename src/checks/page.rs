//! `docs/checks.md`: every check, and what pg_upgrade has beside it.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::check::Check;
use super::rehearsal::REHEARSAL;

/// Something `pg_upgrade` of PostgreSQL 18 verifies.
struct Peer {
    /// What that is.
    what: &'static str,
    /// The checks and codes that find it here.
    here: &'static [&'static str],
    /// What has to be said of the difference.
    note: &'static str,
}

const fn peer(what: &'static str, here: &'static [&'static str], note: &'static str) -> Peer {
    Peer { what, here, note }
}

/// In the order of its own work. Mirrors `verify_directories`, `check_cluster_versions`,
/// `check_cluster_compatibility`, `check_and_dump_old_cluster`, `check_new_cluster`,
/// `get_loadable_libraries`, `get_tablespace_paths`, `report_extension_updates` and
/// `create_script_for_old_cluster_deletion` of `src/bin/pg_upgrade`.
const PEERS: [Peer; 37] = [
    peer("programs that exist and run", &["PGM-1101"], ""),
    peer(
        "the layout of both data directories",
        &["PGM-1201", "PGM-1202"],
        "",
    ),
    peer(
        "no server that runs where none may",
        &["PGM-1203", "PGM-1204"],
        "old may run here, but for its part in the cutover",
    ),
    peer(
        "the port of a running old, and a PGHOST elsewhere",
        &[],
        "private servers are reached by sockets of their own, whatever the environment says",
    ),
    peer(
        "versions of clusters and programs",
        &["PGM-1102", "PGM-1103"],
        "",
    ),
    peer(
        "control files",
        &["PGM-1301", "PGM-1302", "PGM-1303"],
        "new is made here with old's WAL segment size and checksums",
    ),
    peer(
        "tablespaces that are there",
        &["PGM-1202"],
        "there also for two clusters of one catalog version, which is no pair here",
    ),
    peer(
        "the install user, in old",
        &["not-the-install-user", "PGM-1211"],
        "",
    ),
    peer(
        "databases that can be connected to, and template0 that cannot",
        &[
            "databases-that-refuse-connections",
            "connectable-template0",
            "invalid-databases",
        ],
        "",
    ),
    peer(
        "prepared transactions, in old",
        &["prepared-transactions"],
        "",
    ),
    peer(
        "contrib/isn where bigint is passed otherwise",
        &["PGM-1302"],
        "such a pair is refused as a whole: pg_control says how it is passed",
    ),
    peer(
        "logical replication slots, from 17 on",
        &["replication-slots"],
        "no slot is carried over yet, so all are named, of any version",
    ),
    peer(
        "state of subscriptions, from 17 on",
        &[
            "unfinished-subscription-tables",
            "subscriptions-without-origin",
        ],
        "",
    ),
    peer(
        "composite types of the system in tables",
        &["system-composite-types"],
        "",
    ),
    peer("reg* types in tables", &["reg-types"], ""),
    peer("aclitem in tables, before 16", &["aclitem"], ""),
    peer(
        "sql_identifier in tables, before 12",
        &["sql-identifier"],
        "",
    ),
    peer(
        "abstime, reltime and tinterval in tables, before 12",
        &["removed-types"],
        "",
    ),
    peer(
        "line, unknown, jsonb of a beta and hash indexes, before 10",
        &[],
        "old is 10 or newer",
    ),
    peer(
        "what depends on the version of Unicode",
        &["unicode-dependent-objects"],
        "",
    ),
    peer(
        "encoding conversions, before 14",
        &["encoding-conversions"],
        "",
    ),
    peer("postfix operators, before 14", &["postfix-operators"], ""),
    peer(
        "functions of anyarray, before 14",
        &["incompatible-polymorphics"],
        "",
    ),
    peer("tables WITH OIDS, before 12", &["tables-with-oids"], ""),
    peer(
        "NOT NULL that children lack, before 18",
        &["not-null-on-children"],
        "",
    ),
    peer(
        "roles called pg_, before 9.6",
        &["pg-role-prefix"],
        "here for every version: a superuser can still make them",
    ),
    peer("new is empty", &["PGM-1205"], ""),
    peer(
        "loadable libraries, and from 17 on output plugins of slots",
        &["missing-libraries", "missing-output-plugins"],
        "here the plugins of slots of every version, though no slot is carried over yet; functions are looked up in their libraries, too",
    ),
    peer(
        "hard links",
        &["PGM-1402"],
        "clones, copy_file_range and swap are not offered",
    ),
    peer(
        "the install user, in new",
        &["PGM-1205"],
        "new is made here, or fresh from initdb",
    ),
    peer(
        "prepared transactions, in new",
        &["PGM-1205"],
        "new is made here, or fresh from initdb",
    ),
    peer("tablespace directories of new", &["PGM-1205"], ""),
    peer(
        "room for logical slots in new",
        &[],
        "no slot is carried over yet",
    ),
    peer(
        "room for origins of subscriptions in new",
        &["subscriptions-beyond-origins"],
        "",
    ),
    peer(
        "extensions that want an update (a script for afterwards)",
        &["extension-versions"],
        "here what new has no way to update; the commands for the others are told at the end",
    ),
    peer(
        "tablespaces inside the old data directory (a warning afterwards)",
        &["tablespaces-inside-data-directory"],
        "",
    ),
    peer(
        "new inside the old data directory (a warning afterwards)",
        &["PGM-1206"],
        "",
    ),
];

/// The page.
pub fn page(checks: &[Check]) -> String {
    let mut out = String::from(
        "# Checks\n\n\
         Written by a test from the files in `checks/` and the table in `src/checks/page.rs`; \
         `pg_migrator explain ID` tells why a check is made, what is asked and what can be done. \
         A blocker ends `check` with 3 and keeps `prepare` from beginning.\n\n\
         | check | | old | new | finding | remedy |\n|---|---|---|---|---|---|\n",
    );
    for check in checks {
        let listed = check.listed();
        let destructive = if listed.destructive {
            ", destructive"
        } else {
            ""
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "| [{id}](../checks/{id}.toml) | {} | {} | {} | {} | {}{destructive} |",
            listed.severity,
            listed.old,
            listed.new,
            cell(&listed.finding),
            listed.remedy,
            id = listed.check,
        );
    }
    out.push_str(
        "\n## What pg_upgrade 18 verifies, and what finds it here\n\n\
         Codes are those of what is verified before any check is made (`docs/errors.md`).\n\n\
         | pg_upgrade 18 | here | |\n|---|---|---|\n",
    );
    for peer in &PEERS {
        let here = peer.here.iter().map(|name| format!("`{name}`"));
        let here: Vec<String> = here.collect();
        let _ = writeln!(
            out,
            "| {} | {} | {} |",
            peer.what,
            here.join(", "),
            peer.note
        );
    }
    out.push_str("\n## What pg_upgrade 18 does not look for\n\n");
    let peers: BTreeSet<&str> = PEERS.iter().flat_map(|peer| peer.here).copied().collect();
    let own = checks.iter().map(|check| check.id.as_str());
    let own = own.filter(|id| !peers.contains(id));
    for id in own.chain([REHEARSAL]) {
        let _ = writeln!(out, "- `{id}`");
    }
    out
}

/// Text between bars.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn the_page_is_what_the_files_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/checks.md");
        let text = page(&super::super::all().unwrap());
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some_and(|value| value == "1") {
            std::fs::write(path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(kept == text, "UPDATE_SNAPSHOTS=1 writes {path} anew");
    }

    #[test]
    fn what_finds_it_here_exists() {
        let checks = super::super::all().unwrap();
        for name in PEERS.iter().flat_map(|peer| peer.here) {
            let known = Code::parse(name).is_some() || checks.iter().any(|it| it.id == *name);
            assert!(known, "{name}");
        }
    }
}
