//! Requests and responses as values: how handlers are tested, wrapped and adapted.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::io::{self, Read, Write};

use bytes::Bytes;
use ferricorn_base::{
    App, Body, Error, Handler, Incoming, IntoResponse, Peer, Request, Response, Seat, typed,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

fn shown(response: Result<Response, Error>) -> (u16, Option<String>, String) {
    let (parts, body) = response.unwrap().into_parts();
    let set = parts.headers.get(header::CONTENT_TYPE);
    let kind = set.map(|value| value.to_str().unwrap().to_owned());
    let kind = kind.or(body.content_type().map(str::to_owned));
    let text = String::from_utf8(body.collect().unwrap().into()).unwrap();
    (parts.status.as_u16(), kind, text)
}

#[test]
fn what_a_closure_may_return() {
    let text = Some("text/plain; charset=utf-8".to_owned());
    let link = HeaderName::from_static("link");
    let mut fields = HeaderMap::new();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("a/b"));
    let ok = |kind: &Option<String>, content: &str| (200, kind.clone(), content.to_owned());
    for (got, expected) in [
        (shown("text".into_response()), ok(&text, "text")),
        (
            shown(String::from("text").into_response()),
            ok(&text, "text"),
        ),
        (shown((&b"bytes"[..]).into_response()), ok(&None, "bytes")),
        (shown(b"bytes".to_vec().into_response()), ok(&None, "bytes")),
        (
            shown(Bytes::from("bytes").into_response()),
            ok(&None, "bytes"),
        ),
        (shown(Body::from("body").into_response()), ok(&text, "body")),
        (shown(().into_response()), (204, None, String::new())),
        (
            shown(StatusCode::NOT_FOUND.into_response()),
            (404, text.clone(), "Not Found".into()),
        ),
        (
            shown(StatusCode::NOT_MODIFIED.into_response()),
            (304, None, String::new()),
        ),
        (
            shown((StatusCode::CREATED, "made").into_response()),
            (201, text.clone(), "made".into()),
        ),
        (
            shown((StatusCode::CREATED, fields, "made").into_response()),
            (201, Some("a/b".into()), "made".into()),
        ),
        (
            shown(([(link, "</a>")], "linked").into_response()),
            ok(&text, "linked"),
        ),
        (
            shown(typed("c/d", "typed").into_response()),
            ok(&Some("c/d".into()), "typed"),
        ),
        (
            shown(Ok::<_, Error>("fine").into_response()),
            ok(&text, "fine"),
        ),
    ] {
        assert_eq!(got, expected);
    }
    assert!(
        Err::<&str, _>(io::Error::other("no"))
            .into_response()
            .is_err()
    );
    let value = "line\nbreak";
    assert!(([(header::LINK, value)], "").into_response().is_err());
}

/// RFC 9110 section 5.5, RFC 9112 section 2.2: what would split a response, or fold a line of it,
/// cannot become part of one.
#[test]
fn no_field_can_split_a_response() {
    for text in ["a\rb", "a\nb", "a\r\nb: c", "a\r\n b", "a\0b", "a\x7fb"] {
        assert!(HeaderValue::try_from(text).is_err(), "{text:?}");
        assert!(HeaderName::try_from(text).is_err(), "{text:?}");
        let response = ([(header::LOCATION, text)], "x").into_response();
        assert!(response.is_err(), "{text:?}");
        let typed = std::panic::catch_unwind(|| Body::from("x").with_content_type(text));
        assert!(typed.is_err(), "{text:?}");
    }
}

/// As a user's own test would.
#[test]
fn handlers_are_tested_without_a_server() {
    let app = |request: &mut Request| {
        let name = request.query().unwrap_or("nobody").to_owned();
        let mut body = String::new();
        request.body_mut().read_to_string(&mut body)?;
        Ok::<_, io::Error>(format!("{name} {body} {}", request.peer()))
    };
    let mut handler = app.boot(&Seat::default()).unwrap();
    let mut request = Request::build("POST", "/hello?me", [("Host", "localhost")])
        .unwrap()
        .with_body("body")
        .with_peer(Peer::Tcp("127.0.0.1:9".parse().unwrap()));
    let response = handler.handle(&mut request).unwrap();
    assert_eq!(
        response.into_body().collect().unwrap(),
        "me body 127.0.0.1:9"
    );
    // What a server would refuse is refused.
    let refused = Request::build("GET", "no path", [("Host", "a")]).unwrap_err();
    assert_eq!(refused.status, 400);
}

#[test]
fn a_request_by_hand_may_inform_nobody() {
    let mut request = Request::build("GET", "/", [("Host", "a")]).unwrap();
    assert!(
        request
            .inform(StatusCode::EARLY_HINTS, &HeaderMap::new())
            .is_ok()
    );
    assert!(request.inform(StatusCode::OK, &HeaderMap::new()).is_err());
    assert!(
        request
            .inform(StatusCode::SWITCHING_PROTOCOLS, &HeaderMap::new())
            .is_err()
    );
}

#[test]
fn a_request_is_the_http_crates_and_back() {
    let mut request = Request::build(
        "PUT",
        "/a%20b?c=d",
        [("Host", "example.org"), ("X-Twice", "1"), ("X-Twice", "2")],
    )
    .unwrap()
    .with_body("content")
    .with_peer(Peer::Tcp("192.0.2.1:5".parse().unwrap()));
    request.extensions_mut().insert(42u8);
    let theirs = request.into_http();
    assert_eq!(theirs.method(), "PUT");
    assert_eq!(theirs.uri(), "/a%20b?c=d");
    assert_eq!(theirs.version(), http::Version::HTTP_11);
    let twice: Vec<_> = theirs.headers().get_all("x-twice").iter().collect();
    assert_eq!(twice, ["1", "2"]);
    assert_eq!(theirs.extensions().get::<u8>(), Some(&42));
    assert!(matches!(theirs.extensions().get(), Some(Peer::Tcp(_))));
    assert_eq!(theirs.body().len(), 7);

    let mut ours = Request::try_from(theirs).unwrap();
    assert_eq!((ours.path(), ours.query()), ("/a%20b", Some("c=d")));
    assert_eq!(ours.method(), "PUT");
    assert_eq!(ours.header("host"), Some("example.org"));
    assert_eq!(ours.headers().get_all("x-twice").iter().count(), 2);
    assert_eq!(ours.peer().to_string(), "192.0.2.1:5");
    assert_eq!(ours.extensions().unwrap().get::<u8>(), Some(&42));
    assert_eq!(ours.body_mut().to_bytes().unwrap(), "content");
}

#[test]
fn a_request_of_the_http_crate_needs_no_host_field() {
    for (uri, host, path) in [
        ("http://example.org:8080/x", "example.org:8080", "/x"),
        ("/y", "localhost", "/y"),
    ] {
        let theirs = http::Request::get(uri).body(()).unwrap();
        let ours = Request::try_from(theirs).unwrap();
        assert_eq!(ours.header("host"), Some(host), "{uri}");
        assert_eq!(ours.path(), path);
        assert_eq!(*ours.peer(), Peer::Unix);
    }
    let theirs = http::Request::options("*").body("").unwrap();
    assert_eq!(Request::try_from(theirs).unwrap().path(), "*");
}

/// What the strict parser admits, the `http` crate must be able to show somehow.
/// RFC 9112 section 3.2.2: the field is ignored where the target itself says which host.
#[test]
fn the_host_of_an_absolute_target_is_the_host() {
    for (target, host) in [
        ("http://a:1/x", "a:1"),
        ("http://a", "a"),
        ("/x", "b"),
        ("*", "b"),
    ] {
        let method = if target == "*" { "OPTIONS" } else { "GET" };
        let request = Request::build(method, target, [("Host", "b"), ("X-Host", "c")]).unwrap();
        assert_eq!(request.header("hOST"), Some(host), "{target}");
        assert_eq!(request.headers()["host"], host, "{target}");
        assert_eq!(request.headers().get_all("host").iter().count(), 1);
        assert_eq!(request.header("x-host"), Some("c"));
        assert_eq!(request.into_http().headers()["host"], host, "{target}");
    }
}

#[test]
fn every_target_has_a_uri() {
    for (target, shown) in [
        ("/", "/"),
        ("/a?b=c", "/a?b=c"),
        ("/x?", "/x?"),
        ("//double/slash", "//double/slash"),
        ("http://example.org/abs?q", "http://example.org/abs?q"),
        // No authority to the `http` crate; the path must not get lost with it.
        ("http://a%20b/abs?q", "/abs?q"),
        ("http://a%20b?q|", "/?q|"),
        ("http://a%20b", "/"),
    ] {
        let request = Request::build("GET", target, [("Host", "example.org")]).unwrap();
        assert_eq!(request.uri().to_string(), shown, "{target}");
    }
    let request = Request::build("OPTIONS", "*", [("Host", "a")]).unwrap();
    assert_eq!(request.uri(), "*");
}

#[test]
fn a_request_has_a_name_of_its_own_or_the_one_it_came_with() {
    let id = |fields: &[(&str, &str)]| {
        let request = Request::build("GET", "/", fields.iter().copied()).unwrap();
        assert_eq!(request.id(), request.id());
        request.id().to_owned()
    };
    assert_eq!(id(&[("X-Request-Id", "abc-1.2:3_4")]), "abc-1.2:3_4");
    let drawn = id(&[]);
    assert!(drawn.len() == 16 && drawn.bytes().all(|b| b.is_ascii_hexdigit()));
    assert_ne!(drawn, id(&[]));
    for odd in ["two words", "\"quoted\"", &"x".repeat(129)] {
        assert_eq!(id(&[("X-Request-Id", odd)]).len(), 16, "{odd}");
    }
}

#[test]
fn every_body_can_be_collected() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, "0123456789").unwrap();
    let file = || std::fs::File::open(&path).unwrap();
    for (body, len, content) in [
        (Body::empty(), Some(0), ""),
        (Body::from_static(b"static"), Some(6), "static"),
        (Body::from(Bytes::from("bytes")), Some(5), "bytes"),
        (Body::file(file(), 2, 3), Some(3), "234"),
        (Body::whole_file(file()).unwrap(), Some(10), "0123456789"),
        (Body::reader(&b"reader"[..], None), None, "reader"),
        (Body::reader(&b"reader"[..], Some(4)), Some(4), "read"),
        (
            Body::pieces([Ok(Bytes::from("pi")), Ok(Bytes::from("eces"))]),
            None,
            "pieces",
        ),
        (
            Body::stream(|exchange| Ok(exchange.write_all(b"stream")?)),
            None,
            "stream",
        ),
    ] {
        assert_eq!(body.len(), len, "{body:?}");
        assert_eq!(body.collect().unwrap(), content);
    }
    assert!(
        Body::file(file(), 5, 10).collect().is_err(),
        "shorter than promised"
    );
    assert!(
        Body::pieces([Err(io::Error::other("no"))])
            .collect()
            .is_err()
    );
    assert!(Body::stream(|_| Err(Error::msg("no"))).collect().is_err());
    assert!(Body::upgrade(|_| Ok(())).collect().is_err());
}

#[test]
fn an_error_shows_its_causes_when_asked() {
    #[derive(Debug)]
    struct Outer(io::Error);
    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("outer")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let error = Error::from(Outer(io::Error::other("inner")));
    assert_eq!(format!("{error} / {error:#}"), "outer / outer: inner");
    assert!(!ferricorn_base::is_clients(&error));
    let client = ferricorn_base::clients(io::ErrorKind::BrokenPipe.into());
    assert_eq!(client.kind(), io::ErrorKind::BrokenPipe);
    let wrapped = Error::from(Outer(client));
    assert!(
        ferricorn_base::is_clients(&wrapped),
        "through what wraps it"
    );
    assert_eq!(format!("{wrapped:#}"), "outer: broken pipe");
}

#[test]
fn a_body_is_made_of_what_there_is() {
    for mut body in [
        Incoming::from("text"),
        Incoming::from(String::from("text")),
        Incoming::from(&b"text"[..]),
        Incoming::from(b"text".to_vec()),
        Incoming::from(Bytes::from("text")),
    ] {
        assert_eq!(body.len(), 4);
        assert_eq!(body.to_bytes().unwrap(), "text");
    }
    assert!(Incoming::from(()).is_empty());
}
