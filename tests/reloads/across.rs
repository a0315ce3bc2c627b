//! Exchanges that last longer than a generation: they end where they began, and their connections go on.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::http::Client;
use crate::support::{Server, testapp};

const MIB: usize = 1 << 20;
/// What each of them takes at least.
const MINUTE: Duration = Duration::from_secs(60);

/// All at once, since each takes a minute.
#[test]
fn what_takes_a_minute_is_not_cut_by_reloads() {
    let server = testapp()
        .args("--workers 2 --timeout 600 --graceful-timeout 120 --superseded-timeout 120")
        .ready();
    std::thread::scope(|scope| {
        let all = [
            scope.spawn(|| upload(&server, "/upload")),
            scope.spawn(|| upload(&server, "/upload-streamed")),
            scope.spawn(|| stream(&server)),
            scope.spawn(|| download(&server, "/file")),
            scope.spawn(|| download(&server, "/reader")),
        ];
        for _ in 0..3 {
            std::thread::sleep(MINUTE / 4);
            server.reload();
        }
        for one in all {
            let (mut client, what) = one.join().unwrap();
            // Nobody was told of an end, and soon the connection is the new generation's.
            server.until(what, || {
                let answer = client.get("/who").unwrap();
                assert!(!answer.closes(), "{what}");
                (answer.who().generation == 4).then_some(())
            });
        }
    });
    let cut = server.log.matching(0, "cut ");
    assert!(cut.is_empty(), "{cut:?}");
    server.wait_workers(2);
    server.stop();
}

type Done = (Client<TcpStream>, &'static str);

fn begin(server: &Server, head: &str) -> Client<TcpStream> {
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send(format!("{head}\r\nHost: localhost\r\n\r\n"))
        .unwrap();
    client
}

/// Waits for the time at which so much of it all should be done.
fn pace(begun: Instant, share: f64) {
    let due = begun + MINUTE.mul_f64(share);
    std::thread::sleep(due.saturating_duration_since(Instant::now()));
}

/// 100 MiB in a minute.
fn upload(server: &Server, path: &'static str) -> Done {
    let (length, begun) = (100 * MIB, Instant::now());
    let head = format!("POST {path} HTTP/1.1\r\nContent-Length: {length}");
    let mut client = begin(server, &head);
    let piece: Vec<u8> = (0..MIB).map(|n| (n % 251) as u8).collect();
    let mut sum = 0u32;
    for n in 0..100 {
        client.send(&piece).unwrap();
        let bytes = piece.iter().map(|byte| u32::from(*byte));
        sum = bytes.fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
        pace(begun, f64::from(n + 1) / 100.0);
    }
    let answer = client.answer().unwrap();
    let said = match path {
        "/upload" => format!("{length} {sum}"),
        _ => length.to_string(),
    };
    assert_eq!((answer.status, answer.text()), (200, &*said), "{path}");
    assert!(!answer.closes());
    (client, path)
}

/// A handler that writes for a minute.
fn stream(server: &Server) -> Done {
    let mut client = begin(server, "GET /ticks/600 HTTP/1.1");
    let head = client.head().unwrap();
    assert_eq!((head.status, head.closes()), (200, false));
    let mut text = Vec::new();
    while let Some(chunk) = client.chunk().unwrap() {
        text.extend(chunk);
    }
    let all: String = (0..600).map(|tick| format!("tick {tick}\n")).collect();
    assert_eq!(String::from_utf8(text).unwrap(), all);
    (client, "/ticks")
}

/// A client that reads 64 MiB in a minute.
fn download(server: &Server, path: &'static str) -> Done {
    let (length, begun) = (64 * MIB, Instant::now());
    let mut client = begin(server, &format!("GET {path}/{length} HTTP/1.1"));
    let head = client.head().unwrap();
    assert_eq!((head.status, head.closes()), (200, false));
    assert_eq!(head.field("content-length"), Some(&*length.to_string()));
    let mut piece = vec![0; MIB];
    for n in 0..64 {
        client.read_exact(&mut piece).unwrap();
        let byte = if path == "/file" { 0 } else { b'x' };
        assert!(piece.iter().all(|other| *other == byte), "{path}");
        pace(begun, f64::from(n + 1) / 64.0);
    }
    (client, path)
}
