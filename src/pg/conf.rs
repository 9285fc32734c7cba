//! `postgresql.conf`: its settings in the order the server reads them.

use std::path::{Path, PathBuf};

use super::regular;
use crate::error::{Code, Error, Remedy, Result};

/// As in the server: an include that includes itself has to end somewhere.
const MAX_DEPTH: usize = 10;

/// One line that sets something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The line in its file, from 1.
    pub line: usize,
    /// The name as written; `include`, `include_if_exists` and `include_dir` are names too.
    pub name: String,
    /// The value without its quotes.
    pub value: String,
}

/// A line the server would refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// The line, from 1.
    pub line: usize,
}

impl std::fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "syntax error in line {}", self.line)
    }
}

impl std::error::Error for SyntaxError {}

/// Reads the text of a configuration file; includes are given as settings, not followed.
///
/// Mirrors `src/backend/utils/misc/guc-file.l`.
pub fn parse(text: &str) -> Result<Vec<Setting>, SyntaxError> {
    let mut settings = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        let error = SyntaxError { line: index + 1 };
        if let Some((name, value)) = parse_line(line).ok_or(error)? {
            settings.push(Setting {
                line: index + 1,
                name: name.to_owned(),
                value,
            });
        }
    }
    Ok(settings)
}

/// Reads a configuration file and everything it includes, in the server's order.
pub fn read(path: &Path) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    read_into(path, 0, &mut settings)?;
    Ok(settings)
}

/// The value the server would use: the last one of this name.
pub fn last<'a>(settings: &'a [Setting], name: &str) -> Option<&'a str> {
    settings
        .iter()
        .rev()
        .find(|setting| setting.name.eq_ignore_ascii_case(name))
        .map(|setting| setting.value.as_str())
}

/// A value as it must be written into a configuration file.
pub fn quote_value(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('\'');
    for c in value.chars() {
        match c {
            '\'' => out.push_str("''"),
            '\\' => out.push_str("\\\\"),
            // A quoted value must end in its own line.
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

fn read_into(path: &Path, depth: usize, settings: &mut Vec<Setting>) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Error::new(
            Code::NotReadable,
            format!(
                "configuration files are nested too deep at {}",
                path.display()
            ),
        ));
    }
    let bytes = regular::read(path).map_err(|e| unreadable(path, &e))?;
    let parsed = parse(&String::from_utf8_lossy(&bytes)).map_err(|e| {
        Error::new(
            Code::NotReadable,
            format!("could not understand {}", path.display()),
        )
        .caused_by(&e)
        .remedy(Remedy::manual(
            "Correct that line; the server would refuse it too.",
        ))
    })?;
    for setting in parsed {
        for included in included_by(&setting.name, &setting.value, path)? {
            read_into(&included, depth + 1, settings)?;
        }
        settings.push(setting);
    }
    Ok(())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::io(Code::NotReadable, "read", path, error).remedy(Remedy::manual(
        "Let the owner of the data directory read it, or correct the line that includes it.",
    ))
}

/// The files a line includes, relative to the file it stands in; `word` says how.
pub(super) fn included_by(word: &str, value: &str, file: &Path) -> Result<Vec<PathBuf>> {
    let place = file.parent().unwrap_or(file).join(value);
    match word.to_ascii_lowercase().as_str() {
        "include" => Ok(vec![place]),
        "include_if_exists" => Ok(place.exists().then_some(place).into_iter().collect()),
        "include_dir" => {
            let fail = |e| unreadable(&place, &e);
            let mut files = Vec::new();
            for entry in std::fs::read_dir(&place).map_err(fail)? {
                let entry = entry.map_err(fail)?;
                let name = entry.file_name();
                let name = name.to_string_lossy();
                let path = entry.path();
                if name.ends_with(".conf") && !name.starts_with('.') && !path.is_dir() {
                    files.push(path);
                }
            }
            files.sort();
            Ok(files)
        }
        _ => Ok(Vec::new()),
    }
}

/// `Some(None)` for a line that sets nothing, `None` for one the server would refuse.
fn parse_line(line: &str) -> Option<Option<(&str, String)>> {
    let line = line.trim_start_matches(blank);
    if line.is_empty() || line.starts_with('#') {
        return Some(None);
    }
    let (name, rest) = split_name(line)?;
    let rest = rest.trim_start_matches(blank);
    let rest = rest.strip_prefix('=').unwrap_or(rest);
    let (value, rest) = split_value(rest.trim_start_matches(blank))?;
    let rest = rest.trim_start_matches(blank);
    (rest.is_empty() || rest.starts_with('#')).then_some(Some((name, value)))
}

fn blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

fn letter(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn split_name(line: &str) -> Option<(&str, &str)> {
    let end = line
        .find(|c: char| !(letter(c) || c.is_ascii_digit() || matches!(c, '$' | '.')))
        .unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    name.split('.')
        .all(|part| part.starts_with(letter))
        .then_some((name, rest))
}

fn split_value(text: &str) -> Option<(String, &str)> {
    if let Some(quoted) = text.strip_prefix('\'') {
        return split_quoted(quoted);
    }
    let end = text
        .find(|c: char| {
            !(letter(c) || c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | ':' | '/' | '$'))
        })
        .unwrap_or(text.len());
    let (value, rest) = text.split_at(end);
    (!value.is_empty()).then(|| (value.to_owned(), rest))
}

/// The value up to its closing quote, where `''` is a quote and a backslash escapes.
fn split_quoted(text: &str) -> Option<(String, &str)> {
    let mut out = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        match *bytes.get(at)? {
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => {
                out.push(b'\'');
                at += 2;
            }
            b'\'' => {
                let value = String::from_utf8_lossy(&out).into_owned();
                return Some((value, text.get(at + 1..)?));
            }
            b'\\' => {
                let (byte, used) = unescape(bytes.get(at + 1..)?)?;
                out.push(byte);
                at += 1 + used;
            }
            byte => {
                out.push(byte);
                at += 1;
            }
        }
    }
}

/// What follows a backslash: the byte it stands for and how many it takes.
fn unescape(after: &[u8]) -> Option<(u8, usize)> {
    let simple = match *after.first()? {
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'0'..=b'7' => {
            let digits = after.iter().take(3);
            let digits: Vec<u8> = digits
                .take_while(|b| matches!(b, b'0'..=b'7'))
                .copied()
                .collect();
            let value = digits.iter().fold(0u8, |sum, digit| {
                sum.wrapping_mul(8).wrapping_add(digit - b'0')
            });
            return Some((value, digits.len()));
        }
        other => other,
    };
    Some((simple, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let settings = parse(text).unwrap();
        settings.into_iter().map(|s| (s.name, s.value)).collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn every_way_to_write_a_setting_is_read() {
        let text = "# comment\n\n  port = 5433 # my port\r\nlisten_addresses 'a, b'\n\
                    shared_buffers=128MB\nmy.guc = 'it''s \\'q\\' \\101\\n'\nwork_mem -1\nnone = ''";
        assert_eq!(
            pairs(text),
            [
                pair("port", "5433"),
                pair("listen_addresses", "a, b"),
                pair("shared_buffers", "128MB"),
                pair("my.guc", "it's 'q' A\n"),
                pair("work_mem", "-1"),
                pair("none", ""),
            ]
        );
    }

    #[test]
    fn a_wrong_line_is_named() {
        for line in [
            "port",
            "port =",
            "= 5",
            "port = 'x",
            "port = 5 6",
            "1a = 2",
            "a. = 3",
            "a = 'x\\",
        ] {
            assert_eq!(
                parse(&format!("a = 1\n{line}\n")),
                Err(SyntaxError { line: 2 }),
                "{line}"
            );
        }
    }

    #[test]
    fn includes_are_followed_in_order_and_the_last_value_counts() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        std::fs::create_dir(dir.path().join("conf.d")).unwrap();
        write("conf.d/b.conf", "port = 3\n");
        write("conf.d/a.conf", "port = 2\nwork_mem = '8MB'");
        write("conf.d/.hidden.conf", "port = 9\n");
        write("conf.d/c.conf.bak", "port = 9\n");
        write(
            "postgresql.conf",
            "port = 1\ninclude_dir 'conf.d'\ninclude_if_exists 'absent'\n",
        );
        let settings = read(&dir.path().join("postgresql.conf")).unwrap();
        assert_eq!(last(&settings, "PORT"), Some("3"));
        assert_eq!(last(&settings, "work_mem"), Some("8MB"));
        assert_eq!(last(&settings, "shared_buffers"), None);
    }

    #[test]
    fn what_is_no_file_is_empty_or_refused_as_a_server_would_wait_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("postgresql.conf");
        std::fs::write(&file, "include '/dev/null'\nport = 1\n").unwrap();
        assert_eq!(last(&read(&file).unwrap(), "port"), Some("1"));
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::write(&file, "include 'pipe'\nport = 1\n").unwrap();
        assert_eq!(read(&file).unwrap_err().code(), Code::NotReadable);
    }

    #[test]
    fn an_include_of_itself_ends() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("postgresql.conf");
        std::fs::write(&file, "include 'postgresql.conf'\n").unwrap();
        let error = read(&file).unwrap_err();
        assert_eq!(error.code(), Code::NotReadable);
        assert!(error.message().contains("nested too deep"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in any::<String>(), line in "[a-c'\\\\#= .0-9]{0,30}") {
            let _ = parse(&text);
            let _ = parse(&line);
        }

        #[test]
        fn a_quoted_value_is_read_as_it_was(value in any::<String>()) {
            prop_assert_eq!(pairs(&format!("x.y = {} # z", quote_value(&value))), [pair("x.y", &value)]);
        }
    }
}
