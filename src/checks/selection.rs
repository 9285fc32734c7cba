//! Which checks the operator wants made.

use super::check::Check;
use crate::error::{Code, Error, Remedy, Result};
use crate::event::SkipOption;

/// The checks named by `--only` and `--skip`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    only: Vec<String>,
    skip: Vec<String>,
}

impl Selection {
    /// Understands the names.
    ///
    /// # Errors
    ///
    /// `BadArguments` for names that are none of a check, each with the one that was probably
    /// meant.
    pub fn new(checks: &[Check], only: &[String], skip: &[String]) -> Result<Self> {
        let names = || only.iter().chain(skip);
        let known = |name: &&String| checks.iter().any(|check| check.id == **name);
        let unknown: Vec<&String> = names().filter(|name| !known(name)).collect();
        if unknown.is_empty() {
            return Ok(Self {
                only: only.to_vec(),
                skip: skip.to_vec(),
            });
        }
        let error = Error::new(Code::BadArguments, "a check is named that there is not");
        let error = unknown.iter().fold(error, |error, name| {
            error.fact("no check", told(checks, name))
        });
        Err(error.remedy(Remedy::command("pg_migrator check --list")))
    }

    /// Whether a check is left out, and because of what.
    pub(super) fn leaves_out(&self, check: &Check) -> Option<SkipOption> {
        let names = |list: &[String]| list.contains(&check.id);
        if names(&self.skip) {
            return Some(SkipOption::Skip);
        }
        (!self.only.is_empty() && !names(&self.only)).then_some(SkipOption::Only)
    }

    /// Everything that was named.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.only.iter().chain(&self.skip)
    }
}

/// A name that is none of a check, and what can be said about it.
fn told(checks: &[Check], name: &str) -> String {
    if Code::parse(name).is_some() {
        return format!("{name} is an error code: what it stands for is always looked at");
    }
    match nearest(checks, name) {
        Some(meant) => format!("{name}; is {meant} meant?"),
        None => name.to_owned(),
    }
}

/// The check whose name is so much like this one that it may be meant.
pub fn nearest<'c>(checks: &'c [Check], name: &str) -> Option<&'c str> {
    let names = || checks.iter().map(|check| check.id.as_str());
    let part = name.len() >= 3;
    let containing = names().filter(|id| part && id.contains(name));
    let alike = names()
        .map(|id| (strsim::levenshtein(id, name), id))
        .filter(|(distance, id)| distance * 3 <= id.len());
    containing
        .min_by_key(|id| id.len())
        .or_else(|| alike.min().map(|(_, id)| id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        let checks = super::super::all().unwrap();
        let near = |name| nearest(&checks, name);
        assert_eq!(near("unloged-tabels"), Some("unlogged-tables"));
        assert_eq!(near("prepared"), Some("prepared-transactions"));
        assert_eq!(near("aclitems"), Some("aclitem"));
        assert_eq!(near("weather"), None);
        assert_eq!(near(""), None);
    }

    #[test]
    fn what_is_no_check_is_refused_by_name() {
        let checks = super::super::all().unwrap();
        let (only, skip) = (names(&["tables-with-oids"]), names(&["aclitm", "PGM-1301"]));
        let error = Selection::new(&checks, &only, &skip).unwrap_err();
        assert_eq!(error.code(), Code::BadArguments);
        let facts: Vec<&str> = error.facts().iter().map(|(_, value)| &**value).collect();
        assert_eq!(facts[0], "aclitm; is aclitem meant?");
        assert!(facts[1].contains("always looked at"), "{facts:?}");
        assert_eq!(facts.len(), 2);
    }

    #[test]
    fn what_is_left_out_has_its_reason() {
        let checks = super::super::all().unwrap();
        let named = |id: &str| checks.iter().find(|check| check.id == id).unwrap();
        let (aclitem, reg) = (named("aclitem"), named("reg-types"));
        let of = |only: &[&str], skip: &[&str]| {
            Selection::new(&checks, &names(only), &names(skip)).unwrap()
        };
        let skipping = of(&[], &["aclitem"]);
        assert_eq!(skipping.leaves_out(aclitem), Some(SkipOption::Skip));
        assert_eq!(skipping.leaves_out(reg), None);
        let alone = of(&["aclitem"], &[]);
        assert_eq!(alone.leaves_out(aclitem), None);
        assert_eq!(alone.leaves_out(reg), Some(SkipOption::Only));
        assert_eq!(Selection::default().leaves_out(reg), None);
    }
}
