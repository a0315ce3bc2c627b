//! FastCGI as each peer speaks it, from both sides.

use ferricorn_gateway::codec::fastcgi::{
    self, Client, Error, Header, Kind, ProtocolStatus, Role, Server, Values, client, server,
};
use ferricorn_gateway::codec::vars::{VarLimits, Vars};

fn record(kind: Kind, id: u16, content: &[u8], padding: u8) -> Vec<u8> {
    let header = Header {
        padding,
        ..Header::of(kind, id, content.len() as u16)
    };
    let padding = vec![0xff; padding.into()];
    [&header.encode()[..], content, &padding].concat()
}

fn begin(id: u16, role: Role, keep: bool) -> Vec<u8> {
    let mut out = Vec::new();
    fastcgi::begin(&mut out, id, role, keep);
    out
}

fn params(id: u16, pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    let vars: Vars = pairs.iter().copied().collect();
    fastcgi::params(&mut out, id, &vars).expect("short");
    out
}

/// What a server says of the input, in words, ending requests when all of them has come.
fn serve(input: &[u8], limits: &server::Limits) -> (Vec<String>, Vec<u8>) {
    let (mut server, mut said, mut out, mut at) = (Server::new(), Vec::new(), Vec::new(), 0);
    loop {
        let event = server.next(&input[at..], limits, &mut out);
        at += match event {
            Err(error) => {
                said.push(error.to_string());
                return (said, out);
            }
            Ok(server::Event::NeedMore { consumed }) => {
                assert_eq!(at + consumed, input.len());
                if server.is_idle(b"") {
                    said.push("idle".into());
                }
                if server.is_closing() {
                    said.push("closing".into());
                }
                return (said, out);
            }
            Ok(server::Event::Begin { consumed, .. } | server::Event::Replied { consumed }) => {
                consumed
            }
            Ok(server::Event::Params { consumed, id }) => {
                said.push(match server.params(id) {
                    Ok(vars) => {
                        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                        let pairs = vars.iter().map(|(name, value)| (text(name), text(value)));
                        let pairs = pairs.map(|(name, value)| format!("{name}={value}"));
                        format!("{id}: {}", pairs.collect::<Vec<_>>().join(" "))
                    }
                    Err(reject) => format!("{id}: {}", reject.status.as_u16()),
                });
                consumed
            }
            Ok(server::Event::Stdin { id, skip, len }) => {
                let content = &input[at + skip..at + skip + len];
                said.push(format!("{id}: {}", String::from_utf8_lossy(content)));
                skip + len
            }
            Ok(server::Event::StdinEnd { consumed, id }) => {
                said.push(format!("{id}: end"));
                server.end(id, 0, ProtocolStatus::Complete, &mut out);
                consumed
            }
            Ok(server::Event::Abort { consumed, id }) => {
                said.push(format!("{id}: abort"));
                server.end(id, 1, ProtocolStatus::Complete, &mut out);
                consumed
            }
        };
    }
}

#[test]
fn a_request_as_the_specification_has_it() {
    // Appendix B, 1: {FCGI_BEGIN_REQUEST, 1, {FCGI_RESPONDER, 0}} and what follows.
    let input = [
        begin(1, Role::Responder, false),
        record(Kind::Params, 1, b"\x0b\x02SERVER_PORT80", 1),
        record(Kind::Params, 1, b"\x0b\x0eSERVER_ADDR199.170.183.42", 0),
        record(Kind::Params, 1, b"", 0),
        record(Kind::Stdin, 1, b"", 0),
    ]
    .concat();
    let (said, out) = serve(&input, &server::Limits::default());
    let variables = "1: SERVER_PORT=80 SERVER_ADDR=199.170.183.42";
    assert_eq!(said, [variables, "1: end", "idle", "closing"]);
    let end = [0, 0, 0, 0, 0, 0, 0, 0];
    let expected = [
        record(Kind::Stdout, 1, b"", 0),
        record(Kind::EndRequest, 1, &end, 0),
    ];
    assert_eq!(out, expected.concat());
}

#[test]
fn pairs_are_put_together_over_records_and_padding() {
    let long = "x".repeat(300);
    let all = params(9, &[("A", &long), ("B", ""), ("C", "c")]);
    let content = &all[8..8 + 300 + 1 + 5 + 3 + 4];
    for size in [1, 2, 5, 100, 306] {
        let mut input = begin(9, Role::Responder, true);
        for some in content.chunks(size) {
            input.extend(record(Kind::Params, 9, some, (size % 9) as u8));
        }
        input.extend(record(Kind::Params, 9, b"", 255));
        input.extend(record(Kind::Stdin, 9, b"body", 3));
        input.extend(record(Kind::Stdin, 9, b"", 0));
        let (said, _) = serve(&input, &server::Limits::default());
        let variables = format!("9: A={long} B= C=c");
        assert_eq!(said, [variables.as_str(), "9: body", "9: end", "idle"]);
    }
}

#[test]
fn variables_are_bounded_and_checked_without_losing_the_connection() {
    let limits = server::Limits {
        params: VarLimits {
            bytes: 10,
            count: 3,
        },
        ..server::Limits::default()
    };
    let next = params(1, &[("A", "b")]);
    for (content, expected) in [
        (&b"\x01\x00A"[..], "1: A="),
        (b"\x05\x05aaaaabbbbb", "1: aaaaa=bbbbb"),
        (b"\x05\x06aaaaabbbbbb", "1: 431"),
        (b"\x03\x02aaabb\x03\x02aaabb", "1: aaa=bb aaa=bb"),
        (b"\x03\x02aaabb\x03\x03aaabbb", "1: 431"),
        // Four GiB that never come.
        (b"\x01\xff\xff\xff\xffA", "1: 431"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff", "1: 431"),
        (b"\x01\x00A\x01\x00A\x01\x00A", "1: A= A= A="),
        (b"\x01\x00A\x01\x00A\x01\x00A\x01\x00A", "1: 431"),
        (b"\x01\x05A", "1: 400"),
        (b"\x01", "1: 400"),
        (b"\x01\x80\x00", "1: 400"),
        (b"\x00\x01b", "1: 400"),
        (b"\x01\x01\0b", "1: 400"),
        (b"\x01\x01a\0", "1: 400"),
        // A long form that need not be one.
        (b"\x80\x00\x00\x01\x80\x00\x00\x01Ab", "1: A=b"),
        (b"", "1: "),
    ] {
        let mut input = begin(1, Role::Responder, true);
        if !content.is_empty() {
            input.extend(record(Kind::Params, 1, content, 0));
        }
        input.extend(record(Kind::Params, 1, b"", 0));
        input.extend(record(Kind::Stdin, 1, b"", 0));
        input.extend(begin(1, Role::Responder, true));
        input.extend(&next);
        let (said, _) = serve(&input, &limits);
        assert_eq!(said, [expected, "1: end", "1: A=b"], "{content:?}");
    }
}

#[test]
fn several_requests_at_once_within_a_bound() {
    let limits = |requests| server::Limits {
        requests,
        ..server::Limits::default()
    };
    let input = [
        begin(1, Role::Responder, true),
        begin(2, Role::Responder, true),
        params(2, &[("B", "2")]),
        params(1, &[("A", "1")]),
        record(Kind::Stdin, 1, b"one", 0),
        record(Kind::Stdin, 2, b"two", 5),
        record(Kind::Stdin, 2, b"", 0),
        record(Kind::Stdin, 1, b"", 0),
    ]
    .concat();
    let (said, _) = serve(&input, &limits(2));
    let expected = [
        "2: B=2", "1: A=1", "1: one", "2: two", "2: end", "1: end", "idle",
    ];
    assert_eq!(said, expected);
    // What comes of the refused one is of nobody.
    let (said, out) = serve(&input, &limits(1));
    assert_eq!(said, ["1: A=1", "1: one", "1: end", "idle"]);
    assert!(out.starts_with(&record(Kind::EndRequest, 2, &[0, 0, 0, 0, 1, 0, 0, 0], 0)));
    let input = [&input[..], &begin(3, Role::Responder, true)].concat();
    let three = [begin(7, Role::Responder, true), input].concat();
    let (_, out) = serve(&three, &limits(2));
    assert!(out.starts_with(&record(Kind::EndRequest, 2, &[0, 0, 0, 0, 2, 0, 0, 0], 0)));
    for role in [Role::Authorizer, Role::Filter, Role::Other(0)] {
        let (said, out) = serve(&begin(5, role, false), &limits(2));
        assert_eq!(said, ["idle", "closing"]);
        let refused = record(Kind::EndRequest, 5, &[0, 0, 0, 0, 3, 0, 0, 0], 0);
        assert_eq!(out, refused);
    }
}

#[test]
fn management_records_are_answered_at_any_time() {
    let limits = server::Limits {
        values: Values {
            max_conns: Some(1000),
            max_reqs: None,
            multiplexes: Some(true),
        },
        ..server::Limits::default()
    };
    let mut input = begin(1, Role::Responder, true);
    Values::ask(&mut input);
    input.extend(record(Kind::GetValues, 0, b"", 9));
    input.extend(record(Kind::Other(200), 0, b"abc", 2));
    input.extend(record(Kind::BeginRequest, 0, &[0, 1, 0, 0, 0, 0, 0, 0], 0));
    input.extend(params(1, &[("A", "b")]));
    let (said, out) = serve(&input, &limits);
    assert_eq!(said, ["1: A=b"]);
    let values = b"\x0e\x04FCGI_MAX_CONNS1000\x0f\x01FCGI_MPXS_CONNS1";
    let mut answer = Header::of(Kind::GetValuesResult, 0, 38).encode().to_vec();
    answer.extend_from_slice(values);
    answer.extend_from_slice(&[0; 2]);
    let expected = [
        answer,
        record(Kind::GetValuesResult, 0, b"", 0),
        record(Kind::UnknownType, 0, &[200, 0, 0, 0, 0, 0, 0, 0], 0),
        record(Kind::UnknownType, 0, &[1, 0, 0, 0, 0, 0, 0, 0], 0),
    ];
    assert_eq!(out, expected.concat());
}

#[test]
fn what_comes_out_of_turn_ends_the_connection() {
    let started = begin(1, Role::Responder, true);
    let known = [started.clone(), params(1, &[])].concat();
    let aborted = [known.clone(), record(Kind::AbortRequest, 1, b"", 0)].concat();
    for (front, more, expected) in [
        (
            &started,
            record(Kind::Stdin, 1, b"", 0),
            "a Stdin record out of turn",
        ),
        (
            &known,
            record(Kind::Params, 1, b"\x01\x00A", 0),
            "a Params record out of turn",
        ),
        (
            &known,
            begin(1, Role::Responder, true),
            "a record of request 1, which is another",
        ),
        (
            &known,
            record(Kind::Stdout, 1, b"", 0),
            "a Stdout record from the wrong side",
        ),
        (
            &known,
            record(Kind::GetValues, 1, b"", 0),
            "a GetValues record from the wrong side",
        ),
        (
            &known,
            b"GET / HTTP/1.1".to_vec(),
            "a record of FastCGI version 71",
        ),
        (
            &aborted,
            record(Kind::BeginRequest, 1, &[0; 9], 0),
            "a BeginRequest record of the wrong length",
        ),
        (
            &aborted,
            record(Kind::GetValues, 0, b"\x05", 0),
            "capabilities that cannot be read",
        ),
    ] {
        let (said, _) = serve(&[front.clone(), more].concat(), &server::Limits::default());
        assert_eq!(said.last().map(String::as_str), Some(expected));
    }
    // These do no harm: an end said twice, what is of no request, what is of no known type.
    let harmless = [
        record(Kind::Params, 1, b"", 0),
        record(Kind::Stdin, 4, b"x", 0),
        record(Kind::AbortRequest, 4, b"", 0),
        record(Kind::Data, 1, b"x", 1),
        record(Kind::Other(99), 1, b"x", 1),
    ];
    let (said, _) = serve(
        &[known, harmless.concat()].concat(),
        &server::Limits::default(),
    );
    assert_eq!(said, ["1: "]);
}

/// After an early answer the rest of the content may be on its way still (section 3.3).
#[test]
fn content_behind_an_early_answer_is_dropped() {
    let (mut server, mut out, limits) = (Server::new(), Vec::new(), server::Limits::default());
    let body = record(Kind::Stdin, 1, &[b'x'; 1000], 0);
    let start = [
        begin(1, Role::Responder, true),
        params(1, &[]),
        body[..100].to_vec(),
    ]
    .concat();
    let mut at = 0;
    while let Ok(event) = server.next(&start[at..], &limits, &mut out) {
        at += match event {
            server::Event::Begin { consumed, .. } | server::Event::Params { consumed, .. } => {
                consumed
            }
            server::Event::Stdin { skip, len, .. } => skip + len,
            _ => break,
        };
    }
    assert_eq!(at, start.len());
    assert!(!server.end(1, 0, ProtocolStatus::Complete, &mut out));
    assert!(!server.is_idle(b""), "the rest is to come");
    let rest = [&body[100..], &record(Kind::Stdin, 1, b"", 0)].concat();
    let consumed = rest.len();
    assert_eq!(
        server.next(&rest, &limits, &mut out),
        Ok(server::Event::NeedMore { consumed })
    );
    assert!(server.is_idle(b""));
    let again = begin(1, Role::Responder, false);
    let event = server.next(&again, &limits, &mut out);
    assert_eq!(
        event,
        Ok(server::Event::Begin {
            consumed: 16,
            id: 1
        })
    );
    assert!(
        server.end(1, 0, ProtocolStatus::Overloaded, &mut out),
        "it is to be closed"
    );
    assert!(out.ends_with(&[1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]));
}

fn answers(client: &mut Client, input: &[u8]) -> Vec<String> {
    let (mut said, mut at) = (Vec::new(), 0);
    let text = |range: &[u8]| String::from_utf8_lossy(range).into_owned();
    loop {
        match client.next(&input[at..]) {
            Err(error) => {
                said.push(error.to_string());
                return said;
            }
            Ok(client::Event::NeedMore { consumed }) => {
                assert_eq!(at + consumed, input.len());
                return said;
            }
            Ok(client::Event::Stdout { skip, len }) => {
                at += skip + len;
                said.push(format!("out {}", text(&input[at - len..at])));
            }
            Ok(client::Event::Stderr { skip, len }) => {
                at += skip + len;
                said.push(format!("err {}", text(&input[at - len..at])));
            }
            Ok(client::Event::End {
                consumed,
                app_status,
                status,
            }) => {
                at += consumed;
                said.push(format!("end {app_status} {status:?}"));
            }
            Ok(client::Event::Values { consumed, values }) => {
                at += consumed;
                said.push(format!("{values:?}"));
            }
        }
    }
}

#[test]
fn answers_of_php_fpm_and_of_libfcgi() {
    let end = record(Kind::EndRequest, 1, &[0, 0, 0, 3, 0, 0, 0, 0], 0);
    // php-fpm does not end its streams.
    let php = [
        record(Kind::Stderr, 1, b"warning", 1),
        record(Kind::Stdout, 1, b"Status: 200\r\n\r\nhi", 0),
        end.clone(),
    ]
    .concat();
    let mut client = Client::new();
    client.begin(1);
    assert!(!client.is_idle(b""));
    let expected = ["err warning", "out Status: 200\r\n\r\nhi", "end 3 Complete"];
    assert_eq!(answers(&mut client, &php), expected);
    assert!(client.is_idle(b""));
    client.begin(1);
    let libfcgi = [
        record(Kind::Stdout, 1, b"a", 7),
        record(Kind::Stdout, 1, b"", 0),
        record(Kind::Stderr, 1, b"", 0),
        end,
    ]
    .concat();
    assert_eq!(answers(&mut client, &libfcgi), ["out a", "end 3 Complete"]);
    assert_eq!(client.end(b""), Ok(()));
    client.begin(1);
    assert_eq!(client.end(b""), Err(Error::End));
}

#[test]
fn an_application_that_lies_is_not_believed() {
    let out = record(Kind::Stdout, 1, b"a", 0);
    for (input, expected) in [
        (
            record(Kind::Stdout, 2, b"a", 0),
            "a record of request 2, which is another",
        ),
        (
            record(Kind::Stdout, 0, b"a", 0),
            "a record of request 0, which is another",
        ),
        (
            record(Kind::Stdin, 1, b"a", 0),
            "a Stdin record from the wrong side",
        ),
        (
            record(Kind::GetValuesResult, 0, b"", 0),
            "a GetValuesResult record from the wrong side",
        ),
        (
            record(Kind::UnknownType, 0, &[9; 8], 0),
            "a UnknownType record from the wrong side",
        ),
        (
            record(Kind::Other(77), 1, b"", 0),
            "a Other(77) record from the wrong side",
        ),
        (
            record(Kind::EndRequest, 1, &[0; 7], 0),
            "a EndRequest record of the wrong length",
        ),
        (
            [record(Kind::Stdout, 1, b"", 0), out.clone()].concat(),
            "a Stdout record out of turn",
        ),
        (
            [record(Kind::EndRequest, 1, &[0; 8], 0), out].concat(),
            "a record of request 1, which is another",
        ),
        (
            b"HTTP/1.1 502 Bad Gateway".to_vec(),
            "a record of FastCGI version 72",
        ),
    ] {
        let mut client = Client::new();
        client.begin(1);
        let said = answers(&mut client, &input);
        assert_eq!(said.last().map(String::as_str), Some(expected));
    }
}

#[test]
fn capabilities_are_asked_and_answered() {
    let values = Values {
        max_conns: Some(5),
        max_reqs: Some(50),
        multiplexes: Some(false),
    };
    let limits = server::Limits {
        values,
        ..server::Limits::default()
    };
    let mut question = Vec::new();
    Values::ask(&mut question);
    let (_, answer) = serve(&question, &limits);
    for (answer, values) in [
        (answer, values),
        (record(Kind::GetValuesResult, 0, b"", 0), Values::default()),
        (
            record(Kind::UnknownType, 0, &[9, 0, 0, 0, 0, 0, 0, 0], 0),
            Values::default(),
        ),
    ] {
        let mut client = Client::new();
        client.ask();
        assert_eq!(answers(&mut client, &answer), [format!("{values:?}")]);
        assert!(client.is_idle(b""));
    }
}

#[test]
fn no_pair_is_divided_and_none_that_is_too_long_is_sent() {
    let value = "v".repeat(30_000);
    let vars: Vars = (0..5).map(|index| (format!("N{index}"), &value)).collect();
    let mut out = Vec::new();
    fastcgi::params(&mut out, 1, &vars).expect("each fits");
    let (mut at, mut sizes) = (0, Vec::new());
    while let Some(header) = out[at..].first_chunk() {
        let header = Header::decode(*header).expect("ours");
        sizes.push(header.content);
        at += 8 + usize::from(header.content) + usize::from(header.padding);
    }
    assert_eq!((at, &sizes[..]), (out.len(), &[60014, 60014, 30007, 0][..]));
    // The longest there can be, and one byte more.
    for (len, fits) in [(65535 - 1 - 4 - 3, true), (65535 - 1 - 4 - 3 + 1, false)] {
        let vars: Vars = [("A", "1"), ("BIG", &"v".repeat(len))]
            .into_iter()
            .collect();
        let mut out = b"before".to_vec();
        let written = fastcgi::params(&mut out, 1, &vars);
        assert_eq!(written.is_ok(), fits);
        if let Err(error) = written {
            assert_eq!(out, b"before");
            assert_eq!(
                error.to_string(),
                "the variable BIG is too long for a record"
            );
        }
    }
}

#[test]
fn content_is_divided_and_padded() {
    let mut out = Vec::new();
    let content = vec![7; 200_000];
    fastcgi::stream(&mut out, Kind::Stdout, 3, &content);
    fastcgi::stream(&mut out, Kind::Stdout, 3, b"");
    assert_eq!(out.len() % 8, 0);
    assert_eq!(out.len(), 200_000 + 4 * 8);
    let mut client = Client::new();
    client.begin(3);
    let said = answers(&mut client, &out);
    let sizes: Vec<usize> = said.iter().map(|said| said.len() - "out ".len()).collect();
    assert_eq!(sizes, [65528, 65528, 65528, 3416]);
}
