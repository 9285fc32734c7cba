//! The question before what cannot be taken back.

use std::io::{BufRead, IsTerminal, Stdin, Write};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::args::Global;
use crate::error::Result;
use crate::work::Cancel;

/// Milliseconds between two looks at the wish to stop.
const LOOK: u8 = 100;

/// Whether standard input is a terminal.
pub fn somebody_answers() -> bool {
    std::io::stdin().is_terminal()
}

/// Asks for a yes on the terminal; where nobody can answer the answer is no.
///
/// # Errors
///
/// `Interrupted`, `Terminated`: who sends a signal instead has answered, too.
#[expect(
    clippy::print_stderr,
    reason = "a question waits on the terminal, no event can"
)]
pub fn ask(global: &Global, cancel: &Cancel, question: &str) -> Result<bool> {
    if global.yes {
        return Ok(true);
    }
    if !somebody_answers() {
        return Ok(false);
    }
    eprint!("{question} [yes/no] ");
    let _ = std::io::stderr().flush();
    let stdin = std::io::stdin();
    wait_for_a_line(&stdin, cancel).inspect_err(|_| eprintln!())?;
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    Ok(read.is_ok() && answer.trim().eq_ignore_ascii_case("yes"))
}

/// A read would go on after a signal, and end with the next line only.
fn wait_for_a_line(stdin: &Stdin, cancel: &Cancel) -> Result<()> {
    loop {
        cancel.check()?;
        let mut wanted = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        match poll(&mut wanted, PollTimeout::from(LOOK)) {
            Ok(0) | Err(Errno::EINTR) => {}
            // What is wrong with it the read will find.
            _ => return Ok(()),
        }
    }
}
