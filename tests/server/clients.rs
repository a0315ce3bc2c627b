//! Clients that are slow, big or rude, in front of one `sync` worker.

use std::net::Shutdown;

use crate::support::http::Client;
use crate::support::{Server, testapp};

fn ask(server: &Server, request: &str) -> Client<std::net::TcpStream> {
    let mut client = Client::connect(server.address()).unwrap();
    client.send(request).unwrap();
    client
}

/// In Gunicorn's sync worker one stalled head is an outage.
#[test]
fn slow_uploads_and_slow_readers_delay_nobody() {
    // Whoever waited for one of them would wait for longer than any client here does.
    let server = testapp()
        .args("--workers 1 --head-timeout 600 --body-timeout 600 --write-timeout 600")
        .ready();
    let mut heads: Vec<_> = (0..10)
        .map(|_| ask(&server, "GET /who HTTP/1.1\r\nHost: loc"))
        .collect();
    let mut uploads: Vec<_> = (0..10)
        .map(|_| {
            let head = "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n";
            ask(&server, head)
        })
        .collect();
    let mut streamed: Vec<_> = (0..5)
        .map(|_| {
            let head =
                "POST /upload-streamed HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n";
            ask(&server, head)
        })
        .collect();
    // Far more than the buffers of both sides hold, and they read nothing of it.
    let mut readers: Vec<_> = (0..10)
        .map(|_| {
            ask(
                &server,
                "GET /big/20000000 HTTP/1.1\r\nHost: localhost\r\n\r\n",
            )
        })
        .collect();
    for round in 0..20 {
        for upload in &mut uploads {
            upload.send(vec![b'a'; 5000]).unwrap();
        }
        assert_eq!(server.get("/").status, 200, "round {round}");
    }
    for upload in &mut uploads {
        let answer = upload.answer().unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.text().starts_with("100000 "), "{answer:?}");
    }
    for head in &mut heads {
        head.send("alhost\r\n\r\n").unwrap();
        assert_eq!(head.answer().unwrap().status, 200);
    }
    for client in &mut streamed {
        client.send("123456789").unwrap();
        assert_eq!(client.answer().unwrap().text(), "9");
    }
    for reader in readers.drain(..2) {
        let mut reader = reader;
        assert_eq!(reader.answer().unwrap().body.len(), 20_000_000);
    }
    drop(readers);
    server.stop();
}

#[test]
fn a_body_beyond_the_buffer_arrives_whole() {
    let server = testapp().args("--workers 1 --body-buffer 65536").ready();
    for size in [0usize, 1, 65_536, 65_537, 5_000_000] {
        let body: Vec<u8> = (0..size).map(|n| (n * 7 % 251) as u8).collect();
        let sum = body.iter().fold(0u32, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u32::from(*byte))
        });
        let mut client = ask(
            &server,
            &format!("POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"),
        );
        client.send(&body).unwrap();
        assert_eq!(client.answer().unwrap().text(), format!("{size} {sum}"));
        // The same in chunks, on the same connection.
        client
            .send("POST /upload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            .unwrap();
        for chunk in body.chunks(60_000) {
            client.send(format!("{:x}\r\n", chunk.len())).unwrap();
            client.send(chunk).unwrap();
            client.send("\r\n").unwrap();
        }
        client.send("0\r\n\r\n").unwrap();
        assert_eq!(client.answer().unwrap().text(), format!("{size} {sum}"));
    }
    server.stop();
}

#[test]
fn what_begin_refuses_is_answered_before_the_body_comes() {
    let server = testapp().args("--workers 1").ready();
    let mut client = ask(
        &server,
        "POST /refuse HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n",
    );
    assert_eq!(client.answer().unwrap().status, 403);
    server.stop();
}

#[test]
fn more_streams_than_threads_are_503() {
    let server = testapp().args("--workers 1 --stream-threads 2").ready();
    let request = "GET /stream-slowly HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut open: Vec<_> = (0..2).map(|_| ask(&server, request)).collect();
    for client in &mut open {
        assert_eq!(client.head().unwrap().status, 200);
    }
    let mut third = ask(&server, request);
    assert_eq!(third.answer().unwrap().status, 503);
    // Everybody else is served.
    assert_eq!(server.get("/").status, 200);
    drop(open);
    // The threads notice that their clients are gone.
    server.until("a free thread", || {
        let mut client = ask(&server, "GET /stream/3 HTTP/1.1\r\nHost: localhost\r\n\r\n");
        (client.answer().unwrap().status == 200).then_some(())
    });
    server.stop();
}

#[test]
fn limits_have_their_statuses() {
    let server = testapp()
        .args("--workers 1 --limit-request-line 100 --limit-request-fields 5")
        .args("--limit-request-body 1000")
        .ready();
    let long = "a".repeat(200);
    let many = "X: y\r\n".repeat(10);
    for (request, status) in [
        (
            format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            414,
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"),
            431,
        ),
        (
            "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\n\r\n".into(),
            413,
        ),
    ] {
        assert_eq!(ask(&server, &request).answer().unwrap().status, status);
    }
    server.stop();
}

#[test]
fn every_wait_for_a_client_has_its_deadline() {
    let server = testapp()
        .args("--workers 1 --head-timeout 1 --keep-alive 1 --body-timeout 1")
        .ready();
    let mut head = ask(&server, "GET / HTTP/1.1\r\nHo");
    assert_eq!(head.answer().unwrap().status, 408);
    let mut body = ask(
        &server,
        "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc",
    );
    assert_eq!(body.answer().unwrap().status, 408);
    let mut kept = ask(&server, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(kept.answer().unwrap().status, 200);
    assert_eq!(kept.rest().unwrap(), b"");
    let mut silent = Client::connect(server.address()).unwrap();
    assert_eq!(silent.rest().unwrap(), b"");
    server.stop();
}

#[test]
fn at_the_bound_of_connections_the_longest_idle_one_makes_room() {
    let server = testapp().args("--workers 1 --worker-connections 4").ready();
    let mut kept: Vec<_> = (0..4)
        .map(|_| {
            let mut client = Client::connect(server.address()).unwrap();
            assert_eq!(client.get("/").unwrap().status, 200);
            client
        })
        .collect();
    assert_eq!(server.get("/").status, 200);
    assert_eq!(kept[0].rest().unwrap(), b"");
    assert_eq!(kept[3].get("/").unwrap().status, 200);
    server.stop();
}

/// Silent connections make room too: sixteen that never say a word are no outage.
#[test]
fn connections_that_never_say_anything_make_room() {
    let server = testapp().args("--workers 1 --worker-connections 4").ready();
    let silent: Vec<_> = (0..16)
        .map(|_| Client::connect(server.address()).unwrap())
        .collect();
    assert_eq!(server.get("/").status, 200);
    drop(silent);
    server.stop();
}

#[test]
fn a_client_that_is_gone_harms_nobody() {
    let server = testapp().args("--workers 1").ready();
    let pid = server.who().pid;
    for _ in 0..50 {
        let mut client = ask(
            &server,
            "GET /big/1000000 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        );
        let mut first = [0; 1];
        client.read_exact(&mut first).unwrap();
        drop(client);
        let client = ask(
            &server,
            "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nab",
        );
        client.stream().shutdown(Shutdown::Both).unwrap();
    }
    assert_eq!(server.who().pid, pid);
    server.stop();
}

/// Whatever was pipelined behind a request that is refused is never answered.
#[test]
fn an_ambiguous_request_is_400_and_the_end_of_its_connection() {
    let server = testapp().args("--workers 1").ready();
    for request in [
        "POST /who HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /who HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        "GET /who HTTP/1.1\nHost: a\n\n",
        "GET /who HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET /who HTTP/1.1\r\n\r\n",
    ] {
        let mut client = ask(&server, request);
        client.send("GET /who HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(client.answer().unwrap().status, 400, "{request:?}");
        assert_eq!(client.rest().unwrap(), b"", "{request:?}");
    }
    server.stop();
}

/// Who is not let run in time by a busy machine is passed over, as it is to be: then it is tried again.
#[test]
fn connections_spread_evenly_over_the_workers() {
    let mut uneven = vec![];
    for _ in 0..10 {
        let server = testapp().args("--workers 4").ready();
        let mut by = std::collections::BTreeMap::<i32, usize>::new();
        let clients: Vec<_> = (0..80)
            .map(|_| {
                let mut client = Client::connect(server.address()).unwrap();
                *by.entry(client.get("/who").unwrap().who().pid).or_default() += 1;
                client
            })
            .collect();
        drop(clients);
        server.stop();
        if by.len() == 4 && by.values().all(|count| (15..=25).contains(count)) {
            return;
        }
        uneven.push(by);
    }
    panic!("{uneven:?}");
}

#[test]
fn expect_continue_is_answered_when_the_body_is_first_wanted() {
    let server = testapp().args("--workers 1").ready();
    let mut client = ask(
        &server,
        "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.head().unwrap().status, 100);
    client.send("abc").unwrap();
    assert_eq!(client.answer().unwrap().status, 200);
    let mut client = ask(
        &server,
        "POST /refuse HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.head().unwrap().status, 403);
    server.stop();
}
