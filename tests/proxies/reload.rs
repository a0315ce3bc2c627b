//! Reloads and stops behind a proxy: whoever asks while the workers change gets an answer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::sys::signal::Signal;

use crate::support::http::Client;
use crate::support::load::Load;
use crate::support::proxy::{self, Proxy};
use crate::support::{Server, testapp};

fn proxies(server: &Server) -> Vec<(&'static str, Proxy)> {
    let address = server.address().to_string();
    let nginx = proxy::nginx(&address, &[]).map(|proxy| ("nginx", proxy));
    let haproxy = proxy::haproxy(&address, &[]).map(|proxy| ("haproxy", proxy));
    nginx.into_iter().chain(haproxy).collect()
}

/// Neither proxy may repeat anything here, so that every close which meets a request is a 502.
#[test]
fn fifty_reloads_lose_no_request_and_need_no_repetition() {
    let server = testapp().args("--workers 2").ready();
    let address = server.address().to_string();
    let once = [(
        "proxy_http_version 1.1;",
        "proxy_http_version 1.1; proxy_next_upstream off;",
    )];
    let nginx = proxy::nginx(&address, &once);
    let once = [
        ("    retries 3\n", "    retries 0\n"),
        ("    retry-on conn-failure empty-response\n", ""),
    ];
    let haproxy = proxy::haproxy(&address, &once);
    let proxies: Vec<Proxy> = nginx.into_iter().chain(haproxy).collect();
    let loads: Vec<Load> = proxies
        .iter()
        .map(|proxy| Load::start(proxy.address, 4, "/who"))
        .collect();
    let posts: Vec<Posts> = proxies.iter().map(|_| Posts::default()).collect();
    std::thread::scope(|scope| {
        for (posts, proxy) in posts.iter().zip(&proxies) {
            for _ in 0..2 {
                scope.spawn(|| posts.run(proxy.address));
            }
        }
        for _ in 0..50 {
            for load in &loads {
                load.wait_good(20);
            }
            server.take_over();
        }
        for posts in &posts {
            posts.stop.store(true, Ordering::Relaxed);
        }
    });
    for (load, posts) in loads.into_iter().zip(&posts) {
        let report = load.stop();
        report.assert_nothing_lost();
        assert_eq!(posts.bad.load(Ordering::Relaxed), 0);
        let good = posts.good.load(Ordering::Relaxed);
        println!("{} GET and {good} POST", report.good);
        assert!(good > 50);
    }
    server.stop();
}

/// What is under way at a stop ends as it should.
#[test]
fn a_stop_ends_what_is_under_way() {
    let mut server = testapp().args("--workers 2").ready();
    let proxies = proxies(&server);
    let mut clients: Vec<_> = proxies
        .iter()
        .map(|(name, proxy)| {
            let mut client = Client::connect(proxy.address).unwrap();
            client
                .send("GET /stream-slowly HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .unwrap();
            let head = client.head().unwrap();
            assert_eq!(
                (head.status, head.field("transfer-encoding")),
                (200, Some("chunked")),
                "{name}"
            );
            client
        })
        .collect();
    server.signal(Signal::SIGTERM);
    for client in &mut clients {
        let mut last = Vec::new();
        while let Some(chunk) = client.chunk().unwrap() {
            last = chunk;
        }
        assert!(
            last.ends_with(b"end\n"),
            "{}",
            String::from_utf8_lossy(&last)
        );
    }
    assert_eq!(server.wait_exit().code(), Some(0));
}

/// A client that asks for what may not be repeated.
#[derive(Default)]
struct Posts {
    stop: AtomicBool,
    good: AtomicUsize,
    bad: AtomicUsize,
}

impl Posts {
    fn run(&self, address: SocketAddr) {
        let mut client = Client::connect(address).unwrap();
        while !self.stop.load(Ordering::Relaxed) {
            let request =
                "POST /reflect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi";
            let answer = client.send(request).and_then(|()| client.answer());
            let good = answer.as_ref().is_ok_and(|answer| answer.status == 200);
            let count = if good { &self.good } else { &self.bad };
            count.fetch_add(1, Ordering::Relaxed);
            if answer.map_or(true, |answer| answer.closes()) {
                client = Client::connect(address).unwrap();
            }
        }
    }
}
