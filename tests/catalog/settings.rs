//! What initdb would have to be told, read back from clusters it was told to make.

use pg_migrator::catalog::{self, LocaleProvider, TemplateSettings};
use pg_migrator::server::Cancel;

use crate::shop::{run, serve, session};
use crate::support::{as_server_user, cluster};

/// What `initdb -k --locale=C` makes, with the lines [`read`] adds to postgresql.conf.
fn expected() -> TemplateSettings {
    TemplateSettings {
        encoding: "UTF8".into(),
        collate: "C".into(),
        ctype: "C".into(),
        provider: LocaleProvider::Libc,
        locale: None,
        icu_rules: None,
        lc_messages: "C.UTF-8".into(),
        lc_monetary: "C".into(),
        lc_numeric: "C".into(),
        lc_time: "POSIX".into(),
        default_text_search_config: "pg_catalog.english".into(),
        data_checksums: true,
        wal_segment_size: 16 << 20,
        group_access: false,
    }
}

/// Makes a cluster with these options, hides its settings behind those of the command line, of
/// a role and of a database, and reads them.
fn read(installation: &str, options: &[&str]) -> TemplateSettings {
    let common = ["-k", "--locale=C", "--lc-messages=C.UTF-8"];
    let cluster = cluster(installation, &[&common[..], options].concat());
    cluster.configure("lc_monetary = 'POSIX'\nlc_monetary = 'C'\nlc_time = 'POSIX'");
    let server = serve(&cluster, &[("lc_time", "C"), ("lc_messages", "C")]);
    let mut client = session(&server, "template1");
    run(
        &mut client,
        "ALTER ROLE postgres SET lc_monetary = 'C.UTF-8'
         ALTER DATABASE template1 SET default_text_search_config = 'pg_catalog.german'",
    );
    drop(client);
    let snapshot = catalog::read(&server, 1, &Cancel::new()).unwrap();
    server.stop().unwrap();
    snapshot.settings
}

#[test]
fn settings_are_those_of_the_cluster() {
    as_server_user("settings::settings_are_those_of_the_cluster", || {
        assert_eq!(read("old-10", &[]), expected());
        let settings = read("old-11", &["-g", "--wal-segsize=1", "-T", "german"]);
        let eleven = TemplateSettings {
            group_access: true,
            wal_segment_size: 1 << 20,
            default_text_search_config: "pg_catalog.german".into(),
            ..expected()
        };
        assert_eq!(settings, eleven);
        assert_eq!(read("old-14", &["--encoding=LATIN1"]).encoding, "LATIN1");
    });
}

#[test]
fn locales_of_other_providers_are_read() {
    as_server_user("settings::locales_of_other_providers_are_read", || {
        let icu = ["--locale-provider=icu", "--icu-locale=en"];
        let english = TemplateSettings {
            provider: LocaleProvider::Icu,
            locale: Some("en".into()),
            ..expected()
        };
        assert_eq!(read("old-15", &icu), english);
        let with_rules = TemplateSettings {
            icu_rules: Some("&a < b".into()),
            ..english
        };
        let icu = [&icu[..], &["--icu-rules=&a < b"]].concat();
        assert_eq!(read("old-16", &icu), with_rules);
        assert_eq!(read("old-17", &icu), with_rules);
        let builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"];
        let its_own = TemplateSettings {
            provider: LocaleProvider::Builtin,
            locale: Some("C.UTF-8".into()),
            ..expected()
        };
        assert_eq!(read("old-17", &builtin), its_own);
        assert_eq!(read("new-18", &builtin), its_own);
    });
}
