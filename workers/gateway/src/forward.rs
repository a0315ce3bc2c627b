//! A request as it is sent on to another HTTP server: its head, and how its body is framed. Pure.

use ferricorn_base::{Peer, Request};
use ferricorn_http::TargetForm;

/// Fields that are of the client's connection, or said anew here (RFC 9110 section 7.6.1).
const LEFT_OUT: [&str; 15] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// Whether a request may be sent once more when nothing is known of the first time (RFC 9110 section
/// 9.2.2).
#[must_use]
pub fn is_idempotent(method: &str) -> bool {
    ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"].contains(&method)
}

/// Writes the head. `length` is that of the body, in bytes; `None`: it is chunked.
pub fn write_head(out: &mut Vec<u8>, request: &Request, length: Option<u64>) {
    let head = request.head();
    let mut say = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
    say(&[head.method().as_bytes(), b" "]);
    match (head.form(), head.query()) {
        (TargetForm::Absolute, Some(query)) => {
            say(&[head.path().as_bytes(), b"?", query.as_bytes()]);
        }
        (TargetForm::Absolute, None) => say(&[head.path().as_bytes()]),
        _ => say(&[head.target().as_bytes()]),
    }
    let host = request.host().unwrap_or_default();
    say(&[b" HTTP/1.1\r\nHost: ", host.as_bytes(), b"\r\n"]);
    let named = |name: &str| {
        let lines = head
            .fields()
            .filter(|(name, _)| name.eq_ignore_ascii_case("connection"));
        let mut options = lines.flat_map(|(_, value)| value.split(|&byte| byte == b','));
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
    };
    for (name, value) in head.fields() {
        let same = |other: &&str| name.eq_ignore_ascii_case(other);
        if !LEFT_OUT.iter().any(same) && !named(name) {
            say(&[name.as_bytes(), b": ", value, b"\r\n"]);
        }
    }
    let mut forwarded = String::new();
    // What is here was said by proxies that are trusted (`trust`).
    for (_, value) in head
        .fields()
        .filter(|(name, _)| name.eq_ignore_ascii_case("x-forwarded-for"))
    {
        forwarded.push_str(&String::from_utf8_lossy(value));
        forwarded.push_str(", ");
    }
    if let Peer::Tcp(address) = request.client() {
        forwarded.push_str(&address.ip().to_string());
    }
    let forwarded = forwarded.trim_end_matches(", ");
    if !forwarded.is_empty() {
        say(&[b"X-Forwarded-For: ", forwarded.as_bytes(), b"\r\n"]);
    }
    say(&[b"X-Forwarded-Proto: ", request.scheme().as_bytes(), b"\r\n"]);
    if !host.is_empty() {
        say(&[b"X-Forwarded-Host: ", host.as_bytes(), b"\r\n"]);
    }
    match length {
        None => say(&[b"Transfer-Encoding: chunked\r\n"]),
        Some(0) if !["POST", "PUT", "PATCH"].contains(&head.method()) => {}
        Some(length) => say(&[b"Content-Length: ", length.to_string().as_bytes(), b"\r\n"]),
    }
    say(&[b"\r\n"]);
}

/// Writes some of a chunked body.
pub fn write_chunk(out: &mut Vec<u8>, content: &[u8]) {
    if !content.is_empty() {
        out.extend_from_slice(format!("{:x}\r\n", content.len()).as_bytes());
        out.extend_from_slice(content);
        out.extend_from_slice(b"\r\n");
    }
}

/// Ends a chunked body.
pub fn end_chunks(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(request: &Request, length: Option<u64>) -> String {
        let mut out = Vec::new();
        write_head(&mut out, request, length);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_of_the_connection_stays_behind() {
        let fields = [
            ("Host", "a.example"),
            ("Accept", "*/*"),
            ("Connection", "close, X-Hop"),
            ("X-Hop", "1"),
            ("TE", "trailers"),
            ("Cookie", "a=b"),
            ("Cookie", "c=d"),
        ];
        let request = Request::build("GET", "http://a.example/x?y", fields).unwrap();
        let request = request.with_peer(Peer::Tcp("192.0.2.1:5".parse().unwrap()));
        let expected = "GET /x?y HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\nCookie: a=b\r\nCookie: c=d\r\n\
                        X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a.example\r\n\r\n";
        assert_eq!(written(&request, Some(0)), expected);
    }

    #[test]
    fn the_length_is_said_where_one_is_expected() {
        for (method, length, said) in [
            ("GET", Some(0), ""),
            ("POST", Some(0), "Content-Length: 0\r\n"),
            ("GET", Some(7), "Content-Length: 7\r\n"),
            ("POST", None, "Transfer-Encoding: chunked\r\n"),
        ] {
            let request = Request::build(method, "/", [("Host", "a")]).unwrap();
            let end = format!("X-Forwarded-Host: a\r\n{said}\r\n");
            let written = written(&request, length);
            assert!(written.ends_with(&end), "{written}");
        }
    }
}
