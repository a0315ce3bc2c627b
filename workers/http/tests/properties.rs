//! What holds for every input: how it is cut changes nothing, chunks come back as they went, and
//! nothing panics.

mod driver;

use driver::drive;
use ferricorn_http::{Defaults, Facts, Head, Length, Limits, encode_head};
use http::{HeaderMap, StatusCode};
use proptest::prelude::*;

/// Pieces of requests, good and bad, that next to each other make many kinds of trouble.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&'static [u8]> = vec![
        b"GET / HTTP/1.1\r\n",
        b"POST /a?b HTTP/1.1\r\n",
        b"GET http://h/ HTTP/1.0\r\n",
        b"GET / HTTP/1.2\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"GET /\x80 HTTP/1.1\r\n",
        b"G / HTTP/1.1\n",
        b"Host: h\r\n",
        b"Host: h\r\n\r\n",
        b"Host: h\r\n\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Connection: close\r\n",
        b"Connection: keep-alive\r\n",
        b"X: y\r\n",
        b"X: y\n",
        b"X : y\r\n",
        b" fold\r\n",
        b"X: y\rz\r\n",
        b"Expect: x\r\n",
        b"X: 0123456789012345678901234567890123456789\r\n",
        b"\r\n",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"hello",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\nT: v\r\n\r\n",
        b"1;a=\"b\"\r\nx\r\n",
        b"1 ;a\r\nx\r\n",
        b"FFFFFFFFFFFFFFFF\r\n",
        b"1;\nx\r\n",
        b"0\r\nT : v\r\n\r\n",
        b"\0",
    ];
    prop_oneof![8 => proptest::sample::select(known).prop_map(<[u8]>::to_vec), 1 => proptest::collection::vec(any::<u8>(), 0..6)]
}

/// A whole connection of such pieces, often with a good request in front.
fn connection() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(piece(), 0..14).prop_map(|pieces| pieces.concat())
}

/// Small limits, so that they are met.
fn limits() -> impl Strategy<Value = Limits> {
    (
        14usize..60,
        0usize..6,
        8usize..50,
        30usize..160,
        0usize..6,
        0usize..9,
        0usize..12,
        0u64..30,
    )
        .prop_map(
            |(
                request_line,
                fields,
                field_size,
                head,
                chunk_extension,
                chunk_extensions_total,
                trailers,
                body,
            )| Limits {
                request_line,
                fields,
                field_size,
                head,
                chunk_extension,
                chunk_extensions_total,
                trailers,
                body,
            },
        )
}

/// Cuts the input at these positions, taken modulo its length.
fn cut<'a>(mut input: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for cut in cuts {
        let (front, back) = input.split_at(cut % (input.len() + 1));
        pieces.push(front);
        input = back;
    }
    pieces.push(input);
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cuts_change_nothing(
        input in connection(),
        limits in prop_oneof![Just(Limits::default()), limits()],
        cuts in proptest::collection::vec(any::<usize>(), 0..6),
    ) {
        let whole = drive([&input[..]], &limits);
        prop_assert_eq!(&drive(cut(&input, &cuts), &limits), &whole);
        prop_assert_eq!(&drive(input.chunks(1), &limits), &whole);
    }

    #[test]
    fn chunks_come_back(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
        cuts in proptest::collection::vec(any::<usize>(), 0..8),
    ) {
        let get = Head::build("GET", "/", [("a", "b")]).expect("valid");
        let mut response = Vec::new();
        let (facts, none) = (Facts::of(&get), HeaderMap::new());
        let mut encoder =
            encode_head(&mut response, &facts, StatusCode::OK, &none, Length::Unknown, &Defaults::default()).expect("valid");
        let mut body = b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for (index, part) in parts.iter().enumerate() {
            if index % 2 == 0 {
                prop_assert!(encoder.encode(part, &mut body).is_ok());
            } else {
                let len = encoder.frame(part.len() as u64, &mut body);
                prop_assert_eq!(len, Ok(part.len() as u64));
                body.extend_from_slice(part);
                encoder.end_frame(&mut body);
            }
        }
        let trailers: HeaderMap = [(http::HeaderName::from_static("x-t"), http::HeaderValue::from_static("v"))].into_iter().collect();
        prop_assert!(encoder.finish(Some(&trailers), &mut body).is_ok());
        let outcome = drive(cut(&body, &cuts), &Limits::default());
        prop_assert_eq!((outcome.reject, outcome.complete(), outcome.idle), (None, 1, true));
        prop_assert_eq!(&outcome.messages[0].content, &parts.concat());
        prop_assert_eq!(&outcome.messages[0].trailers, &[("x-t".to_string(), b"v".to_vec())]);
    }

    #[test]
    fn heads_come_back(
        method in "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,9}",
        target in "/([!$&-;=@-Z_a-z~^{|}\\[\\]]|%2F){0,20}(\\?[!$-;=?-_a-z~`{|}]{0,20})?",
        names in proptest::collection::vec("x-[!#$%&'*+.^_`|~0-9A-Za-z-]{1,9}", 0..20),
        value in proptest::collection::vec(prop_oneof![Just(b'\t'), 0x20u8..0x7f, 0x80u8..], 0..20),
    ) {
        prop_assume!(method != "CONNECT");
        let head = Head::build(&method, &target, names.iter().map(|name| (name, &value))).expect("valid");
        prop_assert_eq!((head.method(), head.target()), (&method[..], &target[..]));
        let (path, query) = target.split_once('?').map_or((&target[..], None), |(path, query)| (path, Some(query)));
        prop_assert_eq!((head.path(), head.query()), (path, query));
        let trimmed = value.trim_ascii();
        let fields: Vec<(&str, &[u8])> = head.fields().skip(1).collect();
        prop_assert_eq!(fields, names.iter().map(|name| (&name[..], trimmed)).collect::<Vec<_>>());
        // What we accept, the `http` crate accepts too: a request has a Uri.
        prop_assert!(target.parse::<http::Uri>().is_ok());
    }
}
