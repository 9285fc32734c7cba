//! The lines a run is made of: one a cluster, one a step.

use super::amount::duration;
use super::block;
use crate::event::{ClusterFacts, StepLabel};
use crate::pg::quote::terminal_safe;

/// The least column of a step line at which its detail begins.
const DETAIL: usize = 24;

/// Where the parts of a step line stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Columns {
    /// Where the detail begins.
    pub detail: usize,
    /// Where the duration ends.
    pub width: usize,
}

impl Columns {
    /// The detail behind the longest name of these steps, so that all of a run are in line.
    pub fn new(steps: &[StepLabel], width: usize) -> Self {
        let longest = steps.iter().map(|label| label.step.chars().count()).max();
        // Two before the name, two behind it.
        let detail = longest.map_or(DETAIL, |longest| DETAIL.max(longest + 4));
        Self {
            detail: detail.min(width / 2),
            width,
        }
    }
}

/// One line a cluster, their columns aligned.
pub(super) fn head(clusters: &[ClusterFacts]) -> String {
    let path =
        |facts: &ClusterFacts| terminal_safe(&facts.data_directory.to_string_lossy()).into_owned();
    let width = clusters
        .iter()
        .map(|facts| path(facts).chars().count())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for facts in clusters {
        let description = terminal_safe(&facts.description);
        let comma = if description.is_empty() { "" } else { ", " };
        block::line(
            &mut out,
            &format!(
                "{}{}  PostgreSQL {}{comma}{description}",
                block::padded(&terminal_safe(&facts.side), 5),
                block::padded(&path(facts), width),
                terminal_safe(&facts.version.text),
            ),
        );
    }
    out
}

/// `  name   detail   duration`, the duration at the right edge.
pub(super) fn step_line(step: &str, detail: &str, seconds: Option<f64>, at: Columns) -> String {
    let name = format!("  {}", terminal_safe(step));
    let gap = if name.chars().count() < at.detail {
        ""
    } else {
        "  "
    };
    let left = format!(
        "{}{gap}{}",
        block::padded(&name, at.detail),
        terminal_safe(detail)
    );
    let mut out = String::new();
    match seconds.map(duration) {
        Some(took) => {
            let room = at.width.saturating_sub(took.chars().count() + 2);
            block::line(
                &mut out,
                &format!("{}  {took}", block::padded(left.trim_end(), room)),
            );
        }
        None => block::line(&mut out, &left),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Phase;

    const NARROW: Columns = Columns {
        detail: 24,
        width: 60,
    };

    #[test]
    fn durations_end_at_the_right_edge() {
        let line = step_line("place-files", "3 files", Some(112.0), NARROW);
        assert_eq!(
            line,
            "  place-files           3 files                   1 min 52 s\n"
        );
        assert_eq!(line.trim_end().chars().count(), 60);
        let long = step_line(
            "a-name-longer-than-its-column",
            &"x".repeat(60),
            Some(0.2),
            NARROW,
        );
        assert_eq!(
            long,
            format!(
                "  a-name-longer-than-its-column  {}  0.2 s\n",
                "x".repeat(60)
            )
        );
    }

    #[test]
    fn a_step_name_cannot_break_its_line() {
        let line = step_line("a\u{1b}[2J", "b\nc", None, NARROW);
        assert_eq!(line, "  a\\u{1b}[2J            b\\nc\n");
    }

    #[test]
    fn details_begin_behind_the_longest_name() {
        let label = |step: &str| StepLabel {
            step: step.into(),
            phase: Phase::Cutover,
        };
        assert_eq!(Columns::new(&[], 100).detail, 24);
        assert_eq!(Columns::new(&[label("place-files")], 100).detail, 24);
        let steps = [label("carry-transaction-state"), label("place-files")];
        let columns = Columns::new(&steps, 100);
        assert_eq!(
            step_line("place-files", "x", None, columns),
            "  place-files              x\n"
        );
        assert_eq!(
            step_line("carry-transaction-state", "x", None, columns),
            "  carry-transaction-state  x\n"
        );
        assert_eq!(Columns::new(&[label(&"x".repeat(500))], 60).detail, 30);
    }
}
