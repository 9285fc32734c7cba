use super::*;

fn state() -> State {
    State::new(Opened {
        format: 1,
        program: "0".into(),
        old: "/old".into(),
        new: "/new".into(),
        system_identifier: 1,
    })
}

fn intend(step: &str, phase: Phase) -> Record {
    Record::StepIntended {
        step: step.into(),
        phase,
        intent: Value::Null,
    }
}

fn done(step: &str) -> Record {
    Record::StepDone { step: step.into() }
}

fn reached(milestone: Milestone) -> Record {
    Record::Reached { milestone }
}

fn fold(records: &[Record]) -> State {
    let mut state = state();
    for record in records {
        assert!(state.accept(record), "{record:?} after {state:?}");
    }
    state
}

#[test]
fn a_whole_upgrade_and_its_way_back() {
    let mut records = vec![intend("a", Phase::Prepare), done("a")];
    assert_eq!(fold(&records).standing(), Standing::Preparing);
    records.push(reached(Milestone::Prepared));
    assert_eq!(fold(&records).standing(), Standing::Prepared);
    records.push(intend("b", Phase::Cutover));
    assert_eq!(fold(&records).standing(), Standing::CuttingOver);
    records.extend([done("b"), reached(Milestone::Upgraded)]);
    assert_eq!(fold(&records).standing(), Standing::Upgraded);
    for step in ["b", "a"] {
        if step == "b" {
            records.push(Record::BackwardBegun {
                to: Target::RolledBack,
            });
        }
        records.push(Record::UndoBegun { step: step.into() });
        records.push(Record::UndoDone { step: step.into() });
        assert_eq!(fold(&records).standing(), Standing::RollingBack);
    }
    records.push(reached(Milestone::RolledBack));
    assert_eq!(fold(&records).standing(), Standing::RolledBack);
}

#[test]
fn only_the_last_step_may_be_undone() {
    let mut state = fold(&[
        intend("a", Phase::Prepare),
        done("a"),
        intend("b", Phase::Prepare),
        done("b"),
        Record::BackwardBegun {
            to: Target::RolledBack,
        },
    ]);
    assert!(!state.accept(&Record::UndoBegun { step: "a".into() }));
    assert!(state.accept(&Record::UndoBegun { step: "b".into() }));
}

#[test]
fn nothing_goes_forward_on_the_way_back_or_after_the_end() {
    let mut state = fold(&[
        intend("a", Phase::Prepare),
        Record::BackwardBegun {
            to: Target::RolledBack,
        },
    ]);
    assert!(!state.accept(&done("b")));
    assert!(!state.accept(&intend("b", Phase::Prepare)));
    assert!(!state.accept(&reached(Milestone::RolledBack)));
    for record in [
        Record::UndoBegun { step: "a".into() },
        Record::UndoDone { step: "a".into() },
        reached(Milestone::RolledBack),
    ] {
        assert!(state.accept(&record));
    }
    assert!(!state.accept(&intend("a", Phase::Prepare)));
}

#[test]
fn there_is_no_way_back_from_finalizing() {
    let mut state = fold(&[
        intend("a", Phase::Prepare),
        done("a"),
        reached(Milestone::Prepared),
        intend("b", Phase::Cutover),
        done("b"),
        reached(Milestone::Upgraded),
        reached(Milestone::Finalizing),
    ]);
    assert!(!state.accept(&Record::BackwardBegun {
        to: Target::RolledBack
    }));
    assert!(state.accept(&reached(Milestone::Finalized)));
}

#[test]
fn the_cutover_alone_can_be_undone_and_begun_again() {
    let state = fold(&[
        intend("a", Phase::Prepare),
        done("a"),
        reached(Milestone::Prepared),
        intend("b", Phase::Cutover),
        Record::BackwardBegun {
            to: Target::Prepared,
        },
        Record::UndoBegun { step: "b".into() },
        Record::UndoDone { step: "b".into() },
        reached(Milestone::Prepared),
        intend("b", Phase::Cutover),
    ]);
    assert_eq!(state.standing(), Standing::CuttingOver);
}

/// Cut over, and the last step half undone.
fn half_way_back(to: Target) -> Vec<Record> {
    let mut records = prepared();
    for step in ["c", "d"] {
        records.extend([intend(step, Phase::Cutover), done(step)]);
    }
    records.extend([
        reached(Milestone::Upgraded),
        Record::BackwardBegun { to },
        Record::UndoBegun { step: "d".into() },
    ]);
    records
}

#[test]
fn a_cutover_that_was_being_undone_can_be_ended_after_all() {
    for to in [Target::RolledBack, Target::Prepared] {
        let undone = Record::UndoDone { step: "d".into() };
        for (again, more) in [
            (vec![done("d")], None),
            (vec![intend("d", Phase::Cutover), done("d")], Some(undone)),
        ] {
            let mut records = half_way_back(to);
            records.extend(more);
            records.push(Record::ForwardAgain);
            assert_eq!(fold(&records).standing(), Standing::CuttingOver);
            records.extend(again);
            records.push(reached(Milestone::Upgraded));
            assert_eq!(fold(&records).standing(), Standing::Upgraded);
        }
    }
}

#[test]
fn without_a_cutover_to_be_ended_the_way_back_is_gone_to_its_end() {
    assert!(!fold(&prepared()).accept(&Record::ForwardAgain));
    let mut all_undone = half_way_back(Target::RolledBack);
    all_undone.extend([
        Record::UndoDone { step: "d".into() },
        Record::UndoBegun { step: "c".into() },
        Record::UndoDone { step: "c".into() },
    ]);
    assert!(!fold(&all_undone).accept(&Record::ForwardAgain));
    for to in [Target::Anew, Target::Reopened] {
        let records = match to {
            Target::Reopened => prepared(),
            _ => vec![intend("a", Phase::Prepare)],
        };
        let mut state = fold(&records);
        assert!(state.accept(&Record::BackwardBegun { to }));
        assert!(!state.accept(&Record::ForwardAgain));
    }
}

#[test]
fn prepare_can_be_begun_anew() {
    let state = fold(&[
        intend("a", Phase::Prepare),
        Record::BackwardBegun { to: Target::Anew },
        Record::UndoBegun { step: "a".into() },
        Record::UndoDone { step: "a".into() },
        reached(Milestone::Anew),
        intend("a", Phase::Prepare),
        done("a"),
        reached(Milestone::Prepared),
    ]);
    assert_eq!(state.standing(), Standing::Prepared);
}

fn prepared() -> Vec<Record> {
    vec![
        intend("a", Phase::Prepare),
        done("a"),
        intend("b", Phase::Prepare),
        done("b"),
        reached(Milestone::Prepared),
    ]
}

fn reopened() -> Vec<Record> {
    let mut records = prepared();
    records.extend([
        Record::BackwardBegun {
            to: Target::Reopened,
        },
        Record::UndoBegun { step: "b".into() },
        Record::UndoDone { step: "b".into() },
        reached(Milestone::Reopened),
    ]);
    records
}

#[test]
fn what_was_prepared_can_be_opened_and_prepared_again() {
    let mut records = reopened();
    let state = fold(&records);
    assert_eq!(state.standing(), Standing::Preparing);
    assert!(state.step("a").is_some() && state.step("b").is_none());
    records.extend([intend("b", Phase::Prepare), done("b")]);
    assert_eq!(fold(&records).standing(), Standing::Preparing);
    records.push(reached(Milestone::Prepared));
    assert_eq!(fold(&records).standing(), Standing::Prepared);
    records.extend(reopened().split_off(prepared().len()));
    assert_eq!(fold(&records).standing(), Standing::Preparing);
}

#[test]
fn what_was_opened_can_be_begun_anew_or_rolled_back_at_each_line() {
    let records = reopened();
    for end in prepared().len() + 1..=records.len() {
        for to in [Target::Anew, Target::RolledBack] {
            let mut state = fold(&records[..end]);
            assert!(state.accept(&Record::BackwardBegun { to }), "{end} {to:?}");
            assert_eq!(state.standing(), Standing::RollingBack);
            while let Some(entry) = state.steps.last().cloned() {
                if entry.state != StepState::Undoing {
                    assert!(state.accept(&Record::UndoBegun {
                        step: entry.step.clone()
                    }));
                }
                assert!(state.accept(&Record::UndoDone { step: entry.step }));
            }
            let (milestone, standing) = match to {
                Target::Anew => (Milestone::Anew, Standing::Preparing),
                _ => (Milestone::RolledBack, Standing::RolledBack),
            };
            assert!(state.accept(&reached(milestone)), "{end} {to:?}");
            assert_eq!(state.standing(), standing);
        }
    }
}

#[test]
fn only_what_is_prepared_can_be_opened() {
    let open = Record::BackwardBegun {
        to: Target::Reopened,
    };
    for end in 0..prepared().len() {
        assert!(!fold(&prepared()[..end]).accept(&open), "after {end} lines");
    }
    let mut cutting = prepared();
    cutting.push(intend("c", Phase::Cutover));
    assert!(!fold(&cutting).accept(&open));
    let mut undoing = fold(&reopened()[..prepared().len() + 2]);
    assert!(
        !undoing.accept(&reached(Milestone::Reopened)),
        "half undone"
    );
    assert!(!undoing.accept(&Record::BackwardBegun {
        to: Target::Prepared
    }));
}
