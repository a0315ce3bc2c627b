//! How the worker's loop tells its stream threads that the worker retires.
//!
//! A flag for those who look, and a descriptor for those who wait. In the worker only; it never
//! waits itself.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// Whether a worker retires: it begins once, and never ends.
#[derive(Debug)]
pub struct Closing {
    begun: AtomicBool,
    /// Readable from then on, since nobody reads it (eventfd(2)).
    wake: EventFd,
}

impl Closing {
    /// A worker that does not retire yet.
    ///
    /// # Errors
    /// What eventfd(2) answers.
    pub fn new() -> io::Result<Closing> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Closing {
            begun: AtomicBool::new(false),
            wake: EventFd::from_flags(flags)?,
        })
    }

    /// The worker retires: wakes everyone who waits for that.
    pub fn begin(&self) {
        if !self.begun.swap(true, Ordering::Relaxed) {
            // A counter of 0 takes a 1.
            let _ = self.wake.write(1);
        }
    }

    /// Whether the worker retires.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }
}

/// Readable when the worker retires.
impl AsFd for Closing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
