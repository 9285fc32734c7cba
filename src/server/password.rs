//! The password for a session in the operator's server, found where libpq finds it.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::endpoint::Endpoint;
use super::privileges;

/// Where passwords are looked for.
struct Sources {
    password: Option<OsString>,
    file: Option<PathBuf>,
}

/// The password for this database: `PGPASSWORD`, else the first line that fits in the file
/// `PGPASSFILE` names, else in `~/.pgpass` of the user we are.
///
/// A file others can read is passed over, as libpq does.
pub(super) fn password(endpoint: &Endpoint, database: &str) -> Option<Vec<u8>> {
    let home = privileges::owner().map(|owner| owner.home.clone());
    let home = home.or_else(|| std::env::var_os("HOME").map(PathBuf::from));
    let named = std::env::var_os("PGPASSFILE").map(PathBuf::from);
    find(
        &Sources {
            password: std::env::var_os("PGPASSWORD"),
            file: named.or_else(|| home.map(|home| home.join(".pgpass"))),
        },
        endpoint,
        database,
    )
}

fn find(sources: &Sources, endpoint: &Endpoint, database: &str) -> Option<Vec<u8>> {
    if let Some(password) = sources.password.as_ref().filter(|text| !text.is_empty()) {
        return Some(password.as_encoded_bytes().to_vec());
    }
    let text = readable(sources.file.as_deref()?)?;
    text.split(|byte| *byte == b'\n')
        .find_map(|line| password_in(line, endpoint, database))
}

fn readable(file: &Path) -> Option<Vec<u8>> {
    let metadata = file.metadata().ok()?;
    let closed = metadata.permissions().mode() & 0o077 == 0;
    (metadata.is_file() && closed)
        .then(|| std::fs::read(file).ok())
        .flatten()
}

/// The password in a line `host:port:database:user:password`, if it is for this session.
///
/// A socket goes by the name of its directory; `localhost` stands for that of the usual one,
/// which depends on the build, so it stands for any.
pub fn password_in(line: &[u8], endpoint: &Endpoint, database: &str) -> Option<Vec<u8>> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.starts_with(b"#") {
        return None;
    }
    let mut rest = line;
    let mut field = || {
        let (field, behind) = first_field(rest)?;
        rest = behind;
        Some(field)
    };
    let host = field()?;
    let named = endpoint.host.as_os_str().as_encoded_bytes();
    let local = endpoint.is_socket() && host == Some(b"localhost".to_vec());
    let port = endpoint.port.to_string();
    let fits = local || is(host.as_deref(), named);
    let fits = is(field()?.as_deref(), port.as_bytes()) && fits;
    let fits = is(field()?.as_deref(), database.as_bytes()) && fits;
    let fits = is(field()?.as_deref(), endpoint.user.as_bytes()) && fits;
    fits.then(|| match first_field(rest) {
        Some((Some(password), _)) => password,
        _ => unescaped(rest),
    })
}

fn is(field: Option<&[u8]>, value: &[u8]) -> bool {
    field.is_none_or(|field| field == value)
}

/// The field before the first colon, `None` in it for the `*` that fits all; and what follows.
fn first_field(line: &[u8]) -> Option<(Option<Vec<u8>>, &[u8])> {
    let mut at = 0;
    while at < line.len() && line[at] != b':' {
        at += if line[at] == b'\\' { 2 } else { 1 };
    }
    let (field, rest) = (line.get(..at)?, line.get(at + 1..)?);
    let any = field == b"*";
    Some(((!any).then(|| unescaped(field)), rest))
}

fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut bytes = field.iter();
    while let Some(byte) = bytes.next() {
        let literal = match byte {
            b'\\' => bytes.next().unwrap_or(byte),
            _ => byte,
        };
        out.push(*literal);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::MajorVersion;
    use crate::server::Side;

    fn endpoint(host: &str) -> Endpoint {
        Endpoint {
            side: Side::Old,
            major: MajorVersion(15),
            data_dir: "/srv/old".into(),
            host: host.into(),
            port: 5433,
            user: "post:gres".to_owned(),
            log: None,
            private: false,
        }
    }

    fn in_file(lines: &str, host: &str) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pass");
        std::fs::write(&file, lines).unwrap();
        let mode = |mode| {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let sources = Sources {
            password: None,
            file: Some(file.clone()),
        };
        mode(0o640);
        assert_eq!(find(&sources, &endpoint(host), "a"), None);
        mode(0o600);
        let found = find(&sources, &endpoint(host), "a");
        found.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn the_first_line_that_fits_counts() {
        let lines = "# host:port:database:user:password\n\
                     other:*:*:*:no\n*:5432:*:*:no\n*:*:b:*:no\n*:*:*:postgres:no\nshort:line\n\
                     /run/pg:5433:a:post\\:gres:it\\:s\\\\me\n*:*:*:*:late\n";
        assert_eq!(in_file(lines, "/run/pg").as_deref(), Some("it:s\\me"));
        assert_eq!(in_file(lines, "db.example").as_deref(), Some("late"));
    }

    #[test]
    fn localhost_stands_for_a_socket() {
        let line = "localhost:*:*:*:yes\r\n";
        assert_eq!(in_file(line, "/run/pg").as_deref(), Some("yes"));
        assert_eq!(in_file(line, "localhost").as_deref(), Some("yes"));
        assert_eq!(in_file(line, "10.0.0.7"), None);
    }

    #[test]
    fn the_environment_comes_first() {
        let sources = |password: &str| Sources {
            password: Some(password.into()),
            file: None,
        };
        let found = |password| find(&sources(password), &endpoint("/run/pg"), "a");
        assert_eq!(found("se:cret"), Some(b"se:cret".to_vec()));
        assert_eq!(found(""), None);
    }
}
