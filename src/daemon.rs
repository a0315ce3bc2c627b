//! Into the background: twice forked, without a terminal, and yet with an honest exit status.
//!
//! The process that the user started waits until the server serves, or says with its exit status
//! why not. Until then messages still reach the terminal. Before anything else is made, so that
//! nothing belongs to the wrong pid.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::OFlag;

use crate::exit;
use crate::spawn;
use crate::sys::{self, Fork};

/// The daemon's way to tell the process that waits for it.
#[derive(Debug)]
pub struct Waiting(Option<OwnedFd>);

impl Waiting {
    /// For a program that stays in the foreground: nobody waits.
    pub fn nobody() -> Waiting {
        Waiting(None)
    }

    /// Whether this process is a daemon whose start is still being waited for.
    pub fn is_waited_for(&self) -> bool {
        self.0.is_some()
    }

    /// The server serves: lets the one who waits go, and the terminal with it.
    ///
    /// # Errors
    /// What open(2) or dup2(2) answer for /dev/null.
    pub fn serves(&mut self) -> io::Result<()> {
        let Some(pipe) = self.0.take() else {
            return Ok(());
        };
        silence_output()?;
        let _ = nix::unistd::write(&pipe, &[exit::OK]);
        Ok(())
    }

    /// The start has failed.
    pub fn fails(&mut self, code: u8) {
        if let Some(pipe) = self.0.take() {
            let _ = nix::unistd::write(&pipe, &[code]);
        }
    }
}

/// Sends standard output and standard error to /dev/null.
///
/// # Errors
/// What open(2) or dup2(2) answer.
pub fn silence_output() -> io::Result<()> {
    silence_stdout()?;
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    nix::unistd::dup2_stderr(null.as_fd())?;
    Ok(())
}

/// Sends standard output to /dev/null.
///
/// # Errors
/// As [`silence_output`].
pub fn silence_stdout() -> io::Result<()> {
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    nix::unistd::dup2_stdout(null.as_fd())?;
    Ok(())
}

/// Goes into the background. It returns in the daemon only; the process that called ends when the
/// daemon has told it how.
///
/// # Errors
/// What fork(2), setsid(2) or open(2) answer.
pub fn detach() -> io::Result<Waiting> {
    spawn::only_thread()?;
    let (told, pipe) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    if let Fork::Parent(_) = sys::fork()? {
        drop(pipe);
        let mut code = [0];
        // End of file without a byte: it died without a word.
        let read = loop {
            match nix::unistd::read(&told, &mut code) {
                Err(nix::errno::Errno::EINTR) => {}
                read => break read,
            }
        };
        sys::exit_now(i32::from(if read == Ok(1) { code[0] } else { exit::ERROR }));
    }
    drop(told);
    // A session of its own, and then not its leader: it can never get a terminal again.
    nix::unistd::setsid()?;
    if let Fork::Parent(_) = sys::fork()? {
        sys::exit_now(0);
    }
    let null = OpenOptions::new().read(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(null.as_fd())?;
    Ok(Waiting(Some(pipe)))
}
