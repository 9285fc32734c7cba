//! Rules of old's `pg_hba.conf` and `pg_ident.conf` that the new version refuses or reads otherwise.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::probe::Row;
use super::run::Subject;
use crate::catalog;
use crate::error::{Code, Error, Result};
use crate::pg::hba::{self, Field, Line, Word};
use crate::server::Client;

/// Methods that every version and every build has.
const EVERYWHERE: [&str; 7] = [
    "trust",
    "reject",
    "md5",
    "password",
    "scram-sha-256",
    "peer",
    "ident",
];

/// Connections that every version and every build tells apart.
const KNOWN_TYPES: [&str; 4] = ["local", "host", "hostnossl", "hostnogssenc"];

/// Options whose values nobody but the server is to see.
const SECRET: [&str; 2] = ["ldapbindpasswd", "radiussecrets"];

/// The rules of which only the new version can say whether it takes them, each in a form that
/// depends on nothing beside it.
///
/// A rule of an ordinary kind is no question: a server to be asked would have to be made.
pub(super) fn doubtful(subject: &Subject<'_>) -> Result<Vec<Row>> {
    let mut old = catalog::connect(subject.old)?;
    let lines = read(&mut old, subject, "hba_file", "pg_hba.conf")?;
    let lines = lines.iter().filter(|line| is_doubtful(line));
    Ok(lines.map(row).collect())
}

/// Names that a version from 16 on takes for a regular expression, a membership or everybody.
pub(super) fn patterns(subject: &Subject<'_>) -> Result<Vec<Row>> {
    let mut old = catalog::connect(subject.old)?;
    let rules = read(&mut old, subject, "hba_file", "pg_hba.conf")?;
    let maps = read(&mut old, subject, "ident_file", "pg_ident.conf")?;
    let in_rules = rules.iter().flat_map(|line| {
        names(line, 1..3).filter_map(move |word| Some((line, word, pattern(word)?)))
    });
    let in_maps = maps.iter().flat_map(|line| {
        let read = |word| pattern(word).or_else(|| keyword(word));
        names(line, 2..3).filter_map(move |word| Some((line, word, read(word)?)))
    });
    let found = in_rules.chain(in_maps);
    Ok(found
        .map(|(line, word, (reading, written))| {
            let [file, number] = place_of(line);
            let said = [file, number, word.text.clone(), reading.to_owned(), written];
            said.map(Some).to_vec()
        })
        .collect())
}

/// Where a file of access rules is, and what is in it; nothing where there is none.
///
/// A private server has rules of its own, so what the files set is what counts there.
const PLACE: &str = "
    SELECT pg_catalog.current_setting('config_file'), s.setting,
           (SELECT f.setting FROM pg_catalog.pg_file_settings f
            WHERE pg_catalog.lower(f.name) = s.name ORDER BY f.seqno DESC LIMIT 1)
    FROM pg_catalog.pg_settings s WHERE s.name = ";

fn read(old: &mut Client, subject: &Subject<'_>, setting: &str, usual: &str) -> Result<Vec<Line>> {
    let sql = format!("{PLACE}'{setting}'");
    let rows = old.text_rows(&sql)?;
    let said: Option<[Option<String>; 3]> = rows.into_iter().next().and_then(|r| r.try_into().ok());
    let Some([Some(config), Some(current), set]) = said else {
        let message = format!("the server does not say what {setting} is");
        return Err(Error::new(Code::Query, message));
    };
    let path = match (subject.old.private, set) {
        (false, _) => PathBuf::from(current),
        (true, Some(set)) => subject.old.data_dir.join(set),
        (true, None) => Path::new(&config).with_file_name(usual),
    };
    match path.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        _ => hba::read(&path),
    }
}

fn is_doubtful(line: &Line) -> bool {
    let kind = first(line.fields.first());
    let plain = KNOWN_TYPES.contains(&kind)
        && method(line).is_some_and(|at| {
            let options = &line.fields[at + 1..];
            EVERYWHERE.contains(&first(line.fields.get(at)))
                && options.iter().all(|o| first(Some(o)).starts_with("map="))
        });
    !plain || names(line, 1..3).any(|word| pattern(word).is_some())
}

/// The place of the method: behind the address, which may have a mask of its own.
fn method(line: &Line) -> Option<usize> {
    let at = match first(line.fields.first()) {
        "local" => 3,
        _ if first(line.fields.get(4)).parse::<IpAddr>().is_ok() => 5,
        _ => 4,
    };
    (at < line.fields.len()).then_some(at)
}

fn row(line: &Line) -> Row {
    let [file, number] = place_of(line);
    let rule = match method(line) {
        Some(at) => format!(
            "{}, {}",
            first(line.fields.first()),
            first(line.fields.get(at))
        ),
        None => first(line.fields.first()).to_owned(),
    };
    let said = [file, number, rule, attempt(line)];
    said.map(Some).to_vec()
}

/// The rule as it is shown to a server of the new version.
///
/// Names are of no matter, unless they are patterns; lists in other files are not there.
fn attempt(line: &Line) -> String {
    let fields = line.fields.iter().enumerate();
    let written = fields.map(|(at, field)| match at {
        1 | 2 if !field.iter().any(|word| word.text.starts_with('/')) => "all".to_owned(),
        1 | 2 => list(field.iter().filter(|word| !word.text.starts_with('@'))),
        _ => list(field),
    });
    written.collect::<Vec<_>>().join(" ")
}

fn list<'w>(words: impl IntoIterator<Item = &'w Word>) -> String {
    let words = words.into_iter().map(|word| {
        let option = word.text.split_once('=').map(|(name, _)| name);
        match option.filter(|name| SECRET.contains(name)) {
            Some(name) => format!("{name}=x"),
            None => word.written(),
        }
    });
    words.collect::<Vec<_>>().join(",")
}

fn place_of(line: &Line) -> [String; 2] {
    [line.file.display().to_string(), line.number.to_string()]
}

fn first(field: Option<&Field>) -> &str {
    let word = field.and_then(|field| field.first());
    word.map_or("", |word| &word.text)
}

/// The words in some fields of a line.
fn names(line: &Line, fields: std::ops::Range<usize>) -> impl Iterator<Item = &Word> {
    let fields = line.fields.iter().take(fields.end).skip(fields.start);
    fields.flatten()
}

/// How a name is read, and how it is written to be read as itself.
fn pattern(word: &Word) -> Option<(&'static str, String)> {
    let name = word.text.strip_prefix('/')?;
    let mut escaped = String::from("/^/");
    for c in name.chars() {
        if !c.is_alphanumeric() && !matches!(c, '_' | '/' | ' ') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped.push('$');
    let text = escaped;
    let quoted = true;
    Some(("a regular expression", Word { text, quoted }.written()))
}

fn keyword(word: &Word) -> Option<(&'static str, String)> {
    let reading = match &*word.text {
        _ if word.quoted => return None,
        "all" => "every role",
        text if text.starts_with('+') => "the members of a role",
        _ => return None,
    };
    let text = word.text.clone();
    let quoted = true;
    Some((reading, Word { text, quoted }.written()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Line> {
        hba::parse(Path::new("f"), text)
    }

    #[test]
    fn only_what_may_be_refused_is_asked() {
        let plain = "local all all peer map=who\nhost a,b +c 10.0.0.0/8 md5\n\
                     hostnossl @dbs all 10.0.0.1 255.255.255.255 reject\nhost all all ::1/128 ident";
        for line in lines(plain) {
            assert!(!is_doubtful(&line), "{line:?}");
        }
        let doubtful = "local all all pam\nhost all all all scram-sha-256 clientcert=1\n\
                        hostssl all all all md5\nhost all all\nlocal all /a peer\nhost all all 1.1.1.1 255.0.0.0";
        for line in lines(doubtful) {
            assert!(is_doubtful(&line), "{line:?}");
        }
    }

    #[test]
    fn a_rule_is_shown_without_names_and_without_secrets() {
        let text = "hostssl @dbs,a b samehost ldap ldapserver=x ldapbindpasswd=\"se cret\" ldapprefix=\"cn=\"\n\
                    host all \"/^a b\",@c 10.0.0.1 255.0.0.0 radius radiussecrets=\"\"\"a\"\",\"\"b\"\"\"";
        let rows: Vec<Row> = lines(text).iter().map(row).collect();
        let said = |row: &Row, at: usize| row[at].clone().unwrap();
        assert_eq!(said(&rows[0], 2), "hostssl, ldap");
        assert_eq!(
            said(&rows[0], 3),
            "hostssl all all samehost ldap ldapserver=x ldapbindpasswd=x ldapprefix=cn="
        );
        assert_eq!(said(&rows[1], 2), "host, radius");
        assert_eq!(
            said(&rows[1], 3),
            "host all \"/^a b\" 10.0.0.1 255.0.0.0 radius radiussecrets=x"
        );
    }

    #[test]
    fn a_name_is_written_so_that_it_is_read_as_itself() {
        let word = |text: &str, quoted| Word {
            text: text.to_owned(),
            quoted,
        };
        let written = |found: Option<(&str, String)>| found.unwrap().1;
        assert_eq!(written(pattern(&word("/a.b", false))), "\"/^/a\\.b$\"");
        assert_eq!(written(keyword(&word("all", false))), "\"all\"");
        assert_eq!(written(keyword(&word("+x", false))), "\"+x\"");
        assert_eq!(keyword(&word("+x", true)), None);
        assert_eq!(pattern(&word("a/b", false)), None);
    }
}
