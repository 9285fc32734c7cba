//! Quoting for SQL, the shell, connection strings and the terminal.

use std::borrow::Cow;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// An SQL string literal.
///
/// A backslash turns it into the `E''` form, so that it means the same whatever
/// `standard_conforming_strings` says.
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// An SQL identifier, always quoted.
pub fn ident(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A schema-qualified SQL name.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", ident(schema), ident(name))
}

/// One word for a shell.
pub fn shell(text: &str) -> String {
    shell_bytes(text.as_bytes())
}

/// A path as one word for a shell; bytes that are not UTF-8 survive.
pub fn shell_path(path: &Path) -> String {
    shell_bytes(path.as_os_str().as_bytes())
}

/// Control characters and bytes that are not UTF-8 need the `$'...'` form: a line break in a
/// command that is to be pasted would start it too early.
fn shell_bytes(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && text.chars().all(needs_no_quotes) => text.to_owned(),
        Ok(text) if !text.chars().any(disturbs_terminal) => {
            format!("'{}'", text.replace('\'', "'\\''"))
        }
        _ => shell_escaped(bytes),
    }
}

fn needs_no_quotes(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c)
}

fn shell_escaped(bytes: &[u8]) -> String {
    let mut out = String::from("$'");
    for byte in bytes {
        match byte {
            b'\'' | b'\\' => {
                out.push('\\');
                out.push(char::from(*byte));
            }
            b' '..=b'~' => out.push(char::from(*byte)),
            // Three octal digits always: what follows can never be read as part of the number.
            _ => {
                let _ = write!(out, "\\{byte:03o}");
            }
        }
    }
    out.push('\'');
    out
}

/// A value in a libpq connection string.
pub fn conninfo(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('\'', "\\'");
    format!("'{escaped}'")
}

/// The line of a psql script that goes on in another database of the same server.
///
/// psql takes the argument of `\connect` apart three times: as a string with escapes, as an
/// identifier, and as a connection string. A name without anything to quote stays as it is.
pub fn psql_connect(database: &str) -> String {
    if is_plain(database) {
        return format!("\\connect {database}");
    }
    let mut out = String::from("\\connect -reuse-previous=on '");
    for c in ident(&format!("dbname={}", conninfo(database))).chars() {
        match c {
            '\'' => out.push_str("''"),
            '\\' => out.push_str("\\\\"),
            c if c.is_ascii_control() => {
                let _ = write!(out, "\\{:03o}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// Whether a name means itself to psql, wherever a database is named.
pub fn is_plain(database: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !database.is_empty() && database.chars().all(plain)
}

/// Text from a catalog or a file, made harmless for a terminal.
///
/// Escaped are control characters and the marks that change the direction or the lines of
/// what is displayed; everything else stays as it is.
pub fn terminal_safe(text: &str) -> Cow<'_, str> {
    if !text.chars().any(disturbs_terminal) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if disturbs_terminal(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

fn disturbs_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::ffi::OsStr;

    #[test]
    fn sql_is_quoted() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b'c"), "E'a\\\\b''c'");
        assert_eq!(ident("Say \"x\""), "\"Say \"\"x\"\"\"");
        assert_eq!(qualified("s", "t"), "\"s\".\"t\"");
    }

    #[test]
    fn shell_words_are_quoted_only_where_needed() {
        assert_eq!(shell("/srv/pg15"), "/srv/pg15");
        assert_eq!(shell(""), "''");
        assert_eq!(shell("a b"), "'a b'");
        assert_eq!(shell("it's"), "'it'\\''s'");
        assert_eq!(shell("~root"), "'~root'");
        assert_eq!(shell("línea"), "'línea'");
        assert_eq!(shell("a\nb'1"), "$'a\\012b\\'1'");
        let odd = Path::new(OsStr::from_bytes(b"/srv/\xff1"));
        assert_eq!(shell_path(odd), "$'/srv/\\3771'");
    }

    #[test]
    fn conninfo_values_are_quoted() {
        assert_eq!(conninfo("a'b\\c d"), "'a\\'b\\\\c d'");
        assert_eq!(conninfo(""), "''");
    }

    #[test]
    fn a_database_is_named_to_psql() {
        assert_eq!(psql_connect("shop_2"), "\\connect shop_2");
        assert_eq!(
            psql_connect("a=b"),
            "\\connect -reuse-previous=on '\"dbname=''a=b''\"'"
        );
        // As a connection string it is dbname='a"b\'c\\d' with a line break before the d.
        assert_eq!(
            psql_connect("a\"b'c\\\nd"),
            "\\connect -reuse-previous=on '\"dbname=''a\"\"b\\\\''c\\\\\\\\\\012d''\"'"
        );
        for special in ["", "-", "a b", "postgres://x"] {
            assert!(!is_plain(special), "{special}");
        }
    }

    #[test]
    fn a_terminal_gets_no_commands() {
        assert_eq!(terminal_safe("täble"), "täble");
        assert_eq!(
            terminal_safe("a\u{1b}[2Jb\nc\u{202e}d"),
            "a\\u{1b}[2Jb\\nc\\u{202e}d"
        );
    }

    proptest! {
        #[test]
        fn a_shell_reads_the_word_that_was_meant(bytes in prop::collection::vec(1u8.., 0..40)) {
            let word = shell_bytes(&bytes);
            let output = std::process::Command::new("bash")
                .arg("-c")
                .arg(format!("printf %s {word}"))
                .env("LC_ALL", "C")
                .output()
                .unwrap();
            prop_assert_eq!(output.stdout, bytes);
        }

        #[test]
        fn nothing_a_terminal_obeys_is_left(text in any::<String>()) {
            prop_assert!(!terminal_safe(&text).chars().any(char::is_control));
        }
    }
}
