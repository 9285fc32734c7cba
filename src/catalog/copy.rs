//! Rows as `COPY ... TO STDOUT` sends them.
//!
//! A hundred thousand rows come through one buffer instead of as many row objects, and bytes
//! that are not UTF-8, which a database in `SQL_ASCII` may hold in any name, do no harm.

use std::io::{self, Write};
use std::str::FromStr;

use crate::error::{Code, Error, Result};
use crate::server::Client;

/// A session that is asked by `COPY`.
pub(super) struct Source<'a> {
    client: &'a mut Client,
    options: &'static str,
}

impl<'a> Source<'a> {
    /// Asks the session for the encoding of its database.
    ///
    /// What a database in `SQL_ASCII` holds cannot be converted, and the server refuses to send
    /// it as the UTF8 the session wants where it is not.
    pub(super) fn new(client: &'a mut Client) -> Result<Self> {
        let mut source = Self::in_encoding(client, "");
        let encoding = "SELECT pg_catalog.current_setting('server_encoding')";
        let encoding = source.one(encoding, |fields| fields.text())?;
        Ok(Self::in_encoding(source.client, &encoding))
    }

    /// The same where the encoding of the database is known.
    pub(super) fn in_encoding(client: &'a mut Client, encoding: &str) -> Self {
        let options = match encoding {
            "SQL_ASCII" => " WITH (ENCODING 'SQL_ASCII')",
            _ => "",
        };
        Self { client, options }
    }

    /// Runs a query and hands over each of its rows.
    pub(super) fn lines(
        &mut self,
        query: &str,
        each: impl FnMut(&mut Fields) -> Result<()>,
    ) -> Result<()> {
        let mut sink = Lines::new(each);
        let statement = format!("COPY ({query}) TO STDOUT{}", self.options);
        let copied = self.client.copy_out(&statement, &mut sink);
        match sink.failure {
            Some(error) => Err(error),
            None => copied.map(|_| ()),
        }
    }

    /// Runs a query and gives its rows as they were sent.
    pub(super) fn text(&mut self, query: &str) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        let statement = format!("COPY ({query}) TO STDOUT{}", self.options);
        self.client.copy_out(&statement, &mut text)?;
        Ok(text)
    }

    /// Adds rows, as [`Self::text`] gave them in a database of the same encoding.
    pub(super) fn take(&mut self, table: &str, mut rows: &[u8]) -> Result<()> {
        let statement = format!("COPY {table} FROM STDIN{}", self.options);
        self.client.copy_in(&statement, &mut rows).map(|_| ())
    }

    /// Runs a query and reads each of its rows.
    pub(super) fn all<T>(
        &mut self,
        query: &str,
        read: impl Fn(&mut Fields) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut rows = Vec::new();
        self.lines(query, |fields| {
            rows.push(read(fields)?);
            Ok(())
        })?;
        Ok(rows)
    }

    /// Runs a query that has exactly one row.
    pub(super) fn one<T>(
        &mut self,
        query: &str,
        read: impl FnOnce(&mut Fields) -> Result<T>,
    ) -> Result<T> {
        let mut read = Some(read);
        let mut row = None;
        self.lines(query, |fields| {
            if let Some(read) = read.take() {
                row = Some(read(fields)?);
            }
            Ok(())
        })?;
        row.ok_or_else(|| Error::new(Code::Query, "the server sent no row where it must send one"))
    }
}

/// Cuts a stream into lines.
struct Lines<F> {
    each: F,
    started: Vec<u8>,
    failure: Option<Error>,
}

impl<F: FnMut(&mut Fields) -> Result<()>> Lines<F> {
    fn new(each: F) -> Self {
        Self {
            each,
            started: Vec::new(),
            failure: None,
        }
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        (self.each)(&mut Fields::new(line)).map_err(|error| {
            self.failure = Some(error);
            io::Error::other("a row could not be used")
        })
    }
}

impl<F: FnMut(&mut Fields) -> Result<()>> Write for Lines<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            if self.started.is_empty() {
                self.line(&rest[..end])?;
            } else {
                self.started.extend_from_slice(&rest[..end]);
                let line = std::mem::take(&mut self.started);
                self.line(&line)?;
            }
            rest = &rest[end + 1..];
        }
        self.started.extend_from_slice(rest);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The fields of one line, read from left to right.
pub struct Fields<'a> {
    line: &'a [u8],
    rest: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    /// The fields of a line without its line break.
    pub fn new(line: &'a [u8]) -> Self {
        let rest = Some(line);
        Self { line, rest }
    }

    /// The next field as text, with what is not UTF-8 replaced.
    pub fn text(&mut self) -> Result<String> {
        let raw = self.raw()?;
        let bytes = match raw.contains(&b'\\') {
            true => unescape(raw),
            false => raw.to_vec(),
        };
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// The next field as a number.
    pub fn number<T: FromStr>(&mut self) -> Result<T> {
        let text = std::str::from_utf8(self.raw()?).ok();
        text.and_then(|text| text.parse().ok())
            .ok_or_else(|| self.unexpected())
    }

    /// The next field as a truth value.
    pub fn truth(&mut self) -> Result<bool> {
        match self.raw()? {
            b"t" => Ok(true),
            b"f" => Ok(false),
            _ => Err(self.unexpected()),
        }
    }

    /// The next field as one of a few words.
    pub fn word<T>(&mut self, read: impl Fn(&str) -> Option<T>) -> Result<T> {
        let text = std::str::from_utf8(self.raw()?).ok();
        text.and_then(read).ok_or_else(|| self.unexpected())
    }

    fn raw(&mut self) -> Result<&'a [u8]> {
        let rest = self.rest.take().ok_or_else(|| self.unexpected())?;
        match rest.iter().position(|byte| *byte == b'\t') {
            Some(end) => {
                self.rest = Some(&rest[end + 1..]);
                Ok(&rest[..end])
            }
            None => Ok(rest),
        }
    }

    fn unexpected(&self) -> Error {
        Error::new(Code::Query, "the server sent a row that makes no sense")
            .fact("row", String::from_utf8_lossy(self.line))
    }
}

/// Undoes the backslashes of the text format. NULL (`\N`) does not occur: the queries replace it.
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        match bytes.next() {
            Some(b'b') => out.push(8),
            Some(b'f') => out.push(12),
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b't') => out.push(b'\t'),
            Some(b'v') => out.push(11),
            Some(other) => out.push(*other),
            None => out.push(b'\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_wherever_the_stream_is_cut() {
        let stream = b"one\t1\ntwo\t2\n\nfour\t4\n";
        for size in 1..=stream.len() {
            let mut seen = Vec::new();
            let mut lines = Lines::new(|fields| {
                seen.push(fields.text()?);
                Ok(())
            });
            for piece in stream.chunks(size) {
                lines.write_all(piece).unwrap();
            }
            assert_eq!(seen, ["one", "two", "", "four"], "pieces of {size}");
        }
    }

    #[test]
    fn a_row_that_cannot_be_used_ends_the_stream() {
        let mut lines = Lines::new(|fields| fields.number::<u8>().map(|_| ()));
        assert!(lines.write_all(b"1\nx\n2\n").is_err());
        assert_eq!(lines.failure.unwrap().facts()[0].1, "x");
    }

    #[test]
    fn fields_are_read_in_order() {
        let mut fields = Fields::new(b"12\ta\\tb\\\\\\nc\t\tt\tx\xff");
        assert_eq!(fields.number::<u32>().unwrap(), 12);
        assert_eq!(fields.text().unwrap(), "a\tb\\\nc");
        assert_eq!(fields.text().unwrap(), "");
        assert!(fields.truth().unwrap());
        assert_eq!(fields.text().unwrap(), "x\u{fffd}");
        assert_eq!(fields.text().unwrap_err().code(), Code::Query);
    }

    #[test]
    fn what_is_no_number_is_an_error_with_the_row() {
        let error = Fields::new(b"-1\tz").number::<u32>().unwrap_err();
        assert_eq!(error.facts()[0].1, "-1\tz");
        assert!(Fields::new(b"yes").truth().is_err());
        assert!(Fields::new(b"q").word(|_| None::<u8>).is_err());
    }
}
