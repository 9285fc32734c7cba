//! A fresh cluster of the new version that is like old.

use std::path::Path;

use super::failure::Failure;
use crate::catalog::{LocaleProvider as CatalogProvider, Tablespace, TemplateSettings};
use crate::error::{Code, Error, Family, Result};
use crate::pg::quote;
use crate::server::initdb::LocaleProvider;
use crate::server::{Endpoint, Initdb};

/// What initdb is told to make a cluster of this user like the one these settings are of.
///
/// # Errors
///
/// Where the catalog of old names no locale for a provider that needs one.
pub fn like_old<'a>(
    template: &'a TemplateSettings,
    user: &'a str,
    data_dir: &'a Path,
) -> Result<Initdb<'a>> {
    Ok(Initdb {
        data_dir,
        wal_dir: None,
        user,
        encoding: &template.encoding,
        provider: provider(template)?,
        collate: &template.collate,
        ctype: &template.ctype,
        lc_messages: &template.lc_messages,
        lc_monetary: &template.lc_monetary,
        lc_numeric: &template.lc_numeric,
        lc_time: &template.lc_time,
        text_search_config: built_in(&template.default_text_search_config),
        data_checksums: template.data_checksums,
        wal_segment_size: template.wal_segment_size,
        group_access: template.group_access,
        auth_local: "peer",
        auth_host: "scram-sha-256",
        sync: false,
    })
}

/// The name initdb is given: it puts `pg_catalog.` before it, and knows no configuration of a user.
fn built_in(text_search_config: &str) -> Option<&str> {
    text_search_config.strip_prefix("pg_catalog.")
}

fn provider(template: &TemplateSettings) -> Result<LocaleProvider> {
    let locale = || {
        template.locale.clone().ok_or_else(|| {
            Error::new(
                Code::InitdbFailed,
                "template0 of the old cluster has no locale",
            )
        })
    };
    Ok(match template.provider {
        CatalogProvider::Libc => LocaleProvider::Libc,
        CatalogProvider::Icu => LocaleProvider::Icu {
            locale: locale()?,
            rules: template.icu_rules.clone(),
        },
        CatalogProvider::Builtin => LocaleProvider::Builtin { locale: locale()? },
    })
}

/// Makes tablespaces of old's names and OIDs within the data directory of a private new server
/// in binary-upgrade mode; gives back those it does not take.
///
/// They stand in for the real ones where nothing may be made in the locations of old. Owners,
/// privileges and options are not those of old.
pub fn stand_in_tablespaces(new: &Endpoint, tablespaces: &[Tablespace]) -> Result<Vec<Failure>> {
    let mut refused = Vec::new();
    if tablespaces.is_empty() {
        return Ok(refused);
    }
    let mut client = new.connect("template1")?;
    client.run_script("SET allow_in_place_tablespaces = on")?;
    for tablespace in tablespaces {
        client.run_script(&format!(
            "SELECT pg_catalog.binary_upgrade_set_next_pg_tablespace_oid('{}'::pg_catalog.oid)",
            tablespace.oid
        ))?;
        let name = quote::ident(&tablespace.name);
        // Alone, since it runs in no transaction with others.
        let made = client.run_script(&format!("CREATE TABLESPACE {name} LOCATION ''"));
        match made {
            Err(error) if error.code().family() == Family::Signal => return Err(error),
            Err(error) => refused.push(Failure::of_tablespace(&tablespace.name, &error)),
            Ok(()) => {}
        }
    }
    Ok(refused)
}

#[cfg(test)]
mod tests {
    use super::built_in;

    #[test]
    fn only_built_in_configurations_are_given_to_initdb_and_without_their_schema() {
        assert_eq!(built_in("pg_catalog.english"), Some("english"));
        assert_eq!(built_in("public.own"), None);
    }
}
