//! The decisions of `docs/conformance.md`, each shown by a message: what is answered where the RFC
//! leaves a choice. The page and this list have the same names and the same answers.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::{PATIENCE, ferricorn};
use crate::{page, part};

/// A field line that every request of HTTP/1.1 has.
const HOST: &str = "Host: h\r\n";

/// Name, message, status.
fn decisions() -> Vec<(&'static str, String, u16)> {
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\n{HOST}\r\n");
    let with = |fields: &str| format!("GET / HTTP/1.1\r\n{HOST}{fields}\r\n\r\n");
    let post =
        |fields: &str, content: &str| format!("POST / HTTP/1.1\r\n{HOST}{fields}\r\n\r\n{content}");
    let chunked = |content: &str| post("Transfer-Encoding: chunked", content);
    let version = |version: &str| format!("GET / {version}\r\n{HOST}\r\n");
    let last = "0\r\n\r\n";
    vec![
        (
            "te-with-content-length",
            post("Transfer-Encoding: chunked\r\nContent-Length: 5", last),
            400,
        ),
        (
            "te-http10",
            format!("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n{last}"),
            400,
        ),
        (
            "te-empty-element",
            post("Transfer-Encoding: ,chunked", last),
            400,
        ),
        (
            "te-unknown-first",
            post("Transfer-Encoding: gzip, chunked", last),
            501,
        ),
        (
            "te-chunked-twice",
            post("Transfer-Encoding: chunked, chunked", last),
            400,
        ),
        (
            "cl-repeated",
            post("Content-Length: 1\r\nContent-Length: 1", "x"),
            400,
        ),
        ("cl-list", post("Content-Length: 1, 1", "x"), 400),
        (
            "content-type-twice",
            with("Content-Type: a/b\r\nContent-Type: a/b"),
            400,
        ),
        ("bare-lf", with("A: b\nC: d"), 400),
        ("bare-cr", with("A: b\rC: d"), 400),
        ("obs-fold", with("A: b\r\n c"), 400),
        ("two-blanks", get(" /"), 400),
        ("two-empty-lines", format!("\r\n\r\n{}", get("/")), 400),
        ("host-missing", "GET http://h/ HTTP/1.1\r\n\r\n".into(), 400),
        ("host-twice", with(HOST.trim_end()), 400),
        (
            "host-comma",
            "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n".into(),
            400,
        ),
        ("userinfo", get("http://user@h/"), 400),
        ("foreign-scheme", get("ftp://h/"), 400),
        ("https-in-clear-text", get("https://h/"), 421),
        ("percent-in-path", get("/%zz"), 400),
        ("fragment", get("/a#b"), 400),
        (
            "connect",
            format!("CONNECT h:443 HTTP/1.1\r\n{HOST}\r\n"),
            501,
        ),
        (
            "trace-with-content",
            format!("TRACE / HTTP/1.1\r\n{HOST}Content-Length: 1\r\n\r\nx"),
            400,
        ),
        ("expectation", with("Expect: something"), 417),
        ("version-2", version("HTTP/2.0"), 505),
        ("version-0.9", "GET /\r\n\r\n".into(), 400),
        ("version-lower-case", version("http/1.1"), 400),
        (
            "chunk-size-long",
            chunked(&format!("{}5\r\nhello\r\n{last}", "0".repeat(16))),
            400,
        ),
        (
            "chunk-extension-long",
            chunked(&format!("5;a={}\r\nhello\r\n{last}", "b".repeat(256))),
            400,
        ),
        ("trailer-malformed", chunked("0\r\nA\r\n\r\n"), 400),
        ("empty-line", format!("\r\n{}", get("/")), 200),
        ("version-1.2", version("HTTP/1.2"), 200),
        ("http10-without-host", "GET / HTTP/1.0\r\n\r\n".into(), 200),
        ("host-empty", "GET / HTTP/1.1\r\nHost:\r\n\r\n".into(), 200),
        ("raw-brackets", get("/[]^{|}"), 200),
        ("raw-query", get("/?[]^{|}\\`%"), 200),
        (
            "blank-in-extension",
            chunked(&format!("1 ; a = b\r\nx\r\n{last}")),
            200,
        ),
        (
            "unknown-extension",
            chunked(&format!("1;a;b=\"c\"\r\nx\r\n{last}")),
            200,
        ),
        (
            "forbidden-trailer",
            chunked("0\r\nContent-Length: 9\r\n\r\n"),
            200,
        ),
        ("get-with-content", with("Content-Length: 1") + "x", 200),
        ("obs-text", with("A: \u{e9}"), 200),
        (
            "unknown-method",
            format!("ODD / HTTP/1.1\r\n{HOST}\r\n"),
            501,
        ),
    ]
}

/// Name and status of each row on the page.
fn of_page(part: &str) -> BTreeMap<String, u16> {
    let rows = part.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split(" | ").collect::<Vec<_>>());
    cells
        .map(|cells| {
            let name = cells[0].trim_start_matches("| ").trim_matches('`');
            (name.to_owned(), cells[2].parse().unwrap())
        })
        .collect()
}

/// What is answered to a message behind which the client has nothing more to say.
fn answers(address: SocketAddr, message: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(message).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).unwrap();
    String::from_utf8_lossy(&answers).into_owned()
}

#[test]
fn each_decision_of_the_page_is_what_the_server_does() {
    let server = ferricorn().args("echo").ready();
    let mut tried = BTreeMap::new();
    for (name, message, status) in decisions() {
        let answer = answers(server.address(), message.as_bytes());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{name}: {answer}"
        );
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{name}: {answer}");
        tried.insert(name.to_owned(), status);
    }
    assert_eq!(tried, of_page(part(&page(), "Decisions")));
    server.stop();
}
