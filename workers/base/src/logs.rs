//! The error log of a process: the `log` facade, through env_logger, into one [`Sink`].
//!
//! It may be used from any thread of master and worker and never waits for whoever reads the log.
//! It must never cache the pid (a fork changes it), nor let a message begin a line of its own: text
//! that came from a client may be in it.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use env_logger::fmt::Formatter;
use log::{Level, LevelFilter, Record, SetLoggerError};

pub use crate::access::AccessLog;
pub use crate::sink::{Sink, unshared};
use crate::stamp;

/// The sink, and the process that its pending lines belong to.
static ERROR: Mutex<Option<(Sink, u32)>> = Mutex::new(None);
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Sends what `log` is told in this process, from `level` up, to `fd` (what [`unshared`] gave, or a
/// file that was opened to append), as `[2026-11-23 02:58:16 +0000] [pid] [INFO] message` in local
/// time. A second call changes level and descriptor. A forked process inherits all of it, but not
/// the lines that waited: those are its parent's.
///
/// # Errors
/// When somebody else installed a logger before.
pub fn init(level: LevelFilter, fd: OwnedFd) -> Result<(), SetLoggerError> {
    if !INSTALLED.load(Ordering::Relaxed) {
        let logger = env_logger::Builder::new()
            .filter_level(LevelFilter::Trace)
            .target(env_logger::Target::Pipe(Box::new(Inlet)))
            .format(write_record)
            .build();
        log::set_boxed_logger(Box::new(logger))?;
        INSTALLED.store(true, Ordering::Relaxed);
    }
    set_error(fd);
    set_level(level);
    Ok(())
}

/// Logs `level` and what is more severe from now on.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// Sends the error log of this process to `fd` from now on.
pub fn set_error(fd: OwnedFd) {
    let mut error = ERROR.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(sink) = own(&mut error) {
        sink.replace(fd);
        return;
    }
    *error = Some((Sink::new(fd), std::process::id()));
}

/// Writes what waits, as far as the reader of the log takes it now; returns whether nothing waits
/// any more.
pub fn flush() -> bool {
    with_sink(|sink| {
        sink.flush();
        !sink.has_pending()
    })
    .unwrap_or(true)
}

/// Error-log lines dropped in this process, or in its parents before they forked it.
#[must_use]
pub fn dropped() -> u64 {
    with_sink(|sink| sink.dropped()).unwrap_or(0)
}

fn with_sink<T>(act: impl FnOnce(&mut Sink) -> T) -> Option<T> {
    let mut error = ERROR.lock().unwrap_or_else(PoisonError::into_inner);
    own(&mut error).map(act)
}

/// The sink, without what it inherited in a fork.
fn own(error: &mut Option<(Sink, u32)>) -> Option<&mut Sink> {
    let (sink, owner) = error.as_mut()?;
    let pid = std::process::id();
    if *owner != pid {
        sink.discard();
        *owner = pid;
    }
    Some(sink)
}

/// Where env_logger puts one formatted record at a time.
struct Inlet;

impl Write for Inlet {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        with_sink(|sink| sink.push(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        flush();
        Ok(())
    }
}

fn write_record(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    out.write_all(&stamp::error_now())?;
    write!(out, " [{}] [{}] ", std::process::id(), name(record.level()))?;
    write!(Escaped(out), "{}", record.args()).map_err(io::Error::other)?;
    out.write_all(b"\n")
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
struct Escaped<'a>(&'a mut dyn Write);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let special = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        let mut rest = text;
        while let Some(at) = rest.find(special) {
            let (clean, tail) = rest.split_at(at);
            let mut tail = tail.chars();
            let found = tail.next().unwrap_or_default();
            write!(self.0, "{clean}{}", found.escape_default()).map_err(|_| fmt::Error)?;
            rest = tail.as_str();
        }
        self.0.write_all(rest.as_bytes()).map_err(|_| fmt::Error)
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
        let mut sink = Sink::new(writer);
        sink.push(b"the parent's");
        let mut error = Some((sink, std::process::id() + 1));
        let sink = own(&mut error).unwrap();
        assert!(!sink.has_pending());
        sink.push(b"the child's");
        own(&mut error).unwrap().flush();
        drop(error);
        let mut text = String::new();
        File::from(reader).read_to_string(&mut text).unwrap();
        assert_eq!(text, "the child's\n");
    }
}
