//! What state the clusters are in, said in one sentence.

use std::path::Path;

use crate::journal::Standing;

/// The name of a standing, as `--json` has it.
pub(super) fn standing_name(standing: Standing) -> &'static str {
    match standing {
        Standing::Preparing => "preparing",
        Standing::Prepared => "prepared",
        Standing::CuttingOver => "cutting_over",
        Standing::Upgraded => "upgraded",
        Standing::RollingBack => "rolling_back",
        Standing::RolledBack => "rolled_back",
        Standing::Finalizing => "finalizing",
        Standing::Finalized => "finalized",
    }
}

/// Both clusters, as far as a standing is about them.
#[derive(Debug, Clone, Copy)]
pub struct Clusters<'a> {
    /// The old data directory.
    pub old: &'a Path,
    /// The new data directory.
    pub new: &'a Path,
    /// Whether new has been started since it was handed over.
    pub started: bool,
    /// Whether new was started before it was complete.
    pub early: bool,
    /// Whether both clusters have the same files.
    pub shared: bool,
    /// Whether a server of the operator runs in old.
    pub serving: bool,
    /// Whether old was compared with its manifest on the way back, and differs.
    pub differs: bool,
}

/// What state the clusters are in, and which of them may be started: a clause without a full stop.
///
/// It is true while nobody is at work on the migration, also after a crash. Paths are given as
/// they are; the renderers make them safe.
pub fn standing_sentence(standing: Standing, clusters: Clusters<'_>) -> String {
    let (old, new) = (clusters.old.display(), clusters.new.display());
    let may_be_started = match clusters.serving {
        true => "its server is running",
        false => "may be started",
    };
    let is_as_it_was = match clusters.differs {
        true => {
            "has everything back that the migration took, but not all of its files are what its \
             manifest says, and"
        }
        false => "is as it was and",
    };
    match standing {
        Standing::Preparing | Standing::Prepared | Standing::CuttingOver if clusters.early => {
            early_sentence(clusters)
        }
        Standing::Preparing => format!(
            "the new cluster in {new} is half built and cannot be started; \
             the old cluster in {old} {is_as_it_was} {may_be_started}"
        ),
        Standing::Prepared => format!(
            "the new cluster in {new} is built and waits for the cutover; \
             the old cluster in {old} {is_as_it_was} {may_be_started}"
        ),
        Standing::CuttingOver if clusters.started && clusters.shared => format!(
            "the new cluster in {new} has been started before the cutover ended; the files of \
             the old cluster in {old} are now those of new, so there is no way back to it and it \
             must never be started again: resume"
        ),
        Standing::CuttingOver if clusters.started => format!(
            "the new cluster in {new} has been started before the cutover ended; the old cluster \
             in {old} is as it was: resume, or roll back and lose what new has written"
        ),
        Standing::CuttingOver => format!(
            "the cutover has begun and not ended; start neither the old cluster in {old} \
             nor the new one in {new}: resume or roll back"
        ),
        Standing::Upgraded if clusters.started && clusters.shared => format!(
            "the new cluster in {new} is complete and has been started; the files of the old \
             cluster in {old} are now those of new, so there is no way back to it and it must \
             never be started again"
        ),
        Standing::Upgraded if clusters.started => format!(
            "the new cluster in {new} is complete and has been started; the old cluster in {old} \
             is as it was, without what was written since, and must not be started unless you \
             roll back"
        ),
        Standing::Upgraded => format!(
            "the new cluster in {new} is complete and may be started; the old cluster in {old} \
             is kept for the way back and must not be started"
        ),
        Standing::RollingBack if clusters.started && clusters.shared => format!(
            "the way back had begun and not taken anything yet when the new cluster in {new} was \
             started; the files of the old cluster in {old} are now those of new, so there is no \
             way back to it and it must never be started again: resume --keep-new"
        ),
        Standing::RollingBack if clusters.started => format!(
            "the way back had begun and not taken anything yet when the new cluster in {new} was \
             started; the old cluster in {old} is as it was: resume --keep-new, or roll back and \
             lose what new has written"
        ),
        Standing::RollingBack if clusters.serving => format!(
            "the way back has begun and not ended; the old cluster in {old} is as it was and its \
             server is running, and the new one in {new} must not be started: roll back again"
        ),
        Standing::RollingBack => format!(
            "the way back has begun and not ended; start neither the old cluster in {old} \
             nor the new one in {new}: roll back again"
        ),
        Standing::RolledBack => format!(
            "everything was undone; the old cluster in {old} {is_as_it_was} {may_be_started}; \
             nothing of the migration is left in {new}"
        ),
        Standing::Finalizing => format!(
            "the removal of the old cluster in {old} has begun and cannot be undone; \
             the new cluster in {new} is complete and may be started: finalize again"
        ),
        Standing::Finalized => format!(
            "the old cluster in {old} has been removed; \
             the new cluster in {new} is complete and may be started"
        ),
    }
}

/// Both clusters of a migration whose state directory is gone, as their data directories are.
#[derive(Debug, Clone, Copy)]
pub struct Left<'a> {
    /// The old data directory.
    pub old: &'a Path,
    /// The new data directory.
    pub new: &'a Path,
    /// Whether old has its control file.
    pub old_starts: bool,
    /// Whether new has its own.
    pub new_starts: bool,
    /// Whether there is anything of new.
    pub new_is_there: bool,
    /// Whether a server of the operator runs in old.
    pub serving: bool,
    /// Whether both clusters have the same files.
    pub shared: bool,
    /// Whether the cutover has come to its end.
    pub complete: bool,
}

/// What state they are in, and which of them may be started: a clause without a full stop.
pub fn sentence_without_state(left: Left<'_>) -> String {
    let (old, new) = (left.old.display(), left.new.display());
    let may_be_started = match left.serving {
        true => "its server is running",
        false => "may be started",
    };
    let clusters = match (left.old_starts, left.new_starts) {
        (true, false) if !left.new_is_there => {
            format!("the old cluster in {old} is as it was and {may_be_started}")
        }
        (true, false) => format!(
            "the old cluster in {old} is as it was and {may_be_started}; the new one in {new} \
             cannot be started any more"
        ),
        (true, true) if left.complete && !left.shared => format!(
            "the new cluster in {new} is complete and may be started; the old cluster in {old} is \
             as it was and must not be started as well"
        ),
        (true, true) if !left.shared => format!(
            "the old cluster in {old} is as it was and {may_be_started}; the new one in {new} is \
             not complete and must not be started"
        ),
        // Old loses its control file before new gets its own for good, and no earlier.
        (false, true) => format!(
            "the new cluster in {new} is complete and may be started; the old cluster in {old} \
             must never be started again"
        ),
        (true, true) | (false, false) => {
            format!("start neither the old cluster in {old} nor the new one in {new}")
        }
    };
    format!("the state directory is gone, so no command leads on; {clusters}")
}

fn early_sentence(clusters: Clusters<'_>) -> String {
    let (old, new) = (clusters.old.display(), clusters.new.display());
    match clusters.shared {
        true => format!(
            "the new cluster in {new} was started before it was complete and may have written to \
             files of the old cluster in {old}: start neither before a person has \
             looked at both"
        ),
        false => format!(
            "the new cluster in {new} was started before it was complete; the old cluster in \
             {old} is as it was: roll back and lose what new has written"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Standing; 8] = [
        Standing::Preparing,
        Standing::Prepared,
        Standing::CuttingOver,
        Standing::Upgraded,
        Standing::RollingBack,
        Standing::RolledBack,
        Standing::Finalizing,
        Standing::Finalized,
    ];

    fn clusters(started: bool, shared: bool) -> Clusters<'static> {
        Clusters {
            old: Path::new("/srv/pg15"),
            new: Path::new("/srv/pg17"),
            started,
            early: false,
            shared,
            serving: false,
            differs: false,
        }
    }

    #[test]
    fn what_is_left_without_a_state_directory_is_told() {
        let yes_and_no = [true, false];
        let mut all = Vec::new();
        for (old_starts, new_starts) in [(true, false), (true, true), (false, true), (false, false)]
        {
            for complete in yes_and_no {
                for shared in yes_and_no {
                    let sentence = sentence_without_state(Left {
                        old: Path::new("/srv/pg15"),
                        new: Path::new("/srv/pg17"),
                        old_starts,
                        new_starts,
                        new_is_there: true,
                        serving: false,
                        shared,
                        complete,
                    });
                    // Never are two told startable that have the same files.
                    let both = sentence.matches("may be started").count();
                    assert!(both <= 1, "{sentence}");
                    assert!(
                        !(shared && old_starts && new_starts && both > 0),
                        "{sentence}"
                    );
                    all.push(sentence);
                }
            }
        }
        all.dedup();
        crate::render::snapshot::compare("without_state", &format!("{}\n", all.join("\n")));
    }

    #[test]
    fn names_are_those_of_the_event_stream() {
        for standing in ALL {
            let json = serde_json::to_string(&standing).unwrap();
            assert_eq!(json, format!("\"{}\"", standing_name(standing)));
        }
    }

    #[test]
    fn every_standing_says_what_of_both_clusters() {
        let untouched = ALL.map(|one| standing_sentence(one, clusters(false, true)));
        let started = [false, true].map(|shared| clusters(true, shared));
        let started = started.map(|clusters| standing_sentence(Standing::Upgraded, clusters));
        let meanwhile = [false, true].map(|shared| clusters(true, shared));
        let meanwhile =
            meanwhile.map(|clusters| standing_sentence(Standing::RollingBack, clusters));
        let too_early = [false, true].map(|shared| clusters(true, shared));
        let too_early =
            too_early.map(|clusters| standing_sentence(Standing::CuttingOver, clusters));
        let backward = [
            Standing::Prepared,
            Standing::RollingBack,
            Standing::RolledBack,
        ];
        let serving = backward.map(|standing| {
            let serving = Clusters {
                serving: true,
                ..clusters(false, true)
            };
            standing_sentence(standing, serving)
        });
        let differs = [Standing::Prepared, Standing::RolledBack].map(|standing| {
            let differs = Clusters {
                differs: true,
                ..clusters(false, true)
            };
            standing_sentence(standing, differs)
        });
        let incomplete = [false, true].map(|shared| Clusters {
            early: true,
            ..clusters(false, shared)
        });
        let incomplete = incomplete.map(|one| standing_sentence(Standing::Prepared, one));
        let kinds = [
            &untouched[..],
            &started,
            &too_early,
            &meanwhile,
            &serving,
            &differs,
            &incomplete,
        ];
        let all = kinds.concat();
        crate::render::snapshot::compare("standings", &format!("{}\n", all.join("\n")));
    }
}
