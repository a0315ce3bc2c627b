//! Messages for systemd-journald in its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL).
//!
//! Pure. Each field is one line, `NAME=value`: no value holds a line end, since what came from a client
//! was escaped before, and what is ours is a name or a number. Messages are cut far below what a socket
//! takes in one datagram, so that none needs a memfd.

use std::sync::atomic::{AtomicU64, Ordering};

use super::outlet::{Entry, push_line};

/// Where journald listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";
/// The longest text of one message in bytes.
pub(super) const LONGEST: usize = 48 * 1024;
/// No worker, or no generation.
const NONE: u64 = u64::MAX;

static WORKER: AtomicU64 = AtomicU64::new(NONE);
static GENERATION: AtomicU64 = AtomicU64::new(NONE);

/// Says which worker this process is, for its messages. Once, in the worker.
pub fn identify(slot: usize, generation: u64) {
    WORKER.store(slot as u64, Ordering::Relaxed);
    GENERATION.store(generation, Ordering::Relaxed);
}

/// Appends one message of the server of this name.
pub fn render(name: &str, entry: &Entry<'_>, out: &mut Vec<u8>) {
    let field = |name: &[u8], value: &[u8], out: &mut Vec<u8>| {
        out.extend_from_slice(name);
        out.extend_from_slice(value);
        out.push(b'\n');
    };
    let number = |name: &[u8], value: u64, out: &mut Vec<u8>| {
        if value != NONE {
            field(name, itoa::Buffer::new().format(value).as_bytes(), out);
        }
    };
    out.extend_from_slice(b"MESSAGE=");
    push_line(entry.text, out.len() + LONGEST, out);
    out.push(b'\n');
    number(b"PRIORITY=", entry.severity().into(), out);
    field(b"SYSLOG_IDENTIFIER=", name.as_bytes(), out);
    number(b"SYSLOG_PID=", std::process::id().into(), out);
    field(b"FERRICORN_LOG=", entry.kind.name().as_bytes(), out);
    number(b"FERRICORN_WORKER=", WORKER.load(Ordering::Relaxed), out);
    let generation = GENERATION.load(Ordering::Relaxed);
    number(b"FERRICORN_GENERATION=", generation, out);
    if let Some(request) = entry.request {
        field(b"REQUEST_ID=", request.as_bytes(), out);
    }
}
