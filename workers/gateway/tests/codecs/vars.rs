//! Meta-variables, both ways: of requests (RFC 3875 section 4.1), and as nginx, Apache, lighttpd and
//! HAProxy send them.

use ferricorn_base::conf::LocalAddr;
use ferricorn_base::{Forwarded, Peer, Request, meta};
use ferricorn_gateway::codec::vars::{Asked, Content, Given, Vars};
use ferricorn_http::{BodyLength, Head, Limits, Version};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn filled(request: &Request, given: &Given) -> Vec<(String, String)> {
    // Memory that has held others.
    let mut vars: Vars = [("OLD", "x")].into_iter().collect();
    vars.fill(request, given);
    let first: Vec<_> = vars
        .iter()
        .map(|(name, value)| (text(name), text(value)))
        .collect();
    vars.fill(request, given);
    let again: Vec<_> = vars
        .iter()
        .map(|(name, value)| (text(name), text(value)))
        .collect();
    assert_eq!(first, again);
    first
}

#[track_caller]
fn check(all: &[(String, String)], expected: &[(&str, Option<&str>)]) {
    for (name, value) in expected {
        let named = all.iter().filter(|(other, _)| other == name);
        let found: Vec<&str> = named.map(|(_, value)| value.as_str()).collect();
        assert_eq!(
            found,
            value.iter().copied().collect::<Vec<_>>(),
            "{name} in {all:?}"
        );
    }
}

#[test]
fn a_request_has_all_variables_that_it_must_have() {
    let fields = [
        ("Host", "example.org:8443"),
        ("Content-Type", "text/plain"),
        ("Content-Length", "5"),
        ("X-Forwarded-For", "1.2.3.4"),
    ];
    let request = Request::build("POST", "/app/a%20b/c?x=%20&y", fields).expect("valid");
    let request = request
        .with_peer(Peer::Tcp("192.0.2.7:4711".parse().expect("valid")))
        .with_local(LocalAddr::Tcp("[2001:db8::1]:8443".parse().expect("valid")))
        .with_forwarded(Forwarded {
            https: Some(true),
            ..Forwarded::default()
        });
    let environment = [
        ("SERVER_ADMIN".to_owned(), "me".to_owned()),
        ("HTTP_X_FORWARDED_FOR".to_owned(), "mine".to_owned()),
    ];
    let given = Given {
        script_name: b"/app",
        path_info: b"/a b/c",
        document_root: Some(b"/srv"),
        script_filename: Some(b"/srv/app.php"),
        content_length: Some(5),
        server_software: "ferricorn/1",
        authorization: false,
        environment: &environment,
    };
    let all = filled(&request, &given);
    let expected = [
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_SOFTWARE", "ferricorn/1"),
        ("REQUEST_METHOD", "POST"),
        ("QUERY_STRING", "x=%20&y"),
        ("SCRIPT_NAME", "/app"),
        ("PATH_INFO", "/a b/c"),
        ("DOCUMENT_ROOT", "/srv"),
        ("PATH_TRANSLATED", "/srv/a b/c"),
        ("SCRIPT_FILENAME", "/srv/app.php"),
        ("DOCUMENT_URI", "/app/a b/c"),
        ("REQUEST_URI", "/app/a%20b/c?x=%20&y"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REDIRECT_STATUS", "200"),
        ("REQUEST_SCHEME", "https"),
        ("HTTPS", "on"),
        ("SERVER_NAME", "example.org"),
        ("SERVER_PORT", "8443"),
        ("SERVER_ADDR", "2001:db8::1"),
        ("REMOTE_ADDR", "192.0.2.7"),
        ("REMOTE_PORT", "4711"),
        ("HTTP_HOST", "example.org:8443"),
        ("CONTENT_LENGTH", "5"),
        ("CONTENT_TYPE", "text/plain"),
        ("SERVER_ADMIN", "me"),
        ("HTTP_X_FORWARDED_FOR", "mine"),
    ];
    let all: Vec<(&str, &str)> = all
        .iter()
        .map(|(name, value)| (&name[..], &value[..]))
        .collect();
    assert_eq!(all, expected);
}

#[test]
fn what_there_is_not_is_not_there() {
    let request = Request::build("GET", "/", [("Host", "")]).expect("valid");
    let all = filled(&request, &Given::default());
    check(
        &all,
        &[
            ("QUERY_STRING", Some("")),
            ("SCRIPT_NAME", Some("")),
            ("REMOTE_ADDR", Some("")),
            ("SERVER_NAME", Some("localhost")),
            ("SERVER_PORT", Some("80")),
            ("PATH_INFO", None),
            ("PATH_TRANSLATED", None),
            ("CONTENT_LENGTH", None),
            ("CONTENT_TYPE", None),
            ("HTTPS", None),
            ("HTTP_HOST", None),
            ("REMOTE_PORT", None),
        ],
    );
    for (method, target, uri) in [
        ("GET", "http://h/a?b", "/a?b"),
        ("GET", "http://h", "/"),
        ("GET", "/a?", "/a?"),
        ("OPTIONS", "*", "*"),
    ] {
        let request = Request::build(method, target, [("a", "b")]).expect("valid");
        check(
            &filled(&request, &Given::default()),
            &[("REQUEST_URI", Some(uri))],
        );
    }
}

#[test]
fn fields_become_variables_and_none_can_be_mistaken() {
    let fields = [
        ("Host", "h"),
        ("Proxy", "http://evil/"),
        ("Accept", "a"),
        ("X-Real-IP", "1"),
        ("X_Real_IP", "2"),
        ("X.Real.IP", "3"),
        ("accept", "b"),
        ("Cookie", "a=1"),
        ("cookie", "b=2"),
        ("Accept", "c"),
        ("Connection", "keep-alive, X-Mine,x-mine, close"),
        ("Connection", "X-OTHER"),
        ("X-Mine", "1"),
        ("x-mine", "2"),
        ("X-Other", "3"),
        ("X-Others", "4"),
        ("Keep-Alive", "5"),
        ("TE", "trailers"),
        ("Trailer", "x"),
        ("Upgrade", "x"),
        ("Proxy-Connection", "x"),
        ("Proxy-Authorization", "Basic x"),
        ("Authorization", "Basic y"),
        ("Transfer-Encoding", "chunked"),
        ("HTTPS", "on"),
        ("Remote-User", "root"),
    ];
    let request = Request::build("POST", "/", fields).expect("valid");
    let all = filled(&request, &Given::default());
    let of_fields: Vec<(&str, &str)> = all
        .iter()
        .filter(|(name, _)| name.starts_with("HTTP_"))
        .map(|(name, value)| (&name[..], &value[..]))
        .collect();
    let expected = [
        ("HTTP_HOST", "h"),
        ("HTTP_ACCEPT", "a, b, c"),
        ("HTTP_X_REAL_IP", "1"),
        ("HTTP_COOKIE", "a=1; b=2"),
        ("HTTP_X_OTHERS", "4"),
        ("HTTP_HTTPS", "on"),
        ("HTTP_REMOTE_USER", "root"),
    ];
    assert_eq!(of_fields, expected);
    let given = Given {
        authorization: true,
        ..Given::default()
    };
    check(
        &filled(&request, &given),
        &[("HTTP_AUTHORIZATION", Some("Basic y"))],
    );
}

/// The variables that a handler is told (`meta`) and those that a program is given do not differ.
#[test]
fn programs_are_told_what_handlers_are_told() {
    let fields = [
        ("Host", "h:1"),
        ("A", "1"),
        ("Content-Length", "3"),
        ("a", "2"),
    ];
    let request = Request::build("PUT", "/x%41?y", fields).expect("valid");
    let given = Given {
        path_info: b"/xA",
        content_length: Some(3),
        ..Given::default()
    };
    let all = filled(&request, &given);
    for (name, value) in meta::variables(&request).expect("valid") {
        if !["RAW_URI", "SERVER_SOFTWARE"].contains(&&*name) {
            check(&all, &[(&name, Some(&text(&value)))]);
        }
    }
}

/// Longer than any handler sees them: what is named often, or many times, costs no more than sorting.
#[test]
fn many_fields_and_many_options() {
    let limits = Limits {
        fields: 0,
        head: 1 << 20,
        field_size: 0,
        ..Limits::default()
    };
    let options = "a,".repeat(100_000);
    let mut text = format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: {options}\r\n");
    for index in 0..30_000 {
        text.push_str(&format!("A{}:{index}\r\n", index % 3));
    }
    text.push_str("\r\n");
    let mut request = Request::default();
    let read = ferricorn_http::Reader::new().next(text.as_bytes(), &limits, request.head_mut());
    assert!(read.is_ok(), "{read:?}");
    let mut vars = Vars::new();
    vars.fill(&request, &Given::default());
    let value = vars.get("HTTP_A1").expect("there");
    assert!(value.starts_with(b"1, 4, 7, ") && value.ends_with(b", 29998"));
    assert_eq!(value.split(|&byte| byte == b',').count(), 10_000);
}

fn asked(pairs: &[(&str, &str)]) -> Vars {
    pairs.iter().copied().collect()
}

/// A request in words: method, target, fields, and what there is beside them.
fn told(vars: &Vars) -> Result<String, String> {
    let reason = |reject: ferricorn_http::Reject| reject.to_string();
    let asked = Asked::of(vars).map_err(reason)?;
    let (mut head, mut memory) = (Head::new(), Vec::new());
    let content = asked.content_length.map_or(Content::None, Content::Length);
    let filled = asked.fill(content, &Limits::default(), &mut head, &mut memory);
    filled.map_err(reason)?;
    let fields = head
        .fields()
        .map(|(name, value)| format!("{name}: {}", text(value)));
    let fields = fields.collect::<Vec<_>>().join(", ");
    let script_name = text(asked.script_name(&head));
    let client = asked
        .client
        .as_ref()
        .map_or("?".into(), ToString::to_string);
    let https = asked
        .https
        .map_or("?", |https| if https { "https" } else { "http" });
    let version = if head.version() == Version::Http10 {
        " 1.0"
    } else {
        ""
    };
    let line = format!("{} {}{version}", head.method(), head.target());
    Ok(format!(
        "{line} [{fields}] from {client} {https} in '{script_name}'"
    ))
}

#[test]
fn requests_as_each_web_server_sends_them() {
    let nginx_fastcgi = asked(&[
        ("QUERY_STRING", "x=1"),
        ("REQUEST_METHOD", "POST"),
        ("CONTENT_TYPE", "a/b"),
        ("CONTENT_LENGTH", "5"),
        ("SCRIPT_NAME", "/a b"),
        ("REQUEST_URI", "/a%20b?x=1"),
        ("DOCUMENT_URI", "/a b"),
        ("DOCUMENT_ROOT", "/srv"),
        ("SERVER_PROTOCOL", "HTTP/2.0"),
        ("REQUEST_SCHEME", "https"),
        ("HTTPS", "on"),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_SOFTWARE", "nginx/1.22.1"),
        ("REMOTE_ADDR", "2001:db8::9"),
        ("REMOTE_PORT", "1234"),
        ("SERVER_ADDR", "192.0.2.1"),
        ("SERVER_PORT", "443"),
        ("SERVER_NAME", "_"),
        ("REDIRECT_STATUS", "200"),
        ("HTTP_HOST", "h"),
        ("HTTP_CONTENT_LENGTH", "5"),
        ("HTTP_CONTENT_TYPE", "a/b"),
        ("HTTP_PROXY", "evil"),
        ("HTTP_X_REAL_IP", "1"),
        ("HTTP_CONNECTION", "keep-alive"),
    ]);
    let expected = "POST /a%20b?x=1 [host: h, x-real-ip: 1, content-type: a/b, content-length: 5] from [2001:db8::9]:1234 https in ''";
    assert_eq!(told(&nginx_fastcgi).as_deref(), Ok(expected));
    let nginx_uwsgi = asked(&[
        ("QUERY_STRING", ""),
        ("REQUEST_METHOD", "GET"),
        ("CONTENT_TYPE", ""),
        ("CONTENT_LENGTH", ""),
        ("REQUEST_URI", "/app/x"),
        ("PATH_INFO", "/app/x"),
        ("SCRIPT_NAME", "/app"),
        ("SERVER_PROTOCOL", "HTTP/1.0"),
        ("REQUEST_SCHEME", "http"),
        ("REMOTE_ADDR", "unix:"),
        ("REMOTE_PORT", ""),
        ("SERVER_NAME", "~^x$"),
    ]);
    let expected = "GET /app/x 1.0 [host: localhost] from unix http in '/app'";
    assert_eq!(told(&nginx_uwsgi).as_deref(), Ok(expected));
    let apache_scgi = asked(&[
        ("CONTENT_LENGTH", "0"),
        ("SCGI", "1"),
        ("REQUEST_METHOD", "GET"),
        ("SCRIPT_NAME", "/app"),
        ("PATH_INFO", "/x y"),
        ("QUERY_STRING", "a=b"),
        ("SERVER_NAME", "example.org"),
        ("REMOTE_ADDR", "192.0.2.2"),
        ("HTTPS", "off"),
    ]);
    let expected =
        "GET /app/x%20y?a=b [host: example.org, content-length: 0] from 192.0.2.2 http in '/app'";
    assert_eq!(told(&apache_scgi).as_deref(), Ok(expected));
    let exact = asked(&[
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", "/app"),
        ("SCRIPT_NAME", "/app"),
        ("PATH_INFO", ""),
        ("HTTP_HOST", "h"),
    ]);
    assert_eq!(
        told(&exact).as_deref(),
        Ok("GET /app [host: h] from ? ? in '/app'")
    );
    let document = asked(&[("REQUEST_METHOD", "GET"), ("DOCUMENT_URI", "/d\u{e9}%")]);
    let expected = "GET /d%C3%A9%25 [host: localhost] from ? ? in ''";
    assert_eq!(told(&document).as_deref(), Ok(expected));
    // nginx sends a variable twice that is set twice: the one of the location is the last.
    let twice = asked(&[
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", "/a"),
        ("HTTP_X", "1"),
        ("REQUEST_URI", "/b"),
        ("HTTP_X", "2"),
    ]);
    assert_eq!(
        told(&twice).as_deref(),
        Ok("GET /b [x: 1, x: 2, host: localhost] from ? ? in ''")
    );
}

/// What is left out is left out however a variable is spelled: it would become the same field.
#[test]
fn no_spelling_brings_a_field_of_the_connection() {
    for name in [
        "PROXY",
        "Proxy",
        "CONTENT_LENGTH",
        "Content-Length",
        "transfer_encoding",
        "TRANSFER-ENCODING",
        "Connection",
        "EXPECT",
        "Te",
        "",
    ] {
        let name = format!("HTTP_{name}");
        let vars = asked(&[
            ("REQUEST_METHOD", "GET"),
            ("REQUEST_URI", "/"),
            (&name, "1"),
        ]);
        let expected = "GET / [host: localhost] from ? ? in ''";
        assert_eq!(told(&vars).as_deref(), Ok(expected), "{name}");
    }
    let vars = asked(&[
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", "/"),
        ("HTTP_Host", "h"),
    ]);
    assert_eq!(told(&vars).as_deref(), Ok("GET / [host: h] from ? ? in ''"));
}

#[test]
fn what_http_could_not_bring_is_refused() {
    let base = [("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/")];
    for (name, value, status) in [
        ("REQUEST_METHOD", "", "400"),
        ("REQUEST_METHOD", "GE T", "400"),
        ("REQUEST_METHOD", "GET / HTTP/1.1\r\nX: y\r\n\r\nGET", "400"),
        ("REQUEST_URI", "/ HTTP/1.1\r\nx: y", "400"),
        ("REQUEST_URI", "/a b", "400"),
        ("REQUEST_URI", "/a#b", "400"),
        ("REQUEST_URI", "a", "400"),
        ("REQUEST_URI", "/\u{e9}", "400"),
        ("CONTENT_LENGTH", "-1", "400"),
        ("CONTENT_LENGTH", "1a", "400"),
        ("CONTENT_LENGTH", " 1", "400"),
        ("CONTENT_LENGTH", "99999999999999999999", "400"),
        ("CONTENT_LENGTH", "2000000000", "413"),
        ("HTTP_X", "a\r\nY: b", "400"),
        ("HTTP_X", "a\nb", "400"),
        ("HTTP_X", "a\0b", "400"),
        ("HTTP_X", "a\x01b", "400"),
        ("HTTP_A B", "c", "400"),
        ("HTTP_A:B", "c", "400"),
        ("HTTP_A\r\nB", "c", "400"),
        ("HTTP_HOST", "a/b", "400"),
        ("CONTENT_TYPE", "a\nb", "400"),
    ] {
        let vars = asked(&[base[0], base[1], (name, value)]);
        let told = told(&vars).expect_err(name);
        assert!(told.starts_with(status), "{name}={value:?}: {told}");
    }
    let long = "x".repeat(5000);
    let vars = asked(&[base[0], ("REQUEST_URI", &format!("/{long}"))]);
    assert!(told(&vars).expect_err("long").starts_with("414"));
    let two = asked(&[
        base[0],
        base[1],
        ("CONTENT_LENGTH", "1"),
        ("CONTENT_LENGTH", "2"),
    ]);
    assert!(told(&two).expect_err("two").starts_with("400"));
    let same = asked(&[
        base[0],
        base[1],
        ("CONTENT_LENGTH", "1"),
        ("CONTENT_LENGTH", "1"),
    ]);
    assert!(told(&same).is_ok());
    assert!(
        told(&asked(&base[1..]))
            .expect_err("no method")
            .starts_with("400")
    );
    assert!(
        told(&asked(&base[..1]))
            .expect_err("no target")
            .starts_with("400")
    );
}

#[test]
fn content_comes_as_the_protocol_says() {
    let vars = asked(&[("REQUEST_METHOD", "PUT"), ("REQUEST_URI", "/")]);
    let asked = Asked::of(&vars).expect("valid");
    let (mut head, mut memory) = (Head::new(), Vec::new());
    for (content, body) in [
        (Content::None, BodyLength::None),
        (Content::Length(7), BodyLength::Length(7)),
        (Content::Streamed, BodyLength::Chunked),
    ] {
        let filled = asked.fill(content, &Limits::default(), &mut head, &mut memory);
        assert_eq!(filled, Ok(()));
        assert_eq!(head.body(), body);
    }
}
