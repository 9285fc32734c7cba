//! The line that moves while a step is at work.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, TermLike};

use super::amount::{amount, duration};
use super::block::padded;
use super::line::Columns;
use super::look::Look;
use crate::pg::quote::terminal_safe;

/// How often the line is drawn at most, and how often the spinner turns.
const DRAWN_PER_SECOND: u8 = 10;

/// Seconds of work before it is guessed how many are left.
const GUESS_AFTER: f64 = 3.0;

/// So many must be done before: one database of two says nothing about the other.
const ENOUGH: u64 = 10;

/// What moves while a step with a total is at work.
const WITH_TOTAL: &str = "{prefix}{bar:24} {wide_msg}";

/// What moves where nothing is known but the time.
const WITHOUT_TOTAL: &str = "{prefix}{spinner} {took} {wide_msg}";

/// `12,410 of 20,114 tables, 24 s left`: what a progress says.
pub(super) fn clause(unit: &str, done: u64, total: Option<u64>, elapsed: f64) -> String {
    let named = if unit == "bytes" {
        String::new()
    } else {
        format!(" {}", terminal_safe(unit))
    };
    let Some(total) = total else {
        return format!("{}{named}", amount(done, unit));
    };
    let counted = format!("{} of {}{named}", amount(done, unit), amount(total, unit));
    if elapsed < GUESS_AFTER || done < ENOUGH || done >= total {
        return counted;
    }
    let left = elapsed * (total - done) as f64 / done as f64;
    let left = if left < 60.0 {
        format!("{:.0} s", left.ceil())
    } else {
        duration(left)
    };
    format!("{counted}, {left} left")
}

/// A place to write that the lines and the moving line share.
#[derive(Clone)]
pub(super) struct Screen {
    out: Arc<Mutex<Box<dyn Write + Send>>>,
    look: Look,
}

impl Screen {
    pub fn new(out: Box<dyn Write + Send>, look: Look) -> Self {
        Self {
            out: Arc::new(Mutex::new(out)),
            look,
        }
    }

    pub fn write(&self, text: &str) -> io::Result<()> {
        self.with(|out| out.write_all(text.as_bytes()))
    }

    pub fn flush(&self) -> io::Result<()> {
        self.with(|out| out.flush())
    }

    /// A writer that panicked must not silence what comes after it.
    fn with(&self, act: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        act(&mut **self.out.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn cursor(&self, count: usize, direction: char) -> io::Result<()> {
        if count == 0 {
            Ok(())
        } else {
            self.write(&format!("\u{1b}[{count}{direction}"))
        }
    }
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Screen")
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        self.look.columns()
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.cursor(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.cursor(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.cursor(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.cursor(n, 'D')
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.write(&format!("{s}\n"))
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        self.write(s)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.write("\r\u{1b}[2K")
    }

    fn flush(&self) -> io::Result<()> {
        Self::flush(self)
    }
}

/// The moving line of one step: a bar where there is a total, a spinner otherwise.
pub(super) struct Moving {
    pub step: String,
    began: Instant,
    look: Look,
    bar: ProgressBar,
    with_total: bool,
}

impl Moving {
    /// Begins to draw.
    pub fn start(screen: &Screen, step: &str, at: Columns) -> Self {
        let target =
            ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), DRAWN_PER_SECOND);
        let bar = ProgressBar::with_draw_target(None, target)
            .with_prefix(padded(&format!("  {}", terminal_safe(step)), at.detail))
            .with_style(style(screen.look, false));
        bar.enable_steady_tick(Duration::from_millis(1000 / u64::from(DRAWN_PER_SECOND)));
        Self {
            step: step.to_owned(),
            began: Instant::now(),
            look: screen.look,
            bar,
            with_total: false,
        }
    }

    /// Shows how far the step is.
    pub fn advance(&mut self, unit: &str, done: u64, total: Option<u64>) {
        if self.with_total != total.is_some() {
            self.with_total = total.is_some();
            self.bar.set_style(style(self.look, self.with_total));
        }
        if let Some(total) = total {
            self.bar.set_length(total);
        }
        self.bar.set_position(done);
        self.bar.set_message(clause(
            unit,
            done,
            total,
            self.began.elapsed().as_secs_f64(),
        ));
    }

    /// Takes the line away while something else is written.
    pub fn aside(&self, write: impl FnOnce()) {
        self.bar.suspend(write);
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(look: Look, with_total: bool) -> ProgressStyle {
    let template = if with_total {
        WITH_TOTAL
    } else {
        WITHOUT_TOTAL
    };
    let took = |state: &ProgressState, out: &mut dyn fmt::Write| {
        // A line that cannot be composed is left as it is.
        let _ = out.write_str(&duration(state.elapsed().as_secs_f64()));
    };
    // Both templates are constants that a test has read.
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("took", took);
    if look.unicode {
        style.progress_chars("█▉▊▋▌▍▎▏ ").tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
    } else {
        style.progress_chars("=> ").tick_chars("|/-\\ ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clause_says_how_much_is_left_once_it_can_know() {
        assert_eq!(clause("tables", 1240, None, 60.0), "1,240 tables");
        assert_eq!(
            clause("tables", 0, Some(20_114), 60.0),
            "0 of 20,114 tables"
        );
        assert_eq!(clause("tables", 10, Some(20), 1.0), "10 of 20 tables");
        assert_eq!(clause("databases", 1, Some(2), 60.0), "1 of 2 databases");
        assert_eq!(
            clause("tables", 12_410, Some(20_114), 38.0),
            "12,410 of 20,114 tables, 24 s left"
        );
        assert_eq!(
            clause("bytes", 1 << 30, Some(5 << 30), 30.0),
            "1.0 GB of 5.0 GB, 2 min 00 s left"
        );
        assert_eq!(clause("files", 20, Some(20), 30.0), "20 of 20 files");
    }

    #[test]
    fn both_templates_are_well_formed() {
        for template in [WITH_TOTAL, WITHOUT_TOTAL] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }
}
