//! The checks there are, a line each.

use super::block;
use crate::event::ListedCheck;

/// Each check with how much it matters, its name, its versions and the sentence of a finding.
pub fn list(checks: &[ListedCheck]) -> String {
    let width = |text: fn(&ListedCheck) -> String| {
        let lengths = checks.iter().map(|check| text(check).chars().count());
        lengths.max().unwrap_or(0) + 2
    };
    let severity = |check: &ListedCheck| check.severity.to_string();
    let (first, second) = (width(severity), width(|check| check.check.clone()));
    let mut out = String::new();
    for check in checks {
        block::line(
            &mut out,
            &format!(
                "{}{}{}{}",
                block::padded(&severity(check), first),
                block::padded(&check.check, second),
                check.finding.trim(),
                versions(check)
            ),
        );
    }
    out
}

/// For which versions, where it is not for all.
fn versions(check: &ListedCheck) -> String {
    const ALL: &str = "every version";
    let sides = [("old", &check.old), ("new", &check.new)];
    let limits: Vec<String> = sides
        .into_iter()
        .filter(|(_, range)| *range != ALL)
        .map(|(side, range)| format!("{side} {range}"))
        .collect();
    if limits.is_empty() {
        return String::new();
    }
    format!(" ({})", limits.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Severity;

    #[test]
    fn names_and_sentences_stand_in_columns() {
        let check = |check: &str, severity, old: &str, new: &str| ListedCheck {
            check: check.into(),
            severity,
            old: old.into(),
            new: new.into(),
            finding: "{name} is wrong".into(),
            remedy: "manual".into(),
            destructive: false,
        };
        let all = "every version";
        let checks = [
            check("a", Severity::Blocker, all, all),
            check(
                "long-name",
                Severity::Notice,
                "11 and older",
                "16 and newer",
            ),
            check("b", Severity::Warning, all, "18 and newer"),
        ];
        assert_eq!(
            list(&checks),
            "blocker  a          {name} is wrong\n\
             notice   long-name  {name} is wrong (old 11 and older, new 16 and newer)\n\
             warning  b          {name} is wrong (new 18 and newer)\n"
        );
        assert_eq!(list(&[]), "");
    }
}
