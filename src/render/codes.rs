//! The texts made from the one table of codes: `explain` and `docs/errors.md`.

use std::fmt::Write;

use crate::error::{Code, Exit, Family};

/// Columns of a paragraph on a terminal.
const WIDTH: usize = 88;

/// What `explain` prints about a code.
pub fn explain(code: Code) -> String {
    format!(
        "{code}: {}\n\n{}\n{}, {}\n",
        code.title(),
        wrapped(code.explanation()),
        family(code.family()),
        status(code)
    )
}

/// `docs/errors.md`: every code with its explanation.
pub fn error_table() -> String {
    let mut out = String::from(
        "# Error codes\n\n\
         Written by a test from the one table in `src/error/code.rs`; `pg_migrator explain CODE` \
         prints the same text. A number is never given to another meaning. The exit status is \
         that of a failure before anything was changed. Afterwards it is 3 where the old cluster \
         changed, 5 (undone), 6 (stopped before its end), 7 (needs a person), 130 or 143.\n\n\
         | code | what happened | kind | exit status |\n|---|---|---|---|\n",
    );
    for code in Code::ALL {
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "| [{code}](#{}) | {} | {} | {} |",
            code.to_string().to_ascii_lowercase(),
            code.title(),
            family(code.family()),
            code.exit_unchanged().status()
        );
    }
    for code in Code::ALL {
        let _ = write!(
            out,
            "\n## {code}\n\n**{}**\n\n{}\n",
            code.title(),
            code.explanation()
        );
    }
    out
}

fn family(family: Family) -> &'static str {
    match family {
        Family::Usage => "command line",
        Family::Precondition => "precondition",
        Family::Findings => "finding",
        Family::Work => "failure while working",
        Family::Signal => "signal",
        Family::Bug => "defect of the program",
    }
}

fn status(code: Code) -> String {
    let exit = code.exit_unchanged();
    match exit {
        Exit::Usage | Exit::Bug | Exit::Interrupted | Exit::Terminated => {
            format!("exit status {}", exit.status())
        }
        _ => format!(
            "exit status {} where nothing had been changed",
            exit.status()
        ),
    }
}

/// The text in lines that fit a terminal.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            out.push('\n');
            column = 0;
        }
        if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::snapshot;

    #[test]
    fn the_page_is_the_table() {
        snapshot::compare_file("docs/errors.md", &error_table());
    }

    #[test]
    fn a_code_is_explained_in_lines_that_fit() {
        snapshot::compare("explain", &explain(Code::OldServerRunning));
        for code in Code::ALL {
            let text = explain(*code);
            assert!(
                text.lines().all(|line| line.chars().count() <= WIDTH),
                "{text}"
            );
        }
    }
}
