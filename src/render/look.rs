//! What the place that is written to can show.

use std::ffi::OsStr;
use std::io::IsTerminal;

/// Columns of the text where there is no terminal to ask.
const PLAIN_COLUMNS: u16 = 100;

/// What may be used to write for a person; colour never carries a meaning of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Lines may be drawn over: progress is a bar or a spinner instead of lines.
    pub terminal: bool,
    /// Escape sequences for colours may be used.
    pub color: bool,
    /// Characters beyond ASCII may be used for a bar.
    pub unicode: bool,
    /// Columns; `None` asks the terminal each time, because it may change while a run goes on.
    pub columns: Option<u16>,
}

impl Look {
    /// A file, a pipe or a dumb terminal.
    pub fn plain() -> Self {
        Self {
            terminal: false,
            color: false,
            unicode: false,
            columns: None,
        }
    }

    /// What standard output can show, by what it is and by `NO_COLOR`, `TERM` and the locale.
    pub fn of_stdout() -> Self {
        Self::of(std::io::stdout().is_terminal(), |name| {
            std::env::var_os(name)
        })
    }

    /// What standard error can show.
    pub fn of_stderr() -> Self {
        Self::of(std::io::stderr().is_terminal(), |name| {
            std::env::var_os(name)
        })
    }

    fn of<V: AsRef<OsStr>>(terminal: bool, variable: impl Fn(&str) -> Option<V>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.as_ref().is_empty());
        let dumb = set("TERM").is_none_or(|term| term.as_ref() == "dumb");
        if !terminal || dumb {
            return Self::plain();
        }
        let locale = set("LC_ALL")
            .or_else(|| set("LC_CTYPE"))
            .or_else(|| set("LANG"));
        let unicode = locale.is_some_and(|name| {
            let name = name.as_ref().to_string_lossy().to_ascii_lowercase();
            name.contains("utf-8") || name.contains("utf8")
        });
        Self {
            terminal: true,
            color: set("NO_COLOR").is_none(),
            unicode,
            columns: None,
        }
    }

    /// Columns between the left edge and the end of the durations.
    pub(super) fn width(&self) -> usize {
        if self.terminal {
            usize::from(self.columns().clamp(60, PLAIN_COLUMNS))
        } else {
            usize::from(PLAIN_COLUMNS)
        }
    }

    /// The columns there are.
    pub(super) fn columns(&self) -> u16 {
        let asked = || terminal_size::terminal_size_of(std::io::stdout());
        self.columns
            .or_else(|| asked().map(|(width, _)| width.0))
            .unwrap_or(PLAIN_COLUMNS)
    }

    pub(super) fn red(&self, text: &str) -> String {
        self.painted("1;31", text)
    }

    pub(super) fn yellow(&self, text: &str) -> String {
        self.painted("33", text)
    }

    pub(super) fn bold(&self, text: &str) -> String {
        self.painted("1", text)
    }

    fn painted(&self, sgr: &str, text: &str) -> String {
        if self.color {
            format!("\u{1b}[{sgr}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(terminal: bool, variables: &[(&str, &'static str)]) -> Look {
        Look::of(terminal, |name| {
            variables
                .iter()
                .find(|(set, _)| *set == name)
                .map(|(_, value)| *value)
        })
    }

    #[test]
    fn the_environment_decides_what_is_used() {
        let rich = Look {
            terminal: true,
            color: true,
            unicode: true,
            columns: None,
        };
        let term = ("TERM", "xterm");
        assert_eq!(look(true, &[term, ("LANG", "C.UTF-8")]), rich);
        assert_eq!(look(false, &[term, ("LANG", "C.UTF-8")]), Look::plain());
        assert_eq!(look(true, &[("TERM", "dumb")]), Look::plain());
        assert_eq!(look(true, &[]), Look::plain());
        let ascii = look(true, &[term, ("LANG", "C.UTF-8"), ("LC_ALL", "C")]);
        assert_eq!(
            ascii,
            Look {
                unicode: false,
                ..rich
            }
        );
        let pale = look(true, &[term, ("LANG", "de_DE.utf8"), ("NO_COLOR", "1")]);
        assert_eq!(
            pale,
            Look {
                color: false,
                ..rich
            }
        );
        let empty = look(true, &[term, ("LANG", "de_DE.utf8"), ("NO_COLOR", "")]);
        assert_eq!(empty, rich);
    }

    #[test]
    fn text_without_colour_is_the_same_text() {
        let look = Look {
            color: true,
            ..Look::plain()
        };
        assert_eq!(look.red("error"), "\u{1b}[1;31merror\u{1b}[0m");
        assert_eq!(Look::plain().red("error"), "error");
    }
}
