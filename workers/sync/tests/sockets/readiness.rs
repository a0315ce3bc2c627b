//! `readiness-path`: what a load balancer hears, and that the application does not.

use ferricorn_base::board::State;
use ferricorn_base::conf::PeerLimits;
use ferricorn_base::{Networks, Request};

use crate::client::Reply;
use crate::server::{Server, Setup, eventually};

/// The application answers with what it was asked for.
fn setup() -> Setup {
    let setup = Setup::new();
    setup.conf(|conf| conf.readiness_path = Some("/ready".to_owned()))
}

fn serve(setup: Setup) -> Server {
    setup.serve(|request: &mut Request| {
        let head = request.head();
        format!("app: {} {}", head.method(), head.target())
    })
}

fn assert_ready(reply: &Reply) {
    assert_eq!((reply.status, reply.text()), (200, "ready\n"));
    assert_eq!(reply.field("cache-control"), Some("no-store"));
    let plain = "text/plain; charset=utf-8";
    assert_eq!(reply.field("content-type"), Some(plain));
    assert!(!reply.says_close());
}

fn assert_stopping(reply: &Reply) {
    assert_eq!((reply.status, reply.text()), (503, "stopping\n"));
}

#[test]
fn only_get_and_head_of_just_that_path_are_not_the_applications() {
    let mut server = serve(setup().access("%(m)s %(U)s %(s)s"));
    let mut client = server.connect();
    for target in ["/ready", "/ready?", "/ready?x=/y", "http://a/ready"] {
        client.get(target);
        assert_ready(&client.reply());
    }
    client.send("HEAD /ready HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head();
    assert_eq!(
        (head.status, head.field("content-length")),
        (200, Some("6"))
    );
    for target in ["/ready/", "/ready/x", "/readyy", "/%72eady", "//ready", "/"] {
        client.get(target);
        assert_eq!(client.reply().text(), format!("app: GET {target}"));
    }
    for method in ["POST", "OPTIONS", "get"] {
        client.send(format!("{method} /ready HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.reply().text(), format!("app: {method} /ready"));
    }
    let lines = server.access_lines(14);
    assert_eq!(lines[0], "GET /ready 200");
    assert_eq!(lines[4], "HEAD /ready 200");
}

#[test]
fn a_body_that_nobody_reads_ends_the_connection() {
    let server = serve(setup());
    let mut client = server.connect();
    client.send("GET /ready HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    let reply = client.reply();
    assert_eq!((reply.status, reply.says_close()), (200, true));
    client.assert_closed();
}

#[test]
fn without_the_setting_there_is_no_such_path() {
    let server = serve(Setup::new());
    assert_eq!(server.get("/ready").reply().text(), "app: GET /ready");
}

#[test]
fn limits_per_peer_do_not_concern_it() {
    let server = serve(setup().conf(|conf| {
        conf.trust.proxies = Networks::default();
        conf.peer_limits = PeerLimits {
            request_rate: 1,
            ..PeerLimits::default()
        };
    }));
    let mut client = server.connect();
    for _ in 0..100 {
        client.get("/ready");
        assert_ready(&client.reply());
    }
    // None of them counts.
    client.get("/");
    assert_eq!(client.reply().status, 200);
}

#[test]
fn it_says_no_from_the_moment_on_when_the_server_was_told_to_stop() {
    let server = serve(setup());
    let mut client = server.connect();
    client.get("/ready");
    assert_ready(&client.reply());
    server.board.set_stopping();
    for _ in 0..2 {
        client.get("/ready");
        let reply = client.reply();
        assert_stopping(&reply);
        assert!(!reply.says_close());
    }
    // All else goes on.
    client.get("/");
    assert_eq!(client.reply().status, 200);
    assert_stopping(&server.get("/ready").reply());
}

/// As when the master is gone, or has retired all.
#[test]
fn who_drains_without_heirs_says_no() {
    let mut server = serve(setup());
    let mut client = server.connect();
    client.get("/");
    client.reply();
    client.send("GET /ready HTT");
    server.drain(true);
    eventually("it drains", || server.view(0).state == State::Draining);
    client.send("P/1.1\r\nHost: a\r\n\r\n");
    let reply = client.reply();
    assert_stopping(&reply);
    assert!(reply.says_close());
    drop(client);
    server.exit(0);
}
