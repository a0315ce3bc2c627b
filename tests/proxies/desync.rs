//! No input makes a proxy and the server disagree: whatever an attacker sends, the next clients on
//! the same connections get their own answers, and the application sees no request that was not
//! answered to whoever sent it.
//!
//! A lane is one way to a server of its own with one worker. It takes one case after the other:
//! clients before, while and after an attacker is connected, over connections that are shared.
//! Deadlines are short here, so that every attack is ended from this side. (A body that stops coming
//! is ended by the server: HAProxy leaves it to wait.)

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::payloads::{Payload, latin1, payloads};
use crate::support::http::Client;
use crate::support::proxy::{self, Changes, Proxy};
use crate::support::{PATIENCE, Server, testapp};

/// The cases of a way are dealt out to so many lanes.
const LANES: usize = 3;

/// Deadlines that end an attacker's connection soon.
const NGINX: Changes = &[
    ("client_header_timeout 30s", "client_header_timeout 100ms"),
    ("client_body_timeout 30s", "client_body_timeout 100ms"),
    ("    keepalive_timeout 65s", "    keepalive_timeout 50ms"),
    // So that a connection that an attacker spoilt is the next client's.
    ("keepalive 32;", "keepalive 2;"),
];
const NGINX_UNBUFFERED: Changes = &[
    (
        "#proxy_request_buffering off;",
        "proxy_request_buffering off;",
    ),
    // As lenient as nginx can be: what it drops by default it forwards.
    (
        "listen ",
        "ignore_invalid_headers off; underscores_in_headers on; listen ",
    ),
];
const HAPROXY: Changes = &[
    ("timeout http-request 30s", "timeout http-request 100ms"),
    ("timeout client 60s", "timeout client 150ms"),
    (
        "timeout http-keep-alive 65s",
        "timeout http-keep-alive 50ms",
    ),
];
const HAPROXY_LENIENT: Changes = &[
    ("http-reuse always", "http-reuse aggressive"),
    (
        "option http-keep-alive",
        "option accept-invalid-http-request",
    ),
];

#[test]
fn straight() {
    let short = "--head-timeout 0.1 --keep-alive 0.05 --linger-timeout 0.1";
    run(short, |_| None, false);
}

#[test]
fn through_nginx() {
    run("", |server| proxy::nginx(server, NGINX), true);
}

#[test]
fn through_nginx_that_does_not_buffer_and_is_lenient() {
    let changes = [NGINX, NGINX_UNBUFFERED].concat();
    run("", |server| proxy::nginx(server, &changes), true);
}

#[test]
fn through_haproxy() {
    run("", |server| proxy::haproxy(server, HAPROXY), true);
}

#[test]
fn through_haproxy_that_is_lenient() {
    let changes = [HAPROXY, HAPROXY_LENIENT].concat();
    run("", |server| proxy::haproxy(server, &changes), true);
}

/// Sends all there is on one way.
fn run(arguments: &str, front: impl Fn(&str) -> Option<Proxy> + Sync, proxied: bool) {
    let all: Vec<Payload> = payloads().into_iter().chain(cases()).collect();
    std::thread::scope(|scope| {
        for lane in 0..LANES {
            let (front, mine) = (&front, all.iter().skip(lane).step_by(LANES));
            scope.spawn(move || {
                let server = testapp()
                    .args("--workers 1 --body-timeout 0.1 --access-logfile -")
                    .args(arguments)
                    .arg("--access-logformat")
                    .arg("%(s)s %(m)s %(U)s")
                    .ready();
                let address = server.address();
                let front = front(&address.to_string());
                if proxied && front.is_none() {
                    return;
                }
                let address = front.as_ref().map_or(address, |proxy| proxy.address);
                let mut lane = Lane::new(server, address, proxied);
                lane.victim("alone");
                mine.for_each(|payload| lane.attack(payload));
                lane.server.stop();
            });
        }
    });
}

struct Lane {
    server: Server,
    address: SocketAddr,
    proxied: bool,
    victims: usize,
    /// How much of the access log was looked at.
    seen: usize,
}

impl Lane {
    fn new(server: Server, address: SocketAddr, proxied: bool) -> Lane {
        Lane {
            server,
            address,
            proxied,
            victims: 0,
            seen: 0,
        }
    }

    fn attack(&mut self, payload: &Payload) {
        self.victim(&payload.name);
        let before = self.take_seen(&payload.name);
        assert!(before.is_empty(), "{}: {before:?}", payload.name);
        let mut attacker = TcpStream::connect(self.address).unwrap();
        attacker.set_read_timeout(Some(PATIENCE)).unwrap();
        attacker
            .set_write_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        // The other side may have heard enough.
        let _ = attacker.write_all(&payload.bytes);
        self.victim(&payload.name);
        let mut answer = Vec::new();
        let whole = match attacker.read_to_end(&mut answer) {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{}: {error}", payload.name),
        };
        drop(attacker);
        self.victim(&payload.name);
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.contains("victim"), "{}: {text}", payload.name);
        let seen = self.take_seen(&payload.name);
        for line in seen.iter().filter(|line| line.contains("/smuggled-")) {
            // A proxy may have found it, too; then it is no secret, and the attacker has its answer.
            let target = line.rsplit(' ').next().unwrap();
            let answered = text.contains(&format!("GET {target}\n"));
            assert!(
                answered && (self.proxied || payload.is_fair),
                "{}: {seen:?}\n{text}",
                payload.name
            );
        }
        assert!(
            !whole || seen.len() <= answers(&text),
            "{}: {seen:?}\n{text}",
            payload.name
        );
    }

    /// Somebody else, who must get exactly the own answer.
    fn victim(&mut self, during: &str) {
        self.victims += 1;
        let path = format!("/reflect/victim-{}", self.victims);
        let body = format!("body of {path}");
        let len = body.len();
        let mut client = Client::connect(self.address).unwrap();
        let request = match self.victims % 2 {
            0 => format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            _ => format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n\r\n{body}"
            ),
        };
        client.send(request).unwrap();
        let answer = client.answer();
        let text = answer.as_ref().map(|answer| (answer.status, answer.text()));
        let (method, body) = match self.victims % 2 {
            0 => ("GET", ""),
            _ => ("POST", &*body),
        };
        let (begin, end) = (format!("{method} {path}\nfrom "), format!("\n\n{body}"));
        assert!(
            text.as_ref().is_ok_and(|(status, text)| *status == 200
                && text.starts_with(&begin)
                && text.ends_with(&end)),
            "{during}: {text:?}"
        );
    }

    /// What the application has seen since the last time, the last victim's request excepted.
    fn take_seen(&mut self, during: &str) -> Vec<String> {
        let last = format!("victim-{}", self.victims);
        let log = &self.server.output;
        log.wait(self.seen, &last);
        let lines = log.matching(self.seen, "");
        self.seen += lines.len();
        let mut victims = 0;
        let is_seen = |line: &&String| !line.starts_with("400 ") && !line.starts_with("408 ");
        let mut seen: Vec<String> = lines.iter().filter(is_seen).cloned().collect();
        seen.retain(|line| {
            let is_victim = line.contains("/victim-");
            victims += usize::from(is_victim);
            !is_victim
        });
        assert!(victims <= 2, "{during}: {lines:?}");
        seen
    }
}

/// How many final answers there are: a status line comes in no body here.
fn answers(text: &str) -> usize {
    let heads = ["HTTP/1.1 ", "HTTP/1.0 "];
    let starts = heads.iter().flat_map(|head| text.match_indices(head));
    let statuses = starts.filter_map(|(at, head)| text[at + head.len()..].get(..3));
    let finals = statuses.filter(|code| code.parse::<u16>().is_ok_and(|code| code >= 200));
    // One of HTTP/0.9 has no head at all.
    let bare = !text.is_empty() && !text.starts_with("HTTP/1.");
    finals.count() + usize::from(bare)
}

/// The raw cases of `tests/conformance` that a server without options can be asked.
fn cases() -> Vec<Payload> {
    let text = std::fs::read_to_string("tests/conformance/cases.jsonl").unwrap();
    let cases = text.lines().filter_map(|line| {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        if !case["needs"].is_null() {
            return None;
        }
        let mut raw = case["raw"].as_str().unwrap().to_owned();
        let repeat = case["repeat"].as_object().into_iter().flatten();
        for (name, value) in repeat {
            let (text, times) = (value[0].as_str().unwrap(), value[1].as_u64().unwrap());
            raw = raw.replace(name, &text.repeat(times as usize));
        }
        Some(Payload {
            name: case["id"].as_str().unwrap().to_owned(),
            bytes: latin1(&raw),
            is_fair: true,
        })
    });
    cases.collect()
}
