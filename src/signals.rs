//! The signals that the master listens to: counters and one pipe, made once.
//!
//! A handler only counts and writes a byte; the loop polls the pipe and takes the counts. Nothing
//! here decides anything, and a worker never keeps it: `spawn` resets the dispositions and closes
//! the pipe.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, SigmaskHow};
use signal_hook::consts::{
    SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGWINCH,
};

use crate::state::{Event, Stop};
use crate::sys;

/// In the order in which they are acted upon: a stop goes before everything, and what the dead have
/// to say comes last.
const WATCHED: [i32; 10] = [
    SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGTTIN, SIGTTOU, SIGWINCH, SIGHUP, SIGUSR2, SIGCHLD,
];

/// The watched signals.
#[derive(Debug)]
pub struct Signals {
    counts: Vec<(i32, Arc<AtomicU32>)>,
    pipe: OwnedFd,
    // The handlers write to it by number as long as the process lives.
    _wake: OwnedFd,
}

impl Signals {
    /// Installs the handlers.
    ///
    /// # Errors
    /// What pipe(2), sigprocmask(2) and sigaction(2) answer.
    pub fn watch() -> io::Result<Signals> {
        // Between the installation of its handler and the registration of our action signal-hook
        // forgets a signal, so none may come meanwhile.
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let signals = Signals::install();
        before.thread_set_mask()?;
        signals
    }

    fn install() -> io::Result<Signals> {
        let (pipe, wake) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let mut counts = Vec::new();
        for signal in WATCHED {
            let count = Arc::new(AtomicU32::new(0));
            sys::count_signal(signal, Arc::clone(&count), sys::number(wake.as_fd()))?;
            counts.push((signal, count));
        }
        Ok(Signals {
            counts,
            pipe,
            _wake: wake,
        })
    }

    /// What came since the last call, in the order in which it should be acted upon, each with how
    /// often it came.
    pub fn take(&self) -> Vec<(i32, u32)> {
        let mut bytes = [0; 64];
        while nix::unistd::read(&self.pipe, &mut bytes).is_ok_and(|read| read == bytes.len()) {}
        let taken = |(signal, count): &(i32, Arc<AtomicU32>)| {
            Some((*signal, count.swap(0, Ordering::Acquire))).filter(|(_, count)| *count > 0)
        };
        self.counts.iter().filter_map(taken).collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// What a signal means to the state; `None` for those that the shell deals with.
pub fn event(signal: i32) -> Option<Event> {
    Some(match signal {
        SIGTERM => Event::Stop(Stop::Graceful),
        SIGINT | SIGQUIT => Event::Stop(Stop::Quick),
        SIGHUP => Event::Reload,
        SIGUSR1 => Event::Reopen,
        SIGTTIN => Event::More,
        SIGTTOU => Event::Less,
        SIGWINCH => Event::RetireAll,
        SIGUSR2 => Event::Upgrade,
        _ => return None,
    })
}
