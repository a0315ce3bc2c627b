//! A request, as the variables of a web server tell it: nginx, Apache, lighttpd and HAProxy each send
//! others. What is read here has been said by a peer, and goes through the very checks of a request that
//! came by HTTP.

use std::net::{IpAddr, SocketAddr};

use ferricorn_base::http::StatusCode;
use ferricorn_base::{Head, Limits, Peer, Reject, Version, meta};
use ferricorn_http::{Event, Reader, is_host};

use super::Vars;

/// How the content of a request comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// Until the protocol says that it ends.
    Streamed,
}

/// A request as variables tell it.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    vars: &'a Vars,
    method: &'a [u8],
    /// CONTENT_LENGTH, in bytes; `None` where it is missing or empty. nginx streams a chunked upload
    /// without it where it does not buffer requests.
    pub content_length: Option<u64>,
    /// What the client spoke: 1.0, else 1.1, later versions included.
    pub version: Version,
    /// Who the client is; `None` where the web server does not say. Port 0: it is not known.
    pub client: Option<Peer>,
    /// Where the client's connection came in.
    pub local: Option<SocketAddr>,
    /// The port that the client asked.
    pub port: Option<u16>,
    /// Whether the client came by `https`; `None`: nothing is said.
    pub https: Option<bool>,
}

impl<'a> Asked<'a> {
    /// Reads what variables say, the last of each name. (Fields may come more than once: nginx before
    /// 1.23 sends each line by itself.)
    ///
    /// # Errors
    /// The status to refuse with: there is no method, or CONTENT_LENGTH is no number or has two values.
    pub fn of(vars: &'a Vars) -> Result<Asked<'a>, Reject> {
        let method = said(vars, "REQUEST_METHOD").ok_or(bad("there is no REQUEST_METHOD"))?;
        let mut lengths = vars.iter().filter(|(name, _)| *name == b"CONTENT_LENGTH");
        let length = lengths.next().map_or(&b""[..], |(_, value)| value);
        // What is in front of us may have taken the one or the other.
        if lengths.any(|(_, other)| other != length) {
            return Err(bad("more than one CONTENT_LENGTH"));
        }
        let content_length = match length {
            b"" => None,
            digits => Some(decimal(digits).ok_or(bad("CONTENT_LENGTH is not a number"))?),
        };
        let port = |name| text(vars, name)?.parse::<u16>().ok();
        let address = |name, port| {
            let address = text(vars, name)?.parse::<IpAddr>().ok()?;
            Some(SocketAddr::new(address, port))
        };
        let client = match said(vars, "REMOTE_ADDR") {
            // nginx says so of one at a unix socket.
            Some(b"unix:") => Some(Peer::Unix),
            _ => address("REMOTE_ADDR", port("REMOTE_PORT").unwrap_or(0)).map(Peer::Tcp),
        };
        let https = said(vars, "HTTPS").map(|https| !https.eq_ignore_ascii_case(b"off"));
        let scheme = said(vars, "REQUEST_SCHEME").or(said(vars, "UWSGI_SCHEME"));
        Ok(Asked {
            vars,
            method,
            content_length,
            version: match said(vars, "SERVER_PROTOCOL") {
                Some(b"HTTP/1.0") => Version::Http10,
                _ => Version::Http11,
            },
            client,
            local: address("SERVER_ADDR", port("SERVER_PORT").unwrap_or(0)),
            port: port("SERVER_PORT"),
            https: https.or(scheme.map(|scheme| scheme == b"https")),
        })
    }

    /// The path of the application as the web server sees it, decoded: empty, or `/` and more.
    ///
    /// It is what SCRIPT_NAME says, if the path of the request (as [`Asked::fill`] makes it) is inside
    /// of that, and PATH_INFO says that something else could be: with nginx, which by itself sends no
    /// PATH_INFO over FastCGI, SCRIPT_NAME is the path itself.
    #[must_use]
    pub fn script_name(&self, head: &Head) -> &'a [u8] {
        let said = said(self.vars, "SCRIPT_NAME").unwrap_or_default();
        let said = said.strip_suffix(b"/").unwrap_or(said);
        let path = meta::decode(head.path());
        match path.strip_prefix(said) {
            Some([b'/', ..]) => said,
            Some([]) if self.vars.get("PATH_INFO").is_some() => said,
            _ => b"",
        }
    }

    /// Writes the request into `head`, as one of HTTP with this content, and `text` being memory that
    /// is of no use otherwise.
    ///
    /// The target is REQUEST_URI, else SCRIPT_NAME, PATH_INFO and QUERY_STRING, else DOCUMENT_URI with
    /// that. `HTTP_*` become fields; those that are about a connection do not, as it was another. Where
    /// there is no HTTP_HOST, Host is SERVER_NAME.
    ///
    /// # Errors
    /// What a client would be answered that sends this request by HTTP, under these limits.
    pub fn fill(
        &self,
        content: Content,
        limits: &Limits,
        head: &mut Head,
        text: &mut Vec<u8>,
    ) -> Result<(), Reject> {
        text.clear();
        text.extend_from_slice(self.method);
        text.push(b' ');
        let target = text.len();
        self.write_target(text)?;
        let end = text.len();
        text.extend_from_slice(match (self.version, content) {
            // It had a length there, or was no request of HTTP/1.0.
            (Version::Http10, Content::None | Content::Length(_)) => b" HTTP/1.0\r\n",
            _ => b" HTTP/1.1\r\n",
        });
        self.write_fields(text)?;
        match content {
            Content::None => {}
            Content::Length(length) => {
                let mut digits = itoa::Buffer::new();
                write_field(text, b"content-length", digits.format(length).as_bytes())?;
            }
            Content::Streamed => write_field(text, b"transfer-encoding", b"chunked")?,
        }
        text.extend_from_slice(b"\r\n");
        let method = self.method;
        match Reader::new().next(text, limits, head)? {
            // A blank or a line end in a method or target would have shifted the parts.
            Event::Head { consumed }
                if consumed == text.len()
                    && head.method().as_bytes() == method
                    && head.target().as_bytes() == &text[target..end] =>
            {
                Ok(())
            }
            Event::Head { .. } => Err(bad("method or target holds a blank")),
            // The empty line is there, so nothing else can come first.
            _ => Err(Reject::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "the variables are too long",
            )),
        }
    }

    fn write_target(&self, out: &mut Vec<u8>) -> Result<(), Reject> {
        if let Some(uri) = said(self.vars, "REQUEST_URI") {
            out.extend_from_slice(uri);
            return Ok(());
        }
        let start = out.len();
        for name in ["SCRIPT_NAME", "PATH_INFO"] {
            write_path(out, said(self.vars, name).unwrap_or_default());
        }
        if out.len() == start {
            write_path(out, said(self.vars, "DOCUMENT_URI").unwrap_or_default());
        }
        if out.len() == start {
            return Err(bad("there is no REQUEST_URI, and nothing in its place"));
        }
        if let Some(query) = said(self.vars, "QUERY_STRING") {
            out.push(b'?');
            out.extend_from_slice(query);
        }
        Ok(())
    }

    fn write_fields(&self, out: &mut Vec<u8>) -> Result<(), Reject> {
        let mut host = false;
        for (name, value) in self.vars {
            let Some(name) = name.strip_prefix(b"HTTP_") else {
                continue;
            };
            let start = out.len();
            write_field(out, name, value)?;
            let field = &mut out[start..start + name.len()];
            for byte in &mut *field {
                *byte = match *byte {
                    b'_' => b'-',
                    other => other.to_ascii_lowercase(),
                };
            }
            // By what it has become, however the variable was spelled.
            host |= field == b"host";
            if field.is_empty() || LEFT_OUT.contains(&&*field) {
                out.truncate(start);
            }
        }
        if let Some(value) = said(self.vars, "CONTENT_TYPE") {
            write_field(out, b"content-type", value)?;
        }
        if !host {
            // A pattern, perhaps: nginx sends what its configuration calls the server.
            let name = text(self.vars, "SERVER_NAME").filter(|name| is_host(name));
            write_field(out, b"host", name.unwrap_or("localhost").as_bytes())?;
        }
        Ok(())
    }
}

/// Fields that were about the connection of the client, or about the framing there; and what no field
/// should ever have been (CVE-2016-5385).
const LEFT_OUT: [&[u8]; 12] = [
    b"connection",
    b"content-length",
    b"content-type",
    b"expect",
    b"http2-settings",
    b"keep-alive",
    b"proxy",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
];

/// What a variable says; one that is empty says nothing.
fn said<'a>(vars: &'a Vars, name: &str) -> Option<&'a [u8]> {
    vars.get(name).filter(|value| !value.is_empty())
}

fn text<'a>(vars: &'a Vars, name: &str) -> Option<&'a str> {
    std::str::from_utf8(said(vars, name)?).ok()
}

fn bad(reason: &'static str) -> Reject {
    Reject::new(StatusCode::BAD_REQUEST, reason)
}

/// Digits and nothing else (RFC 3875 section 4.1.2), of 64 bits at most.
pub(in crate::codec) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A path that was decoded, encoded again.
fn write_path(out: &mut Vec<u8>, path: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in path {
        // `pchar` and `/` (RFC 3986 section 3.3).
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte) {
            out.push(byte);
        } else {
            let high = DIGITS[usize::from(byte >> 4)];
            out.extend_from_slice(&[b'%', high, DIGITS[usize::from(byte & 15)]]);
        }
    }
}

/// # Errors
/// What would end up as more, or as other lines than were given.
fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<(), Reject> {
    let breaks = |byte: &u8| matches!(byte, b'\r' | b'\n' | 0);
    if value.iter().any(breaks) || name.iter().any(|byte| breaks(byte) || *byte == b':') {
        return Err(bad("a variable holds a line end or NUL"));
    }
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
    Ok(())
}
