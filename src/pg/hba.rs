//! `pg_hba.conf` and `pg_ident.conf`: their lines as fields, in the order the server reads them.
//!
//! What a rule means is left to a server of the version that is to obey it.

use std::path::{Path, PathBuf};

use super::{conf, regular};
use crate::error::{Code, Error, Result};

/// As in the server: an include that includes itself has to end somewhere.
const MAX_DEPTH: usize = 10;

/// A line with something in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The file.
    pub file: PathBuf,
    /// The line in it, from 1; of one that is continued, the first.
    pub number: usize,
    /// What is between blanks.
    pub fields: Vec<Field>,
}

/// A list of words with commas between them; often of a single one.
pub type Field = Vec<Word>;

/// A word without its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The text.
    pub text: String,
    /// Whether it begins with a quote: then it is no keyword, whatever it says.
    pub quoted: bool,
}

/// Reads such a file and everything it includes.
///
/// # Errors
///
/// `NotReadable`.
pub fn read(path: &Path) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    read_into(path, 0, &mut lines)?;
    Ok(lines)
}

/// Reads the text of such a file; includes are given as lines, not followed.
///
/// Mirrors `tokenize_auth_file` of `src/backend/libpq/hba.c`.
pub fn parse(file: &Path, text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut joined = String::new();
    let mut number = 1;
    for (index, line) in text.split('\n').enumerate() {
        if joined.is_empty() {
            number = index + 1;
        }
        let line = line.strip_suffix('\r').unwrap_or(line);
        if let Some(begun) = line.strip_suffix('\\') {
            joined.push_str(begun);
            continue;
        }
        joined.push_str(line);
        let fields = fields(&joined);
        joined.clear();
        if !fields.is_empty() {
            lines.push(Line {
                file: file.to_owned(),
                number,
                fields,
            });
        }
    }
    lines
}

impl Word {
    /// The word as it must be written to be read as the same one.
    pub fn written(&self) -> String {
        let plain = |c: char| !blank(c) && !matches!(c, ',' | '"' | '#');
        if !self.quoted && !self.text.is_empty() && self.text.chars().all(plain) {
            return self.text.clone();
        }
        format!("\"{}\"", self.text.replace('"', "\"\""))
    }
}

fn read_into(path: &Path, depth: usize, lines: &mut Vec<Line>) -> Result<()> {
    if depth > MAX_DEPTH {
        let message = format!("files are nested too deep at {}", path.display());
        return Err(Error::new(Code::NotReadable, message));
    }
    let bytes = regular::read(path).map_err(|e| Error::io(Code::NotReadable, "read", path, &e))?;
    for line in parse(path, &String::from_utf8_lossy(&bytes)) {
        let included = match included(&line) {
            Some((word, value)) => conf::included_by(word, value, path)?,
            None => {
                lines.push(line);
                continue;
            }
        };
        for file in included {
            read_into(&file, depth + 1, lines)?;
        }
    }
    Ok(())
}

fn included(line: &Line) -> Option<(&str, &str)> {
    let [word, value] = &line.fields[..] else {
        return None;
    };
    let [word] = &word[..] else { return None };
    let known = ["include", "include_if_exists", "include_dir"];
    let include = !word.quoted && known.contains(&&*word.text);
    include.then_some((&*word.text, &*value.first()?.text))
}

fn blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn fields(line: &str) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut field = Field::new();
    let mut rest = line;
    while let Some((word, more, after)) = next_word(rest) {
        field.push(word);
        if !more {
            fields.push(std::mem::take(&mut field));
        }
        rest = after;
    }
    if !field.is_empty() {
        fields.push(field);
    }
    fields
}

/// The next word, whether a comma follows it, and what is behind.
fn next_word(line: &str) -> Option<(Word, bool, &str)> {
    let line = line.trim_start_matches(|c| blank(c) || c == ',');
    let mut text = String::new();
    let mut inside = false;
    let mut closed_before = false;
    let mut end = (false, "");
    for (at, c) in line.char_indices() {
        if !inside && (blank(c) || c == ',') {
            end = (c == ',', &line[at + 1..]);
            break;
        }
        if !inside && c == '#' {
            break;
        }
        // Two quotes within quotes are one that is meant.
        if c != '"' || closed_before {
            text.push(c);
        }
        closed_before = inside && c == '"';
        inside ^= c == '"';
    }
    let quoted = line.starts_with('"');
    (quoted || !text.is_empty()).then_some((Word { text, quoted }, end.0, end.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(line: &str) -> Vec<Vec<String>> {
        let fields = fields(line).into_iter();
        let words = |field: Field| field.iter().map(Word::written).collect();
        fields.map(words).collect()
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(read(&pipe).unwrap_err().code(), Code::NotReadable);
        assert_eq!(read(Path::new("/dev/null")).unwrap(), []);
    }

    #[test]
    fn a_line_is_read_as_the_server_reads_it() {
        assert_eq!(
            texts("host all,\"a b\" , c 10.0.0.0/8\tscram-sha-256 # mine"),
            [
                vec!["host"],
                vec!["all", "\"a b\""],
                vec!["c"],
                vec!["10.0.0.0/8"],
                vec!["scram-sha-256"]
            ]
        );
        assert_eq!(
            texts("x ldap ldapprefix=\"cn=, # \""),
            [vec!["x"], vec!["ldap"], vec!["\"ldapprefix=cn=, # \""]]
        );
        assert_eq!(
            texts("\"a\"\"b\" a\"\"b \"\""),
            [vec!["\"a\"\"b\""], vec!["ab"], vec!["\"\""]]
        );
        assert_eq!(texts("  # nothing"), Vec::<Vec<String>>::new());
    }

    #[test]
    fn lines_are_counted_and_joined() {
        let text = "# comment\n\nlocal all \\\n all peer\r\nhost all all all md5\n";
        let lines = parse(Path::new("f"), text);
        let numbers: Vec<usize> = lines.iter().map(|line| line.number).collect();
        assert_eq!(numbers, [3, 5]);
        assert_eq!(lines[0].fields.len(), 4);
        assert_eq!(lines[1].fields[4][0].text, "md5");
    }

    #[test]
    fn includes_are_followed_where_they_stand() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("more", "local b b peer\n");
        write(
            "hba",
            "local a a peer\ninclude more\ninclude_if_exists absent\nlocal c c peer\n",
        );
        let lines = read(&dir.path().join("hba")).unwrap();
        let names: Vec<&str> = lines.iter().map(|line| &*line.fields[1][0].text).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!((lines[1].number, lines[2].number), (1, 4));
        write("hba", "include hba\n");
        let error = read(&dir.path().join("hba")).unwrap_err();
        assert!(error.message().contains("nested too deep"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in any::<String>(), line in "[a-c'\\\\\"#=, .0-9\n]{0,30}") {
            parse(Path::new("f"), &text);
            parse(Path::new("f"), &line);
        }

        #[test]
        fn a_word_is_read_as_it_was(text in "[^\n\r\\\\\0]{1,20}", quoted in any::<bool>()) {
            let word = Word { text, quoted };
            let written = word.written();
            let read = fields(&written);
            prop_assert_eq!(read.len(), 1);
            prop_assert_eq!(&read[0][0].text, &word.text);
        }
    }
}
