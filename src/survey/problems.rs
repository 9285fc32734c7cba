//! All that is wrong, gathered instead of thrown.

use crate::error::{Code, Error, Result};

/// The problems found so far, in the order in which they were found.
///
/// Unless it is said of a problem that it does not, it keeps everybody from asking old anything
/// before it is mended.
#[derive(Default)]
pub(super) struct Problems {
    found: Vec<Error>,
    hindered: bool,
}

impl Problems {
    /// The value, or nothing and one problem more.
    pub(super) fn keep<T>(&mut self, found: Result<T>) -> Option<T> {
        found.map_err(|error| self.push(error)).ok()
    }

    /// The value, or nothing and some problems more.
    pub(super) fn keep_all<T>(&mut self, found: Result<T, Vec<Error>>) -> Option<T> {
        found.map_err(|errors| self.extend(errors)).ok()
    }

    pub(super) fn push(&mut self, problem: Error) {
        self.extend([problem]);
    }

    pub(super) fn extend(&mut self, problems: impl IntoIterator<Item = Error>) {
        let before = self.found.len();
        self.found.extend(problems);
        self.hindered |= self.found.len() > before;
    }

    /// Adds problems that stand in the way of an upgrade, but not of a server for old.
    pub(super) fn beside(&mut self, problems: impl IntoIterator<Item = Error>) {
        self.found.extend(problems);
    }

    /// Whether there is one.
    pub(super) fn any(&self) -> bool {
        !self.found.is_empty()
    }

    /// Nothing, or everything that was gathered.
    pub(super) fn none(self) -> Result<(), Vec<Error>> {
        if self.found.is_empty() {
            Ok(())
        } else {
            Err(self.found)
        }
    }

    /// Everything that was gathered, and whether it keeps old from being asked.
    pub(super) fn all(self) -> (Vec<Error>, bool) {
        (self.found, self.hindered)
    }
}

/// A search that failed is a problem beside those it would have found.
pub(super) fn flatten(found: Result<Vec<Error>>) -> Vec<Error> {
    found.unwrap_or_else(|error| vec![error])
}

/// Something is missing although nothing was reported.
pub(super) fn unexplained() -> Error {
    Error::new(
        Code::Internal,
        "the survey found nothing wrong and yet is not complete",
    )
}
