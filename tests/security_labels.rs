//! Security labels, whose provider is a library that somebody must load.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::{Path, PathBuf};

use support::shop::one;
use support::trip::Trip;
use support::{as_server_user, bindir, cluster, compile};

const NEW: &str = "new-18";

const PROVIDER: &str = r#"
#include "postgres.h"
#include "commands/seclabel.h"
#include "fmgr.h"

PG_MODULE_MAGIC;

static void look(const ObjectAddress *object, const char *label)
{
    if (object->classId == 2615)
        elog(ERROR, "no labels for schemas");
}

void _PG_init(void)
{
    register_label_provider("warden", look);
}
"#;

/// A library for new that provides labels.
fn provider(place: &Path) -> PathBuf {
    let library = place.join("warden.so");
    let programs = bindir(NEW).canonicalize().unwrap();
    let headers = programs.parent().unwrap().join("include/server");
    compile(PROVIDER, &library, &["-I".as_ref(), headers.as_os_str()]);
    library
}

/// Where nobody loads it that is found before anything is made, and where it is preloaded all labels
/// arrive.
#[test]
fn labels_arrive_where_their_provider_is_preloaded() {
    as_server_user("labels_arrive_where_their_provider_is_preloaded", || {
        let old = cluster("old-15", &[]);
        let server = old.start();
        server.sql(
            "postgres",
            "CREATE TABLE patient (name text); \
             INSERT INTO pg_seclabel (objoid, classoid, objsubid, provider, label) \
             VALUES ('patient'::regclass, 'pg_class'::regclass, 1, 'warden', 'masked'); \
             INSERT INTO pg_shseclabel (objoid, classoid, provider, label) \
             VALUES (10, 'pg_authid'::regclass, 'warden', 'trusted')",
        );
        server.stop();
        let trip = Trip::new(&old, NEW, "copy");
        let ran = trip.run_first(&["prepare"]);
        let said = [
            "provider warden of a security label in postgres",
            "provider warden of a security label of roles, tablespaces or databases",
            "security label provider \"warden\" is not loaded",
        ];
        ran.refused(3, "PGM-6002", &said);

        let library = provider(old.scratch());
        let preloaded = format!("-c shared_preload_libraries={}", library.display());
        trip.run_first(&["check", "-O", &preloaded]).demand(0);
        trip.run_first(&["prepare", "-O", &preloaded]).demand(0);
        trip.cutover();
        let new = trip.new_cluster();
        let server = new.start();
        let mut session = server.connect("postgres");
        let labels = "SELECT string_agg(objname || ' ' || label, ', ' ORDER BY objname) \
                      FROM pg_seclabels WHERE provider = 'warden'";
        let arrived = one(&mut session, labels);
        assert_eq!(arrived, "patient.name masked, postgres trusted");
    });
}
