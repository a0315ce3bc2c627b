//! The format of access-log lines, compiled once.
//!
//! Formats are Gunicorn's, and so are the mistakes people make in them: an atom that does not exist
//! is an error here, with its position. Nothing here reads a clock or the environment.

use std::fmt;

use http::HeaderName;

use super::{Record, json, text};

/// Gunicorn's default: the combined log format.
pub const DEFAULT_FORMAT: &str = r#"%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s""#;

/// How a line of the access log looks. Checked in the master, used in the worker.
///
/// `json` is one JSON object a line, with the keys `time` (RFC 3339, UTC, microseconds, of the
/// request's start), `remote_addr`, `user`, `method`, `target`, `protocol`, `status`, `bytes`,
/// `duration_us`, `referer`, `user_agent`, `host`, `pid`, `request_id`, `trace_id` and `span_id`; what is missing is `null`, and bytes
/// that are not UTF-8 are U+FFFD. On a pipe, where a line has at most PIPE_BUF bytes, values are cut
/// (`...`) so that the line stays JSON.
///
/// Anything else is text with Gunicorn's atoms:
///
/// | atom | |
/// |---|---|
/// | `%(h)s` | address of the client |
/// | `%(l)s` | `-` |
/// | `%(u)s` | user name of Basic authentication, as claimed; its spaces are `\x20` |
/// | `%(t)s` | when the request began, `[23/Nov/2026:02:58:16 +0000]`, local time |
/// | `%(r)s` | request line as received |
/// | `%(m)s` | method |
/// | `%(U)s` | path as received (not decoded) |
/// | `%(q)s` | query as received, without `?` |
/// | `%(H)s` | protocol, `HTTP/1.1` |
/// | `%(s)s` | status |
/// | `%(B)s` | bytes of content sent |
/// | `%(b)s` | the same, `-` where there were none |
/// | `%(f)s` | Referer |
/// | `%(a)s` | User-Agent |
/// | `%(T)s` | time taken in whole seconds |
/// | `%(M)s` | time taken in whole milliseconds |
/// | `%(D)s` | time taken in microseconds |
/// | `%(L)s` | time taken in decimal seconds, `0.001234` |
/// | `%(p)s` | process, `<pid>` |
/// | `%({NAME}i)s` | request field; several values are joined with `, ` |
/// | `%({NAME}o)s` | response field, likewise |
/// | `%({NAME}e)s` | meta-variable of the request, see below |
/// | `%%` | `%` |
///
/// `d` may stand for the last `s`. Missing is `-`. Controls and bytes above 126 that come from the
/// client or the handler are `\xHH`, `"` is `\"` and `\` is `\\`.
///
/// The `e` variables are the request's, as in Gunicorn, where they are the WSGI environ: the
/// process environment is not in it. Known are `REMOTE_ADDR`, `REMOTE_PORT`, `REQUEST_METHOD`,
/// `RAW_URI`, `REQUEST_URI`, `PATH_INFO` (as received), `QUERY_STRING`, `SERVER_PROTOCOL`,
/// `REMOTE_USER` (as `u`), `CONTENT_TYPE`, `CONTENT_LENGTH` and `HTTP_*`, in any case of letters;
/// any other is `-`. Ours are `REQUEST_ID` (the request's name, be it given or made), `TRACE_ID`,
/// `SPAN_ID` and `PARENT_ID` (of the trace that it came with, or that its handler asked for).
#[derive(Clone, Debug)]
pub struct AccessFormat {
    form: Form,
    /// The process that logs; asked for anew each time while it is not known.
    pub(super) pid: Option<u32>,
}

#[derive(Clone, Debug)]
enum Form {
    Json,
    Text(Vec<Part>),
}

/// A piece of a line.
#[derive(Clone, Debug)]
pub(super) enum Part {
    Literal(Vec<u8>),
    Missing,
    RemoteAddr,
    RemotePort,
    User,
    Time,
    RequestLine,
    Method,
    Target,
    Path,
    Query,
    Protocol,
    Status,
    Bytes,
    BytesOrDash,
    Seconds,
    Milliseconds,
    Microseconds,
    DecimalSeconds,
    Pid,
    RequestId,
    TraceId,
    SpanId,
    ParentId,
    /// The first of this name only: one that has no business to come twice.
    FirstField(&'static str),
    RequestField(HeaderName),
    ResponseField(HeaderName),
}

/// What is wrong with a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatError {
    /// Where, in bytes from the start of the format.
    pub position: usize,
    /// Why.
    pub reason: String,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "access log format, byte {}: {}",
            self.position, self.reason
        )
    }
}

impl std::error::Error for FormatError {}

impl AccessFormat {
    /// Compiles a format.
    ///
    /// # Errors
    /// The first mistake in it.
    pub fn compile(text: &str) -> Result<AccessFormat, FormatError> {
        let form = if text == "json" {
            Form::Json
        } else {
            Form::Text(parts(text)?)
        };
        Ok(AccessFormat { form, pid: None })
    }

    /// Appends one line, its end included.
    pub fn render(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        match &self.form {
            Form::Json => json::render(record, self.pid(), usize::MAX, out),
            Form::Text(parts) => text::render(parts, record, || self.pid(), out),
        }
        out.push(b'\n');
    }

    /// Whether it shows fields of the response.
    #[must_use]
    pub fn wants_response_fields(&self) -> bool {
        match &self.form {
            Form::Json => false,
            Form::Text(parts) => parts
                .iter()
                .any(|part| matches!(part, Part::ResponseField(_))),
        }
    }

    pub(super) fn is_json(&self) -> bool {
        matches!(self.form, Form::Json)
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.unwrap_or_else(std::process::id)
    }
}

impl Default for AccessFormat {
    fn default() -> AccessFormat {
        let form = Form::Text(parts(DEFAULT_FORMAT).unwrap_or_default());
        AccessFormat { form, pid: None }
    }
}

fn parts(text: &str) -> Result<Vec<Part>, FormatError> {
    if let Some(position) = text.find(['\n', '\r']) {
        let reason = "a line break inside of a line".to_owned();
        return Err(FormatError { position, reason });
    }
    let mut parts = Vec::new();
    let mut position = 0;
    while let Some(at) = text[position..].find('%') {
        push_literal(&mut parts, &text[position..position + at]);
        position += at;
        let (part, length) =
            directive(&text[position..]).map_err(|reason| FormatError { position, reason })?;
        match part {
            None => push_literal(&mut parts, "%"),
            Some(part) => parts.push(part),
        }
        position += length;
    }
    push_literal(&mut parts, &text[position..]);
    Ok(parts)
}

fn push_literal(parts: &mut Vec<Part>, text: &str) {
    if let Some(Part::Literal(literal)) = parts.last_mut() {
        literal.extend_from_slice(text.as_bytes());
    } else if !text.is_empty() {
        parts.push(Part::Literal(text.into()));
    }
}

/// What begins with `%`, and its length; no part for `%%`.
fn directive(text: &str) -> Result<(Option<Part>, usize), String> {
    if text.starts_with("%%") {
        return Ok((None, 2));
    }
    let inner = text
        .strip_prefix("%(")
        .ok_or("a lone `%`; a percent sign is `%%`")?;
    // A name in braces may hold a parenthesis.
    let braces = if inner.starts_with('{') {
        inner.find('}').ok_or("`}` is missing")?
    } else {
        0
    };
    let end = braces + inner[braces..].find(')').ok_or("`)` is missing")?;
    let name = &inner[..end];
    match inner.as_bytes().get(end + 1) {
        Some(b's' | b'd') => Ok((Some(atom(name)?), "%(".len() + end + ")s".len())),
        _ => Err(format!("`s` is missing after `%({name})`")),
    }
}

fn atom(name: &str) -> Result<Part, String> {
    if let Some((name, kind)) = name.strip_prefix('{').and_then(|name| name.split_once('}')) {
        let field = || {
            HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("`{name}` is no field name"))
        };
        return match kind {
            "i" => Ok(Part::RequestField(field()?)),
            "o" => Ok(Part::ResponseField(field()?)),
            "e" => Ok(variable(name)),
            _ => Err(format!(
                "`i`, `o` or `e` must follow `{{{name}}}`, not `{kind}`"
            )),
        };
    }
    Ok(match name {
        "h" => Part::RemoteAddr,
        "l" => Part::Missing,
        "u" => Part::User,
        "t" => Part::Time,
        "r" => Part::RequestLine,
        "m" => Part::Method,
        "U" => Part::Path,
        "q" => Part::Query,
        "H" => Part::Protocol,
        "s" => Part::Status,
        "B" => Part::Bytes,
        "b" => Part::BytesOrDash,
        "f" => Part::FirstField("referer"),
        "a" => Part::FirstField("user-agent"),
        "T" => Part::Seconds,
        "M" => Part::Milliseconds,
        "D" => Part::Microseconds,
        "L" => Part::DecimalSeconds,
        "p" => Part::Pid,
        _ => return Err(format!("unknown atom `{name}`")),
    })
}

fn variable(name: &str) -> Part {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        "remote_addr" => Part::RemoteAddr,
        "remote_port" => Part::RemotePort,
        "remote_user" => Part::User,
        "request_method" => Part::Method,
        "raw_uri" | "request_uri" => Part::Target,
        "path_info" => Part::Path,
        "query_string" => Part::Query,
        "server_protocol" => Part::Protocol,
        "request_id" => Part::RequestId,
        "trace_id" => Part::TraceId,
        "span_id" => Part::SpanId,
        "parent_id" => Part::ParentId,
        "content_type" => Part::RequestField(http::header::CONTENT_TYPE),
        "content_length" => Part::RequestField(http::header::CONTENT_LENGTH),
        _ => name
            .strip_prefix("http_")
            .and_then(|field| HeaderName::try_from(field.replace('_', "-")).ok())
            .map_or(Part::Missing, Part::RequestField),
    }
}
