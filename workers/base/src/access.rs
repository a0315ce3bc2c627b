//! The access log: one line for each request that was answered.
//!
//! Lines are rendered straight into the buffer of a [`Sink`] and go out when the loop is about to
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

use crate::peer::Peer;
use crate::sink::Sink;

/// Bytes of lines that are written without waiting for the loop to be idle.
const FLUSH_AT: usize = 16 * 1024;

/// What is known of one request when its response is over.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The request's head; an empty one where no head could be read.
    pub head: &'a Head,
    /// Who sent it, see [`crate::Request::client`].
    pub client: &'a Peer,
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
    sink: Sink,
}

impl AccessLog {
    /// Logs to `fd` in this format. In the process that logs: the pid is taken here.
    ///
    /// # Errors
    /// A bad format.
    pub fn new(format: &str, fd: OwnedFd) -> Result<AccessLog, FormatError> {
        let mut format = AccessFormat::compile(format)?;
        format.pid = Some(std::process::id());
        let mut sink = Sink::new(fd);
        if format.is_json() {
            sink = sink.telling(json::tell);
        }
        Ok(AccessLog { format, sink })
    }

    /// Whether [`Record::response_fields`] is looked at, so that they need to be kept.
    #[inline]
    #[must_use]
    pub fn wants_response_fields(&self) -> bool {
        self.format.wants_response_fields()
    }

    /// Takes the line of one request, and writes when there are 16 KiB of them.
    pub fn log(&mut self, record: &Record<'_>) {
        let most = self.sink.longest_line();
        let format = &self.format;
        self.sink.push_with(|out| {
            let start = out.len();
            format.render(record, out);
            // The sink would cut it, and what is left would be no JSON.
            if format.is_json() && out.len() - start > most {
                out.truncate(start);
                json::render(record, format.pid(), json::SHORT, out);
            }
        });
        if self.sink.unflushed() >= FLUSH_AT {
            self.sink.flush();
        }
    }

    /// Writes what the log takes now. To be called when the loop is about to block.
    #[inline]
    pub fn flush(&mut self) {
        if self.sink.has_pending() {
            self.sink.flush();
        }
    }

    /// Whether lines wait because the log did not take them.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        self.sink.has_pending()
    }

    /// Lines dropped since the log was made.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.sink.dropped()
    }

    /// Goes on with another descriptor; the lines before it go to the old one if it takes them.
    pub fn reopen(&mut self, fd: OwnedFd) {
        self.sink.replace(fd);
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.sink.flush();
    }
}
