//! The access log: one line for each request that was answered.
//!
//! Lines are rendered straight into the buffer of a sink and go out when the loop is about to
//! block, so that a request costs no system call of its own and a reader that does not read costs
//! lines, never time. It may read the clock's cached stamps; it must never allocate per request,
//! nor write a byte of a client's that could end, forge or hide a line.

mod escape;
mod format;
mod json;
mod text;

#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;

use ferricorn_http::Head;
use http::HeaderMap;

pub use format::{AccessFormat, DEFAULT_FORMAT, FormatError};

use crate::logs::{Entry, Kind, Outlet};
use crate::peer::Peer;
use crate::request::{RequestId, Trace};

/// Bytes of lines that are written without waiting for the loop to be idle.
const FLUSH_AT: usize = 16 * 1024;

/// What is known of one request when its response is over.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The request's head; an empty one where no head could be read.
    pub head: &'a Head,
    /// Who sent it, see [`crate::Request::client`].
    pub client: &'a Peer,
    /// What the request is called.
    pub id: RequestId<'a>,
    /// The trace that it belongs to, if that is known.
    pub trace: Option<Trace>,
    /// The status that was sent.
    pub status: u16,
    /// The fields that were sent, if [`AccessLog::wants_response_fields`].
    pub response_fields: Option<&'a HeaderMap>,
    /// Bytes of content that were sent, without the head.
    pub body_bytes: u64,
    /// When the request began, in microseconds since 1970.
    pub unix_us: u64,
    /// How long it took, in microseconds.
    pub took_us: u64,
}

/// The access log of a worker. On drop it writes what can be written.
#[derive(Debug)]
pub struct AccessLog {
    format: AccessFormat,
    /// Where lines go to a descriptor, if they do: that one is rendered in place.
    lines: Option<Outlet>,
    /// The others, which take what is rendered in `scratch`.
    others: Vec<Outlet>,
    scratch: Vec<u8>,
}

impl AccessLog {
    /// Logs to these outlets in this format, to one at most in lines. In the process that logs: the
    /// pid is taken here.
    ///
    /// # Errors
    /// A bad format.
    pub fn new(format: &str, outlets: Vec<Outlet>) -> Result<AccessLog, FormatError> {
        let mut format = AccessFormat::compile(format)?;
        format.pid = Some(std::process::id());
        let (lines, others): (Vec<_>, Vec<_>) = outlets.into_iter().partition(Outlet::takes_lines);
        let mut lines = lines.into_iter().next();
        if format.is_json() {
            lines = lines.map(|lines| lines.telling(json::tell));
        }
        Ok(AccessLog {
            format,
            lines,
            others,
            scratch: Vec::new(),
        })
    }

    /// Whether [`Record::response_fields`] is looked at, so that they need to be kept.
    #[inline]
    #[must_use]
    pub fn wants_response_fields(&self) -> bool {
        self.format.wants_response_fields()
    }

    /// Takes the line of one request, and writes when there are 16 KiB of them.
    pub fn log(&mut self, record: &Record<'_>) {
        let format = &self.format;
        if let Some(sink) = self.lines.as_mut().and_then(Outlet::sink) {
            let most = sink.longest_line();
            sink.push_with(|out| render(format, record, most, out));
            if sink.unflushed() >= FLUSH_AT {
                sink.flush();
            }
        }
        for outlet in &mut self.others {
            self.scratch.clear();
            render(format, record, outlet.longest(), &mut self.scratch);
            outlet.push(&Entry {
                kind: Kind::Access,
                level: log::Level::Info,
                unix_us: record.unix_us + record.took_us,
                text: self.scratch.trim_ascii_end(),
                request: None,
            });
            if outlet.unflushed() >= FLUSH_AT {
                outlet.flush();
            }
        }
    }

    /// Writes what the log takes now. To be called when the loop is about to block.
    #[inline]
    pub fn flush(&mut self) {
        for outlet in self.lines.iter_mut().chain(&mut self.others) {
            if outlet.has_pending() {
                outlet.flush();
            }
        }
    }

    /// Whether lines wait because the log did not take them.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        self.outlets().any(Outlet::has_pending)
    }

    /// Lines dropped since the log was made.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.outlets().map(Outlet::dropped).sum()
    }

    /// Goes on with another descriptor; the lines before it go to the old one if it takes them.
    pub fn reopen(&mut self, fd: OwnedFd) {
        if let Some(lines) = &mut self.lines {
            lines.replace(fd);
        }
    }

    fn outlets(&self) -> impl Iterator<Item = &Outlet> {
        self.lines.iter().chain(&self.others)
    }
}

/// Appends a line that is to have at most `most` bytes.
fn render(format: &AccessFormat, record: &Record<'_>, most: usize, out: &mut Vec<u8>) {
    let start = out.len();
    format.render(record, out);
    // It would be cut, and what is left would be no JSON.
    if format.is_json() && out.len() - start > most {
        out.truncate(start);
        json::render(record, format.pid(), most / json::SHARE, out);
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
    }
}
