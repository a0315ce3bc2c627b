//! A working directory that stays the same one, whatever its name leads to later.
//!
//! A symlink such as `current` is resolved once for each generation, by the program on trial; all its
//! workers begin there, the last one as the first. It knows nothing of what the directory is for.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A directory, held open.
#[derive(Debug)]
pub struct Directory(OwnedFd);

impl Directory {
    /// The one that has this name now.
    ///
    /// # Errors
    /// It is not there, or may not be entered, with the path.
    pub fn open(path: &Path) -> io::Result<Directory> {
        let mut options = OpenOptions::new();
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        options.read(true).custom_flags(flags);
        // What is in it can be found by those only who may enter it.
        let file: io::Result<File> = options.open(path.join("."));
        let file = file.map_err(|error| {
            let text = format!("cannot enter {}: {error}", path.display());
            io::Error::new(error.kind(), text)
        })?;
        Ok(Directory(file.into()))
    }

    /// Makes it the working directory of this process.
    ///
    /// # Errors
    /// What fchdir(2) answers.
    pub fn enter(&self) -> io::Result<()> {
        nix::unistd::fchdir(&self.0).map_err(|errno| {
            let error = io::Error::from(errno);
            let text = format!("cannot enter the working directory: {error}");
            io::Error::new(error.kind(), text)
        })
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Directory {
    fn from(fd: OwnedFd) -> Directory {
        Directory(fd)
    }
}
