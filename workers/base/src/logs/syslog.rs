//! Messages for a syslog receiver: RFC 5424, or the older form that local daemons read.
//!
//! Pure: an entry in, bytes out. Text that came from a client has no control character when it gets
//! here; what is in the header is cut and cleaned here, so that nobody can make a message say that it
//! is of somebody else.

use serde::{Deserialize, Serialize};

use super::outlet::{Entry, push_text};
use crate::stamp;

/// The longest APP-NAME (RFC 5424 section 6).
const APP_MAX: usize = 48;
/// The longest HOSTNAME (RFC 5424 section 6).
const HOST_MAX: usize = 255;

/// How a message looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// RFC 5424, without structured data; the kind of log is the MSGID.
    Rfc5424,
    /// `<PRI>Mmm dd hh:mm:ss TAG[PID]: text`, local time, as syslog(3) writes it and the daemons
    /// behind /dev/log read it; the kind of log ends the tag.
    Local,
}

/// What all messages of a server have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    form: Form,
    facility: u8,
    app: String,
    host: String,
    /// The longest message in bytes.
    longest: usize,
}

impl Sender {
    /// A server of this name on this host; messages have at most `longest` bytes.
    #[must_use]
    pub fn new(form: Form, facility: u8, app: &str, host: &str, longest: usize) -> Sender {
        Sender {
            form,
            facility: facility.min(23),
            app: printable(app, APP_MAX),
            host: printable(host, HOST_MAX),
            longest,
        }
    }

    /// The longest message in bytes.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Appends one message.
    pub fn render(&self, entry: &Entry<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        let number = |number: u64, out: &mut Vec<u8>| {
            out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        };
        out.push(b'<');
        number(
            u64::from(self.facility) * 8 + u64::from(entry.severity()),
            out,
        );
        out.push(b'>');
        let (pid, kind) = (u64::from(std::process::id()), entry.kind.name());
        match self.form {
            Form::Rfc5424 => {
                out.extend_from_slice(b"1 ");
                stamp::push_rfc3339(entry.unix_us, out);
                for word in [&self.host, &self.app] {
                    out.push(b' ');
                    out.extend_from_slice(word.as_bytes());
                }
                out.push(b' ');
                number(pid, out);
                out.push(b' ');
                out.extend_from_slice(kind.as_bytes());
                out.extend_from_slice(b" - ");
            }
            Form::Local => {
                stamp::push_bsd(entry.unix_us / 1_000_000, out);
                out.push(b' ');
                out.extend_from_slice(self.app.as_bytes());
                out.push(b'.');
                out.extend_from_slice(kind.as_bytes());
                out.push(b'[');
                number(pid, out);
                out.extend_from_slice(b"]: ");
            }
        }
        push_text(entry, start + self.longest, out);
    }
}

/// PRINTUSASCII of at most `most` bytes; the nil value where nothing is left.
fn printable(text: &str, most: usize) -> String {
    let text: String = text
        .chars()
        .filter(char::is_ascii_graphic)
        .take(most)
        .collect();
    if text.is_empty() {
        "-".to_owned()
    } else {
        text
    }
}
