//! What a server says to settings, without being started.

use super::installation::{ANSWER_LIMIT, Installation};
use super::program::{Program, path_option};
use crate::error::{Error, Result};
use crate::work::Cancel;

/// A setting every server knows.
const KNOWN: &str = "port";

impl Installation {
    /// Why its server would not start with these settings; none if it takes all of them.
    ///
    /// With `-C` names and values are looked at before there has to be a cluster
    /// (`PostmasterMain` of `src/backend/postmaster/postmaster.c`). Settings of extensions are
    /// taken whatever they say, because no library is loaded.
    ///
    /// # Errors
    ///
    /// Where the server could not be asked; a requested stop.
    pub fn refusal_of_settings(
        &self,
        settings: &[(&str, &str)],
        cancel: &Cancel,
    ) -> Result<Option<String>> {
        self.ask(settings, KNOWN, cancel)
    }

    /// What its server says to a setting it does not know; none where it knows it.
    ///
    /// # Errors
    ///
    /// As those of [`Installation::refusal_of_settings`].
    pub fn refusal_of_name(&self, name: &str, cancel: &Cancel) -> Result<Option<String>> {
        self.ask(&[], name, cancel)
    }

    fn ask(
        &self,
        settings: &[(&str, &str)],
        name: &str,
        cancel: &Cancel,
    ) -> Result<Option<String>> {
        let given = settings.iter();
        let given = given.flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]);
        let asked = Program::new(self, "postgres")
            // Any directory will do, with a file of settings that sets nothing.
            .args([path_option("-D", &self.bindir)])
            .args(["-c", "config_file=/dev/null"])
            .args(given)
            .args(["-C", name])
            .within(ANSWER_LIMIT)
            .run(cancel);
        match asked {
            Ok(_) => Ok(None),
            Err(error) => said(&error).map(Some).ok_or(error),
        }
    }
}

/// The complaint itself; none where the program did not come so far.
fn said(error: &Error) -> Option<String> {
    let (_, output) = error.facts().iter().find(|(name, _)| name == "output")?;
    let mut lines = output.lines().map(without_prefix);
    let complaint = lines.next()?;
    let more: Vec<&str> = lines.collect();
    Some(match more.is_empty() {
        true => complaint.to_owned(),
        false => format!("{complaint} ({})", more.join(" ")),
    })
}

fn without_prefix(line: &str) -> &str {
    ["FATAL:  ", "DETAIL:  ", "HINT:  "]
        .iter()
        .find_map(|level| line.split_once(level))
        .map_or(line, |(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn the_complaint_comes_without_what_a_log_puts_before_it() {
        let error = Error::new(Code::ProgramFailed, "postgres failed").fact(
            "output",
            "2026-01-01 [7] FATAL:  no such value\n2026-01-01 [7] HINT:  Take a or b.",
        );
        assert_eq!(said(&error).unwrap(), "no such value (Take a or b.)");
        let error = Error::new(Code::ProgramFailed, "m").fact("output", "x FATAL:  no");
        assert_eq!(said(&error).unwrap(), "no");
        let error = Error::new(Code::ProgramFailed, "could not start it");
        assert_eq!(said(&error), None);
    }
}
