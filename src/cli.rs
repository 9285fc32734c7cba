//! The command line: arguments in, a run, an exit status out; one file a command.

mod again;
mod args;
mod ask;
mod check;
mod checksums;
mod cutover;
mod estimate;
mod explain;
mod finalize;
mod findings;
mod log;
mod lost;
mod manifest;
mod migration;
mod output;
mod prepare;
mod rate;
mod rehearsal;
mod resume;
mod rollback;
mod run;
mod sight;
mod space;
mod status;
mod survey;
mod upgrade;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::error::Exit;
use args::{Cli, Command};

/// Runs the program with these arguments, the first being its name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return args::refused(&error),
    };
    // Dumps hold password hashes: nothing this program makes is for others to read.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let global = cli.global;
    let exit = match cli.command {
        Command::Check(arguments) => check::run(&global, arguments),
        Command::Prepare(arguments) => prepare::run(&global, arguments),
        Command::Cutover(arguments) => cutover::run(&global, &arguments),
        Command::Upgrade(arguments) => upgrade::run(&global, arguments),
        Command::Rollback(arguments) => rollback::run(&global, &arguments),
        Command::Resume(arguments) => resume::run(&global, &arguments),
        Command::Finalize(arguments) => finalize::run(&global, &arguments),
        Command::Status(arguments) => status::run(&global, &arguments),
        Command::Verify(arguments) => verify::run(&global, &arguments),
        Command::Explain(arguments) => explain::run(&global, &arguments),
        Command::Log(arguments) => log::run(&global, &arguments),
    };
    status(exit)
}

fn status(exit: Exit) -> ExitCode {
    ExitCode::from(exit.status())
}
