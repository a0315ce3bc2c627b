//! What goes on the wire: tables of heads, framing, and what a handler may not do.

use ferricorn_http::{
    BodyEncoder, Date, Defaults, EncodeError, Facts, Head, Length, Version, encode_head,
    encode_interim, encode_reject, is_head_request,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

const GET: Facts = Facts {
    version: Version::Http11,
    head_request: false,
    connect_request: false,
    keep_alive: true,
};
const HEAD: Facts = Facts {
    head_request: true,
    ..GET
};
const CONNECT: Facts = Facts {
    connect_request: true,
    ..GET
};
const LAST: Facts = Facts {
    keep_alive: false,
    ..GET
};
const OLD: Facts = Facts {
    version: Version::Http10,
    keep_alive: false,
    ..GET
};
const OLD_KEEP: Facts = Facts {
    version: Version::Http10,
    ..GET
};

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields
        .iter()
        .map(|&(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect()
}

/// A head with no default but the content type, its lines sorted; and its encoder.
fn head(
    facts: Facts,
    status: u16,
    fields: &[(&'static str, &'static str)],
    length: Length,
) -> Result<(String, BodyEncoder), EncodeError> {
    let status = StatusCode::from_u16(status).expect("a status");
    // `collect` of a map keeps the last of equal names only.
    let mut all = HeaderMap::new();
    for (name, value) in fields {
        all.append(*name, HeaderValue::from_static(value));
    }
    let mut out = b"before".to_vec();
    let defaults = Defaults {
        content_type: Some("t/p"),
        ..Defaults::default()
    };
    let encoded = encode_head(&mut out, &facts, status, &all, length, &defaults);
    let text = String::from_utf8(out).expect("ASCII");
    let text = text.strip_prefix("before").expect("what was there stays");
    match encoded {
        Ok(encoder) => {
            let mut lines: Vec<String> = text
                .strip_suffix("\r\n\r\n")
                .expect("ends with an empty line")
                .split("\r\n")
                .skip(1)
                .map(|line| {
                    let (name, value) = line.split_once(": ").expect("a field");
                    format!("{}: {value}", name.to_ascii_lowercase())
                })
                .collect();
            lines.sort_unstable();
            Ok((lines.join("|"), encoder))
        }
        Err(error) => {
            assert_eq!(text, "", "an error writes nothing");
            Err(error)
        }
    }
}

const KNOWN: Length = Length::Known(5);
const EMPTY: Length = Length::Known(0);
const UNKNOWN: Length = Length::Unknown;

#[test]
fn framing() {
    // request, status, length: fields, suppressed, keep-alive
    for (facts, status, length, fields, suppressed, keep_alive) in [
        (
            GET,
            200,
            KNOWN,
            "content-length: 5|content-type: t/p",
            false,
            true,
        ),
        (GET, 200, EMPTY, "content-length: 0", false, true),
        (
            GET,
            200,
            UNKNOWN,
            "content-type: t/p|transfer-encoding: chunked",
            false,
            true,
        ),
        (
            GET,
            404,
            KNOWN,
            "content-length: 5|content-type: t/p",
            false,
            true,
        ),
        (
            GET,
            200,
            Length::Known(1),
            "content-length: 1|content-type: t/p",
            false,
            true,
        ),
        (
            HEAD,
            200,
            Length::Known(1),
            "content-length: 1|content-type: t/p",
            true,
            true,
        ),
        (GET, 204, KNOWN, "", true, true),
        (GET, 204, UNKNOWN, "", true, true),
        (GET, 205, KNOWN, "content-length: 0", true, true),
        (GET, 304, KNOWN, "", true, true),
        (GET, 304, UNKNOWN, "", true, true),
        (
            HEAD,
            200,
            KNOWN,
            "content-length: 5|content-type: t/p",
            true,
            true,
        ),
        (HEAD, 200, EMPTY, "", true, true),
        (HEAD, 200, UNKNOWN, "", true, true),
        (
            LAST,
            200,
            KNOWN,
            "connection: close|content-length: 5|content-type: t/p",
            false,
            false,
        ),
        (LAST, 204, EMPTY, "connection: close", true, false),
        (
            OLD,
            200,
            KNOWN,
            "connection: close|content-length: 5|content-type: t/p",
            false,
            false,
        ),
        (
            OLD_KEEP,
            200,
            KNOWN,
            "connection: keep-alive|content-length: 5|content-type: t/p",
            false,
            true,
        ),
        (
            OLD_KEEP,
            200,
            UNKNOWN,
            "connection: close|content-type: t/p",
            false,
            false,
        ),
        (
            Facts {
                head_request: true,
                ..OLD_KEEP
            },
            200,
            UNKNOWN,
            "connection: keep-alive",
            true,
            true,
        ),
        (CONNECT, 200, KNOWN, "", true, false),
        (CONNECT, 501, EMPTY, "content-length: 0", false, true),
    ] {
        let (lines, encoder) = head(facts, status, &[], length).expect("valid");
        assert_eq!(lines, fields, "{facts:?} {status} {length:?}");
        assert_eq!(
            (encoder.suppressed(), encoder.keep_alive()),
            (suppressed, keep_alive),
            "{facts:?} {status}"
        );
    }
}

#[test]
fn fields_of_the_handler() {
    for (facts, status, given, length, fields) in [
        (
            GET,
            200,
            &[("x", "1"), ("x", "2")][..],
            EMPTY,
            "content-length: 0|x: 1|x: 2",
        ),
        (
            GET,
            200,
            &[("content-type", "a/b")],
            KNOWN,
            "content-length: 5|content-type: a/b",
        ),
        (
            GET,
            200,
            &[("content-length", "5")],
            KNOWN,
            "content-length: 5|content-type: t/p",
        ),
        (
            GET,
            200,
            &[("content-length", "05")],
            UNKNOWN,
            "content-length: 5|content-type: t/p",
        ),
        (
            HEAD,
            200,
            &[("content-length", "9")],
            EMPTY,
            "content-length: 9|content-type: t/p",
        ),
        (
            HEAD,
            200,
            &[("content-length", "9")],
            KNOWN,
            "content-length: 9|content-type: t/p",
        ),
        (
            GET,
            304,
            &[("content-length", "9")],
            EMPTY,
            "content-length: 9|content-type: t/p",
        ),
        (GET, 204, &[("content-length", "0")], EMPTY, ""),
        (
            GET,
            205,
            &[("content-length", "7")],
            EMPTY,
            "content-length: 0",
        ),
        (
            GET,
            200,
            &[("connection", "x, Close"), ("connection", ",keep-alive, y")],
            EMPTY,
            "connection: close, x, y|content-length: 0",
        ),
        (
            GET,
            200,
            &[("connection", "x-hop"), ("x-hop", "1")],
            EMPTY,
            "connection: x-hop|content-length: 0|x-hop: 1",
        ),
        (
            GET,
            200,
            &[("connection", "x-hop, close")],
            EMPTY,
            "connection: close, x-hop|content-length: 0",
        ),
        (
            OLD_KEEP,
            200,
            &[("upgrade", "h2c")],
            EMPTY,
            "connection: keep-alive, upgrade|content-length: 0|upgrade: h2c",
        ),
        (
            GET,
            200,
            &[("content-type", "a/b"), ("content-type", "c/d")],
            KNOWN,
            "content-length: 5|content-type: a/b",
        ),
        (
            GET,
            200,
            &[("connection", "keep-alive")],
            EMPTY,
            "content-length: 0",
        ),
        (
            LAST,
            200,
            &[("connection", "keep-alive")],
            EMPTY,
            "connection: close|content-length: 0",
        ),
        (
            GET,
            200,
            &[("keep-alive", "1"), ("proxy-connection", "x")],
            EMPTY,
            "content-length: 0",
        ),
        (
            GET,
            200,
            &[("transfer-encoding", "Chunked")],
            KNOWN,
            "content-length: 5|content-type: t/p",
        ),
        (
            GET,
            200,
            &[("date", "then"), ("date", "now")],
            EMPTY,
            "content-length: 0|date: then",
        ),
        (
            GET,
            426,
            &[("upgrade", "h3")],
            EMPTY,
            "connection: upgrade|content-length: 0|upgrade: h3",
        ),
        (
            LAST,
            426,
            &[("upgrade", "h3")],
            EMPTY,
            "connection: close, upgrade|content-length: 0|upgrade: h3",
        ),
        (
            GET,
            101,
            &[("upgrade", "w")],
            UNKNOWN,
            "connection: upgrade|upgrade: w",
        ),
        (
            GET,
            101,
            &[("upgrade", "w"), ("connection", "Upgrade")],
            UNKNOWN,
            "connection: upgrade|upgrade: w",
        ),
    ] {
        let (lines, _) = head(facts, status, given, length).expect("valid");
        assert_eq!(lines, fields, "{status} {given:?} {length:?}");
    }
}

#[test]
fn what_a_handler_may_not_do() {
    let status = |code| {
        Err(EncodeError::Status(
            StatusCode::from_u16(code).expect("a status"),
        ))
    };
    for (facts, code, given, length, error) in [
        (
            GET,
            200,
            &[("content-length", "4")][..],
            KNOWN,
            Err(EncodeError::LengthMismatch {
                declared: 4,
                actual: 5,
            }),
        ),
        (
            GET,
            200,
            &[("content-length", "5"), ("content-length", "5")],
            KNOWN,
            Err(EncodeError::DuplicateContentLength),
        ),
        (
            GET,
            200,
            &[("content-length", "5x")],
            KNOWN,
            Err(EncodeError::BadContentLength),
        ),
        (
            GET,
            200,
            &[("content-length", "+5")],
            UNKNOWN,
            Err(EncodeError::BadContentLength),
        ),
        (
            GET,
            204,
            &[("content-length", "")],
            EMPTY,
            Err(EncodeError::BadContentLength),
        ),
        (
            GET,
            200,
            &[("transfer-encoding", "gzip")],
            KNOWN,
            Err(EncodeError::TransferEncoding),
        ),
        (
            GET,
            200,
            &[("transfer-encoding", "gzip, chunked")],
            UNKNOWN,
            Err(EncodeError::TransferEncoding),
        ),
        (GET, 100, &[], EMPTY, status(100)),
        (GET, 103, &[], EMPTY, status(103)),
        (
            GET,
            101,
            &[("connection", "upgrade")],
            EMPTY,
            Err(EncodeError::NoUpgrade),
        ),
        (OLD_KEEP, 101, &[("upgrade", "w")], EMPTY, status(101)),
    ] {
        let result: Result<(), EncodeError> = head(facts, code, given, length).map(|_| ());
        assert_eq!(result, error, "{code} {given:?} {length:?}");
        assert!(
            !result
                .map_err(|error| error.to_string())
                .err()
                .unwrap_or_default()
                .is_empty()
        );
    }
}

#[test]
fn whole_heads() {
    let mut date = Date::new();
    date.update(784_111_777);
    let defaults = Defaults {
        date: date.as_bytes(),
        server: Some(b"f/1"),
        content_type: Some("text/plain"),
        rendered: b"",
    };
    let mut rendered = Vec::new();
    defaults.render(&mut rendered);
    let kept = Defaults {
        rendered: &rendered,
        ..defaults
    };
    for defaults in [defaults, kept] {
        let mut out = Vec::new();
        let encoded = encode_head(
            &mut out,
            &GET,
            StatusCode::OK,
            &map(&[("x-a", "b")]),
            Length::Known(13),
            &defaults,
        );
        assert!(encoded.is_ok());
        assert_eq!(
            String::from_utf8_lossy(&out),
            "HTTP/1.1 200 OK\r\nx-a: b\r\nContent-Length: 13\r\nContent-Type: text/plain\r\nServer: f/1\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"
        );
        out.clear();
        let own = map(&[("server", "mine"), ("date", "then")]);
        let encoded = encode_head(
            &mut out,
            &GET,
            StatusCode::from_u16(299).expect("valid"),
            &own,
            EMPTY,
            &defaults,
        );
        assert!(encoded.is_ok());
        assert_eq!(
            String::from_utf8_lossy(&out),
            "HTTP/1.1 299 \r\nserver: mine\r\ndate: then\r\nContent-Length: 0\r\n\r\n"
        );
        for (own, lines) in [
            (("server", "mine"), "Date: Sun, 06 Nov 1994 08:49:37 GMT"),
            (("date", "then"), "Server: f/1"),
        ] {
            out.clear();
            let fields = map(&[own]);
            let encoded = encode_head(&mut out, &GET, StatusCode::OK, &fields, EMPTY, &defaults);
            assert!(encoded.is_ok());
            let (name, value) = own;
            assert_eq!(
                String::from_utf8_lossy(&out),
                format!(
                    "HTTP/1.1 200 OK\r\n{name}: {value}\r\nContent-Length: 0\r\n{lines}\r\n\r\n"
                )
            );
        }
    }
}

#[test]
fn interim_and_reject() {
    let mut out = Vec::new();
    let fields = map(&[
        ("link", "</a>"),
        ("content-length", "5"),
        ("transfer-encoding", "chunked"),
        ("connection", "x"),
        ("keep-alive", "5"),
        ("proxy-connection", "x"),
        ("upgrade", "w"),
    ]);
    assert_eq!(
        encode_interim(&mut out, StatusCode::CONTINUE, &HeaderMap::new()),
        Ok(())
    );
    assert_eq!(
        encode_interim(&mut out, StatusCode::from_u16(103).expect("valid"), &fields),
        Ok(())
    );
    assert_eq!(
        String::from_utf8_lossy(&out),
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    );
    for status in [StatusCode::OK, StatusCode::SWITCHING_PROTOCOLS] {
        assert_eq!(
            encode_interim(&mut out, status, &fields),
            Err(EncodeError::Status(status))
        );
    }
    out.clear();
    let defaults = Defaults {
        date: b"now",
        server: Some(b"f"),
        ..Defaults::default()
    };
    encode_reject(&mut out, StatusCode::BAD_REQUEST, false, &defaults);
    assert_eq!(
        String::from_utf8_lossy(&out),
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 16\r\nServer: f\r\n\
         Date: now\r\nConnection: close\r\n\r\n400 Bad Request\n"
    );
    let content = b"400 Bad Request\n".len();
    let head = out[..out.len() - content].to_vec();
    out.clear();
    encode_reject(&mut out, StatusCode::BAD_REQUEST, true, &defaults);
    assert_eq!(out, head, "HEAD has the fields and no content");
    for (input, head_request) in [
        (&b"HEAD / HTTP/1.1"[..], true),
        (b"\r\nHEAD /", true),
        (b"HEAD", false),
        (b"HEADER /", false),
        (b"GET /HEAD ", false),
        (b"head /", false),
    ] {
        assert_eq!(is_head_request(input), head_request, "{input:?}");
    }
}

fn encoder(facts: Facts, status: u16, length: Length) -> BodyEncoder {
    head(facts, status, &[], length).expect("valid").1
}

#[test]
fn known_lengths_are_kept() {
    let (mut body, mut out) = (encoder(GET, 200, KNOWN), Vec::new());
    assert_eq!(
        (
            body.encode(b"ab", &mut out),
            body.remaining(),
            body.is_complete()
        ),
        (Ok(()), Some(3), false)
    );
    assert_eq!(body.frame(3, &mut out), Ok(3));
    body.end_frame(&mut out);
    assert!(body.is_complete());
    assert_eq!(
        (
            body.finish(Some(&map(&[("x", "y")])), &mut out),
            body.keep_alive()
        ),
        (Ok(()), true)
    );
    assert_eq!(out, b"ab");

    let (mut body, mut out) = (encoder(GET, 200, KNOWN), Vec::new());
    assert_eq!(body.encode(b"abcdefg", &mut out), Err(EncodeError::TooLong));
    assert_eq!(
        (out.as_slice(), body.keep_alive()),
        (&b"abcde"[..], false),
        "never more than declared"
    );

    let (mut body, mut out) = (encoder(GET, 200, KNOWN), Vec::new());
    assert_eq!(
        (body.frame(6, &mut out), body.keep_alive()),
        (Err(EncodeError::TooLong), false)
    );

    let (mut body, mut out) = (encoder(GET, 200, KNOWN), Vec::new());
    assert_eq!(body.encode(b"abc", &mut out), Ok(()));
    assert_eq!(
        body.finish(None, &mut out),
        Err(EncodeError::TooShort { missing: 2 })
    );
    assert!(!body.keep_alive() && !body.is_complete());

    let (mut body, mut out) = (encoder(GET, 200, KNOWN), Vec::new());
    assert_eq!(body.frame(4, &mut out), Ok(4));
    assert_eq!(
        body.finish(None, &mut out),
        Err(EncodeError::TooShort { missing: 1 })
    );
}

#[test]
fn behind_the_end_nothing_is_written() {
    for facts in [GET, OLD_KEEP] {
        let (mut body, mut out) = (encoder(facts, 200, UNKNOWN), Vec::new());
        assert_eq!(body.encode(b"ab", &mut out), Ok(()));
        assert_eq!(body.finish(None, &mut out), Ok(()));
        let whole = out.clone();
        assert_eq!(body.encode(b"c", &mut out), Err(EncodeError::TooLong));
        assert_eq!(body.frame(1, &mut out), Err(EncodeError::TooLong));
        assert_eq!(body.finish(None, &mut out), Ok(()));
        assert_eq!((out, body.keep_alive()), (whole, false));
    }
}

#[test]
fn chunks() {
    let (mut body, mut out) = (encoder(GET, 200, UNKNOWN), Vec::new());
    assert_eq!(
        body.encode(b"", &mut out),
        Ok(()),
        "an empty chunk would end it"
    );
    assert_eq!(body.encode(b"0123456789abcdefX", &mut out), Ok(()));
    assert_eq!(body.frame(0, &mut out), Ok(0));
    body.end_frame(&mut out);
    assert_eq!(body.frame(2, &mut out), Ok(2));
    out.extend_from_slice(b"yz");
    body.end_frame(&mut out);
    body.end_frame(&mut out);
    assert!(!body.is_complete());
    let trailers = map(&[("x-t", "v"), ("content-length", "5"), ("set-cookie", "a")]);
    assert_eq!(body.finish(Some(&trailers), &mut out), Ok(()));
    assert_eq!(body.finish(Some(&trailers), &mut out), Ok(()));
    assert_eq!(
        String::from_utf8_lossy(&out),
        "11\r\n0123456789abcdefX\r\n2\r\nyz\r\n0\r\nx-t: v\r\n\r\n"
    );
    assert!(body.is_complete() && body.keep_alive());
    assert_eq!(body.encode(b"x", &mut out), Err(EncodeError::TooLong));
    assert!(out.ends_with(b"x-t: v\r\n\r\n"));
}

#[test]
fn until_close() {
    let (mut body, mut out) = (encoder(OLD_KEEP, 200, UNKNOWN), Vec::new());
    assert_eq!(
        (body.encode(b"ab", &mut out), body.frame(3, &mut out)),
        (Ok(()), Ok(3))
    );
    body.end_frame(&mut out);
    assert!(!body.is_complete());
    assert_eq!(body.finish(None, &mut out), Ok(()));
    assert!(body.is_complete() && !body.keep_alive());
    assert_eq!(out, b"ab");
}

#[test]
fn swallowed() {
    for (facts, status, length, upgraded) in [
        (HEAD, 200, KNOWN, false),
        (HEAD, 200, UNKNOWN, false),
        (GET, 204, KNOWN, false),
        (GET, 304, UNKNOWN, false),
        (CONNECT, 200, UNKNOWN, true),
    ] {
        let (mut body, mut out) = (encoder(facts, status, length), Vec::new());
        assert!(body.suppressed() && body.is_complete() && body.upgraded() == upgraded);
        assert_eq!(
            (body.encode(b"abcdefgh", &mut out), body.frame(9, &mut out)),
            (Ok(()), Ok(0))
        );
        body.end_frame(&mut out);
        assert_eq!(body.finish(Some(&map(&[("x", "y")])), &mut out), Ok(()));
        assert_eq!(out, b"", "{facts:?} {status}");
    }
}

#[test]
fn facts_of_a_request() {
    let none: [(&str, &str); 0] = [];
    let facts = |method, target| Facts::of(&Head::build(method, target, none).expect("valid"));
    assert_eq!(facts("GET", "/"), GET);
    assert_eq!(facts("HEAD", "/"), HEAD);
    assert_eq!(facts("CONNECT", "h:1"), CONNECT);
    assert_eq!(
        Facts::of(&Head::build("GET", "/", [("connection", "close")]).expect("valid")),
        LAST
    );
}
