//! What a worker allocates per request: nothing, once it has served a few. Counted by the allocator of
//! this program, thread by thread; the handler notes how far its thread's count is.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]
#![allow(dead_code, reason = "what the tests with sockets need is more")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ferricorn_base::{Body, Request};

#[path = "sockets/class.rs"]
mod class;
#[path = "sockets/client.rs"]
mod client;
#[path = "sockets/server.rs"]
mod server;

use client::Client;
use server::{Server, Setup};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts what each thread takes from it.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count() {
    // A thread that ends has no count any more.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: all is the system's allocator's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// A server whose handler answers with a text, and what its thread had allocated when it was last called.
fn server() -> (Server, Arc<AtomicU64>) {
    let noted = Arc::new(AtomicU64::new(0));
    let note = Arc::clone(&noted);
    let server = Setup::new().serve(move |_: &mut Request| {
        note.store(ALLOCATIONS.get(), Ordering::Relaxed);
        Body::from_static(b"Hello, World!").with_content_type("text/plain")
    });
    (server, noted)
}

/// How often the worker's thread allocates in `rounds` of what `ask` does, when it has done that before.
fn allocations(rounds: usize, mut ask: impl FnMut(&Server, usize)) -> u64 {
    const BEFORE: usize = 200;
    let (server, noted) = server();
    (0..BEFORE).for_each(|round| ask(&server, round));
    // On a machine that is busy with other things a turn ends in the middle of what came now and then, and the
    // rest of it is put aside.
    let once = |_| {
        let before = noted.load(Ordering::Relaxed);
        (BEFORE..BEFORE + rounds).for_each(|round| ask(&server, round));
        noted.load(Ordering::Relaxed) - before
    };
    (0..5).map(once).min().unwrap()
}

/// As [`allocations`] of messages on one connection, each answered so many times.
fn kept_alive(answers: usize, message: impl Fn(usize) -> String) -> u64 {
    let mut client: Option<Client> = None;
    allocations(1000, |server, round| {
        let client = client.get_or_insert_with(|| server.connect());
        client.send(message(round).as_bytes());
        for _ in 0..answers {
            assert_eq!(client.reply().text(), "Hello, World!");
        }
    })
}

const PLAIN: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// What a browser sends; of each round something else.
fn browser(round: usize) -> String {
    let (path, theme) = (round % 90 + 10, "x".repeat(round % 7));
    format!(
        "GET /news/{path}.html HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\n\
         Cache-Control: max-age=0\r\nUpgrade-Insecure-Requests: 1\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/128.0.0.0\r\n\
         Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\nSec-Fetch-Site: none\r\n\
         Sec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\n\
         Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-US,en;q=0.9\r\n\
         Cookie: session=0123456789abcdef; theme={theme}\r\n\r\n"
    )
}

#[test]
fn a_kept_alive_request_allocates_nothing() {
    assert_eq!(kept_alive(1, |_| PLAIN.to_owned()), 0);
}

#[test]
fn a_pipelined_request_allocates_nothing() {
    assert_eq!(kept_alive(16, |_| PLAIN.repeat(16)), 0);
}

#[test]
fn a_browser_s_request_allocates_nothing_whether_it_is_recalled_or_read() {
    assert_eq!(kept_alive(1, |_| browser(3)), 0);
    assert_eq!(kept_alive(1, browser), 0);
}

#[test]
fn a_small_body_allocates_nothing() {
    let post = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(kept_alive(1, |_| post.to_owned()), 0);
}

/// What a worker allocates for bodies of this size that go to a file.
fn posted(size: usize) -> u64 {
    let mut client: Option<Client> = None;
    let body = "x".repeat(size);
    let post = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n{body}");
    allocations(50, |server, _| {
        let client = client.get_or_insert_with(|| server.connect());
        client.send(post.as_bytes());
        assert_eq!(client.reply().text(), "Hello, World!");
    })
}

#[test]
fn a_body_takes_no_more_allocations_for_being_larger() {
    assert_eq!(posted(1 << 20), posted(1 << 17));
}

#[test]
fn a_connection_allocates_nothing() {
    let close = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let all = allocations(1000, |server, _| {
        let mut client = server.connect();
        client.send(close.as_bytes());
        assert_eq!(client.reply().text(), "Hello, World!");
        client.assert_closed();
    });
    assert_eq!(all, 0);
}
