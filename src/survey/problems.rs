//! All that is wrong, gathered instead of thrown.

use crate::error::{Code, Error, Result};

/// The problems found so far, in the order in which they were found.
#[derive(Default)]
pub(super) struct Problems(Vec<Error>);

impl Problems {
    /// The value, or nothing and one problem more.
    pub(super) fn keep<T>(&mut self, found: Result<T>) -> Option<T> {
        found.map_err(|error| self.0.push(error)).ok()
    }

    /// The value, or nothing and some problems more.
    pub(super) fn keep_all<T>(&mut self, found: Result<T, Vec<Error>>) -> Option<T> {
        found.map_err(|errors| self.0.extend(errors)).ok()
    }

    pub(super) fn push(&mut self, problem: Error) {
        self.0.push(problem);
    }

    pub(super) fn extend(&mut self, problems: impl IntoIterator<Item = Error>) {
        self.0.extend(problems);
    }

    /// Nothing, or everything that was gathered.
    pub(super) fn none(self) -> Result<(), Vec<Error>> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(self.0)
        }
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
