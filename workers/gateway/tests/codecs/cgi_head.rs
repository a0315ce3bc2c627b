//! Heads of programs, one table for each kind of answer (RFC 3875 section 6).

use ferricorn_gateway::codec::cgi_head::{Answer, Form, HeadReader, Kind, write};
use ferricorn_gateway::codec::{HeadLimits, strip_hop_by_hop};
use ferricorn_http::{Defaults, EncodeError, Length};
use http::{HeaderMap, HeaderValue, StatusCode, header};

fn read(head: &str) -> Result<Answer, &'static str> {
    let mut text = head.as_bytes().to_vec();
    text.extend_from_slice(b"content\n\n");
    match HeadReader::new().next(&text, HeadLimits::default()) {
        Ok(Some((end, answer))) => {
            assert_eq!(end, head.len());
            Ok(answer)
        }
        Ok(None) => Err("incomplete"),
        Err(error) => Err(error.0),
    }
}

fn fields(answer: &Answer) -> String {
    let lines = answer
        .fields
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?")));
    lines.collect::<Vec<_>>().join("|")
}

#[test]
fn answers_are_of_the_kind_that_the_rfc_says() {
    let local = |path: &str| Kind::LocalRedirect(path.to_owned());
    let table = [
        (
            "Content-Type: text/html\n\n",
            200,
            Kind::Document,
            "content-type: text/html",
        ),
        (
            "content-type:a/b\r\n\r\n",
            200,
            Kind::Document,
            "content-type: a/b",
        ),
        (
            "Status: 404 Not Found\r\nContent-Type: a/b\n\r\n",
            404,
            Kind::Document,
            "content-type: a/b",
        ),
        ("Status: 204\n\n", 204, Kind::Document, ""),
        ("Location: /a?b\n\n", 200, local("/a?b"), "location: /a?b"),
        (
            "Location: http://h/\n\n",
            302,
            Kind::ClientRedirect,
            "location: http://h/",
        ),
        (
            "Location: //h/\n\n",
            302,
            Kind::ClientRedirect,
            "location: //h/",
        ),
        ("Location: a\n\n", 302, Kind::ClientRedirect, "location: a"),
        // More than a Location: the client is to see it.
        (
            "Location: /a\nSet-Cookie: b\n\n",
            302,
            Kind::ClientRedirect,
            "location: /a|set-cookie: b",
        ),
        (
            "Status: 301 Moved\nLocation: /a\n\n",
            301,
            Kind::ClientRedirect,
            "location: /a",
        ),
        (
            "Location: http://h/\nStatus: 307\nContent-Type: a/b\n\n",
            307,
            Kind::ClientRedirectDocument,
            "location: http://h/|content-type: a/b",
        ),
        (
            "Status: 201 Created\nLocation: /new\n\n",
            201,
            Kind::Document,
            "location: /new",
        ),
        // What is about a connection is not the program's.
        (
            "Content-Type: a/b\nConnection: close, X-A\nX-A: b\nKeep-Alive: 5\nTE: x\nTrailer: y\nUpgrade: z\nProxy-Connection: c\nX-B: c\n\n",
            200,
            Kind::Document,
            "content-type: a/b|x-b: c",
        ),
        (
            "Content-Type: a/b\nContent-Length: 7, 7\nContent-Length: 7\nConnection: content-length\n\n",
            200,
            Kind::Document,
            "content-type: a/b|content-length: 7",
        ),
        (
            "HTTP/1.1 403 No\r\nX-A: b\r\nStatus: 200\r\n\r\n",
            403,
            Kind::Document,
            "x-a: b",
        ),
        ("HTTP/1.0 200\n\n", 200, Kind::Document, ""),
        (
            "HTTP/1.1 302 Found\r\nLocation: /a\r\n\r\n",
            302,
            Kind::ClientRedirect,
            "location: /a",
        ),
    ];
    for (head, status, kind, expected) in table {
        let answer = read(head).unwrap_or_else(|error| panic!("{head:?}: {error}"));
        assert_eq!(answer.status.as_u16(), status, "{head:?}");
        assert_eq!(answer.kind, kind, "{head:?}");
        let mut found: Vec<String> = fields(&answer).split('|').map(str::to_owned).collect();
        let mut expected: Vec<&str> = expected.split('|').collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{head:?}");
        let form = if head.starts_with("HTTP") {
            Form::Http
        } else {
            Form::Cgi
        };
        assert_eq!(answer.form, form, "{head:?}");
    }
}

#[test]
fn what_is_no_head_is_refused_with_a_reason() {
    let nothing = "the head has no Content-Type, Location or Status";
    for (head, reason) in [
        ("\n", nothing),
        ("X-A: b\n\n", nothing),
        ("oops\n\n", "a line of the head has no colon"),
        ("Content-Type : a/b\n\n", "the name of a field is not valid"),
        (" Content-Type: a/b\n\n", "the name of a field is not valid"),
        (
            "Content-Type: a/b\n fold\n\n",
            "a line of the head has no colon",
        ),
        (
            "Content-Type: a/b\n fold: x\n\n",
            "the name of a field is not valid",
        ),
        (
            "Content-Type: a\rb\n\n",
            "the value of a field is not valid",
        ),
        (
            "Content-Type: a\0b\n\n",
            "the value of a field is not valid",
        ),
        (": a\n\n", "the name of a field is not valid"),
        ("Status: 100 Continue\n\n", "Status is not a final status"),
        ("Status: 20\n\n", "Status is not a final status"),
        ("Status: 2000\n\n", "Status is not a final status"),
        ("Status: 999 x\n\n", "Status is not a final status"),
        ("Status: \n\n", "Status is not a final status"),
        (
            "Status: 200\nStatus: 404\n\n",
            "the head has more than one Status",
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\n",
            "the status line has no final status",
        ),
        (
            "HTTP/2.0 200 OK\r\n\r\n",
            "the status line is not one of HTTP/1",
        ),
        (
            "HTTP/1.1  200 OK\r\n\r\n",
            "the status line has no final status",
        ),
        ("Location: /a b\n\n", "Location is not valid"),
        ("Location: /a#b\n\n", "Location is not valid"),
        ("Location: /\u{e9}\n\n", "Location is not valid"),
        (
            "Location: /a\nLocation: /b\n\n",
            "the head has more than one Location",
        ),
        (
            "Content-Type: a/b\nContent-Length: x\n\n",
            "Content-Length is not a number",
        ),
        (
            "Content-Type: a/b\nContent-Length: +1\n\n",
            "Content-Length is not a number",
        ),
        (
            "Content-Type: a/b\nContent-Length: 1\nContent-Length: 2\n\n",
            "Content-Length has two values",
        ),
        (
            "Content-Type: a/b\nTransfer-Encoding: chunked\n\n",
            "the program has encoded its answer for transfer",
        ),
    ] {
        assert_eq!(
            read(head).map(|answer| answer.status),
            Err(reason),
            "{head:?}"
        );
    }
}

#[test]
fn heads_are_bounded_before_they_are_complete() {
    let limits = HeadLimits {
        size: 100,
        fields: 3,
    };
    let read = |head: &[u8]| {
        HeadReader::new()
            .next(head, limits)
            .map(|read| read.is_some())
    };
    assert_eq!(read(&[b'x'; 99]), Ok(false));
    assert!(read(&[b'x'; 100]).is_err());
    assert_eq!(read(b"Status: 200\na: b\na: b\n\n"), Ok(true));
    assert!(read(b"Status: 200\na: b\na: b\na: b\n\n").is_err());
    assert!(read(b"a:\na:\na:\na:\na:\n").is_err());
    let exact = format!("Status: 200\nx: {}\n\n", "y".repeat(83));
    assert_eq!(exact.len(), 100);
    assert_eq!(read(exact.as_bytes()), Ok(true));
}

#[test]
fn what_is_about_a_connection_goes_and_the_length_stays() {
    let lines = [
        ("connection", "x-a, Content-Length"),
        ("connection", "X-B"),
        ("content-length", "5"),
        ("keep-alive", "5"),
        ("te", "x"),
        ("x-a", "1"),
        ("x-b", "1"),
        ("x-c", "1"),
    ];
    let mut fields = HeaderMap::new();
    for (name, value) in lines {
        fields.append(name, HeaderValue::from_static(value));
    }
    strip_hop_by_hop(&mut fields);
    let mut left: Vec<&str> = fields.keys().map(|name| name.as_str()).collect();
    left.sort();
    assert_eq!(left, ["content-length", "x-c"]);
}

#[test]
fn our_heads_are_those_of_cgi_or_of_http() {
    let mut fields = HeaderMap::new();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("a/b"));
    fields.insert(header::CONNECTION, HeaderValue::from_static("close, x-a"));
    let written = |form, head_request, status: u16, length| {
        let mut out = b"before".to_vec();
        let status = StatusCode::from_u16(status).unwrap_or_default();
        let defaults = Defaults {
            server: Some(b"ferricorn"),
            ..Defaults::default()
        };
        let encoder = write(
            &mut out,
            form,
            head_request,
            status,
            &fields,
            length,
            &defaults,
        );
        encoder.map(|_| String::from_utf8_lossy(&out[6..]).into_owned())
    };
    assert_eq!(
        written(Form::Cgi, false, 200, Length::Known(5)).as_deref(),
        Ok("Status: 200 OK\r\ncontent-type: a/b\r\nContent-Length: 5\r\nServer: ferricorn\r\n\r\n")
    );
    assert_eq!(
        written(Form::Cgi, false, 404, Length::Unknown).as_deref(),
        Ok("Status: 404 Not Found\r\ncontent-type: a/b\r\nServer: ferricorn\r\n\r\n")
    );
    assert_eq!(
        written(Form::Http, false, 200, Length::Unknown).as_deref(),
        Ok(
            "HTTP/1.1 200 OK\r\ncontent-type: a/b\r\nServer: ferricorn\r\nConnection: close, x-a\r\n\r\n"
        )
    );
    assert_eq!(
        written(Form::Cgi, true, 200, Length::Known(5)).as_deref(),
        Ok("Status: 200 OK\r\ncontent-type: a/b\r\nContent-Length: 5\r\nServer: ferricorn\r\n\r\n")
    );
    let refused = Err(EncodeError::Status(StatusCode::SWITCHING_PROTOCOLS));
    assert_eq!(written(Form::Cgi, false, 101, Length::Unknown), refused);
}
