//! What initdb must be told to make a cluster like this one.

use std::collections::HashMap;

use super::copy::Source;
use super::snapshot::{LocaleProvider, TemplateSettings};
use crate::error::Result;
use crate::pg::MajorVersion;

/// Reads locales and formats of the cluster.
pub(super) fn read(source: &mut Source, major: MajorVersion) -> Result<TemplateSettings> {
    let settings = source.all(SETTINGS, |fields| Ok((fields.text()?, fields.text()?)))?;
    let mut settings: HashMap<String, String> = settings.into_iter().collect();
    let mut setting = |name: &str| settings.remove(name).unwrap_or_default();
    let (data_checksums, wal_segment_size, group_access) = source.one(&fixed(major), |fields| {
        Ok((fields.truth()?, fields.number()?, fields.truth()?))
    })?;
    source.one(&template(major), |fields| {
        Ok(TemplateSettings {
            encoding: fields.text()?,
            collate: fields.text()?,
            ctype: fields.text()?,
            provider: fields.word(LocaleProvider::from_catalog)?,
            locale: Some(fields.text()?).filter(|text| !text.is_empty()),
            icu_rules: Some(fields.text()?).filter(|text| !text.is_empty()),
            lc_messages: setting("lc_messages"),
            lc_monetary: setting("lc_monetary"),
            lc_numeric: setting("lc_numeric"),
            lc_time: setting("lc_time"),
            default_text_search_config: setting("default_text_search_config"),
            data_checksums,
            wal_segment_size,
            group_access,
        })
    })
}

/// What the configuration files say. The session may see something else: we start servers with
/// options of our own, and roles and databases have settings too.
const SETTINGS: &str = "
    SELECT s.name,
           CASE WHEN s.source IN ('default', 'environment variable', 'configuration file')
                THEN s.setting
                ELSE COALESCE((SELECT f.setting FROM pg_catalog.pg_file_settings f
                               WHERE pg_catalog.lower(f.name) = s.name AND f.error IS NULL
                               ORDER BY f.seqno DESC LIMIT 1),
                              s.boot_val, '') END
    FROM pg_catalog.pg_settings s
    WHERE s.name IN ('lc_messages', 'lc_monetary', 'lc_numeric', 'lc_time',
                     'default_text_search_config')";

/// What cannot be changed while a server runs.
fn fixed(major: MajorVersion) -> String {
    let group_access = if major >= MajorVersion(11) {
        "pg_catalog.current_setting('data_directory_mode') LIKE '%750'"
    } else {
        "false"
    };
    format!(
        "SELECT pg_catalog.current_setting('data_checksums') = 'on',
                pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size')),
                {group_access}"
    )
}

/// The row of template0; should somebody have dropped it, that of template1.
fn template(major: MajorVersion) -> String {
    let (provider, locale, rules) = match major.0 {
        ..15 => ("'c'", "''", "''"),
        15 => ("datlocprovider", "daticulocale", "''"),
        16 => ("datlocprovider", "daticulocale", "daticurules"),
        17.. => ("datlocprovider", "datlocale", "daticurules"),
    };
    format!(
        "SELECT pg_catalog.pg_encoding_to_char(encoding), datcollate, datctype, {provider},
                COALESCE({locale}, ''), COALESCE({rules}, '')
         FROM pg_catalog.pg_database
         ORDER BY datname = 'template0' DESC, datname = 'template1' DESC LIMIT 1"
    )
}
