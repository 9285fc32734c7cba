//! The arguments, with pg_upgrade's letters and environment variables.

mod mode;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::rate;
pub use mode::ModeArgs;

use crate::error::Exit;
use crate::server::DEFAULT_PORT;
use crate::steps::Handover;

const AFTER: &str = "\
Begin with check. After prepare, -D NEWDATADIR is all that a command needs.
Each command and each error ends by naming the commands that may follow.";

/// Upgrades a PostgreSQL cluster in place to a newer major version.
#[derive(Debug, Parser)]
#[command(name = "pg_migrator", version, max_term_width = 100, after_help = AFTER)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Heading of the options that say how the work is done.
const WORK: &str = "Private servers and work";

/// Heading of the options that say which checks are made, and where their findings go.
const CHECKS: &str = "Checks";

/// Options every command understands.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// Write events as JSON Lines to standard output, and nothing else there
    #[arg(long, global = true)]
    pub json: bool,
    /// State directory [default: NEWDATADIR.migration]
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Do not ask before the cutover or the removal of the old cluster
    #[arg(long, short = 'y', global = true)]
    pub yes: bool,
    /// Show every finding, and each step that is undone
    #[arg(long, short = 'v', global = true)]
    pub verbose: bool,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Verify that an upgrade would succeed; changes nothing
    #[command(
        mut_arg("old_bindir", unless_listed),
        mut_arg("new_bindir", unless_listed),
        mut_arg("old_datadir", unless_listed)
    )]
    Check(Check),
    /// Build the new cluster beside the old one; no downtime
    ///
    /// Where that was done and the schema of old has changed since, prepare -D NEWDATADIR does
    /// again what is no longer right.
    #[command(mut_arg("old_bindir", |arg| arg.required(false)),
              mut_arg("new_bindir", |arg| arg.required(false)),
              mut_arg("old_datadir", |arg| arg.required(false)))]
    Prepare(Clusters),
    /// Hand over to the prepared new cluster; service is down meanwhile
    Cutover(Cutover),
    /// Check, prepare and cut over in one go
    Upgrade(Upgrade),
    /// Undo whatever was done
    Rollback(Rollback),
    /// Go on after a crash or an interruption
    Resume(Resume),
    /// Give up the way back: remove the old cluster
    Finalize(Migration),
    /// Say where a migration stands and what may be done next
    Status(Migration),
    /// Compare the files of new with those of old; or check the pages of either
    Verify(Verify),
    /// Explain an error code or a check
    Explain(Explain),
    /// Show the events of a migration again
    Log(Log),
}

fn unless_listed(argument: clap::Arg) -> clap::Arg {
    argument.required(false).required_unless_present("list")
}

/// Arguments of `check`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = CHECKS)]
pub struct Check {
    /// Name every check there is, and make none; needs no clusters
    #[arg(long)]
    pub list: bool,
    /// Also dump the schema and restore it in a throw-away new cluster: names all that fails
    #[arg(long, conflicts_with = "list")]
    pub rehearse: bool,
    /// Make these checks alone: that is not a whole check
    #[arg(long, value_name = "ID", value_delimiter = ',', conflicts_with_all = ["list", "skip"])]
    pub only: Vec<String>,
    /// Write each list of more than 10 findings whole to a file in this directory
    #[arg(long, value_name = "DIR", conflicts_with = "list")]
    pub output_dir: Option<PathBuf>,
    /// Write the remedies that are SQL to this file, as a script for psql
    #[arg(long, value_name = "FILE", conflicts_with = "list")]
    pub sql: Option<PathBuf>,
    #[command(flatten)]
    pub clusters: Clusters,
}

/// Both clusters, as pg_upgrade names them.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Clusters")]
pub struct Clusters {
    /// Programs of the old version: postgres and pg_ctl
    #[arg(
        short = 'b',
        long,
        env = "PGBINOLD",
        value_name = "DIR",
        required = true
    )]
    pub old_bindir: Option<PathBuf>,
    /// Programs of the new version
    #[arg(
        short = 'B',
        long,
        env = "PGBINNEW",
        value_name = "DIR",
        required = true
    )]
    pub new_bindir: Option<PathBuf>,
    /// Old data directory, or its configuration directory
    #[arg(
        short = 'd',
        long,
        env = "PGDATAOLD",
        value_name = "DIR",
        required = true
    )]
    pub old_datadir: Option<PathBuf>,
    /// New data directory: absent, empty, or fresh from initdb
    #[arg(short = 'D', long, env = "PGDATANEW", value_name = "DIR")]
    pub new_datadir: Option<PathBuf>,
    /// Install user of old [default: owner of its data directory]
    #[arg(short = 'U', long, env = "PGUSER", value_name = "NAME")]
    pub username: Option<String>,
    #[command(flatten)]
    pub mode: ModeArgs,
    /// Do not make these checks; what was skipped is said, and forgotten by the next command
    #[arg(long, value_name = "ID", value_delimiter = ',', help_heading = CHECKS)]
    pub skip: Vec<String>,
    /// How many things to do at once [default: processors, at most 16]
    #[arg(short = 'j', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256),
          help_heading = WORK)]
    pub jobs: Option<u16>,
    /// Prepare one thing at a time, with the least priority and with rests
    #[arg(long, help_heading = WORK)]
    pub nice: bool,
    /// Read so much of a running old cluster in a second at most, by copy: 100MB
    #[arg(long, value_name = "BYTES", value_parser = rate::parse, help_heading = WORK)]
    pub max_rate: Option<u64>,
    /// Turn on data checksums in new where old has none (as pg_checksums --enable): written while
    /// files are copied, only by copy
    #[arg(long, help_heading = WORK)]
    pub enable_checksums: bool,
    /// Directory for private sockets [default: temporary directory]
    #[arg(short = 's', long, env = "PGSOCKETDIR", value_name = "DIR", help_heading = WORK)]
    pub socketdir: Option<PathBuf>,
    /// Options for the private old server: '-c work_mem=1GB -c jit=off'
    #[arg(short = 'o', long, value_name = "OPTIONS", allow_hyphen_values = true,
          value_parser = Words::parse, help_heading = WORK)]
    pub old_options: Vec<Words>,
    /// The same for the private new server
    #[arg(short = 'O', long, value_name = "OPTIONS", allow_hyphen_values = true,
          value_parser = Words::parse, help_heading = WORK)]
    pub new_options: Vec<Words>,
    /// Number in the name of the private old server's socket
    #[arg(short = 'p', long, env = "PGPORTOLD", default_value_t = DEFAULT_PORT, value_name = "PORT",
          help_heading = WORK)]
    pub old_port: u16,
    /// The same for the private new server
    #[arg(short = 'P', long, env = "PGPORTNEW", default_value_t = DEFAULT_PORT, value_name = "PORT",
          help_heading = WORK)]
    pub new_port: u16,
}

/// Words of one option, split as a shell splits them: what pg_upgrade's users have in their hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words(Vec<String>);

impl Words {
    /// Words that were split before.
    pub fn of(words: &[String]) -> Vec<Self> {
        match words {
            [] => Vec::new(),
            some => vec![Self(some.to_vec())],
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        shlex::split(text)
            .map(Self)
            .ok_or_else(|| "a quote is not closed, or a backslash ends it".to_owned())
    }
}

/// The words of all of them, in order.
pub fn words(options: &[Words]) -> Vec<String> {
    options.iter().flat_map(|one| one.0.clone()).collect()
}

/// A migration that was begun.
#[derive(Debug, Clone, Args)]
pub struct Migration {
    /// Data directory of the new cluster
    #[arg(short = 'D', long, env = "PGDATANEW", value_name = "DIR")]
    pub new_datadir: Option<PathBuf>,
}

/// How service is handed over.
#[derive(Debug, Clone, Args)]
pub struct Service {
    /// Start the new cluster at the end, and wait until it accepts connections
    #[arg(long)]
    pub start: bool,
    /// Record the SHA-256 of every file of old when it has stopped, and compare on the way back;
    /// reads all of old while service is down, which no estimate knows of
    #[arg(long)]
    pub manifest: bool,
    /// Wait this long until nobody is in a transaction in old, or takes a base backup by
    /// pg_basebackup; give up if somebody still is. A backup begun by pg_backup_start is not seen
    #[arg(long, value_name = "SECONDS")]
    pub wait_idle: Option<u32>,
    /// How long the old server may take to stop
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub stop_timeout: u32,
    /// Shell command that holds a connection pooler, run before the old server is stopped
    #[arg(long, value_name = "COMMAND")]
    pub pause_command: Option<String>,
    /// Shell command that lets the pooler go on: with new, or with old if the cutover fails
    #[arg(long, value_name = "COMMAND")]
    pub resume_command: Option<String>,
    /// Shell command that stops the old server, where a service manager must do it
    #[arg(long, value_name = "COMMAND")]
    pub stop_old_command: Option<String>,
    /// Shell command that starts the old server again if the cutover fails
    #[arg(long, value_name = "COMMAND")]
    pub start_old_command: Option<String>,
    /// Shell command that starts the new server; implies --start
    #[arg(long, value_name = "COMMAND")]
    pub start_new_command: Option<String>,
}

impl Service {
    /// The same for the steps.
    pub fn handover(&self) -> Handover {
        let seconds = |number: u32| Duration::from_secs(number.into());
        Handover {
            start: self.start || self.start_new_command.is_some(),
            manifest: self.manifest,
            wait_idle: self.wait_idle.map(seconds),
            stop_timeout: seconds(self.stop_timeout),
            pause: self.pause_command.clone(),
            resume: self.resume_command.clone(),
            stop_old: self.stop_old_command.clone(),
            start_old: self.start_old_command.clone(),
            start_new: self.start_new_command.clone(),
        }
    }
}

/// Arguments of `cutover`.
#[derive(Debug, Clone, Args)]
pub struct Cutover {
    #[command(flatten)]
    pub migration: Migration,
    #[command(flatten)]
    pub service: Service,
}

/// Arguments of `upgrade`.
#[derive(Debug, Clone, Args)]
pub struct Upgrade {
    #[command(flatten)]
    pub service: Service,
    #[command(flatten)]
    pub clusters: Clusters,
}

/// Arguments of `resume`.
#[derive(Debug, Clone, Args)]
pub struct Resume {
    #[command(flatten)]
    pub migration: Migration,
    /// Give up an interrupted rollback that has not yet taken the new cluster out of use, and end
    /// the cutover after all
    #[arg(long)]
    pub keep_new: bool,
    #[command(flatten)]
    pub service: Service,
}

/// Arguments of `rollback`.
#[derive(Debug, Clone, Args)]
pub struct Rollback {
    #[command(flatten)]
    pub migration: Migration,
    /// Give up rows written to the new cluster since it was started
    #[arg(long)]
    pub discard_new_writes: bool,
}

/// Arguments of `verify`.
#[derive(Debug, Clone, Args)]
pub struct Verify {
    /// Compute the checksum of every page of the clusters named, which must be stopped: of that of
    /// -d, of that of -D, or of both. No migration is needed for it
    #[arg(long)]
    pub checksums: bool,
    /// Compare old, which must be stopped, with what cutover --manifest has recorded of it
    #[arg(long, conflicts_with = "checksums")]
    pub manifest: bool,
    #[command(flatten)]
    pub migration: Migration,
    /// Old data directory, or its configuration directory: its pages are checked [env: PGDATAOLD]
    #[arg(short = 'd', long, value_name = "DIR", requires = "checksums")]
    pub old_datadir: Option<PathBuf>,
    /// How many files to read at once [default: processors, at most 16]
    #[arg(short = 'j', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256),
          requires = "checksums")]
    pub jobs: Option<u16>,
}

impl Verify {
    /// The old cluster whose pages are checked.
    ///
    /// The variable is read here: as one of the argument it would demand `--checksums` of every
    /// `verify` where it is set.
    pub fn old_with_pages(&self) -> Option<PathBuf> {
        let variable = || std::env::var_os("PGDATAOLD").filter(|value| !value.is_empty());
        let given = self.old_datadir.clone();
        given.or_else(|| variable().map(PathBuf::from))
    }
}

/// Arguments of `explain`.
#[derive(Debug, Clone, Args)]
pub struct Explain {
    /// PGM-1203, 1203, or the name of a check
    #[arg(value_name = "CODE")]
    pub code: String,
}

/// Arguments of `log`.
#[derive(Debug, Clone, Args)]
pub struct Log {
    #[command(flatten)]
    pub migration: Migration,
    /// Only warnings and worse
    #[arg(long)]
    pub warnings: bool,
}

/// Prints what clap has to say: help and version to standard output, mistakes to standard error.
#[expect(
    clippy::print_stderr,
    reason = "there is no renderer before there are arguments"
)]
pub fn refused(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    let asked = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    if asked {
        // A closed pipe is nobody who wants to read it.
        let _ = error.print();
        return ExitCode::from(Exit::Done.status());
    }
    eprint!("{}", error.render());
    eprintln!(
        "\nerror[PGM-1001]: the command line is wrong; nothing was read, nothing was changed"
    );
    ExitCode::from(Exit::Usage.status())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Mode;

    const CLUSTERS: [&str; 8] = [
        "pg_migrator",
        "prepare",
        "-b/old/bin",
        "-B/new/bin",
        "-d/old",
        "-D/new",
        "-o",
        "-c a=b -c 'c=d e'",
    ];

    fn clusters(more: &[&str]) -> Result<Clusters, clap::Error> {
        match Cli::try_parse_from(CLUSTERS.iter().chain(more))?.command {
            Command::Prepare(clusters) => Ok(clusters),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn server_options_are_split_as_by_a_shell_and_may_be_repeated() {
        let clusters = clusters(&["-o", "-c e=f", "-O", "-B 16MB"]).unwrap();
        assert_eq!(
            words(&clusters.old_options),
            ["-c", "a=b", "-c", "c=d e", "-c", "e=f"]
        );
        assert_eq!(words(&clusters.new_options), ["-B", "16MB"]);
    }

    #[test]
    fn only_a_repeated_prepare_knows_the_clusters() {
        for command in ["check", "upgrade"] {
            let words = ["pg_migrator", command, "-D/new"];
            assert!(Cli::try_parse_from(words).is_err(), "{command}");
        }
        let cli = Cli::try_parse_from(["pg_migrator", "prepare", "-D/new"]).unwrap();
        assert!(
            matches!(cli.command, Command::Prepare(clusters) if clusters.old_datadir.is_none())
        );
    }

    #[test]
    fn a_mode_is_named_in_one_way() {
        let given = |words: &[&str]| clusters(words).map(|clusters| clusters.mode.given());
        assert_eq!(given(&[]).unwrap(), None);
        assert_eq!(given(&["-k"]).unwrap(), Some(Mode::Link));
        for mode in Mode::ALL {
            assert_eq!(given(&["--mode", mode.name()]).unwrap(), Some(mode));
            if mode != Mode::Auto {
                assert_eq!(given(&[&format!("--{mode}")]).unwrap(), Some(mode));
            }
        }
        for words in [
            &["--mode", "all"][..],
            &["--mode", "link", "--link"],
            &["-k", "--clone"],
        ] {
            assert!(given(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn a_quote_that_is_not_closed_is_a_mistake() {
        let error = clusters(&["-O", "-c 'a=b"]).unwrap_err();
        assert!(
            error.to_string().contains("a quote is not closed"),
            "{error}"
        );
    }
}
