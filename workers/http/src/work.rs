//! How much work a message is, counted and not timed: for tests of it in this crate only.
//!
//! All that searches a head does so by `syntax`, eight bytes at a time or, where fewer are left, for
//! these; each try counts as eight. Behind the head nothing is kept, so nothing can be looked at
//! again.

use crate::{BodyLength, Event, Head, Limits, Reader};
use std::cell::Cell;

thread_local! {
    static LOOKED: Cell<usize> = const { Cell::new(0) };
}

/// So many bytes were looked at.
pub(crate) fn looked(bytes: usize) {
    LOOKED.set(LOOKED.get() + bytes);
}

/// What a message cost that was read in pieces of this size.
#[derive(Debug)]
struct Work {
    /// Bytes looked at, at most.
    looked: usize,
    /// Bytes of content, and messages, to see that it was read at all.
    content: usize,
    ends: usize,
}

fn read(message: &[u8], piece: usize) -> Work {
    let limits = Limits {
        request_line: 0,
        fields: 0,
        field_size: 0,
        head: 1 << 20,
        trailers: 1 << 20,
        chunk_extensions_total: 1 << 20,
        ..Limits::default()
    };
    let (mut reader, mut head) = (Reader::new(), Head::new());
    let mut work = Work {
        looked: 0,
        content: 0,
        ends: 0,
    };
    LOOKED.set(0);
    let (mut from, mut to, mut behind) = (0, 0, false);
    while to < message.len() {
        to = message.len().min(to + piece);
        loop {
            let input = &message[from..to];
            let event = reader.next(input, &limits, &mut head).unwrap();
            let (consumed, more) = match event {
                Event::NeedMore { consumed } => {
                    assert!(!behind || consumed == input.len(), "something is kept");
                    (consumed, true)
                }
                Event::Head { consumed } => {
                    behind = head.body() != BodyLength::None;
                    work.ends += usize::from(!behind);
                    (consumed, false)
                }
                Event::Data { skip, len } => {
                    work.content += len;
                    (skip + len, false)
                }
                Event::End { consumed } => {
                    work.ends += 1;
                    behind = false;
                    (consumed, false)
                }
            };
            from += consumed;
            if more {
                break;
            }
        }
    }
    work.looked = LOOKED.get();
    work
}

fn assert_linear(message: &str, content: usize) {
    for piece in [1, 2, 3, 7, 64, 1000, message.len()] {
        let work = read(message.as_bytes(), piece);
        assert_eq!((work.content, work.ends), (content, 1), "pieces of {piece}");
        // Eight for each of a few tries per byte, where all come alone.
        let most = 32 * message.len();
        assert!(work.looked <= most, "pieces of {piece}: {work:?}");
    }
}

#[test]
fn a_head_is_looked_at_a_constant_number_of_times_however_it_is_cut() {
    let long = "x".repeat(60_000);
    assert_linear(&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 0);
    assert_linear(&format!("GET /?{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 0);
    assert_linear(&format!("{long} / HTTP/1.1\r\nHost: a\r\n\r\n"), 0);
    assert_linear(
        &format!("GET / HTTP/1.1\r\nHost: a\r\n{long}: b\r\n\r\n"),
        0,
    );
    assert_linear(
        &format!("GET / HTTP/1.1\r\nHost: a\r\nb: {long}\r\n\r\n"),
        0,
    );
    let many = "Field: value\r\n".repeat(5000);
    assert_linear(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 0);
}

#[test]
fn a_body_is_looked_at_a_constant_number_of_times_however_it_is_cut() {
    let head = "PUT / HTTP/1.1\r\nHost: a\r\n";
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    let ones = "1\r\nx\r\n".repeat(10_000);
    assert_linear(&format!("{chunked}{ones}0\r\n\r\n"), 10_000);
    let extended = "1;name=\"value\"\r\nx\r\n".repeat(5000);
    assert_linear(&format!("{chunked}{extended}0\r\n\r\n"), 5000);
    let many = "Field: value\r\n".repeat(5000);
    assert_linear(&format!("{chunked}0\r\n{many}\r\n"), 0);
    let long = "x".repeat(64 * 1024);
    assert_linear(&format!("{chunked}0\r\nField: {long}\r\n\r\n"), 0);
    let length = long.len();
    assert_linear(
        &format!("{head}Content-Length: {length}\r\n\r\n{long}"),
        length,
    );
}
