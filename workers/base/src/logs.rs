//! The error log of a process: what the `log` facade is told goes to one or more [`Outlet`]s.
//!
//! It may be used from any thread of master and worker and never waits for whoever reads the log.
//! It must never cache the pid (a fork changes it), nor let a message begin a line of its own: text
//! that came from a client may be in it.

mod current;
mod datagrams;
pub mod journal;
mod outlet;
pub mod syslog;

use std::fmt::{self, Write as _};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record, SetLoggerError};

pub use crate::access::AccessLog;
pub use crate::sink::{Sink, unshared};
use crate::stamp;

pub use current::{enter, leave};
pub use outlet::{Entry, Kind, Outlet};

/// The outlets, and the process that their pending lines belong to.
static ERROR: Mutex<Option<(Vec<Outlet>, u32)>> = Mutex::new(None);
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Sends what `log` is told in this process, from `level` up, to these outlets; as a line it is
/// `[2026-11-23 02:58:16 +0000] [pid] [INFO] message` in local time, with ` (request ID)` behind it where
/// the thread is at one ([`enter`]). A second call changes level and
/// outlets. A forked process inherits all of it, but not the lines that waited: those are its parent's.
///
/// # Errors
/// When somebody else installed a logger before.
pub fn init(level: LevelFilter, outlets: Vec<Outlet>) -> Result<(), SetLoggerError> {
    if !INSTALLED.load(Ordering::Relaxed) {
        log::set_logger(&Inlet)?;
        INSTALLED.store(true, Ordering::Relaxed);
    }
    set_outlets(outlets);
    set_level(level);
    Ok(())
}

/// Logs `level` and what is more severe from now on.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// Sends the error log of this process to these outlets from now on. Lines that waited go to the new
/// ones, messages to the old ones if those take them now.
pub fn set_outlets(mut outlets: Vec<Outlet>) {
    let mut error = ERROR.lock().unwrap_or_else(PoisonError::into_inner);
    for old in own(&mut error).into_iter().flat_map(std::mem::take) {
        outlets = Outlet::succeed(old, outlets);
    }
    *error = Some((outlets, std::process::id()));
}

/// Goes on with another descriptor where lines go to one: the file was opened anew.
pub fn set_error(fd: OwnedFd) {
    with_outlets(|outlets| {
        if let Some(outlet) = outlets.iter_mut().find(|outlet| outlet.takes_lines()) {
            outlet.replace(fd);
        }
    });
}

/// Writes what waits, as far as its readers take it now; returns whether nothing waits any more.
pub fn flush() -> bool {
    with_outlets(|outlets| {
        outlets.iter_mut().for_each(Outlet::flush);
        !outlets.iter().any(Outlet::has_pending)
    })
    .unwrap_or(true)
}

/// Entries of the error log dropped in this process, or in its parents before they forked it.
#[must_use]
pub fn dropped() -> u64 {
    with_outlets(|outlets| outlets.iter().map(Outlet::dropped).sum()).unwrap_or(0)
}

fn with_outlets<T>(act: impl FnOnce(&mut Vec<Outlet>) -> T) -> Option<T> {
    let mut error = ERROR.lock().unwrap_or_else(PoisonError::into_inner);
    own(&mut error).map(act)
}

/// The outlets, without what they inherited in a fork.
fn own(error: &mut Option<(Vec<Outlet>, u32)>) -> Option<&mut Vec<Outlet>> {
    let (outlets, owner) = error.as_mut()?;
    let pid = std::process::id();
    if *owner != pid {
        outlets.iter_mut().for_each(Outlet::discard);
        *owner = pid;
    }
    Some(outlets)
}

/// What the `log` facade calls.
struct Inlet;

impl Log for Inlet {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        // Before the lock: what prints itself may log, too.
        let mut text = String::new();
        let _ = write!(Escaped(&mut text), "{}", record.args());
        let request = current::id();
        let entry = Entry {
            kind: Kind::Error,
            level: record.level(),
            unix_us: stamp::now_us(),
            text: text.as_bytes(),
            request: request.as_deref(),
        };
        with_outlets(|outlets| {
            for outlet in outlets {
                outlet.push(&entry);
                outlet.flush();
            }
        });
    }

    fn flush(&self) {
        flush();
    }
}

/// Gunicorn's names of the levels.
fn name(level: Level) -> &'static str {
    match level {
        Level::Error => "ERROR",
        Level::Warn => "WARNING",
        Level::Info => "INFO",
        Level::Debug => "DEBUG",
        Level::Trace => "TRACE",
    }
}

/// Shows control characters, and what some programs take for a line end, as an escape.
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let special = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        let mut rest = text;
        while let Some(at) = rest.find(special) {
            let (clean, tail) = rest.split_at(at);
            let mut tail = tail.chars();
            let found = tail.next().unwrap_or_default();
            self.0.push_str(clean);
            self.0.extend(found.escape_default());
            rest = tail.as_str();
        }
        self.0.push_str(rest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;

    /// What a fork leaves in the child: the parent's lines, which the parent will write.
    #[test]
    fn lines_that_waited_at_a_fork_are_the_parents() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let entry = |text: &'static str| Entry {
            kind: Kind::Access,
            level: Level::Info,
            unix_us: 0,
            text: text.as_bytes(),
            request: None,
        };
        let mut outlet = Outlet::lines(writer);
        outlet.push(&entry("the parent's"));
        let mut error = Some((vec![outlet], std::process::id() + 1));
        let [outlet] = &mut own(&mut error).unwrap()[..] else {
            panic!("there is one")
        };
        assert!(!outlet.has_pending());
        outlet.push(&entry("the child's"));
        outlet.flush();
        drop(error);
        let mut text = String::new();
        File::from(reader).read_to_string(&mut text).unwrap();
        assert_eq!(text, "the child's\n");
    }
}
