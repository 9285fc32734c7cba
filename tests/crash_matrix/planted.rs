//! Mistakes: made on purpose, to show that they would be seen.

use std::fs;

use pg_migrator::error::{Code, Error, Remedy, Result};
use pg_migrator::journal::Phase;
use pg_migrator::steps::{Context, Step, registry};
use serde_json::Value;

use crate::cell::Matrix;
use crate::place::{Place, prepare};
use crate::scenario::Scenario;
use crate::support::{lint, say, unique_cluster};

/// Which mistake a step of this child makes.
const MISTAKE: &str = "PGM_PLANT";
/// Which step fails when it has acted.
pub const FAILS: &str = "PGM_MATRIX_FAILS";
/// The step that mistakes are planted in.
const WRONG: &str = "transfer-files";

/// What the matrix must see, and in which mode it is tried.
const BY_THE_MATRIX: [(&str, &str); 6] = [
    ("apply-is-not-idempotent", "copy-file-range"),
    ("undo-is-not-idempotent", "copy-file-range"),
    ("undo-forgets-a-temporary-file", "copy-file-range"),
    ("done-before-the-act", "copy-file-range"),
    ("no-intent-before-the-act", "swap"),
    ("rollback-skips-what-was-only-intended", "swap"),
];
/// What killing does not show.
const BY_THE_LINT: [&str; 3] = [
    "no-fsync-of-a-file",
    "no-fsync-of-a-directory",
    "no-fsync-of-the-journal",
];

/// The same, where programs with servers of their own have to be at work.
const BY_THE_LINT_OF_A_PREPARE: &str = "no-sync-of-a-whole";

/// The steps of the registry; some of them wrong or failing, where the environment says so.
pub fn steps() -> Vec<Box<dyn Step>> {
    let mistake = std::env::var(MISTAKE).unwrap_or_default();
    let fails = std::env::var(FAILS).unwrap_or_default();
    registry()
        .into_iter()
        .map(|step| {
            let name = step.name();
            Box::new(Planted {
                mistake: if name == WRONG {
                    mistake.clone()
                } else {
                    String::new()
                },
                fails: name == fails,
                step,
            }) as Box<dyn Step>
        })
        .collect()
}

struct Planted {
    step: Box<dyn Step>,
    mistake: String,
    fails: bool,
}

impl Planted {
    fn makes(&self, mistake: &str) -> bool {
        self.mistake == mistake
    }
}

fn wrong(what: &str) -> Error {
    Error::new(Code::TransferFailed, what.to_owned()).remedy(Remedy::manual("mend the test"))
}

impl Step for Planted {
    fn name(&self) -> &'static str {
        self.step.name()
    }

    fn phase(&self) -> Phase {
        self.step.phase()
    }

    fn needed(&self, cx: &Context<'_>) -> Result<bool> {
        self.step.needed(cx)
    }

    fn intent(&self, cx: &mut Context<'_>) -> Result<Value> {
        self.step.intent(cx)
    }

    fn apply(&self, cx: &mut Context<'_>, intent: &Value) -> Result<String> {
        const BEGUN: &str = "before-carry/begun";
        if self.makes("apply-is-not-idempotent") {
            if cx.state.path(BEGUN)?.exists() {
                return Err(wrong("it was begun already"));
            }
            cx.state.write(BEGUN, b"", 0o600)?;
        }
        let temporary = cx.plan.old.data_dir.join("temporary");
        if self.makes("undo-forgets-a-temporary-file") {
            cx.old_area()?.write("temporary", b"", 0o600)?;
        }
        let said = self.step.apply(cx, intent)?;
        if self.makes("apply-is-not-idempotent") {
            cx.state.remove_file(BEGUN)?;
        }
        if self.makes("undo-forgets-a-temporary-file") && temporary.exists() {
            cx.old_area()?.remove_file("temporary")?;
        }
        match self.fails {
            true => Err(wrong("it is to fail")),
            false => Ok(said),
        }
    }

    fn renew(&self, cx: &mut Context<'_>, intent: &Value) -> Result<()> {
        self.step.renew(cx, intent)
    }

    fn relieve(&self, cx: &mut Context<'_>, intent: &Value) -> Result<()> {
        self.step.relieve(cx, intent)
    }

    fn kept_when_reopened(&self) -> bool {
        self.step.kept_when_reopened()
    }

    fn undo(&self, cx: &mut Context<'_>, intent: &Value) -> Result<()> {
        if self.makes("undo-is-not-idempotent") {
            let done = cx.state.path("before-carry/undone")?;
            if done.exists() {
                return Err(wrong("it was undone already"));
            }
            cx.state.create_dir("before-carry", 0o700)?;
            cx.state.write("before-carry/undone", b"", 0o600)?;
        }
        self.step.undo(cx, intent)
    }
}

/// Each mistake is planted, and each is seen.
pub fn all() {
    let mut place = Place::new();
    let mut mode_of_place = "";
    let mut seen = 0;
    for (mistake, mode) in BY_THE_MATRIX {
        if mode_of_place != mode {
            place.become_prepared(mode);
            mode_of_place = mode;
        }
        let found = Matrix::new(&place)
            .with_mistake(mistake)
            .first_loss(&[Scenario::cutover(), Scenario::failing_cutover()], WRONG);
        let found = found.unwrap_or_else(|| panic!("{mistake} was not seen"));
        say(&format!("TRIED {mistake} by {mode}: {found}"));
        seen += 1;
    }
    let trace = place.path("trace");
    for mistake in BY_THE_LINT {
        let _ = fs::remove_file(&trace);
        place.restore("prepared");
        crate::act::Act::new("cutover")
            .with("PGM_TRACE", trace.display())
            .with(MISTAKE, mistake)
            .perform(&place)
            .demand_standing("Upgraded");
        let found = lint::of(&trace);
        let first = found
            .first()
            .unwrap_or_else(|| panic!("{mistake} was not seen"));
        say(&format!("TRIED {mistake}: {first}"));
        seen += 1;
    }
    let mistake = BY_THE_LINT_OF_A_PREPARE;
    let (_, found) = prepare(&unique_cluster("old-14", &[]), mistake);
    let first = found
        .first()
        .unwrap_or_else(|| panic!("{mistake} was not seen"));
    say(&format!("TRIED {mistake}: {first}"));
    seen += 1;
    say(&format!("TRIED {seen} planted mistakes, each was seen"));
}
