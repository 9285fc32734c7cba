//! Everything that is verified from within old before anything changes.

use std::path::Path;
use std::time::Instant;

use super::args::{Clusters, words};
use super::estimate;
use super::findings::{Asking, tell};
use super::rehearsal::rehearse;
use super::run::Run;
use super::sight::{Looked, one_error, tell_problems};
use super::space::{late, put_sizes, same_problem, too_little_space};
use crate::catalog::{self, Database, Portrait, Sketch, Snapshot};
use crate::checks::{self, NewVersion, Rehearsal, Subject, Trials};
use crate::disk::{Lock, temporary};
use crate::error::{Code, Error, Family, Remedy, Result};
use crate::event::{ClusterFacts, EventKind, Level, PassageFacts, Sink};
use crate::pg::amount::{counted, size};
use crate::pg::page::PageLayout;
use crate::plan::{Mode, Plan, locks_per_transaction};
use crate::server::{Alone, Background, Client, Endpoint, Help, Postmaster, PostmasterSpec};
use crate::survey::{Surveyed, decided};
use crate::work::{Cancel, usual_jobs};

/// What old is examined for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To say whether an upgrade would succeed.
    Check,
    /// The same, after its schema was restored where nothing depends on it.
    Rehearsal,
    /// To be dumped next.
    Dump,
    /// To be dumped and cut over at one go: a later state of old will not be looked at.
    Upgrade,
}

/// Both sides as they were found, and old being served, privately or by its operator.
pub struct Examined {
    /// What was seen from outside.
    pub surveyed: Surveyed,
    /// The catalog of old.
    pub snapshot: Snapshot,
    /// What shows later whether old has changed; only of a private server that is to be dumped.
    pub sketch: Option<Sketch>,
    /// The private old server, where the operator's does not run.
    pub private: Option<Postmaster>,
    /// `max_locks_per_transaction` for the private servers.
    pub locks: u32,
    /// Keeps other runs of this program away from old.
    pub lock: Lock,
}

impl Examined {
    /// Stops the private server, if there is one.
    pub fn stop(self) -> Result<()> {
        self.private.map_or(Ok(()), Postmaster::stop)
    }
}

/// Reads old's catalog and makes all checks, beside its running server or a private one.
fn examine(
    run: &Run,
    arguments: &Clusters,
    looked: Looked,
    asking: &Asking,
    logs: &Path,
    purpose: Purpose,
) -> Result<Examined> {
    let started = Instant::now();
    let Looked {
        mut surveyed,
        lock,
        problems: told,
        ahead,
        sizing,
    } = looked;
    let locks = locks_per_transaction(surveyed.relation_files);
    let version = NewVersion {
        installation: surveyed.new_installation.clone(),
        options: words(&arguments.new_options),
        socket_parent: arguments.socketdir.clone(),
        logs: logs.to_owned(),
    };
    let new = Trials::new(version.clone());
    let only_asks = matches!(purpose, Purpose::Check | Purpose::Rehearsal);
    if only_asks && !arguments.nice {
        new.begin(&run.cancel);
    }
    let mut private = match surveyed.serving {
        Some(_) => None,
        None => match start_old(run, arguments, &surveyed, locks, logs) {
            Ok(server) => Some(server),
            Err(error) => {
                if error.code().family() != Family::Signal {
                    tell_problems(run, &late(arguments, &mut surveyed, sizing)?);
                }
                return Err(error);
            }
        },
    };
    let serving = (surveyed.serving.as_ref()).map(|serving| serving.endpoint.clone());
    let old: &Endpoint = (serving.as_ref())
        .or(private.as_deref())
        .ok_or_else(|| Error::new(Code::Internal, "nothing serves the old cluster"))?;
    let (old_major, new_major) = (surveyed.old.major, surveyed.new_installation.version.major);
    let checks = checks::Applicable::new(&asking.checks, old_major, new_major);
    let checks = checks.chosen(&asking.selection);
    // Whoever dumps says where new is to be, unless it is there already.
    let again = purpose == Purpose::Dump && surveyed.new_dir.is_none();
    let ask = |snapshot: Option<&Snapshot>, asked: Option<Vec<checks::Asked>>, told: usize| {
        let subject = Subject {
            old,
            snapshot,
            new: &new,
            linked_before: again && arguments.mode.mode() == Mode::Link,
            enables_checksums: arguments.enable_checksums,
            cancel: &run.cancel,
        };
        let report = checks::run(&checks, &subject, asked)?;
        tell(run, &report, asking, told, started)?;
        Ok(report)
    };
    let read = read_and_ask(old, jobs(arguments), &run.cancel, purpose, &checks);
    drop(ahead);
    let (portrait, asked) = match read {
        Ok(read) => read,
        Err(error) if error.code().family() == Family::Signal => return Err(error),
        Err(error) => {
            let late = late(arguments, &mut surveyed, sizing)?;
            tell_problems(run, &late);
            let outside = told.len() + late.len();
            return Err(explained(run, error, outside, |told| ask(None, None, told)));
        }
    };
    let uncounted = put_sizes(&mut surveyed, sizing)?;
    let Portrait { snapshot, sketch } = portrait;
    introduce(run, &surveyed, &snapshot);
    if arguments.enable_checksums && surveyed.old_control.data_checksums() {
        run.stream.emit(EventKind::Message {
            level: Level::Note,
            text: "old has data checksums, and so has new: there is nothing to enable".to_owned(),
        });
    }
    tell_passages(run, &surveyed, arguments.mode.given(), purpose);
    let undumped = undumped(old, &surveyed, &snapshot, jobs(arguments));
    let dumps = undumped.is_empty();
    let mut problems = undumped;
    problems.extend(uncounted);
    problems.extend(
        too_little_space(arguments, &surveyed, &snapshot)
            .into_iter()
            .filter(|problem| !told.iter().any(|told| same_problem(told, problem))),
    );
    let outside = told.len() + problems.len();
    let blocked = match only_asks {
        true => {
            tell_problems(run, &problems);
            None
        }
        false => (!problems.is_empty()).then(|| one_error(run, problems)),
    };
    let report = ask(Some(&snapshot), asked, outside)?;
    if let Some(error) = blocked {
        return Err(error);
    }
    let rehearsal = Rehearsal {
        old,
        snapshot: &snapshot,
        new: &version,
        locks,
        jobs: jobs(arguments),
        cancel: &run.cancel,
    };
    let passed = match purpose {
        Purpose::Rehearsal if dumps => {
            let _background = arguments.nice.then(Background::begin);
            rehearse(run, &rehearsal, asking)?
        }
        _ => true,
    };
    if only_asks && surveyed.counted {
        let asked = (arguments.mode.given(), jobs(arguments));
        let (server, stopped) = server_times(new, private.take(), &run.cancel);
        estimate::of_check(run, &surveyed, &snapshot, asked, server)?;
        stopped?;
    }
    if report.blocks() || !passed || outside > 0 {
        let error = something_blocks();
        return Err(match purpose {
            Purpose::Rehearsal if !dumps => {
                error.fact("rehearsal", "not made before all can be dumped")
            }
            _ => error,
        });
    }
    Ok(Examined {
        surveyed,
        snapshot,
        sketch,
        private,
        locks,
        lock,
    })
}

/// How quick new's server is, and the end of old's private one, which has nothing more to say.
fn server_times(
    new: Trials,
    private: Option<Postmaster>,
    cancel: &Cancel,
) -> (Result<(f64, f64)>, Result<()>) {
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| private.map_or(Ok(()), Postmaster::stop));
        let server = new.server_times(cancel);
        let panicked = |_| Err(Error::new(Code::Internal, "who stopped old panicked"));
        (server, stopping.join().unwrap_or_else(panicked))
    })
}

/// Why old could not be dumped as it is; what cannot be found out for it counts, too.
fn undumped(old: &Endpoint, surveyed: &Surveyed, snapshot: &Snapshot, jobs: usize) -> Vec<Error> {
    let wrong_user = made_by_install_user(snapshot, &surveyed.user).err();
    let lock_table = match old.private {
        true => None,
        false => checks::lock_table(old, snapshot, jobs).unwrap_or_else(Some),
    };
    wrong_user.into_iter().chain(lock_table).collect()
}

/// Reads each database and makes its checks, in one session: opening hundreds takes long.
///
/// A check that takes the server down takes the reading with it; the checks are then left to
/// be made one by one, where it shows which it was.
fn read_and_ask(
    old: &Endpoint,
    jobs: usize,
    cancel: &Cancel,
    purpose: Purpose,
    checks: &checks::Applicable<'_>,
) -> Result<(Portrait, Option<Vec<checks::Asked>>)> {
    let interviews = checks.interviews(cancel);
    let ask = |client: &mut Client, _: &Database| interviews.ask(client);
    match read(old, jobs, cancel, purpose, ask, &interviews) {
        Ok((portrait, asked)) => Ok((portrait, Some(asked))),
        Err(error) if error.code().family() == Family::Signal => Err(error),
        Err(_) => {
            old.await_recovery("template1", cancel)?;
            let (portrait, _) = read(old, jobs, cancel, purpose, |_, _| Ok(()), &Alone)?;
            Ok((portrait, None))
        }
    }
}

/// A server others use is read once more when it is dumped.
fn read<T: Send>(
    old: &Endpoint,
    jobs: usize,
    cancel: &Cancel,
    purpose: Purpose,
    work: impl Fn(&mut Client, &Database) -> Result<T> + Sync,
    help: &dyn Help,
) -> Result<(Portrait, Vec<T>)> {
    if purpose == Purpose::Dump && old.private {
        return catalog::portray_and(old, jobs, cancel, work, help);
    }
    let (snapshot, answers) = catalog::read_and_with_help(old, jobs, cancel, work, help)?;
    let sketch = None;
    Ok((Portrait { snapshot, sketch }, answers))
}

fn something_blocks() -> Error {
    Error::new(Code::Blocked, "something blocks the upgrade")
        .remedy(Remedy::manual("each finding above names its remedy"))
}

/// Why a catalog could not be read: a finding tells it better than the failure, where there is
/// one.
///
/// Where something was found from outside, the failure is one finding more.
fn explained(
    run: &Run,
    error: Error,
    told: usize,
    ask: impl FnOnce(usize) -> Result<checks::Report>,
) -> Error {
    if error.code().family() == Family::Signal {
        return error;
    }
    if told > 0 {
        tell_problems(run, &[error.without_fact("log")]);
        return match ask(told + 1) {
            Err(stop) if stop.code().family() == Family::Signal => stop,
            Ok(_) | Err(_) => something_blocks(),
        };
    }
    match ask(0) {
        Ok(report) if report.findings.iter().any(checks::Finding::blocks) => something_blocks(),
        Ok(_) | Err(_) => error,
    }
}

/// What old's pages are like, where they are to be given checksums and have none.
pub fn checksums(arguments: &Clusters, surveyed: &Surveyed) -> Option<PageLayout> {
    let control = &surveyed.old_control;
    (arguments.enable_checksums && !control.data_checksums()).then(|| control.page_layout())
}

/// How many things are done at once.
pub fn jobs(arguments: &Clusters) -> usize {
    let usual = || match arguments.nice {
        true => 1,
        false => usual_jobs(),
    };
    arguments.jobs.map_or_else(usual, usize::from)
}

/// The same with the server's log in a place that goes with the run, and so is not named.
pub fn examine_and_keep_no_log(
    run: &Run,
    arguments: &Clusters,
    looked: Looked,
    asking: &Asking,
    purpose: Purpose,
) -> Result<Examined> {
    let logs = temporary()?;
    examine(run, arguments, looked, asking, logs.path(), purpose)
        .map_err(|error| error.without_fact("log"))
}

fn start_old(
    run: &Run,
    arguments: &Clusters,
    surveyed: &Surveyed,
    locks: u32,
    logs: &Path,
) -> Result<Postmaster> {
    let mut spec = PostmasterSpec::for_old(
        &surveyed.old_installation,
        &surveyed.old,
        &surveyed.user,
        &logs.join("old-server.log"),
        raises_locks(surveyed, locks).then_some(locks),
    );
    spec.port = arguments.old_port;
    spec.extra = words(&arguments.old_options);
    spec.socket_parent = arguments.socketdir.clone();
    Postmaster::start(&spec, &run.cancel)
}

/// Whether a private old server is given a larger lock table than its settings say.
pub fn raises_locks(surveyed: &Surveyed, locks: u32) -> bool {
    locks > surveyed.old_control.max_locks_per_xact
        && surveyed.relation_files > Plan::MANY_RELATIONS
}

/// The user that initdb made owns every catalog object; another one cannot take its place.
fn made_by_install_user(snapshot: &Snapshot, user: &str) -> Result<()> {
    if snapshot.current_user == crate::pg::Oid::BOOTSTRAP_SUPERUSER {
        return Ok(());
    }
    Err(Error::new(
        Code::WrongUser,
        "this is not the install user of the old cluster",
    )
    .fact("user", user)
    .fact("install user", &snapshot.install_user)
    .remedy(Remedy::manual(format!(
        "give --username {}",
        crate::pg::quote::shell(&snapshot.install_user)
    ))))
}

/// What the file systems can do, where somebody has yet to choose; and what was chosen for him.
fn tell_passages(run: &Run, surveyed: &Surveyed, asked: Option<Mode>, purpose: Purpose) {
    let chooses = matches!(purpose, Purpose::Check | Purpose::Rehearsal) && asked.is_none();
    if !chooses && asked != Some(Mode::Auto) {
        return;
    }
    let (_, decided) = decided(surveyed, asked.unwrap_or(Mode::Copy));
    for (passage, decided) in surveyed.passages.iter().zip(decided) {
        let refused = Mode::ALL.into_iter().filter_map(|mode| {
            let reason = passage.refuses(mode)?;
            Some((mode.to_string(), reason.to_owned()))
        });
        run.stream.emit(EventKind::Passage(PassageFacts {
            old: passage.old.clone(),
            new: passage.new.clone(),
            possible: passage.modes().map(|mode| mode.to_string()).collect(),
            refused: refused.collect(),
            mode: asked.map(|_| decided.mode.to_string()),
        }));
    }
}

fn introduce(run: &Run, surveyed: &Surveyed, snapshot: &Snapshot) {
    let tables: u64 = snapshot
        .databases
        .iter()
        .map(|database| database.tables)
        .sum();
    let bytes: u64 = surveyed.inventory.iter().map(|place| place.bytes).sum();
    let state = match surveyed.serving {
        Some(_) => "running",
        None => "stopped",
    };
    run.stream.emit(EventKind::Cluster(ClusterFacts {
        side: "old".to_owned(),
        data_directory: surveyed.old.path.clone(),
        version: surveyed.old_installation.version.clone(),
        description: format!(
            "{state}, {}, {}, {}",
            counted(snapshot.connectable().len() as u64, "database"),
            counted(tables, "table"),
            size(bytes)
        ),
    }));
    if let (Some(new), Some(_)) = (&surveyed.new_dir, surveyed.origin) {
        run.stream.emit(EventKind::Cluster(ClusterFacts {
            side: "new".to_owned(),
            data_directory: new.clone(),
            version: surveyed.new_installation.version.clone(),
            description: match surveyed.origin {
                Some(crate::plan::Origin::Adopted) => "a fresh cluster, to be adopted".to_owned(),
                _ => "to be created".to_owned(),
            },
        }));
    }
}
