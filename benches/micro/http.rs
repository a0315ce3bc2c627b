//! What reading a head, decoding chunks and writing a response take, apart from everything else:
//!
//!     cargo bench -p ferricorn-micro
//!
//! For comparisons on one machine. What a whole request costs says `benches/run`.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use ferricorn_http::{
    Date, Defaults, Event, Facts, Head, Length, Limits, Reader, Whole, encode_head, encode_whole,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};

const PLAIN: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// What a browser sends: 14 fields.
const BROWSER: &[u8] = b"GET /news/article.html?id=1000 HTTP/1.1\r\n\
    Host: www.example.com\r\n\
    Connection: keep-alive\r\n\
    sec-ch-ua: \"Chromium\";v=\"128\", \"Not;A=Brand\";v=\"24\"\r\n\
    sec-ch-ua-mobile: ?0\r\n\
    sec-ch-ua-platform: \"Linux\"\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Dest: document\r\n\
    Accept-Encoding: gzip, deflate, br\r\n\
    Accept-Language: en-US,en;q=0.9\r\n\
    Cookie: session=0123456789abcdef; theme=dark\r\n\r\n";

fn main() {
    divan::main();
}

/// Reads a head that comes in pieces of this size; `recall`: into memory that holds the same one.
fn head(bencher: Bencher<'_, '_>, bytes: &[u8], piece: usize, recall: bool) {
    let (limits, mut head) = (Limits::default(), Head::new());
    let bencher = bencher.counter(BytesCount::new(bytes.len()));
    bencher.bench_local(|| {
        if !recall {
            head.clear();
        }
        let mut reader = Reader::new();
        let mut end = 0;
        loop {
            end = bytes.len().min(end + piece);
            match reader.next(black_box(&bytes[..end]), &limits, &mut head) {
                Ok(Event::NeedMore { .. }) => {}
                other => return other,
            }
        }
    });
}

#[divan::bench]
fn head_of_one_field_read(bencher: Bencher<'_, '_>) {
    head(bencher, PLAIN, usize::MAX / 2, false);
}

#[divan::bench]
fn head_of_one_field_recalled(bencher: Bencher<'_, '_>) {
    head(bencher, PLAIN, usize::MAX / 2, true);
}

#[divan::bench]
fn head_of_14_fields_read(bencher: Bencher<'_, '_>) {
    head(bencher, BROWSER, usize::MAX / 2, false);
}

#[divan::bench]
fn head_of_14_fields_recalled(bencher: Bencher<'_, '_>) {
    head(bencher, BROWSER, usize::MAX / 2, true);
}

/// Behind one that has another cookie: all but that is recalled.
#[divan::bench]
fn head_of_14_fields_one_differs(bencher: Bencher<'_, '_>) {
    let other = String::from_utf8_lossy(BROWSER).replace("session=0", "session=1");
    let mut both = [BROWSER, other.as_bytes()].into_iter().cycle();
    let (limits, mut head) = (Limits::default(), Head::new());
    let bencher = bencher.counter(BytesCount::new(BROWSER.len()));
    bencher.bench_local(|| {
        let bytes = black_box(both.next());
        bytes.map(|bytes| Reader::new().next(bytes, &limits, &mut head))
    });
}

#[divan::bench(args = [1, 64])]
fn head_of_14_fields_in_pieces_of(bencher: Bencher<'_, '_>, piece: usize) {
    head(bencher, BROWSER, piece, false);
}

/// 64 KiB of content.
#[divan::bench(args = [16, 1024, 16 * 1024])]
fn content_in_chunks_of(bencher: Bencher<'_, '_>, size: usize) {
    const CONTENT: usize = 64 * 1024;
    let mut bytes = b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..CONTENT / size {
        bytes.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        bytes.resize(bytes.len() + size, b'x');
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    let (limits, mut head) = (Limits::default(), Head::new());
    let bencher = bencher.counter(BytesCount::new(CONTENT));
    bencher.bench_local(|| {
        let (mut reader, mut input, mut content) = (Reader::new(), black_box(&bytes[..]), 0);
        loop {
            match reader.next(input, &limits, &mut head) {
                Ok(Event::Head { consumed }) => input = &input[consumed..],
                Ok(Event::Data { skip, len }) => {
                    content += len;
                    input = &input[skip + len..];
                }
                _ => return content,
            }
        }
    });
}

/// What a server adds to a response, as it keeps that.
fn defaults<'a>(date: &'a Date, rendered: &'a mut Vec<u8>) -> Defaults<'a> {
    let plain = Defaults {
        date: date.as_bytes(),
        server: Some(b"ferricorn"),
        content_type: Some("text/plain"),
        rendered: b"",
    };
    plain.render(rendered);
    Defaults { rendered, ..plain }
}

/// A response of 13 bytes with these fields.
fn response(bencher: Bencher<'_, '_>, fields: &HeaderMap) {
    let facts = Facts::of(&Head::build("GET", "/", [("a", "b")]).expect("a valid head"));
    let (date, mut rendered, mut out) = (Date::new(), Vec::new(), Vec::new());
    let defaults = defaults(&date, &mut rendered);
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        out.clear();
        let (status, content) = (black_box(StatusCode::OK), black_box(&b"Hello, World!"[..]));
        let whole = Whole {
            facts,
            status,
            fields,
            content,
            defaults,
        };
        encode_whole(&mut out, &whole)
    });
}

#[divan::bench]
fn response_without_fields(bencher: Bencher<'_, '_>) {
    response(bencher, &HeaderMap::new());
}

#[divan::bench]
fn response_with_four_fields(bencher: Bencher<'_, '_>) {
    let fields = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
        (header::ETAG, "\"0123456789\""),
        (header::VARY, "accept-encoding"),
    ];
    let fields = fields.map(|(name, value)| (name, HeaderValue::from_static(value)));
    response(bencher, &fields.into_iter().collect());
}

/// A head whose content is yet to come, and 16 chunks of 1 KiB.
#[divan::bench]
fn response_in_chunks(bencher: Bencher<'_, '_>) {
    let facts = Facts::of(&Head::build("GET", "/", [("a", "b")]).expect("a valid head"));
    let (date, mut rendered, mut out) = (Date::new(), Vec::new(), Vec::new());
    let (defaults, fields) = (defaults(&date, &mut rendered), HeaderMap::new());
    let content = [b'x'; 1024];
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        out.clear();
        let (status, length) = (black_box(StatusCode::OK), Length::Unknown);
        let mut body = encode_head(&mut out, &facts, status, &fields, length, &defaults)?;
        for _ in 0..16 {
            body.encode(black_box(&content), &mut out)?;
        }
        body.finish(None, &mut out)
    });
}
