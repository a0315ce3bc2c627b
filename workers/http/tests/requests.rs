//! One table for each rule of request heads: what is accepted and what follows from it, and what is
//! refused with which status.

mod driver;

use driver::{drive, drive_every_way};
use ferricorn_http::{
    BodyLength, Event, Head, Initials, Limits, Reader, Reject, TargetForm, Version,
};

/// Reads one head; the status of the reject otherwise.
fn read(text: &str) -> Result<Head, u16> {
    read_with(text, &Limits::default())
}

fn read_with(text: &str, limits: &Limits) -> Result<Head, u16> {
    let mut head = Head::new();
    match Reader::new().next(text.as_bytes(), limits, &mut head) {
        Ok(Event::Head { consumed }) => {
            assert_eq!(consumed, text.len());
            Ok(head)
        }
        Ok(other) => panic!("{other:?} for {text:?}"),
        Err(reject) => {
            assert_eq!(
                drive(text.as_bytes().chunks(1), limits).reject,
                Some(reject),
                "{text:?} byte by byte"
            );
            Err(reject.status.as_u16())
        }
    }
}

/// A request of HTTP/1.1 with Host and these field lines.
fn with(fields: &str) -> Result<Head, u16> {
    read(&format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n"))
}

/// The same in HTTP/1.0.
fn with10(fields: &str) -> Result<Head, u16> {
    read(&format!("POST / HTTP/1.0\r\n{fields}\r\n"))
}

#[test]
fn everything_of_a_head() {
    let text = "GET /a/b?c=d HTTP/1.1\r\nHost: H.example:80\r\nX-A:  \tv w\t \r\nx-a: \u{ff}\r\nEmpty:\r\n\r\n";
    let head = read(text).expect("valid");
    assert_eq!(
        (head.method(), head.http_method()),
        ("GET", http::Method::GET)
    );
    assert_eq!(
        (head.target(), head.form()),
        ("/a/b?c=d", TargetForm::Origin)
    );
    assert_eq!((head.path(), head.query()), ("/a/b", Some("c=d")));
    assert_eq!(
        (head.authority(), head.version()),
        (Some("H.example:80"), Version::Http11)
    );
    assert_eq!(head.request_line(), "GET /a/b?c=d HTTP/1.1");
    let fields: Vec<(&str, &[u8])> = head.fields().collect();
    let expected: [(&str, &[u8]); 4] = [
        ("Host", b"H.example:80"),
        ("X-A", b"v w"),
        ("x-a", "\u{ff}".as_bytes()),
        ("Empty", b""),
    ];
    assert_eq!(fields, expected);
    assert_eq!(head.fields().len(), 4);
    assert_eq!(head.field("X-a"), Some(&b"v w"[..]));
    assert_eq!(head.field("x-b"), None);
    assert_eq!((head.body(), head.keep_alive()), (BodyLength::None, true));
    assert_eq!((head.expects_continue(), head.upgrade()), (false, None));
}

#[test]
fn an_empty_head_answers() {
    let mut head = Head::build("GET", "/x?y", [("A", "b")]).expect("valid");
    head.clear();
    for head in [head, Head::new()] {
        assert_eq!(
            (head.method(), head.target(), head.path(), head.query()),
            ("", "", "", None)
        );
        assert_eq!((head.request_line(), head.authority()), ("", None));
        assert_eq!((head.fields().count(), head.field("a")), (0, None));
    }
}

/// All that a head says, and what its reader makes of it.
fn told(
    reader: &mut Reader,
    input: &[u8],
    limits: &Limits,
    head: &mut Head,
) -> (Result<Event, Reject>, String) {
    let event = reader.next(input, limits, head);
    let fields: Vec<_> = head.fields().collect();
    let target = (
        head.form(),
        head.path(),
        head.query(),
        head.is_https_target(),
    );
    let means = (head.body(), head.keep_alive(), head.expects_continue());
    let names = (
        head.authority(),
        head.upgrade(),
        head.initials(),
        head.version(),
    );
    let line = (head.request_line(), head.method(), head.target());
    (
        event,
        format!("{line:?} {fields:?} {target:?} {means:?} {names:?}"),
    )
}

/// A reader that is given the last head compares before it reads: what it tells is the same.
#[test]
fn what_is_recalled_is_what_reading_finds() {
    let lines = [
        "GET / HTTP/1.1",
        "GET / HTTP/1.0",
        "GET /a/longer/path?with=query HTTP/1.1",
        "POST / HTTP/1.1",
        "TRACE / HTTP/1.1",
        "GET http://other/ HTTP/1.1",
        "CONNECT h:1 HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET / HTTP/9.9",
        "GET  / HTTP/1.1",
    ];
    let sections = [
        "Host: h\r\n\r\n",
        "Host: i\r\n\r\n",
        "Host: h\r\nConnection: upgrade\r\nUpgrade: x\r\na_b: c\r\n\r\n",
        "Host: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        "Host: h\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Accept: */*\r\n\r\n",
        "Host: h\r\nHost: h\r\n\r\n",
        "\r\n",
    ];
    let all = lines.iter().flat_map(|line| {
        let heads = sections.iter();
        heads.map(move |section| format!("{line}\r\n{section}"))
    });
    let all: Vec<String> = all.collect();
    let usual = Limits::default();
    let narrow = [
        usual.clone(),
        Limits {
            fields: 2,
            ..usual.clone()
        },
        Limits {
            field_size: 20,
            ..usual.clone()
        },
        Limits {
            request_line: 14,
            ..usual.clone()
        },
        Limits {
            head: 50,
            ..usual.clone()
        },
        Limits {
            body: 4,
            ..usual.clone()
        },
    ];
    for first in &all {
        for taken_out in [false, true] {
            let mut last = Head::new();
            let _ = Reader::new().next(first.as_bytes(), &usual, &mut last);
            if taken_out {
                last.retain(|name, _| name != "Host" && name != "a_b");
            }
            for next in &all {
                for limits in &narrow {
                    let input = next.as_bytes();
                    let (mut fresh, mut again) = (Head::new(), last.clone());
                    let expected = told(&mut Reader::new(), input, limits, &mut fresh);
                    let found = told(&mut Reader::new(), input, limits, &mut again);
                    assert_eq!(found, expected, "{next:?} after {first:?}, {limits:?}");
                }
            }
            // The same once more, in two pieces.
            for cut in 1..first.len() {
                let (mut fresh, mut again) = (Head::new(), last.clone());
                let (mut one, mut other) = (Reader::new(), Reader::new());
                for input in [&first.as_bytes()[..cut], first.as_bytes()] {
                    let expected = told(&mut one, input, &usual, &mut fresh);
                    let found = told(&mut other, input, &usual, &mut again);
                    assert_eq!(found, expected, "{first:?} cut at {cut}");
                }
            }
        }
    }
}

#[test]
fn a_head_is_refilled_without_a_trace() {
    let (mut reader, mut head) = (Reader::new(), Head::new());
    let limits = Limits::default();
    let first = b"GET http://other/long/path?query HTTP/1.1\r\nHost: h\r\nA: b\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
    assert!(reader.next(first, &limits, &mut head).is_ok());
    assert_eq!(
        (head.authority(), head.upgrade()),
        (Some("other"), Some("x"))
    );
    assert!(reader.is_idle(b"") && reader.is_new(), "it has no content");
    assert_eq!(
        head.field("A"),
        Some(&b"b"[..]),
        "the head stays while its request is served"
    );
    assert!(
        reader
            .next(b"PUT /x HTTP/1.0\r\n\r\n", &limits, &mut head)
            .is_ok()
    );
    assert_eq!(
        (head.method(), head.path(), head.query()),
        ("PUT", "/x", None)
    );
    assert_eq!(
        (head.authority(), head.upgrade(), head.fields().count()),
        (None, None, 0)
    );
    assert_eq!(
        (head.version(), head.keep_alive()),
        (Version::Http10, false)
    );
    assert!(!head.initials().meets(Initials::of("upgrade")));
}

/// For the access log. Nothing else of the head is to be believed, and nothing of the one before.
#[test]
fn a_refused_head_leaves_its_request_line() {
    let limits = Limits::default();
    for (text, line) in [
        (
            "GET /x HTTP/1.1\r\nHost: h\r\nA: b\r\nHost: h\r\n",
            "GET /x HTTP/1.1",
        ),
        ("GET /x HTTP/1.0\r\nExpect: y\r\nA : b", "GET /x HTTP/1.0"),
        ("GET /x HTTP/1.1\r\nA: b\r\n\r\n", "GET /x HTTP/1.1"),
        ("GET /% HTTP/1.1\r\n", ""),
        ("GET / HTTP/3.0\r\n", ""),
        ("GET /\n", ""),
    ] {
        for step in [1, 7, text.len()] {
            let mut head = Head::build("PUT", "/before", [("A", "b")]).expect("valid");
            let mut reader = Reader::new();
            let ends = (step..text.len()).step_by(step).chain([text.len()]);
            let refused = ends
                .map(|end| reader.next(&text.as_bytes()[..end], &limits, &mut head))
                .any(|event| event.is_err());
            assert!(refused, "{text:?}");
            assert_eq!(head.request_line(), line, "{text:?} by {step}");
            assert_eq!((head.fields().len(), head.body()), (0, BodyLength::None));
        }
    }
}

#[test]
fn methods_are_tokens_as_they_come() {
    for method in [
        "GET",
        "get",
        "Get",
        "FOOBAR",
        "!#$%&'*+-.^_`|~9aZ",
        "M-SEARCH",
    ] {
        let head = read(&format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n")).expect(method);
        assert_eq!(
            (head.method(), head.http_method().as_str()),
            (method, method)
        );
    }
    for method in ["G(T", "G\"T", "G\u{e9}T", "", "G\tT"] {
        assert_eq!(
            read(&format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n")).err(),
            Some(400),
            "{method}"
        );
    }
}

#[test]
fn authority_of_the_target_wins_over_host() {
    for (line, authority, path, query) in [
        ("GET http://a:1/p?q", Some("a:1"), "/p", Some("q")),
        ("GET HTTP://a", Some("a"), "/", None),
        ("GET http://a?q", Some("a"), "/", Some("q")),
        ("OPTIONS http://a", Some("a"), "*", None),
        ("OPTIONS http://a/", Some("a"), "/", None),
        ("OPTIONS *", Some("h"), "*", None),
        ("CONNECT c:443", Some("c:443"), "", None),
        ("GET /", Some("h"), "/", None),
    ] {
        let head = read(&format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n")).expect(line);
        assert_eq!(
            (head.authority(), head.path(), head.query()),
            (authority, path, query),
            "{line}"
        );
    }
    assert_eq!(
        read("GET / HTTP/1.1\r\nHost:\r\n\r\n")
            .expect("empty Host")
            .authority(),
        None
    );
    assert_eq!(
        read("GET / HTTP/1.0\r\n\r\n")
            .expect("1.0 needs no Host")
            .authority(),
        None
    );
}

#[test]
fn higher_minor_versions_are_read_as_1_1() {
    let head = read("GET /x HTTP/1.7\r\nHost: h\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n")
        .expect("RFC 9110 2.5");
    assert_eq!(
        (head.version(), head.keep_alive(), head.body()),
        (Version::Http11, true, BodyLength::Chunked)
    );
    assert_eq!(
        (head.request_line(), head.target()),
        ("GET /x HTTP/1.7", "/x")
    );
    assert_eq!(head.field("a"), Some(&b"b"[..]));
    assert_eq!(
        read("GET /x HTTP/1.7\r\nHost: h\r\nA : b\r\n\r\n").err(),
        Some(400)
    );
    assert_eq!(
        read("GET /x HTTP/1.7\r\n\r\n").err(),
        Some(400),
        "Host is needed"
    );
}

#[test]
fn content_length() {
    for (value, length) in [("0", 0), ("5", 5), ("010", 10), ("1073741824", 1 << 30)] {
        assert_eq!(
            with(&format!("Content-Length: {value}\r\n")).map(|head| head.body()),
            Ok(BodyLength::Length(length))
        );
        assert_eq!(
            with10(&format!("content-length:{value}\r\n")).map(|head| head.body()),
            Ok(BodyLength::Length(length))
        );
    }
    for (value, status) in [
        ("", 400),
        ("+5", 400),
        ("-0", 400),
        ("5 5", 400),
        ("5, 5", 400),
        ("5;", 400),
        ("0x5", 400),
        ("5.0", 400),
        ("\u{665}", 400),
        ("1073741825", 413),
        ("99999999999999999999", 413),
        ("5\r\nContent-Length: 5", 400),
    ] {
        assert_eq!(
            with(&format!("Content-Length: {value}\r\n")).err(),
            Some(status),
            "{value:?}"
        );
    }
    let unlimited = Limits {
        body: 0,
        ..Limits::default()
    };
    let text = "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551615\r\n\r\n";
    assert_eq!(
        read_with(text, &unlimited).map(|head| head.body()),
        Ok(BodyLength::Length(u64::MAX))
    );
}

#[test]
fn transfer_encoding() {
    for value in ["chunked", "Chunked", " \tCHUNKED\t "] {
        let head = with(&format!("Transfer-Encoding: {value}\r\n"));
        assert_eq!(
            head.map(|head| head.body()),
            Ok(BodyLength::Chunked),
            "{value}"
        );
    }
    for (lines, status) in [
        ("TE: gzip, chunked", 501),
        ("TE: identity, chunked", 501),
        ("TE: gzip\r\nTE: chunked", 501),
        ("TE: gzip", 400),
        ("TE: gzip, br", 400),
        ("TE: gzip\r\nTE: br", 400),
        ("TE: chunked, gzip", 400),
        ("TE: chunked, chunked", 400),
        ("TE: chunked\r\nTE: chunked", 400),
        ("TE: chunked\r\nTE: identity", 400),
        ("TE: gzip, chunked, chunked", 400),
        ("TE: ,chunked", 400),
        ("TE: chunked,", 400),
        ("TE: chunked\r\nTE:", 400),
        ("TE:", 400),
        ("TE: chunked;q=1", 400),
        ("TE: \"chunked\"", 400),
        ("TE: chunked\u{b}", 400),
        ("TE: \u{a0}chunked", 400),
        ("TE: xchunked", 400),
        ("TE: chunked\r\nContent-Length: 5", 400),
        ("Content-Length: 0\r\nTE: chunked", 400),
        ("Content-Length: x\r\nTE: gzip", 400),
    ] {
        let lines = lines.replace("TE:", "Transfer-Encoding:");
        assert_eq!(
            with(&format!("{lines}\r\n")).err(),
            Some(status),
            "{lines:?}"
        );
    }
    assert_eq!(with10("Transfer-Encoding: chunked\r\n").err(), Some(400));
    assert_eq!(
        with10("Transfer-Encoding: gzip, chunked\r\n").err(),
        Some(400)
    );
}

#[test]
fn persistence() {
    for (options, http11, http10) in [
        ("", true, false),
        ("Connection: close\r\n", false, false),
        ("Connection: keep-alive\r\n", true, true),
        ("Connection: Keep-Alive, x\r\n", true, true),
        ("Connection: keep-alive, CLOSE\r\n", false, false),
        (
            "Connection: keep-alive\r\nConnection: close\r\n",
            false,
            false,
        ),
        ("Connection: ,,x ,close\r\n", false, false),
        ("Connection: xclose, close;x\r\n", true, false),
        ("Proxy-Connection: keep-alive\r\n", true, false),
        ("Connection:\r\n", true, false),
    ] {
        assert_eq!(
            with(options).map(|head| head.keep_alive()),
            Ok(http11),
            "{options:?}"
        );
        assert_eq!(
            with10(options).map(|head| head.keep_alive()),
            Ok(http10),
            "{options:?}"
        );
    }
}

#[test]
fn expectations() {
    for (fields, http11) in [
        ("Content-Length: 5\r\nExpect: 100-continue\r\n", Ok(true)),
        ("Content-Length: 5\r\nExpect: 100-Continue\r\n", Ok(true)),
        (
            "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n",
            Ok(true),
        ),
        // RFC 9110 §5.6.1.2: empty elements are ignored.
        ("Content-Length: 5\r\nExpect: , 100-continue,\r\n", Ok(true)),
        ("Content-Length: 0\r\nExpect: 100-continue\r\n", Ok(false)),
        ("Expect: 100-continue\r\n", Ok(false)),
        ("Content-Length: 5\r\n", Ok(false)),
        ("Content-Length: 5\r\nExpect: y 100-continue\r\n", Err(417)),
        ("Content-Length: 5\r\nExpect: 100-continue, x\r\n", Err(417)),
        (
            "Content-Length: 5\r\nExpect: 100-continue\r\nExpect: x\r\n",
            Err(417),
        ),
    ] {
        assert_eq!(
            with(fields).map(|head| head.expects_continue()),
            http11,
            "{fields:?}"
        );
        if !fields.contains("chunked") {
            assert_eq!(
                with10(fields).map(|head| head.expects_continue()),
                Ok(false),
                "{fields:?} in 1.0"
            );
        }
    }
}

#[test]
fn upgrades() {
    for (fields, http11) in [
        (
            "Connection: Upgrade\r\nUpgrade: websocket\r\n",
            Some("websocket"),
        ),
        (
            "Connection: keep-alive, upgrade\r\nupgrade: a, b/2\r\n",
            Some("a, b/2"),
        ),
        (
            "Connection: upgrade, x\r\nConnection: y\r\nUpgrade: a\r\nUpgrade: b\r\n",
            Some("a"),
        ),
        ("Upgrade: websocket\r\n", None),
        ("Connection: upgrade\r\n", None),
    ] {
        assert_eq!(with(fields).expect(fields).upgrade(), http11, "{fields:?}");
        assert_eq!(
            with10(fields).expect(fields).upgrade(),
            None,
            "{fields:?} in 1.0"
        );
    }
}

#[test]
fn hosts() {
    for (lines, status) in [
        ("", 400),
        ("Host: a\r\nHost: a\r\n", 400),
        ("Host: a\r\nhOST: b\r\n", 400),
        ("Host: a/b\r\n", 400),
        ("Host: a, b c\r\n", 400),
        ("Host: u@a\r\n", 400),
    ] {
        assert_eq!(
            read(&format!("GET / HTTP/1.1\r\n{lines}\r\n")).err(),
            Some(status),
            "{lines:?}"
        );
    }
    assert_eq!(with10("Host: a\r\nHost: a\r\n").err(), Some(400));
    assert_eq!(with10("Host: a/b\r\n").err(), Some(400));
}

#[test]
fn names_that_only_look_like_ours_mean_nothing() {
    let ours = [
        "Host",
        "Expect",
        "Upgrade",
        "Connection",
        "Content-Type",
        "Content-Length",
        "Transfer-Encoding",
    ];
    let alike = ours.iter().flat_map(|name| {
        (0..name.len()).flat_map(move |at| {
            let (front, back) = (&name[..at], &name[at + 1..]);
            [
                format!("{front}z{back}"),
                format!("{front}{back}"),
                format!("{front}zz{back}"),
            ]
        })
    });
    let long = (1..200).map(|len| "c".repeat(len));
    for name in alike.chain(long) {
        // As a value of ours this would close, repeat, or be refused.
        let fields = format!("Connection: upgrade\r\n{name}: close\r\n{name}: close\r\n");
        let head = with(&fields).expect(&name);
        assert_eq!(head.body(), BodyLength::None, "{name}");
        assert!(head.keep_alive(), "{name}");
        assert_eq!(head.upgrade(), None, "{name}");
    }
}

#[test]
fn a_refusal_says_to_the_log_what_was_wrong() {
    let small = Limits {
        field_size: 16,
        head: 50,
        ..Limits::default()
    };
    for (input, reason) in [
        (" GET", "request does not begin with a method"),
        ("G(T", "method is not a token"),
        ("GET /\r\n", "request line is not method, target, version"),
        ("GET /a\tb", "request target holds a byte that none may"),
        ("GET / HTTP/2.0", "HTTP version is not 1.x"),
        ("GET / http/1.1", "HTTP version is malformed"),
        ("GET / HTTP/1.1\n", "line ends without CR"),
        ("GET / HTTP/1.1\rX", "CR without LF"),
        ("GET / HTTP/1.1\r\n\tX", "field line is folded"),
        ("GET / HTTP/1.1\r\nX :", "field name ends with a blank"),
        ("GET / HTTP/1.1\r\nX\r\n", "field line has no colon"),
        ("GET / HTTP/1.1\r\nX(", "field name is invalid"),
        ("GET / HTTP/1.1\r\nX: \0", "field value is invalid"),
        ("GET / HTTP/1.1\r\nX: y\n", "line ends without CR"),
        ("GET / HTTP/1.1\r\nX: y\rz", "CR without LF"),
        (
            "GET / HTTP/1.1\r\nX: 0123456789abc",
            "field line is too long",
        ),
        (
            "GET / HTTP/1.1\r\nX: 0123456789\r\nX: 0123456789\r\nX: y",
            "field section is too long",
        ),
    ] {
        let refused = drive_every_way(input.as_bytes(), &small, 99).reject;
        assert_eq!(
            refused.map(|reject| reject.reason),
            Some(reason),
            "{input:?}"
        );
    }
}

#[test]
fn field_lines() {
    for line in [
        " A: b",
        "\tA: b",
        "A : b",
        "A\t: b",
        "A",
        ": b",
        "A B: c",
        "A(: b",
        "A\0: b",
        "A\u{85}: b",
        "A: b\r\n c",
        "A:\r\n b",
        "A: b\nB: c",
        "A: b\rB: c",
        "A: b\rxB: c",
        "A: b\r",
        "A: \0",
        "A: \u{7f}",
        "A: \u{1b}",
        "A: b\n",
        "Content-Type: a/b\r\nContent-Type: a/b",
    ] {
        assert_eq!(with(&format!("{line}\r\n")).err(), Some(400), "{line:?}");
    }
    // RFC 9112 §2.2: nor in front of the first one.
    for first in [" ", "\t", " \r\n", " A: b\r\n"] {
        let text = format!("GET / HTTP/1.1\r\n{first}Host: h\r\n\r\n");
        assert_eq!(read(&text).err(), Some(400), "{first:?}");
    }
    assert_eq!(read("GET / HTTP/1.1\r\nHost: h\r\n\n").err(), Some(400));
    assert_eq!(read("GET / HTTP/1.1\nHost: h\r\n\r\n").err(), Some(400));
    assert_eq!(read("GET / HTTP/1.1\r\nHost: h\n\r\n").err(), Some(400));
    assert_eq!(read("GET / HTTP/1.1\r\r\nHost: h\r\n\r\n").err(), Some(400));
    assert_eq!(read("GET / HTTP/1.1\rxHost: h\r\n\r\n").err(), Some(400));
}

#[test]
fn content_of_connect_and_trace_is_refused() {
    for (line, status) in [
        ("TRACE /", Some(400)),
        ("CONNECT h:1", Some(400)),
        ("DELETE /", None),
        ("trace /", None),
    ] {
        assert_eq!(
            read(&format!(
                "{line} HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n"
            ))
            .err(),
            status,
            "{line}"
        );
        assert!(
            read(&format!(
                "{line} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
            ))
            .is_ok(),
            "{line}"
        );
    }
}

#[test]
fn limits_to_the_byte() {
    let line = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(len - 14));
    let limits = Limits {
        request_line: 40,
        ..Limits::default()
    };
    assert!(read_with(&line(40), &limits).is_ok());
    assert_eq!(read_with(&line(41), &limits).err(), Some(414));
    assert!(
        read_with(
            &line(9000),
            &Limits {
                request_line: 0,
                ..Limits::default()
            }
        )
        .is_ok()
    );
    assert_eq!(
        read_with(
            &line(70_000),
            &Limits {
                request_line: 0,
                ..Limits::default()
            }
        )
        .err(),
        Some(414)
    );
    for request_line in [0, 1 << 20] {
        let limits = Limits {
            request_line,
            head: 1 << 20,
            ..Limits::default()
        };
        assert!(read_with(&line(65_534), &limits).is_ok());
        assert_eq!(read_with(&line(65_535), &limits).err(), Some(414));
    }

    let field = |len: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: h\r\nA:{}\r\n\r\n",
            "b".repeat(len - 4)
        )
    };
    let limits = Limits {
        field_size: 40,
        ..Limits::default()
    };
    assert!(read_with(&field(40), &limits).is_ok());
    assert_eq!(read_with(&field(41), &limits).err(), Some(431));
    assert!(
        read_with(
            &field(9000),
            &Limits {
                field_size: 0,
                ..Limits::default()
            }
        )
        .is_ok()
    );

    let limits = Limits {
        head: 60,
        ..Limits::default()
    };
    assert!(read_with(&field(60 - 27), &limits).is_ok());
    assert_eq!(read_with(&field(61 - 27), &limits).err(), Some(431));

    let fields = |count: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: h\r\n{}\r\n",
            "A: b\r\n".repeat(count - 1)
        )
    };
    for most in [1, 100, 128, 129, 1000] {
        let limits = Limits {
            fields: most,
            ..Limits::default()
        };
        assert_eq!(
            read_with(&fields(most), &limits).map(|head| head.fields().len()),
            Ok(most)
        );
        assert_eq!(
            read_with(&fields(most + 1), &limits).err(),
            Some(431),
            "{most}"
        );
    }
    let limits = Limits {
        fields: 0,
        head: 1 << 20,
        ..Limits::default()
    };
    assert_eq!(
        read_with(&fields(5000), &limits).map(|head| head.fields().len()),
        Ok(5000)
    );
    assert_eq!(read_with(&fields(32_769), &limits).err(), Some(431));
}

#[test]
fn an_endless_head_is_refused_while_it_comes() {
    let limits = Limits::default();
    for (text, status, within) in [
        ("GET /".to_string() + &"a".repeat(100_000), 414, 4097),
        (
            "GET / HTTP/1.1\r\nA: ".to_string() + &"a".repeat(100_000),
            431,
            16 + 8190,
        ),
        (
            "GET / HTTP/1.1\r\n".to_string() + &"A: b\r\n".repeat(20_000),
            431,
            16 + 101 * 6,
        ),
        ("\r\n".repeat(1000), 400, 3),
        ("\u{16}\u{3}\u{1}".to_string(), 400, 1),
    ] {
        let outcome = drive(text.as_bytes().chunks(1).take(within), &limits);
        assert_eq!(outcome.status(), Some(status), "{:?}", text.get(..20));
        assert_eq!(drive([text.as_bytes()], &limits).reject, outcome.reject);
    }
}

#[test]
fn a_bad_request_line_is_refused_before_the_head_ends() {
    for (text, status) in [
        ("GET /\r\n", 400),
        ("PRI * HTTP/2.0\r\n", 505),
        ("GET https:///x HTTP/1.1\r\nHost", 400),
    ] {
        assert_eq!(
            drive_every_way(text.as_bytes(), &Limits::default(), 99).status(),
            Some(status),
            "{text:?}"
        );
    }
    // And first, also when something else is wrong further down.
    let text = b"PRI * HTTP/2.0\r\nA: b\n\r\n";
    assert_eq!(
        drive_every_way(text, &Limits::default(), 99).status(),
        Some(505)
    );
}

/// Whether it is for us depends on what is known of the connection (RFC 9110 §7.4).
#[test]
fn an_https_target_is_read_and_marked() {
    for (scheme, https) in [("http", false), ("https", true), ("HTTPS", true)] {
        let text = format!("GET {scheme}://h/ HTTP/1.1\r\nHost: h\r\n\r\n");
        let mut head = Head::new();
        let read = Reader::new().next(text.as_bytes(), &Limits::default(), &mut head);
        assert!(read.is_ok(), "{scheme}: {read:?}");
        assert_eq!(head.is_https_target(), https, "{scheme}");
    }
}

#[test]
fn between_messages() {
    let (limits, mut head) = (Limits::default(), Head::new());
    let mut reader = Reader::new();
    assert!(reader.is_idle(b"") && !reader.is_idle(b"G"));
    let text = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(
        reader.next(text, &limits, &mut head),
        Ok(Event::Head {
            consumed: text.len()
        })
    );
    assert!(!reader.is_idle(b""));
    assert_eq!(
        reader.next(b"", &limits, &mut head),
        Ok(Event::NeedMore { consumed: 0 })
    );
    assert_eq!(
        reader.next(b"ab", &limits, &mut head),
        Ok(Event::Data { skip: 0, len: 2 })
    );
    assert_eq!(
        reader.next(b"c\r\nGET", &limits, &mut head),
        Ok(Event::Data { skip: 0, len: 1 })
    );
    assert_eq!(
        reader.next(b"\r\nGET", &limits, &mut head),
        Ok(Event::End { consumed: 0 })
    );
    assert!(reader.is_idle(b"") && reader.is_new());
    // The one empty line that is allowed is dropped, and counts as nothing; but a second one would
    // be one too many.
    assert_eq!(
        reader.next(b"\r\n", &limits, &mut head),
        Ok(Event::NeedMore { consumed: 2 })
    );
    assert!(reader.is_idle(b"") && !reader.is_new());
    assert!(reader.next(b"\r\n", &limits, &mut head).is_err());
    assert!(!reader.is_idle(b""));
}

#[test]
fn behind_the_last_message_nothing_is_read() {
    let text = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n\x00";
    let outcome = drive_every_way(text, &Limits::default(), 999);
    assert_eq!(
        (
            outcome.complete(),
            outcome.reject,
            outcome.idle,
            outcome.left
        ),
        (1, None, false, 0)
    );
}

#[test]
fn trailers_come_with_the_end() {
    let text = b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;x=\"\\\"\"\r\na\r\n0\r\nX-T: v\r\nHost: evil\r\nx-u:\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let outcome = drive_every_way(text, &Limits::default(), 999);
    assert_eq!((outcome.complete(), outcome.reject), (2, None));
    let first = &outcome.messages[0];
    assert_eq!(first.content, b"a");
    assert_eq!(
        first.trailers,
        [
            ("x-t".to_string(), b"v".to_vec()),
            ("x-u".to_string(), Vec::new())
        ]
    );
    assert_eq!(outcome.messages[1].trailers, []);
}

#[test]
fn heads_by_hand() {
    let head = Head::build("POST", "/a?b", [("Content-Length", "3"), ("X", "y")]).expect("valid");
    assert_eq!(
        (head.method(), head.path(), head.authority()),
        ("POST", "/a", Some("localhost"))
    );
    assert_eq!(
        (head.body(), head.keep_alive()),
        (BodyLength::Length(3), true)
    );
    let head = Head::build("GET", "https://a/", [("host", "b")]).expect("valid");
    assert_eq!((head.authority(), head.fields().len()), (Some("a"), 1));
    let none: [(&str, &str); 0] = [];
    for (method, target) in [
        ("G T", "/"),
        ("", "/"),
        ("GET", ""),
        ("GET", "/ HTTP/1.1\r\nA: b\r\n"),
        ("GET", "/\u{e9}"),
    ] {
        assert!(
            Head::build(method, target, none).is_err(),
            "{method:?} {target:?}"
        );
    }
    for field in [
        ("A:b", "c"),
        ("", "c"),
        ("A", "b\r\nC: d"),
        ("A", "b\n"),
        ("A", "\0"),
        ("A ", "b"),
        ("Host", "a b"),
    ] {
        assert!(Head::build("GET", "/", [field]).is_err(), "{field:?}");
    }
}

#[test]
fn an_idle_connection_costs_little() {
    assert!(size_of::<Reader>() <= 80, "{} bytes", size_of::<Reader>());
}
