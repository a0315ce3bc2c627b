//! What one peer address may take: of all workers together, and nobody else less for it.

use std::io::Write;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use ferricorn_base::board::Counter;
use ferricorn_base::conf::PeerLimits;
use ferricorn_base::{Body, Networks, Request};

use crate::client::{Client, Reply};
use crate::server::{Server, Setup, eventually};

const WORKERS: usize = 2;
const SECOND: Duration = Duration::from_secs(1);

fn limited(limits: PeerLimits) -> Setup {
    Setup::new().workers(WORKERS).conf(|conf| {
        conf.peer_limits = limits;
        // Loopback is trusted by default, and has no limit then.
        conf.trust.proxies = Networks::default();
    })
}

fn serve(setup: Setup) -> Server {
    setup.serve(|request: &mut Request| match request.path() {
        "/stream" => Body::stream(|exchange| {
            exchange.write_all(b"begun")?;
            exchange.flush()?;
            std::io::copy(exchange, &mut std::io::sink())?;
            Ok(())
        }),
        path => Body::from(path.to_owned()),
    })
}

fn ask(client: &mut Client) -> Reply {
    client.get("/");
    client.reply()
}

fn assert_turned_away(reply: &Reply) {
    assert_eq!(reply.status, 429);
    assert_eq!(reply.field("retry-after"), Some("1"));
}

#[test]
fn beyond_its_connections_a_peer_is_turned_away_and_others_are_not() {
    let server = serve(limited(PeerLimits {
        connections: 5,
        ..PeerLimits::default()
    }));
    // One after the other: no two workers decide at once.
    let mut clients: Vec<_> = (0..5).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(ask(client).status, 200);
    }
    for _ in 0..3 {
        // Told at once, and not when it has asked for something.
        let mut client = server.connect();
        let reply = client.reply();
        assert_turned_away(&reply);
        assert!(reply.says_close());
        client.assert_closed();
    }
    let mut other = server.connect_from(Ipv4Addr::new(127, 0, 0, 2));
    assert_eq!(ask(&mut other).status, 200);
    // Those that stay are served as ever, also on a stream thread.
    clients[0].get("/stream");
    assert_eq!(clients[0].head().status, 200);
    assert_eq!(ask(&mut clients[1]).status, 200);
    // One that goes makes room.
    drop(clients.pop());
    eventually("there is room for one", || {
        ask(&mut server.connect()).status == 200
    });
    let refused = |seat| server.counter(seat, Counter::Limited);
    assert!(refused(0) + refused(1) >= 3);
}

/// A connection that is closed in any way is one less.
#[test]
fn no_way_to_end_a_connection_keeps_it_counted() {
    let server = serve(
        limited(PeerLimits {
            connections: 3,
            ..PeerLimits::default()
        })
        .conf(|conf| {
            conf.deadlines.head = Duration::from_millis(300);
            conf.deadlines.linger = Duration::from_millis(100);
        }),
    );
    for n in 0..24 {
        let mut client = server.connect();
        let asks = match n % 6 {
            0 => "nonsense\r\n\r\n",
            1 => "GET / HT",
            2 => "GET / HTTP/1.0\r\n\r\n",
            3 => "GET /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            _ => "",
        };
        if !asks.is_empty() {
            client.send(asks);
            client.rest();
        } else if n % 6 == 4 {
            client.reset();
        } else {
            drop(client);
        }
        eventually("it is forgotten, however it ended", || {
            let sum = |of: &dyn Fn(usize) -> u64| of(0) + of(1);
            sum(&|seat| server.counter(seat, Counter::Accepted)) > n
                && sum(&|seat| server.connections(seat)) == 0
        });
    }
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(ask(client).status, 200);
    }
}

#[test]
fn beyond_its_rate_of_connections_a_peer_is_turned_away_for_a_moment() {
    const RATE: u64 = 20;
    let server = serve(limited(PeerLimits {
        connection_rate: RATE,
        ..PeerLimits::default()
    }));
    let start = Instant::now();
    let (mut served, mut refused) = (0, 0);
    while start.elapsed() < 2 * SECOND {
        let mut client = server.connect();
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let reply = client.reply();
        match reply.status {
            200 => served += 1,
            _ => {
                assert_turned_away(&reply);
                refused += 1;
            }
        }
    }
    let most = RATE * (2 + start.elapsed().as_secs()) + WORKERS as u64;
    assert!(
        served >= RATE && served <= most,
        "{served} of at most {most}"
    );
    assert!(refused > 0);
    eventually("it may come again", || {
        ask(&mut server.connect()).status == 200
    });
}

#[test]
fn beyond_its_rate_of_requests_a_client_is_refused_and_keeps_its_connection() {
    const RATE: u64 = 50;
    let server = serve(limited(PeerLimits {
        request_rate: RATE,
        ..PeerLimits::default()
    }));
    let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
    let start = Instant::now();
    let (mut served, mut refused) = (0, 0);
    while start.elapsed() < 2 * SECOND {
        for client in &mut clients {
            let reply = ask(client);
            assert!(!reply.says_close());
            match reply.status {
                200 => served += 1,
                _ => {
                    assert_turned_away(&reply);
                    refused += 1;
                }
            }
        }
    }
    let most = RATE * (2 + start.elapsed().as_secs()) + WORKERS as u64;
    assert!(
        served >= RATE && served <= most,
        "{served} of at most {most}"
    );
    assert!(refused > 0);
    // Nobody reads a body that is not wanted.
    let mut uploads = 0;
    eventually("an upload is refused", || {
        uploads += 1;
        let mut client = server.connect();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
        let _ = client.try_send("nine byte");
        let reply = client.reply();
        let refused = reply.status == 429;
        assert_eq!(reply.says_close(), refused, "{reply:?}");
        refused
    });
    // A pipeline is as many requests as it has.
    let mut other = server.connect_from(Ipv4Addr::new(127, 0, 0, 3));
    other.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(200));
    let replies: Vec<_> = (0..200).map(|_| other.reply().status).collect();
    let served = replies.iter().filter(|status| **status == 200).count() as u64;
    assert!((RATE..=3 * RATE).contains(&served), "{served}");
}

#[test]
fn peers_without_an_address_have_no_limit() {
    let server = serve(
        limited(PeerLimits {
            connections: 1,
            connection_rate: 1,
            request_rate: 1,
        })
        .unix(),
    );
    let mut clients: Vec<_> = (0..10).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(ask(client).status, 200);
        assert_eq!(ask(client).status, 200);
    }
}

/// Else nothing could stand in front; its clients are limited by their own addresses.
#[test]
fn a_trusted_proxy_has_as_many_connections_as_it_needs() {
    let limits = PeerLimits {
        connections: 1,
        connection_rate: 1,
        request_rate: 2,
    };
    let server = serve(limited(limits).conf(|conf| conf.trust.proxies = Networks::loopback()));
    let mut proxy: Vec<_> = (0..10).map(|_| server.connect()).collect();
    let mut statuses = vec![];
    for (n, client) in proxy.iter_mut().enumerate() {
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.{}\r\n\r\n",
            n % 2
        ));
        statuses.push(client.reply().status);
    }
    assert!(statuses[..4].iter().all(|status| *status == 200));
    assert!(statuses.contains(&429), "{statuses:?}");
    let mut other = server.connect_from(Ipv4Addr::new(127, 0, 0, 2));
    assert_eq!(ask(&mut other).status, 200);
    assert_eq!(
        server
            .connect_from(Ipv4Addr::new(127, 0, 0, 2))
            .reply()
            .status,
        429
    );
}
