//! The meta-variables of a request, as CGI and what came after it name them (RFC 3875 section 4.1,
//! PEP 3333): what the gateways and Python are given. Makes names and values out of a request and
//! decides nothing about it.
//!
//! A field of the request becomes `HTTP_` and its name in capitals, with `_` for `-`. Nothing else is
//! mapped, so that `X.Real.IP` stays another variable than `X-Real-IP`; names with `_` are a matter of
//! `header-map`, before any handler. Fields of one name are joined, those of Cookie by `; `. There
//! is no `HTTP_PROXY`, which programs take for their own setting (CVE-2016-5385), nor anything of
//! the framing, which is decoded.

use std::borrow::Cow;

use ferricorn_http::{BodyLength, Reject, Version, split_authority};
use http::StatusCode;

use crate::conf::LocalAddr;
use crate::peer::Peer;
use crate::request::{Forwarded, Request};

const SOFTWARE: &str = concat!("ferricorn/", env!("CARGO_PKG_VERSION"));

/// A name, and a value as bytes.
pub type Variable<'a> = (Cow<'a, str>, Bytes<'a>);

/// Bytes of a request, or made of it.
pub type Bytes<'a> = Cow<'a, [u8]>;

/// Fields that do not become `HTTP_*`, as they would be called there.
const LEFT_OUT: [&str; 5] = [
    "HTTP_CONTENT_LENGTH",
    "HTTP_CONTENT_TYPE",
    // It is HTTP_HOST below, where the authority of the target comes first (RFC 9112 section 3.2.2).
    "HTTP_HOST",
    "HTTP_PROXY",
    "HTTP_TRANSFER_ENCODING",
];

/// The variables of a request, each name once. With a chunked body, `CONTENT_LENGTH` is what has been
/// read of it: all of it once a handler is called, nothing in `begin`.
///
/// `GATEWAY_INTERFACE`, `PATH_TRANSLATED` and the like belong to a gateway, `wsgi.*` to Python.
///
/// # Errors
/// 400: a path that decodes to a NUL, which ends a C string; one that is not inside of the
/// `SCRIPT_NAME` that a trusted proxy gave.
pub fn variables(request: &Request) -> Result<impl Iterator<Item = Variable<'_>>, Reject> {
    let (script_name, path_info) = paths(request)?;
    let mut all = request_line(request);
    all.push(("SCRIPT_NAME".into(), script_name));
    all.push(("PATH_INFO".into(), path_info));
    connection(request, &mut all);
    content(request, &mut all);
    fields(request, &mut all);
    Ok(all.into_iter())
}

fn text<'a>(name: &'static str, value: impl Into<Cow<'a, str>>) -> Variable<'a> {
    let value = match value.into() {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    };
    (name.into(), value)
}

fn request_line(request: &Request) -> Vec<Variable<'_>> {
    let head = request.head();
    let version = match head.version() {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
    };
    // Of an absolute-form target the part that an origin-form one would have.
    let uri = match (head.target().starts_with('/'), head.query()) {
        (true, _) => head.target().into(),
        (false, None) => head.path().into(),
        (false, Some(query)) => Cow::Owned(format!("{}?{query}", head.path())),
    };
    vec![
        text("REQUEST_METHOD", head.method()),
        text("QUERY_STRING", head.query().unwrap_or_default()),
        text("REQUEST_URI", uri),
        text("RAW_URI", head.target()),
        text("SERVER_PROTOCOL", version),
        text("SERVER_SOFTWARE", SOFTWARE),
    ]
}

/// `SCRIPT_NAME` and `PATH_INFO`: what a trusted proxy gave, else the prefix of the mount, and the
/// rest of the path, decoded once.
fn paths(request: &Request) -> Result<(Bytes<'_>, Bytes<'_>), Reject> {
    let said = request.forwarded();
    let script_name = said.and_then(|said| said.script_name.as_deref());
    let script_name = script_name.map_or_else(|| decode(request.script_name()), Cow::Borrowed);
    if let Some(path) = said.and_then(|said| said.path_info.as_deref()) {
        return Ok((script_name, path.into()));
    }
    let path = decode(request.path());
    if path.contains(&0) {
        return Err(bad("the path holds a NUL"));
    }
    let inside = path.strip_prefix(&*script_name);
    match inside.filter(|rest| rest.is_empty() || rest.starts_with(b"/")) {
        _ if script_name.is_empty() => Ok((Cow::default(), path)),
        Some(rest) => Ok((script_name, rest.to_vec().into())),
        None => Err(bad("the path is not inside of SCRIPT_NAME")),
    }
}

fn bad(reason: &'static str) -> Reject {
    Reject::new(StatusCode::BAD_REQUEST, reason)
}

/// Percent-decoding of a path, once. The parser admits a `%` there before two digits only.
pub fn decode(path: &str) -> Bytes<'_> {
    if !path.contains('%') {
        return path.as_bytes().into();
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [byte, after @ ..] = rest {
        let pair = match after {
            [high, low, ..] if *byte == b'%' => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match pair {
            Some((high, low)) => {
                decoded.push((high << 4 | low) as u8);
                rest = &after[2..];
            }
            None => {
                decoded.push(*byte);
                rest = after;
            }
        }
    }
    decoded.into()
}

/// `SERVER_NAME`: the host that the client asked, else the address of the listener (RFC 3875 section
/// 4.1.14).
pub fn server_name(request: &Request) -> Cow<'_, str> {
    let host = request.host().and_then(split_authority);
    match (host, request.local()) {
        (Some((host, _)), _) => host.into(),
        (None, Some(LocalAddr::Tcp(address))) => match address.ip() {
            ip if ip.is_ipv6() => Cow::Owned(format!("[{ip}]")),
            ip => Cow::Owned(ip.to_string()),
        },
        _ => "localhost".into(),
    }
}

fn connection<'a>(request: &'a Request, all: &mut Vec<Variable<'a>>) {
    let host = request.host();
    all.push(text("SERVER_NAME", server_name(request)));
    all.push(text("SERVER_PORT", request.port().to_string()));
    all.push(text("REQUEST_SCHEME", request.scheme()));
    if request.scheme() == "https" {
        all.push(text("HTTPS", "on"));
    }
    match request.client() {
        Peer::Tcp(address) => {
            all.push(text("REMOTE_ADDR", address.ip().to_string()));
            if address.port() != 0 {
                all.push(text("REMOTE_PORT", address.port().to_string()));
            }
        }
        // The variable has to be there (RFC 3875 section 4.1.8).
        Peer::Unix => all.push(text("REMOTE_ADDR", "")),
    }
    if let Some(host) = host {
        all.push(text("HTTP_HOST", host));
    }
}

fn content<'a>(request: &'a Request, all: &mut Vec<Variable<'a>>) {
    if let Some(value) = request.head().field("content-type") {
        all.push(("CONTENT_TYPE".into(), value.into()));
    }
    let length = match request.head().body() {
        BodyLength::None => return,
        BodyLength::Length(length) => length,
        BodyLength::Chunked => request.body().len(),
    };
    all.push(text("CONTENT_LENGTH", length.to_string()));
}

fn fields<'a>(request: &'a Request, all: &mut Vec<Variable<'a>>) {
    let said = request.forwarded();
    let taken = |name: &str| {
        let given = |part: fn(&Forwarded) -> bool| said.is_some_and(part);
        name.eq_ignore_ascii_case("SCRIPT_NAME") && given(|said| said.script_name.is_some())
            || name.eq_ignore_ascii_case("PATH_INFO") && given(|said| said.path_info.is_some())
    };
    let mut named: Vec<(String, &[u8])> = request
        .head()
        .fields()
        .filter(|(name, _)| !taken(name))
        .map(|(name, value)| (variable(name), value))
        .filter(|(name, _)| !LEFT_OUT.contains(&name.as_str()))
        .collect();
    // Of one name in the order in which they came.
    named.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut named = named.into_iter().peekable();
    while let Some((name, value)) = named.next() {
        // RFC 9113 section 8.2.3 for Cookie, RFC 9110 section 5.3 for the others.
        let between: &[u8] = if name == "HTTP_COOKIE" { b"; " } else { b", " };
        let mut value = Cow::Borrowed(value);
        while let Some((_, more)) = named.next_if(|(next, _)| *next == name) {
            value.to_mut().extend_from_slice(between);
            value.to_mut().extend_from_slice(more);
        }
        all.push((name.into(), value));
    }
}

/// `HTTP_`, and the name of a field in capitals with `_` for `-`.
fn variable(field: &str) -> String {
    let mut name = String::with_capacity(field.len() + 5);
    name.push_str("HTTP_");
    name.extend(field.chars().map(|c| match c {
        '-' => '_',
        c => c.to_ascii_uppercase(),
    }));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(request: &Request) -> Vec<(String, String)> {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let all = variables(request).unwrap();
        all.map(|(name, value)| (name.into_owned(), text(&value)))
            .collect()
    }

    /// What a request has of these names, separated by blanks.
    #[track_caller]
    fn check(request: &Request, expected: &[(&str, Option<&str>)]) {
        let all = of(request);
        for (name, value) in expected {
            let found: Vec<&str> = all
                .iter()
                .filter(|(other, _)| other == name)
                .map(|(_, value)| value.as_str())
                .collect();
            let value: Vec<&str> = value.iter().copied().collect();
            assert_eq!(found, value, "{name} in {all:?}");
        }
    }

    fn get(target: &str, fields: &[(&str, &str)]) -> Request {
        Request::build("GET", target, fields.iter().copied()).unwrap()
    }

    #[test]
    fn the_request_line() {
        for (target, path, query, uri) in [
            ("/", "/", "", "/"),
            (
                "/a%20b%2Fc%25?x=%20",
                "/a b/c%",
                "x=%20",
                "/a%20b%2Fc%25?x=%20",
            ),
            ("/%2541?", "/%41", "", "/%2541?"),
            ("/a%0Ab", "/a\nb", "", "/a%0Ab"),
            ("http://h", "/", "", "/"),
            ("http://h/a?b", "/a", "b", "/a?b"),
        ] {
            let expected = [
                ("REQUEST_METHOD", Some("GET")),
                ("SCRIPT_NAME", Some("")),
                ("PATH_INFO", Some(path)),
                ("QUERY_STRING", Some(query)),
                ("REQUEST_URI", Some(uri)),
                ("RAW_URI", Some(target)),
                ("SERVER_PROTOCOL", Some("HTTP/1.1")),
            ];
            check(&get(target, &[]), &expected);
        }
        assert!(variables(&get("/a%00b", &[])).is_err());
    }

    #[test]
    fn fields_become_variables() {
        let request = get(
            "/",
            &[
                ("Host", "h:1"),
                ("Proxy", "evil"),
                ("Accept", "a"),
                ("X-Real-Ip", "1"),
                ("X.Real.Ip", "2"),
                ("accept", "b"),
                ("Cookie", "a=1"),
                ("cookie", "b=2"),
                ("Content-Type", "t"),
                ("HTTPS", "on"),
                ("Script-Name", "/x"),
                ("Remote-User", "root"),
            ],
        );
        let expected = [
            ("HTTP_HOST", Some("h:1")),
            ("HTTP_PROXY", None),
            ("HTTP_ACCEPT", Some("a, b")),
            ("HTTP_X_REAL_IP", Some("1")),
            ("HTTP_X.REAL.IP", Some("2")),
            ("HTTP_COOKIE", Some("a=1; b=2")),
            ("CONTENT_TYPE", Some("t")),
            ("HTTP_CONTENT_TYPE", None),
            ("CONTENT_LENGTH", None),
            ("HTTPS", None),
            ("HTTP_HTTPS", Some("on")),
            ("SCRIPT_NAME", Some("")),
            ("HTTP_SCRIPT_NAME", Some("/x")),
            ("REMOTE_USER", None),
            ("SERVER_NAME", Some("h")),
        ];
        check(&request, &expected);
        check(
            &get("http://a:8/", &[("Host", "b")]),
            &[("HTTP_HOST", Some("a:8")), ("SERVER_NAME", Some("a"))],
        );
    }

    #[test]
    fn content() {
        let post = |fields: [(&str, &str); 1]| Request::build("POST", "/", fields).unwrap();
        let chunked = post([("Transfer-Encoding", "chunked")]).with_body("hello");
        let expected = [
            ("CONTENT_LENGTH", Some("5")),
            ("HTTP_TRANSFER_ENCODING", None),
        ];
        check(&chunked, &expected);
        let plain = post([("Content-Length", "7")]);
        let expected = [("CONTENT_LENGTH", Some("7")), ("HTTP_CONTENT_LENGTH", None)];
        check(&plain, &expected);
    }

    #[test]
    fn the_connection() {
        let peer = Peer::Tcp("192.0.2.1:4711".parse().unwrap());
        let local = LocalAddr::Tcp("[2001:db8::1]:8000".parse().unwrap());
        let request = get("/", &[("Host", "")]).with_peer(peer).with_local(local);
        let expected = [
            ("SERVER_NAME", Some("[2001:db8::1]")),
            ("SERVER_PORT", Some("8000")),
            ("REQUEST_SCHEME", Some("http")),
            ("REMOTE_ADDR", Some("192.0.2.1")),
            ("REMOTE_PORT", Some("4711")),
            ("HTTP_HOST", None),
        ];
        check(&request, &expected);
        let local = LocalAddr::Unix("/s".into());
        let request = get("/", &[("Host", "h:81")]).with_local(local);
        let expected = [
            ("SERVER_NAME", Some("h")),
            ("SERVER_PORT", Some("81")),
            ("REMOTE_ADDR", Some("")),
            ("REMOTE_PORT", None),
        ];
        check(&request, &expected);
    }

    #[test]
    fn what_trusted_proxies_say_comes_first() {
        let client = Peer::Tcp("[2001:db8::2]:0".parse().unwrap());
        let request = get("/app/a", &[("SCRIPT_NAME", "/app")])
            .with_local(LocalAddr::Tcp("127.0.0.1:8000".parse().unwrap()))
            .with_forwarded(Forwarded {
                client: Some(client),
                https: Some(true),
                host: Some("example.com".into()),
                script_name: Some(b"/app".to_vec()),
                ..Forwarded::default()
            });
        let expected = [
            ("REMOTE_ADDR", Some("2001:db8::2")),
            ("REMOTE_PORT", None),
            ("HTTPS", Some("on")),
            ("REQUEST_SCHEME", Some("https")),
            ("SERVER_NAME", Some("example.com")),
            ("SERVER_PORT", Some("443")),
            ("HTTP_HOST", Some("example.com")),
            ("SCRIPT_NAME", Some("/app")),
            ("PATH_INFO", Some("/a")),
            ("HTTP_SCRIPT_NAME", None),
        ];
        check(&request, &expected);
        let under = |script: &str, target: &str| {
            let forwarded = Forwarded {
                script_name: Some(script.into()),
                ..Forwarded::default()
            };
            let request = get(target, &[]).with_forwarded(forwarded);
            let all = variables(&request).map(Iterator::collect::<Vec<_>>);
            all.ok().and_then(|all| {
                let path = all.into_iter().find(|(name, _)| name == "PATH_INFO");
                path.map(|(_, path)| String::from_utf8_lossy(&path).into_owned())
            })
        };
        assert_eq!(under("/app", "/app").as_deref(), Some(""));
        assert_eq!(under("", "/app").as_deref(), Some("/app"));
        assert_eq!(under("/app", "/application"), None);
        assert_eq!(under("/a b", "/a%20b/c").as_deref(), Some("/c"));
    }
}
