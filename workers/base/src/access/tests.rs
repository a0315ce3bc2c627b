//! Lines as a reader of the log sees them.

use std::fs::File;
use std::net::{Ipv6Addr, SocketAddr};

use http::HeaderMap;

use super::*;

const START: u64 = 1_795_402_696_123_456;

struct Exchange {
    head: Head,
    peer: Peer,
    fields: HeaderMap,
    status: u16,
    bytes: u64,
    took_us: u64,
}

impl Exchange {
    fn of<V: AsRef<[u8]>>(target: &str, fields: &[(&str, V)]) -> Exchange {
        let host = ("Host", b"a.example".as_slice());
        let fields = fields.iter().map(|(name, value)| (*name, value.as_ref()));
        Exchange {
            head: Head::build("GET", target, [host].into_iter().chain(fields)).unwrap(),
            peer: Peer::Tcp(SocketAddr::from(([192, 0, 2, 7], 40_000))),
            fields: HeaderMap::new(),
            status: 200,
            bytes: 13,
            took_us: 1_234_567,
        }
    }

    fn line(&self, format: &str) -> String {
        let format = AccessFormat::compile(format).unwrap();
        let record = Record {
            head: &self.head,
            client: &self.peer,
            id: RequestId::Given("name-1"),
            trace: None,
            status: self.status,
            response_fields: Some(&self.fields),
            body_bytes: self.bytes,
            unix_us: START,
            took_us: self.took_us,
        };
        let mut line = Vec::new();
        format.render(&record, &mut line);
        let line = String::from_utf8(line).unwrap();
        assert_eq!(line.find('\n'), Some(line.len() - 1), "one line: {line:?}");
        line.trim_end_matches('\n').to_owned()
    }

    fn json(&self) -> serde_json::Map<String, serde_json::Value> {
        serde_json::from_str(&self.line("json")).unwrap()
    }
}

fn plain(target: &str) -> Exchange {
    Exchange::of::<&str>(target, &[])
}

#[test]
fn atoms_are_gunicorns() {
    let mut exchange = Exchange::of(
        "/a%20b/c?x=1&y=2",
        &[
            ("Referer", "http://b.example/"),
            ("User-Agent", "curl/8.5.0"),
            ("Authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ("X-Tag", "one"),
            ("x-tag", "two"),
            ("Content-Type", "text/plain"),
        ],
    );
    exchange.fields.append("x-cache", "HIT".parse().unwrap());
    exchange.fields.append("x-cache", "MISS".parse().unwrap());
    let pid = format!("<{}>", std::process::id());
    for (format, line) in [
        ("%(h)s", "192.0.2.7"),
        ("%(l)s", "-"),
        ("%(u)s", "Aladdin"),
        ("%(r)s", "GET /a%20b/c?x=1&y=2 HTTP/1.1"),
        ("%(m)s", "GET"),
        ("%(U)s", "/a%20b/c"),
        ("%(q)s", "x=1&y=2"),
        ("%(H)s", "HTTP/1.1"),
        ("%(s)s", "200"),
        ("%(b)s", "13"),
        ("%(B)s", "13"),
        ("%(f)s", "http://b.example/"),
        ("%(a)s", "curl/8.5.0"),
        ("%(T)s", "1"),
        ("%(M)s", "1234"),
        ("%(D)s", "1234567"),
        ("%(L)s", "1.234567"),
        ("%(p)s", &pid),
        ("%({X-Tag}i)s", "one, two"),
        ("%({host}i)s", "a.example"),
        ("%({x-none}i)s", "-"),
        ("%({X-Cache}o)s", "HIT, MISS"),
        ("%({x-none}o)s", "-"),
        ("%({REMOTE_ADDR}e)s", "192.0.2.7"),
        ("%({REMOTE_PORT}e)s", "40000"),
        ("%({REMOTE_USER}e)s", "Aladdin"),
        ("%({REQUEST_METHOD}e)s", "GET"),
        ("%({RAW_URI}e)s", "/a%20b/c?x=1&y=2"),
        ("%({REQUEST_URI}e)s", "/a%20b/c?x=1&y=2"),
        ("%({PATH_INFO}e)s", "/a%20b/c"),
        ("%({query_string}e)s", "x=1&y=2"),
        ("%({SERVER_PROTOCOL}e)s", "HTTP/1.1"),
        ("%({CONTENT_TYPE}e)s", "text/plain"),
        ("%({CONTENT_LENGTH}e)s", "-"),
        ("%({HTTP_X_TAG}e)s", "one, two"),
        ("%({REQUEST_ID}e)s", "name-1"),
        ("%({TRACE_ID}e)s %({SPAN_ID}e)s %({PARENT_ID}e)s", "- - -"),
        ("%({PATH}e)s", "-"),
        ("%(s)d", "200"),
        ("100%%", "100%"),
        ("%%(s)s", "%(s)s"),
        ("a%(s)sb%%%(m)sc", "a200b%GETc"),
        ("JSON", "JSON"),
        ("", ""),
    ] {
        assert_eq!(exchange.line(format), line, "{format}");
    }
}

#[test]
fn time_is_the_request_s_start_in_local_time() {
    let mut stamp = Vec::new();
    crate::stamp::push_common(START / 1_000_000, &mut stamp);
    assert_eq!(plain("/").line("%(t)s").as_bytes(), stamp);
}

#[test]
fn the_default_is_the_combined_log_format() {
    let line = plain("/x").line(DEFAULT_FORMAT);
    let (before, after) = line.split_once(" [").unwrap();
    assert_eq!(before, "192.0.2.7 - -");
    assert_eq!(
        after.split_once("] ").unwrap().1,
        r#""GET /x HTTP/1.1" 200 13 "-" "-""#
    );
}

#[test]
fn missing_is_a_dash() {
    let mut exchange = plain("/");
    exchange.peer = Peer::Unix;
    exchange.bytes = 0;
    let format = "%(h)s %(u)s %(q)s %(b)s %(B)s %(f)s %(a)s %({REMOTE_PORT}e)s";
    assert_eq!(exchange.line(format), "- - - - 0 - - -");
    exchange.head = Head::new();
    assert_eq!(
        exchange.line(r#""%(r)s" %(m)s %(H)s %({RAW_URI}e)s %(s)s"#),
        r#""-" - - - 200"#
    );
}

#[test]
fn an_ipv6_client() {
    let mut exchange = plain("/");
    exchange.peer = Peer::Tcp(SocketAddr::from((Ipv6Addr::LOCALHOST, 1)));
    assert_eq!(exchange.line("%(h)s"), "::1");
}

/// Gunicorn takes the seconds from `timedelta.seconds`, which wraps after a day.
#[test]
fn a_request_may_take_more_than_a_day() {
    let mut exchange = plain("/");
    exchange.took_us = 90_000_000_042;
    assert_eq!(
        exchange.line("%(T)s %(M)s %(D)s %(L)s"),
        "90000 90000000 90000000042 90000.000042"
    );
}

#[test]
fn what_a_client_sends_stays_in_its_place() {
    let exchange = Exchange::of(
        "/",
        &[
            ("User-Agent", b"\" 200 \\ \t\x80\xff\xc2\x9b2J".as_slice()),
            // "a b\n\" 1:x"
            ("Authorization", b"basic YSBiCiIgMTp4"),
        ],
    );
    assert_eq!(
        exchange.line(r#""%(a)s""#),
        r#""\" 200 \\ \x09\x80\xFF\xC2\x9B2J""#
    );
    assert_eq!(exchange.line("%(u)s"), r#"a\x20b\x0A\"\x201"#);
}

#[test]
fn user_names_that_cannot_be_read() {
    for value in [
        "Basic",
        "Basic ",
        "Basic !!!!",
        "Basic Og==",
        "Basic YWJj",
        "Bearer YTpi",
        "BasicYTpi",
        "Digest username=\"a\"",
    ] {
        let exchange = Exchange::of("/", &[("Authorization", value)]);
        assert_eq!(exchange.line("%(u)s"), "-", "{value}");
    }
    for value in ["Basic YTpi", "BASIC   YTpi", "Basic YTp"] {
        let exchange = Exchange::of("/", &[("Authorization", value)]);
        assert_eq!(exchange.line("%(u)s"), "a", "{value}");
    }
}

#[test]
fn formats_with_a_mistake() {
    for (format, position, reason) in [
        ("%(h)s %", 6, "a lone `%`; a percent sign is `%%`"),
        ("100% %(h)s", 3, "a lone `%`; a percent sign is `%%`"),
        ("%(h", 0, "`)` is missing"),
        ("%({x}i", 0, "`)` is missing"),
        ("ü%({x", 2, "`}` is missing"),
        ("%(h)", 0, "`s` is missing after `%(h)`"),
        ("%(h) s", 0, "`s` is missing after `%(h)`"),
        ("%(z)s", 0, "unknown atom `z`"),
        ("%()s", 0, "unknown atom ``"),
        ("%({a b}i)s", 0, "`a b` is no field name"),
        ("%({}o)s", 0, "`` is no field name"),
        ("%({x}x)s", 0, "`i`, `o` or `e` must follow `{x}`, not `x`"),
        ("%(h)s\n%(s)s", 5, "a line break inside of a line"),
    ] {
        let error = AccessFormat::compile(format).unwrap_err();
        assert_eq!(
            (error.position, error.reason.as_str()),
            (position, reason),
            "{format}"
        );
    }
}

#[test]
fn only_response_atoms_want_response_fields() {
    for (format, wants) in [(DEFAULT_FORMAT, false), ("json", false), ("%({x}o)s", true)] {
        assert_eq!(
            AccessFormat::compile(format)
                .unwrap()
                .wants_response_fields(),
            wants
        );
    }
}

#[test]
fn json_has_stable_keys() {
    let exchange = Exchange::of(
        "/a?b=c",
        &[
            ("Referer", "r"),
            ("User-Agent", "u"),
            ("Authorization", "Basic QWxhZGRpbjpv"),
        ],
    );
    let pid = std::process::id();
    assert_eq!(
        exchange.line("json"),
        format!(
            "{{\"time\":\"2026-11-23T02:58:16.123456Z\",\"remote_addr\":\"192.0.2.7\",\
             \"user\":\"Aladdin\",\"method\":\"GET\",\"target\":\"/a?b=c\",\
             \"protocol\":\"HTTP/1.1\",\"status\":200,\"bytes\":13,\"duration_us\":1234567,\
             \"referer\":\"r\",\"user_agent\":\"u\",\"host\":\"a.example\",\"pid\":{pid},\
             \"request_id\":\"name-1\",\"trace_id\":null,\"span_id\":null}}"
        )
    );
    let mut bare = plain("/");
    bare.peer = Peer::Unix;
    bare.head = Head::new();
    let bare = bare.json();
    assert_eq!(bare.len(), 16);
    for key in [
        "remote_addr",
        "user",
        "method",
        "target",
        "protocol",
        "referer",
        "host",
    ] {
        assert!(bare[key].is_null(), "{key}");
    }
}

#[test]
fn json_parses_whatever_a_client_sends() {
    let mut values: Vec<Vec<u8>> = (0x80..=0xFF_u8)
        .chain(b'!'..=b'~')
        .map(|byte| vec![b'a', byte, b'z', byte, byte])
        .collect();
    values.push(
        "\u{9b}2J \u{2028} \u{7ff} \u{ffff} \u{1F980} é"
            .as_bytes()
            .to_vec(),
    );
    values.push(b"\"},{\"status\":200,\\u0000\\\xF0\x9F\xA6".to_vec());
    values.push(b"tab\there".to_vec());
    for value in values {
        let exchange = Exchange::of("/", &[("User-Agent", &value)]);
        let line = exchange.line("json");
        assert!(
            !line.contains(|c: char| c.is_control() || c == '\u{2028}'),
            "{line:?}"
        );
        assert_eq!(
            exchange.json()["user_agent"],
            *String::from_utf8_lossy(&value),
            "{line}"
        );
    }
}

fn record(exchange: &Exchange) -> Record<'_> {
    Record {
        head: &exchange.head,
        client: &exchange.peer,
        id: RequestId::Made(1),
        trace: None,
        status: exchange.status,
        response_fields: None,
        body_bytes: exchange.bytes,
        unix_us: START,
        took_us: exchange.took_us,
    }
}

fn lines(fd: OwnedFd) -> Vec<Outlet> {
    vec![Outlet::lines(fd)]
}

#[test]
fn lines_go_out_when_flushed_or_when_there_are_many() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let open = || {
        File::options()
            .append(true)
            .create(true)
            .open(&path)
            .unwrap()
            .into()
    };
    let read = || std::fs::read_to_string(&path).unwrap();
    let exchange = plain("/");
    let mut log = AccessLog::new("%(m)s %(U)s", lines(open())).unwrap();
    log.log(&record(&exchange));
    assert_eq!(read(), "");
    log.flush();
    assert_eq!(read(), "GET /\n");
    let line = read().len();
    for _ in 0..4000 {
        log.log(&record(&exchange));
    }
    let written = read().len();
    assert!(
        (16 * 1024..4001 * line).contains(&written),
        "{written} bytes"
    );
    drop(log);
    assert_eq!(read().len(), 4001 * line);
}

/// A pipe takes no more than PIPE_BUF bytes as one piece.
#[test]
fn json_on_a_pipe_is_short_and_still_json() {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let long = |byte: u8| vec![byte; 3000];
    let basic = [b"Basic ".as_slice(), &b"AQID".repeat(500), b"Og=="].concat();
    let exchange = Exchange::of(
        &format!("/{}", "x".repeat(3000)),
        &[
            ("User-Agent", long(0x80)),
            ("Referer", long(b'"')),
            ("Authorization", basic),
        ],
    );
    let mut log = AccessLog::new("json", lines(writer)).unwrap();
    log.log(&record(&exchange));
    drop(log);
    let line = std::io::read_to_string(File::from(reader)).unwrap();
    assert!(
        line.len() <= libc::PIPE_BUF && line.ends_with("}\n"),
        "{} bytes",
        line.len()
    );
    let object: serde_json::Map<_, _> = serde_json::from_str(&line).unwrap();
    let target = object["target"].as_str().unwrap();
    assert!(
        target.starts_with("/xxx") && target.ends_with("x..."),
        "{target}"
    );
    assert!(object["user_agent"].as_str().unwrap().ends_with("..."));
    assert!(object["user"].as_str().unwrap().ends_with("..."));
}

#[test]
fn json_tells_of_dropped_lines_in_json() {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let exchange = plain("/");
    let mut log = AccessLog::new("json", lines(crate::logs::unshared(writer))).unwrap();
    while log.dropped() < 10 {
        log.log(&record(&exchange));
    }
    assert!(log.has_pending());
    let reader = std::thread::spawn(|| std::io::read_to_string(File::from(reader)).unwrap());
    while log.has_pending() {
        log.flush();
    }
    drop(log);
    let text = reader.join().unwrap();
    for line in text.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["dropped"], 10);
}
