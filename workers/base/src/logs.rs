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
use crate::board::Counter;
pub use crate::sink::{Sink, unshared};
use crate::stamp;

pub use current::{enter, leave};
pub use outlet::{Entry, Kind, Outlet};

/// The error log of the process that `owner` is.
static ERROR: Mutex<Option<Own>> = Mutex::new(None);
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Where the error log of one process goes, and what has become of it.
#[derive(Debug, Default)]
struct Own {
    outlets: Vec<Outlet>,
    /// The process that lines which wait belong to.
    owner: u32,
    counted: Counted,
}

/// What was logged in this process since it was forked, or began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Messages at level error.
    pub errors: u64,
    /// Messages at level warning.
    pub warnings: u64,
    /// Messages that an outlet had no room for.
    pub dropped: u64,
}

impl Counted {
    /// What of it is added up on the scoreboard, and where.
    #[must_use]
    pub fn by_counter(self) -> [(Counter, u64); 3] {
        [
            (Counter::LogErrors, self.errors),
            (Counter::LogWarnings, self.warnings),
            (Counter::LogLost, self.dropped),
        ]
    }

    /// What was added since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Counted) -> Counted {
        Counted {
            errors: self.errors.saturating_sub(earlier.errors),
            warnings: self.warnings.saturating_sub(earlier.warnings),
            dropped: self.dropped.saturating_sub(earlier.dropped),
        }
    }
}

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
    let own = own(error.get_or_insert_default());
    for old in std::mem::take(&mut own.outlets) {
        outlets = Outlet::succeed(old, outlets);
    }
    own.outlets = outlets;
}

/// Goes on with another descriptor where lines go to one: the file was opened anew.
pub fn set_error(fd: OwnedFd) {
    with_own(|own| {
        let mut outlets = own.outlets.iter_mut();
        if let Some(outlet) = outlets.find(|outlet| outlet.takes_lines()) {
            outlet.replace(fd);
        }
    });
}

/// Writes what waits, as far as its readers take it now; returns whether nothing waits any more.
pub fn flush() -> bool {
    with_own(|own| {
        own.outlets.iter_mut().for_each(Outlet::flush);
        !own.outlets.iter().any(Outlet::has_pending)
    })
    .unwrap_or(true)
}

/// What this process has logged until now.
#[must_use]
pub fn counted() -> Counted {
    with_own(|own| own.counted).unwrap_or_default()
}

fn with_own<T>(act: impl FnOnce(&mut Own) -> T) -> Option<T> {
    let mut error = ERROR.lock().unwrap_or_else(PoisonError::into_inner);
    let own = own(error.as_mut()?);
    let dropped = |own: &Own| own.outlets.iter().map(Outlet::dropped).sum::<u64>();
    let before = dropped(own);
    let done = act(own);
    own.counted.dropped += dropped(own).saturating_sub(before);
    Some(done)
}

/// The log without what it inherited in a fork.
fn own(error: &mut Own) -> &mut Own {
    let pid = std::process::id();
    if error.owner != pid {
        error.outlets.iter_mut().for_each(Outlet::discard);
        error.counted = Counted::default();
        error.owner = pid;
    }
    error
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
        with_own(|own| {
            match entry.level {
                Level::Error => own.counted.errors += 1,
                Level::Warn => own.counted.warnings += 1,
                _ => {}
            }
            for outlet in &mut own.outlets {
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
        let mut error = Own {
            outlets: vec![outlet],
            owner: std::process::id() + 1,
            counted: Counted {
                errors: 7,
                ..Counted::default()
            },
        };
        let own = own(&mut error);
        assert_eq!(own.counted, Counted::default());
        let [outlet] = &mut own.outlets[..] else {
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
