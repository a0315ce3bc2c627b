//! Other HTTP servers as applications: nginx, a server of our own, and such as the test itself plays.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::support::ferricorn;
use crate::support::http::Client;
use crate::support::proxy::nginx;
use crate::{ask, serving};

/// A server that answers each request on a connection with the next of these, and tells the heads that it read.
fn scripted(answers: Vec<&'static str>) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, heads) = channel();
    thread::spawn(move || {
        let mut answers = answers.into_iter();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            while let Some(head) = head(&mut stream) {
                let _ = sender.send(head);
                let Some(answer) = answers.next() else { return };
                stream.write_all(answer.as_bytes()).unwrap();
                if answer.contains("close\r\n") || answer.is_empty() {
                    break;
                }
            }
        }
    });
    (address, heads)
}

/// The next head on a connection.
fn head(stream: &mut TcpStream) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    Some(String::from_utf8(head).unwrap())
}

#[test]
fn another_server_is_asked_and_its_connection_kept() {
    let back = ferricorn().args("echo --workers 1").ready();
    let server = serving(&format!("http:{}", back.address()), "");
    let mut client = Client::connect(server.address()).unwrap();
    let content: Vec<u8> = (0..1_000_000_u32).map(|n| (n / 9) as u8).collect();
    for _ in 0..3 {
        let length = content.len();
        let head = format!("POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        client.send(head).unwrap();
        client.send(&content).unwrap();
        assert!(client.answer().unwrap().body == content);
        client
            .send("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            .unwrap();
        for chunk in content.chunks(70_000) {
            client.send(format!("{:x}\r\n", chunk.len())).unwrap();
            client.send(chunk).unwrap();
            client.send("\r\n").unwrap();
        }
        client.send("0\r\n\r\n").unwrap();
        assert!(client.answer().unwrap().body == content);
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(client.head().unwrap().status, 200);
    }
}

#[test]
fn nginx_is_asked() {
    let back = ferricorn().args("hello").ready();
    let Some(nginx) = nginx(&back.address().to_string(), &[]) else {
        return;
    };
    let server = serving(&format!("http:{}", nginx.address), "");
    let mut client = Client::connect(server.address()).unwrap();
    for _ in 0..5 {
        let answer = client.get("/").unwrap();
        assert_eq!((answer.status, answer.text()), (200, "Hello, World!"));
        assert!(answer.field("server").unwrap().starts_with("nginx"));
    }
}

#[test]
fn what_is_said_to_it_is_of_this_hop_and_says_for_whom() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\nKeep-Alive: timeout=5\r\n\r\nok";
    let (address, heads) = scripted(vec![ok; 3]);
    let server = serving(&format!("http:{address}"), "");
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send("GET /x?y HTTP/1.1\r\nHost: shop.example\r\nConnection: X-Hop\r\nX-Hop: 1\r\nAccept: */*\r\n\r\n")
        .unwrap();
    let answer = client.answer().unwrap();
    assert_eq!((answer.text(), answer.field("x-a")), ("ok", Some("1")));
    assert_eq!(answer.field("keep-alive"), None);
    assert_eq!(
        heads.recv().unwrap(),
        "GET /x?y HTTP/1.1\r\nHost: shop.example\r\nAccept: */*\r\nX-Forwarded-For: 127.0.0.1\r\n\
         X-Forwarded-Proto: http\r\nX-Forwarded-Host: shop.example\r\n\r\n"
    );
    // Both on the one connection that there is.
    assert_eq!(client.get("/").unwrap().text(), "ok");
    assert_eq!(client.get("/").unwrap().text(), "ok");
}

#[test]
fn answers_of_every_framing_are_passed_on() {
    for (answer, status, content) in [
        (
            "HTTP/1.0 200 OK\r\n\r\nuntil the close\r\n",
            200,
            "until the close\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            200,
            "abcde",
        ),
        (
            "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
            204,
            "",
        ),
        (
            "HTTP/1.1 404 Gone fishing\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            404,
            "",
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: \
             1\r\nConnection: close\r\n\r\nx",
            200,
            "x",
        ),
    ] {
        let (address, _heads) = scripted(vec![answer]);
        let server = serving(&format!("http:{address}"), "");
        let reply = ask(&server, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((reply.status, reply.text()), (status, content), "{answer}");
    }
}

#[test]
fn what_is_no_answer_or_only_half_of_one_is_none() {
    for (answer, reason) in [
        ("nonsense close\r\n\r\n", "status line"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello",
            "Content-Length",
        ),
        ("", "unanswered"),
    ] {
        let (address, _heads) = scripted(vec![answer]);
        let server = serving(&format!("http:{address}"), "");
        let reply = ask(
            &server,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        );
        assert_eq!(reply.status, 502, "{answer}");
        server.wait(reason);
    }
    let short = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\nshort";
    let (address, _heads) = scripted(vec![short]);
    let server = serving(&format!("http:{address}"), "");
    let mut client = Client::connect(server.address()).unwrap();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(client.answer().is_err());
}

/// Whether a POST was carried out nobody knows when its connection closes: it is not sent twice.
#[test]
fn only_what_may_be_repeated_is_repeated() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for (method, status, asked) in [("GET", 200, 3), ("POST", 502, 2)] {
        // The second request finds a connection that is closed under it.
        let (address, heads) = scripted(vec![ok, "", ok]);
        let server = serving(&format!("http:{address}"), "");
        let mut client = Client::connect(server.address()).unwrap();
        assert_eq!(client.get("/").unwrap().status, 200);
        client
            .send(format!(
                "{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
            ))
            .unwrap();
        assert_eq!(client.answer().unwrap().status, status, "{method}");
        assert_eq!(heads.try_iter().count(), asked, "{method}");
    }
}
