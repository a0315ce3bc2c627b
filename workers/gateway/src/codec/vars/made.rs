//! The variables that a program is given: made of a request, and of what the server knows of the place
//! that it serves. No allocation for one, once the memory has grown.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::Write;

use ferricorn_base::conf::LocalAddr;
use ferricorn_base::http::StatusCode;
use ferricorn_base::{Peer, Reject, Request, Version, meta};
use ferricorn_http::TargetForm;

use super::{Span, Vars};

/// What a request does not say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given<'a> {
    /// The path of the program, decoded: empty, or `/` and more (section 4.1.13).
    pub script_name: &'a [u8],
    /// What is behind that, decoded: empty, or `/` and more (section 4.1.5).
    pub path_info: &'a [u8],
    /// Where `path_info` is looked up (section 4.1.6).
    pub document_root: Option<&'a [u8]>,
    /// The file of the program. php-fpm wants it.
    pub script_filename: Option<&'a [u8]>,
    /// Bytes of content. `None`: there is none, or its length is not known and the protocol can do
    /// without.
    pub content_length: Option<u64>,
    /// Name and version of the server (section 4.1.17).
    pub server_software: &'a str,
    /// Whether the program is given `Authorization`. CGI programs are not, by default: who is on the
    /// same machine can see the environment of a process (section 9.2).
    pub authorization: bool,
    /// More variables, each in the place of one that would have its name.
    pub environment: &'a [(String, String)],
}

/// Fields that are no program's matter: of the connection (RFC 9110 section 7.6.1), of the message's
/// framing, which is decoded, and of the way to a proxy. `Host`, `Content-Type` and `Content-Length` have
/// variables of their own, and `Authorization` if it is given at all. `Proxy` would be HTTP_PROXY, which programs take for their own setting
/// (CVE-2016-5385).
const LEFT_OUT: [&str; 14] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What stands in front of the name of a field.
const PREFIX: &[u8] = b"HTTP_";

/// The path of a request, decoded, to be divided into [`Given::script_name`] and [`Given::path_info`].
///
/// # Errors
/// 400: it holds a NUL, at which a C string ends.
pub fn decode_path(path: &str) -> Result<Cow<'_, [u8]>, Reject> {
    let path = meta::decode(path);
    if path.contains(&0) {
        let status = StatusCode::BAD_REQUEST;
        return Err(Reject::new(status, "the path holds a NUL"));
    }
    Ok(path)
}

impl Vars {
    /// Makes the variables of a request, each name once, in the place of what was here.
    ///
    /// A field becomes `HTTP_` and its name in capitals, with `_` for `-`, if the name has nothing but
    /// letters, digits and `-`: two fields never become one variable. Those of one name are joined.
    pub fn fill(&mut self, request: &Request, given: &Given<'_>) {
        self.clear();
        self.of_request(request, given);
        self.of_connection(request, given);
        self.of_content(request, given);
        self.of_fields(request);
        for (name, value) in given.environment {
            let (name, bytes) = (name.as_bytes(), &self.bytes);
            self.spans.retain(|span| span.name(bytes) != name);
            self.push(name, value);
        }
    }

    fn of_request(&mut self, request: &Request, given: &Given<'_>) {
        let head = request.head();
        let query = head.query().unwrap_or_default().as_bytes();
        self.push("GATEWAY_INTERFACE", "CGI/1.1");
        self.push("SERVER_SOFTWARE", given.server_software);
        self.push("REQUEST_METHOD", head.method());
        self.push("QUERY_STRING", query);
        self.push("SCRIPT_NAME", given.script_name);
        if !given.path_info.is_empty() {
            self.push("PATH_INFO", given.path_info);
        }
        if let Some(root) = given.document_root {
            self.push("DOCUMENT_ROOT", root);
            if !given.path_info.is_empty() {
                self.push_parts(b"PATH_TRANSLATED", &[root, given.path_info]);
            }
        }
        if let Some(file) = given.script_filename {
            self.push("SCRIPT_FILENAME", file);
        }
        let path = [given.script_name, given.path_info];
        self.push_parts(b"DOCUMENT_URI", &path);
        // Of an absolute-form target the part that an origin-form one would have.
        match head.form() {
            TargetForm::Origin | TargetForm::Authority => self.push("REQUEST_URI", head.target()),
            TargetForm::Absolute | TargetForm::Asterisk => {
                let mark: &[u8] = if head.query().is_some() { b"?" } else { b"" };
                self.push_parts(b"REQUEST_URI", &[head.path().as_bytes(), mark, query]);
            }
        }
        let version = match head.version() {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        };
        self.push("SERVER_PROTOCOL", version);
        // php-cgi answers nobody without it (cgi.force_redirect).
        self.push("REDIRECT_STATUS", "200");
    }

    fn of_connection(&mut self, request: &Request, given: &Given<'_>) {
        self.push("REQUEST_SCHEME", request.scheme());
        if request.scheme() == "https" {
            self.push("HTTPS", "on");
        }
        self.push("SERVER_NAME", meta::server_name(request).as_bytes());
        self.push_shown("SERVER_PORT", request.port());
        if let Some(LocalAddr::Tcp(address)) = request.local() {
            self.push_shown("SERVER_ADDR", address.ip());
        }
        match request.client() {
            Peer::Tcp(address) => {
                self.push_shown("REMOTE_ADDR", address.ip());
                if address.port() != 0 {
                    self.push_shown("REMOTE_PORT", address.port());
                }
            }
            // The variable has to be there (section 4.1.8).
            Peer::Unix => self.push("REMOTE_ADDR", ""),
        }
        if let Some(host) = request.host() {
            self.push("HTTP_HOST", host);
        }
        if given.authorization {
            if let Some(value) = request.head().field("authorization") {
                self.push("HTTP_AUTHORIZATION", value);
            }
        }
    }

    /// Sections 4.1.2 and 4.1.3: only where there is any, and where the client says.
    fn of_content(&mut self, request: &Request, given: &Given<'_>) {
        if let Some(length) = given.content_length {
            let mut digits = itoa::Buffer::new();
            self.push("CONTENT_LENGTH", digits.format(length));
        }
        if let Some(value) = request.head().field("content-type") {
            self.push("CONTENT_TYPE", value);
        }
    }

    fn of_fields(&mut self, request: &Request) {
        let first = self.spans.len();
        for (name, value) in request.head().fields() {
            if passes(name) {
                self.bytes.extend_from_slice(PREFIX);
                self.bytes.extend(name.bytes().map(variable));
                self.bytes.extend_from_slice(value);
                self.close(PREFIX.len() + name.len());
            }
        }
        let (spans, bytes) = (&mut self.spans, &mut self.bytes);
        // By name, and those of one name in the order in which they came.
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        order.extend(first..spans.len());
        order.sort_unstable_by_key(|&index| (spans[index].name(bytes), index));
        // Fields that Connection names are of the connection (RFC 9110 section 7.6.1).
        for option in options(request) {
            let wanted = option.iter().copied().map(variable);
            let named = order.partition_point(|&index| {
                spans[index].name(bytes)[PREFIX.len()..]
                    .iter()
                    .copied()
                    .lt(wanted.clone())
            });
            // However often it is named.
            if order.get(named).is_some_and(|&index| spans[index].dropped) {
                continue;
            }
            for &index in &order[named..] {
                let name = &spans[index].name(bytes)[PREFIX.len()..];
                if !name.iter().copied().eq(wanted.clone()) {
                    break;
                }
                spans[index].dropped = true;
            }
        }
        let mut rest = &order[..];
        while let [one, more @ ..] = rest {
            let name = spans[*one].name(bytes);
            let others = more
                .iter()
                .position(|&other| spans[other].name(bytes) != name);
            let (same, others) = more.split_at(others.unwrap_or(more.len()));
            rest = others;
            if !same.is_empty() && !spans[*one].dropped {
                join(spans, bytes, *one, same);
            }
        }
        self.end = bytes.len();
        spans.retain(|span| !span.dropped);
        self.order = order;
    }

    fn push_shown(&mut self, name: &str, value: impl Display) {
        self.bytes.extend_from_slice(name.as_bytes());
        // Writing to memory does not fail.
        let _ = write!(self.bytes, "{value}");
        self.close(name.len());
    }
}

/// Puts the values of fields of one name together, behind all others (RFC 9110 section 5.3; for Cookie
/// RFC 9113 section 8.2.3).
fn join(spans: &mut [Span], bytes: &mut Vec<u8>, first: usize, others: &[usize]) {
    let Span {
        start, name, value, ..
    } = spans[first];
    let between: &[u8] = match spans[first].name(bytes) {
        b"HTTP_COOKIE" => b"; ",
        _ => b", ",
    };
    let joined = bytes.len();
    bytes.extend_from_within(start..start + name + value);
    for &other in others {
        let span = &mut spans[other];
        span.dropped = true;
        let value = span.start + span.name..span.start + span.name + span.value;
        bytes.extend_from_slice(between);
        bytes.extend_from_within(value);
    }
    spans[first].start = joined;
    spans[first].value = bytes.len() - joined - name;
}

/// What Connection names (RFC 9110 section 7.6.1).
fn options(request: &Request) -> impl Iterator<Item = &[u8]> {
    let fields = request.head().fields();
    let fields = fields.filter(|(name, _)| name.eq_ignore_ascii_case("connection"));
    let options = fields.flat_map(|(_, value)| value.split(|&byte| byte == b','));
    options.map(<[u8]>::trim_ascii)
}

/// Whether a field becomes a variable.
fn passes(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let same = |other: &&str| name.eq_ignore_ascii_case(other);
    name.bytes().all(plain) && !LEFT_OUT.iter().any(same)
}

fn variable(byte: u8) -> u8 {
    match byte {
        b'-' => b'_',
        other => other.to_ascii_uppercase(),
    }
}
