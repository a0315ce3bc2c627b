//! The head of what a program answers (RFC 3875 section 6): read from CGI, FastCGI and SCGI back ends,
//! and written by our listeners. Says what kind of answer it is; what is done with that is for others.

use ferricorn_http::{BodyEncoder, Defaults, EncodeError, Facts, Length, Version, encode_head};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::lines::{self, BadAnswer, HeadEnd, HeadLimits};

/// What a program answers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status, never an interim one. [`Kind::LocalRedirect`] has none of its own.
    pub status: StatusCode,
    /// The fields for the client: none that is about a connection, or about the way from the program
    /// to us. Content-Length, if there is one, is a valid one and stands there once.
    pub fields: HeaderMap,
    /// How long the content is by its Content-Length, in bytes.
    pub length: Option<u64>,
    /// What it is.
    pub kind: Kind,
    /// How the head was written.
    pub form: Form,
}

/// The kinds of answers (RFC 3875 section 6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A document (6.2.1).
    Document,
    /// The answer is what this path and query have (6.2.2): reprocess the request as GET, so often. The
    /// program said nothing else, and is to have sent no content.
    LocalRedirect(String),
    /// The client is to go elsewhere (6.2.3).
    ClientRedirect,
    /// The same, with a document (6.2.4).
    ClientRedirectDocument,
}

/// How a head is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// With a field `Status`.
    Cgi,
    /// With a status line, as HTTP has it: what uWSGI answers, and CGI programs whose name begins with
    /// `nph-` (RFC 3875 section 5). The content ends where the connection does.
    Http,
}

const STATUS: HeaderName = HeaderName::from_static("status");

/// Reads one head.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadReader {
    end: HeadEnd,
}

impl HeadReader {
    /// A reader at the start of an answer.
    #[must_use]
    pub fn new() -> HeadReader {
        HeadReader::default()
    }

    /// Goes on, and returns the length of the head and what it says once it is complete: content
    /// follows. `input` begins with the first byte of the answer each time.
    ///
    /// # Errors
    /// [`BadAnswer`]
    pub fn next(
        &mut self,
        input: &[u8],
        limits: HeadLimits,
    ) -> Result<Option<(usize, Answer)>, BadAnswer> {
        let Some(end) = self.end.next(input, limits)? else {
            return Ok(None);
        };
        Ok(Some((end, read(&input[..end], limits)?)))
    }
}

fn read(head: &[u8], limits: HeadLimits) -> Result<Answer, BadAnswer> {
    let mut lines = lines::lines(head).peekable();
    let said = match lines.next_if(|line| line.starts_with(b"HTTP/")) {
        Some(line) => Some(status_line(line)?),
        None => None,
    };
    let mut fields = HeaderMap::new();
    for line in lines {
        lines::add(&mut fields, lines::field(line)?, limits)?;
    }
    let form = if said.is_some() {
        Form::Http
    } else {
        Form::Cgi
    };
    let mut statuses = fields.get_all(STATUS).iter();
    let status = match (said, statuses.next()) {
        // Behind a status line the field says nothing.
        (Some(_), _) | (None, None) => said,
        (None, Some(_)) if statuses.next().is_some() => {
            return Err(BadAnswer("the head has more than one Status"));
        }
        (None, Some(value)) => Some(status_field(value.as_bytes())?),
    };
    fields.remove(STATUS);
    // A coding for the way to a client is not the program's to apply, and nobody here would take it off.
    if fields.contains_key(header::TRANSFER_ENCODING) {
        return Err(BadAnswer("the program has encoded its answer for transfer"));
    }
    let length = lines::content_length(&fields)?;
    lines::strip_hop_by_hop(&mut fields);
    if let Some(length) = length {
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let mut locations = fields.get_all(header::LOCATION).iter();
    let location = locations.next();
    if locations.next().is_some() {
        return Err(BadAnswer("the head has more than one Location"));
    }
    let typed = fields.contains_key(header::CONTENT_TYPE);
    let (kind, status) = match (location, status) {
        (None, None) if !typed => {
            return Err(BadAnswer(
                "the head has no Content-Type, Location or Status",
            ));
        }
        (None, status) => (Kind::Document, status.unwrap_or(StatusCode::OK)),
        (Some(location), None) if fields.len() == 1 && is_local(location) => {
            let path = location.to_str().map_err(|_| INVALID_LOCATION)?;
            if path.contains([' ', '\t', '#']) {
                return Err(INVALID_LOCATION);
            }
            (Kind::LocalRedirect(path.to_owned()), StatusCode::OK)
        }
        (Some(_), status) => {
            let status = status.unwrap_or(StatusCode::FOUND);
            let kind = match (status.is_redirection(), typed) {
                (false, _) => Kind::Document,
                (true, false) => Kind::ClientRedirect,
                (true, true) => Kind::ClientRedirectDocument,
            };
            (kind, status)
        }
    };
    Ok(Answer {
        status,
        fields,
        length,
        kind,
        form,
    })
}

const INVALID_LOCATION: BadAnswer = BadAnswer("Location is not valid");

/// Whether a Location is a path on this server (RFC 3875 section 6.3.2). Two slashes begin a host, as
/// everybody takes it today (RFC 3986 section 4.2).
fn is_local(location: &HeaderValue) -> bool {
    let location = location.as_bytes();
    location.starts_with(b"/") && !location.starts_with(b"//")
}

/// `HTTP/1.1 200 OK` (RFC 9112 section 4).
fn status_line(line: &[u8]) -> Result<StatusCode, BadAnswer> {
    let code = match line {
        [
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            b'1',
            b'.',
            b'0'..=b'9',
            b' ',
            code @ ..,
        ] => code,
        _ => return Err(BadAnswer("the status line is not one of HTTP/1")),
    };
    final_status(code).ok_or(BadAnswer("the status line has no final status"))
}

/// `200 OK` (RFC 3875 section 6.3.3).
fn status_field(value: &[u8]) -> Result<StatusCode, BadAnswer> {
    final_status(value).ok_or(BadAnswer("Status is not a final status"))
}

fn final_status(text: &[u8]) -> Option<StatusCode> {
    let (digits, reason) = text.split_at_checked(3)?;
    let status = lines::status(digits)?;
    let ends = matches!(reason, [] | [b' ', ..]);
    (ends && !status.is_informational()).then_some(status)
}

/// Writes the head of a final response for a web server that asked by a gateway protocol, and returns
/// what will frame its content: the end of which is that of the stream, or of the connection. All rules
/// are those of [`encode_head`]. FastCGI and SCGI have [`Form::Cgi`], uwsgi [`Form::Http`].
///
/// # Errors
/// [`EncodeError`], also for 101: no connection changes hands here. `out` is then as it was.
pub fn write(
    out: &mut Vec<u8>,
    form: Form,
    head_request: bool,
    status: StatusCode,
    fields: &HeaderMap,
    length: Length,
    defaults: &Defaults<'_>,
) -> Result<BodyEncoder, EncodeError> {
    let facts = Facts {
        // Whose content ends with the connection, where its length is not known.
        version: Version::Http10,
        head_request,
        connect_request: false,
        keep_alive: false,
    };
    let start = out.len();
    let encoder = encode_head(out, &facts, status, fields, length, defaults)?;
    if form == Form::Cgi {
        to_cgi(out, start);
    }
    Ok(encoder)
}

/// Makes a head of HTTP one of CGI: `Status: ` for the version, and nothing about a connection.
fn to_cgi(out: &mut Vec<u8>, start: usize) {
    const VERSION: &[u8] = b"HTTP/1.1 ";
    const CONNECTION: &[u8] = b"\r\nConnection: ";
    // The last line, as always where the connection is closed.
    let line = out[start..]
        .windows(CONNECTION.len())
        .rposition(|window| window == CONNECTION);
    if let Some(line) = line {
        out.truncate(start + line);
        out.extend_from_slice(b"\r\n\r\n");
    }
    if out[start..].starts_with(VERSION) {
        out.splice(start..start + VERSION.len(), *b"Status: ");
    }
}
