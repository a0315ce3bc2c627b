//! What the operator decides about proxies, from outside: whom to believe, in the file, the
//! environment and on the command line, and what a reload changes.

use std::fs;
use std::net::TcpStream;

use crate::support::http::{Answer, Client};
use crate::support::{Server, testapp};

const LINE: &str = "PROXY TCP4 192.0.2.1 198.51.100.1 51000 8443\r\n";

/// Asks for the meta-variables, with these lines behind the request line and these bytes in front.
#[track_caller]
fn ask(server: &Server, front: &str, lines: &str) -> Answer {
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send(format!(
            "{front}GET /__env HTTP/1.1\r\nHost: h\r\n{lines}\r\n"
        ))
        .unwrap();
    client.answer().unwrap()
}

/// A variable as the application sees it.
#[track_caller]
fn variable(answer: &Answer, name: &str) -> Option<String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut lines = answer.text().lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.map(|json| serde_json::from_str(json).unwrap())
}

#[track_caller]
fn remote(server: &Server, front: &str, lines: &str) -> Option<String> {
    variable(&ask(server, front, lines), "REMOTE_ADDR")
}

const CLAIM: &str = "X-Forwarded-For: 192.0.2.9\r\n";

#[test]
fn this_machine_is_believed_by_default_and_nobody_where_the_list_is_empty() {
    let server = testapp().args("--workers 1").ready();
    let lines = format!(
        "{CLAIM}X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n\
         SCRIPT_NAME: /__env\r\nForwarded: for=6.6.6.6\r\n"
    );
    let answer = ask(&server, "", &lines);
    for (name, value) in [
        ("REMOTE_ADDR", Some("192.0.2.9")),
        ("REMOTE_PORT", None),
        ("HTTPS", Some("on")),
        ("HTTP_HOST", Some("shop.example")),
        ("SERVER_PORT", Some("443")),
        ("SCRIPT_NAME", Some("/__env")),
        ("PATH_INFO", Some("")),
        ("HTTP_X_FORWARDED_FOR", Some("192.0.2.9")),
        ("HTTP_FORWARDED", None),
    ] {
        assert_eq!(variable(&answer, name).as_deref(), value, "{name}");
    }
    server.stop();

    for start in [
        testapp().arg("--forwarded-allow-ips="),
        testapp().env("FORWARDED_ALLOW_IPS", ""),
        testapp().file("forwarded-allow-ips = []\n"),
        testapp().env("FORWARDED_ALLOW_IPS", "10.0.0.0/8,::1"),
    ] {
        let server = start.args("--workers 1").ready();
        let answer = ask(&server, "", &lines);
        for (name, value) in [
            ("REMOTE_ADDR", Some("127.0.0.1")),
            ("HTTPS", None),
            ("HTTP_HOST", Some("h")),
            ("SCRIPT_NAME", Some("")),
            ("HTTP_SCRIPT_NAME", None),
            ("HTTP_X_FORWARDED_FOR", None),
            ("HTTP_X_FORWARDED_PROTO", None),
            ("HTTP_FORWARDED", None),
        ] {
            assert_eq!(variable(&answer, name).as_deref(), value, "{name}");
        }
        server.stop();
    }
}

#[test]
fn every_setting_of_trust_reaches_the_workers() {
    let file = "workers = 1\nforwarded-fields = \"forwarded\"\nforwarded-hops = 2\n\
                forwarded-allow-ips = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\nheader-map = \"refuse\"\n\
                forwarder-headers = \"SSL_CLIENT\"\n[secure-scheme-headers]\nFront-End-Https = \"on\"\n";
    let server = testapp().file(file).ready();
    let chain = "Forwarded: for=6.6.6.6, for=192.0.2.9;host=a, for=10.0.0.1\r\n";
    let answer = ask(
        &server,
        "",
        &format!("{chain}Front-End-Https: on\r\nSSL_CLIENT: me\r\n{CLAIM}"),
    );
    for (name, value) in [
        ("REMOTE_ADDR", Some("192.0.2.9")),
        ("HTTP_HOST", Some("a")),
        ("HTTPS", Some("on")),
        ("HTTP_SSL_CLIENT", Some("me")),
        ("HTTP_X_FORWARDED_FOR", None),
    ] {
        assert_eq!(variable(&answer, name).as_deref(), value, "{name}");
    }
    assert_eq!(ask(&server, "", "SCRIPT_NAME: /x\r\n").status, 400);
    assert_eq!(ask(&server, "", "Forwarded: for=nonsense\r\n").status, 400);
    server.stop();
}

#[test]
fn names_with_an_underscore_reach_no_application_unless_that_is_asked_for() {
    for (mode, status, seen) in [
        ("drop", 200, Some("1")),
        ("refuse", 400, None),
        ("dangerous", 200, Some("2, 1")),
    ] {
        let server = testapp()
            .args(&format!("--workers 1 --header-map {mode}"))
            .ready();
        let answer = ask(
            &server,
            "",
            "X_Id: 2\r\nX-Id: 1\r\nX_Forwarded_For: 6.6.6.6\r\n",
        );
        assert_eq!(answer.status, status, "{mode}");
        if status == 200 {
            assert_eq!(variable(&answer, "HTTP_X_ID").as_deref(), seen, "{mode}");
            assert_eq!(variable(&answer, "HTTP_X_FORWARDED_FOR"), None, "{mode}");
        }
        server.stop();
    }
}

#[test]
fn one_listener_speaks_the_proxy_protocol_and_another_does_not() {
    let server = testapp()
        .no_bind()
        .file(
            "workers = 1\naccess-logfile = \"access.log\"\naccess-logformat = \"%(h)s %(s)s\"\n\
             [[listen]]\nbind = \"127.0.0.1:0\"\nproxy-protocol = \"v1\"\n\
             [[listen]]\nbind = \"unix:plain.sock\"\n",
        )
        .spawn();
    let line = server.wait("Ready: serving at");
    let address = line.split("http://").nth(1).unwrap();
    let address = address.split([',', ' ']).next().unwrap().parse().unwrap();
    let send = |text: &str| {
        let mut client = Client::<TcpStream>::connect(address).unwrap();
        client.send(text).unwrap();
        client.answer().unwrap()
    };
    let get = "GET /__env HTTP/1.1\r\nHost: h\r\n\r\n";
    let answer = send(&format!("{LINE}{get}"));
    for (name, value) in [
        ("REMOTE_ADDR", "192.0.2.1"),
        ("REMOTE_PORT", "51000"),
        ("SERVER_PORT", "8443"),
    ] {
        assert_eq!(variable(&answer, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(send(get).status, 400, "it must not be missing");
    let mut client = Client::connect_unix(&server.dir.path("plain.sock")).unwrap();
    client.send(get).unwrap();
    let answer = client.answer().unwrap();
    assert_eq!(variable(&answer, "REMOTE_ADDR").as_deref(), Some(""));
    let log = server.until("three lines of the access log", || {
        let log = fs::read_to_string(server.dir.path("access.log")).ok()?;
        (log.lines().count() == 3).then_some(log)
    });
    assert_eq!(log, "192.0.2.1 200\n127.0.0.1 400\n- 200\n");
    server.stop();
}

#[test]
fn a_reload_changes_whom_to_believe() {
    let server = testapp().file("workers = 1\n").ready();
    assert_eq!(remote(&server, "", CLAIM).as_deref(), Some("192.0.2.9"));
    server.dir.write(
        "ferricorn.toml",
        "workers = 1\nforwarded-allow-ips = \"\"\n",
    );
    server.take_over();
    assert_eq!(remote(&server, "", CLAIM).as_deref(), Some("127.0.0.1"));
    // The listener is the same, what is spoken there is not.
    server
        .dir
        .write("ferricorn.toml", "workers = 1\nproxy-protocol = \"auto\"\n");
    server.take_over();
    assert_eq!(remote(&server, LINE, "").as_deref(), Some("192.0.2.1"));
    // The client is on no list, and so is not believed.
    assert_eq!(remote(&server, LINE, CLAIM).as_deref(), Some("192.0.2.1"));
    server.dir.write(
        "ferricorn.toml",
        "workers = 1\nproxy-protocol = \"auto\"\nproxy-allow-from = \"192.0.2.7\"\n",
    );
    server.take_over();
    assert_eq!(ask(&server, LINE, "").status, 400);
    assert_eq!(remote(&server, "", "").as_deref(), Some("127.0.0.1"));
    let line = {
        server
            .dir
            .write("ferricorn.toml", "forwarded-allow-ips = \"10.0.0.1/8\"\n");
        server.reload_fails()
    };
    assert!(line.contains("did you mean \"10.0.0.0/8\"?"), "{line}");
    assert_eq!(remote(&server, "", "").as_deref(), Some("127.0.0.1"));
    server.stop();
}
