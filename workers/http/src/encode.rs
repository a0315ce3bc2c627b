//! The head of a response, and the framing it announces. Writes bytes into a buffer; never knows
//! where they go, and never lets a handler frame its response itself.

use crate::{
    body_encoder::{BodyEncoder, Kind},
    encode_error::EncodeError,
    head::{Decisive, Head},
    kinds::Version,
    syntax,
};
use http::{HeaderMap, StatusCode};

/// What the response must know of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The version of the request.
    pub version: Version,
    /// The request was HEAD.
    pub head_request: bool,
    /// The request was CONNECT.
    pub connect_request: bool,
    /// The client wishes, and the server permits, that the connection persists.
    pub keep_alive: bool,
}

impl Facts {
    /// The facts of this request; `keep_alive` is what the client wishes, the server may clear it.
    pub fn of(head: &Head) -> Self {
        Self {
            version: head.version(),
            head_request: head.decisive() == Decisive::Head,
            connect_request: head.decisive() == Decisive::Connect,
            keep_alive: head.keep_alive(),
        }
    }
}

/// How long the content will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Bytes.
    Known(u64),
    /// Not known before it ends.
    Unknown,
}

/// Fields that the server adds where the handler set none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Defaults<'a> {
    /// IMF-fixdate (RFC 9110 §5.6.7). Empty: no Date field (RFC 9110 §6.6.1: no clock).
    pub date: &'a [u8],
    /// The Server field.
    pub server: Option<&'a [u8]>,
    /// Content-Type of content whose handler named none.
    pub content_type: Option<&'a str>,
    /// What [`Defaults::render`] has rendered, for who keeps that; else empty, and `date` and `server`
    /// are rendered for each response.
    pub rendered: &'a [u8],
}

const CRLF: &[u8] = b"\r\n";

impl Defaults<'_> {
    /// Appends the lines of `server` and `date`, with the end of the line before them and the empty line
    /// behind them: how the usual head ends.
    pub fn render(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(CRLF);
        self.render_some(out, true, true);
        out.extend_from_slice(CRLF);
    }

    /// The lines that were rendered, if they were.
    fn lines(&self) -> Option<&[u8]> {
        let lines = self.rendered.strip_prefix(CRLF)?;
        lines.strip_suffix(CRLF)
    }

    fn render_some(&self, out: &mut Vec<u8>, server: bool, date: bool) {
        if let Some(value) = self.server.filter(|_| server) {
            line(out, b"Server: ", value);
        }
        if date && !self.date.is_empty() {
            line(out, b"Date: ", self.date); // RFC 9110 §6.6.1
        }
    }
}

/// What the fields of a handler say about the message itself.
#[derive(Default)]
struct Found {
    content_length: Option<u64>,
    content_type: bool,
    date: bool,
    server: bool,
    close: bool,
    upgrade: bool,
    /// Connection options that name fields of the handler's.
    options: bool,
}

/// Writes the head of a final response to `out`, and returns what will frame its body.
///
/// Framing is decided here and nowhere else (RFC 9112 §6.3): no content for HEAD, 101, 204, 205 and
/// 304, and for 2xx to CONNECT; `Content-Length` where the length is known or declared; else
/// chunked, and for HTTP/1.0 until the connection closes.
///
/// Of the handler's fields: `Content-Length` must agree with `length`, and declares an unknown one
/// (for HEAD and 304 it is taken as it is); `Transfer-Encoding: chunked` is dropped, as are
/// `Keep-Alive` and `Proxy-Connection`; `Connection` is rewritten: `close` is honoured, options that
/// name other fields stay; `Content-Type`, `Date` and `Server` replace the defaults, the first of
/// several each (RFC 9110 §5.3). Others are written as they are, in the order of the map.
/// `http::HeaderValue` cannot hold CR, LF or NUL, so no field can split the response.
///
/// The status line says HTTP/1.1 whatever the request's version (RFC 9110 §6.2).
///
/// # Errors
/// [`EncodeError`]; `out` is then as it was. The handler is at fault: answer 500.
pub fn encode_head(
    out: &mut Vec<u8>,
    facts: &Facts,
    status: StatusCode,
    fields: &HeaderMap,
    length: Length,
    defaults: &Defaults<'_>,
) -> Result<BodyEncoder, EncodeError> {
    let start = out.len();
    let written = write_head(out, facts, status, fields, length, defaults);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn write_head(
    out: &mut Vec<u8>,
    facts: &Facts,
    status: StatusCode,
    fields: &HeaderMap,
    length: Length,
    defaults: &Defaults<'_>,
) -> Result<BodyEncoder, EncodeError> {
    let switch = status == StatusCode::SWITCHING_PROTOCOLS;
    // A 1xx is no final response, and a client of HTTP/1.0 knows none (RFC 9110 §15.2).
    if status.is_informational() && !(switch && facts.version == Version::Http11) {
        return Err(EncodeError::Status(status));
    }
    out.reserve(256 + 48 * fields.len());
    status_line(out, status);
    let found = match fields.is_empty() {
        true => Found::default(),
        false => write_fields(out, fields)?,
    };
    if switch && !found.upgrade {
        // RFC 9110 §7.8, §15.2.2.
        return Err(EncodeError::NoUpgrade);
    }
    let (kind, content_length) = frame(facts, status, found.content_length, length)?;
    let mut keep_alive = facts.keep_alive && !found.close;
    match kind {
        // The bytes behind this head are no HTTP/1.1 any more.
        Kind::Handed => keep_alive = false,
        // RFC 9112 §6.3 (8): nothing but the close says where the content ends.
        Kind::Close => keep_alive = false,
        Kind::Chunked { .. } => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Kind::Length(_) | Kind::Suppressed => {}
    }
    if let Some(length) = content_length {
        line(
            out,
            b"Content-Length: ",
            itoa::Buffer::new().format(length).as_bytes(),
        );
    }
    let content = match kind {
        Kind::Handed => false,
        Kind::Chunked { .. } | Kind::Close => true,
        Kind::Length(_) | Kind::Suppressed => content_length.is_some_and(|length| length > 0),
    };
    if let Some(content_type) = defaults
        .content_type
        .filter(|_| content && !found.content_type)
    {
        line(out, b"Content-Type: ", content_type.as_bytes());
    }
    match defaults.lines() {
        Some(lines) if !found.server && !found.date => out.extend_from_slice(lines),
        _ => defaults.render_some(out, !found.server, !found.date),
    }
    connection(out, facts, &found, fields, keep_alive, &kind);
    out.extend_from_slice(b"\r\n");
    Ok(BodyEncoder::new(kind, keep_alive))
}

/// Writes the handler's fields, but for those that are the server's to say.
#[inline(never)] // or a head without any would set out with all of its state
fn write_fields(out: &mut Vec<u8>, fields: &HeaderMap) -> Result<Found, EncodeError> {
    let mut found = Found::default();
    for (name, value) in fields {
        if found.note(name.as_str(), value.as_bytes())? {
            field(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    Ok(found)
}

impl Found {
    /// Takes note of one field, and says whether to write it as it is.
    #[inline]
    fn note(&mut self, name: &str, value: &[u8]) -> Result<bool, EncodeError> {
        // Names of the `http` crate are lower case.
        match (name.len(), name) {
            // The first of several: more than one would be no valid response (RFC 9110 §5.3).
            (4, "date") => return Ok(!std::mem::replace(&mut self.date, true)),
            (6, "server") => return Ok(!std::mem::replace(&mut self.server, true)),
            (7, "upgrade") => self.upgrade = true,
            (10, "connection") => {
                for option in syntax::elements(value) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.options |= !is_ours(option);
                }
                return Ok(false);
            }
            (10, "keep-alive") | (16, "proxy-connection") => return Ok(false), // RFC 9110 §7.6.1
            (12, "content-type") => return Ok(!std::mem::replace(&mut self.content_type, true)),
            (14, "content-length") => {
                // One number, or none: what else there is MUST NOT be sent on (RFC 9110 §8.6).
                let length = syntax::decimal(value).map_err(|_| EncodeError::BadContentLength)?;
                if self.content_length.replace(length).is_some() {
                    return Err(EncodeError::DuplicateContentLength);
                }
                return Ok(false);
            }
            (17, "transfer-encoding") => {
                // What the server may do anyway is dropped: chunked MUST NOT be applied twice (RFC 9112
                // §6.1). Another coding was perhaps applied to the content, and nobody would decode it.
                return if value.eq_ignore_ascii_case(b"chunked") {
                    Ok(false)
                } else {
                    Err(EncodeError::TransferEncoding)
                };
            }
            _ => {}
        }
        Ok(true)
    }
}

/// How the content is delimited, and what Content-Length says (RFC 9112 §6.3, RFC 9110 §8.6).
fn frame(
    facts: &Facts,
    status: StatusCode,
    declared: Option<u64>,
    length: Length,
) -> Result<(Kind, Option<u64>), EncodeError> {
    match status {
        StatusCode::SWITCHING_PROTOCOLS => return Ok((Kind::Handed, None)),
        // RFC 9110 §9.3.6: a tunnel from here on.
        _ if facts.connect_request && status.is_success() => return Ok((Kind::Handed, None)),
        // Neither field may be there (RFC 9110 §8.6, RFC 9112 §6.1).
        StatusCode::NO_CONTENT => return Ok((Kind::Suppressed, None)),
        StatusCode::RESET_CONTENT => return Ok((Kind::Suppressed, Some(0))), // RFC 9110 §15.3.6
        // What a 200 would have had: only the handler can know that (RFC 9110 §8.6, §15.4.5).
        StatusCode::NOT_MODIFIED => return Ok((Kind::Suppressed, declared)),
        _ => {}
    }
    if facts.head_request {
        // RFC 9110 §9.3.2, §8.6: what GET would have had. An empty body may just be how the handler
        // answers HEAD.
        let known = match length {
            Length::Known(length) if length > 0 => Some(length),
            _ => None,
        };
        return Ok((Kind::Suppressed, declared.or(known)));
    }
    match (length, declared) {
        // A length that is known to be wrong MUST NOT be sent (RFC 9110 §8.6).
        (Length::Known(actual), Some(declared)) if actual != declared => {
            Err(EncodeError::LengthMismatch { declared, actual })
        }
        (Length::Known(length), _) | (Length::Unknown, Some(length)) => {
            Ok((Kind::Length(length), Some(length)))
        }
        // No Transfer-Encoding but to HTTP/1.1 (RFC 9112 §6.1).
        (Length::Unknown, None) if facts.version == Version::Http10 => Ok((Kind::Close, None)),
        (Length::Unknown, None) => Ok((Kind::Chunked { open: false }, None)),
    }
}

/// RFC 9112 §9.3, §9.6; RFC 9110 §7.6.1, §7.8: who sends Upgrade, or another field about the
/// connection, also says so in Connection.
fn connection(
    out: &mut Vec<u8>,
    facts: &Facts,
    found: &Found,
    fields: &HeaderMap,
    keep_alive: bool,
    kind: &Kind,
) {
    let persistence: Option<&[u8]> = match (kind, keep_alive, facts.version) {
        (Kind::Handed, ..) | (_, true, Version::Http11) => None,
        (_, false, _) => Some(b"close"),
        (_, true, Version::Http10) => Some(b"keep-alive"),
    };
    if !found.upgrade && !found.options {
        if let Some(option) = persistence {
            line(out, b"Connection: ", option);
        }
        return;
    }
    let upgrade = found.upgrade.then_some(&b"upgrade"[..]);
    let given = fields.get_all("connection").iter();
    let given = given.flat_map(|value| syntax::elements(value.as_bytes()));
    let given = given.filter(|option| !is_ours(option));
    let mut name: &[u8] = b"Connection: ";
    for option in persistence.into_iter().chain(upgrade).chain(given) {
        out.extend_from_slice(name);
        out.extend_from_slice(option);
        name = b", ";
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether a connection option is the server's to say; an empty element says nothing.
fn is_ours(option: &[u8]) -> bool {
    let ours = ["", "close", "keep-alive", "upgrade"];
    ours.iter()
        .any(|own| option.eq_ignore_ascii_case(own.as_bytes()))
}

#[inline(always)]
fn status_line(out: &mut Vec<u8>, status: StatusCode) {
    if status == StatusCode::OK {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    } else {
        other_status_line(out, status);
    }
}

fn other_status_line(out: &mut Vec<u8>, status: StatusCode) {
    // The blank stands even without a reason phrase (RFC 9112 §4).
    for part in [
        "HTTP/1.1 ",
        status.as_str(),
        " ",
        status.canonical_reason().unwrap_or_default(),
        "\r\n",
    ] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// A field whose name, colon and blank are known: one copy of known length.
#[inline(always)]
fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[inline]
pub(crate) fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes an interim response: 100 (Continue), 103 (Early Hints). Not for a client of HTTP/1.0
/// (RFC 9110 §15.2); `Content-Length` (§8.6), `Transfer-Encoding` (RFC 9112 §6.1) and fields of the
/// connection are left out.
///
/// # Errors
/// [`EncodeError::Status`] for 101 and for what is no 1xx; `out` is then as it was.
pub fn encode_interim(
    out: &mut Vec<u8>,
    status: StatusCode,
    fields: &HeaderMap,
) -> Result<(), EncodeError> {
    if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(EncodeError::Status(status));
    }
    status_line(out, status);
    for (name, value) in fields {
        if !matches!(
            name.as_str(),
            "connection"
                | "content-length"
                | "keep-alive"
                | "proxy-connection"
                | "transfer-encoding"
                | "upgrade"
        ) {
            field(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Whether what there is of a head asks with HEAD: even its refusal has no content then (RFC 9110
/// §9.3.2). `input` begins where the reader was given it.
pub fn is_head_request(input: &[u8]) -> bool {
    input
        .strip_prefix(b"\r\n")
        .unwrap_or(input)
        .starts_with(b"HEAD ")
}

/// When to come again, in seconds, who was told 429 (RFC 6585 §4): limits are per second.
pub const RETRY_AFTER: &str = "1";

/// Writes the whole answer to a refused request: the status in words as its text (for HEAD its
/// length only), and `Connection: close`. Nothing of the request is repeated.
pub fn encode_reject(
    out: &mut Vec<u8>,
    status: StatusCode,
    head_request: bool,
    defaults: &Defaults<'_>,
) {
    let reason = status.canonical_reason().unwrap_or_default();
    let length = status.as_str().len() + 1 + reason.len() + 1;
    status_line(out, status);
    line(out, b"Content-Type: ", b"text/plain; charset=utf-8");
    line(
        out,
        b"Content-Length: ",
        itoa::Buffer::new().format(length).as_bytes(),
    );
    defaults.render_some(out, true, true);
    line(out, b"Connection: ", b"close"); // RFC 9112 §9.6
    if status == StatusCode::TOO_MANY_REQUESTS {
        line(out, b"Retry-After: ", RETRY_AFTER.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    if head_request {
        return; // RFC 9110 §9.3.2
    }
    for part in [status.as_str(), " ", reason, "\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}
