//! Behind proxies: whose request it is, what a handler sees of what they say, and PROXY headers.

use std::time::{Duration, Instant};

use ferricorn_base::board::Counter;
use ferricorn_base::lifeline::Down;
use ferricorn_base::{Body, Exit, Networks, ProxyVersions, Request, Response};

use crate::client::{Client, End};
use crate::server::{LIMIT, Server, Setup, eventually};

const LINE: &str = "PROXY TCP4 192.0.2.1 198.51.100.1 51000 8443\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// Says who asks for what, and the names of the fields; over a stream where the path says so.
fn who(request: &mut Request) -> Response {
    fn describe(request: &Request) -> String {
        let names: Vec<&str> = request.head().fields().map(|(name, _)| name).collect();
        let peer = request.peer().ip();
        let peer = peer.map_or("unix".into(), |ip| ip.to_string());
        let (client, scheme) = (request.client(), request.scheme());
        let (host, port) = (request.host().unwrap_or("-"), request.port());
        format!("{peer} {client} {scheme} {host} {port} {}", names.join(","))
    }
    Response::new(match request.path() {
        "/stream" => Body::stream(|exchange| {
            let text = describe(exchange.request());
            std::io::Write::write_all(exchange, text.as_bytes())?;
            Ok(())
        }),
        _ => Body::from(describe(request)),
    })
}

fn proxied(versions: ProxyVersions) -> Setup {
    Setup::new().proxy(versions, "127.0.0.1")
}

fn text(client: &mut Client) -> String {
    client.reply().text().to_owned()
}

#[test]
fn only_trusted_peers_are_believed() {
    let ask = |server: &Server, path: &str| {
        let mut client = server.connect();
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.9\r\n\
             X-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6\r\nX_A: 1\r\nX-B: 2\r\n\r\n"
        ));
        text(&mut client)
    };
    let server = Setup::new().serve(who);
    for path in ["/", "/stream"] {
        let told = "127.0.0.1 192.0.2.9 https h 443 Host,X-Forwarded-For,X-Forwarded-Proto,X-B";
        assert_eq!(ask(&server, path), told);
    }
    let nobody = |setup: Setup| setup.conf(|conf| conf.trust.proxies = Networks::default());
    let server = nobody(Setup::new()).serve(who);
    let told = ask(&server, "/");
    assert!(told.starts_with("127.0.0.1 127.0.0.1:"), "{told}");
    assert!(
        told.contains(" http h ") && told.ends_with(" Host,X-B"),
        "{told}"
    );
    let server = Setup::new().unix().serve(who);
    assert!(ask(&server, "/").starts_with("unix 192.0.2.9 https h 443 "));
    let server = nobody(Setup::new().unix()).serve(who);
    assert_eq!(ask(&server, "/"), "unix unix http h 80 Host,X-B");
}

#[test]
fn what_proxies_say_must_make_sense() {
    let server = Setup::new().serve(who);
    for field in [
        "X-Forwarded-For: nonsense",
        "X-Forwarded-Host: a/b",
        "X-Forwarded-Port: 0",
        "X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off",
    ] {
        let mut client = server.connect();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n{field}\r\n\r\nabc{GET}"
        ));
        let reply = client.reply();
        assert_eq!((reply.status, reply.says_close()), (400, true), "{field}");
        client.finish();
        client.assert_closed();
    }
    assert_eq!(server.counter(0, Counter::Refused), 4);
    // The next request on the worker has nothing of it.
    let told = text(&mut server.get("/"));
    assert!(told.starts_with("127.0.0.1 127.0.0.1:"), "{told}");
}

/// RFC 9110 section 7.4.
#[test]
fn an_https_target_needs_a_client_that_came_by_https() {
    let server = Setup::new().serve(who);
    let mut client = server.connect();
    client.send("GET https://a/ HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n");
    assert!(text(&mut client).contains(" https a 443 "));
    client.send("GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n");
    let reply = client.reply();
    assert_eq!((reply.status, reply.says_close()), (421, true));
}

#[test]
fn a_proxy_header_says_whose_connection_it_is() {
    let server = proxied(ProxyVersions::Auto).serve(who);
    let v2 = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x14\xc0\0\x02\x01\xc6\x33\x64\x01\xc7\x38\x20\xfb"[..],
        b"\x20\0\x05\x01\0\0\0\0",
    ]
    .concat();
    for (header, told) in [
        (
            LINE.as_bytes(),
            "192.0.2.1 192.0.2.1:51000 http h 8443 Host",
        ),
        (&v2, "192.0.2.1 192.0.2.1:51000 https h 8443 Host"),
    ] {
        for cut in 0..=header.len() {
            let mut client = server.connect();
            let (front, back) = header.split_at(cut);
            let before = server.counter(0, Counter::BytesIn);
            client.send(front);
            // The loop has seen the first part before the second is there.
            eventually("the front is read", || {
                server.counter(0, Counter::BytesIn) == before + cut as u64
            });
            client.send([back, GET.as_bytes()].concat());
            assert_eq!(text(&mut client), told, "cut at {cut}");
            // For the whole connection, streams too; never again.
            client.get("/stream");
            assert!(text(&mut client).starts_with("192.0.2.1 192.0.2.1:51000 "));
            client.send(header);
            assert_eq!(client.reply().status, 400, "between requests");
        }
    }
}

#[test]
fn without_an_address_the_peer_stays_and_nobody_is_trusted() {
    let server = proxied(ProxyVersions::Auto).serve(who);
    let field = "X-Forwarded-For: 6.6.6.6\r\n\r\n";
    let get = GET.replace("\r\n\r\n", "\r\n");
    for (header, client_is) in [
        (&b"PROXY UNKNOWN\r\n"[..], "127.0.0.1 127.0.0.1:"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0", "127.0.0.1 127.0.0.1:"),
        // The proxy itself speaks.
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "127.0.0.1 6.6.6.6 "),
    ] {
        let mut client = server.connect();
        client.send([header, get.as_bytes(), field.as_bytes()].concat());
        let told = text(&mut client);
        assert!(told.starts_with(client_is), "{told}");
    }
}

#[test]
fn trust_is_a_matter_of_the_announced_client() {
    let ask = |proxies: &str| {
        let proxies = Networks::parse(proxies.split_whitespace()).unwrap();
        let setup = proxied(ProxyVersions::V1).conf(|conf| conf.trust.proxies = proxies);
        let server = setup.serve(who);
        let mut client = server.connect();
        let field = "X-Forwarded-For: 6.6.6.6\r\n\r\n";
        client.send([LINE, &GET.replace("\r\n\r\n", "\r\n"), field].concat());
        text(&mut client)
    };
    assert_eq!(
        ask("127.0.0.1"),
        "192.0.2.1 192.0.2.1:51000 http h 8443 Host"
    );
    assert!(ask("192.0.2.1").starts_with("192.0.2.1 6.6.6.6 http h 8443 "));
}

#[test]
fn a_header_that_is_expected_must_come_and_no_other() {
    for (versions, sent) in [
        (ProxyVersions::Auto, GET.to_owned()),
        (ProxyVersions::V1, GET.to_owned()),
        (ProxyVersions::V2, format!("{LINE}{GET}")),
        (ProxyVersions::V1, format!("{LINE}{LINE}{GET}")),
        (ProxyVersions::V1, format!("\r\n{LINE}{GET}")),
        (ProxyVersions::V1, format!("{}\n{GET}", LINE.trim_end())),
    ] {
        let mut server = proxied(versions).access("%(h)s %(s)s").serve(who);
        let mut client = server.connect();
        client.send(&sent);
        let reply = client.reply();
        assert_eq!((reply.status, reply.says_close()), (400, true), "{sent:?}");
        client.finish();
        assert_eq!(client.rest(), (Vec::new(), End::Close));
        assert_eq!(server.access_lines(1).len(), 1);
    }
    // From a peer that is not allowed it is a request, and a malformed one.
    let server = Setup::new()
        .proxy(ProxyVersions::Auto, "192.0.2.7")
        .serve(who);
    let mut client = server.connect();
    client.send([LINE, GET].concat());
    assert_eq!(client.reply().status, 400);
    let mut client = server.connect();
    client.send(GET);
    assert!(text(&mut client).starts_with("127.0.0.1 127.0.0.1:"));
}

#[test]
fn a_header_that_does_not_end_is_not_waited_for() {
    let head = Duration::from_millis(300);
    for sent in ["", "PROXY TCP4 192.0.2.1", LINE] {
        let setup = proxied(ProxyVersions::Auto).conf(|conf| conf.deadlines.head = head);
        let server = setup.serve(who);
        let begun = Instant::now();
        let mut client = server.connect();
        for byte in sent.bytes() {
            client.send([byte]);
        }
        // Who has sent no byte of a request is told nothing.
        assert_eq!(client.rest(), (Vec::new(), End::Close), "{sent:?}");
        assert!(begun.elapsed() >= head && begun.elapsed() < LIMIT);
        assert_eq!(server.counter(0, Counter::TimedOut), 1, "{sent:?}");
    }
    // The same deadline, from accept on, holds for header and head together.
    let setup = proxied(ProxyVersions::Auto).conf(|conf| conf.deadlines.head = head);
    let server = setup.serve(who);
    let mut client = server.connect();
    client.send([LINE, "GET / HT"].concat());
    assert_eq!(client.reply().status, 408);
}

#[test]
fn silent_connections_that_owe_a_header_do_not_delay_a_stop() {
    let mut server = proxied(ProxyVersions::Auto).serve(who);
    let mut silent = server.connect();
    eventually("it is accepted", || server.connections(0) == 1);
    let begun = Instant::now();
    server.command(
        0,
        Down::Drain {
            stop: true,
            heirs: false,
        },
    );
    assert!(matches!(server.exit(0), Exit::Done));
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "head-timeout is 30 s"
    );
    silent.assert_closed();
}

#[test]
fn the_access_log_and_the_board_name_the_client() {
    let mut server = Setup::new()
        .access("%(h)s %({REMOTE_PORT}e)s %(U)s")
        .serve(who);
    let mut client = server.connect();
    for entry in ["192.0.2.9", "[2001:db8::1]:99"] {
        client.send(format!(
            "GET /{} HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: {entry}\r\n\r\n",
            entry.len()
        ));
        client.reply();
    }
    assert_eq!(
        server.access_lines(2),
        ["192.0.2.9 - /9", "2001:db8::1 99 /16"]
    );
    let recent = server.view(0).recent;
    let clients: Vec<String> = recent
        .iter()
        .map(|request| request.peer.to_string())
        .collect();
    assert!(clients.contains(&"192.0.2.9".to_owned()), "{clients:?}");
}

/// A proxy's address is not to be held against all of its clients.
#[test]
fn limits_of_peers_are_those_of_the_announced_client() {
    let setup = proxied(ProxyVersions::V1).conf(|conf| conf.peer_limits.connections = 1);
    let server = setup.serve(who);
    let connect = |line: &str| {
        let mut client = server.connect();
        client.send([line, GET].concat());
        client
    };
    let mut first = connect(LINE);
    assert_eq!(first.reply().status, 200);
    assert_eq!(connect(LINE).reply().status, 429);
    let other = LINE.replace("192.0.2.1", "192.0.2.2");
    assert_eq!(connect(&other).reply().status, 200);
    // Who is not named has no share that could be used up.
    let mut nameless: Vec<Client> = (0..3).map(|_| connect("PROXY UNKNOWN\r\n")).collect();
    for client in &mut nameless {
        assert_eq!(client.reply().status, 200);
    }
    drop(first);
    eventually("the share is free again", || {
        connect(LINE).reply().status == 200
    });
}
