//! Opening the log files, which only the master may do: afterwards workers have fewer rights.
//!
//! A file is opened to append and given to the workers' account, descriptors go to the workers by
//! fork or over the life-line. What is written into them is `ferricorn_base::logs`'s.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ferricorn_base::logs;
use serde::{Deserialize, Serialize};

use crate::config::{Config, Destination};

/// The log files of a generation.
#[derive(Debug)]
pub struct LogFiles {
    error_to: Destination,
    access_to: Option<Destination>,
    error: OwnedFd,
    access: Option<OwnedFd>,
}

/// What another image must be told of log files beside their descriptors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The path of the error log; none for standard error.
    error_to: Option<OsString>,
    /// As above, if there is an access log at all.
    access_to: Option<Option<OsString>>,
}

impl LogFiles {
    /// What another image must be told of them.
    pub fn record(&self) -> Record {
        let path = |destination: &Destination| match destination {
            Destination::Standard => None,
            Destination::File(path) => Some(path.into()),
        };
        Record {
            error_to: path(&self.error_to),
            access_to: self.access_to.as_ref().map(path),
        }
    }

    /// Log files that another image had open.
    pub fn handed_over(error: OwnedFd, access: Option<OwnedFd>, record: Record) -> LogFiles {
        let destination = |path: Option<OsString>| match path {
            None => Destination::Standard,
            Some(path) => Destination::File(path.into()),
        };
        LogFiles {
            error_to: destination(record.error_to),
            access_to: record.access_to.map(destination),
            error,
            access,
        }
    }

    /// Opens what the configuration names.
    ///
    /// # Errors
    /// The file that cannot be opened, with its path.
    pub fn open(config: &Config) -> io::Result<LogFiles> {
        LogFiles::open_at(&config.error_log, config.access_log.as_ref())
    }

    /// Opens the same destinations once more: after a rotation the names mean new files.
    ///
    /// # Errors
    /// As [`LogFiles::open`].
    pub fn reopen(&self) -> io::Result<LogFiles> {
        LogFiles::open_at(&self.error_to, self.access_to.as_ref())
    }

    fn open_at(error: &Destination, access: Option<&Destination>) -> io::Result<LogFiles> {
        Ok(LogFiles {
            error_to: error.clone(),
            access_to: access.cloned(),
            error: match error {
                Destination::Standard => logs::unshared(io::stderr().as_fd().try_clone_to_owned()?),
                Destination::File(path) => file(path)?,
            },
            access: match access {
                Some(Destination::Standard) => {
                    Some(logs::unshared(io::stdout().as_fd().try_clone_to_owned()?))
                }
                Some(Destination::File(path)) => Some(file(path)?),
                None => None,
            },
        })
    }

    /// The error log.
    pub fn error(&self) -> BorrowedFd<'_> {
        self.error.as_fd()
    }

    /// The access log, if there is one.
    pub fn access(&self) -> Option<BorrowedFd<'_>> {
        self.access.as_ref().map(AsFd::as_fd)
    }

    /// Sends this process's error log there.
    ///
    /// # Errors
    /// What dup(2) answers.
    pub fn take_effect(&self) -> io::Result<()> {
        logs::set_error(self.error.try_clone()?);
        Ok(())
    }
}

fn file(path: &Path) -> io::Result<OwnedFd> {
    let named = |error: io::Error| {
        let text = format!("cannot open the log file {}: {error}", path.display());
        io::Error::new(error.kind(), text)
    };
    // Non-blocking for the sake of a named pipe that nobody reads: the master never waits.
    let mut options = OpenOptions::new();
    options
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK);
    let file: File = options.open(path).map_err(named)?;
    Ok(file.into())
}

#[cfg(test)]
#[allow(clippy::field_reassign_with_default, reason = "it has private fields")]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_file_is_made_anew_under_its_name() {
        let dir = std::env::temp_dir().join(format!("ferricorn-logs-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (path, rotated) = (dir.join("error.log"), dir.join("error.log.1"));
        let mut config = Config::default();
        config.error_log = Destination::File(path.clone());
        let files = LogFiles::open(&config).unwrap();
        std::fs::rename(&path, &rotated).unwrap();
        let files = files.reopen().unwrap();
        nix::unistd::write(files.error(), b"line\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"line\n");
        assert!(std::fs::read(&rotated).unwrap().is_empty());
        assert!(files.access().is_none());
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let mut config = Config::default();
        config.error_log = Destination::File("/nonexistent/error.log".into());
        let error = LogFiles::open(&config).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/error.log"), "{error}");
    }
}
