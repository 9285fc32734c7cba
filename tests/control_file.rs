//! `pg_control` as this crate reads it, compared with what PostgreSQL says: the server's own
//! functions for every version, `pg_controldata` where its installation is at hand.

// A test says what went wrong by failing there.
#![allow(clippy::unwrap_used)]

mod real_cluster;

use std::collections::BTreeMap;
use std::path::Path;

use pg_migrator::pg::{ClusterState, ControlFile, DataDir};
use postgres::Client;
use real_cluster::{Cluster, program, run, toolchain};

type Fields = BTreeMap<String, String>;

/// No value is a default, so that no field can be taken for another.
const SETTINGS: &[&str] = &[
    "listen_addresses=",
    "wal_level=logical",
    "wal_log_hints=on",
    "max_connections=37",
    "max_worker_processes=11",
    "max_wal_senders=5",
    "max_prepared_transactions=3",
    "max_locks_per_transaction=77",
    "track_commit_timestamp=on",
    "full_page_writes=off",
    "fsync=off",
];

fn control(cluster: &Cluster) -> ControlFile {
    let dir = DataDir::resolve(&cluster.data()).unwrap();
    assert_eq!(dir.layout_problems().unwrap(), []);
    ControlFile::read(&dir.path).unwrap()
}

fn controldata(cluster: &Cluster, bindir: &Path) -> Fields {
    let output =
        run(program(bindir.join("pg_controldata"), cluster.directory()).arg(cluster.data()));
    let lines = output.lines().filter_map(|line| line.split_once(':'));
    lines
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

/// Spends transactions, OIDs, multixacts and commit timestamps in different amounts.
fn work(client: &mut Client) {
    client
        .batch_execute("CREATE TABLE t AS SELECT 1 AS a")
        .unwrap();
    for _ in 0..3 {
        client.batch_execute("SELECT lo_create(0)").unwrap();
    }
    client
        .batch_execute(
            "BEGIN; SELECT a FROM t FOR KEY SHARE; SAVEPOINT s; UPDATE t SET a = 2; COMMIT",
        )
        .unwrap();
    client.batch_execute("CHECKPOINT").unwrap();
}

fn functions(client: &mut Client) -> Fields {
    let mut fields = Fields::new();
    for function in ["system", "checkpoint", "recovery", "init"] {
        let query =
            format!("SELECT key, value FROM jsonb_each_text(to_jsonb(pg_control_{function}()))");
        for row in client.query(&query, &[]).unwrap() {
            fields.insert(row.get(0), row.get(1));
        }
    }
    for (name, function) in [
        ("checkpoint_time", "checkpoint"),
        ("pg_control_last_modified", "system"),
    ] {
        let query = format!(
            "SELECT (extract(epoch FROM {name}))::bigint::text FROM pg_control_{function}()"
        );
        fields.insert(
            name.to_owned(),
            client.query_one(&query, &[]).unwrap().get(0),
        );
    }
    fields
}

fn next_xid(control: &ControlFile) -> String {
    format!("{}:{}", control.next_xid.epoch(), control.next_xid.xid())
}

fn as_functions(control: &ControlFile, major: u16) -> Fields {
    let mut fields: Vec<(&str, String)> = vec![
        ("pg_control_version", control.control_version.to_string()),
        ("catalog_version_no", control.catalog_version.to_string()),
        ("system_identifier", control.system_identifier.to_string()),
        ("pg_control_last_modified", control.modified.to_string()),
        ("checkpoint_lsn", control.checkpoint_lsn.to_string()),
        ("redo_lsn", control.redo.to_string()),
        ("redo_wal_file", control.checkpoint_wal_file()),
        ("timeline_id", control.timeline.to_string()),
        ("prev_timeline_id", control.previous_timeline.to_string()),
        ("full_page_writes", control.full_page_writes.to_string()),
        ("next_xid", next_xid(control)),
        ("next_oid", control.next_oid.to_string()),
        ("next_multixact_id", control.next_multi.to_string()),
        ("next_multi_offset", control.next_multi_offset.to_string()),
        ("oldest_xid", control.oldest_xid.to_string()),
        ("oldest_xid_dbid", control.oldest_xid_db.to_string()),
        ("oldest_active_xid", control.oldest_active_xid.to_string()),
        ("oldest_multi_xid", control.oldest_multi.to_string()),
        ("oldest_multi_dbid", control.oldest_multi_db.to_string()),
        (
            "oldest_commit_ts_xid",
            control.oldest_commit_ts_xid.to_string(),
        ),
        (
            "newest_commit_ts_xid",
            control.newest_commit_ts_xid.to_string(),
        ),
        ("checkpoint_time", control.checkpoint_time.to_string()),
        (
            "min_recovery_end_lsn",
            control.min_recovery_point.to_string(),
        ),
        (
            "min_recovery_end_timeline",
            control.min_recovery_timeline.to_string(),
        ),
        ("backup_start_lsn", control.backup_start.to_string()),
        ("backup_end_lsn", control.backup_end.to_string()),
        (
            "end_of_backup_record_required",
            control.backup_end_required.to_string(),
        ),
        ("max_data_alignment", control.max_align.to_string()),
        ("database_block_size", control.block_size.to_string()),
        ("blocks_per_segment", control.relseg_size.to_string()),
        ("wal_block_size", control.wal_block_size.to_string()),
        (
            "bytes_per_wal_segment",
            control.wal_segment_size.to_string(),
        ),
        ("max_identifier_length", control.name_data_len.to_string()),
        ("max_index_columns", control.index_max_keys.to_string()),
        (
            "max_toast_chunk_size",
            control.toast_max_chunk_size.to_string(),
        ),
        ("large_object_chunk_size", control.lo_block_size.to_string()),
        ("float8_pass_by_value", control.float8_by_value.to_string()),
        (
            "data_page_checksum_version",
            control.data_checksum_version.to_string(),
        ),
    ];
    if major < 13 {
        fields.push(("float4_pass_by_value", "true".to_owned()));
    }
    if let Some(signed) = control.char_signed {
        fields.push(("default_char_signedness", signed.to_string()));
    }
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn as_controldata(control: &ControlFile) -> Fields {
    let on = |flag: bool| if flag { "on" } else { "off" }.to_owned();
    let wal_levels = ["minimal", "replica", "logical"];
    let mut fields: Vec<(&str, String)> = vec![
        (
            "pg_control version number",
            control.control_version.to_string(),
        ),
        (
            "Catalog version number",
            control.catalog_version.to_string(),
        ),
        (
            "Database system identifier",
            control.system_identifier.to_string(),
        ),
        ("Database cluster state", control.state.to_string()),
        (
            "Latest checkpoint location",
            control.checkpoint_lsn.to_string(),
        ),
        (
            "Latest checkpoint's REDO location",
            control.redo.to_string(),
        ),
        (
            "Latest checkpoint's REDO WAL file",
            control.checkpoint_wal_file(),
        ),
        (
            "Latest checkpoint's TimeLineID",
            control.timeline.to_string(),
        ),
        (
            "Latest checkpoint's PrevTimeLineID",
            control.previous_timeline.to_string(),
        ),
        (
            "Latest checkpoint's full_page_writes",
            on(control.full_page_writes),
        ),
        ("Latest checkpoint's NextXID", next_xid(control)),
        ("Latest checkpoint's NextOID", control.next_oid.to_string()),
        (
            "Latest checkpoint's NextMultiXactId",
            control.next_multi.to_string(),
        ),
        (
            "Latest checkpoint's NextMultiOffset",
            control.next_multi_offset.to_string(),
        ),
        (
            "Latest checkpoint's oldestXID",
            control.oldest_xid.to_string(),
        ),
        (
            "Latest checkpoint's oldestXID's DB",
            control.oldest_xid_db.to_string(),
        ),
        (
            "Latest checkpoint's oldestActiveXID",
            control.oldest_active_xid.to_string(),
        ),
        (
            "Latest checkpoint's oldestMultiXid",
            control.oldest_multi.to_string(),
        ),
        (
            "Latest checkpoint's oldestMulti's DB",
            control.oldest_multi_db.to_string(),
        ),
        (
            "Latest checkpoint's oldestCommitTsXid",
            control.oldest_commit_ts_xid.to_string(),
        ),
        (
            "Latest checkpoint's newestCommitTsXid",
            control.newest_commit_ts_xid.to_string(),
        ),
        (
            "Fake LSN counter for unlogged rels",
            control.unlogged_lsn.to_string(),
        ),
        (
            "Minimum recovery ending location",
            control.min_recovery_point.to_string(),
        ),
        (
            "Min recovery ending loc's timeline",
            control.min_recovery_timeline.to_string(),
        ),
        ("Backup start location", control.backup_start.to_string()),
        ("Backup end location", control.backup_end.to_string()),
        ("End-of-backup record required", "no".to_owned()),
        (
            "wal_level setting",
            wal_levels[control.wal_level as usize].to_owned(),
        ),
        ("wal_log_hints setting", on(control.wal_log_hints)),
        (
            "max_connections setting",
            control.max_connections.to_string(),
        ),
        (
            "max_worker_processes setting",
            control.max_worker_processes.to_string(),
        ),
        (
            "max_wal_senders setting",
            control.max_wal_senders.unwrap().to_string(),
        ),
        (
            "max_prepared_xacts setting",
            control.max_prepared_xacts.to_string(),
        ),
        (
            "max_locks_per_xact setting",
            control.max_locks_per_xact.to_string(),
        ),
        (
            "track_commit_timestamp setting",
            on(control.track_commit_timestamp),
        ),
        ("Maximum data alignment", control.max_align.to_string()),
        ("Database block size", control.block_size.to_string()),
        (
            "Blocks per segment of large relation",
            control.relseg_size.to_string(),
        ),
        ("WAL block size", control.wal_block_size.to_string()),
        (
            "Bytes per WAL segment",
            control.wal_segment_size.to_string(),
        ),
        (
            "Maximum length of identifiers",
            control.name_data_len.to_string(),
        ),
        (
            "Maximum columns in an index",
            control.index_max_keys.to_string(),
        ),
        (
            "Maximum size of a TOAST chunk",
            control.toast_max_chunk_size.to_string(),
        ),
        (
            "Size of a large-object chunk",
            control.lo_block_size.to_string(),
        ),
        ("Date/time type storage", "64-bit integers".to_owned()),
        ("Float8 argument passing", "by value".to_owned()),
        (
            "Data page checksum version",
            control.data_checksum_version.to_string(),
        ),
    ];
    if let Some(signed) = control.char_signed {
        let text = if signed { "signed" } else { "unsigned" };
        fields.push(("Default char data signedness", text.to_owned()));
    }
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn compare_with_controldata(cluster: &Cluster, bindir: &Path) {
    let mut said = controldata(cluster, bindir);
    // Dates in the words of strftime, compared with the server's functions; and the nonce.
    for name in [
        "pg_control last modified",
        "Time of latest checkpoint",
        "Mock authentication nonce",
    ] {
        assert!(said.remove(name).is_some(), "{name}");
    }
    assert_eq!(as_controldata(&control(cluster)), said);
}

fn settings_are_recorded(control: &ControlFile, major: u16) {
    assert_eq!(control.wal_level, 2);
    assert!(control.wal_log_hints && control.track_commit_timestamp);
    assert!(!control.full_page_writes);
    assert_eq!(
        (control.max_connections, control.max_worker_processes),
        (37, 11)
    );
    assert_eq!(control.max_wal_senders, (major >= 12).then_some(5));
    assert_eq!(
        (control.max_prepared_xacts, control.max_locks_per_xact),
        (3, 77)
    );
}

fn compare(major: u16, installation: &str) {
    let cluster = Cluster::create(installation, &[]);
    assert_eq!(control(&cluster).state, ClusterState::ShutDown);
    let server = cluster.start(SETTINGS);
    let mut client = cluster.connect();
    work(&mut client);
    let mut said = functions(&mut client);
    // Version 10 also told the checkpoint before the last one.
    assert_eq!(said.remove("prior_lsn").is_some(), major == 10);
    let running = control(&cluster);
    assert_eq!(as_functions(&running, major), said);
    assert_eq!(running.state, ClusterState::InProduction);
    assert!(running.next_multi.0 > 1 && running.next_multi_offset > 1);
    settings_are_recorded(&running, major);
    drop(client);
    drop(server);

    assert_eq!(control(&cluster).state, ClusterState::ShutDown);
    assert!(control(&cluster).checkpoint_lsn > running.checkpoint_lsn);
    if major < 15 {
        return;
    }
    let whole = toolchain(&format!("new-{major}"));
    compare_with_controldata(&cluster, &whole);
    let mut resetwal = program(whole.join("pg_resetwal"), cluster.directory());
    let first = control(&cluster).first_segment_after_checkpoint();
    resetwal.args([
        "-e",
        "5",
        "-O",
        "4711",
        "-m",
        "815,814",
        "-u",
        "333",
        "-l",
        first.as_str(),
    ]);
    run(resetwal.arg(cluster.data()));
    compare_with_controldata(&cluster, &whole);
    let after = control(&cluster);
    assert_eq!((after.next_xid.epoch(), after.oldest_xid.0), (5, 333));
    assert_eq!(
        (
            after.next_multi.0,
            after.oldest_multi.0,
            after.next_multi_offset
        ),
        (815, 814, 4711)
    );
    assert_eq!(after.checkpoint_wal_file(), first);
}

macro_rules! versions {
    ($($name:ident $major:literal $installation:literal)*) => {
        $(
            #[test]
            fn $name() {
                compare($major, $installation);
            }
        )*
    };
}

versions! {
    version_10 10 "old-10"
    version_11 11 "old-11"
    version_12 12 "old-12"
    version_13 13 "old-13"
    version_14 14 "old-14"
    version_15 15 "old-15"
    version_16 16 "old-16"
    version_17 17 "old-17"
    version_18 18 "new-18"
}
