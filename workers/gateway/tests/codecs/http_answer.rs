//! Answers of HTTP servers: where their content ends, whether the connection can be used again, and
//! which of them are not believed.

use ferricorn_gateway::codec::HeadLimits;
use ferricorn_gateway::codec::http_answer::{AnswerHead, AnswerReader, Event, Question};
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

/// What is made of an answer, in words; `!` where the connection ends in the middle of one.
fn read(input: &str, question: Question) -> String {
    let (mut reader, mut head) = (AnswerReader::new(), AnswerHead::default());
    let (mut said, mut at) = (Vec::new(), 0);
    reader.begin(question);
    loop {
        at += match reader.next(&input.as_bytes()[at..], HeadLimits::default(), &mut head) {
            Err(error) => {
                said.push(format!("error: {error}"));
                break;
            }
            Ok(Event::NeedMore { .. }) => {
                if reader.is_reusable(b"") {
                    said.push("reusable".into());
                } else if reader.end().is_err() {
                    said.push("!".into());
                }
                break;
            }
            Ok(Event::Interim { consumed }) => {
                said.push(head.status.as_u16().to_string());
                consumed
            }
            Ok(Event::Head { consumed }) => {
                let mut fields: Vec<_> = head
                    .fields
                    .iter()
                    .map(|(name, value)| format!(" {name}={}", value.to_str().unwrap_or("?")))
                    .collect();
                fields.sort();
                said.push(format!("{}{}", head.status.as_u16(), fields.concat()));
                consumed
            }
            Ok(Event::Data { skip, len }) => {
                said.push(format!("({})", &input[at + skip..at + skip + len]));
                skip + len
            }
            Ok(Event::End { consumed }) => {
                let trailers = reader.trailers().into_iter().flatten();
                let trailers = trailers.map(|(name, _)| format!(" {name}"));
                said.push(format!("end{}", trailers.collect::<String>()));
                consumed
            }
        };
    }
    said.join(", ")
}

const GET: Question = Question {
    head: false,
    upgrade: false,
};

#[test]
fn content_ends_where_the_rfc_says() {
    let head = Question { head: true, ..GET };
    let upgrade = Question {
        upgrade: true,
        ..GET
    };
    for (question, input, expected) in [
        (
            GET,
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "200 content-length=5, (hello), end, reusable",
        ),
        (
            GET,
            "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
            "200 content-length=0, end, reusable",
        ),
        (
            GET,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
            "200, (hello), end x, reusable",
        ),
        // Until the connection ends, and then it cannot be used again.
        (GET, "HTTP/1.1 200 OK\r\n\r\nhello", "200, (hello)"),
        (GET, "HTTP/1.1 200 OK\n\nhello", "200, (hello)"),
        (
            GET,
            "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\nhello",
            "200, (hello)",
        ),
        (
            GET,
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
            "200 content-length=1, (x), end",
        ),
        (
            GET,
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\nx",
            "200 content-length=1, (x), end, reusable",
        ),
        (
            GET,
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: a, CLOSE\r\nA: b\r\n\r\nx",
            "200 content-length=1, (x), end",
        ),
        // None, whatever the head says.
        (
            head,
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            "200 content-length=5, reusable",
        ),
        (head, "HTTP/1.1 200 OK\r\n\r\n", "200, reusable"),
        (
            head,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "200, reusable",
        ),
        (GET, "HTTP/1.1 204 No Content\r\n\r\n", "204, reusable"),
        (
            GET,
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            "304 content-length=5, reusable",
        ),
        // Interim answers, then a final one.
        (
            GET,
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 x\r\n\r\n",
            "100, 103, 204, reusable",
        ),
        (
            upgrade,
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nbytes",
            "101 upgrade=x, (bytes)",
        ),
        (upgrade, "HTTP/1.1 204 No\r\n\r\n", "204, reusable"),
        // A length that comes more than once says one thing.
        (
            GET,
            "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\nContent-Length: 1\r\n\r\nx",
            "200 content-length=1, (x), end, reusable",
        ),
        // Two framings: the coding counts, and nothing behind it (RFC 9112 section 6.3).
        (
            GET,
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            "200, (x), end",
        ),
        (
            GET,
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "200, end",
        ),
        // What is about the connection is not passed on; a length cannot be taken away so.
        (
            GET,
            "HTTP/1.1 200 OK\r\nConnection: x-a, content-length\r\nX-A: b\r\nX-B: c\r\nKeep-Alive: 5\r\nContent-Length: 0\r\n\r\n",
            "200 content-length=0 x-b=c, end, reusable",
        ),
    ] {
        assert_eq!(read(input, question), expected, "{input:?}");
    }
}

#[test]
fn what_cannot_be_read_in_one_way_is_an_error() {
    let line = "error: the status line is not one of HTTP/1";
    let coding = "error: Transfer-Encoding is not just chunked";
    for (input, expected) in [
        ("\r\n", line),
        ("HTTP/2 200 OK\r\n\r\n", line),
        ("HTTP/1.1 20 OK\r\n\r\n", line),
        ("HTTP/1.1 2000 OK\r\n\r\n", line),
        ("HTTP/1.1 600 OK\r\n\r\n", line),
        ("HTTP/1.1  200 OK\r\n\r\n", line),
        ("http/1.1 200 OK\r\n\r\n", line),
        ("HTTP/1.1 200 O\x01K\r\n\r\n", line),
        ("hello\r\n\r\n", line),
        (
            "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
            "error: the server switches protocols unasked",
        ),
        (
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "error: the name of a field is not valid",
        ),
        (
            "HTTP/1.1 200 OK\r\nA: b\r\n c: d\r\n\r\n",
            "error: the name of a field is not valid",
        ),
        (
            "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
            "error: the value of a field is not valid",
        ),
        (
            "HTTP/1.1 200 OK\r\nA\r\n\r\n",
            "error: a line of the head has no colon",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "error: Content-Length has two values",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1,2\r\n\r\n",
            "error: Content-Length has two values",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "error: Content-Length is not a number",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
            "error: Content-Length is not a number",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "error: Content-Length is not a number",
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", coding),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            coding,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            coding,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
            coding,
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: \r\n\r\n", coding),
        // It was cut off.
        ("", "!"),
        ("HTTP/1.1 200 OK\r\n", "!"),
        (
            "HTTP/1.1 204 No\r\n\r\nHTTP/1.1 200 OK",
            "204, error: the server answers what was not asked",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            "200 content-length=5, (hell), !",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
            "200, (hello), !",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n",
            "200, error: chunk size is not a number",
        ),
    ] {
        assert_eq!(read(input, GET), expected, "{input:?}");
    }
    let endless = "HTTP/1.1 102 Processing\r\n\r\n".repeat(33);
    assert!(read(&endless, GET).ends_with("error: the server sends interim answers without end"));
}

#[test]
fn a_head_is_bounded_before_it_is_complete() {
    let limits = HeadLimits {
        size: 100,
        fields: 2,
    };
    let read = |input: &str| {
        let mut reader = AnswerReader::new();
        reader.begin(GET);
        reader.next(input.as_bytes(), limits, &mut AnswerHead::default())
    };
    assert!(read("HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n\r\n").is_ok());
    assert!(read("HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\nE: f\r\n").is_err());
    assert_eq!(read(&"x".repeat(99)), Ok(Event::NeedMore { consumed: 0 }));
    assert!(read(&"x".repeat(100)).is_err());
}

#[test]
fn nothing_may_come_before_it_is_asked() {
    let (mut reader, mut head) = (AnswerReader::new(), AnswerHead::default());
    let nothing = Event::NeedMore { consumed: 0 };
    assert_eq!(
        reader.next(b"", HeadLimits::default(), &mut head),
        Ok(nothing)
    );
    assert_eq!(reader.end(), Ok(()));
    assert!(reader.next(b"H", HeadLimits::default(), &mut head).is_err());
    assert!(!reader.is_reusable(b""));
}

/// Status and fields as another parser has them, those of connections aside.
fn theirs(input: &[u8]) -> Option<(u16, Vec<(HeaderName, HeaderValue)>)> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(input) {
        Ok(httparse::Status::Complete(_)) => {}
        _ => return None,
    }
    let fields = response.headers.iter().map(|field| {
        let name = HeaderName::from_bytes(field.name.as_bytes()).expect("a token");
        (
            name,
            HeaderValue::from_bytes(field.value).expect("no control"),
        )
    });
    Some((response.code?, fields.collect()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// What we read, httparse reads alike.
    #[test]
    fn another_parser_reads_the_same(
        lines in proptest::collection::vec("(HTTP/1.[01] [0-9]{3}( [ -~]{0,5})?|[A-Za-z-]{1,6}:[ \t]{0,2}[ -~\t]{0,8}|[ -~\t\x01\x7f]{0,9})", 0..4),
        status in 200u16..600,
        end in "\r?\n",
    ) {
        let input = format!("HTTP/1.1 {status} x\r\n{}{end}{end}", lines.join(&end));
        let (mut reader, mut head) = (AnswerReader::new(), AnswerHead::default());
        reader.begin(GET);
        if let Ok(Event::Head { .. }) = reader.next(input.as_bytes(), HeadLimits::default(), &mut head) {
            let (code, fields) = theirs(input.as_bytes()).expect("what we read is a head");
            prop_assert_eq!(head.status.as_u16(), code);
            for (name, value) in &head.fields {
                prop_assert!(fields.iter().any(|(other, same)| other == name && same == value), "{}", name);
            }
        }
    }
}
