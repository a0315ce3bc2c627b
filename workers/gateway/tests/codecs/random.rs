//! The properties that are fuzzed, held against pieces that next to each other make many kinds of
//! trouble: on every run.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::fuzzed;
use ferricorn_gateway::codec::fastcgi::{Header, Kind};

/// Control bytes, then pieces.
fn input(piece: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    // Default limits, mostly.
    let control = (select(vec![0u8, 0, 1, 2, 3]), vec(any::<u8>(), 5));
    (control, vec(piece, 0..12)).prop_map(|((kind, tune), pieces)| {
        let mut input = vec![kind];
        input.extend(tune);
        input.extend(pieces.concat());
        input
    })
}

/// A record, mostly with content that its kind may have.
fn record() -> impl Strategy<Value = Vec<u8>> {
    let begin = select(vec![
        vec![0, 1, 0, 0, 0, 0, 0, 0],
        vec![0, 1, 1, 0, 0, 0, 0, 0],
        vec![0, 3, 1, 0, 0, 0, 0, 0],
    ]);
    let pair = (vec(1u8..255, 0..5), vec(1u8..255, 0..9)).prop_map(|(name, value)| {
        let lengths = [name.len() as u8, value.len() as u8];
        [&lengths[..], &name, &value].concat()
    });
    let long = Just([&[3, 0x80, 0, 0, 4][..], b"keyword"].concat());
    let pairs = vec(prop_oneof![8 => pair, 1 => long], 0..4).prop_map(|pairs| pairs.concat());
    let any_bytes = vec(any::<u8>(), 0..20);
    let content = prop_oneof![
        3 => (Just(1u8), begin),
        3 => (Just(4u8), pairs.clone()),
        2 => (Just(4u8), Just(vec![])),
        2 => (Just(5u8), any_bytes.clone()),
        2 => (Just(5u8), Just(vec![])),
        2 => (Just(6u8), any_bytes.clone()),
        1 => (Just(7u8), any_bytes.clone()),
        1 => (Just(3u8), Just(vec![0, 0, 0, 1, 0, 0, 0, 0])),
        1 => (Just(2u8), Just(vec![])),
        1 => (Just(9u8), pairs),
        1 => (any::<u8>(), any_bytes),
    ];
    let id = select(vec![1u16, 1, 1, 1, 2, 0]);
    let padding = select(vec![0u8, 0, 1, 7, 255]);
    (content, id, padding).prop_map(|((kind, content), id, padding)| {
        let header = Header {
            padding,
            ..Header::of(Kind::from(kind), id, content.len() as u16)
        };
        let padding = vec![0xaa; padding.into()];
        [&header.encode()[..], &content, &padding].concat()
    })
}

fn head_piece() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&'static [u8]> = vec![
        b"Status: 200 OK\r\n",
        b"Status: 302\n",
        b"Status: 100 no\n",
        b"Content-Type: text/plain\n",
        b"content-length: 5\r\n",
        b"Content-Length: 5, 5\n",
        b"Content-Length: -1\n",
        b"Location: /local?a=b\n",
        b"Location: //h/\n",
        b"Location: http://h/\r\n",
        b"Connection: x-a, close, content-length\n",
        b"X-A: b\n",
        b"Transfer-Encoding: chunked\n",
        b"Upgrade: x\n",
        b"HTTP/1.1 404 Not Found\r\n",
        b"HTTP/1.0 200\n",
        b" fold\n",
        b"X : y\n",
        b"X: y\rz\n",
        b"Date: now\nServer: mine\n",
        b"\n",
        b"\r\n",
        b"content\n\n",
        b"\0",
    ];
    prop_oneof![8 => select(known).prop_map(<[u8]>::to_vec), 1 => vec(any::<u8>(), 0..5)]
}

fn answer_piece() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&'static [u8]> = vec![
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 404\r\n",
        b"HTTP/1.1 304 No\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switch\r\nUpgrade: x\r\nConnection: upgrade\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 0\r\n",
        b"Content-Length: 6\n",
        b"Content-Length: 5, 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Connection: close\r\n",
        b"Connection: keep-alive, content-length\r\n",
        b"X: y\r\n",
        b"\r\n",
        b"\r\n",
        b"hello",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\nT: v\r\n\r\n",
        b"\0",
    ];
    prop_oneof![10 => select(known).prop_map(<[u8]>::to_vec), 1 => vec(any::<u8>(), 0..5)]
}

/// Variables with a length in front of each part, or NULs behind, and in front of all what goes there
/// where nothing is wrong.
fn packed(netstring: bool) -> impl Strategy<Value = Vec<u8>> {
    let names = select(vec![
        "SCGI",
        "CONTENT_LENGTH",
        "REQUEST_METHOD",
        "HTTP_A",
        "HTTP_A",
        "UWSGI_SCHEME",
        "UWSGI_CHDIR",
        "A",
        "B",
        "C",
        "",
    ]);
    let values = select(vec!["", "1", "1", "22", "-1", "x\0y", "value"]);
    let wrong = prop_oneof![8 => Just(0i64), 1 => -3i64..3];
    let modifier = select(vec![0u8, 0, 0, 30, 22]);
    let usual = any::<[bool; 2]>();
    (vec((names, values), 0..6), wrong, modifier, usual).prop_map(
        move |(mut pairs, wrong, modifier, [first, second])| {
            if first {
                pairs.insert(0, ("CONTENT_LENGTH", "7"));
            }
            if second {
                pairs.push(("SCGI", "1"));
            }
            let mut text = Vec::new();
            for part in pairs.into_iter().flat_map(|(name, value)| [name, value]) {
                if !netstring {
                    text.extend((part.len() as u16).to_le_bytes());
                }
                text.extend(part.bytes());
                if netstring {
                    text.push(0);
                }
            }
            let length = (text.len() as i64 + wrong).max(0);
            let front = match netstring {
                true => format!("{length}:").into_bytes(),
                false => [&[modifier][..], &(length as u16).to_le_bytes(), &[0]].concat(),
            };
            [&front[..], &text, b",content"].concat()
        },
    )
}

fn variable() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&'static [u8]> = vec![
        b"REQUEST_METHOD=GET\n",
        b"REQUEST_METHOD=POST\n",
        b"REQUEST_URI=/a%20b?c\n",
        b"REQUEST_URI=http://h:8/a\n",
        b"REQUEST_METHOD=CONNECT\nREQUEST_URI=h:80\n",
        b"REQUEST_METHOD=OPTIONS\nREQUEST_URI=*\n",
        b"SCRIPT_NAME=/a b\n",
        b"PATH_INFO=/c/\xff\n",
        b"DOCUMENT_URI=/d\n",
        b"QUERY_STRING=x=%y\n",
        b"QUERY_STRING=\n",
        b"CONTENT_LENGTH=\n",
        b"CONTENT_LENGTH=12\n",
        b"CONTENT_LENGTH=012\n",
        b"CONTENT_TYPE=a/b\n",
        b"HTTP_HOST=h:80\n",
        b"HTTP_HOST=\n",
        b"HTTP_COOKIE=a=b\n",
        b"HTTP_X_Y=1\n",
        b"HTTP_X-Y=2\n",
        b"HTTP_PROXY=evil\n",
        b"HTTP_CONNECTION=x-y\n",
        b"HTTP_TRANSFER_ENCODING=chunked\n",
        b"HTTP_A B=c\n",
        b"HTTP_AUTHORIZATION=Basic x\n",
        b"SERVER_NAME=_\n",
        b"SERVER_NAME=~^x$\n",
        b"SERVER_PROTOCOL=HTTP/1.0\n",
        b"SERVER_PROTOCOL=HTTP/2.0\n",
        b"HTTPS=on\n",
        b"REMOTE_ADDR=::1\nREMOTE_PORT=9\n",
    ];
    prop_oneof![12 => select(known).prop_map(<[u8]>::to_vec), 1 => vec(any::<u8>(), 0..5)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fastcgi(input in input(record())) {
        fuzzed::fastcgi::check(&input);
    }

    #[test]
    fn cgi_head(input in input(head_piece())) {
        fuzzed::cgi_head::check(&input);
    }

    #[test]
    fn scgi(input in input(packed(true))) {
        fuzzed::packets::scgi(&input);
    }

    #[test]
    fn uwsgi(input in input(packed(false))) {
        fuzzed::packets::uwsgi(&input);
    }

    #[test]
    fn http_answer(input in input(answer_piece())) {
        fuzzed::http_answer::check(&input);
    }

    #[test]
    fn variables(input in input(variable())) {
        let first = b"REQUEST_METHOD=GET\nREQUEST_URI=/\n";
        let input = [&input[..6], first, &input[6..]].concat();
        fuzzed::variables::check(&input);
    }
}
