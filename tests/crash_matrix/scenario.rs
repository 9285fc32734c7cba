//! What is killed: a command, and where it is begun.

use crate::act::Act;
use crate::place::Place;
use crate::planted::FAILS;

/// What is begun from, and which command is killed.
pub struct Scenario {
    image: &'static str,
    begun_at: Option<String>,
    command: &'static str,
    fails: &'static str,
}

impl Scenario {
    fn new(image: &'static str, command: &'static str) -> Self {
        Self {
            image,
            begun_at: None,
            command,
            fails: "",
        }
    }

    pub fn cutover() -> Self {
        Self::new("prepared", "cutover")
    }

    /// One that is undone because its last look finds a difference.
    pub fn failing_cutover() -> Self {
        Self {
            fails: "verify-new-cluster",
            ..Self::cutover()
        }
    }

    /// A way back from new.
    pub fn upgraded() -> Self {
        Self::new("upgraded", "rollback")
    }

    /// A prepare that goes on from this step.
    pub fn begun_at(step: &str) -> Self {
        Self {
            begun_at: Some(step.to_owned()),
            ..Self::new("prepared", "prepare")
        }
    }

    /// A prepare that takes a fresh cluster for new, and gives it back.
    pub fn adopting() -> Self {
        Self::new("adopting", "prepare")
    }

    /// Whether new may have files of old from its beginning on.
    pub fn shares_files(&self) -> bool {
        self.command != "prepare" || self.begun_at.as_deref() == Some("place-files")
    }

    pub fn is_a_prepare(&self) -> bool {
        self.command == "prepare"
    }

    pub fn all() -> Vec<Self> {
        vec![
            Self::begun_at("place-files"),
            Self::cutover(),
            Self::failing_cutover(),
            Self::new("prepared", "rollback"),
            Self::upgraded(),
            Self::new("upgraded", "finalize"),
        ]
    }

    pub fn name(&self) -> String {
        let from = self.begun_at.as_deref().unwrap_or(self.image);
        let fails = if self.fails.is_empty() {
            ""
        } else {
            " that fails"
        };
        format!("{}{fails} from {from}", self.command)
    }

    pub fn command(&self) -> Act {
        let act = Act::new(self.command);
        match self.fails {
            "" => act,
            step => act.with(FAILS, step),
        }
    }

    pub fn begin(&self, place: &Place) {
        match &self.begun_at {
            Some(step) => place.become_begun_at(step),
            None => place.restore(self.image),
        }
    }

    pub fn ways(&self) -> &'static [&'static str] {
        match self.command {
            "finalize" => &["finalize"],
            _ => &["resume", "rollback"],
        }
    }
}
